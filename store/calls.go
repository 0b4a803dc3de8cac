package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"tandem/internal/tandem"
)

// calls is the log of calls, in a database of its own: each call's record, an index of them by
// account, markers of those that have not ended, and the events of their changes.
//
// Records share fsyncs as appends do: under mu a batch gets its numbers and is queued for the
// write-ahead log, and only after mu is left is the fsync waited for.
type calls struct {
	*tables
	health *health
	now    func() time.Time
	fresh  bool // the database was made by this start
	keep   uint64
	age    time.Duration
	events uint64

	mu      sync.Mutex // guards the tables' buffers and what follows
	state   callState
	live    map[string]string // account, by the id of each call that has not ended
	oldest  string            // nothing that may be trimmed lies before this id
	checked time.Time         // when ages were last looked at

	progress sync.Mutex // guards what follows; taken after mu
	durable  tandem.Revision
	moved    chan struct{} // closed, and replaced, when durable moves

	recorded, trimmed, late, dialogless atomic.Uint64
}

// start opens the database and reads where the log stands and which calls are open.
func (c *calls) start(cfg Config, of *local, opts *pebble.Options, dir string) error {
	c.health, c.now = of.health, of.now
	c.keep, c.age, c.events = cfg.Calls, cfg.CallAge, cfg.CallEvents
	if c.keep == 0 {
		c.keep = 10_000_000
	}
	if c.age == 0 {
		c.age = 400 * 24 * time.Hour
	}
	if c.events == 0 {
		c.events = 1_000_000
	}
	opts.MemTableSize = callsBuffer
	db, err := openDatabase(dir, opts)
	if err == nil {
		if c.tables == nil {
			c.tables, c.moved = &tables{codec: of.codec, name: of.name}, make(chan struct{})
		}
		c.db, err = db, c.health.err()
	}
	if isSystem(err) {
		return fmt.Errorf("open store %s: %w", of.name, err)
	}
	if err != nil {
		return of.damaged(fmt.Errorf("calls: %w", err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = make(map[string]string)
	if opts.ErrorIfExists {
		return c.writeState(&callState{})
	}
	return c.load()
}

// load reads where the log stands; the caller holds mu.
func (c *calls) load() (err error) {
	err = c.read(stateKey(), func(payload []byte) (err error) {
		c.state, err = parseCallState(payload)
		return err
	})
	if errors.Is(err, tandem.ErrNotFound) {
		err = c.damaged(errors.New("the state of the log of calls is missing"))
	}
	if err != nil {
		return err
	}
	c.advance(c.state.last)
	iter, err := c.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tableCallOpen}, UpperBound: []byte{tableCallOpen + 1}})
	if err != nil {
		return c.damaged(err)
	}
	defer iter.Close()
	for ok := iter.First(); ok; ok = iter.Next() {
		account, err := c.open(iter.Key(), iter.Value())
		if err != nil {
			return c.damaged(err)
		}
		c.live[string(iter.Key()[1:])] = string(account)
	}
	return c.damaged(iter.Error())
}

// writeState makes s the state of the log, synced, while nobody else writes.
func (c *calls) writeState(s *callState) error {
	batch := c.db.NewBatch()
	if err := c.setState(batch, s); err != nil {
		return err
	}
	c.state, c.durable = *s, s.last
	return batch.Commit(pebble.Sync)
}

func (c *calls) setState(b *pebble.Batch, s *callState) error {
	c.keyBuf = append(c.keyBuf[:0], stateKey()...)
	c.valueBuf = appendCallState(c.begin(c.valueBuf[:0]), s)
	return c.set(b)
}

// renew goes on, after a restore, beyond all events that the lost store can have given out.
func (c *calls) renew() error {
	next := c.state
	next.last += restoreJump
	next.floor = next.last
	if err := c.db.DeleteRange([]byte{tableCallEvent}, []byte{tableCallEvent + 1}, pebble.Sync); err != nil {
		return err
	}
	return c.writeState(&next)
}

// prepareCalls clears the way for a log of calls in a store that was made before there were any. A
// log that is there already was left by a start that was cut short.
func (s *Store) prepareCalls() error {
	if s.calls.fresh = s.mark.Calls == 0; !s.calls.fresh {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(s.dir, callsName)); err != nil {
		return fmt.Errorf("open store %s: %w", s.dir, err)
	}
	return nil
}

func (c *calls) close() error {
	if c.tables == nil || c.db == nil {
		return nil
	}
	defer func() { c.db = nil }()
	return c.db.Close()
}

// callDraft is a call on its way into the log.
type callDraft struct {
	id     string
	record callEntry
	event  callEvent
}

// RecordCalls writes the records of calls as one synced batch; each becomes the call's current
// record and an event. When it returns they are on disk. Times and states are the caller's affair,
// but a call that has ended stays so: a later record that says otherwise is dropped and counted.
// Texts are cut as tandem.Call.Bound says; dialogs of more than tandem.MaxCallDialogs octets are left
// out and counted, and such a call cannot be taken up again after a restart. An error for one call
// is a tandem.FieldError, and nothing was done. When the disk fails, the outcome is unknown and the
// store takes no further ones.
func (s *Store) RecordCalls(ctx context.Context, list []tandem.Call) error {
	return s.calls.write(ctx, list)
}

func (c *calls) write(ctx context.Context, list []tandem.Call) (err error) {
	leave, err := c.health.enterWhenBack(ctx)
	if err != nil {
		return err
	}
	defer leave()
	defer c.health.recover(&err)
	if err := errors.Join(ctx.Err(), c.health.err()); err != nil || len(list) == 0 {
		return err
	}
	drafts := make([]callDraft, len(list))
	for i := range list {
		if drafts[i], err = c.draft(list[i]); err != nil {
			return fmt.Errorf("call %.40q: %w", list[i].ID, err)
		}
	}
	batch := c.db.NewBatch() // closed only when nothing can still be writing it
	last, err := c.queue(batch, drafts)
	if err != nil {
		return err
	}
	if last == 0 {
		return batch.Close()
	}
	if err := batch.SyncWait(); err != nil {
		c.health.fail(err)
	}
	if err := c.health.err(); err != nil {
		return err
	}
	c.advance(last)
	return batch.Close()
}

// draft checks and encodes a call, of which it was given a copy.
func (c *calls) draft(call tandem.Call) (callDraft, error) {
	if err := call.Validate(); err != nil {
		return callDraft{}, err
	}
	call.Bound()
	d := callDraft{id: call.ID, record: callEntry{ended: call.State == tandem.CallEnded, account: call.Account}}
	if d.record.ended {
		call.Dialogs = nil
	}
	dialogs := call.Dialogs
	call.Dialogs = nil
	public, err := c.encodeCall(&call)
	if err != nil {
		return d, err
	}
	d.event = callEvent{account: call.Account, cbor: public}
	d.record.cbor = public
	if len(dialogs) == 0 {
		return d, nil
	}
	if sides, err := c.enc.Marshal(dialogs); err != nil || len(sides) > tandem.MaxCallDialogs {
		c.dialogless.Add(1)
		return d, err
	}
	call.Dialogs = dialogs
	d.record.cbor, err = c.encodeCall(&call)
	return d, err
}

// queue gives the drafts their numbers and hands them to the write-ahead log. It returns the last
// number, zero when nothing was to be written.
func (c *calls) queue(batch *pebble.Batch, drafts []callDraft) (tandem.Revision, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, err := c.standing(drafts)
	if err != nil {
		return 0, err
	}
	now := c.now()
	next := c.state
	for i := range drafts {
		if err := c.apply(batch, &drafts[i], known, now, &next); err != nil {
			return 0, err
		}
	}
	if next.last == c.state.last {
		return 0, nil
	}
	gone, err := c.trim(batch, now, &next)
	if err != nil {
		return 0, err
	}
	if err := c.setState(batch, &next); err != nil {
		return 0, err
	}
	if err := c.db.ApplyNoSyncWait(batch, pebble.Sync); err != nil {
		c.health.fail(err)
	}
	if err := c.health.err(); err != nil {
		return 0, err
	}
	c.recorded.Add(uint64(next.last - c.state.last))
	c.trimmed.Add(gone)
	c.state = next
	for id, e := range known {
		if e.ended {
			delete(c.live, id)
		} else {
			c.live[id] = e.account
		}
	}
	return next.last, nil
}

// standing finds what is recorded already of the drafts' calls.
func (c *calls) standing(drafts []callDraft) (map[string]callEntry, error) {
	known := make(map[string]callEntry, len(drafts))
	for i := range drafts {
		id := drafts[i].id
		if account, ok := c.live[id]; ok {
			known[id] = callEntry{account: account}
			continue
		}
		err := c.read(appendCallKey(nil, id), func(payload []byte) error {
			e, err := parseCallEntry(payload)
			e.cbor = nil
			known[id] = e
			return err
		})
		if err != nil && !errors.Is(err, tandem.ErrNotFound) {
			return nil, err
		}
	}
	return known, nil
}

// apply writes one call into the batch, and notes it in known.
func (c *calls) apply(b *pebble.Batch, d *callDraft, known map[string]callEntry, now time.Time, s *callState) error {
	was, exists := known[d.id]
	if exists && was.ended && !d.record.ended {
		c.late.Add(1)
		return nil
	}
	known[d.id] = callEntry{ended: d.record.ended, account: d.record.account}
	if !exists {
		s.records++
	}
	if exists && was.account != d.record.account {
		if err := b.Delete(appendCallOwnerKey(nil, was.account, d.id), nil); err != nil {
			return err
		}
	}
	c.keyBuf = appendCallKey(c.keyBuf[:0], d.id)
	c.valueBuf = appendCallEntry(c.begin(c.valueBuf[:0]), &d.record)
	if err := c.set(b); err != nil {
		return err
	}
	if !exists || was.account != d.record.account {
		c.keyBuf = appendCallOwnerKey(c.keyBuf[:0], d.record.account, d.id)
		if err := c.setEmpty(b); err != nil {
			return err
		}
	}
	if err := c.mark(b, d, exists && !was.ended, was.account); err != nil {
		return err
	}
	s.last++
	d.event.time = now
	c.keyBuf = appendCallEventKey(c.keyBuf[:0], s.last)
	c.valueBuf = appendCallEvent(c.begin(c.valueBuf[:0]), &d.event)
	return c.set(b)
}

// mark writes or deletes the marker of an open call.
func (c *calls) mark(b *pebble.Batch, d *callDraft, marked bool, account string) error {
	c.keyBuf = appendOpenKey(c.keyBuf[:0], d.id)
	switch {
	case d.record.ended && marked:
		return b.Delete(c.keyBuf, nil)
	case d.record.ended || marked && account == d.record.account:
		return nil
	}
	c.valueBuf = append(c.begin(c.valueBuf[:0]), d.record.account...)
	return c.set(b)
}

// advance makes events up to last known as durable and wakes followers.
func (c *calls) advance(last tandem.Revision) {
	c.progress.Lock()
	defer c.progress.Unlock()
	if last <= c.durable {
		return
	}
	c.durable = last
	close(c.moved)
	c.moved = make(chan struct{})
}

// Metrics tells how the log of calls is.
func (s *Store) Metrics(emit func(tandem.Sample)) {
	c := &s.calls
	c.mu.Lock()
	records, open := c.state.records, len(c.live)
	c.mu.Unlock()
	emit(tandem.Sample{Name: "tandem_store_calls", Help: "Call records kept.", Gauge: true, Value: float64(records)})
	emit(tandem.Sample{Name: "tandem_store_calls_open", Help: "Call records of calls that have not ended.", Gauge: true, Value: float64(open)})
	for _, m := range []struct {
		name, help string
		n          *atomic.Uint64
	}{
		{"recorded", "Call events recorded.", &c.recorded},
		{"trimmed", "Call records deleted for their number or age.", &c.trimmed},
		{"late", "Records dropped because their call had ended.", &c.late},
		{"dialogless", "Records whose dialogs were too long to keep.", &c.dialogless},
	} {
		emit(tandem.Sample{Name: "tandem_store_calls_" + m.name + "_total", Help: m.help, Value: float64(m.n.Load())})
	}
}
