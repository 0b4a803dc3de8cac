package store

import (
	"context"

	"github.com/cockroachdb/pebble/v2"
)

// callLog verifies the log of calls as it stands now: each record, its entry in the index of
// accounts and its marker, the indexes against the records by their number, the events' sequence.
func (v *verifier) callLog(ctx context.Context) error {
	c := &v.calls
	c.mu.Lock()
	snap, want := c.db.NewSnapshot(), c.state
	c.mu.Unlock()
	defer snap.Close()
	open, err := v.callRecords(ctx, snap)
	if err != nil {
		return err
	}
	err = v.each(ctx, snap, tableCallOwner, func(key, payload []byte) { v.found.OwnedCalls++ })
	if err != nil {
		return err
	}
	err = v.each(ctx, snap, tableCallOpen, func(key, payload []byte) { v.found.OpenCalls++ })
	if err != nil {
		return err
	}
	if err := v.callEvents(ctx, snap, want); err != nil {
		return err
	}
	if v.found.Calls != want.records {
		v.fault("there are %d calls, %d were written", v.found.Calls, want.records)
	}
	if v.found.OwnedCalls != v.found.Calls {
		v.fault("the index of accounts' calls has %d entries, there are %d calls", v.found.OwnedCalls, v.found.Calls)
	}
	if v.found.OpenCalls != open {
		v.fault("%d calls are marked as open, %d are", v.found.OpenCalls, open)
	}
	return nil
}

// callRecords verifies the records, and returns how many are of calls that have not ended.
func (v *verifier) callRecords(ctx context.Context, snap *pebble.Snapshot) (open uint64, err error) {
	has := func(key []byte) bool {
		value, closer, err := snap.Get(key)
		if err != nil {
			return false
		}
		defer closer.Close()
		_, err = v.open(key, value)
		return err == nil
	}
	err = v.each(ctx, snap, tableCall, func(key, payload []byte) {
		v.found.Calls++
		id := string(key[1:])
		e, err := parseCallEntry(payload)
		if err != nil {
			v.fault("call %s: %v", id, err)
			return
		}
		call, err := v.decodeCall(e.cbor)
		if err != nil || call.ID != id || call.Account != e.account {
			v.fault("call %s: calls itself %q of account %q: %v", id, call.ID, call.Account, err)
		}
		if !has(appendCallOwnerKey(nil, e.account, id)) {
			v.fault("call %s: is missing in the index of account %q", id, e.account)
		}
		if e.ended {
			return
		}
		if open++; !has(appendOpenKey(nil, id)) {
			v.fault("call %s: has not ended and is not marked as open", id)
		}
	})
	return open, err
}

func (v *verifier) callEvents(ctx context.Context, snap *pebble.Snapshot, want callState) error {
	v.found.CallEvent = want.last
	next := want.floor + 1
	err := v.each(ctx, snap, tableCallEvent, func(key, payload []byte) {
		v.found.CallEvents++
		seq := revisionOf(key)
		if seq != next {
			v.fault("call events go from %d to %d", next-1, seq)
		}
		next = seq + 1
		e, err := parseCallEvent(payload)
		if err == nil {
			_, err = v.decodeCall(e.cbor)
		}
		if err != nil {
			v.fault("call event %d: %v", seq, err)
		}
	})
	if err == nil && next != want.last+1 {
		v.fault("call events end at %d, %d were written", next-1, want.last)
	}
	return err
}
