package directory

import "sync/atomic"

// shardCount bounds what one growth of a table costs: a shard grows alone.
const shardCount = 256

// table is a hash table of pointers with one writer and any number of readers. Readers take no
// lock and never wait: slots are atomic pointers, and a shard that grows is built beside the old
// one and swapped. A slot costs 12 octets; shards are between half and four fifths full.
//
// A slot's hash is written once, before its pointer is first published, and never again; a removed
// entry leaves a grave until the shard is rebuilt. So a reader that saw a pointer may read its hash.
type table[T any] struct {
	shards [shardCount]shard[T]
	grave  *T // stands where an entry was removed
	live   atomic.Int64
}

type shard[T any] struct {
	slots atomic.Pointer[slots[T]]
	live  int // entries; the writer's
	used  int // entries and graves; the writer's
}

type slots[T any] struct {
	hashes   []uint32
	pointers []atomic.Pointer[T]
}

func newTable[T any]() *table[T] { return &table[T]{grave: new(T)} }

func (t *table[T]) shard(h uint64) *shard[T] { return &t.shards[h>>32%shardCount] }

// home returns the slot where the search for h begins.
func (s *slots[T]) home(h uint64) int {
	return int(uint64(uint32(h)) * uint64(len(s.pointers)) >> 32)
}

// get returns the entry under h that match accepts, nil when there is none.
func (t *table[T]) get(h uint64, match func(*T) bool) *T {
	s := t.shard(h).slots.Load()
	if s == nil {
		return nil
	}
	for i := s.home(h); ; i++ {
		if i == len(s.pointers) {
			i = 0
		}
		p := s.pointers[i].Load()
		if p == nil {
			return nil
		}
		if s.hashes[i] == uint32(h) && p != t.grave && match(p) {
			return p
		}
	}
}

// put adds an entry under h; the caller knows that it is not there yet.
func (t *table[T]) put(h uint64, p *T) {
	sh := t.shard(h)
	s := sh.slots.Load()
	if s == nil || (sh.used+1)*5 > len(s.pointers)*4 {
		s = sh.rebuild(t.grave)
	}
	s.place(h, p)
	sh.live++
	sh.used++
	t.live.Add(1)
}

// place stores p in the first free slot for h.
func (s *slots[T]) place(h uint64, p *T) {
	i := s.home(h)
	for s.pointers[i].Load() != nil {
		if i++; i == len(s.pointers) {
			i = 0
		}
	}
	s.hashes[i] = uint32(h)
	s.pointers[i].Store(p)
}

// rebuild copies a shard's live entries into slots with room for half as many more.
func (sh *shard[T]) rebuild(grave *T) *slots[T] {
	n := max(8, (sh.live+1)*15/8)
	fresh := &slots[T]{hashes: make([]uint32, n), pointers: make([]atomic.Pointer[T], n)}
	if old := sh.slots.Load(); old != nil {
		for i := range old.pointers {
			if p := old.pointers[i].Load(); p != nil && p != grave {
				fresh.place(uint64(old.hashes[i]), p)
			}
		}
	}
	sh.used = sh.live
	sh.slots.Store(fresh)
	return fresh
}

// replace puts p where old stands under h; it adds p when old is nil, and removes old when p is.
func (t *table[T]) replace(h uint64, old, p *T) {
	if old == nil {
		if p != nil {
			t.put(h, p)
		}
		return
	}
	sh := t.shard(h)
	s := sh.slots.Load()
	i := s.home(h)
	for s.hashes[i] != uint32(h) || s.pointers[i].Load() != old {
		if i++; i == len(s.pointers) {
			i = 0
		}
	}
	if p != nil {
		s.pointers[i].Store(p)
		return
	}
	s.pointers[i].Store(t.grave)
	sh.live--
	t.live.Add(-1)
}
