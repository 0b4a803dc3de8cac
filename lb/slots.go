package lb

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"tandem/internal/tandem"
)

// Layout of a tandem.Slot: generation in the high 32 bits, then the index within its shard and the shard.
// A slot's generation comes round after 2^30 uses of one holding.
const (
	slotShards = 64
	chunkSize  = 1024
)

// mostGroups is how many groups one call may touch.
const mostGroups = 4

// Phases of a holding.
const (
	phaseFree uint32 = iota
	phaseSetUp
	phaseUp
	phaseMoving // set-up, while its node is changed
)

// holding is what one slot holds. Its word is generation and phase, so that whoever comes late with
// an old slot changes nothing.
type holding struct {
	word  atomic.Uint32 // generation<<2 | phase
	next  int32         // in the free list
	node  atomic.Pointer[nodeState]
	accts [mostGroups]*account // the maker's; once it was handed out, changed and read under its shard's mu
}

// step takes the holding from one phase to another, if it is still slot's and in that phase.
func (h *holding) step(slot tandem.Slot, from, to uint32) bool {
	gen := uint32(slot>>32) << 2
	return h.word.CompareAndSwap(gen|from, gen|to)
}

// slots is a bounded table of holdings. It grows by chunks up to its bound and never shrinks.
type slots struct {
	doubly atomic.Uint64
	shards [slotShards]slotShard
}

type slotShard struct {
	mu     sync.Mutex
	free   int32 // index+1 of the first free holding, 0 when there is none
	used   int32 // holdings ever handed out
	bound  int32
	taken  int32 // holdings in use
	chunks atomic.Pointer[[]*[chunkSize]holding]
	_      [64]byte
}

func newSlots(bound int) *slots {
	s := new(slots)
	for i := range s.shards {
		s.shards[i].bound = int32(max(bound/slotShards, 1))
		s.shards[i].chunks.Store(new([]*[chunkSize]holding))
	}
	return s
}

// get returns a free holding and its handle; nil when the table is full.
func (s *slots) get() (tandem.Slot, *holding) {
	start := rand.Uint32()
	for n := range uint32(slotShards) {
		shard := (start + n) % slotShards
		if index, h := s.shards[shard].get(); h != nil {
			gen := (h.word.Load()>>2 + 1) & (1<<30 - 1)
			h.word.Store(gen<<2 | phaseSetUp)
			return tandem.Slot(uint64(gen)<<32 | uint64(index)*slotShards | uint64(shard)), h
		}
	}
	return 0, nil
}

func (s *slotShard) get() (int32, *holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free > 0 {
		index := s.free - 1
		h := s.at(index)
		s.free = h.next
		s.taken++
		return index, h
	}
	if s.used == s.bound {
		return 0, nil
	}
	if s.used%chunkSize == 0 {
		chunks := append(append([]*[chunkSize]holding(nil), *s.chunks.Load()...), new([chunkSize]holding))
		s.chunks.Store(&chunks)
	}
	index := s.used
	s.used++
	s.taken++
	return index, s.at(index)
}

// at returns the holding with this index, nil when it was never handed out.
func (s *slotShard) at(index int32) *holding {
	chunks := *s.chunks.Load()
	if int(index/chunkSize) >= len(chunks) {
		return nil
	}
	return &chunks[index/chunkSize][index%chunkSize]
}

// inUse returns how many holdings are in use.
func (s *slots) inUse() (n int) {
	for i := range s.shards {
		shard := &s.shards[i]
		shard.mu.Lock()
		n += int(shard.taken)
		shard.mu.Unlock()
	}
	return n
}

// find returns the holding that a slot speaks of, nil when there never was one. Only step tells
// whether it still is the slot's.
func (s *slots) find(slot tandem.Slot) *holding {
	return s.shards[slot%slotShards].at(int32(uint32(slot) / slotShards))
}

// put ends a slot and says whether its call was up: of all who try, one gets true, who alone may
// then look at the holding and must hand it back with recycle.
func (s *slots) put(slot tandem.Slot) (h *holding, wasUp, ok bool) {
	if h = s.find(slot); h == nil {
		s.doubly.Add(1)
		return nil, false, false
	}
	for {
		word := h.word.Load()
		phase := word & 3
		switch {
		case word>>2 != uint32(slot>>32) || phase == phaseFree:
			s.doubly.Add(1)
			return nil, false, false
		case phase == phaseMoving: // for a moment
			runtime.Gosched()
		case h.word.CompareAndSwap(word, word&^3):
			return h, phase == phaseUp, true
		}
	}
}

// holds reports whether a slot holds a group already.
func (s *slots) holds(slot tandem.Slot, a *account) bool {
	shard := &s.shards[slot%slotShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	h := s.find(slot)
	return h != nil && h.lives(slot) && slices.Contains(h.accts[:], a)
}

// add gives a slot one group more to hold; false when it has ended, or holds as many as it can. A
// group that it holds meanwhile is held twice, and given back twice.
func (s *slots) add(slot tandem.Slot, a *account) bool {
	shard := &s.shards[slot%slotShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	h := s.find(slot)
	if h == nil || !h.lives(slot) {
		return false
	}
	i := slices.Index(h.accts[:], nil)
	if i >= 0 {
		h.accts[i] = a
	}
	return i >= 0
}

// lives reports whether the holding is still slot's.
func (h *holding) lives(slot tandem.Slot) bool {
	word := h.word.Load()
	return word>>2 == uint32(slot>>32) && word&3 != phaseFree
}

// groups returns what a slot that was put holds: nothing more is added to it.
func (s *slots) groups(slot tandem.Slot, h *holding) [mostGroups]*account {
	shard := &s.shards[slot%slotShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	return h.accts
}

func (s *slots) recycle(slot tandem.Slot, h *holding) {
	h.node.Store(nil)
	shard := &s.shards[slot%slotShards]
	shard.mu.Lock()
	h.accts = [mostGroups]*account{}
	h.next, shard.free = shard.free, int32(uint32(slot)/slotShards)+1
	shard.taken--
	shard.mu.Unlock()
}
