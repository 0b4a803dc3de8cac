package lb_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/tandem"
	"tandem/lb"
)

// How often OPTIONS are sent, within a burst too, and how long their answers may take: as the SIP proxy
// does it.
const (
	probing = 500 * time.Millisecond
	gap     = 65 * time.Millisecond
	patient = 500 * time.Millisecond
)

// behaviour is how a node answers.
type behaviour struct {
	dead   bool
	trip   time.Duration // mean round trip; half of it varies
	loss   float64
	failed float64       // share of INVITEs that get a 5xx
	answer time.Duration // to the first answer of an INVITE, beyond a round trip
}

var healthy = behaviour{trip: 20 * time.Millisecond}

// patientNode is one node in virtual time, probed and called.
type patientNode struct {
	b *lb.Balancer

	mu    sync.Mutex
	r     *rand.Rand
	is    behaviour
	calls bool // it gets INVITEs too, while it is available
	turns int  // changes of state seen
	state lb.State
	taken int // calls given to it

	next          time.Time // probe
	burst, asking int
	probes        int // sent
}

// be changes how the node behaves from now on.
func (p *patientNode) be(is behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.is = is
}

// fate returns how one probe or call fares: lost, failed, its round trip.
func (p *patientNode) fate() (lost, failed bool, trip time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	trip = p.is.trip/2 + time.Duration(p.r.ExpFloat64()*float64(p.is.trip)/2)
	return p.is.dead || p.r.Float64() < p.is.loss, p.r.Float64() < p.is.failed, trip
}

// seen returns how many calls it was given and how often its state changed.
func (p *patientNode) seen() (taken, turns int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken, p.turns
}

// clinic runs fn beside a balancer with one node that behaves as p.now says.
func clinic(t *testing.T, cfg lb.Config, calls bool, fn func(p *patientNode)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &patientNode{b: newBalancer(t, cfg, nil), r: rand.New(rand.NewPCG(4, 2)), is: healthy, state: lb.StateUnknown, calls: calls}
		p.b.PutGroup(lb.Group{ID: "gb", Cluster: "b", Permitted: 1000, MinQuality: 55})
		ctx, end := context.WithCancel(t.Context())
		go p.b.Run(ctx)
		go p.probe(ctx)
		go p.call(ctx)
		fn(p)
		end()
		time.Sleep(10 * time.Second)
	})
}

// ask sends one OPTIONS and has more follow when they are due.
func (p *patientNode) ask() {
	lost, _, trip := p.fate()
	missed := lost || trip > patient
	if missed {
		time.Sleep(patient)
	} else {
		time.Sleep(trip)
	}
	again := p.b.Probed("b1", trip, !missed)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asking--
	if soon := time.Now().Add(gap); again {
		if p.burst = 3; missed {
			p.next = time.Time{}
		} else if soon.Before(p.next) {
			p.next = soon
		}
	}
}

// isDue reports whether a probe is due, and sets the time of the next.
func (p *patientNode) isDue(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.next) || p.asking > 3 {
		return false
	}
	p.asking++
	p.probes++
	if p.next = now.Add(probing + time.Duration(p.r.Int64N(int64(probing/10)))); p.burst > 0 {
		p.burst--
		p.next = now.Add(gap)
	}
	return true
}

func (p *patientNode) probe(ctx context.Context) {
	for ctx.Err() == nil {
		if p.isDue(time.Now()) {
			go p.ask()
		}
		time.Sleep(25 * time.Millisecond)
	}
}

func (p *patientNode) call(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
		placed, refused := p.b.Admit(tandem.Admission{Group: "gb"})
		_, failed, trip := p.fate()
		p.mu.Lock()
		answer := p.is.answer
		if s := p.status(); s.State != p.state {
			p.state = s.State
			p.turns++
		}
		if refused.Code == 0 {
			p.taken++
		}
		p.mu.Unlock()
		if refused.Code == 0 && p.calls {
			p.b.SetUp("b1", "a", trip+answer, failed, false)
		}
		p.b.Release(placed.Slot)
	}
}

func (p *patientNode) status() lb.NodeStatus {
	for _, c := range p.b.Table().Clusters {
		for _, n := range c.Nodes {
			if n.ID == "b1" {
				return n
			}
		}
	}
	return lb.NodeStatus{}
}

// until waits for one of some states and returns how long that took, at most a minute.
func (p *patientNode) until(want ...lb.State) time.Duration {
	start := time.Now()
	for !slices.Contains(want, p.status().State) && time.Since(start) < time.Minute {
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

// TestIllness: each kind of trouble closes a node in time, and its end opens it (L7, L9).
func TestIllness(t *testing.T) {
	late, slow, lossy, failing := healthy, healthy, healthy, healthy
	slow.trip, lossy.loss, failing.failed = 700*time.Millisecond, 0.6, 0.5
	late.answer = 5 * time.Second
	for _, c := range []struct {
		name  string
		is    behaviour
		calls bool
		state lb.State
		most  time.Duration
	}{
		{"dead", behaviour{dead: true}, false, lb.StateDown, 2 * time.Second},
		// Half a second between probes, the first ones are not missed with some luck: 99 of 100 within 5 s.
		{"slow", slow, false, lb.StateDegraded, 7 * time.Second},
		{"late", late, true, lb.StateDegraded, 5 * time.Second},
		{"lossy", lossy, false, lb.StateDegraded, 7 * time.Second},
		{"failing", failing, true, lb.StateDegraded, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			clinic(t, lb.Config{}, c.calls, func(p *patientNode) {
				time.Sleep(20 * time.Second)
				if p.status().State != lb.StateGood {
					t.Fatalf("after 20 s of health it is %s", p.status().State)
				}
				p.be(c.is)
				closed := p.until(c.state, lb.StateDown) // of much loss, four misses in a row come about
				before, _ := p.seen()
				time.Sleep(2 * time.Second)
				if taken, _ := p.seen(); taken > before+1 {
					t.Errorf("it got %d calls while %s", taken-before, c.state)
				}
				p.be(healthy)
				opened := p.until(lb.StateGood)
				time.Sleep(time.Second)
				if taken, _ := p.seen(); taken < before+10 {
					t.Error("calls did not come back")
				}
				if closed > c.most || opened > 10*time.Second {
					t.Errorf("closed after %v, opened after %v; want at most %v and 10 s", closed, opened, c.most)
				}
				t.Logf("closed after %v, opened after %v", closed, opened)
			})
		})
	}
}

// TestNoise: an hour of what every network does changes nothing, and an hour of what a bad one does next
// to nothing: that four probes in a row are missed, which is death, happens every other hour. Not many
// more probes are needed for that.
func TestNoise(t *testing.T) {
	for loss, most := range map[float64]int{0.01: 1, 0.05: 7} {
		t.Run(fmt.Sprint(loss), func(t *testing.T) {
			clinic(t, lb.Config{}, true, func(p *patientNode) {
				p.be(behaviour{trip: 60 * time.Millisecond, loss: loss, failed: 0.01})
				time.Sleep(time.Hour)
				_, turns := p.seen()
				t.Logf("%d changes, %.2f probes a second", turns, float64(p.probes)/3600)
				if turns > most || p.probes > 6*3600 {
					t.Errorf("%d changes of state in an hour, %d probes, want at most %d and 6 a second", turns, p.probes, most)
				}
			})
		})
	}
}

// TestFlapping: a node that fails calls but answers probes is not tried again and again at one pace.
func TestFlapping(t *testing.T) {
	clinic(t, lb.Config{}, true, func(p *patientNode) {
		time.Sleep(10 * time.Second)
		p.be(behaviour{trip: 20 * time.Millisecond, failed: 1})
		time.Sleep(10 * time.Minute)
		if _, turns := p.seen(); turns > 30 {
			t.Errorf("%d changes of state in ten minutes, want at most 30", turns)
		}
	})
}

// TestParts: each part alone, what is required, and what is absent.
func TestParts(t *testing.T) {
	required := lb.Config{Quality: lb.Quality{Required: []lb.Part{lb.PartVoice}}}
	times := func(n int, fn func(*lb.Balancer)) func(*lb.Balancer) {
		return func(b *lb.Balancer) {
			for range n {
				fn(b)
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	probe := func(b *lb.Balancer) { b.Probed("b1", 20*time.Millisecond, true) }
	timeout := func(b *lb.Balancer) { b.SetUp("b1", "a", time.Second, false, true) }
	for _, c := range []struct {
		name  string
		cfg   lb.Config
		feed  func(*lb.Balancer)
		state lb.State
	}{
		{"nothing", lb.Config{}, times(0, nil), lb.StateUnknown},
		{"two probes are not enough", lb.Config{}, times(2, probe), lb.StateUnknown},
		{"three are", lb.Config{}, times(3, probe), lb.StateGood},
		{"not when voice is required", required, times(9, probe), lb.StateUnknown},
		{"good voice", required, times(3, func(b *lb.Balancer) { b.Heard("b1", "x", 4.2); b.Heard("b1", "y", 4.2) }), lb.StateGood},
		{"bad voice", required, times(3, func(b *lb.Balancer) { b.Heard("b1", "x", 2.5); b.Heard("b1", "y", 2.5) }), lb.StateDegraded},
		{"one complains, the other was content long ago", required, func(b *lb.Balancer) {
			b.Heard("b1", "y", 4.2)
			b.Heard("b1", "x", 4.2)
			time.Sleep(11 * time.Minute)
			b.Heard("b1", "x", 1.5)
		}, lb.StateUnknown},
		{"one customer complains", required, times(9, func(b *lb.Balancer) { b.Heard("b1", "x", 1.5) }), lb.StateUnknown},
		{"no opinion score", required, times(9, func(b *lb.Balancer) { b.Heard("b1", "x", 7); b.Heard("b1", "y", 7) }), lb.StateUnknown},
		{"idle", lb.Config{}, times(1, func(b *lb.Balancer) { b.Reported("b1", 0.3) }), lb.StateGood},
		{"overloaded", lb.Config{}, times(1, func(b *lb.Balancer) { b.Reported("b1", 1.2) }), lb.StateDegraded},
		{"negative load", lb.Config{}, times(1, func(b *lb.Balancer) { b.Reported("b1", -1) }), lb.StateUnknown},
		{"never answered a probe", lb.Config{}, times(9, func(b *lb.Balancer) { b.Probed("b1", 0, false) }), lb.StateUnknown},
		{"refuses, and was never there", lb.Config{}, func(b *lb.Balancer) { b.Broken("b1", "refused"); b.Probed("b1", 0, false) }, lb.StateDown},
		{"refused before it was there", lb.Config{}, func(b *lb.Balancer) {
			b.Broken("b1", "refused")
			time.Sleep(500 * time.Millisecond)
			b.Probed("b1", 0, false)
		}, lb.StateUnknown},
		{"refused before it answered a call", lb.Config{}, func(b *lb.Balancer) { b.Broken("b1", "refused"); b.SetUp("b1", "a", time.Second, false, false) }, lb.StateUnknown},
		{"transport error", lb.Config{}, func(b *lb.Balancer) { times(3, probe)(b); b.Broken("b1", "refused") }, lb.StateDown},
		{"time-outs in a row", lb.Config{}, times(5, timeout), lb.StateDown},
		{"time-outs, interrupted", lb.Config{}, times(9, func(b *lb.Balancer) {
			timeout(b)
			b.SetUp("b1", "a", time.Millisecond, false, false)
		}), lb.StateDegraded},
		{"three missed probes", lb.Config{}, func(b *lb.Balancer) { times(9, probe)(b); b.Look(); missed(b, 3) }, lb.StateGood},
		{"four missed probes", lb.Config{}, func(b *lb.Balancer) { times(9, probe)(b); missed(b, 4) }, lb.StateDown},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBalancer(t, c.cfg, nil)
				c.feed(b)
				b.PutNode(node("b1", "b"))
				if got := (&patientNode{b: b}).status(); got.State != c.state || (got.State == lb.StateUnknown) != (got.Score == lb.Unknown) && got.State != lb.StateDown {
					t.Errorf("state %s score %.0f why %q, want %s", got.State, got.Score, got.Why, c.state)
				}
			})
		})
	}
}

func missed(b *lb.Balancer, n int) {
	for i := range n {
		if again := b.Probed("b1", 0, false); i == 0 && !again {
			panic("a burst is due after the first miss")
		}
	}
}

// TestDoubt: probes are asked for in quick succession while they speak against the state, and no longer.
func TestDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBalancer(t, lb.Config{}, nil)
		answers := func(n int) (again bool) {
			for range n {
				time.Sleep(gap)
				again = b.Probed("b1", 20*time.Millisecond, true)
				b.Look()
			}
			return again
		}
		if answers(10) {
			t.Error("all is well, and more are asked for")
		}
		missed(b, 2)
		if !answers(1) {
			t.Error("two of the last three were missed, and no more are asked for")
		}
		if answers(40) {
			t.Error("forty were answered, and more are asked for")
		}
		if s := statusOf(b, "b1"); s.State != lb.StateGood {
			t.Errorf("a moment of doubt made it %s", s.State)
		}
	})
}

// TestSlowStart: a node that recovered gets its share by and by.
func TestSlowStart(t *testing.T) {
	clinic(t, lb.Config{}, true, func(p *patientNode) {
		time.Sleep(5 * time.Second)
		full := p.status().Weight
		p.be(behaviour{dead: true})
		p.until(lb.StateDown)
		p.be(healthy)
		p.until(lb.StateGood)
		early := p.status().Weight
		time.Sleep(31 * time.Second)
		if late := p.status().Weight; early > 0.2*full || late != full {
			t.Errorf("weight %v, %v on recovery, %v after the ramp", full, early, late)
		}
	})
}

// TestDrain: a draining node keeps its calls and gets none; undrained it gets them at once.
func TestDrain(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	up := admit(t, b, tandem.Admission{Group: "gb"})
	draining := *node("b1", "b")
	draining.State = tandem.NodeDraining
	b.PutNode(&draining)
	wantRefusal(t, b, tandem.Admission{Group: "gb"}, 503, lb.ReasonNoNode, "gb")
	if s := statusOf(b, "b1"); s.Calls != 1 || s.Why != "set draining" || s.Available {
		t.Errorf("draining: %+v", s)
	}
	b.PutNode(node("b1", "b"))
	admit(t, b, tandem.Admission{Group: "gb"})
	b.Release(up.Slot)
}

// TestStale: what was found before a node was left alone does not count against it afterwards.
func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBalancer(t, lb.Config{}, nil)
		calls := func(n int, failed bool) lb.NodeStatus {
			for range n {
				b.SetUp("b1", "a", 10*time.Millisecond, failed, false)
				time.Sleep(time.Millisecond)
			}
			b.PutNode(node("b1", "b"))
			return (&patientNode{b: b}).status()
		}
		if s := calls(10, true); s.State != lb.StateDegraded {
			t.Errorf("failing: %s", s.State)
		}
		time.Sleep(time.Minute)
		if s := calls(0, true); s.State != lb.StateUnknown || s.Score != lb.Unknown {
			t.Errorf("left alone: %s %v", s.State, s.Score)
		}
		if s := calls(5, false); s.State != lb.StateGood || s.Failed != 0 {
			t.Errorf("well again: %s, failed %v", s.State, s.Failed)
		}
	})
}
