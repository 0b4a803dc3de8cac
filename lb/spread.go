package lb

import (
	"cmp"
	"slices"
)

// makeRoom places demand i, which fits nowhere, by letting smaller groups, or groups that need
// less quality, yield to other clusters.
// It gives up, changing nothing, when no cluster can be relieved so, or when the plan's budget of
// looks is spent (a system so full that most groups would have to move needs an operator).
func (a *assignment) makeRoom(i int32) {
	if c := a.roomiest(i, none); c != none { // what yielded to another may have left room
		a.put(i, c)
		return
	}
	free := 0
	var can []int32
	for n := range a.sites {
		s := &a.sites[n]
		if s.Open {
			free += s.Capacity - s.load
		}
		pin := a.demands[i].Pin
		if a.obstacle(i, int32(n)) == "" && (pin == "" || pin == s.Cluster) {
			can = append(can, int32(n))
		}
	}
	if free < a.size(i) {
		return
	}
	slices.SortStableFunc(can, func(x, y int32) int {
		return cmp.Compare(a.sites[y].Capacity-a.sites[y].load, a.sites[x].Capacity-a.sites[x].load)
	})
	for _, c := range can {
		if a.budget <= 0 {
			return
		}
		if a.relieve(c, i) {
			a.put(i, c)
			return
		}
	}
}

// relieve moves groups smaller than demand i from cluster c to others until i fits: of any size those
// that need less quality, which find places that i cannot have, and all when i is pinned. The fewest first
// by taking the smallest that does it alone, else the largest that finds a place. It reports whether
// i fits now; if not, all is as it was.
func (a *assignment) relieve(c, i int32) bool {
	s, size := &a.sites[c], a.size(i)
	members := slices.DeleteFunc(slices.Clone(a.membersOf(c)), func(j int32) bool {
		large := a.size(j) >= size && a.demands[i].Pin == "" && // what is pinned can go nowhere else
			max(a.demands[j].MinQuality, 0) >= a.demands[i].MinQuality
		return large || a.size(j) == 0 || a.demands[j].Pin != ""
	})
	type undo struct {
		demand int32
		why    Reason
	}
	var done []undo
	yield := func(n int) bool {
		j := members[n]
		a.budget -= len(a.sites)
		to := a.roomiest(j, c)
		if to == none {
			return false
		}
		done = append(done, undo{j, a.why[j]})
		if a.why[j] == "" {
			a.why[j] = MoveYield
		}
		a.put(j, to)
		return true
	}
	for len(members) > 0 && s.Capacity-s.load < size && a.budget > 0 {
		n := a.relief(members, size-(s.Capacity-s.load))
		if !yield(n) && n > 0 {
			n = 0
			yield(n)
		}
		members = slices.Delete(members, n, n+1)
	}
	if s.Capacity-s.load >= size {
		return true
	}
	for _, u := range slices.Backward(done) {
		a.put(u.demand, c)
		a.why[u.demand] = u.why
	}
	return false
}

// leastFullest returns a lower bound of the fullest cluster's share, for the groups that are placed.
//
// Order open clusters by quality, best first. Groups that only the first k qualify for must share
// those k, so their sum over the capacity of the k is a bound for each k (for all of them it is the
// mean); and the largest of them fills at least its share of the largest of the k. The bound is the
// greatest of these.
func (a *assignment) leastFullest() float64 {
	var order []int32
	for c := range a.sites {
		if a.sites[c].Open {
			order = append(order, int32(c))
		}
	}
	rank := func(c int32) Score {
		if q := a.sites[c].Quality; q >= 0 || !a.policy.UnknownQualifies {
			return q
		}
		return 1e9 // an unknown one that qualifies for everything
	}
	slices.SortFunc(order, func(x, y int32) int { return cmp.Compare(rank(y), rank(x)) })
	sum, largest := make([]int, len(order)+1), make([]int, len(order)+1)
	for n := range a.demands {
		if a.at[n] == none || !a.sites[a.at[n]].Open { // pinned to what is closed
			continue
		}
		k := len(order)
		// One that stays on a cluster which is not measured any more may be anywhere.
		if least := a.demands[n].MinQuality; least > 0 && meets(a.sites[a.at[n]].Quality, least, a.policy.UnknownQualifies) {
			k, _ = slices.BinarySearchFunc(order, least, func(c int32, least Score) int {
				if rank(c) >= least {
					return -1
				}
				return 1
			})
		}
		sum[k] += a.size(int32(n))
		largest[k] = max(largest[k], a.size(int32(n)))
	}
	bound, together, capacity, most := 0.0, 0, 0, 1
	for k, c := range order {
		capacity += a.sites[c].Capacity
		most = max(most, a.sites[c].Capacity)
		together += sum[k+1]
		bound = max(bound, float64(together)/float64(max(capacity, 1)), float64(largest[k+1])/float64(most))
	}
	return bound
}

// spread moves groups from the fullest to the emptiest cluster while one of them is outside the
// policy's spread, the largest that leaves the giver not far below and the taker not above the mean.
func (a *assignment) spread(least float64) {
	mean, _ := a.fullness()
	high, low := a.policy.Spread*max(mean, least), mean/a.policy.Spread
	floor := (mean + low) / 2
	var open []int32
	for c := range a.sites {
		if a.sites[c].Open && a.sites[c].Capacity > 0 {
			open = append(open, int32(c))
		}
	}
	lists := make(map[int32][]int32)
	stuck := make(map[[2]int32]bool)
	for range a.demands {
		giver, taker := a.extremes(open, stuck)
		if giver == taker { // nobody has anything for the taker
			if open = slices.DeleteFunc(open, func(c int32) bool { return c == taker }); len(open) < 2 {
				return
			}
			continue
		}
		if a.sites[giver].full() <= high && a.sites[taker].full() >= low {
			return
		}
		room := int(mean*float64(a.sites[taker].Capacity)) - a.sites[taker].load
		room = min(room, a.sites[giver].load-int(floor*float64(a.sites[giver].Capacity)))
		if lists[giver] == nil {
			lists[giver] = slices.Clone(a.membersOf(giver))
		}
		if !a.hand(lists[giver], giver, taker, room) {
			stuck[[2]int32{giver, taker}] = true
		}
	}
}

// extremes returns the fullest and the emptiest of open whose pair is not stuck.
func (a *assignment) extremes(open []int32, stuck map[[2]int32]bool) (giver, taker int32) {
	if len(open) == 0 {
		return none, none
	}
	taker = slices.MinFunc(open, func(x, y int32) int { return cmp.Compare(a.sites[x].full(), a.sites[y].full()) })
	giver = taker
	for _, c := range open {
		if !stuck[[2]int32{c, taker}] && a.sites[c].full() > a.sites[giver].full() {
			giver = c
		}
	}
	return giver, taker
}

// hand moves the largest group of members, sorted from large to small, that is on giver, not larger
// than room and may have taker.
func (a *assignment) hand(members []int32, giver, taker int32, room int) bool {
	n, _ := slices.BinarySearchFunc(members, room, func(i int32, room int) int {
		if a.size(i) > room {
			return -1
		}
		return 1
	})
	for _, i := range members[n:] {
		if a.size(i) == 0 {
			return false
		}
		if a.at[i] != giver || a.demands[i].Pin != "" || a.obstacle(i, taker) != "" {
			continue
		}
		if a.why[i] == "" {
			a.why[i] = MoveSpread
		}
		a.put(i, taker)
		return true
	}
	return false
}
