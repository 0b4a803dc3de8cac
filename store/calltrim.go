package store

import (
	"time"

	"github.com/cockroachdb/pebble/v2"

	"tandem/internal/tandem"
)

const (
	trimRound  = 1024        // records that one batch deletes at most, and that may be too many
	agesEvery  = time.Minute // how often records are looked at for their age
	eventShare = 8           // one part of so many may be too many events
)

// trim deletes, in the batch that makes them too many, events and records beyond those to be kept.
// It returns how many records went.
func (c *calls) trim(b *pebble.Batch, now time.Time, s *callState) (uint64, error) {
	if uint64(s.last-s.floor) > c.events+c.events/eventShare {
		from, to := s.floor+1, s.last-tandem.Revision(c.events)+1
		s.floor = to - 1
		if err := b.DeleteRange(appendCallEventKey(nil, from), appendCallEventKey(nil, to), nil); err != nil {
			return 0, err
		}
	}
	over := uint64(0)
	if s.records > c.keep {
		over = s.records - c.keep
	}
	if over < trimRound && now.Sub(c.checked) < agesEvery {
		return 0, nil
	}
	c.checked = now
	gone, err := c.trimRecords(b, over, tandem.FirstCallID(now.Add(-c.age)))
	s.records -= gone
	return gone, err
}

// trimRecords deletes the oldest records of calls that have ended: as many as are over, and those
// from before an id, at most a round of them. What a batch queued before may still hold is found by
// the next.
func (c *calls) trimRecords(b *pebble.Batch, over uint64, before string) (gone uint64, err error) {
	iter, err := c.db.NewIter(&pebble.IterOptions{LowerBound: appendCallKey(nil, c.oldest), UpperBound: []byte{tableCall + 1}})
	if err != nil {
		return 0, c.damaged(err)
	}
	defer iter.Close()
	skipped := false
	for ok := iter.First(); ok; ok = iter.Next() {
		id := string(iter.Key()[1:])
		if gone == trimRound {
			c.checked = time.Time{} // there is more
			return gone, nil
		}
		if gone >= over && id >= before {
			return gone, nil
		}
		payload, err := c.open(iter.Key(), iter.Value())
		if err != nil {
			return gone, c.damaged(err)
		}
		e, err := parseCallEntry(payload)
		if err != nil {
			return gone, c.damaged(err)
		}
		if skipped = skipped || !e.ended; !skipped {
			c.oldest = id
		}
		if !e.ended {
			continue
		}
		for _, key := range [][]byte{iter.Key(), appendCallOwnerKey(nil, e.account, id)} {
			if err := b.Delete(key, nil); err != nil {
				return gone, err
			}
		}
		gone++
	}
	return gone, c.damaged(iter.Error())
}
