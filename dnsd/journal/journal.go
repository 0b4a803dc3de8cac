// Package journal keeps the differences between versions of zones, for secondaries that have an older
// one (RFC 1995).
//
// It promises that what Since returns leads from one serial to the present one without a gap; that
// memory and disk are bounded, by zone and in all, the oldest differences going first; that what is on
// disk after a crash is the beginning of what was appended. Who uses it decides whether it still
// leads to the zone's present version.
package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"tandem/internal/tandem"
)

// Parts of a zone's data that the journal owns.
const (
	partDiff     = 'j'
	partRevision = 'r'
)

// Store is where the journal outlives the process. See store.Store.
type Store interface {
	WriteZoneData(ctx context.Context, data []tandem.ZoneDatum) error
	ZoneData(ctx context.Context, fn func(tandem.ZoneDatum) error) error
}

// Diff leads from one version of a zone to another. Records are in wire form, one after the other,
// no name compressed, as UnpackRR takes them.
type Diff struct {
	From, To       uint32
	Old, New       []byte // the SOA of each version
	Removed, Added []byte // all other records
}

// Size is what d counts for, in octets.
func (d *Diff) Size() int {
	return len(d.Old) + len(d.New) + len(d.Removed) + len(d.Added) + 96
}

// Limits bound a journal, in octets; zero: 1 MiB a zone, 64 MiB in all.
type Limits struct {
	Zone, All int
}

// Journal holds the differences of all zones. Any number may use it at once.
type Journal struct {
	limits Limits

	mu     sync.Mutex
	zones  map[string]*chain
	octets int
	order  []place  // of all differences, oldest first
	fresh  []place  // not on disk yet
	gone   []extent // on disk, and not here any more
	resets uint64
}

// chain is one zone's differences, each beginning where the one before ends.
type chain struct {
	first  uint64 // number of the oldest
	kept   uint64 // numbers below it are on disk, or queued to be
	diffs  []Diff
	octets int
}

type place struct {
	zone   string
	number uint64
}

type extent struct {
	zone        string
	first, last uint64
}

// New returns an empty journal.
func New(limits Limits) *Journal {
	if limits.Zone == 0 {
		limits.Zone = 1 << 20
	}
	if limits.All == 0 {
		limits.All = 64 << 20
	}
	return &Journal{limits: limits, zones: map[string]*chain{}}
}

// Append adds a difference. One that does not begin where the last one ends, or is too large, makes
// the zone's journal begin anew after it.
func (j *Journal) Append(zone string, d Diff) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.add(zone, d)
	c := j.zones[zone]
	for n := c.kept; n < c.first+uint64(len(c.diffs)); n++ {
		j.fresh = append(j.fresh, place{zone, n})
	}
	c.kept = c.first + uint64(len(c.diffs))
}

// Bridge adds a difference that need not be kept on disk until another one follows it.
func (j *Journal) Bridge(zone string, d Diff) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.add(zone, d)
}

func (j *Journal) add(zone string, d Diff) {
	c := j.zones[zone]
	if c == nil {
		c = &chain{}
		j.zones[zone] = c
	}
	if n := len(c.diffs); n > 0 && c.diffs[n-1].To != d.From || d.Size() > j.limits.Zone {
		j.cut(zone, c, n)
		j.resets++
	}
	if d.Size() > j.limits.Zone {
		return
	}
	j.order = append(j.order, place{zone, c.first + uint64(len(c.diffs))})
	c.diffs = append(c.diffs, d)
	c.octets += d.Size()
	j.octets += d.Size()
	for c.octets > j.limits.Zone {
		j.cut(zone, c, 1)
	}
	for j.octets > j.limits.All {
		j.cutOldest()
	}
}

// cutOldest drops the oldest difference of all zones.
func (j *Journal) cutOldest() {
	for len(j.order) > 0 {
		p := j.order[0]
		j.order = j.order[1:]
		if c := j.zones[p.zone]; c != nil && c.first == p.number && len(c.diffs) > 0 {
			j.cut(p.zone, c, 1)
			return
		}
	}
}

// cut drops the n oldest differences of c.
func (j *Journal) cut(zone string, c *chain, n int) {
	if n == 0 {
		return
	}
	for i := range n {
		c.octets -= c.diffs[i].Size()
		j.octets -= c.diffs[i].Size()
		c.diffs[i] = Diff{}
	}
	c.diffs = c.diffs[n:]
	j.gone = append(j.gone, extent{zone, c.first, c.first + uint64(n) - 1})
	c.first += uint64(n)
	c.kept = max(c.kept, c.first)
	if len(j.order) > 64 && len(j.order) > 4*j.count() {
		j.tidy()
	}
}

func (j *Journal) count() int {
	n := 0
	for _, c := range j.zones {
		n += len(c.diffs)
		if 4*n > len(j.order) {
			break
		}
	}
	return n
}

// tidy forgets the places of what is gone.
func (j *Journal) tidy() {
	kept := j.order[:0]
	for _, p := range j.order {
		if c := j.zones[p.zone]; c != nil && p.number >= c.first {
			kept = append(kept, p)
		}
	}
	j.order = kept
}

// Reset drops all differences of a zone.
func (j *Journal) Reset(zone string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if c := j.zones[zone]; c != nil && len(c.diffs) > 0 {
		j.cut(zone, c, len(c.diffs))
		j.resets++
	}
}

// Since returns the differences that lead from serial to the zone's last version; false when there is
// no such way. Nobody may change them.
func (j *Journal) Since(zone string, serial uint32) ([]Diff, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.zones[zone]
	if c == nil {
		return nil, false
	}
	for i := range c.diffs {
		if c.diffs[i].From == serial {
			return append([]Diff(nil), c.diffs[i:]...), true
		}
	}
	return nil, false
}

// End returns the serial that a zone's differences lead to; false when there are none.
func (j *Journal) End(zone string) (uint32, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.zones[zone]
	if c == nil || len(c.diffs) == 0 {
		return 0, false
	}
	return c.diffs[len(c.diffs)-1].To, true
}

// Size returns how many differences of a zone there are, and their octets.
func (j *Journal) Size(zone string) (diffs, octets int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if c := j.zones[zone]; c != nil {
		return len(c.diffs), c.octets
	}
	return 0, 0
}

// Stats returns the octets held in all, and how often a zone's journal had to begin anew.
func (j *Journal) Stats() (octets int, resets uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.octets, j.resets
}

// Flush writes to disk what is not there yet, together with the revision up to which all changes
// are in the journal. After an error the next Flush begins where this one did. One caller at a time.
func (j *Journal) Flush(ctx context.Context, to Store, revision tandem.Revision) (err error) {
	data, fresh, gone := j.pending()
	defer func() {
		if err != nil {
			j.mu.Lock()
			defer j.mu.Unlock()
			j.fresh, j.gone = append(fresh, j.fresh...), append(gone, j.gone...)
		}
	}()
	data = append(data, tandem.ZoneDatum{Part: partRevision, Octets: binary.BigEndian.AppendUint64(nil, uint64(revision))})
	const most = 512
	for len(data) > 0 { // the revision goes last
		n := min(len(data), most)
		if err := to.WriteZoneData(ctx, data[:n]); err != nil {
			return fmt.Errorf("write zone journals: %w", err)
		}
		data = data[n:]
	}
	return nil
}

func (j *Journal) pending() (data []tandem.ZoneDatum, fresh []place, gone []extent) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.fresh {
		if c := j.zones[p.zone]; p.number >= c.first {
			data = append(data, tandem.ZoneDatum{Zone: p.zone, Part: partDiff, Number: p.number, Octets: c.diffs[p.number-c.first].append(nil)})
		}
	}
	for _, e := range j.gone {
		data = append(data, tandem.ZoneDatum{Zone: e.zone, Part: partDiff, Number: e.first, Last: e.last})
	}
	fresh, gone = j.fresh, j.gone
	j.fresh, j.gone = nil, nil
	return data, fresh, gone
}

// Load takes in one piece of what was on disk, in the store's order. It reports false for what is not the
// journal's, and gives the revision when that is what it is.
func (j *Journal) Load(d tandem.ZoneDatum) (mine bool, revision tandem.Revision) {
	switch d.Part {
	case partRevision:
		if len(d.Octets) == 8 {
			revision = tandem.Revision(binary.BigEndian.Uint64(d.Octets))
		}
		return true, revision
	case partDiff:
	default:
		return false, 0
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	diff, err := parse(d.Octets)
	if err != nil {
		return true, 0 // a gap: the chain begins anew after it
	}
	c := j.zones[d.Zone]
	if c == nil {
		c = &chain{first: d.Number}
		j.zones[d.Zone] = c
	}
	if next := c.first + uint64(len(c.diffs)); d.Number != next {
		j.cut(d.Zone, c, len(c.diffs))
		c.first = d.Number
	}
	j.add(d.Zone, diff)
	c.kept = c.first + uint64(len(c.diffs))
	return true, 0
}

var errShort = errors.New("octets of a difference are cut")

func (d *Diff) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, d.From), d.To)
	for _, part := range [][]byte{d.Old, d.New, d.Removed, d.Added} {
		b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
	}
	return b
}

func parse(b []byte) (Diff, error) {
	if len(b) < 8 {
		return Diff{}, errShort
	}
	d := Diff{From: binary.BigEndian.Uint32(b), To: binary.BigEndian.Uint32(b[4:])}
	b = append([]byte(nil), b[8:]...)
	for _, part := range []*[]byte{&d.Old, &d.New, &d.Removed, &d.Added} {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return Diff{}, errShort
		}
		*part, b = b[size:size+int(n):size+int(n)], b[size+int(n):]
	}
	if len(b) > 0 {
		return Diff{}, errShort
	}
	return d, nil
}

// Condense makes one difference of several that follow one another: what comes and goes again is left
// out (RFC 1995 section 5). Secondaries that sync each difference to their disk are glad of it.
func Condense(diffs []Diff) Diff {
	first, last := &diffs[0], &diffs[len(diffs)-1]
	if len(diffs) == 1 {
		return *first
	}
	all := Diff{From: first.From, To: last.To, Old: first.Old, New: last.New}
	change := map[string]int{} // 1: comes, -1: goes
	var order []string
	take := func(records []byte, by int) {
		for len(records) > 0 {
			n := recordSize(records)
			r := string(records[:n])
			if _, known := change[r]; !known {
				order = append(order, r)
			}
			change[r] += by
			records = records[n:]
		}
	}
	for i := range diffs {
		take(diffs[i].Removed, -1)
		take(diffs[i].Added, 1)
	}
	for _, r := range order {
		switch change[r] {
		case -1:
			all.Removed = append(all.Removed, r...)
		case 1:
			all.Added = append(all.Added, r...)
		}
	}
	return all
}

// recordSize returns the octets of the record that b begins with, all of b when it is not whole.
func recordSize(b []byte) int {
	at := 0
	for at < len(b) && b[at] != 0 {
		at += 1 + int(b[at])
	}
	if at+11 > len(b) {
		return len(b)
	}
	return min(at+11+int(binary.BigEndian.Uint16(b[at+9:])), len(b))
}
