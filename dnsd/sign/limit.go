package sign

import "sync/atomic"

// Limit bounds how many new signatures are made a second, over a second's burst. The zero value
// allows none.
type Limit struct {
	rate  int64
	state atomic.Uint64 // second in the high half, taken in it in the low one
}

// NewLimit returns a limit of rate a second.
func NewLimit(rate int) *Limit { return &Limit{rate: int64(rate)} }

// Take reports whether one more may be made at now, in Unix seconds.
func (l *Limit) Take(now int64) bool {
	for {
		old := l.state.Load()
		next := uint64(uint32(now))<<32 | 1
		if old>>32 == uint64(uint32(now)) {
			next = old + 1
		}
		if int64(uint32(next)) > l.rate {
			return false
		}
		if l.state.CompareAndSwap(old, next) {
			return true
		}
	}
}
