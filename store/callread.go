package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"tandem/internal/tandem"
)

// maxLooked bounds how many records one page of calls looks at.
const maxLooked = 50_000

// slack is how far a call's beginning may lie from the time in its id and still be found by it.
const slack = time.Minute

// Call returns a call's record, without its dialogs. What by may not see is tandem.ErrNotFound. It
// may show a change a moment before FollowCalls gives it out.
func (s *Store) Call(ctx context.Context, by tandem.Principal, id string) (tandem.Call, error) {
	leave, err := s.health.enter()
	if err != nil {
		return tandem.Call{}, err
	}
	defer leave()
	if err := ctx.Err(); err != nil {
		return tandem.Call{}, err
	}
	c := &s.calls
	var found tandem.Call
	if _, err := tandem.CallTime(id); err != nil || id < c.horizon() {
		return found, tandem.ErrNotFound
	}
	err = c.read(appendCallKey(nil, id), func(payload []byte) error {
		e, err := parseCallEntry(payload)
		if err != nil {
			return err
		}
		found, err = c.decodeCall(e.cbor)
		return err
	})
	if err == nil && !by.MaySee(found.Account) {
		err = tandem.ErrNotFound
	}
	if err != nil {
		return tandem.Call{}, err
	}
	found.Dialogs = nil
	return found, nil
}

// horizon is the id before which records are too old to be shown.
func (c *calls) horizon() string { return tandem.FirstCallID(c.now().Add(-c.age)) }

// Calls returns a page of the records that f chooses, without their dialogs. A principal of one
// account gets its own alone; an account whose calls by may not see is tandem.ErrNotFound. A page
// ends early, with a next one, when 50,000 records were looked at.
func (s *Store) Calls(ctx context.Context, by tandem.Principal, f tandem.CallFilter) (tandem.CallPage, error) {
	var page tandem.CallPage
	leave, err := s.health.enter()
	if err != nil {
		return page, err
	}
	defer leave()
	if err := f.Validate(); err != nil {
		return page, err
	}
	if f.Account == "" && !by.Admin {
		f.Account = by.Account
	}
	if !by.Admin && f.Account == "" || f.Account != "" && !by.MaySee(f.Account) {
		return page, tandem.ErrNotFound
	}
	if f.Limit == 0 || f.Limit > maxList {
		f.Limit = maxList
	}
	snap := s.calls.db.NewSnapshot()
	defer snap.Close()
	err = s.calls.page(ctx, snap, &f, &page)
	return page, err
}

// page gathers a page of what f, which names an account or may see all, chooses.
func (c *calls) page(ctx context.Context, snap *pebble.Snapshot, f *tandem.CallFilter, page *tandem.CallPage) error {
	prefix := []byte{tableCall}
	if f.Account != "" {
		prefix = callOwnerPrefix(nil, f.Account)
	}
	iter, err := snap.NewIter(c.within(prefix, f))
	if err != nil {
		return c.damaged(err)
	}
	defer iter.Close()
	step, ok := iter.Prev, false
	if f.Oldest {
		step, ok = iter.Next, iter.First()
	} else {
		ok = iter.Last()
	}
	for looked := 0; ok; ok = step() {
		if looked++; looked > maxLooked || len(page.Items) == f.Limit {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		page.Next = string(iter.Key()[len(prefix):])
		call, err := c.callAt(snap, iter, page.Next)
		if err != nil {
			return err
		}
		if f.Match(&call) {
			call.Dialogs = nil
			page.Items = append(page.Items, call)
		}
	}
	page.Next = ""
	return c.damaged(iter.Error())
}

// within bounds a scan of keys that end with ids, to those that f may choose.
func (c *calls) within(prefix []byte, f *tandem.CallFilter) *pebble.IterOptions {
	from, to := c.horizon(), ""
	if !f.From.IsZero() {
		from = max(from, tandem.FirstCallID(f.From.Add(-slack)))
	}
	if !f.To.IsZero() {
		to = tandem.FirstCallID(f.To.Add(slack))
	}
	if f.After != "" && f.Oldest {
		from = max(from, f.After+"\x00")
	} else if f.After != "" && (to == "" || f.After < to) {
		to = f.After
	}
	bounds := &pebble.IterOptions{LowerBound: append(prefix[:len(prefix):len(prefix)], from...), UpperBound: prefixEnd(prefix)}
	if to != "" {
		bounds.UpperBound = append(prefix[:len(prefix):len(prefix)], max(from, to)...)
	}
	return bounds
}

// callAt reads the record that an iterator over records, or over an account's index, stands at.
func (c *calls) callAt(snap *pebble.Snapshot, iter *pebble.Iterator, id string) (tandem.Call, error) {
	if iter.Key()[0] == tableCall {
		return c.callOf(iter.Key(), iter.Value())
	}
	if _, err := c.open(iter.Key(), iter.Value()); err != nil {
		return tandem.Call{}, c.damaged(err)
	}
	return c.callIn(snap, id)
}

// callIn reads a call that an index names.
func (c *calls) callIn(snap *pebble.Snapshot, id string) (tandem.Call, error) {
	key := appendCallKey(nil, id)
	value, closer, err := snap.Get(key)
	if err != nil {
		return tandem.Call{}, c.damaged(fmt.Errorf("an index names call %s: %w", id, err))
	}
	defer closer.Close()
	return c.callOf(key, value)
}

func (c *calls) callOf(key, value []byte) (tandem.Call, error) {
	payload, err := c.open(key, value)
	if err != nil {
		return tandem.Call{}, c.damaged(err)
	}
	e, err := parseCallEntry(payload)
	if err != nil {
		return tandem.Call{}, c.damaged(err)
	}
	call, err := c.decodeCall(e.cbor)
	return call, c.damaged(err)
}

// OpenCalls gives fn every call that has not ended as far as is recorded, its dialogs included, the
// oldest first: what a restart takes up again. fn's error ends it.
func (s *Store) OpenCalls(ctx context.Context, fn func(tandem.Call) error) error {
	leave, err := s.health.enter()
	if err != nil {
		return err
	}
	defer leave()
	c := &s.calls
	snap := c.db.NewSnapshot()
	defer snap.Close()
	iter, err := snap.NewIter(&pebble.IterOptions{LowerBound: []byte{tableCallOpen}, UpperBound: []byte{tableCallOpen + 1}})
	if err != nil {
		return c.damaged(err)
	}
	defer iter.Close()
	for ok := iter.First(); ok; ok = iter.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		call, err := c.callIn(snap, string(iter.Key()[1:]))
		if err != nil {
			return err
		}
		if err := fn(call); err != nil {
			return err
		}
	}
	return c.damaged(iter.Error())
}

// CallEvents returns between which events FollowCalls can begin: after the first number at the
// earliest, after the last for what is still to come.
func (s *Store) CallEvents() (first, last tandem.Revision) {
	c := &s.calls
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress.Lock()
	defer c.progress.Unlock()
	return min(c.state.floor, c.durable), c.durable
}

// FollowCalls gives fn every event after the number, in order, and waits for more until ctx ends; it
// then returns nil. fn gets up to 1,000 events at a time, and the number to go on from after them;
// its error ends FollowCalls. A principal of one account gets the events of its own calls, whose
// numbers then have gaps: fn gets none when only others' were passed over. A principal that may see
// no account's gets tandem.ErrNotFound. A number whose followers are no longer kept, or that
// was not given out yet, is ErrTrimmed: read the records, and follow from CallEvents' last.
func (s *Store) FollowCalls(ctx context.Context, by tandem.Principal, after tandem.Revision, fn func(events []tandem.CallEvent, reached tandem.Revision) error) error {
	if !by.Admin && by.Account == "" {
		return tandem.ErrNotFound
	}
	c := &s.calls
	for ctx.Err() == nil {
		durable, moved := c.position()
		if after > durable {
			return fmt.Errorf("%w: %s: call event %d is beyond the last, %d", ErrTrimmed, c.name, after, durable)
		}
		if after < durable {
			var err error
			if after, err = c.deliver(ctx, by, after, durable, fn); errors.Is(err, ErrAway) {
				if err = c.health.back(ctx); ctx.Err() != nil {
					return nil
				}
			}
			if err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-c.health.closing:
			return ErrClosed
		case <-moved:
		}
	}
	return nil
}

func (c *calls) position() (tandem.Revision, <-chan struct{}) {
	c.progress.Lock()
	defer c.progress.Unlock()
	return c.durable, c.moved
}

// deliver gives fn a share of the events after one number up to another, and returns how far it came.
func (c *calls) deliver(ctx context.Context, by tandem.Principal, after, to tandem.Revision, fn func(events []tandem.CallEvent, reached tandem.Revision) error) (tandem.Revision, error) {
	events, reached, err := c.gather(by, after, min(to, after+batchSize))
	if err != nil || ctx.Err() != nil {
		return reached, err
	}
	return reached, fn(events, reached)
}

// gather reads the events after one number up to another, as far as by may see them.
func (c *calls) gather(by tandem.Principal, after, to tandem.Revision) (events []tandem.CallEvent, reached tandem.Revision, err error) {
	leave, err := c.health.enterLate()
	if err != nil {
		return nil, after, err
	}
	defer leave()
	iter, err := c.db.NewIter(&pebble.IterOptions{LowerBound: appendCallEventKey(nil, after+1), UpperBound: appendCallEventKey(nil, to+1)})
	if err != nil {
		return nil, after, c.damaged(err)
	}
	defer iter.Close()
	reached = after
	for ok := iter.First(); ok; ok = iter.Next() {
		seq := revisionOf(iter.Key())
		if seq != reached+1 {
			break
		}
		reached = seq
		e, err := c.eventOf(iter.Key(), iter.Value())
		if err != nil {
			return nil, after, err
		}
		if !by.MaySee(e.account) {
			continue
		}
		call, err := c.decodeCall(e.cbor)
		if err != nil {
			return nil, after, c.damaged(err)
		}
		events = append(events, tandem.CallEvent{Seq: seq, State: call.State, Time: e.time, Call: call})
	}
	if err := iter.Error(); err != nil {
		return nil, after, c.damaged(err)
	}
	if reached != to {
		return nil, after, fmt.Errorf("%w: %s: call events after %d are no longer kept", ErrTrimmed, c.name, after)
	}
	return events, reached, nil
}

// eventOf reads one event; it shares value's memory.
func (c *calls) eventOf(key, value []byte) (callEvent, error) {
	payload, err := c.open(key, value)
	if err != nil {
		return callEvent{}, c.damaged(err)
	}
	e, err := parseCallEvent(payload)
	if err != nil {
		err = errors.Join(fmt.Errorf("call event %d", revisionOf(key)), err)
	}
	return e, c.damaged(err)
}
