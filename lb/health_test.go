package lb_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/tandem"
	"tandem/lb"
)

// shelf is a store of Health alone.
type shelf struct {
	mu      sync.Mutex
	kept    map[string]*tandem.Health
	batches []time.Time
	broken  bool
}

func (s *shelf) Append(_ context.Context, _ tandem.Principal, edits []tandem.Edit) (tandem.Revision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return 0, errors.New("disk full")
	}
	s.batches = append(s.batches, time.Now())
	for _, e := range edits {
		if e.Object == nil {
			delete(s.kept, e.ID)
		} else {
			s.kept[e.ID] = e.Object.(*tandem.Health)
		}
	}
	return tandem.Revision(len(s.batches)), nil
}

// state is what is kept of a node, "" for nothing.
func (s *shelf) state(node string) tandem.HealthState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.kept[node]; h != nil {
		return h.State
	}
	return ""
}

// writes are the times of all batches so far.
func (s *shelf) writes() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.batches)
}

// states are what is kept, such as "n1 down, n2 up".
func (s *shelf) states() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for id, h := range s.kept {
		all = append(all, id+" "+string(h.State))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// life is one run of the balancer between two starts.
type life struct {
	*lb.Balancer
	keeper *lb.Keeper
	end    func()
}

// live starts a balancer with nodes n1 to n3 of a cluster, and what a shelf keeps.
func live(t *testing.T, s *shelf, nodes ...*tandem.Node) *life {
	t.Helper()
	b, err := lb.New(lb.Config{}, lb.Deps{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if nodes == nil {
		nodes = []*tandem.Node{node("n1", "c"), node("n2", "c"), node("n3", "c")}
	}
	for _, n := range nodes {
		b.PutNode(n)
	}
	k, err := lb.NewKeeper(b, s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	var changes []tandem.Change
	for id, h := range s.kept {
		changes = append(changes, tandem.Change{Kind: tandem.KindHealth, ID: id, Object: h})
	}
	s.mu.Unlock()
	if len(changes) > 0 {
		k.Apply(changes)
	}
	k.Apply(nil)
	return &life{Balancer: b, keeper: k}
}

// run runs it until end.
func (l *life) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = l.Run(ctx) })
	running.Go(func() { _ = l.keeper.Run(ctx) })
	l.end = func() { cancel(); running.Wait() }
}

// answers lets nodes answer probes for a while.
func (l *life) answers(d time.Duration, nodes ...string) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(probing) {
		l.Checking(probing)
		for _, id := range nodes {
			l.Probed(id, 5*time.Millisecond, true)
		}
	}
}

// stands are the states that are told, such as "n1 down, n2 up".
func (l *life) stands() string {
	var all []string
	for _, h := range l.Table().Health() {
		if h.Node != "elsewhere" { // statusOf's own
			all = append(all, h.Node+" "+string(h.State))
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// The state of every node outlives a crash, from before the first probe; the twins are too old, or of
// nodes that answer again.
func TestStatesOutliveTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{kept: make(map[string]*tandem.Health)}
		first := live(t, s)
		first.run()
		first.answers(5*time.Second, "n1", "n2")
		for range 4 {
			first.Probed("n1", 0, false)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		fell := statusOf(first.Balancer, "n1").Since
		if got, want := s.states(), "n1 down, n2 up"; got != want {
			t.Fatalf("kept %s, want %s", got, want)
		}
		kept := s.kept["n1"]
		if !kept.Answers || kept.Why == "" || kept.Since.Sub(fell).Abs() > time.Millisecond || kept.Share != 1 {
			t.Errorf("kept %+v, want what was found at %v", kept, fell)
		}
		first.end()

		time.Sleep(30 * time.Minute)
		second := live(t, s)
		if got, want := second.stands(), "n1 down, n2 up, n3 unknown"; got != want {
			t.Errorf("before the first probe: %s, want %s", got, want)
		}
		if n := statusOf(second.Balancer, "n1"); n.Available || !n.Recalled || n.Since.Sub(fell).Abs() > time.Millisecond {
			t.Errorf("n1 stands so: %+v", n)
		}
		second.run()
		second.answers(5*time.Second, "n1", "n2", "n3") // it is well again
		if got, want := second.stands(), "n1 up, n2 up, n3 up"; got != want {
			t.Errorf("after probes: %s, want %s", got, want)
		}
		second.end()
		if got, want := s.states(), "n1 up, n2 up, n3 up"; got != want {
			t.Errorf("kept %s, want %s", got, want)
		}

		time.Sleep(61 * time.Minute)
		third := live(t, s)
		if got, want := third.stands(), "n1 unknown, n2 unknown, n3 unknown"; got != want {
			t.Errorf("after more than an hour: %s, want %s", got, want)
		}
	})
}

// What is recalled and stays silent stays down, what nobody probes becomes unknown after a while.
func TestRecalledAndSilent(t *testing.T) {
	for _, probed := range []bool{true, false} {
		t.Run(fmt.Sprint("probed ", probed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := time.Now()
				s := &shelf{kept: map[string]*tandem.Health{
					"n1": {Head: tandem.Head{ID: "n1"}, State: tandem.HealthDown, Since: now, Checked: now, Answers: true},
					"n2": {Head: tandem.Head{ID: "n2"}, State: tandem.HealthDegraded, Since: now, Checked: now, Answers: true, Share: 0.5},
					"nx": {Head: tandem.Head{ID: "nx"}, State: tandem.HealthDown, Since: now, Checked: now},
				}}
				l := live(t, s)
				for _, h := range l.Table().Health() {
					if h.Node == "n2" && (h.State != tandem.HealthDegraded || h.Share != 0.5 || !h.Recalled) {
						t.Errorf("n2 stands so: %+v", h)
					}
				}
				l.run()
				want := "n1 unknown, n2 unknown, n3 unknown"
				if probed {
					want = "n1 down, n2 down, n3 unknown"
					for range 40 {
						l.Checking(probing)
						for _, id := range []string{"n1", "n2", "n3"} {
							l.Probed(id, 0, false)
						}
						time.Sleep(probing)
					}
				}
				time.Sleep(15 * time.Second)
				if probed {
					l.Checking(probing)
				}
				if got := l.stands(); got != want {
					t.Errorf("%s, want %s", got, want)
				}
				l.end()
				if _, ok := s.kept["nx"]; ok {
					t.Error("a node that is gone is still kept")
				}
			})
		})
	}
}

// However often states change, there is one batch a second; a store that refuses is asked again; and
// a state that stays is confirmed now and then.
func TestStatesAreStoredSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{kept: make(map[string]*tandem.Health)}
		l := live(t, s)
		l.run()
		l.answers(3*time.Second, "n1", "n2", "n3")
		for range 100 {
			l.Broken("n1", "refused")
			l.answers(200*time.Millisecond, "n1", "n2", "n3")
		}
		synctest.Wait()
		times := s.writes()
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap < time.Second {
				t.Fatalf("two batches within %v", gap)
			}
		}
		s.mu.Lock()
		s.broken = true
		s.mu.Unlock()
		l.answers(time.Minute, "n1", "n2", "n3")
		l.Broken("n2", "refused")
		time.Sleep(5 * time.Second)
		s.mu.Lock()
		s.broken = false
		s.mu.Unlock()
		time.Sleep(3 * time.Second)
		if got := s.state("n2"); got != tandem.HealthDown {
			t.Errorf("n2 is kept as %q once the store works", got)
		}
		many := len(s.writes())
		l.answers(2*time.Hour, "n1", "n3")
		if more := len(s.writes()) - many; more < 4 || more > 40 {
			t.Errorf("%d batches in two hours in which nothing changed", more)
		}
		l.end()
	})
}

// While the checker stands still nothing changes, for better or worse, and after that nothing falls
// for want of news; twin: with a checker that runs, silence means unknown.
func TestCheckerStandsStill(t *testing.T) {
	for _, stalls := range []bool{true, false} {
		t.Run(fmt.Sprint("stalls ", stalls), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &shelf{kept: make(map[string]*tandem.Health)}
				l := live(t, s)
				l.run()
				defer func() { l.end() }()
				l.answers(5*time.Second, "n1", "n2")
				l.Broken("n2", "refused")
				want := l.stands()
				for range 60 {
					time.Sleep(time.Second)
					if !stalls {
						l.Checking(probing)
						continue
					}
					if got := l.stands(); got != want {
						t.Fatalf("%s, want it as it was: %s", got, want)
					}
				}
				if got := reading(l.Balancer, "tandem_lb_checker_stalled") == 1; got != stalls || l.Checks().Stalled != stalls {
					t.Errorf("stalled: %v, want %v", got, stalls)
				}
				if !stalls {
					if got := l.stands(); got == want {
						t.Errorf("%s after a minute without news of any node", got)
					}
					return
				}
				for range 8 { // outcomes of before, all too late
					l.Probed("n1", 0, false)
				}
				l.Checking(probing)
				time.Sleep(2 * time.Second)
				l.Checking(probing)
				if got := l.stands(); got != want || l.Checks().Stalled {
					t.Errorf("running again: %s, want %s", got, want)
				}
				l.answers(5*time.Second, "n1", "n2")
				if got := l.stands(); !strings.HasPrefix(got, "n1 up, n2 up") {
					t.Errorf("once both answer: %s", got)
				}
				for range 4 {
					l.Probed("n1", 0, false)
				}
				if got := l.stands(); !strings.HasPrefix(got, "n1 down") {
					t.Errorf("n1 is missed: %s", got)
				}
			})
		})
	}
}

// When the whole process stood still, the checker's first sign of life after it keeps the states.
func TestEverythingStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := live(t, &shelf{kept: make(map[string]*tandem.Health)})
		l.Look()
		for range 10 {
			l.Checking(probing)
			l.Probed("n1", 5*time.Millisecond, true)
			l.Look()
			time.Sleep(probing)
		}
		time.Sleep(time.Minute)
		l.Checking(probing)
		l.Look()
		if got, want := l.stands(), "n1 up, n2 unknown, n3 unknown"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if reading(l.Balancer, "tandem_lb_checker_stalls_total") != 1 {
			t.Error("it is not counted")
		}
	})
}

// An operator's word counts instead of what checks find, in both directions, until it ends.
func TestForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{kept: make(map[string]*tandem.Health)}
		force := func(id string, f *tandem.Force) *tandem.Node {
			n := node(id, "c")
			n.Force = f
			return n
		}
		soon := time.Now().Add(time.Hour)
		l := live(t, s, force("n1", &tandem.Force{State: tandem.HealthDown, Until: soon, Reason: "smoke"}), force("n2", &tandem.Force{State: tandem.HealthUp}), node("n3", "c"))
		l.run()
		defer func() { l.end() }()
		l.answers(5*time.Second, "n1")
		l.Broken("n2", "refused")
		l.Broken("n3", "refused")
		l.answers(20*time.Second, "n1")
		l.Broken("n2", "refused")
		l.Broken("n3", "refused")
		if got, want := l.stands(), "n1 down, n2 up, n3 down"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if n := statusOf(l.Balancer, "n1"); n.Available || n.Found != lb.StateGood || !strings.Contains(n.Why, "smoke") {
			t.Errorf("n1 stands so: %+v", n)
		}
		if n := statusOf(l.Balancer, "n2"); !n.Available || n.Found != lb.StateDown {
			t.Errorf("n2 stands so: %+v", n)
		}
		if got := s.states(); strings.Contains(got, "n1 down") || !strings.Contains(got, "n1 up") {
			t.Errorf("kept %s, want what was found", got)
		}
		l.PutNode(node("n2", "c"))
		if got, want := l.stands(), "n1 down, n2 down, n3 down"; got != want {
			t.Errorf("n2 taken back: %s, want %s", got, want)
		}
		for time.Now().Before(soon.Add(time.Second)) {
			l.answers(10*time.Second, "n1")
		}
		if got := l.stands(); !strings.HasPrefix(got, "n1 up") {
			t.Errorf("after an hour: %s", got)
		}
	})
}

// A cluster's thresholds count for its nodes alone.
func TestClusterThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, lb.Config{})
		w.put(&tandem.Cluster{Head: tandem.Head{ID: "own"}, Health: &tandem.ClusterHealth{DownAfter: 7, UpAfter: 20, OpenAfter: 1}},
			&tandem.Cluster{Head: tandem.Head{ID: "usual"}}, node("o", "own"), node("u", "usual"))
		synctest.Wait()
		both := func(n int, answered bool) {
			for range n {
				for _, id := range []string{"o", "u"} {
					w.Probed(id, time.Millisecond, answered)
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		want := func(when string, own, usual lb.State) {
			t.Helper()
			w.Look()
			if o, u := statusOf(w.Balancer, "o").State, statusOf(w.Balancer, "u").State; o != own || u != usual {
				t.Errorf("%s: %s and %s, want %s and %s", when, o, u, own, usual)
			}
		}
		both(100, true)
		want("answering", lb.StateGood, lb.StateGood)
		both(4, false)
		want("four missed", lb.StateGood, lb.StateDown)
		both(3, false)
		want("seven missed", lb.StateDown, lb.StateDown)
		both(15, true)
		want("15 answered in 1.5 s", lb.StateDown, lb.StateDown)
		both(15, true)
		want("30 answered in 3 s", lb.StateGood, lb.StateGood)
		w.put(&tandem.Cluster{Head: tandem.Head{ID: "own"}})
		synctest.Wait()
		both(100, true)
		both(4, false)
		want("without thresholds of its own, four missed", lb.StateDown, lb.StateDown)
	})
}
