package lb_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/tandem"
	"tandem/lb"
)

func newBalancer(t testing.TB, cfg lb.Config, leases lb.Leases) *lb.Balancer {
	t.Helper()
	b, err := lb.New(cfg, lb.Deps{Leases: leases}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a1", "a2"} {
		b.PutNode(node(id, "a"))
	}
	b.PutNode(node("b1", "b"))
	b.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 3})
	b.PutGroup(lb.Group{ID: "gb", Cluster: "b", Permitted: 2})
	return b
}

func node(id, cluster string) *tandem.Node {
	return &tandem.Node{Head: tandem.Head{ID: id}, Cluster: cluster}
}

// reading returns the sum of a metric over its labels.
func reading(b *lb.Balancer, name string) (sum float64) {
	b.Metrics(func(s tandem.Sample) {
		if s.Name == name {
			sum += s.Value
		}
	})
	return sum
}

func admit(t *testing.T, b *lb.Balancer, r tandem.Admission) tandem.Admitted {
	t.Helper()
	p, refused := b.Admit(r)
	if refused.Code != 0 {
		t.Fatalf("Admit(%+v) refused: %+v", r, refused)
	}
	return p
}

func wantRefusal(t *testing.T, b *lb.Balancer, r tandem.Admission, code int, reason lb.Reason, group string) {
	t.Helper()
	_, got := b.Admit(r)
	if got.Code != code || got.Reason != string(reason) || got.Group != group || (code == 503) != (got.RetryAfter > 0) {
		t.Errorf("Admit(%+v) = %+v, want %d %s for group %s", r, got, code, reason, group)
	}
}

// TestPermitted: L5, L6, L8, L10 and limits that change while calls are up.
func TestPermitted(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	inA, cross := tandem.Admission{Group: "ga", Other: "ga"}, tandem.Admission{Group: "gb", Other: "ga"}
	first := admit(t, b, inA)
	if b.Used("ga") != 1 || (first.Node != "a1" && first.Node != "a2") {
		t.Errorf("a call within ga uses %d slots on %s, want 1 on a1 or a2", b.Used("ga"), first.Node)
	}
	crossing := admit(t, b, cross)
	if crossing.Node != "b1" || b.Used("ga") != 2 || b.Used("gb") != 1 {
		t.Errorf("a call from ga to gb is on %s with %d and %d slots, want b1, 2 and 1", crossing.Node, b.Used("ga"), b.Used("gb"))
	}
	admit(t, b, inA)
	wantRefusal(t, b, inA, 486, lb.ReasonPermitted, "ga")
	wantRefusal(t, b, cross, 486, lb.ReasonPermitted, "ga")
	if b.Used("gb") != 1 {
		t.Errorf("gb has %d slots after a refusal for ga, want 1: all or none", b.Used("gb"))
	}
	admit(t, b, tandem.Admission{Group: "gb"}) // others are unaffected
	if !b.Release(first.Slot) {
		t.Error("a release did not count")
	}
	again := admit(t, b, inA)

	b.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 1})
	b.Release(again.Slot)
	wantRefusal(t, b, inA, 486, lb.ReasonPermitted, "ga") // two are up, one is permitted
	b.Release(crossing.Slot)
	wantRefusal(t, b, inA, 486, lb.ReasonPermitted, "ga")
	b.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 2})
	admit(t, b, inA)
	b.PutGroup(lb.Group{ID: "gb", Cluster: "b", Permitted: 0})
	wantRefusal(t, b, tandem.Admission{Group: "gb"}, 486, lb.ReasonPermitted, "gb") // zero permits none
}

// TestReleaseTwice: a second release, also after its holding was used again, changes nothing.
func TestReleaseTwice(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	p := admit(t, b, tandem.Admission{Group: "ga"})
	b.Release(p.Slot)
	for range 200 { // round all shards, so that the same holding is taken again
		b.Release(admit(t, b, tandem.Admission{Group: "ga"}).Slot)
	}
	admit(t, b, tandem.Admission{Group: "ga"})
	for _, slot := range []tandem.Slot{p.Slot, 0, 1 << 40, ^tandem.Slot(0)} {
		if b.Answered(slot); b.Release(slot) {
			t.Errorf("Release(%#x) counted", slot)
		}
	}
	if b.Used("ga") != 1 || reading(b, "tandem_lb_released_twice_total") != 4 || reading(b, "tandem_lb_negative_total") != 0 {
		t.Errorf("%d slots, %v double releases, want 1 and 4", b.Used("ga"), reading(b, "tandem_lb_released_twice_total"))
	}
}

func TestRefusals(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	b.PutGroup(lb.Group{ID: "homeless", Permitted: 5})
	b.PutGroup(lb.Group{ID: "lost", Cluster: "z", Permitted: 5})
	b.PutGroup(lb.Group{ID: "picky", Cluster: "a", Permitted: 5, MinQuality: 50})
	wantRefusal(t, b, tandem.Admission{Group: "nobody"}, 503, lb.ReasonNoCluster, "nobody")
	wantRefusal(t, b, tandem.Admission{Group: "ga", Other: "nobody"}, 503, lb.ReasonNoCluster, "nobody")
	wantRefusal(t, b, tandem.Admission{Group: "homeless"}, 503, lb.ReasonNoCluster, "homeless")
	wantRefusal(t, b, tandem.Admission{Group: "lost"}, 503, lb.ReasonNoNode, "lost")
	wantRefusal(t, b, tandem.Admission{Group: "picky"}, 503, lb.ReasonQuality, "picky") // unknown is not good
	admit(t, newPicky(t), tandem.Admission{Group: "picky"})                             // but by policy
	if b.Used("homeless")+b.Used("lost")+b.Used("picky")+b.Used("ga") != 0 {
		t.Error("a refusal kept a slot")
	}
	b.PutNode(&tandem.Node{Head: tandem.Head{ID: "b1"}, Cluster: "b", State: tandem.NodeDraining})
	wantRefusal(t, b, tandem.Admission{Group: "gb"}, 503, lb.ReasonNoNode, "gb")
	admit(t, b, tandem.Admission{Group: "gb", Counted: true})
	b.PutNode(&tandem.Node{Head: tandem.Head{ID: "b1"}, Cluster: "b", Types: []tandem.RequestType{"voicemail"}})
	wantRefusal(t, b, tandem.Admission{Group: "gb", Type: "invite"}, 503, lb.ReasonNoNode, "gb")
	admit(t, b, tandem.Admission{Group: "gb", Type: "voicemail"})
	b.PutNode(&tandem.Node{Head: tandem.Head{ID: "b1"}, Cluster: "b", Ports: tandem.Ports{HTTP: 80}})
	wantRefusal(t, b, tandem.Admission{Group: "gb"}, 503, lb.ReasonNoNode, "gb") // a web server takes no calls
	b.PutNode(&tandem.Node{Head: tandem.Head{ID: "b1"}, Cluster: "b", Ports: tandem.Ports{HTTP: 80, TCP: 5060}})
	b.PutGroup(lb.Group{ID: "gb", Cluster: "b", Permitted: 9})
	b.Release(admit(t, b, tandem.Admission{Group: "gb"}).Slot)
	b.DropGroup("gb")
	wantRefusal(t, b, tandem.Admission{Group: "gb"}, 503, lb.ReasonNoCluster, "gb")

	small := newBalancer(t, lb.Config{MaxCalls: 64}, nil)
	small.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 1000})
	for range 64 {
		admit(t, small, tandem.Admission{Group: "ga"})
	}
	wantRefusal(t, small, tandem.Admission{Group: "ga"}, 503, lb.ReasonCapacity, "ga")
	if small.Used("ga") != 64 {
		t.Errorf("%d slots with a full table, want 64", small.Used("ga"))
	}
}

func newPicky(t *testing.T) *lb.Balancer {
	b := newBalancer(t, lb.Config{Policy: lb.Policy{UnknownQualifies: true}}, nil)
	b.PutGroup(lb.Group{ID: "picky", Cluster: "a", Permitted: 5, MinQuality: 50})
	return b
}

// TestEmergency: E1: caps, unknown groups and nodes hinder nothing, and the count stays exact.
func TestEmergency(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	b.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 0})
	p := admit(t, b, tandem.Admission{Group: "ga", Other: "nobody", Emergency: true})
	admit(t, b, tandem.Admission{Group: "nobody", Emergency: true})
	if b.Used("ga") != 1 {
		t.Errorf("%d slots, want 1", b.Used("ga"))
	}
	wantRefusal(t, b, tandem.Admission{Group: "ga"}, 486, lb.ReasonPermitted, "ga")
	if b.Release(p.Slot); b.Used("ga") != 0 {
		t.Errorf("%d slots, want 0", b.Used("ga"))
	}
}

// TestRestore: calls from records take their slots again, before and after the rules are known.
func TestRestore(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	var slots []tandem.Slot
	for range 4 { // one more than is permitted by now
		slots = append(slots, b.Restore([]string{"ga", "later"}, "a1", true))
	}
	b.PutGroup(lb.Group{ID: "later", Cluster: "b", Permitted: 5})
	wantRefusal(t, b, tandem.Admission{Group: "ga"}, 486, lb.ReasonPermitted, "ga")
	if calls := statusOf(b, "a1"); calls.Calls != 4 || calls.InSetUp != 0 || b.Used("later") != 4 {
		t.Errorf("a1 has %d calls, %d in set-up; later has %d slots; want 4, 0, 4", calls.Calls, calls.InSetUp, b.Used("later"))
	}
	for _, s := range slots {
		b.Release(s)
	}
	if b.Used("ga") != 0 || b.Used("later") != 0 || statusOf(b, "a1").Calls != 0 {
		t.Error("not back to zero")
	}
}

// statusOf returns a node's line in a table made now.
func statusOf(b *lb.Balancer, id string) lb.NodeStatus {
	b.PutNode(node("elsewhere", "other")) // any change makes a new table
	for _, c := range b.Table().Clusters {
		for _, n := range c.Nodes {
			if n.ID == id {
				return n
			}
		}
	}
	return lb.NodeStatus{}
}

func TestMove(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	r := tandem.Admission{Group: "ga"}
	p := admit(t, b, r)
	other := map[string]string{"a1": "a2", "a2": "a1"}[p.Node]
	if !b.Move(p.Slot, other) {
		t.Errorf("no move to %s", other)
	}
	b.Probed(p.Node, time.Millisecond, true)
	b.Broken(p.Node, "refused")
	if b.Move(p.Slot, p.Node) {
		t.Error("moved to a dead node")
	}
	if statusOf(b, p.Node).Calls != 0 || statusOf(b, other).Calls != 1 || statusOf(b, other).InSetUp != 1 {
		t.Error("the call is not counted where it is")
	}
	b.Answered(p.Slot)
	if b.Move(p.Slot, other) {
		t.Error("an answered call was moved")
	}
	b.Release(p.Slot)
	if b.Move(p.Slot, other) || statusOf(b, other).Calls != 0 || statusOf(b, other).InSetUp != 0 {
		t.Error("a released call is still there")
	}
}

// TestInterleavings: 64 goroutines admit, answer, move and release, many of them twice, while limits
// and nodes change: never over the highest limit, and at the end all is zero (L13, L14).
func TestInterleavings(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	var up [2]atomic.Int64
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for range 500 {
				request := []tandem.Admission{{Group: "ga"}, {Group: "gb"}, {Group: "ga", Other: "gb"}, {Group: "gb", Other: "ga"}}[r.IntN(4)]
				p, refused := b.Admit(request)
				if refused.Code != 0 {
					continue
				}
				for i, id := range []string{"ga", "gb"} {
					if request.Group == id || request.Other == id {
						if n := up[i].Add(1); n > 40 {
							t.Errorf("%d calls of %s, never more than 40 were permitted", n, id)
						}
					}
				}
				ends(b, r, p.Slot, func() {
					for i, id := range []string{"ga", "gb"} {
						if request.Group == id || request.Other == id {
							up[i].Add(-1)
						}
					}
				})
			}
		})
	}
	wg.Go(func() {
		for i := range 500 {
			b.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 1 + i%40})
			b.PutGroup(lb.Group{ID: "gb", Cluster: "b", Permitted: 40 - i%40})
			b.Broken([]string{"a1", "a2", "b1"}[i%3], "refused")
			b.DropNode("b1")
			b.PutNode(node("b1", "b"))
		}
	})
	wg.Wait()
	if b.Used("ga") != 0 || b.Used("gb") != 0 || reading(b, "tandem_lb_slots") != 0 || reading(b, "tandem_lb_negative_total") != 0 {
		t.Errorf("left: %d, %d, %v slots", b.Used("ga"), b.Used("gb"), reading(b, "tandem_lb_slots"))
	}
	for _, id := range []string{"a1", "a2"} {
		if n := statusOf(b, id); n.Calls != 0 || n.InSetUp != 0 {
			t.Errorf("left at %s: %d calls, %d in set-up", id, n.Calls, n.InSetUp)
		}
	}
}

// ends brings one call to one of many ends, two of which may race.
func ends(b *lb.Balancer, r *rand.Rand, slot tandem.Slot, before func()) {
	switch before(); r.IntN(4) {
	case 0: // cancelled in set-up, reported twice
		b.Release(slot)
		b.Release(slot)
	case 1: // answered, ended from both sides at once
		b.Answered(slot)
		var wg sync.WaitGroup
		wg.Go(func() { b.Release(slot) })
		wg.Go(func() { b.Release(slot) })
		wg.Wait()
	case 2: // moved while cancelled
		var wg sync.WaitGroup
		wg.Go(func() { b.Move(slot, "a2") })
		b.Release(slot)
		wg.Wait()
	case 3: // answered while timed out
		var wg sync.WaitGroup
		wg.Go(func() { b.Answered(slot) })
		b.Release(slot)
		wg.Wait()
	}
}

// TestBurst: of a burst of many more callers than are permitted, exactly as many get through.
func TestBurst(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	b.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 50})
	var through atomic.Int64
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, r := b.Admit(tandem.Admission{Group: "ga"}); r.Code == 0 {
				through.Add(1)
			}
		})
	}
	if wg.Wait(); through.Load() != 50 || b.Used("ga") != 50 {
		t.Errorf("%d got through, %d slots used, want 50", through.Load(), b.Used("ga"))
	}
}

// TestAffinity: L16: a group's calls share a node; when it goes, they share another; the twin does not.
func TestAffinity(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	for i := range 6 {
		b.PutNode(node(fmt.Sprint("a", i), "a"))
	}
	nodesOf := func() []string {
		var seen []string
		for range 40 {
			p := admit(t, b, tandem.Admission{Group: "ga"})
			seen = append(seen, p.Node)
		}
		slices.Sort(seen)
		return slices.Compact(seen)
	}
	b.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 1000})
	if spread := nodesOf(); len(spread) != 6 {
		t.Errorf("without affinity calls are on %v, want on 6 nodes", spread)
	}
	b.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 1000, Affinity: true})
	home := nodesOf()
	if len(home) != 1 {
		t.Fatalf("with affinity calls are on %v, want on one node", home)
	}
	b.DropNode(home[0])
	if next := nodesOf(); len(next) != 1 || next[0] == home[0] {
		t.Errorf("after %v went calls are on %v, want on one other", home, next)
	}
}

// TestDropGroup: what was known of a dropped group goes once its last call ended, not before; a group
// of that name finds the calls that are still up.
func TestDropGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBalancer(t, lb.Config{}, nil)
		ctx, end := contextWithEnd(t)
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		p := admit(t, b, tandem.Admission{Group: "gb"})
		b.DropGroup("gb")
		time.Sleep(10 * time.Minute)
		wantRefusal(t, b, tandem.Admission{Group: "ga", Other: "gb"}, 503, lb.ReasonNoCluster, "gb")
		b.PutGroup(lb.Group{ID: "gb", Cluster: "b", Permitted: 1})
		wantRefusal(t, b, tandem.Admission{Group: "gb"}, 486, lb.ReasonPermitted, "gb")
		b.DropGroup("gb")
		b.Release(p.Slot)
		time.Sleep(10 * time.Minute)
		if n := reading(b, "tandem_lb_groups"); n != 1 {
			t.Errorf("%v groups are known, want ga only", n)
		}
		end()
		<-done
	})
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBalancer(t, lb.Config{}, nil)
		done := make(chan error)
		ctx, end := contextWithEnd(t)
		go func() { done <- b.Run(ctx) }()
		time.Sleep(time.Second)
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestConfig(t *testing.T) {
	if err := (lb.Config{}).Validate(); err != nil {
		t.Errorf("the zero configuration: %v", err)
	}
	for _, c := range []lb.Config{
		{MaxCalls: -1}, {RetryAfter: -1}, {Ramp: -1}, {Quality: lb.Quality{Low: 80, High: 70}}, {Quality: lb.Quality{Low: -3}},
		{Quality: lb.Quality{Timeouts: -1}}, {Quality: lb.Quality{Required: []lb.Part{"guess"}}},
	} {
		if c.Validate() == nil {
			t.Errorf("%+v passes", c)
		}
	}
}

func contextWithEnd(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}

// TestAmong: of the places that a name leads to, those that will do stand in front, the best first.
func TestAmong(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	b.PutNode(&tandem.Node{Head: tandem.Head{ID: "out"}, Cluster: "a", State: tandem.NodeOut})
	among := func(nodes ...string) []tandem.Choice {
		var all []tandem.Choice
		for i, n := range nodes {
			all = append(all, tandem.Choice{Node: n, Index: i})
		}
		return all
	}
	for range 10 { // b1 is full of calls, so that a1 comes first
		admit(t, b, tandem.Admission{Group: "gb", Emergency: true, Among: among("b1")})
	}
	r := tandem.Admission{Group: "ga", Among: among("b1", "out", "", "a1")}
	got := admit(t, b, r)
	if got.Usable != 3 || r.Among[0].Node != "a1" || r.Among[1].Node != "b1" || r.Among[2].Node != "" || got.Node != "a1" {
		t.Errorf("Admit = %+v with %+v, want a1, b1 and the stranger", got, r.Among)
	}
	r.Among = among("b1", "a1")
	r.Among[1].Tier = 1
	if got = admit(t, b, r); got.Node != "b1" {
		t.Errorf("placed on %s of a later tier, want b1", got.Node)
	}
	wantRefusal(t, b, tandem.Admission{Group: "gb", Among: among("out")}, 503, lb.ReasonNoNode, "gb")
	wantRefusal(t, b, tandem.Admission{Group: "gb", Among: []tandem.Choice{}}, 503, lb.ReasonNoNode, "gb")
	b.PutGroup(lb.Group{ID: "gb", Cluster: "b", Permitted: 20, MinQuality: 50})
	wantRefusal(t, b, tandem.Admission{Group: "gb", Among: among("b1", "out")}, 503, lb.ReasonQuality, "gb")

	b.Broken("b1", "refused")
	b.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 9})
	r = tandem.Admission{Group: "ga", Among: among("b1", "a1", "out")}
	if got = admit(t, b, r); got.Node != "a1" || got.Usable != 2 || r.Among[1].Node != "b1" {
		t.Errorf("a node that refused but was never there comes %+v, want it last", r.Among)
	}
	b.Probed("b1", time.Millisecond, true)
	b.Broken("b1", "refused")
	if got = admit(t, b, r); got.Usable != 1 {
		t.Errorf("a node that was there and is dead is among %+v", r.Among)
	}
	emergency := tandem.Admission{Group: "gb", Emergency: true, Among: among("out", "b1", "a1")}
	if got = admit(t, b, emergency); got.Usable != 3 || emergency.Among[0].Node != "a1" || emergency.Among[1].Node != "out" {
		t.Errorf("an emergency call goes by %+v, want a1, out, b1", emergency.Among)
	}
}

// TestJoin: what continues a call behind a feature server is counted only in groups that are new.
func TestJoin(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	first := admit(t, b, tandem.Admission{Group: "ga"})
	same := admit(t, b, tandem.Admission{Group: "ga", Counted: true, Joined: first.Slot})
	if b.Used("ga") != 1 || same.Slot != 0 {
		t.Errorf("%d slots for a call of two legs, want 1", b.Used("ga"))
	}
	admit(t, b, tandem.Admission{Group: "gb", Counted: true, Joined: first.Slot})
	trunk := admit(t, b, tandem.Admission{Group: "gb", Joined: first.Slot})
	if b.Used("ga") != 1 || b.Used("gb") != 1 || trunk.Node != "b1" || statusOf(b, "b1").Calls != 1 {
		t.Errorf("%d and %d slots, second leg on %q, want 1, 1, b1", b.Used("ga"), b.Used("gb"), trunk.Node)
	}
	admit(t, b, tandem.Admission{Group: "gb"})
	other := admit(t, b, tandem.Admission{Group: "ga"})
	wantRefusal(t, b, tandem.Admission{Group: "gb", Counted: true, Joined: other.Slot}, 486, lb.ReasonPermitted, "gb")
	b.Release(trunk.Slot)
	b.Release(first.Slot)
	if b.Used("ga") != 1 || b.Used("gb") != 1 {
		t.Errorf("%d and %d slots after the call, want 1 and 1", b.Used("ga"), b.Used("gb"))
	}
	wantRefusal(t, b, tandem.Admission{Group: "gb", Counted: true, Joined: first.Slot}, 503, lb.ReasonCapacity, "gb")
}
