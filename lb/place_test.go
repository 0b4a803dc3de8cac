package lb_test

import (
	"container/heap"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/lb"
)

// The slow-node scenario: eight nodes, each setting up one call at a time in 10 ms on average, the
// first of them slower; 300 calls a second, three minutes long on average.
const (
	simNodes   = 8
	simSetUp   = 10 * time.Millisecond
	simRate    = 300
	simLength  = 3 * time.Minute
	simSeconds = 60
	simLook    = 100 * time.Millisecond // as Balancer.Run looks
)

// chooser is one way to choose a node. It is told what it could know.
type chooser interface {
	choose() int
	answered(node int, took time.Duration)
	ended(node int)
	look(now time.Duration)
}

// event is something that happens at a time in the simulation.
type event struct {
	at time.Duration
	do func()
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// slowNode runs the scenario with a first node that is slower by a factor, in virtual time, and
// returns the 99th percentile of the time to answer. Arrivals and work are the same for each chooser.
func slowNode(c chooser, slower float64, seed uint64) time.Duration {
	r := rand.New(rand.NewPCG(seed, 6))
	var queue events
	var free [simNodes]time.Duration // when each node is done with what it has
	var took []time.Duration
	var now time.Duration
	after := func(d time.Duration, do func()) { heap.Push(&queue, event{now + d, do}) }
	random := func(mean time.Duration) time.Duration { return time.Duration(r.ExpFloat64() * float64(mean)) }
	var arrive, look func()
	look = func() {
		c.look(now)
		after(simLook, look)
	}
	arrive = func() {
		next, work, length := random(time.Second/simRate), random(simSetUp), random(simLength)
		if now < simSeconds*time.Second {
			after(next, arrive)
		}
		n, start := c.choose(), now
		if n == 0 {
			work = time.Duration(float64(work) * slower)
		}
		free[n] = max(free[n], now) + work
		after(free[n]-now, func() {
			took = append(took, now-start)
			c.answered(n, now-start)
			after(length, func() { c.ended(n) })
		})
	}
	after(0, look)
	after(0, arrive)
	for {
		e := heap.Pop(&queue).(event)
		if e.at > 4*simSeconds*time.Second {
			break
		}
		now = e.at
		e.do()
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// ours is the Balancer itself.
type ours struct {
	b     *lb.Balancer
	now   time.Duration
	slots [simNodes][]tandem.Slot // answered
	early [simNodes][]tandem.Slot // in set-up, in order
}

// newOurs gives the first node a weight, where the others have 100.
func newOurs(t testing.TB, first int) *ours {
	t.Helper()
	o := new(ours)
	begin := time.Unix(1e9, 0)
	var err error
	o.b, err = lb.New(lb.Config{}, lb.Deps{Now: func() time.Time { return begin.Add(o.now) }, Dice: rand.New(rand.NewPCG(3, 3)).Float64}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i := range simNodes {
		n := node(fmt.Sprint("n", i), "a")
		if i == 0 {
			n.Weight = uint16(first)
		}
		o.b.PutNode(n)
	}
	o.b.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 1 << 20})
	return o
}

func (o *ours) choose() int {
	p, _ := o.b.Admit(tandem.Admission{Group: "ga"})
	n := int(p.Node[1] - '0')
	o.early[n] = append(o.early[n], p.Slot)
	return n
}

func (o *ours) answered(n int, took time.Duration) {
	slot := o.early[n][0]
	o.early[n] = o.early[n][1:]
	o.b.Answered(slot)
	o.b.SetUp(fmt.Sprint("n", n), "a", took, false, false)
	o.slots[n] = append(o.slots[n], slot)
}

func (o *ours) ended(n int) {
	o.b.Release(o.slots[n][0])
	o.slots[n] = o.slots[n][1:]
}

func (o *ours) look(now time.Duration) {
	o.now = now
	o.b.Look()
}

// simple is a choice by a function of the counts of calls and of those in set-up.
type simple struct {
	by             func(s *simple) int
	turn           int
	calls, pending [simNodes]int
}

func (s *simple) choose() int {
	n := s.by(s)
	s.calls[n]++
	s.pending[n]++
	return n
}
func (s *simple) answered(n int, _ time.Duration) { s.pending[n]-- }
func (s *simple) ended(n int)                     { s.calls[n]-- }
func (s *simple) look(time.Duration)              {}

// inTurns is round robin.
func inTurns(s *simple) int { s.turn++; return s.turn % simNodes }

// atRandom chooses without looking.
func atRandom(r *rand.Rand) func(*simple) int {
	return func(*simple) int { return r.IntN(simNodes) }
}

// byWeights is Kamailio's dispatcher with algorithm 9: "weight" is the percent of calls for each
// destination; a table of a hundred turns is filled so, what is left of it goes to the last one, the
// table is shuffled and gone through again and again.
func byWeights(r *rand.Rand, percent [simNodes]int) func(*simple) int {
	turns := make([]int, 0, 100)
	for n, p := range percent {
		for range p {
			turns = append(turns, n)
		}
	}
	for len(turns) < 100 {
		turns = append(turns, simNodes-1)
	}
	r.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
	return func(s *simple) int { s.turn++; return turns[s.turn%len(turns)] }
}

// Percentages that an operator would give who takes all nodes for equal, and one who knows that the
// first is ten times slower.
func unaware() [simNodes]int { return [...]int{13, 13, 13, 13, 12, 12, 12, 12} }
func aware() [simNodes]int   { return [...]int{1, 15, 14, 14, 14, 14, 14, 14} }

// others are what is compared with: the last three show what each step towards ours brings.
func others() map[string]func(*simple) int {
	r := rand.New(rand.NewPCG(8, 8))
	two := func(cost func(*simple, int) int) func(*simple) int {
		return func(s *simple) int {
			x, y := r.IntN(simNodes), r.IntN(simNodes)
			if cost(s, y) < cost(s, x) {
				return y
			}
			return x
		}
	}
	mixed := func(s *simple, n int) int { return s.calls[n] + 8*s.pending[n] }
	return map[string]func(*simple) int{
		"round-robin": inTurns,
		"random":      atRandom(r),
		"weights":     byWeights(r, unaware()),
		"two-calls":   two(func(s *simple, n int) int { return s.calls[n] }),
		"two-mixed":   two(mixed),
		"all-mixed": func(s *simple) int {
			best := 0
			for n := range simNodes {
				if mixed(s, n) < mixed(s, best) {
					best = n
				}
			}
			return best
		},
	}
}

// TestSlowNode: the tail of our choice is below that of each other one, also of the same choice
// without the time to answer (all-mixed, the twin); whether an even share of the calls is more than
// the slow node can take, or not, and when the weights are right.
func TestSlowNode(t *testing.T) {
	told := map[string]func(*simple) int{"weights": byWeights(rand.New(rand.NewPCG(8, 8)), aware())}
	for _, c := range []struct {
		name   string
		slower float64
		first  int // our weight of the slow node
		others map[string]func(*simple) int
	}{
		{"drowned", 10, 100, others()}, {"strained", 2, 100, others()}, {"told", 10, 10, told},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := slowNode(newOurs(t, c.first), c.slower, 1)
			t.Logf("ours: p99 %v", own)
			for name, by := range c.others {
				other := slowNode(&simple{by: by}, c.slower, 1)
				if t.Logf("%s: p99 %v", name, other); own >= other {
					t.Errorf("p99 %v, of %s %v: want less", own, name, other)
				}
			}
		})
	}
}

// TestSpread: L9: calls spread over nodes by weight.
func TestSpread(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	heavy := *node("a2", "a")
	heavy.Weight = 300
	b.PutNode(&heavy)
	b.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 4000})
	count := make(map[string]int)
	for range 4000 {
		p := admit(t, b, tandem.Admission{Group: "ga"})
		b.Answered(p.Slot)
		count[p.Node]++
	}
	if math.Abs(float64(count["a2"])/4000-0.75) > 0.01 {
		t.Errorf("calls by node: %v, want a quarter and three", count)
	}
}

// TestManyNodes: above the number that is looked at one by one, two random choices still spread well
// and find the only node that does.
func TestManyNodes(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	for i := range 100 {
		n := node(fmt.Sprintf("m%02d", i), "many")
		if i == 42 {
			n.Types = append(n.Types, "invite", "voicemail")
		} else {
			n.Types = append(n.Types, "invite")
		}
		b.PutNode(n)
	}
	b.PutGroup(lb.Group{ID: "gm", Cluster: "many", Permitted: 1 << 20})
	for range 50 {
		if p := admit(t, b, tandem.Admission{Group: "gm", Type: "voicemail"}); p.Node != "m42" {
			t.Fatalf("voicemail on %s, want m42", p.Node)
		}
	}
	count := make(map[string]int)
	for range 10_000 {
		p := admit(t, b, tandem.Admission{Group: "gm", Type: "invite"})
		b.Answered(p.Slot)
		count[p.Node]++
	}
	for n, calls := range count {
		if calls > 110 {
			t.Errorf("%s has %d calls, the mean is 100", n, calls)
		}
	}
}

// TestDice gives the same dice twice, and others: equals take turns by them and by nothing else.
func TestDice(t *testing.T) {
	turns := func(seed uint64) (order []string) {
		b, err := lb.New(lb.Config{}, lb.Deps{Dice: rand.New(rand.NewPCG(seed, 1)).Float64}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for n := range 8 {
			b.PutNode(node(fmt.Sprintf("n%d", n), "a"))
		}
		b.PutGroup(lb.Group{ID: "g", Cluster: "a", Permitted: lb.Unlimited})
		for range 8 {
			among := []tandem.Choice{{Node: "n0"}, {Node: "n1"}, {Node: "n2"}}
			first, second := admit(t, b, tandem.Admission{Group: "g"}), admit(t, b, tandem.Admission{Group: "g", Among: among})
			order = append(order, first.Node, second.Node)
		}
		return order
	}
	if one, again := turns(1), turns(1); !slices.Equal(one, again) {
		t.Errorf("the same dice chose %v, then %v", one, again)
	}
	if one, other := turns(1), turns(2); slices.Equal(one, other) {
		t.Errorf("other dice chose %v too", one)
	}
}
