package rehearsal

import (
	"cmp"
	"math/rand/v2"
	"time"

	"tandem/internal/tandem"
)

// Machines says how the nodes of a rehearsal are.
type Machines struct {
	SetUp time.Duration // that one call's set-up takes a node on average
	Calls int           // that a node holds at once when its cluster states no capacity
	Quiet bool          // they do not report their load
}

// How nodes and the proxy's questions to them behave.
const (
	roundTrip    = 2 * time.Millisecond
	probeEvery   = 500 * time.Millisecond
	probePatient = 500 * time.Millisecond // an answer that comes later is none
	callPatient  = 4 * time.Second        // a node that is silent for so long is passed over
	strained     = 0.9                    // from that share of its capacity on a node becomes slower
	bursting     = 0.2                    // so far over it, it refuses every call
)

// machine is a node as it is, whatever the balancing thinks of it.
type machine struct {
	node     *tandem.Node     // as set; replaced, never changed
	was      tandem.NodeState // before the day
	home     *place           // its cluster
	capacity int
	busy     time.Duration // until when it has set-ups to do
	calls    []*talk
	dead     bool
	slow     float64 // how many times longer everything takes
	failing  float64 // share of calls that it answers with an error

	due   time.Duration // when to probe next, or to tell how that went
	phase probing
}

// probing is how far the probing of a node is.
type probing uint8

const (
	probe  probing = iota // one is to be sent
	missed                // one was sent and is not answered
	burst                 // three more were sent
)

// load is how full the node is; 1: as full as it can be.
func (m *machine) load() float64 { return float64(len(m.calls)) / float64(m.capacity) }

// slowness is how many times longer than usual an answer takes.
func (m *machine) slowness() float64 {
	return m.slow * (1 + max(m.load()-strained, 0)/(1-strained))
}

// offer gives the node a call to set up: when its first answer comes, and whether that is an error.
func (m *machine) offer(now, setUp time.Duration, dice *rand.Rand) (after time.Duration, failed bool) {
	work := time.Duration(dice.ExpFloat64() * float64(setUp) * m.slowness())
	m.busy = max(m.busy, now) + work
	over := max(m.load()-1, 0) / bursting
	return m.busy - now + roundTrip, dice.Float64() < max(over, m.failing)
}

// trip is how long a probe takes now.
func (m *machine) trip(now time.Duration) time.Duration {
	return time.Duration(float64(roundTrip)*m.slowness()) + max(m.busy-now, 0)
}

// take and drop keep the list of the node's calls.
func (m *machine) take(t *talk) {
	t.at, t.index = m, len(m.calls)
	m.calls = append(m.calls, t)
	m.home.calls++
}

func (m *machine) drop(t *talk) {
	last := len(m.calls) - 1
	m.calls[t.index] = m.calls[last]
	m.calls[t.index].index = t.index
	m.calls = m.calls[:last]
	m.home.calls--
	t.at = nil
}

// place is a cluster as it is.
type place struct {
	cluster  *tandem.Cluster
	machines []*machine
	calls    int
	capacity int // of all its machines
	number   int // in the result
}

// share divides a cluster's capacity among its nodes by weight.
func (p *place) share(fallback int) {
	sum := 0
	for _, m := range p.machines {
		sum += weight(m.node)
	}
	p.capacity = 0
	for _, m := range p.machines {
		m.capacity = fallback
		if c := p.cluster.Capacity; c != nil {
			m.capacity = max((*c*weight(m.node)+sum-1)/sum, 1)
		}
		p.capacity += m.capacity
	}
	if c := p.cluster.Capacity; c != nil {
		p.capacity = *c
	}
}

func weight(n *tandem.Node) int { return int(cmp.Or(n.Weight, 100)) }
