package httpproxy

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// gate counts what is in progress in all.
type gate struct{ active atomic.Int64 }

// enter takes a place unless most are taken.
func (g *gate) enter(most int) bool {
	if g.active.Add(1) > int64(most) {
		g.active.Add(-1)
		return false
	}
	return true
}

func (g *gate) leave() { g.active.Add(-1) }

// gates count what is in progress for each account. Only accounts with something in progress are
// kept, so that the table is bounded by what is in progress in all.
type gates struct {
	seed   maphash.Seed
	shards [64]struct {
		mu     sync.Mutex
		active map[string]int
	}
}

func newGates() *gates {
	g := &gates{seed: maphash.MakeSeed()}
	for i := range g.shards {
		g.shards[i].active = make(map[string]int)
	}
	return g
}

// enter takes a place of the account unless most are taken.
func (g *gates) enter(account string, most int) bool {
	s := &g.shards[maphash.String(g.seed, account)%uint64(len(g.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active[account] >= most {
		return false
	}
	s.active[account]++
	return true
}

func (g *gates) leave(account string) {
	s := &g.shards[maphash.String(g.seed, account)%uint64(len(g.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active[account]--; s.active[account] == 0 {
		delete(s.active, account)
	}
}
