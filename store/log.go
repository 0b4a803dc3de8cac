package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"tandem/internal/tandem"
)

// Log is the ordered record of all changes and the tables that it makes. Store keeps one of its
// own; an appliance in a fleet puts a replicated one in its place, which applies what comes back
// with the same function.
type Log interface {
	// Append commits the edits as one batch, each as one revision, or none of them.
	Append(ctx context.Context, by tandem.Principal, edits []tandem.Edit) (last tandem.Revision, err error)
	// Follow gives fn every change after the revision, in order, whole batches at a time.
	Follow(ctx context.Context, after tandem.Revision, fn func([]tandem.Change) error) error
	// Snapshot gives fn every object, and returns the revision to follow from.
	Snapshot(ctx context.Context, fn func([]tandem.Change) error) (tandem.Revision, error)
	// Info returns the log's epoch and the revision of its last change.
	Info() (epoch uint64, last tandem.Revision)
}

// batchSize is how many changes Follow and Snapshot gather before they give them to fn; Follow goes
// on to the end of the last batch.
const batchSize = 1000

// local is the log of one appliance: the change records lie in the same database as the tables, and
// one synced batch writes both.
//
// Appends share fsyncs. Under mu a batch is checked against everything committed so far, given its
// revisions, queued for the write-ahead log and made visible; mu is then left, and only after that
// is the fsync waited for. So the next Append is already being checked, and queued behind the
// first in the same file, while the disk works, and one fsync acknowledges all that queued
// meanwhile. Because the file holds batches in the order of their revisions, a batch that is
// durable implies all before it; durable is therefore one number, and only what is durable is
// given to followers or acknowledged.
type local struct {
	tables
	health *health
	retain uint64
	epoch  uint64
	now    func() time.Time

	mu    sync.Mutex // guards the tables' buffers and state
	state state

	progress sync.Mutex // guards what follows; taken after mu
	durable  tandem.Revision
	moved    chan struct{} // closed, and replaced, when durable moves
}

// Append commits the edits as one synced batch; each is one revision, the last of which it returns.
// References may be satisfied and names freed anywhere in the batch. An error for one edit is a
// *tandem.EditError, and nothing was done. When the disk fails under an append, its outcome is
// unknown and the store takes no further ones. The context is looked at before the work, not during it.
func (l *local) Append(ctx context.Context, by tandem.Principal, edits []tandem.Edit) (last tandem.Revision, err error) {
	leave, err := l.health.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	defer l.health.recover(&err)
	drafts, err := l.drafts(ctx, edits)
	if err != nil {
		return 0, err
	}
	batch := l.db.NewBatch() // closed only when nothing can still be writing it
	if last, err = l.queue(batch, by, drafts); err != nil {
		return 0, err
	}
	if err := batch.SyncWait(); err != nil {
		l.health.fail(err)
	}
	if err := l.health.err(); err != nil {
		return 0, err
	}
	l.advance(last)
	return last, batch.Close()
}

// Check reports what Append would refuse, and writes nothing.
func (l *local) Check(ctx context.Context, by tandem.Principal, edits []tandem.Edit) error {
	leave, err := l.health.enter()
	if err != nil {
		return err
	}
	defer leave()
	drafts, err := l.drafts(ctx, edits)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err = l.plan(by, drafts)
	return err
}

func (l *local) drafts(ctx context.Context, edits []tandem.Edit) ([]draft, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := l.health.err(); err != nil {
		return nil, err
	}
	if len(edits) == 0 {
		return nil, errors.New("no edits given")
	}
	drafts := make([]draft, len(edits))
	for i, e := range edits {
		var err error
		if drafts[i], err = l.draft(e); err != nil {
			return nil, editError(i, e, err)
		}
	}
	return drafts, nil
}

// plan fills and checks; the caller holds mu.
func (l *local) plan(by tandem.Principal, drafts []draft) (*plan, error) {
	p, err := l.newPlan(by, len(drafts))
	if err != nil {
		return nil, err
	}
	defer p.close()
	if err := l.fill(p, drafts, l.state.last, l.now()); err != nil {
		return nil, err
	}
	return p, l.check(p, drafts)
}

// queue checks the drafts and hands them to the write-ahead log, without waiting for the disk.
func (l *local) queue(batch *pebble.Batch, by tandem.Principal, drafts []draft) (tandem.Revision, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.plan(by, drafts)
	if err != nil {
		return 0, err
	}
	next := l.state
	if err := l.apply(batch, p, &next); err != nil {
		return 0, err
	}
	if err := l.trim(batch, &next); err != nil {
		return 0, err
	}
	if err := l.setState(batch, &next); err != nil {
		return 0, err
	}
	if err := l.db.ApplyNoSyncWait(batch, pebble.Sync); err != nil {
		l.health.fail(err)
	}
	if err := l.health.err(); err != nil {
		return 0, err
	}
	l.state = next
	return next.last, nil
}

// trim drops change records beyond those to be kept, an eighth of them at a time, in the batch that
// makes them too many.
func (l *local) trim(batch *pebble.Batch, s *state) error {
	if uint64(s.last-s.floor) <= l.retain+l.retain/8 {
		return nil
	}
	from, to := s.floor+1, s.last-tandem.Revision(l.retain)+1
	s.floor = to - 1
	return batch.DeleteRange(appendLogKey(nil, from), appendLogKey(nil, to), nil)
}

// stand notes where the log stands after it was opened.
func (l *local) stand(epoch uint64, last tandem.Revision) {
	l.progress.Lock()
	l.epoch = epoch
	l.progress.Unlock()
	l.advance(last)
}

// advance makes revisions up to last known as durable and wakes followers.
func (l *local) advance(last tandem.Revision) {
	l.progress.Lock()
	defer l.progress.Unlock()
	if last <= l.durable {
		return
	}
	l.durable = last
	close(l.moved)
	l.moved = make(chan struct{})
}

// Info returns the epoch, which grows with each restore, and the last durable revision.
func (l *local) Info() (epoch uint64, last tandem.Revision) {
	l.progress.Lock()
	defer l.progress.Unlock()
	return l.epoch, l.durable
}

// Follow gives fn every change after the revision, in order, and waits for more until ctx ends; it
// then returns nil. fn gets whole batches, several at a time when it is behind, and its error ends
// Follow. A revision that the log no longer holds, or does not hold yet, is ErrTrimmed: take a
// Snapshot and follow from there.
func (l *local) Follow(ctx context.Context, after tandem.Revision, fn func([]tandem.Change) error) error {
	for ctx.Err() == nil {
		durable, moved := l.position()
		if after > durable {
			return fmt.Errorf("%w: %s: revision %d is beyond the last, %d; take a snapshot", ErrTrimmed, l.name, after, durable)
		}
		if after < durable {
			var err error
			if after, err = l.deliver(ctx, after, durable, fn); errors.Is(err, ErrAway) {
				if err = l.health.back(ctx); ctx.Err() != nil {
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
		case <-l.health.closing:
			return ErrClosed
		case <-moved:
		}
	}
	return nil
}

func (l *local) position() (tandem.Revision, <-chan struct{}) {
	l.progress.Lock()
	defer l.progress.Unlock()
	return l.durable, l.moved
}

// deliver gives fn the changes after one revision up to another, and returns the last one given.
func (l *local) deliver(ctx context.Context, after, to tandem.Revision, fn func([]tandem.Change) error) (tandem.Revision, error) {
	leave, err := l.health.enterLate()
	if err != nil {
		return after, err
	}
	defer leave()
	iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: appendLogKey(nil, after+1), UpperBound: appendLogKey(nil, to+1)})
	if err != nil {
		return after, l.damaged(err)
	}
	defer iter.Close()
	var changes []tandem.Change
	for ok := iter.First(); ok && ctx.Err() == nil; ok = iter.Next() {
		r, err := l.logRecord(iter.Key(), iter.Value())
		if err != nil {
			return after, err
		}
		if want := after + tandem.Revision(len(changes)) + 1; r.revision != want {
			return after, fmt.Errorf("%w: %s: the log begins after revision %d; take a snapshot", ErrTrimmed, l.name, r.revision-1)
		}
		ch, err := l.change(r)
		if err != nil {
			return after, l.damaged(err)
		}
		if changes = append(changes, ch); r.last && len(changes) >= batchSize {
			if err := fn(changes); err != nil {
				return after, err
			}
			after, changes = r.revision, nil
			if l.health.isClosing() {
				return after, ErrClosed
			}
		}
	}
	if err := iter.Error(); err != nil {
		return after, l.damaged(err)
	}
	return l.deliverRest(ctx, after, to, changes, fn)
}

// deliverRest gives fn what deliver gathered last.
func (l *local) deliverRest(ctx context.Context, after, to tandem.Revision, changes []tandem.Change, fn func([]tandem.Change) error) (tandem.Revision, error) {
	if ctx.Err() != nil {
		return after, nil
	}
	if after+tandem.Revision(len(changes)) != to {
		return after, fmt.Errorf("%w: %s: revisions after %d are no longer in the log; take a snapshot", ErrTrimmed, l.name, after)
	}
	if len(changes) == 0 {
		return after, nil
	}
	return to, fn(changes)
}

// logRecord reads one entry of the log; the record shares value's memory.
func (l *local) logRecord(key, value []byte) (*record, error) {
	payload, err := l.open(key, value)
	if err != nil {
		return nil, l.damaged(err)
	}
	r, err := parseRecord(revisionOf(key), payload)
	if err != nil {
		return nil, l.damaged(fmt.Errorf("change record %d: %w", revisionOf(key), err))
	}
	return r, nil
}

// Objects returns how many objects are stored.
func (l *local) Objects() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.state.objects)
}

// Snapshot gives fn every object as it stood at the revision that it returns: kinds in the order of
// tandem.Kinds, then Key, Permit and Assignment, in batches. Object revisions are those of their last change;
// Time and Actor are empty. Objects change freely meanwhile.
func (l *local) Snapshot(ctx context.Context, fn func([]tandem.Change) error) (tandem.Revision, error) {
	leave, err := l.health.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	snap, last := l.freeze()
	defer snap.Close()
	if err := l.waitDurable(ctx, last); err != nil {
		return 0, err
	}
	for _, kind := range allKinds() {
		if err := l.snapshotKind(ctx, snap, kind, fn); err != nil {
			return 0, err
		}
	}
	return last, nil
}

func (l *local) freeze() (*pebble.Snapshot, tandem.Revision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.db.NewSnapshot(), l.state.last
}

func (l *local) waitDurable(ctx context.Context, last tandem.Revision) error {
	for {
		durable, moved := l.position()
		if durable >= last {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.health.failed:
			return l.health.err()
		case <-moved:
		}
	}
}

func (l *local) snapshotKind(ctx context.Context, snap *pebble.Snapshot, kind tandem.Kind, fn func([]tandem.Change) error) error {
	prefix := []byte{tableObject, kindNumber(kind)}
	iter, err := snap.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return l.damaged(err)
	}
	defer iter.Close()
	var changes []tandem.Change
	var quick accountReader
	give := func() error {
		defer func() { changes = make([]tandem.Change, 0, batchSize) }()
		if err := ctx.Err(); err != nil || len(changes) == 0 {
			return err
		}
		if l.health.isClosing() {
			return ErrClosed
		}
		return fn(changes)
	}
	for ok := iter.First(); ok; ok = iter.Next() {
		k, obj, err := l.object(iter.Key(), iter.Value(), &quick)
		if err != nil {
			return err
		}
		changes = append(changes, tandem.Change{Revision: obj.Header().Revision, Kind: k.kind, ID: k.id, Object: obj})
		if len(changes) == batchSize {
			if err := give(); err != nil {
				return err
			}
		}
	}
	if err := iter.Error(); err != nil {
		return l.damaged(err)
	}
	return give()
}

// object reads one entry of the object table; quick may be nil.
func (t *tables) object(key, value []byte, quick *accountReader) (objectKey, tandem.Object, error) {
	k, err := parseObjectKey(key)
	if err != nil {
		return k, nil, t.damaged(err)
	}
	payload, err := t.open(key, value)
	if err != nil {
		return k, nil, t.damaged(err)
	}
	e, err := parseEntry(payload)
	if err != nil {
		return k, nil, t.damaged(fmt.Errorf("%s: %w", k, err))
	}
	if k.kind == tandem.KindAccount && quick != nil {
		if a, ok := quick.read(e.cbor); ok && a.ID == k.id {
			a.Revision = e.revision
			return k, a, nil
		}
	}
	obj, err := t.decode(k, e)
	return k, obj, t.damaged(err)
}
