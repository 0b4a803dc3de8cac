package lb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
	"tandem/lb"
)

// memory is a store without a disk: what is appended is followed, in order, by another goroutine.
type memory struct {
	mu       sync.Mutex
	last     tandem.Revision
	objects  map[string]tandem.Object // assignments by group
	batches  []int                    // sizes of the planner's
	broken   bool
	tries    []time.Time // while broken
	followed chan []tandem.Change
}

var errBroken = errors.New("the disk is full")

func (m *memory) Append(_ context.Context, by tandem.Principal, edits []tandem.Edit) (tandem.Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if by.Name == "lb" {
		if m.broken {
			m.tries = append(m.tries, time.Now())
			return 0, errBroken
		}
		m.batches = append(m.batches, len(edits))
	}
	var changes []tandem.Change
	for i, e := range edits {
		if e.Object == nil && e.Kind == tandem.KindAssignment && m.objects[e.ID] == nil {
			return 0, &tandem.EditError{Index: i, Kind: e.Kind, ID: e.ID, Err: tandem.ErrNotFound}
		}
	}
	for _, e := range edits {
		m.last++
		if e.Kind == tandem.KindAssignment {
			if m.objects[e.ID] = e.Object; e.Object == nil {
				delete(m.objects, e.ID)
			}
		}
		changes = append(changes, tandem.Change{Revision: m.last, Kind: e.Kind, ID: e.ID, Object: e.Object, Actor: by.Name})
	}
	m.followed <- changes
	return m.last, nil
}

func (m *memory) assigned(group string) *tandem.Assignment {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, _ := m.objects[group].(*tandem.Assignment)
	return a
}

// clusters are the groups' clusters as stored.
func (m *memory) clusters() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]string)
	for id, o := range m.objects {
		all[id] = o.(*tandem.Assignment).Cluster
	}
	return all
}

// works is tier 1 and tier 2 over a memory, running.
type works struct {
	t *testing.T
	*lb.Balancer
	planner *lb.Planner
	store   *memory
	log     bytes.Buffer
}

// newWorks runs a planner that has seen an empty store. It must be called in a synctest bubble.
func newWorks(t *testing.T, cfg lb.Config) *works {
	t.Helper()
	w := &works{t: t, store: &memory{objects: make(map[string]tandem.Object), followed: make(chan []tandem.Change, 10000)}}
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	var err error
	if w.Balancer, err = lb.New(cfg, lb.Deps{}, log); err != nil {
		t.Fatal(err)
	}
	if w.planner, err = lb.NewPlanner(cfg, lb.PlannerDeps{Balancer: w.Balancer, Store: w.store}, log); err != nil {
		t.Fatal(err)
	}
	w.planner.Apply(nil)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.Balancer.Run(ctx) })
	running.Go(func() { _ = w.planner.Run(ctx) })
	running.Go(func() {
		for changes := range w.store.followed {
			w.planner.Apply(changes)
		}
	})
	t.Cleanup(func() {
		cancel()
		close(w.store.followed)
		running.Wait()
	})
	return w
}

// put commits objects and returns their last revision.
func (w *works) put(objects ...tandem.Object) tandem.Revision {
	edits := make([]tandem.Edit, len(objects))
	for i, o := range objects {
		edits[i] = tandem.Edit{Kind: o.Kind(), ID: o.Header().ID, Object: o}
	}
	last, _ := w.store.Append(context.Background(), tandem.Principal{Name: "test"}, edits)
	return last
}

func (w *works) drop(kind tandem.Kind, id string) tandem.Revision {
	last, _ := w.store.Append(context.Background(), tandem.Principal{Name: "test"}, []tandem.Edit{{Kind: kind, ID: id}})
	return last
}

// settle waits until a plan has seen the revision.
func (w *works) settle(revision tandem.Revision) tandem.Revision {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	at, err := w.planner.Settled(ctx, revision)
	if err != nil {
		w.t.Fatalf("Settled(%d) = %v, want it within a second", revision, err)
	}
	return at
}

func (w *works) want(group, cluster, reason string) {
	w.t.Helper()
	a := w.store.assigned(group)
	if a == nil || a.Cluster != cluster || a.Reason != reason {
		w.t.Errorf("assignment of %s is %+v, want %q because %q", group, a, cluster, reason)
	}
}

func (w *works) reading(name string) (sum float64) {
	w.planner.Metrics(func(s tandem.Sample) {
		if s.Name == name {
			sum += s.Value
		}
	})
	return sum
}

func clusterOf(id string, capacity int) *tandem.Cluster {
	return &tandem.Cluster{Head: tandem.Head{ID: id}, Capacity: &capacity}
}

func groupOf(id string, expected int) *tandem.Group {
	return &tandem.Group{Head: tandem.Head{ID: id}, Expected: &expected}
}

// two puts two clusters of a node each.
func (w *works) two(capacity int) tandem.Revision {
	return w.put(clusterOf("a", capacity), clusterOf("b", capacity), node("a1", "a"), node("b1", "b"))
}

// probe has a node answer probes for a while.
func (w *works) probe(node string, trip time.Duration) {
	for range 12 {
		w.Probed(node, trip, true)
		time.Sleep(500 * time.Millisecond)
	}
}

// TestPlannerAssigns: an applied group gets a cluster, tier 2 knows it, and Settled says from which
// revision on; twin: what matters to nobody makes no plan.
func TestPlannerAssigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, lb.Config{})
		w.two(100)
		last := w.put(groupOf("g", 10), groupOf("h", 20))
		if at := w.settle(last); at != last+2 {
			t.Errorf("settled at %d, want %d: two assignments after revision %d", at, last+2, last)
		}
		w.want("g", "b", "new")
		w.want("h", "a", "new")
		if got := admit(t, w.Balancer, tandem.Admission{Group: "h"}); got.Node != "a1" {
			t.Errorf("a call of h is on %q, want a1", got.Node)
		}
		plans := w.reading("tandem_lb_plans_total")
		named, permitted := groupOf("g", 10), 7
		named.Name, named.Permitted = "G", &permitted
		last = w.put(named)
		if at := w.settle(last); at != last+0 {
			t.Errorf("settled at %d, want %d", at, last)
		}
		time.Sleep(time.Minute)
		if now := w.reading("tandem_lb_plans_total"); now != plans {
			t.Errorf("%v plans after a change that matters to none, want %v", now, plans)
		}
	})
}

// TestPlannerWaitsForAll: before the whole store was seen nothing is planned, and what is pinned or
// assigned already counts; then plans begin.
func TestPlannerWaitsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{objects: make(map[string]tandem.Object), followed: make(chan []tandem.Change, 10)}
		b, _ := lb.New(lb.Config{}, lb.Deps{}, slog.New(slog.DiscardHandler))
		p, err := lb.NewPlanner(lb.Config{}, lb.PlannerDeps{Balancer: b, Store: store}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = p.Run(ctx) }()
		pinned := groupOf("pinned", 1)
		pinned.Cluster = "a"
		other := groupOf("other", 1)
		other.Cluster = "a"
		for i, o := range []tandem.Object{
			pinned, other, groupOf("free", 1), clusterOf("a", 10), clusterOf("b", 10), node("a1", "a"), node("b1", "b"),
			&tandem.Assignment{Head: tandem.Head{ID: "other"}, Cluster: "b"},
		} {
			p.Apply([]tandem.Change{{Revision: tandem.Revision(10 - i), Kind: o.Kind(), ID: o.Header().ID, Object: o}})
		}
		time.Sleep(5 * time.Second)
		if len(store.clusters()) != 0 {
			t.Errorf("assigned %v before all was seen", store.clusters())
		}
		if got := admit(t, b, tandem.Admission{Group: "pinned"}); got.Node != "a1" {
			t.Errorf("a call of the pinned group is on %q, want a1", got.Node)
		}
		if got := admit(t, b, tandem.Admission{Group: "other"}); got.Node != "b1" {
			t.Errorf("a call of a group pinned elsewhere since is on %q, want b1 until there is a plan", got.Node)
		}
		wantRefusal(t, b, tandem.Admission{Group: "free"}, 503, lb.ReasonNoCluster, "free")
		p.Apply(nil)
		p.Restored(12) // the store's last change was a deletion
		if _, err := p.Settled(t.Context(), 12); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"pinned": "a", "other": "a", "free": "b"}
		if diff := cmp.Diff(want, store.clusters()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestPlannerLostCluster: groups leave a cluster within a second of its last node's end, and one
// that has nowhere to go is refused, named in the log once, and counted; twin: a cluster that was
// never measured keeps its groups, whatever they need.
func TestPlannerLostCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, lb.Config{})
		w.two(100)
		w.settle(w.put(groupOf("g", 60), groupOf("h", 70)))
		w.want("h", "a", "new")
		picky := groupOf("h", 70)
		picky.MinQuality = 80
		w.settle(w.put(picky))
		w.want("h", "a", "new")
		w.Probed("a1", time.Millisecond, true) // it was there
		w.Broken("a1", "connection refused")
		time.Sleep(time.Second)
		w.want("h", "", "no-quality")
		w.want("g", "b", "new")
		wantRefusal(t, w.Balancer, tandem.Admission{Group: "h"}, 503, lb.ReasonQuality, "h")
		if n := w.reading("tandem_lb_unplaced_groups"); n != 1 {
			t.Errorf("%v groups without a cluster are counted, want 1", n)
		}
		w.settle(w.put(groupOf("h", 70)))
		w.want("h", "", "no-room")
		if a := w.store.assigned("h"); a.From != "a" || a.Refuse != "no-cluster" || !strings.Contains(a.Text, "expects 70") {
			t.Errorf("assignment %+v, want where it came from, how it is refused and the numbers", a)
		}
		w.settle(w.put(groupOf("i", 0))) // another plan says nothing new
		synctest.Wait()                  // the plan is stored before it is logged
		if n := strings.Count(w.log.String(), "group=h reason=no-room"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, &w.log)
		}
		w.settle(w.put(groupOf("h", 20)))
		w.want("h", "b", "new")
		if n := w.reading("tandem_lb_unplaced_groups"); n != 0 {
			t.Errorf("%v groups without a cluster are counted, want 0", n)
		}
	})
}

// TestPlannerQuality: a group leaves a cluster that is measured to be too poor; twin: noise around
// the value, and quality that nobody asks for, make no plan.
func TestPlannerQuality(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, lb.Config{})
		w.two(100)
		w.probe("a1", time.Millisecond)
		w.probe("b1", time.Millisecond)
		for range 2 { // both stay known
			w.Probed("a1", time.Millisecond, true)
		}
		picky := groupOf("g", 10)
		picky.MinQuality = 80
		w.settle(w.put(picky, groupOf("h", 10)))
		measure := func(trip time.Duration) {
			for range 20 {
				w.Probed("a1", trip, true)
				w.Probed("b1", time.Millisecond, true)
				time.Sleep(500 * time.Millisecond)
			}
		}
		measure(time.Millisecond)
		w.want("g", "b", "new")
		plans := w.reading("tandem_lb_plans_total")
		for range 10 { // a few points less, and more
			measure(40 * time.Millisecond)
			measure(time.Millisecond)
		}
		if now := w.reading("tandem_lb_plans_total"); now != plans {
			t.Errorf("%v plans under noise, want %v", now, plans)
		}
		for range 20 {
			w.Probed("a1", time.Millisecond, true)
			w.Probed("b1", 700*time.Millisecond, true)
			time.Sleep(500 * time.Millisecond)
		}
		w.want("g", "a", "low-quality")
	})
}

// TestPlannerCoalesces: a burst of batches makes a few plans, the first not later than half a second.
func TestPlannerCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, lb.Config{})
		w.settle(w.two(1_000_000))
		before := w.reading("tandem_lb_plans_total")
		var last tandem.Revision
		for n := range 100 { // 2 s
			var batch []tandem.Object
			for i := range 50 {
				batch = append(batch, groupOf(fmt.Sprintf("g%03d-%02d", n, i), 1))
			}
			last = w.put(batch...)
			time.Sleep(20 * time.Millisecond)
		}
		w.settle(last)
		if plans := w.reading("tandem_lb_plans_total") - before; plans < 4 || plans > 6 {
			t.Errorf("%v plans in 2 s of changes, want about one each half second", plans)
		}
		if len(w.store.clusters()) != 5000 || slices.Max(w.store.batches) != 1000 {
			t.Errorf("%d groups in batches of up to %d, want 5000 in batches of 1000", len(w.store.clusters()), slices.Max(w.store.batches))
		}
	})
}

// TestPlannerBackOff: what cannot be stored is tried again, ever more rarely, and Settled waits;
// then the plan is of what holds by then.
func TestPlannerBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, lb.Config{})
		w.settle(w.two(100))
		w.store.mu.Lock()
		w.store.broken = true
		w.store.mu.Unlock()
		last := w.put(groupOf("g", 1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := w.planner.Settled(ctx, last); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Settled = %v while nothing can be stored, want the deadline", err)
		}
		w.store.mu.Lock()
		tries := w.store.tries
		w.store.broken = false
		w.store.mu.Unlock()
		if len(tries) < 10 || len(tries) > 20 {
			t.Errorf("%d tries in a minute, want a back-off from 100 ms to 5 s", len(tries))
		}
		for i := 2; i < len(tries); i++ {
			if tries[i].Sub(tries[i-1]) < tries[i-1].Sub(tries[i-2]) {
				t.Errorf("try %d came after %s, the one before after %s", i, tries[i].Sub(tries[i-1]), tries[i-1].Sub(tries[i-2]))
			}
		}
		last = w.put(groupOf("g", 101))
		time.Sleep(5 * time.Second)
		w.settle(last)
		w.want("g", "", "too-large")
	})
}

// TestPlannerPins: a pin moves the group, its end keeps it where it is.
func TestPlannerPins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, lb.Config{})
		w.two(100)
		w.settle(w.put(groupOf("g", 10)))
		w.want("g", "a", "new")
		pinned := groupOf("g", 10)
		pinned.Cluster = "b"
		w.settle(w.put(pinned))
		w.want("g", "b", "pin")
		w.settle(w.put(groupOf("g", 10)))
		w.want("g", "b", "pin")
	})
}

// TestPlannerGoneGroups: the assignment of a group that is deleted goes too, also when it came back
// in between, or somebody else deleted the assignment.
func TestPlannerGoneGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, lb.Config{})
		w.two(100)
		w.settle(w.put(groupOf("g", 1), groupOf("h", 1), groupOf("i", 1)))
		w.drop(tandem.KindGroup, "g")
		w.drop(tandem.KindGroup, "h")
		w.settle(w.put(groupOf("h", 2)))
		if got := slices.Sorted(maps.Keys(w.store.clusters())); !slices.Equal(got, []string{"h", "i"}) {
			t.Errorf("assignments of %q, want h and i", got)
		}
		w.settle(w.drop(tandem.KindAssignment, "i"))
		w.want("i", "a", "new")
		w.drop(tandem.KindGroup, "i")
		w.settle(w.drop(tandem.KindAssignment, "i"))
		if w.store.assigned("i") != nil {
			t.Error("i has an assignment, want none")
		}
	})
}

// TestPlannerForeign: an assignment that another one wrote and that does not hold is mended; twin:
// one that does is kept.
func TestPlannerForeign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, lb.Config{})
		w.two(100)
		w.settle(w.put(groupOf("g", 10)))
		w.want("g", "a", "new")
		w.settle(w.put(&tandem.Assignment{Head: tandem.Head{ID: "g"}, Cluster: "b", Reason: "by hand"}))
		w.want("g", "b", "by hand")
		w.settle(w.put(&tandem.Assignment{Head: tandem.Head{ID: "g"}, Cluster: "z", Reason: "by hand"}))
		w.want("g", "a", "cluster-lost")
	})
}

// TestPlannerSame: the same objects in any order and any batches lead to the same assignments.
func TestPlannerSame(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var objects []tandem.Object
	for c := range 5 {
		id := fmt.Sprint("c", c)
		objects = append(objects, clusterOf(id, 200+50*c), node(id+"n", id))
	}
	for g := range 200 {
		objects = append(objects, groupOf(fmt.Sprintf("g%03d", g), r.IntN(12)))
	}
	var first map[string]string
	for range 4 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorks(t, lb.Config{})
			var last tandem.Revision
			for batch := range slices.Chunk(objects, 1+r.IntN(80)) {
				last = w.put(batch...)
			}
			w.settle(last)
			if first == nil {
				first = w.store.clusters()
			}
			if diff := cmp.Diff(first, w.store.clusters()); diff != "" {
				t.Errorf("another order, other clusters: %s", diff)
			}
		})
		r.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
	}
}

// TestPlannerLook runs a planner's time by hand: nothing is planned before the snapshot is whole and
// the quiet time over, then all at once.
func TestPlannerLook(t *testing.T) {
	now := time.Unix(1000, 0)
	clock := func() time.Time { return now }
	store := &memory{objects: make(map[string]tandem.Object), followed: make(chan []tandem.Change, 100)}
	log := slog.New(slog.DiscardHandler)
	b, err := lb.New(lb.Config{}, lb.Deps{Now: clock}, log)
	if err != nil {
		t.Fatal(err)
	}
	p, err := lb.NewPlanner(lb.Config{}, lb.PlannerDeps{Balancer: b, Store: store, Now: clock}, log)
	if err != nil {
		t.Fatal(err)
	}
	p.Apply([]tandem.Change{
		{Revision: 1, Kind: tandem.KindCluster, ID: "c", Object: &tandem.Cluster{Head: tandem.Head{ID: "c"}}},
		{Revision: 2, Kind: tandem.KindNode, ID: "n", Object: node("n", "c")},
		{Revision: 3, Kind: tandem.KindGroup, ID: "g", Object: &tandem.Group{Head: tandem.Head{ID: "g"}}},
	})
	now = now.Add(10 * time.Millisecond)
	if p.Look(t.Context()) || store.assigned("g") != nil {
		t.Error("a plan waits, or was made, of half a snapshot")
	}
	p.Apply(nil)
	if !p.Look(t.Context()) || store.assigned("g") != nil {
		t.Error("no plan waits for the quiet time")
	}
	now = now.Add(time.Second)
	if p.Look(t.Context()) || store.assigned("g") == nil || store.assigned("g").Cluster != "c" {
		t.Errorf("after the quiet time the group is assigned %+v, want c", store.assigned("g"))
	}
}
