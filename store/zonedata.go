package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"tandem/internal/tandem"
)

// Zone data stands beside the registrations, for it has the same durability: it survives the end of
// the process, and what a power cut takes can be fetched or made again.

// mostZoneData is how many octets one datum may have.
const mostZoneData = 4 << 20

func appendZoneDataKey(key []byte, zone string, part byte, number uint64) []byte {
	key = append(appendPart(append(key, tableZoneData), zone), part)
	return binary.BigEndian.AppendUint64(key, number)
}

// WriteZoneData writes, and with Octets nil deletes, what a name server keeps about zones, as one
// batch. It is as durable as PutBindings.
func (s *Store) WriteZoneData(ctx context.Context, data []tandem.ZoneDatum) (err error) {
	b := &s.bindings
	leave, err := b.health.enter()
	if err != nil {
		return err
	}
	defer leave()
	defer b.health.recover(&err)
	if err := errors.Join(ctx.Err(), b.health.err()); err != nil {
		return err
	}
	batch := b.db.NewBatch()
	for _, d := range data {
		if len(d.Zone) > 1024 || len(d.Octets) > mostZoneData {
			return tandem.FieldError{Reason: fmt.Sprintf("zone data has at most %d octets", mostZoneData)}
		}
		key := appendZoneDataKey(nil, d.Zone, d.Part, d.Number)
		if d.Octets != nil {
			err = batch.Set(key, s.wrap(nil, key, d.Octets), nil)
		} else {
			end := append(appendZoneDataKey(nil, d.Zone, d.Part, max(d.Number, d.Last)), 0)
			err = batch.DeleteRange(key, end, nil)
		}
		if err != nil {
			return err
		}
	}
	if err := batch.Commit(pebble.Sync); err != nil { // see bindings.write
		b.health.fail(err)
	}
	return b.health.err()
}

// ZoneData gives fn all zone data, in the order of zone, part and number. fn's error ends it. What
// cannot be read is left out: it can be fetched or made again.
func (s *Store) ZoneData(ctx context.Context, fn func(tandem.ZoneDatum) error) error {
	leave, err := s.health.enter()
	if err != nil {
		return err
	}
	defer leave()
	b := &s.bindings
	prefix := []byte{tableZoneData}
	iter, err := b.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return b.damaged(err)
	}
	defer iter.Close()
	for ok := iter.First(); ok; ok = iter.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		d, ok := parseZoneData(iter.Key())
		payload, err := b.open(iter.Key(), iter.Value())
		if !ok || err != nil {
			continue
		}
		d.Octets = append([]byte{}, payload...)
		if err := fn(d); err != nil {
			return err
		}
	}
	return b.damaged(iter.Error())
}

// parseZoneData reads a key of the table of zone data.
func parseZoneData(key []byte) (d tandem.ZoneDatum, ok bool) {
	zone, rest, err := cutPart(key[1:])
	if err != nil || len(rest) != 9 {
		return d, false
	}
	return tandem.ZoneDatum{Zone: zone, Part: rest[0], Number: binary.BigEndian.Uint64(rest[1:])}, true
}
