package dnsd

import (
	"container/heap"
	"time"
)

// agenda is what is to be done when, for any number of things with one goroutine and one timer. The
// zero value is empty; its owner guards it.
type agenda[K comparable] struct {
	items []agendaItem[K]
	place map[K]int
}

type agendaItem[K comparable] struct {
	key K
	at  time.Time
}

// set puts key on the agenda, or moves it.
func (a *agenda[K]) set(key K, at time.Time) {
	if a.place == nil {
		a.place = map[K]int{}
	}
	if i, ok := a.place[key]; ok {
		a.items[i].at = at
		heap.Fix((*agendaHeap[K])(a), i)
		return
	}
	heap.Push((*agendaHeap[K])(a), agendaItem[K]{key, at})
}

// remove takes key off the agenda, if it is on it.
func (a *agenda[K]) remove(key K) {
	if i, ok := a.place[key]; ok {
		heap.Remove((*agendaHeap[K])(a), i)
	}
}

// at returns when key is due; false when it is not on the agenda.
func (a *agenda[K]) at(key K) (time.Time, bool) {
	i, ok := a.place[key]
	if !ok {
		return time.Time{}, false
	}
	return a.items[i].at, true
}

// take removes and returns the key that is due first, if one is due now.
func (a *agenda[K]) take(now time.Time) (key K, ok bool) {
	if len(a.items) == 0 || a.items[0].at.After(now) {
		return key, false
	}
	return heap.Pop((*agendaHeap[K])(a)).(agendaItem[K]).key, true
}

// wait returns how long it is until something is due, at most a minute.
func (a *agenda[K]) wait(now time.Time) time.Duration {
	if len(a.items) == 0 {
		return time.Minute
	}
	return min(max(a.items[0].at.Sub(now), 0), time.Minute)
}

// agendaHeap is an agenda as package heap wants it.
type agendaHeap[K comparable] agenda[K]

func (h *agendaHeap[K]) Len() int           { return len(h.items) }
func (h *agendaHeap[K]) Less(i, j int) bool { return h.items[i].at.Before(h.items[j].at) }

func (h *agendaHeap[K]) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.place[h.items[i].key], h.place[h.items[j].key] = i, j
}

// Push is for package heap.
func (h *agendaHeap[K]) Push(x any) {
	item := x.(agendaItem[K])
	h.place[item.key] = len(h.items)
	h.items = append(h.items, item)
}

// Pop is for package heap.
func (h *agendaHeap[K]) Pop() any {
	last := h.items[len(h.items)-1]
	h.items = h.items[:len(h.items)-1]
	delete(h.place, last.key)
	return last
}
