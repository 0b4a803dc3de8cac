package lb

import (
	"math"
	"sync/atomic"

	"tandem/internal/tandem"
)

// nodeState is a node as placing sees it. Its counters outlive tables.
type nodeState struct {
	calls   atomic.Int64 // up or in set-up
	pending atomic.Int64 // in set-up
	_       [48]byte
}

// candidate is one node of a table.
type candidate struct {
	id     string
	hash   uint64
	state  *nodeState
	weight float64 // configured weight, ramped after recovery
	base   float64 // configured weight
	slow   float64 // how many times slower than the cluster's median it sets calls up, at least 1
	usual  float64 // mean weight of its tier
	even   float64 // calls a unit of weight that the nodes of its tier have
	score  Score
	types  []tandem.RequestType // empty: all
}

// cost is what the next call would meet on the node: its calls for its weight, times one more than its
// calls in set-up, times its slowness.
//
// Set-up is what keeps a node busy, and calls in set-up pile up at once on a node that has become slow.
// They multiply and do not add: beside the thousands of calls that are up they would vanish, and a
// slowness that changes by a hundredth would send tens of calls in a row to one node. Nor is a node that
// has hardly any calls, because it has just come back, a sink for all new ones.
func (c *candidate) cost() float64 {
	calls := max(float64(c.state.calls.Load()+1)/c.weight, c.even/2)
	return calls * (1 + float64(c.state.pending.Load())*c.usual/c.weight) * c.slow
}

func (c *candidate) serves(t tandem.RequestType) bool {
	if len(c.types) == 0 {
		return true
	}
	for _, x := range c.types {
		if x == t {
			return true
		}
	}
	return false
}

// scanned is up to how many candidates all are looked at; among more, two random ones.
//
// Two random choices guard against herds, when many balancers with old numbers run to the same
// least-loaded node. Here the numbers are this instance's own and exact, so that the herd does not
// form, and looking at every node of a cluster of common size costs little and is better: in the
// simulation of TestSlowNode its tail is below that of two choices, and weighing the time to answer
// brings most of all: counts alone see a slow node only once calls have piled up on it.
const scanned = 32

// pick chooses among candidates of one priority the cheapest that serves t with at least the quality
// least; nil when there is none, and then whether quality alone stood in the way.
func (c *cluster) pick(among []candidate, t tandem.RequestType, least Score, unknown bool) (best *candidate, poor bool) {
	if len(among) > scanned {
		if best = c.pickTwo(among, t, least, unknown); best != nil {
			return best, false
		}
	}
	lowest := math.Inf(1)
	offset := 0
	if len(among) > 1 {
		offset = c.draw(len(among)) // equals take turns
	}
	for n := range among {
		if n += offset; n >= len(among) {
			n -= len(among)
		}
		x := &among[n]
		if !x.serves(t) {
			continue
		}
		if !meets(x.score, least, unknown) {
			poor = true
			continue
		}
		if cost := x.cost(); cost < lowest {
			best, lowest = x, cost
		}
	}
	return best, poor
}

// pickTwo chooses the cheaper of two random candidates, nil when neither would do.
func (c *cluster) pickTwo(among []candidate, t tandem.RequestType, least Score, unknown bool) *candidate {
	var best *candidate
	for range 2 {
		x := &among[c.draw(len(among))]
		if x.serves(t) && meets(x.score, least, unknown) && (best == nil || x.cost() < best.cost()) {
			best = x
		}
	}
	return best
}

// draw returns a number from 0 to below n.
func (c *cluster) draw(n int) int { return int(c.dice() * float64(n)) }

// home chooses the node that a group's calls share, by weighted rendezvous hashing: it changes for
// as few groups as can be when nodes come and go. A ramp after recovery does not count.
func home(among []candidate, group uint64, t tandem.RequestType, least Score, unknown bool) (best *candidate, poor bool) {
	highest := math.Inf(-1)
	for n := range among {
		c := &among[n]
		if !c.serves(t) {
			continue
		}
		if !meets(c.score, least, unknown) {
			poor = true
			continue
		}
		if rank := c.rank(group); rank > highest {
			best, highest = c, rank
		}
	}
	return best, poor
}

// rank is how high a node stands for a group: a uniform number in (0, 1) to the power 1/weight, as its
// logarithm.
func (c *candidate) rank(group uint64) float64 {
	u := (float64(mix(group^c.hash)>>11) + 0.5) / (1 << 53)
	return math.Log(u) / c.base
}

// mix spreads the bits of x (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashName is the same on every instance and after every start (FNV-1a, mixed).
func hashName(name string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return mix(h)
}
