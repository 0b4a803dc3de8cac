package location

import (
	"math"
	"time"

	"tandem/internal/tandem"
)

// address is an address of record.
type address struct{ account, aor string }

// Sweep takes bindings away that have ended, about limit at most: remove deletes them from the
// store while their addresses of record take no REGISTER, so that none is deleted that was just
// bound again. It ends at remove's first error; what it had not taken away it takes next time.
// Call it each second; it looks through a quarter of the table at most.
func (t *Table) Sweep(now time.Time, limit int, remove func([]tandem.Binding) error) (swept int, err error) {
	t.sweeping.Lock()
	defer t.sweeping.Unlock()
	for seen, passed := 0, 0; seen < sweepShards && passed < shardCount && swept < limit; passed++ {
		s := &t.shards[t.next]
		ended, looked := s.ended(now.UnixMilli())
		if looked {
			seen++
		}
		for _, a := range ended {
			n, err := t.drop(a, func(b *tandem.Binding) bool { return !b.Expires.After(now) }, remove)
			if swept += n; err != nil {
				s.again()
				return swept, err
			}
		}
		t.next = (t.next + 1) % shardCount
	}
	return swept, nil
}

// ended returns the addresses of record that have an ended binding, and whether it had to look.
func (s *shard) ended(at int64) (list []address, looked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due > at {
		return nil, false
	}
	s.due = math.MaxInt64
	for _, e := range s.entries {
		for ; e != nil; e = e.next {
			if e.first(at, &s.due) {
				list = append(list, address{e.account, e.aor})
			}
		}
	}
	return list, true
}

// first reports whether a record of e has ended, and lowers due to the first end that is to come.
func (e *entry) first(at int64, due *int64) bool {
	ended := false
	for i := range e.records {
		if end := e.records[i].expires; end <= at {
			ended = true
		} else {
			*due = min(*due, end)
		}
	}
	return ended
}

// again has the shard looked through next time.
func (s *shard) again() {
	s.mu.Lock()
	s.due = 0
	s.mu.Unlock()
}

// drop takes the bindings of an address of record away that gone chooses, first from the store.
func (t *Table) drop(a address, gone func(*tandem.Binding) bool, remove func([]tandem.Binding) error) (int, error) {
	turn := t.turn(a.account, a.aor)
	turn.Lock()
	defer turn.Unlock()
	var kept, dropped []tandem.Binding
	for _, b := range unpackAll(t.records(a.account, a.aor), a.account, a.aor) {
		if gone(&b) {
			dropped = append(dropped, b)
		} else {
			kept = append(kept, b)
		}
	}
	if len(dropped) == 0 {
		return 0, nil
	}
	if err := remove(dropped); err != nil {
		return 0, err
	}
	t.set(a.account, a.aor, packAll(kept))
	t.count.Add(-int64(len(dropped)))
	return len(dropped), nil
}

// Forget takes the bindings that a device had under an address of record away, once it is deleted
// or has another name; remove deletes them from the store. A REGISTER that is being written is waited
// for, so that it goes too. They are gone from the table even when remove fails.
func (t *Table) Forget(account, aor, device string, remove func([]tandem.Binding) error) error {
	var failed error
	_, _ = t.drop(address{account, aor}, func(b *tandem.Binding) bool { return b.Device == device }, func(b []tandem.Binding) error {
		failed = remove(b)
		return nil
	})
	return failed
}
