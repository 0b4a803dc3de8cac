package lb_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/lb"
)

func TestAssign(t *testing.T) {
	a := lb.Supply{Cluster: "a", Capacity: 100, Quality: 90, Open: true}
	b := lb.Supply{Cluster: "b", Capacity: 500, Quality: 70, Open: true}
	closed, unmeasured, small := b, b, b
	large := lb.Supply{Cluster: "l", Capacity: 1000, Quality: 90, Open: true}
	closed.Open, unmeasured.Quality, small.Capacity = false, lb.Unknown, 120
	trust := lb.Policy{UnknownQualifies: true}
	for _, c := range []struct {
		name     string
		demand   lb.Demand
		supplies []lb.Supply
		policy   lb.Policy
		cluster  string
		reason   lb.Reason
	}{
		{"L2: more than a holds", lb.Demand{Expected: 101}, []lb.Supply{a, b}, lb.Policy{}, "b", lb.MoveNew},
		{"L2 twin: lowered, kept on a by its quality", lb.Demand{Expected: 100, MinQuality: 80}, []lb.Supply{a, b}, lb.Policy{}, "a", lb.MoveNew},
		{"L3: quality lacks, room or not", lb.Demand{Expected: 1, MinQuality: 71}, []lb.Supply{b}, lb.Policy{}, "", lb.NoQuality},
		{"L3 twin: just enough", lb.Demand{Expected: 1, MinQuality: 70}, []lb.Supply{b}, lb.Policy{}, "b", lb.MoveNew},
		{"L4: each cluster meets one condition only", lb.Demand{Expected: 200, MinQuality: 80}, []lb.Supply{a, b}, lb.Policy{}, "", lb.NoClusterHold},
		{"unknown is not good", lb.Demand{Expected: 1, MinQuality: 10}, []lb.Supply{unmeasured}, lb.Policy{}, "", lb.NoQuality},
		{"unknown by policy", lb.Demand{Expected: 1, MinQuality: 10}, []lb.Supply{unmeasured}, trust, "b", lb.MoveNew},
		{"stays though it is not measured any more", lb.Demand{Expected: 1, MinQuality: 80, Current: "b"}, []lb.Supply{a, unmeasured}, lb.Policy{}, "b", ""},
		{"twin: what is not measured and too small is left", lb.Demand{Expected: 600, MinQuality: 80, Current: "b"}, []lb.Supply{large, unmeasured}, lb.Policy{}, "l", lb.MoveRoom},
		{"unknown without a minimum", lb.Demand{Expected: 1}, []lb.Supply{unmeasured}, lb.Policy{}, "b", lb.MoveNew},
		{"nothing open", lb.Demand{Expected: 1}, []lb.Supply{closed}, lb.Policy{}, "", lb.NoOpen},
		{"no cluster at all", lb.Demand{Expected: 1}, nil, lb.Policy{}, "", lb.NoOpen},
		{"stays though the other is emptier", lb.Demand{Expected: 90, Current: "a"}, []lb.Supply{a, b}, lb.Policy{}, "a", ""},
		{"its cluster closed", lb.Demand{Expected: 1, Current: "b"}, []lb.Supply{a, closed}, lb.Policy{}, "a", lb.MoveLost},
		{"its cluster gone", lb.Demand{Expected: 1, Current: "z"}, []lb.Supply{a}, lb.Policy{}, "a", lb.MoveLost},
		{"its cluster too poor", lb.Demand{Expected: 1, MinQuality: 80, Current: "b"}, []lb.Supply{a, b}, lb.Policy{}, "a", lb.MoveQuality},
		{"grown over its cluster", lb.Demand{Expected: 101, Current: "a"}, []lb.Supply{a, b}, lb.Policy{}, "b", lb.MoveRoom},
		{"pinned away", lb.Demand{Expected: 1, Current: "b", Pin: "a"}, []lb.Supply{a, b}, lb.Policy{}, "a", lb.MovePin},
		{"pinned to what cannot hold it", lb.Demand{Expected: 130, Pin: "b"}, []lb.Supply{a, small}, lb.Policy{}, "", lb.NoClusterHold},
		{"pinned to what is closed: an operator's word", lb.Demand{Expected: 1, Pin: "b"}, []lb.Supply{a, closed}, lb.Policy{}, "b", lb.MoveNew},
		{"pinned to what is gone", lb.Demand{Expected: 1, Pin: "z"}, []lb.Supply{a, closed}, lb.Policy{}, "", lb.NoOpen},
		{"below zero is zero", lb.Demand{Expected: -5}, []lb.Supply{{Cluster: "a", Open: true}}, lb.Policy{}, "a", lb.MoveNew},
		{"absurdly large", lb.Demand{Expected: math.MaxInt}, []lb.Supply{b}, lb.Policy{}, "", lb.NoClusterHold},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.demand.Group = "g"
			plan := lb.Assign([]lb.Demand{c.demand}, c.supplies, c.policy)
			var reason lb.Reason
			if len(plan.Moves) > 0 {
				reason = plan.Moves[0].Reason
			}
			if len(plan.Unplaced) > 0 {
				if reason = plan.Unplaced[0].Reason; plan.Unplaced[0].Text == "" {
					t.Error("a group without a cluster and without a text that says why")
				}
			}
			if plan.Clusters[0] != c.cluster || reason != c.reason {
				t.Errorf("Assign(%+v) = %q because %q, want %q because %q", c.demand, plan.Clusters[0], reason, c.cluster, c.reason)
			}
		})
	}
}

// TestAssignRefusal: a group without a cluster is refused with the condition that an operator must mend.
func TestAssignRefusal(t *testing.T) {
	open := lb.Supply{Cluster: "a", Capacity: 10, Quality: 50, Open: true}
	down, degraded := lb.Supply{Cluster: "a", Capacity: 10}, lb.Supply{Cluster: "b", Capacity: 10, Degraded: true}
	for _, c := range []struct {
		name     string
		demand   lb.Demand
		supplies []lb.Supply
		want     lb.Reason
		text     string
	}{
		{"quality lacks", lb.Demand{MinQuality: 60}, []lb.Supply{open}, lb.ReasonQuality, "needs quality 60; the best measured is 50"},
		{"all are down", lb.Demand{}, []lb.Supply{down}, lb.ReasonNoNode, "no cluster is open"},
		{"one is merely degraded", lb.Demand{}, []lb.Supply{down, degraded}, lb.ReasonQuality, "no cluster is open"},
		{"the pinned one is not there", lb.Demand{Pin: "z"}, []lb.Supply{down, degraded}, lb.ReasonNoNode, "the pinned cluster z is not open"},
		{"too large", lb.Demand{Expected: 11}, []lb.Supply{open}, lb.ReasonNoCluster, "expects 11; the largest cluster that would do holds 10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := lb.Assign([]lb.Demand{c.demand}, c.supplies, lb.Policy{})
			if len(plan.Unplaced) != 1 || plan.Unplaced[0].Refuse != c.want || plan.Unplaced[0].Text != c.text {
				t.Errorf("Assign(%+v) leaves out %+v, want it refused with %q: %s", c.demand, plan.Unplaced, c.want, c.text)
			}
		})
	}
}

// TestAssignServedFirst: a group that lost its cluster is placed before a larger one that had none.
func TestAssignServedFirst(t *testing.T) {
	demands := []lb.Demand{{Group: "large", Expected: 100}, {Group: "served", Expected: 60, Current: "lost"}}
	supplies := []lb.Supply{{Cluster: "a", Capacity: 110, Open: true}}
	plan := lb.Assign(demands, supplies, lb.Policy{})
	if want := []string{"", "a"}; !slices.Equal(plan.Clusters, want) {
		t.Errorf("clusters %q, want %q", plan.Clusters, want)
	}
	demands[1].Current = ""
	plan = lb.Assign(demands, supplies, lb.Policy{})
	if want := []string{"a", ""}; !slices.Equal(plan.Clusters, want) {
		t.Errorf("neither was served: clusters %q, want %q", plan.Clusters, want)
	}
}

// TestAssignWithoutSizes: groups that expect nothing in particular are still shared out; twin: one that is there stays.
func TestAssignWithoutSizes(t *testing.T) {
	supplies := []lb.Supply{{Cluster: "a", Capacity: 100, Open: true}, {Cluster: "b", Capacity: 100, Open: true}}
	demands := []lb.Demand{{Group: "1", Current: "a"}, {Group: "2"}, {Group: "3"}, {Group: "4"}}
	plan := lb.Assign(demands, supplies, lb.Policy{})
	if want := []string{"a", "b", "a", "b"}; !slices.Equal(plan.Clusters, want) {
		t.Errorf("clusters %q, want %q", plan.Clusters, want)
	}
}

// TestAssignMakesRoom: a group that fits nowhere is given room by a smaller one, which says so; the
// twin, without another place for the smaller one, reports the group by name.
func TestAssignMakesRoom(t *testing.T) {
	demands := []lb.Demand{{Group: "big", Expected: 90}, {Group: "small", Expected: 20, Current: "a"}}
	supplies := []lb.Supply{{Cluster: "a", Capacity: 100, Open: true}, {Cluster: "b", Capacity: 50, Open: true}}
	plan := lb.Assign(demands, supplies, lb.Policy{})
	want := []lb.Move{{Group: "big", To: "a", Reason: lb.MoveNew}, {Group: "small", From: "a", To: "b", Reason: lb.MoveYield}}
	if diff := cmp.Diff(want, plan.Moves); diff != "" {
		t.Error(diff)
	}
	equals := []lb.Demand{{Group: "pinned", Expected: 60, Pin: "a", Current: "b"}, {Group: "other", Expected: 60, Current: "a"}}
	supplies[1].Capacity = 60
	want = []lb.Move{{Group: "other", From: "a", To: "b", Reason: lb.MoveYield}, {Group: "pinned", From: "b", To: "a", Reason: lb.MovePin}}
	if diff := cmp.Diff(want, lb.Assign(equals, supplies, lb.Policy{}).Moves); diff != "" {
		t.Error(diff)
	}
	supplies[1].Capacity = 10
	plan = lb.Assign(demands, supplies, lb.Policy{})
	wantUnplaced := []lb.Unplaced{{Group: "big", Reason: lb.NoRoom, Text: "expects 90; the most that is free is 80", Refuse: lb.ReasonNoCluster}}
	if diff := cmp.Diff(wantUnplaced, plan.Unplaced); diff != "" || len(plan.Moves) != 0 {
		t.Error(diff, plan.Moves)
	}
}

// TestAssignMakesRoomForPicky: a group that only one cluster is good enough for is given room there by
// one as large that needs less quality; the twin, by none that needs as much.
func TestAssignMakesRoomForPicky(t *testing.T) {
	demands := []lb.Demand{{Group: "picky", Expected: 40, MinQuality: 85, Current: "b"}, {Group: "plain", Expected: 45, Current: "a"}}
	supplies := []lb.Supply{{Cluster: "a", Capacity: 50, Quality: 93, Open: true}, {Cluster: "b", Capacity: 100, Quality: 72, Open: true}}
	want := []lb.Move{{Group: "picky", From: "b", To: "a", Reason: lb.MoveQuality}, {Group: "plain", From: "a", To: "b", Reason: lb.MoveYield}}
	if diff := cmp.Diff(want, lb.Assign(demands, supplies, lb.Policy{}).Moves); diff != "" {
		t.Error(diff)
	}
	demands[1].MinQuality = 85
	if plan := lb.Assign(demands, supplies, lb.Policy{}); len(plan.Moves) != 0 || len(plan.Unplaced) != 1 || plan.Unplaced[0].Group != "picky" {
		t.Errorf("equally picky: %+v", plan)
	}
}

// TestAssignSpread: a cluster that comes back empty is filled only when the policy says so.
func TestAssignSpread(t *testing.T) {
	demands, supplies := zipf(2000, 10, 0.6, rand.New(rand.NewPCG(1, 1)))
	supplies[3].Open = false
	take(demands, lb.Assign(demands, supplies, lb.Policy{}))
	supplies[3].Open = true
	if plan := lb.Assign(demands, supplies, lb.Policy{}); len(plan.Moves) != 0 {
		t.Errorf("%d moves without a spread, want none", len(plan.Moves))
	}
	plan := lb.Assign(demands, supplies, lb.Policy{Spread: 1.2})
	load := loads(demands, supplies, plan)
	for _, s := range supplies {
		if full := float64(load[s.Cluster]) / float64(s.Capacity); full > 1.2*plan.Mean || full < plan.Mean/1.25 {
			t.Errorf("cluster %s is %.3f full, the mean is %.3f", s.Cluster, full, plan.Mean)
		}
	}
	if n := plan.Moved(); n == 0 || n > 200 {
		t.Errorf("%d of 2000 groups moved, want some and not more than the share of one cluster", n)
	}
	take(demands, plan)
	if again := lb.Assign(demands, supplies, lb.Policy{Spread: 1.2}); len(again.Moves) != 0 {
		t.Errorf("%d moves the second time, want none", len(again.Moves))
	}
}

// TestAssignProperties holds plans of random instances, fresh and after random changes, to what
// every plan promises.
func TestAssignProperties(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 7))
		demands, supplies, policy := randomInstance(r)
		for range 4 {
			plan := lb.Assign(demands, supplies, policy)
			checkPlan(t, demands, supplies, policy, plan)
			checkStable(t, r, demands, supplies, policy, plan)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
			take(demands, plan)
			disturb(r, demands, supplies)
		}
	}
}

// TestCheckPlan is the twin of the properties: plans with a fault of each kind are found out.
func TestCheckPlan(t *testing.T) {
	demands := []lb.Demand{{Group: "g", Expected: 10, MinQuality: 50}, {Group: "h", Expected: 95}}
	supplies := []lb.Supply{
		{Cluster: "a", Capacity: 100, Quality: 60, Open: true}, {Cluster: "b", Capacity: 100, Quality: 40, Open: true},
		{Cluster: "c", Capacity: 100, Quality: 90}, {Cluster: "d", Capacity: 100, Quality: lb.Unknown, Open: true},
	}
	for _, clusters := range [][]string{{"a", "a"}, {"b", "b"}, {"c", "b"}, {"d", "b"}, {"", "b"}, {"x", "b"}} {
		faults := planFaults(demands, supplies, lb.Policy{}, lb.Plan{Clusters: clusters})
		if len(faults) == 0 {
			t.Errorf("clusters %q pass, want a fault", clusters)
		}
	}
	if faults := planFaults(demands, supplies, lb.Policy{}, lb.Assign(demands, supplies, lb.Policy{})); len(faults) > 0 {
		t.Error(faults)
	}
}

func checkPlan(t *testing.T, demands []lb.Demand, supplies []lb.Supply, policy lb.Policy, plan lb.Plan) {
	t.Helper()
	for _, fault := range planFaults(demands, supplies, policy, plan) {
		t.Error(fault)
	}
	if plan.Moved() < plan.LeastMoves {
		t.Errorf("moved %d, below the lower bound %d", plan.Moved(), plan.LeastMoves)
	}
	if plan.Fullest < plan.LeastFullest-1e-9 {
		t.Errorf("fullest %f, below the lower bound %f", plan.Fullest, plan.LeastFullest)
	}
	for _, m := range plan.Moves {
		if m.Reason == "" || m.From == m.To {
			t.Errorf("move without reason or way: %+v", m)
		}
	}
}

// planFaults lists what breaks the conditions: a cluster over capacity, closed, of too little or
// unknown quality, against a pin; a group left out though a cluster that would do has room.
func planFaults(demands []lb.Demand, supplies []lb.Supply, policy lb.Policy, plan lb.Plan) (faults []string) {
	byName := make(map[string]lb.Supply)
	for _, s := range supplies {
		byName[s.Cluster] = s
	}
	load := loads(demands, supplies, plan)
	for name, n := range load {
		if n > byName[name].Capacity {
			faults = append(faults, fmt.Sprintf("cluster %s has %d of %d", name, n, byName[name].Capacity))
		}
	}
	suits := func(d lb.Demand, s lb.Supply) bool {
		able := d.MinQuality <= 0 || s.Quality >= d.MinQuality || (s.Quality == lb.Unknown && (policy.UnknownQualifies || d.Current == s.Cluster))
		return (s.Open || d.Pin == s.Cluster) && able && (d.Pin == "" || d.Pin == s.Cluster)
	}
	for i, d := range demands {
		if name := plan.Clusters[i]; name != "" {
			if s, ok := byName[name]; !ok || !suits(d, s) {
				faults = append(faults, fmt.Sprintf("group %+v is on %+v", d, s))
			}
			continue
		}
		for _, s := range supplies {
			if suits(d, s) && s.Capacity-load[s.Cluster] >= max(d.Expected, 0) {
				faults = append(faults, fmt.Sprintf("group %+v is left out though %+v has %d", d, s, load[s.Cluster]))
			}
		}
	}
	return faults
}

// checkStable: the same input, in another order, has the same outcome, and a plan taken is kept.
func checkStable(t *testing.T, r *rand.Rand, demands []lb.Demand, supplies []lb.Supply, policy lb.Policy, plan lb.Plan) {
	t.Helper()
	d, s := slices.Clone(demands), slices.Clone(supplies)
	r.Shuffle(len(d), func(i, j int) { d[i], d[j] = d[j], d[i] })
	r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	other := lb.Assign(d, s, policy)
	if diff := cmp.Diff(plan.Moves, other.Moves); diff != "" {
		t.Errorf("another order, other moves: %s", diff)
	}
	if diff := cmp.Diff(plan.Unplaced, other.Unplaced); diff != "" {
		t.Errorf("another order, others left out: %s", diff)
	}
	if policy.Spread > 0 || len(plan.Unplaced) > 0 {
		return
	}
	take(d, other)
	if again := lb.Assign(d, s, policy); len(again.Moves) > 0 || again.LeastMoves > 0 {
		t.Errorf("a plan taken moves again: %+v", again.Moves)
	}
}

// TestAssignMinimal compares with every possible assignment of small, tight instances: where all
// groups can have a cluster, mostly (nine in ten) all have, and with hardly a move more than the fewest.
func TestAssignMinimal(t *testing.T) {
	moved, fewest, possible, missed := 0, 0, 0, 0
	for seed := range uint64(500) {
		demands, supplies, policy := smallInstance(rand.New(rand.NewPCG(seed, 3)))
		left, moves := exhaustive(demands, supplies, policy)
		if left > 0 {
			continue
		}
		possible++
		if plan := lb.Assign(demands, supplies, policy); len(plan.Unplaced) > 0 {
			missed++
		} else {
			moved, fewest = moved+plan.Moved(), fewest+moves
		}
	}
	t.Logf("%d instances can be placed, %d were not; moved %d, fewest possible %d", possible, missed, moved, fewest)
	if possible < 50 || float64(missed) > 0.1*float64(possible) || float64(moved) > 1.02*float64(fewest) {
		t.Errorf("of %d instances %d missed, moved %d for %d", possible, missed, moved, fewest)
	}
}

// exhaustive returns the fewest groups that any assignment leaves out, and the fewest moves with that.
func exhaustive(demands []lb.Demand, supplies []lb.Supply, policy lb.Policy) (left, moves int) {
	left = len(demands) + 1
	clusters := make([]string, len(demands))
	load := make([]int, len(supplies))
	var try func(i, out, moved int)
	try = func(i, out, moved int) {
		if out > left || (out == left && moved >= moves) {
			return
		}
		if i == len(demands) {
			left, moves = out, moved
			return
		}
		d := demands[i]
		for c, s := range supplies {
			able := d.MinQuality <= 0 || s.Quality >= d.MinQuality || (s.Quality == lb.Unknown && policy.UnknownQualifies)
			if !(s.Open || d.Pin == s.Cluster) || !able || load[c]+d.Expected > s.Capacity {
				continue
			}
			more := 0
			if d.Current != "" && d.Current != s.Cluster {
				more = 1
			}
			load[c] += d.Expected
			clusters[i] = s.Cluster
			try(i+1, out, moved+more)
			load[c] -= d.Expected
		}
		more := 0
		if d.Current != "" {
			more = 1
		}
		try(i+1, out+1, moved+more)
	}
	try(0, 0, 0)
	return left, moves
}

func smallInstance(r *rand.Rand) ([]lb.Demand, []lb.Supply, lb.Policy) {
	supplies := make([]lb.Supply, 3)
	for c := range supplies {
		supplies[c] = lb.Supply{Cluster: string(rune('a' + c)), Capacity: 20 + r.IntN(30), Quality: lb.Score(50 + 20*r.IntN(3)), Open: r.IntN(6) > 0}
	}
	demands := make([]lb.Demand, 7)
	for i := range demands {
		demands[i] = lb.Demand{Group: fmt.Sprint("g", i), Expected: 1 + r.IntN(15), MinQuality: lb.Score([]int{0, 0, 60, 80}[r.IntN(4)])}
		if r.IntN(4) > 0 {
			demands[i].Current = supplies[r.IntN(3)].Cluster
		}
	}
	return demands, supplies, lb.Policy{}
}

func randomInstance(r *rand.Rand) ([]lb.Demand, []lb.Supply, lb.Policy) {
	demands, supplies := zipf(1+r.IntN(200), 1+r.IntN(8), 0.4+r.Float64(), r)
	for c := range supplies {
		supplies[c].Capacity = supplies[c].Capacity * (4 + r.IntN(10)) / 10
		supplies[c].Quality = lb.Score(40 + r.IntN(50))
		supplies[c].Open = r.IntN(10) > 0
		if r.IntN(6) == 0 {
			supplies[c].Quality = lb.Unknown
		}
	}
	disturb(r, demands, supplies)
	policy := lb.Policy{UnknownQualifies: r.IntN(2) == 0}
	if r.IntN(3) == 0 {
		policy.Spread = 1 + r.Float64()
	}
	return demands, supplies, policy
}

// disturb changes some of everything.
func disturb(r *rand.Rand, demands []lb.Demand, supplies []lb.Supply) {
	for i := range demands {
		d := &demands[i]
		switch r.IntN(12) {
		case 0:
			d.Expected = r.IntN(2*d.Expected + 2)
		case 1:
			d.MinQuality = lb.Score(r.IntN(100))
		case 2:
			d.Pin = supplies[r.IntN(len(supplies))].Cluster
		case 3:
			d.Pin = ""
		case 4:
			d.Current = supplies[r.IntN(len(supplies))].Cluster
		}
	}
	s := &supplies[r.IntN(len(supplies))]
	switch r.IntN(3) {
	case 0:
		s.Open = !s.Open
	case 1:
		s.Capacity = r.IntN(2*s.Capacity + 2)
	case 2:
		s.Quality = lb.Score(r.IntN(100) - 1)
	}
}

// zipf makes groups whose sizes fall as rank^-exponent and clusters that they fill to 0.7 in all.
func zipf(groups, clusters int, exponent float64, r *rand.Rand) ([]lb.Demand, []lb.Supply) {
	demands := make([]lb.Demand, groups)
	total, largest := 0, 0
	for i, rank := range r.Perm(groups) {
		size := 1 + int(4000*math.Pow(float64(rank+1), -exponent))
		demands[i] = lb.Demand{Group: fmt.Sprintf("g%06d", i), Expected: size}
		total, largest = total+size, max(largest, size)
	}
	supplies := make([]lb.Supply, clusters)
	for c := range supplies {
		supplies[c] = lb.Supply{Cluster: fmt.Sprintf("c%03d", c), Capacity: max(total*10/7/clusters, largest*5/4), Quality: 90, Open: true}
	}
	return demands, supplies
}

func take(demands []lb.Demand, plan lb.Plan) {
	for i := range demands {
		demands[i].Current = plan.Clusters[i]
	}
}

func loads(demands []lb.Demand, supplies []lb.Supply, plan lb.Plan) map[string]int {
	load := make(map[string]int, len(supplies))
	for i, name := range plan.Clusters {
		if name != "" {
			load[name] += max(demands[i].Expected, 0)
		}
	}
	return load
}

// TestAssignBalance holds the spread of Zipf sizes and the moves after a loss to the goals.
func TestAssignBalance(t *testing.T) {
	for _, exponent := range []float64{0.5, 0.8, 1, 1.2} {
		t.Run(fmt.Sprint(exponent), func(t *testing.T) {
			demands, supplies := zipf(20_000, 40, exponent, rand.New(rand.NewPCG(5, 5)))
			plan := lb.Assign(demands, supplies, lb.Policy{})
			if ratio := plan.Fullest / plan.LeastFullest; ratio > 1.05 || len(plan.Unplaced) > 0 {
				t.Errorf("fullest over its bound is %.4f with %d left out, want at most 1.05", ratio, len(plan.Unplaced))
			}
			take(demands, plan)
			supplies[11].Open = false
			plan = lb.Assign(demands, supplies, lb.Policy{})
			if moved := plan.Moved(); float64(moved) > 1.01*float64(plan.LeastMoves) || plan.LeastMoves == 0 || len(plan.Unplaced) > 0 {
				t.Errorf("moved %d for a lower bound of %d, left out %d", moved, plan.LeastMoves, len(plan.Unplaced))
			}
		})
	}
}
