package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"tandem/internal/tandem"
)

// maxList bounds what List returns at once; zero limits mean this too.
const maxList = 1000

// Get returns an object. What by may not see is tandem.ErrNotFound. It may show a change a moment
// before Follow gives it out.
func (s *Store) Get(ctx context.Context, by tandem.Principal, kind tandem.Kind, id string) (tandem.Object, error) {
	leave, err := s.health.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k := objectKey{kind, id}
	if kindNumber(kind) == 0 || id == "" {
		return nil, tandem.ErrNotFound
	}
	e, err := s.get(k)
	if err != nil {
		return nil, err
	}
	if !by.MaySee(e.owner) {
		return nil, tandem.ErrNotFound
	}
	obj, err := s.decode(k, e)
	if err != nil {
		return nil, s.damaged(err)
	}
	return obj, nil
}

// List returns objects of a kind in the order of their ids (zones: of their reversed labels), from
// the one after the id given, "" for the first; at most limit of them, and at most 1,000. With an
// owner, only that account's; a principal of one account gets its own alone. An owner whose
// objects by may not see is tandem.ErrNotFound.
func (s *Store) List(ctx context.Context, by tandem.Principal, kind tandem.Kind, owner, after string, limit int) ([]tandem.Object, error) {
	leave, err := s.health.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if owner == "" && !by.Admin {
		owner = by.Account
	}
	if kindNumber(kind) == 0 || owner == "" && !by.Admin || owner != "" && !by.MaySee(owner) {
		return nil, tandem.ErrNotFound
	}
	if limit <= 0 || limit > maxList {
		limit = maxList
	}
	snap := s.db.NewSnapshot()
	defer snap.Close()
	if owner == "" {
		return s.listAll(ctx, snap, kind, after, limit)
	}
	return s.listOwned(ctx, snap, kind, owner, after, limit)
}

func (s *Store) listAll(ctx context.Context, snap *pebble.Snapshot, kind tandem.Kind, after string, limit int) (objects []tandem.Object, err error) {
	err = s.scan(ctx, snap, []byte{tableObject, kindNumber(kind)}, keyID(kind, after), limit, func(key, value []byte) error {
		_, obj, err := s.object(key, value, nil)
		objects = append(objects, obj)
		return err
	})
	return objects, err
}

func (s *Store) listOwned(ctx context.Context, snap *pebble.Snapshot, kind tandem.Kind, owner, after string, limit int) (objects []tandem.Object, err error) {
	prefix := ownerPrefix(nil, kind, owner)
	err = s.scan(ctx, snap, prefix, keyID(kind, after), limit, func(key, value []byte) error {
		if _, err := s.open(key, value); err != nil {
			return s.damaged(err)
		}
		objectKey := slices.Concat([]byte{tableObject, kindNumber(kind)}, key[len(prefix):])
		value, closer, err := snap.Get(objectKey)
		if err != nil {
			return s.damaged(fmt.Errorf("index of %s names %x: %w", owner, objectKey, err))
		}
		defer closer.Close()
		_, obj, err := s.object(objectKey, value, nil)
		objects = append(objects, obj)
		return err
	})
	return objects, err
}

// scan gives fn at most limit entries whose keys begin with prefix, from the one after prefix+after.
func (s *Store) scan(ctx context.Context, snap *pebble.Snapshot, prefix []byte, after string, limit int, fn func(key, value []byte) error) error {
	lower := prefix
	if after != "" {
		lower = slices.Concat(prefix, []byte(after), []byte{0})
	}
	iter, err := snap.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return s.damaged(err)
	}
	defer iter.Close()
	for ok := iter.First(); ok && limit > 0; ok = iter.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(iter.Key(), iter.Value()); err != nil {
			return err
		}
		limit--
	}
	return s.damaged(iter.Error())
}
