package dnsd

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/google/btree"
	"github.com/miekg/dns"

	"tandem/dnsd/journal"
	"tandem/internal/tandem"
)

// What secondaries are told of a change is worked out while it is applied: the records before and
// after it, for zones that somebody has a copy of. For all others it costs a look into a map.

// share is what the writer keeps of a zone that is shared with others.
type share struct {
	labels    *btree.BTreeG[labelled] // of accounts; nil for zones that hold none
	published uint32                  // serial of the last version made known; 0: none yet
	soa       *dns.SOA                // of that version
}

// delta is how a zone is changed by what is being applied.
type delta struct {
	removed, added []byte // records in wire form
	whole          bool   // too much to tell: secondaries take the zone anew
}

// mostDelta bounds the octets of one delta; beyond it the zone is taken anew.
const mostDelta = 1 << 20

// mostCompared bounds the accounts of a zone for which a change that may concern all of them is told
// record by record.
const mostCompared = 2000

// shareZone begins, goes on or ends to keep the share of a zone, as z says; nil means that it is gone.
func (w *writer) shareZone(number uint32, id string, z *zone) {
	s := w.shares[number]
	if z == nil || !z.shared() {
		if s != nil {
			delete(w.shares, number)
			w.journal.Reset(id)
		}
		return
	}
	if s == nil {
		s = &share{}
		w.shares[number] = s
	}
	if z.role == tandem.RoleAccounts && s.labels == nil {
		s.labels = newLabels()
		w.fillLabels(number, s.labels)
	}
	w.touched[number] = true
}

// fillLabels adds the labels of a zone's accounts, found among those of all zones.
func (w *writer) fillLabels(number uint32, labels *btree.BTreeG[labelled]) {
	w.inbound.all(func(key []byte, e entry) {
		zone, n := binary.Uvarint(key)
		if p := w.profiles.get(e.a); uint32(zone) == number && p != nil {
			labels.ReplaceOrInsert(labelled{string(key[n:]), p})
		}
	})
}

// putLabel notes that label leads to p in zone number.
func (w *writer) putLabel(number uint32, label string, p *profile) {
	s := w.shares[number]
	if s == nil || s.labels == nil {
		return
	}
	old, had := s.labels.ReplaceOrInsert(labelled{label, p})
	if had && old.profile == p {
		return
	}
	if !had {
		old.profile = nil
	}
	w.relabel(number, label, old.profile, p)
}

// dropLabel notes that the label in the key of an inbound row leads nowhere any more.
func (w *writer) dropLabel(key []byte) {
	zone, n := binary.Uvarint(key)
	s := w.shares[uint32(zone)]
	if key == nil || n <= 0 || s == nil || s.labels == nil {
		return
	}
	if old, had := s.labels.Delete(labelled{label: string(key[n:])}); had {
		w.relabel(uint32(zone), old.label, old.profile, nil)
	}
}

// relabel notes the records that come and go when label leads to another profile, nil for none.
func (w *writer) relabel(number uint32, label string, before, after *profile) {
	w.touched[number] = true
	z := w.zoneAt.get(number)
	if z == nil || !w.tells(number) {
		return
	}
	d := w.delta(number)
	key := wireLabel(label) + z.apex
	if z.tree[key] != nil || key == z.ns || label == "edge" || z.over().spot([]byte(wireLabel(label))) != nil {
		d.whole = true // plain records and RecordSets come and go with it
		return
	}
	d.compare(w.labelSets(z, label, before), w.labelSets(z, label, after))
}

func (w *writer) labelSets(z *zone, label string, p *profile) []rrset {
	var sets []rrset
	if p != nil {
		w.inboundRecords(z, p).under(label, z, func(s rrset) {
			if len(s) > 0 {
				sets = append(sets, s)
			}
		})
	}
	return sets
}

// tells reports whether changes to a zone are worth noting: somebody has its last version.
func (w *writer) tells(number uint32) bool {
	s := w.shares[number]
	return s != nil && s.published != 0
}

func (w *writer) delta(number uint32) *delta {
	d := w.deltas[number]
	if d == nil {
		d = &delta{}
		w.deltas[number] = d
	}
	return d
}

// rezone notes what differs between two versions of a zone's object.
func (w *writer) rezone(number uint32, before, after *snapshot) {
	d := w.delta(number)
	a, b := before.zone, after.zone
	settled := a.role == b.role && a.ttl == b.ttl && a.ns == b.ns && slices.Equal(a.edges, b.edges)
	if before.labels != nil && before.labels.Len() > mostCompared {
		if !settled {
			d.whole = true
			return
		}
		before, after = before.bare(), after.bare()
	}
	d.compare(collect(before), collect(after))
}

// bare returns s without its accounts: they are the same before and after.
func (s *snapshot) bare() *snapshot {
	b := *s
	labels := s.labels
	b.labels = newLabels()
	for _, key := range s.names() { // those that hide plain records go on doing so
		if _, top := split(key, s.zone.apex); top != "" {
			if l, ok := labels.Get(labelled{label: top}); ok {
				b.labels.ReplaceOrInsert(l)
			}
		}
	}
	return &b
}

// collect returns the sets of s but for the SOA.
func collect(s *snapshot) []rrset {
	var all []rrset
	for set := range s.sets() {
		if set[0].Header().Rrtype != dns.TypeSOA {
			all = append(all, set)
		}
	}
	return all
}

// compare adds to d what is in one list of sets and not in the other.
func (d *delta) compare(before, after []rrset) {
	old := make(map[string]bool, len(before))
	buf := make([]byte, maxNameSize+10+streamSize)
	each := func(sets []rrset, fn func(record []byte)) {
		for _, s := range sets {
			for _, rr := range s {
				if n, err := dns.PackRR(rr, buf, 0, nil, false); err == nil {
					fn(buf[:n])
				}
			}
		}
	}
	each(before, func(r []byte) { old[string(r)] = true })
	each(after, func(r []byte) {
		if old[string(r)] {
			delete(old, string(r))
		} else {
			d.added = append(d.added, r...)
		}
	})
	each(before, func(r []byte) {
		if old[string(r)] {
			d.removed = append(d.removed, r...)
			delete(old, string(r))
		}
	})
	d.whole = d.whole || len(d.added)+len(d.removed) > mostDelta
}

// edgeTouches notes the zones that show an edge, and returns their versions before the change, where they
// are small enough to be compared.
func (w *writer) edgeTouches() map[uint32]*snapshot {
	before := map[uint32]*snapshot{}
	for number, s := range w.shares {
		z := w.zoneAt.get(number)
		if z == nil || z.role != tandem.RoleAccounts && (z.ns == "" || len(z.edges) == 0) {
			continue
		}
		w.touched[number] = true
		if !w.tells(number) {
			continue
		}
		if s.labels != nil && s.labels.Len() > mostCompared || len(before) >= mostCompared {
			w.delta(number).whole = true
			continue
		}
		before[number] = w.snapshotOf(z)
	}
	return before
}

// announce makes known what was applied since the last time: each zone whose serial has moved gets a
// difference in the journal, and whoever is to be notified is.
func (w *writer) announce() {
	for number := range w.touched {
		delete(w.touched, number)
		w.relaid(number)
		d := w.deltas[number]
		delete(w.deltas, number)
		s, z := w.shares[number], w.zoneAt.get(number)
		if s == nil || z == nil || !w.live || z.absent != "" {
			continue
		}
		serial := w.serialOf(z)
		if s.published == serial {
			continue
		}
		before := s.published
		old := s.soa
		s.published, s.soa = serial, z.soa
		if before != 0 && old != nil {
			w.record(z, old, before, serial, d)
		}
		if w.changed != nil {
			w.changed(z)
		}
	}
}

// record adds one difference to the journal of z.
func (w *writer) record(z *zone, old *dns.SOA, from, to uint32, d *delta) {
	if d == nil {
		d = &delta{}
	}
	if d.whole || later(from, to) == from {
		w.journal.Reset(z.id)
		return
	}
	w.journal.Append(z.id, journal.Diff{
		From: from, To: to, Old: packSOA(old, from), New: packSOA(z.soa, to), Removed: d.removed, Added: d.added,
	})
}

// packSOA returns soa with a serial in wire form.
func packSOA(soa *dns.SOA, serial uint32) []byte {
	c := *soa
	c.Serial = serial
	buf := make([]byte, 1024)
	n, err := dns.PackRR(&c, buf, 0, nil, false)
	if err != nil {
		panic("dnsd: SOA does not pack: " + err.Error())
	}
	return bytes.Clone(buf[:n])
}

// begin starts to keep a journal, once everything stored is applied. whole means that the journal knows
// all changes up to here, so that what it holds leads to the zones as they are, whatever their serials
// are now.
func (w *writer) begin(whole bool) {
	w.live = true
	for number, s := range w.shares {
		z := w.zoneAt.get(number)
		if z == nil || z.absent != "" {
			continue
		}
		s.published, s.soa = w.serialOf(z), z.soa
		end, ok := w.journal.End(z.id)
		switch {
		case !ok || end == s.published:
		case whole && !z.copied() && later(end, s.published) == s.published:
			w.journal.Bridge(z.id, journal.Diff{From: end, To: s.published, Old: packSOA(z.soa, end), New: packSOA(z.soa, s.published)})
		default:
			w.journal.Reset(z.id)
		}
	}
	clear(w.touched)
	clear(w.deltas)
	clear(w.laid)
}

// announce tells those who share zones what was applied. Server.applying is held.
func (s *Server) announce() {
	s.writer.announce()
	if len(s.writer.shares) > 0 {
		select {
		case s.applied <- struct{}{}:
		default:
		}
	}
}
