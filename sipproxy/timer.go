package sipproxy

import "time"

// RFC 3261 section 17.1.1.1 and table 4.
const (
	t1 = 500 * time.Millisecond // estimate of the round-trip time
	t2 = 4 * time.Second        // longest time between retransmissions
	t4 = 5 * time.Second        // longest life of a message in the network

	giveUp = 64 * t1 // Timers B, D, F, H, J, L, M
)

// sleeper is woken when one of its alarms is due.
type sleeper interface {
	wake(which alarmKind)
}

type alarmKind uint8

const (
	retryAlarm alarmKind = iota // Timers A, E, G
	limitAlarm                  // all that end a state
	ringAlarm                   // Timer C
)

// alarm is one timer, a field of what it wakes: no timer of the runtime, goroutine or channel each.
// The zero value is not set.
type alarm struct {
	at    time.Time
	owner sleeper
	kind  alarmKind
	pos   int // in the heap, counted from 1; 0 when not set
}

// alarms is the heap of one worker's alarms, the earliest first.
type alarms []*alarm

// set makes a ring at the given time, whatever it was set to before.
func (h *alarms) set(a *alarm, owner sleeper, kind alarmKind, at time.Time) {
	a.at, a.owner, a.kind = at, owner, kind
	if a.pos == 0 {
		*h = append(*h, a)
		a.pos = len(*h)
	}
	h.up(a.pos - 1)
	h.down(a.pos - 1)
}

// stop unsets a.
func (h *alarms) stop(a *alarm) {
	if a.pos == 0 {
		return
	}
	i, last := a.pos-1, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	a.pos = 0
	if i < last {
		h.up(i)
		h.down(i)
	}
}

// next returns when the earliest alarm rings; false when none is set.
func (h alarms) next() (time.Time, bool) {
	if len(h) == 0 {
		return time.Time{}, false
	}
	return h[0].at, true
}

// due takes out an alarm that rings at or before now, nil when there is none.
func (h *alarms) due(now time.Time) *alarm {
	if len(*h) == 0 || (*h)[0].at.After(now) {
		return nil
	}
	a := (*h)[0]
	h.stop(a)
	return a
}

func (h alarms) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

func (h alarms) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].at.Before(h[parent].at) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h alarms) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1].at.Before(h[child].at) {
			child++
		}
		if !h[child].at.Before(h[i].at) {
			return
		}
		h.swap(i, child)
		i = child
	}
}
