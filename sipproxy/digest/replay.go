package digest

import "sync"

// waysPerSet is how many nonces share one lock and compete for room.
const waysPerSet = 8

// replay remembers which counts of which nonces were taken.
type replay struct{ sets []nonceSet }

type nonceSet struct {
	mu sync.Mutex
	// floor is when the youngest nonce was made that this set has forgotten: those as old or older
	// that are not in the set may have been used.
	floor tick
	used  [waysPerSet]usedNonce
}

type usedNonce struct {
	id   uint64
	made tick   // zero: free
	seen uint64 // bit i: count top-i was taken
	top  uint32 // the highest count taken
}

func newReplay(nonces int, start tick) *replay {
	r := &replay{sets: make([]nonceSet, max(1, nonces/waysPerSet))}
	for i := range r.sets {
		r.sets[i].floor = start
	}
	return r
}

// take takes one count of a nonce; it reports false when the count may have been taken before.
func (r *replay) take(n nonce, count uint32) bool {
	s := &r.sets[n.id%uint64(len(r.sets))]
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.used {
		if u := &s.used[i]; u.id == n.id && u.made == n.made {
			return u.take(count)
		}
	}
	if n.made <= s.floor {
		return false
	}
	u := s.room(n)
	if u == nil {
		return false
	}
	*u = usedNonce{id: n.id, made: n.made, top: count, seen: 1}
	return true
}

func (u *usedNonce) take(count uint32) bool {
	if count > u.top {
		u.seen = u.seen<<(count-u.top) | 1
		u.top = count
		return true
	}
	bit := uint64(1) << (u.top - count)
	if bit == 0 || u.seen&bit != 0 {
		return false
	}
	u.seen |= bit
	return true
}

// room gives up the oldest way, which is a free one or a dead one while there are any; nil when all
// are as young as n.
func (s *nonceSet) room(n nonce) *usedNonce {
	oldest := &s.used[0]
	for i := range s.used {
		if s.used[i].made < oldest.made {
			oldest = &s.used[i]
		}
	}
	if oldest.made >= n.made {
		return nil
	}
	s.floor = max(s.floor, oldest.made)
	return oldest
}
