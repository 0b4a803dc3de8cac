package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"tandem/internal/tandem"
)

// maxFaults bounds how many faults a Report lists.
const maxFaults = 100

// progressStep is how many entries are read between two calls of a progress function.
const progressStep = 4096

// Report is what Verify found.
type Report struct {
	Epoch    uint64          `json:"epoch"`
	Revision tandem.Revision `json:"revision"` // as of which all this holds
	Objects  uint64          `json:"objects"`
	Owned    uint64          `json:"owned"`   // entries of the index of owners
	Refs     uint64          `json:"refs"`    // entries of the index of references
	Claims   uint64          `json:"claims"`  // names held or kept
	Changes  uint64          `json:"changes"` // records in the log
	Bindings uint64          `json:"bindings"`

	Calls      uint64          `json:"calls"`
	OpenCalls  uint64          `json:"openCalls"`
	OwnedCalls uint64          `json:"ownedCalls"` // entries of the index of accounts' calls
	CallEvents uint64          `json:"callEvents"` // kept
	CallEvent  tandem.Revision `json:"callEvent"`  // number of the last

	Digest string   `json:"digest"` // over all objects; equal tables have equal digests
	Faults []string `json:"faults,omitempty"`
}

// Verify reads everything again as it stands now, while the store goes on working: each value's
// checksum, each object's encoding, references and names against their indexes and the indexes
// against them, the log's sequence, the count and digest of the objects, the bindings, the log of calls. progress,
// unless nil, is told now and then how many entries have been read. What is wrong is listed in the
// report, a hundred faults at most, and makes the error ErrCorrupt.
func (s *Store) Verify(ctx context.Context, progress func(read uint64)) (Report, error) {
	leave, err := s.health.enter()
	if err != nil {
		return Report{}, err
	}
	defer leave()
	s.mu.Lock()
	snap, want := s.db.NewSnapshot(), s.state
	s.mu.Unlock()
	defer snap.Close()
	v := &verifier{Store: s, snap: snap, want: want, progress: progress}
	v.found.Epoch, v.found.Revision = want.epoch, want.last
	for _, step := range []func(context.Context) error{v.objects, v.owned, v.refs, v.claims, v.changes, v.registrations, v.callLog} {
		if err := step(ctx); err != nil {
			return v.found, err
		}
	}
	v.totals()
	if len(v.found.Faults) > 0 {
		return v.found, s.damaged(fmt.Errorf("%d faults, the first: %s", v.faults, v.found.Faults[0]))
	}
	return v.found, nil
}

// verifier is a Verify under way. What the objects imply of each index is looked up there entry by
// entry, and counted: an index with all of these entries and no more than that number is exact.
type verifier struct {
	*Store
	found    Report
	snap     *pebble.Snapshot
	want     state
	progress func(uint64)
	read     uint64
	faults   int

	digest              digest
	owners, held, links uint64 // entries that the objects imply
	heldFound           uint64
}

func (v *verifier) fault(format string, args ...any) {
	v.faults++
	if len(v.found.Faults) < maxFaults {
		v.found.Faults = append(v.found.Faults, fmt.Sprintf(format, args...))
	}
}

// each gives fn every payload of a table whose envelope is whole.
func (v *verifier) each(ctx context.Context, from pebble.Reader, table byte, fn func(key, payload []byte)) error {
	iter, err := from.NewIter(&pebble.IterOptions{LowerBound: []byte{table}, UpperBound: []byte{table + 1}})
	if err != nil {
		return v.damaged(err)
	}
	defer iter.Close()
	for ok := iter.First(); ok; ok = iter.Next() {
		if v.read++; v.read%progressStep == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if v.health.isClosing() {
				return ErrClosed
			}
			if v.progress != nil {
				v.progress(v.read)
			}
		}
		payload, err := v.open(iter.Key(), iter.Value())
		if err != nil {
			v.fault("%v", err)
			continue
		}
		fn(iter.Key(), payload)
	}
	if err := iter.Error(); err != nil {
		v.fault("table %c cannot be read to its end: %v", table, err)
	}
	return nil
}

func (v *verifier) objects(ctx context.Context) error {
	cursors := make(map[byte]*cursor)
	for _, table := range []byte{tableObject, tableOwner, tableRef, tableClaim} {
		iter, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: []byte{table}, UpperBound: []byte{table + 1}, UseL6Filters: true})
		if err != nil {
			return v.damaged(err)
		}
		defer iter.Close()
		cursors[table] = &cursor{&v.tables, iter}
	}
	return v.each(ctx, v.snap, tableObject, func(key, payload []byte) {
		v.found.Objects++
		v.digest.add(key, payload)
		k, err := parseObjectKey(key)
		if err != nil {
			v.fault("%v", err)
			return
		}
		e, err := parseEntry(payload)
		if err != nil {
			v.fault("%s: %v", k, err)
			return
		}
		obj, err := v.decode(k, e)
		if err != nil {
			v.fault("%v", err)
			return
		}
		v.object(cursors, k, e, obj)
	})
}

// object checks one object against the tables that cursors read.
func (v *verifier) object(cursors map[byte]*cursor, k objectKey, e *entry, obj tandem.Object) {
	exists := func(what string, key []byte, fn func([]byte) error) {
		if err := cursors[key[0]].read(key, fn); err != nil {
			v.fault("%s: %s: %v", k, what, err)
		}
	}
	nothing := func([]byte) error { return nil }
	if obj.Owner() != e.owner {
		v.fault("%s: is stored as owned by %q, and is %q's", k, e.owner, obj.Owner())
	}
	if e.revision > v.want.last {
		v.fault("%s: its revision %d is beyond the last, %d", k, e.revision, v.want.last)
	}
	if e.owner != "" {
		v.owners++
		exists("index of owners", appendOwnerKey(nil, k, e.owner), nothing)
	}
	for _, to := range refKeys(obj) {
		v.links++
		exists("reference to "+to.String(), appendObjectKey(nil, to), nothing)
		exists("index of references to "+to.String(), appendRefKey(nil, to, k), nothing)
	}
	for name := range claimSet(obj) {
		v.held++
		exists("claim of "+name.space+" "+name.name, appendClaimKey(nil, name), func(payload []byte) error {
			h, err := parseHolder(payload)
			if err == nil && (!h.held || h.key != k) {
				err = fmt.Errorf("is noted as %s's", h.key)
			}
			return err
		})
	}
}

func (v *verifier) owned(ctx context.Context) error {
	return v.each(ctx, v.snap, tableOwner, func(key, payload []byte) { v.found.Owned++ })
}

func (v *verifier) refs(ctx context.Context) error {
	return v.each(ctx, v.snap, tableRef, func(key, payload []byte) {
		v.found.Refs++
		if _, _, err := parseRefKey(key); err != nil {
			v.fault("%v", err)
		}
	})
}

func (v *verifier) claims(ctx context.Context) error {
	return v.each(ctx, v.snap, tableClaim, func(key, payload []byte) {
		v.found.Claims++
		h, err := parseHolder(payload)
		if _, e := parseClaimKey(key); e != nil || err != nil {
			v.fault("claim %x: %v", key, errors.Join(e, err))
			return
		}
		if h.held {
			v.heldFound++
		} else if !h.forever {
			v.fault("claim %x is nobody's", key)
		}
	})
}

func (v *verifier) changes(ctx context.Context) error {
	next := v.want.floor + 1
	return v.each(ctx, v.snap, tableLog, func(key, payload []byte) {
		v.found.Changes++
		rev := revisionOf(key)
		if rev != next {
			v.fault("the log goes from revision %d to %d", next-1, rev)
		}
		next = rev + 1
		r, err := parseRecord(rev, payload)
		if err == nil {
			_, err = v.change(r)
		}
		if err != nil {
			v.fault("change %d: %v", rev, err)
		}
	})
}

func (v *verifier) registrations(ctx context.Context) error {
	return v.each(ctx, v.bindings.db, tableBinding, func(key, payload []byte) {
		v.found.Bindings++
		if _, err := v.decodeBinding(payload); err != nil {
			v.fault("binding %x: %v", key, err)
		}
	})
}

// totals compares what was counted.
func (v *verifier) totals() {
	v.found.Digest = v.digest.String()
	if v.found.Objects != v.want.objects {
		v.fault("there are %d objects, %d were written", v.found.Objects, v.want.objects)
	}
	if v.digest != v.want.digest {
		v.fault("the digest of the objects is %s, %s was written", v.digest, v.want.digest)
	}
	if v.found.Owned != v.owners {
		v.fault("the index of owners has %d entries, the objects %d", v.found.Owned, v.owners)
	}
	if v.found.Refs != v.links {
		v.fault("the index of references has %d entries, the objects %d", v.found.Refs, v.links)
	}
	if v.heldFound != v.held {
		v.fault("%d names are noted as held, objects hold %d", v.heldFound, v.held)
	}
	if want := uint64(v.want.last - v.want.floor); v.found.Changes != want {
		v.fault("the log has %d changes, %d were written", v.found.Changes, want)
	}
}
