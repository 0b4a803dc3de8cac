package dnsd

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"
)

// shards is how many parts a table has. One change rebuilds at most one part, now and then.
const shards = 1 << shardBits

const shardBits = 10

// An index place holds the number of its row plus one, and above it some bits of the key's hash, so
// that probing seldom looks at a row in vain. A shard has room for a million rows.
const (
	rowBits = 20
	rowMask = 1<<rowBits - 1
	gone    = rowMask // in place of a deleted row; probing goes on past it
)

// slot returns what an index place holds for row number n of a key with hash h.
func slot(n int, h uint32) uint32 { return uint32(n+1) | (h>>shardBits)<<rowBits }

// entry is one row of a table: 16 octets without a pointer, so that the garbage collector never
// looks at a million of them. Its key, and after it tail octets that belong to its owner, stand in
// the shard's keys.
type entry struct {
	off  uint32 // of the key in the shard's keys
	a, b uint32 // what the table's owner wants
	tail uint16 // octets after the key
	klen uint8
	tag  uint8
}

// shard is one part of a table. Rows and keys are only ever appended, and become visible through
// index; when there is no more room, a new shard with the living rows takes its place. So readers
// need no lock and never see half a row.
type shard struct {
	index   []atomic.Uint32 // slots; zero: never used
	entries []entry
	keys    []byte

	used, keysUsed, live int // of the one writer
}

// table maps short octet strings to rows. Any number may read while one goroutine writes.
type table struct {
	seed   maphash.Seed
	shards [shards]atomic.Pointer[shard]
	rows   atomic.Int64
}

func newTable() *table { return &table{seed: maphash.MakeSeed()} }

// hash returns the 32 bits that place a key: the low ones choose the shard, the others the place.
func (t *table) hash(key []byte) uint32 { return uint32(maphash.Bytes(t.seed, key)) }

// start is where probing for h begins in an index of n places.
func start(h uint32, n int) int { return int(uint64(h>>shardBits) * uint64(n) >> (32 - shardBits)) }

func (s *shard) key(e *entry) []byte { return s.keys[e.off : e.off+uint32(e.klen)] }

func (s *shard) tail(e *entry) []byte {
	from := e.off + uint32(e.klen)
	return s.keys[from : from+uint32(e.tail)]
}

// row returns the row that an index place names, nil for none.
func (s *shard) row(place int) *entry {
	n := s.index[place].Load() & rowMask
	if n == 0 || n == gone {
		return nil
	}
	return &s.entries[n-1]
}

// get returns the row with this key.
func (t *table) get(key []byte) (entry, bool) {
	e, _, ok := t.getTail(key)
	return e, ok
}

// has reports whether there is a row with this key.
func (t *table) has(key []byte) bool {
	h := t.hash(key)
	s := t.shards[h%shards].Load()
	return s != nil && s.find(h, key) >= 0
}

// bump adds to a of the row with this key, which comes when it is not there, and goes when a becomes
// zero. Only who writes may look at a of a table that is bumped; others may ask whether it has a row.
func (t *table) bump(key []byte, by int) {
	h := t.hash(key)
	s := t.shards[h%shards].Load()
	if s == nil || s.find(h, key) < 0 {
		t.put(key, nil, entry{a: uint32(by)})
		return
	}
	e := s.row(s.find(h, key))
	if e.a += uint32(by); e.a == 0 {
		t.delete(key)
	}
}

// getTail returns the row with this key and the octets kept after the key, which must not be changed.
func (t *table) getTail(key []byte) (entry, []byte, bool) {
	h := t.hash(key)
	s := t.shards[h%shards].Load()
	if s == nil {
		return entry{}, nil, false
	}
	place := s.find(h, key)
	if place < 0 {
		return entry{}, nil, false
	}
	e := s.row(place)
	if e == nil { // deleted since
		return entry{}, nil, false
	}
	return *e, s.tail(e), true
}

// find returns the place in index that holds key, or -1.
func (s *shard) find(h uint32, key []byte) int {
	size, mark := len(s.index), slot(-1, h)
	for place := start(h, size); ; place++ {
		if place == size {
			place = 0
		}
		n := s.index[place].Load()
		if n == 0 {
			return -1
		}
		if n&^rowMask != mark || n&rowMask == gone {
			continue
		}
		if e := &s.entries[n&rowMask-1]; int(e.klen) == len(key) && bytes.Equal(s.key(e), key) {
			return place
		}
	}
}

// each calls fn for the rows whose key may have hash h, until it returns true.
func (t *table) each(h uint32, fn func(key []byte, e entry, tail []byte) bool) {
	s := t.shards[h%shards].Load()
	if s == nil {
		return
	}
	size := len(s.index)
	for place := start(h, size); s.index[place].Load() != 0; place++ {
		if e := s.row(place); e != nil && t.hash(s.key(e)) == h && fn(s.key(e), *e, s.tail(e)) {
			return
		}
		if place == size-1 {
			place = -1
		}
	}
}

// put adds the row e under key, or replaces the row that is there.
func (t *table) put(key, tail []byte, e entry) {
	h := t.hash(key)
	s := t.shards[h%shards].Load()
	if s == nil || s.used == len(s.entries) || s.keysUsed+len(key)+len(tail) > len(s.keys) {
		s = t.rebuild(s, len(key)+len(tail))
		t.shards[h%shards].Store(s)
	}
	place := s.find(h, key)
	e.klen, e.tail = uint8(len(key)), uint16(len(tail))
	if old := place; old >= 0 && len(tail) == 0 {
		e.off = s.row(old).off
	} else {
		e.off = uint32(s.keysUsed)
		s.keysUsed += copy(s.keys[s.keysUsed:], key)
		s.keysUsed += copy(s.keys[s.keysUsed:], tail)
	}
	s.entries[s.used] = e
	s.used++
	if place < 0 {
		place = s.free(h)
		s.live++
		t.rows.Add(1)
	}
	s.index[place].Store(slot(s.used-1, h))
}

// free returns the first place for h that was never used.
func (s *shard) free(h uint32) int {
	place := start(h, len(s.index))
	for s.index[place].Load() != 0 {
		if place++; place == len(s.index) {
			place = 0
		}
	}
	return place
}

// delete removes the row with this key, if there is one.
func (t *table) delete(key []byte) {
	h := t.hash(key)
	s := t.shards[h%shards].Load()
	if s == nil {
		return
	}
	if place := s.find(h, key); place >= 0 {
		s.index[place].Store(gone)
		s.live--
		t.rows.Add(-1)
	}
}

// deleteOwned removes the row whose key has hash h and whose b is given, and returns its key, nil when
// there is none.
func (t *table) deleteOwned(h, b uint32) []byte {
	var key []byte
	t.each(h, func(k []byte, e entry, _ []byte) bool {
		if e.b == b {
			key = bytes.Clone(k)
		}
		return key != nil
	})
	if key != nil {
		t.delete(key)
	}
	return key
}

// all calls fn for every row. It is for the writer.
func (t *table) all(fn func(key []byte, e entry)) {
	for i := range t.shards {
		s := t.shards[i].Load()
		if s == nil {
			continue
		}
		for place := range s.index {
			if e := s.row(place); e != nil {
				fn(s.key(e), *e)
			}
		}
	}
}

// rebuild returns a shard with the living rows of old (nil: none) and room for an eighth more. An
// index place is used up by every new key, so a full index is impossible before the rows are full.
func (t *table) rebuild(old *shard, need int) *shard {
	live, octets := 0, 0
	if old != nil {
		live = old.live
		for i := range old.index {
			if e := old.row(i); e != nil {
				octets += int(e.klen) + int(e.tail)
			}
		}
	}
	room := live + live/8 + 2
	s := &shard{
		index:   make([]atomic.Uint32, room+room/3+1),
		entries: make([]entry, room),
		keys:    make([]byte, octets+octets/8+2*need),
	}
	if old == nil {
		return s
	}
	for i := range old.index {
		if e := old.row(i); e != nil {
			s.adopt(old, *e, t)
		}
	}
	return s
}

// adopt copies one living row of old into s.
func (s *shard) adopt(old *shard, e entry, t *table) {
	key, tail := old.key(&e), old.tail(&e)
	h := t.hash(key)
	e.off = uint32(s.keysUsed)
	s.keysUsed += copy(s.keys[s.keysUsed:], key)
	s.keysUsed += copy(s.keys[s.keysUsed:], tail)
	s.entries[s.used] = e
	s.used++
	s.live++
	s.index[s.free(h)].Store(slot(s.used-1, h))
}

// chunkSize is how many places a directory grows by.
const chunkSize = 256

// directory holds values under small numbers that never change hands, so that rows can name them
// without a pointer. Any number may read while one goroutine writes.
type directory[T any] struct {
	chunks atomic.Pointer[[]*[chunkSize]atomic.Pointer[T]]
}

// get returns the value under number i, nil when there is none.
func (d *directory[T]) get(i uint32) *T {
	chunks := d.chunks.Load()
	if chunks == nil || int(i/chunkSize) >= len(*chunks) {
		return nil
	}
	c := (*chunks)[i/chunkSize]
	if c == nil {
		return nil
	}
	return c[i%chunkSize].Load()
}

// set puts v, which may be nil, under number i.
func (d *directory[T]) set(i uint32, v *T) {
	var chunks []*[chunkSize]atomic.Pointer[T]
	if p := d.chunks.Load(); p != nil {
		chunks = *p
	}
	if int(i/chunkSize) >= len(chunks) {
		grown := make([]*[chunkSize]atomic.Pointer[T], i/chunkSize+1)
		copy(grown, chunks)
		for n := len(chunks); n < len(grown); n++ {
			grown[n] = new([chunkSize]atomic.Pointer[T])
		}
		d.chunks.Store(&grown)
		chunks = grown
	}
	chunks[i/chunkSize][i%chunkSize].Store(v)
}

// numbering gives names small numbers, for the writer.
type numbering map[string]uint32

// of returns name's number, the next one when it has none yet.
func (n numbering) of(name string) uint32 {
	i, ok := n[name]
	if !ok {
		i = uint32(len(n))
		n[name] = i
	}
	return i
}
