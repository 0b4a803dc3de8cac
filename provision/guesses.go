package provision

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// Guesses are counted a source and minute. A source that missed mostMisses times gets nothing
// until the minute is over, the right token included.
const (
	mostMisses = 20
	slots      = 1 << 14
)

// guesses is a table of fixed size. A source's slot is found by a keyed hash; a newcomer takes the
// slot over, so that nobody is blocked by another's guesses, and the worst that a flood of sources
// does is to forget counts.
type guesses struct {
	seed maphash.Seed
	slot [slots]atomic.Uint64 // tag 16 bits, minute 32, misses 16
}

func newGuesses() *guesses { return &guesses{seed: maphash.MakeSeed()} }

// allow reports whether source may try.
func (g *guesses) allow(source netip.Prefix, now time.Time) bool {
	slot, key := g.find(source, now)
	v := slot.Load()
	return v>>16 != key || v&0xffff < mostMisses
}

// miss counts a guess that opened nothing.
func (g *guesses) miss(source netip.Prefix, now time.Time) {
	slot, key := g.find(source, now)
	for {
		v := slot.Load()
		next := key<<16 | 1
		if v>>16 == key {
			next = v + 1
		}
		if v&0xffff == 0xffff && v>>16 == key || slot.CompareAndSwap(v, next) {
			return
		}
	}
}

// find returns source's slot and what its high 48 bits are when it holds source's count of this minute.
func (g *guesses) find(source netip.Prefix, now time.Time) (*atomic.Uint64, uint64) {
	h := maphash.Comparable(g.seed, source)
	minute := uint64(uint32(now.Unix() / 60))
	return &g.slot[h%slots], h>>48<<32 | minute
}
