package lb

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Demand is what tier 1 knows of one group. Groups are unique within one call of Assign.
type Demand struct {
	Group      string
	Expected   int    // communications expected at once, to and from the group; below zero counts as zero
	MinQuality Score  // what each communication needs; zero: anything, measured or not
	Pin        string // the only cluster it may have, by hand; empty: any
	Current    string // the cluster it has now; empty: none
}

// Supply is what tier 1 knows of one cluster. Clusters are unique within one call of Assign.
type Supply struct {
	Cluster  string
	Capacity int   // communications at once that it can hold
	Quality  Score // its measured ability, or Unknown
	Open     bool  // whether it takes groups at all
	Degraded bool  // closed for nothing but the quality of its nodes
}

// Policy is what an operator decides about tier 1.
type Policy struct {
	// UnknownQualifies lets clusters and nodes that were not measured serve groups with a minimum quality.
	UnknownQualifies bool `yaml:"unknownQualifies"`
	// Spread is how unevenly clusters may be filled before groups are moved for that alone: the
	// fullest at most Spread times, the emptiest at least 1/Spread of the mean. Zero: never.
	Spread float64 `yaml:"spread"`
}

// Reason names why a group moved, has no cluster, or a call was refused.
type Reason string

// Reasons of Assign: the first seven for a move, the others for a group left without a cluster.
const (
	MoveNew     Reason = "new"          // it had no cluster
	MoveLost    Reason = "cluster-lost" // its cluster is closed or gone
	MoveQuality Reason = "low-quality"  // its cluster no longer reaches the group's minimum
	MoveRoom    Reason = "over-full"    // its cluster expects more than it can hold
	MovePin     Reason = "pin"          // an operator pinned it elsewhere
	MoveYield   Reason = "yield"        // it makes room for a group that fits nowhere else
	MoveSpread  Reason = "spread"       // clusters were filled too unevenly

	NoOpen        Reason = "no-open-cluster" // no cluster is open, or the pinned one is not
	NoQuality     Reason = "no-quality"      // no open cluster reaches its minimum quality
	NoClusterHold Reason = "too-large"       // no cluster that would do can hold it even when empty
	NoRoom        Reason = "no-room"         // those that could hold it are full
)

// Move is one group that gets another cluster than it has.
type Move struct {
	Group    string
	From, To string // From is empty for a group that had none
	Reason   Reason
}

// Unplaced is one group that no cluster can take.
type Unplaced struct {
	Group  string
	From   string // the cluster that it loses; empty: it had none
	Reason Reason
	Text   string // the reason with its numbers, for people
	Refuse Reason // what its calls are refused with: quality, no-node or no-cluster
}

// Plan is the outcome of Assign.
type Plan struct {
	Clusters []string // the cluster of each demand, in the order of the demands; empty: none
	Moves    []Move   // by group
	Unplaced []Unplaced

	// Fullest is the highest, Mean the common share of open clusters' capacity that is expected to
	// be used. LeastFullest is a lower bound of Fullest, whatever the assignment of these groups:
	// see leastFullest.
	Fullest, Mean, LeastFullest float64
	// LeastMoves is a lower bound of Moved, whatever the assignment: see evict.
	LeastMoves int
}

// Moved counts the groups that lose the cluster they had.
func (p *Plan) Moved() int {
	moved := 0
	for i := range p.Moves {
		if p.Moves[i].From != "" {
			moved++
		}
	}
	for i := range p.Unplaced {
		if p.Unplaced[i].From != "" {
			moved++
		}
	}
	return moved
}

// Unbounded is the capacity of a cluster that has no bound. It bounds any group's and cluster's number,
// so that sums cannot overflow.
const Unbounded = 1 << 36

// none is the index of no cluster.
const none = int32(-1)

// site is one cluster while a plan is made.
type site struct {
	Supply
	load    int
	groups  int
	inverse float64 // 1/Capacity
	members []int32 // demands that were put here; may hold some that left, or twice: see membersOf
}

// takes reports whether the cluster takes a group at all. A pin is an operator's word: its group stays
// though the cluster is closed, and tier 2 says why its calls are refused.
func (s *site) takes(d *Demand) bool { return s.Open || d.Pin != "" && d.Pin == s.Cluster }

func (s *site) full() float64 { return float64(s.load) * s.inverse }

// assignment is a plan in the making.
type assignment struct {
	policy  Policy
	demands []Demand
	sites   []site // by name
	at      []int32
	from    []int32
	why     []Reason // of the demands that could not stay
	listed  bool     // sites' members are kept
	budget  int      // looks left for makeRoom
	least   int      // see Plan.LeastMoves
}

// Assign gives each group a cluster. It is a pure function, and its outcome for each group does not
// depend on the order of its arguments.
//
// What may stay stays; a cluster that is not measured any more keeps what it has. From a cluster that
// is over-full the fewest groups go that suffice. Then the groups without a cluster are placed:
// pinned ones first, those that lost one before those that had none, the pickier before the less
// picky, the larger before the smaller, each where it leaves the least full cluster, of equals the
// one with the fewest groups. One that finds no room is given it if groups smaller than itself, or
// of any size that need less quality, can yield to other clusters; to a pinned one, all can.
func Assign(demands []Demand, supplies []Supply, policy Policy) Plan {
	a := newAssignment(demands, supplies, policy)
	waiting := a.settle()
	for c := range a.sites {
		waiting = append(waiting, a.evict(c)...)
	}
	a.sortWaiting(waiting)
	var left []int32
	for _, i := range waiting {
		if c := a.roomiest(i, none); c != none {
			a.put(i, c)
		} else {
			left = append(left, i)
		}
	}
	for _, i := range left {
		a.makeRoom(i)
	}
	least := a.leastFullest()
	if policy.Spread > 1 {
		a.spread(least)
	}
	a.fillIn(left)
	return a.plan(a.leastFullest())
}

func newAssignment(demands []Demand, supplies []Supply, policy Policy) *assignment {
	a := &assignment{
		policy: policy, demands: demands, sites: make([]site, len(supplies)),
		at: make([]int32, len(demands)), from: make([]int32, len(demands)),
		why: make([]Reason, len(demands)), budget: 5_000_000,
	}
	for c, s := range supplies {
		s.Capacity = min(max(s.Capacity, 0), Unbounded)
		a.sites[c] = site{Supply: s, inverse: 1 / float64(max(s.Capacity, 1))}
	}
	slices.SortFunc(a.sites, func(x, y site) int { return strings.Compare(x.Cluster, y.Cluster) })
	return a
}

// fillIn places those of left that fit by now, since others yielded or moved after they were tried.
func (a *assignment) fillIn(left []int32) {
	for _, i := range left {
		if c := a.roomiest(i, none); c != none && a.at[i] == none {
			a.put(i, c)
		}
	}
}

func (a *assignment) size(i int32) int { return min(max(a.demands[i].Expected, 0), Unbounded) }

// meets reports whether a measured quality reaches a minimum.
func meets(q, least Score, unknownQualifies bool) bool {
	switch {
	case least <= 0:
		return true
	case q < 0:
		return unknownQualifies
	}
	return q >= least
}

// obstacle says why demand i may not have cluster c even if it were empty, "" when it may.
func (a *assignment) obstacle(i, c int32) Reason {
	d, s := &a.demands[i], &a.sites[c]
	switch {
	case !s.takes(d):
		return NoOpen
	case !meets(s.Quality, d.MinQuality, a.policy.UnknownQualifies):
		return NoQuality
	case a.size(i) > s.Capacity:
		return NoClusterHold
	}
	return ""
}

// settle leaves each group where it is if its cluster still does for it, and returns the others.
func (a *assignment) settle() (waiting []int32) {
	index := make(map[string]int32, len(a.sites))
	for c := range a.sites {
		index[a.sites[c].Cluster] = int32(c)
	}
	for n := range a.demands {
		i, d := int32(n), &a.demands[n]
		c, found := index[d.Current]
		if !found {
			c = none
		}
		a.at[i], a.from[i] = none, c
		if why := a.mustLeave(i, c); why != "" {
			a.why[i] = why
			waiting = append(waiting, i)
			if d.Current != "" {
				a.least++
			}
			continue
		}
		a.at[i] = c
		a.sites[c].load += a.size(i)
		a.sites[c].groups++
	}
	return waiting
}

// mustLeave says why demand i cannot stay on cluster c, "" when it can.
func (a *assignment) mustLeave(i, c int32) Reason {
	d := &a.demands[i]
	switch {
	case d.Current == "":
		return MoveNew
	case d.Pin != "" && d.Pin != d.Current:
		return MovePin
	case c == none:
		return MoveLost
	}
	switch a.obstacle(i, c) {
	case NoOpen:
		return MoveLost
	case NoQuality:
		switch s := &a.sites[c]; {
		case s.Quality >= 0:
			return MoveQuality
		case a.size(i) > s.Capacity:
			return MoveRoom
		}
		return "" // not being measured is no lack
	case NoClusterHold:
		return MoveRoom
	}
	return ""
}

func (a *assignment) put(i, c int32) {
	if old := a.at[i]; old != none {
		a.sites[old].load -= a.size(i)
		a.sites[old].groups--
	}
	a.at[i] = c
	if c == none {
		return
	}
	a.sites[c].load += a.size(i)
	a.sites[c].groups++
	if a.listed {
		a.sites[c].members = append(a.sites[c].members, i)
	}
}

// bySize orders demands from large to small; it is total, so that the order of input cannot show.
func (a *assignment) bySize(i, j int32) int {
	if order := cmp.Compare(a.size(j), a.size(i)); order != 0 {
		return order
	}
	return strings.Compare(a.demands[i].Group, a.demands[j].Group)
}

// membersOf returns the demands on cluster c from large to small.
func (a *assignment) membersOf(c int32) []int32 {
	if !a.listed {
		a.listed = true
		for i, at := range a.at {
			if at != none {
				a.sites[at].members = append(a.sites[at].members, int32(i))
			}
		}
	}
	s := &a.sites[c]
	s.members = slices.DeleteFunc(s.members, func(i int32) bool { return a.at[i] != c })
	slices.SortFunc(s.members, a.bySize)
	s.members = slices.Compact(s.members)
	return s.members
}

// evict takes from an over-full cluster the fewest groups whose going suffices, pinned ones only
// when nothing else is left, and returns them.
//
// Hence the lower bound of moves. A group must lose its cluster when that is closed or gone, does
// not reach its minimum quality, cannot hold it even when empty, or is not the one it is pinned to:
// settle counts these one by one, no assignment can keep them. Of those that remain on a cluster
// that holds too much by x, no k groups can relieve it if the k largest sum to less than x, so the
// smallest k whose k largest reach x must go. Clusters do not share groups: the sum is a bound.
func (a *assignment) evict(c int) []int32 {
	s := &a.sites[c]
	if s.load <= s.Capacity {
		return nil
	}
	var free, pinned, gone []int32
	for _, i := range a.membersOf(int32(c)) {
		if a.demands[i].Pin == "" {
			free = append(free, i)
		} else {
			pinned = append(pinned, i)
		}
	}
	for _, list := range [][]int32{free, pinned} {
		for len(list) > 0 && s.load > s.Capacity {
			n := a.relief(list, s.load-s.Capacity)
			gone = append(gone, list[n])
			a.put(list[n], none)
			a.why[list[n]] = MoveRoom
			list = slices.Delete(list, n, n+1)
		}
	}
	a.least += len(gone)
	return gone
}

// relief returns which of list, sorted from large to small, to take next so that excess goes with
// the fewest: the smallest that does it alone, else the largest.
func (a *assignment) relief(list []int32, excess int) int {
	n, _ := slices.BinarySearchFunc(list, excess, func(i int32, excess int) int {
		if a.size(i) >= excess {
			return -1
		}
		return 1
	})
	return max(n-1, 0)
}

func (a *assignment) sortWaiting(waiting []int32) {
	slices.SortFunc(waiting, func(i, j int32) int {
		x, y := &a.demands[i], &a.demands[j]
		if pinned := x.Pin != ""; pinned != (y.Pin != "") {
			if pinned {
				return -1
			}
			return 1
		}
		if served := x.Current != ""; served != (y.Current != "") {
			if served {
				return -1
			}
			return 1
		}
		if order := cmp.Compare(y.MinQuality, x.MinQuality); order != 0 {
			return order
		}
		return a.bySize(i, j)
	})
}

// roomiest returns the cluster that is least full once it has demand i, leaving out except; none
// when no cluster takes it.
func (a *assignment) roomiest(i, except int32) int32 {
	d, size := &a.demands[i], a.size(i)
	best, least := none, 0.0
	for n := range a.sites {
		s, c := &a.sites[n], int32(n)
		if s.Capacity-s.load < size || !s.takes(d) || c == except || (d.Pin != "" && d.Pin != s.Cluster) {
			continue
		}
		full := float64(s.load+size) * s.inverse
		less := best == none || full < least || full == least && s.groups < a.sites[best].groups
		if less && meets(s.Quality, d.MinQuality, a.policy.UnknownQualifies) {
			best, least = c, full
		}
	}
	return best
}

// plan writes down what was found.
func (a *assignment) plan(least float64) Plan {
	p := Plan{Clusters: make([]string, len(a.demands)), LeastFullest: least, LeastMoves: a.least}
	for n := range a.demands {
		i, d := int32(n), &a.demands[n]
		c := a.at[i]
		if c == none {
			reason, text := a.unplaceable(i)
			p.Unplaced = append(p.Unplaced, Unplaced{Group: d.Group, From: d.Current, Reason: reason, Text: text, Refuse: a.refusal(d, reason)})
			continue
		}
		p.Clusters[i] = a.sites[c].Cluster
		if p.Clusters[i] != d.Current {
			p.Moves = append(p.Moves, Move{Group: d.Group, From: d.Current, To: p.Clusters[i], Reason: a.why[i]})
		}
	}
	slices.SortFunc(p.Moves, func(x, y Move) int { return strings.Compare(x.Group, y.Group) })
	slices.SortFunc(p.Unplaced, func(x, y Unplaced) int { return strings.Compare(x.Group, y.Group) })
	p.Mean, p.Fullest = a.fullness()
	return p
}

func (a *assignment) fullness() (mean, fullest float64) {
	load, capacity := 0, 0
	for c := range a.sites {
		if s := &a.sites[c]; s.Open {
			load, capacity = load+s.load, capacity+s.Capacity
			fullest = max(fullest, s.full())
		}
	}
	return float64(load) / float64(max(capacity, 1)), fullest
}

// unplaceable says why demand i has no cluster: the condition that the last remaining clusters fail.
func (a *assignment) unplaceable(i int32) (Reason, string) {
	d := &a.demands[i]
	var open, able, large, most, free int
	best := Unknown
	for n := range a.sites {
		s := &a.sites[n]
		if !s.takes(d) || (d.Pin != "" && d.Pin != s.Cluster) {
			continue
		}
		open++
		best = max(best, s.Quality)
		if a.obstacle(i, int32(n)) == NoQuality {
			continue
		}
		able++
		most = max(most, s.Capacity)
		if s.Capacity >= a.size(i) {
			large++
			free = max(free, s.Capacity-s.load)
		}
	}
	which, not := "no cluster", ""
	if d.Pin != "" {
		which, not = "the pinned cluster "+d.Pin, " not"
	}
	switch {
	case open == 0:
		return NoOpen, which + " is" + not + " open"
	case able == 0 && best == Unknown:
		return NoQuality, fmt.Sprintf("needs quality %.0f; %s has%s been measured", d.MinQuality, which, not)
	case able == 0:
		return NoQuality, fmt.Sprintf("needs quality %.0f; the best measured is %.0f", d.MinQuality, best)
	case large == 0:
		return NoClusterHold, fmt.Sprintf("expects %d; the largest cluster that would do holds %d", a.size(i), most)
	}
	return NoRoom, fmt.Sprintf("expects %d; the most that is free is %d", a.size(i), free)
}

// refusal is the condition that tier 2 names to the calls of a group that reason leaves without a cluster.
func (a *assignment) refusal(d *Demand, reason Reason) Reason {
	switch reason {
	case NoQuality:
		return ReasonQuality
	case NoOpen:
		for n := range a.sites {
			if s := &a.sites[n]; s.Degraded && (d.Pin == "" || d.Pin == s.Cluster) {
				return ReasonQuality
			}
		}
		return ReasonNoNode
	}
	return ReasonNoCluster
}
