// Package outlet is where records leave for a file or a connection without anybody waiting for either: a
// queue of octets with a bound, and a file with one. It knows nothing of what the records are.
package outlet

import "sync"

// Queue holds records for one writer. Any number of goroutines put, one takes.
type Queue struct {
	most  int
	ready chan struct{}

	mu      sync.Mutex
	waiting []byte
	records int
}

// NewQueue returns a queue that holds at most so many octets.
func NewQueue(most int) *Queue { return &Queue{most: most, ready: make(chan struct{}, 1)} }

// Put copies record behind those that wait, or returns false when there is no room for it. It never
// waits for the writer.
func (q *Queue) Put(record []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting)+len(record) > q.most {
		return false
	}
	q.waiting = append(q.waiting, record...)
	q.records++
	select {
	case q.ready <- struct{}{}:
	default: // it is known already
	}
	return true
}

// Ready tells, by one value, that something may wait.
func (q *Queue) Ready() <-chan struct{} { return q.ready }

// Take returns all that waits, and how many records it is. The queue goes on with the memory of
// instead, which nobody else may use from then on: what Take returned before, or nil.
func (q *Queue) Take(instead []byte) (octets []byte, records int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	octets, records = q.waiting, q.records
	q.waiting, q.records = instead[:0], 0
	return octets, records
}
