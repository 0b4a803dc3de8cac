package httpproxy

import (
	"hash/maphash"
	"sync/atomic"
)

// index finds entries by a key that each holds itself. One goroutine may change it while any number
// look: a slot is written at once, an entry never moves within its slots, and slots that have
// become too few are copied and replaced whole, a shard at a time.
type index struct {
	seed   maphash.Seed
	key    func(*entry) []string // the key, in pieces
	count  atomic.Int64
	shards [256]shard
	// removed stands where an entry was, so that what was put behind it is still found.
	removed *entry
}

type shard struct {
	slots atomic.Pointer[[]atomic.Pointer[entry]] // a power of two of them; nil: empty
	used  int                                     // slots that are not nil, those of removed entries included
	live  int
}

func newIndex(key func(*entry) []string) *index {
	return &index{seed: maphash.MakeSeed(), key: key, removed: new(entry)}
}

// find returns the entry with this key that is the one, nil for none.
func (x *index) find(key string, is func(*entry) bool) *entry {
	hash := maphash.String(x.seed, key)
	slots := x.shardOf(hash).slots.Load()
	if slots == nil {
		return nil
	}
	for i := hash; ; i++ {
		switch e := at(*slots, i).Load(); {
		case e == nil:
			return nil
		case e != x.removed && is(e):
			return e
		}
	}
}

// put adds e in the place of the entry with its key that is the one, if there is one.
func (x *index) put(e *entry, is func(*entry) bool) {
	hash := x.hash(e)
	s := x.shardOf(hash)
	x.grow(s)
	slots := *s.slots.Load()
	free := (*atomic.Pointer[entry])(nil)
	for i := hash; ; i++ {
		slot := at(slots, i)
		switch o := slot.Load(); {
		case o == nil:
			if free == nil {
				free = slot
				s.used++
			}
			free.Store(e)
			s.live++
			x.count.Add(1)
			return
		case o == x.removed:
			if free == nil {
				free = slot
			}
		case is(o):
			slot.Store(e)
			return
		}
	}
}

// remove takes e out, if it is still in.
func (x *index) remove(e *entry) {
	hash := x.hash(e)
	s := x.shardOf(hash)
	slots := s.slots.Load()
	if slots == nil {
		return
	}
	for i := hash; ; i++ {
		slot := at(*slots, i)
		switch slot.Load() {
		case nil:
			return
		case e:
			slot.Store(x.removed)
			s.live--
			x.count.Add(-1)
			return
		}
	}
}

// grow gives s room for one more entry, with a quarter of its slots free.
func (x *index) grow(s *shard) {
	var old []atomic.Pointer[entry]
	if p := s.slots.Load(); p != nil {
		old = *p
	}
	if (s.used+1)*4 <= len(old)*3 {
		return
	}
	size := 8
	for size < 2*(s.live+1) {
		size *= 2
	}
	slots := make([]atomic.Pointer[entry], size)
	for i := range old {
		e := old[i].Load()
		if e == nil || e == x.removed {
			continue
		}
		j := x.hash(e)
		for at(slots, j).Load() != nil {
			j++
		}
		at(slots, j).Store(e)
	}
	s.used = s.live
	s.slots.Store(&slots)
}

func (x *index) hash(e *entry) uint64 {
	var h maphash.Hash
	h.SetSeed(x.seed)
	for _, piece := range x.key(e) {
		h.WriteString(piece)
	}
	return h.Sum64()
}

func (x *index) shardOf(hash uint64) *shard { return &x.shards[hash>>56] }

func at(slots []atomic.Pointer[entry], i uint64) *atomic.Pointer[entry] {
	return &slots[i&uint64(len(slots)-1)]
}
