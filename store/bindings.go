package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"tandem/internal/tandem"
)

// bindings is the table of registrations, in a database of its own, so that its churn does not
// rewrite what hardly changes, and so that its files can be synced differently: a commit returns
// when its octets are with the operating system, and lazyFS syncs them shortly after.
type bindings struct {
	*tables
	health *health
	lazy   *lazyFS
}

// start opens the database. The write-ahead log is of the form in which a torn end is just an end:
// the newer form promises that what precedes a record was synced, which lazyFS does not keep.
func (b *bindings) start(objects *tables, h *health, opts *pebble.Options, dir string) error {
	b.health = h
	b.lazy = newLazyFS(opts.FS, h.fail)
	opts.FS = b.lazy
	opts.FormatMajorVersion = pebble.FormatColumnarBlocks
	opts.MemTableSize = bindingsBuffer
	db, err := openDatabase(dir, opts)
	if err == nil {
		if b.tables == nil {
			b.tables = &tables{codec: objects.codec, name: objects.name}
		}
		b.db, err = db, h.err()
	}
	if err == nil || isSystem(err) {
		return err
	}
	return objects.damaged(fmt.Errorf("bindings: %w", err))
}

func (b *bindings) close() error {
	if b.tables == nil || b.db == nil {
		return nil
	}
	err := b.db.Close()
	b.lazy.stop()
	b.db = nil
	return err
}

// PutBindings writes registrations; each replaces the one of the same account, address of record,
// device and contact. When it returns they are with the operating system, and survive the end of
// this process however sudden; they are on disk at most 100 ms later.
func (s *Store) PutBindings(ctx context.Context, list []tandem.Binding) error {
	return s.bindings.write(ctx, list, func(batch *pebble.Batch, key []byte, b *tandem.Binding) error {
		payload, err := s.encodeBinding(b)
		if err != nil {
			return err
		}
		return batch.Set(key, s.wrap(nil, key, payload), nil)
	})
}

// DeleteBindings removes registrations, found by account, address of record, device and contact;
// those that are not there are no error. It is as durable as PutBindings.
func (s *Store) DeleteBindings(ctx context.Context, list []tandem.Binding) error {
	return s.bindings.write(ctx, list, func(batch *pebble.Batch, key []byte, _ *tandem.Binding) error {
		return batch.Delete(key, nil)
	})
}

func (b *bindings) write(ctx context.Context, list []tandem.Binding, put func(*pebble.Batch, []byte, *tandem.Binding) error) (err error) {
	leave, err := b.health.enterWhenBack(ctx)
	if err != nil {
		return err
	}
	defer leave()
	defer b.health.recover(&err)
	if err := errors.Join(ctx.Err(), b.health.err()); err != nil {
		return err
	}
	batch := b.db.NewBatch()
	for i := range list {
		if err := checkBinding(&list[i]); err != nil {
			return err
		}
		if err := put(batch, appendBindingKey(nil, &list[i]), &list[i]); err != nil {
			return err
		}
	}
	// Sync waits until the log's octets have been written to the file and then for lazyFS, which
	// does not wait for the disk. NoSync would return with the octets still in this process.
	if err := batch.Commit(pebble.Sync); err != nil {
		b.health.fail(err)
	}
	return b.health.err()
}

// checkBinding refuses what would not make a key.
func checkBinding(b *tandem.Binding) error {
	const most = 4096
	for _, part := range []string{b.Account, b.AOR, b.Device, b.Contact} {
		if len(part) > most {
			return tandem.FieldError{Reason: fmt.Sprintf("a binding's account, aor, device and contact have at most %d octets each", most)}
		}
	}
	if b.Account == "" || b.AOR == "" || b.Contact == "" {
		return tandem.FieldError{Reason: "a binding needs account, aor and contact"}
	}
	return nil
}

// Bindings gives fn every registration, expired ones too, in the order of account, address of
// record, device and contact. fn's error ends it.
func (s *Store) Bindings(ctx context.Context, fn func(tandem.Binding) error) error {
	leave, err := s.health.enter()
	if err != nil {
		return err
	}
	defer leave()
	return s.bindings.each(ctx, fn)
}

func (b *bindings) each(ctx context.Context, fn func(tandem.Binding) error) error {
	prefix := []byte{tableBinding}
	iter, err := b.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return b.damaged(err)
	}
	defer iter.Close()
	for ok := iter.First(); ok; ok = iter.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		payload, err := b.open(iter.Key(), iter.Value())
		if err != nil {
			return b.damaged(err)
		}
		binding, err := b.decodeBinding(payload)
		if err != nil {
			return b.damaged(fmt.Errorf("binding %x: %w", iter.Key(), err))
		}
		if err := fn(binding); err != nil {
			return err
		}
	}
	return b.damaged(iter.Error())
}
