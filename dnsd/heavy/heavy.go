// Package heavy finds heavy hitters in a stream with fixed memory: the Space-Saving algorithm (Metwally,
// Agrawal, El Abbadi, 2005). Whatever has more than 1/k of all weight is among its k counters; a count is never too
// low, and too high by at most what the key that made room had.
package heavy

import (
	"cmp"
	"container/heap"
	"slices"
)

// Sketch counts. Make it with New; one goroutine uses it.
type Sketch struct {
	most    int
	byKey   map[string]*counter
	byCount counters
	total   uint64
}

// Item is a key and what was counted of it.
type Item struct {
	Key   string
	Count uint64
	Error uint64 // Count is too high by at most this
}

// counter is one key's place.
type counter struct {
	Item
	at int // in byCount
}

// New returns a sketch with so many counters, at least one.
func New(most int) *Sketch {
	most = max(most, 1)
	return &Sketch{most: most, byKey: make(map[string]*counter, most)}
}

// Add counts a key, which it copies when it is new, with a weight.
func (s *Sketch) Add(key []byte, weight uint64) {
	s.total += weight
	if c := s.byKey[string(key)]; c != nil {
		c.Count += weight
		heap.Fix(&s.byCount, c.at)
		return
	}
	if len(s.byCount) < s.most {
		c := &counter{Item: Item{Key: string(key), Count: weight}}
		s.byKey[c.Key] = c
		heap.Push(&s.byCount, c)
		return
	}
	c := s.byCount[0] // the least one makes room
	delete(s.byKey, c.Key)
	c.Key, c.Error, c.Count = string(key), c.Count, c.Count+weight
	s.byKey[c.Key] = c
	heap.Fix(&s.byCount, 0)
}

// Total returns the weight of all that was added.
func (s *Sketch) Total() uint64 { return s.total }

// Top returns the n heaviest keys, the heaviest first, equal ones by key.
func (s *Sketch) Top(n int) []Item {
	all := make([]Item, len(s.byCount))
	for i, c := range s.byCount {
		all[i] = c.Item
	}
	slices.SortFunc(all, func(a, b Item) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Error, b.Error), cmp.Compare(a.Key, b.Key))
	})
	return all[:min(n, len(all))]
}

// counters are a heap with the least count on top.
type counters []*counter

// Len, Less, Swap, Push and Pop are container/heap's.
func (h counters) Len() int           { return len(h) }
func (h counters) Less(i, j int) bool { return h[i].Count < h[j].Count }

func (h counters) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *counters) Push(x any) {
	c := x.(*counter)
	c.at = len(*h)
	*h = append(*h, c)
}

func (h *counters) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	*h = (*h)[:last]
	return c
}
