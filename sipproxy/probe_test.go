package sipproxy

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/tandem"
)

// manyNodes returns probes of n nodes that answer, bound to some a second.
func manyNodes(t *testing.T, n, perSecond int) *probes {
	r, _ := watchedRig(t)
	p := r.s.probes
	p.apply([]tandem.Change{{Kind: tandem.KindNode, ID: "n1"}, {Kind: tandem.KindNode, ID: "n2"}})
	p.cfg.Probes.PerSecond = perSecond
	for i := range n {
		id := fmt.Sprint("m", i)
		node := &tandem.Node{Head: tandem.Head{ID: id}, Ports: tandem.Ports{UDP: 5060}}
		p.apply([]tandem.Change{{Kind: tandem.KindNode, ID: id, Object: node}})
	}
	return p
}

// The probes of all nodes together keep within the bound, the interval is stretched, and every node
// has its turn; twin: a bound that is not reached changes nothing.
func TestProbesAreBounded(t *testing.T) {
	const nodes = 1000
	for _, tt := range []struct {
		name      string
		perSecond int
		every     time.Duration // between two of one node, at the least
		most      int           // a second, in all
		postponed bool
	}{
		{"bound", 200, nodes * time.Second / 200, 220, true},
		{"twin", 20_000, 500 * time.Millisecond, 2 * nodes, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, now := manyNodes(t, nodes, tt.perSecond), time.Now()
			asked := make(map[string]int)
			play := func(d time.Duration) (sent int) {
				for end := now.Add(d); now.Before(end); now = now.Add(probeTick) {
					for _, node := range p.due(now) {
						asked[node]++
						sent++
						p.noted(node, true, false)
					}
				}
				return sent
			}
			play(30 * time.Second) // all known, and spread
			clear(asked)
			const watched = 20
			if sent := play(watched * time.Second); sent > tt.most*watched {
				t.Errorf("%d probes a second, want at most %d", sent/watched, tt.most)
			}
			least, most := nodes, 0
			for i := range nodes {
				n := asked[fmt.Sprint("m", i)]
				least, most = min(least, n), max(most, n)
			}
			if least == 0 || most-least > most/2+2 {
				t.Errorf("nodes were asked %d to %d times, want all about as often", least, most)
			}
			if every := p.interval(); every < tt.every || every > tt.every*6/5 {
				t.Errorf("interval %v, want about %v", every, tt.every)
			}
			if got := p.postponed() > 0; got != tt.postponed {
				t.Errorf("postponed turns: %d", p.postponed())
			}
		})
	}
}

// While outcomes do not come in, there is no sign of life; and there is one again when they do.
func TestProbesTellThatTheyRun(t *testing.T) {
	p, now := manyNodes(t, 2, 500), time.Now()
	if !p.alive(now) {
		t.Error("not alive though nothing is owed")
	}
	for _, node := range p.due(now) {
		p.nodes[node].owed = now
	}
	within := now.Add(p.cfg.Probes.Timeout)
	if !p.alive(within) {
		t.Error("not alive while outcomes may still come")
	}
	late := within.Add(probeLag + time.Millisecond)
	if p.alive(late) {
		t.Error("alive though outcomes are overdue")
	}
	for node := range p.nodes {
		for p.nodes[node].asking > 0 {
			p.lost(node)
		}
	}
	if !p.alive(late) {
		t.Error("not alive though all have ended")
	}
}

// A checker whose worker takes nothing gives no sign of life; twin: one whose worker does.
func TestStuckProber(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		t.Run(fmt.Sprint("stuck ", stuck), func(t *testing.T) {
			r, c := watchedRig(t)
			synctest.Test(t, func(t *testing.T) {
				w := r.w
				w.inbox = make(chan event)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan struct{})
				go func() { r.s.probes.run(ctx); close(ended) }()
				if !stuck {
					go func() {
						for {
							select {
							case <-w.inbox:
								for _, node := range r.s.probes.all() {
									r.s.probes.noted(node, true, false)
								}
							case <-ctx.Done():
								return
							}
						}
					}()
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if got := len(c.beats) > 0; got == stuck {
					t.Errorf("%d signs of life", len(c.beats))
				}
				cancel()
				<-ended
			})
		})
	}
}
