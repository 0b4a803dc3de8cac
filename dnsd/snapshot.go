package dnsd

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"strings"

	"github.com/google/btree"
	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// snapshot is one version of a zone, whole. It costs little to take, whatever the zone's size, and
// nothing that is applied later shows in it.
type snapshot struct {
	zone   *zone
	serial uint32
	labels *btree.BTreeG[labelled] // nil for a zone without accounts
	edges  []*host                 // by number
	ns     []rrset                 // at zone.ns
	over   *overlay                // nil: no RecordSets
}

// labelled is an account's label, and the profile that it leads to.
type labelled struct {
	label   string
	profile *profile
}

// newLabels returns an empty set of labels in canonical order.
func newLabels() *btree.BTreeG[labelled] {
	return btree.NewG(32, func(a, b labelled) bool { return a.label < b.label })
}

// snapshotOf returns z as it is now.
func (w *writer) snapshotOf(z *zone) *snapshot {
	s := &snapshot{zone: z, serial: w.serialOf(z)}
	if !z.copied() { // a copy is passed on as its primary gave it
		s.over = z.over()
	}
	if z.ns != "" {
		s.ns = w.serverAddresses(z)
	}
	if z.role != tandem.RoleAccounts {
		return s
	}
	if share := w.shares[z.number]; share != nil {
		s.labels = share.labels.Clone()
	}
	s.edges = make([]*host, len(w.edgeNumbers))
	for i := range s.edges {
		s.edges[i] = w.edges.at.get(uint32(i))
	}
	return s
}

// sets gives the zone's record sets in the canonical order of their owners (RFC 4034 section 6.1),
// each with its owner, the SOA with the snapshot's serial. Sets of one owner follow one another in no
// particular order. It is also what a zone is signed from.
func (s *snapshot) sets() iter.Seq[rrset] {
	return func(yield func(rrset) bool) {
		w := &snapshotWalk{snapshot: s, yield: yield, plain: s.names(), made: map[string]*records{}}
		w.run()
	}
}

// snapshotWalk merges what zone text and RecordSets hold with what is composed, by the labels next to the apex.
type snapshotWalk struct {
	*snapshot
	yield func(rrset) bool
	plain []string // keys in order; those walked over are cut off
	made  map[string]*records
	done  bool
}

func (w *snapshotWalk) run() {
	tops := w.ownTops()
	if w.labels != nil {
		w.labels.Ascend(func(l labelled) bool {
			for len(tops) > 0 && tops[0] < l.label {
				w.own(tops[0])
				tops = tops[1:]
			}
			if len(tops) > 0 && tops[0] == l.label && l.label == "edge" {
				return true // hosts have this name, whoever has such a label
			}
			if len(tops) > 0 && tops[0] == l.label {
				tops = tops[1:]
			}
			w.account(l)
			return !w.done
		})
	}
	for _, top := range tops {
		w.own(top)
	}
	w.upTo("", true)
}

// ownTops returns the labels next to the apex that are composed and no account's, in order.
func (w *snapshotWalk) ownTops() []string {
	var tops []string
	if w.zone.role == tandem.RoleAccounts {
		tops = append(tops, "edge")
	}
	if w.zone.ns != "" {
		tops = append(tops, "ns")
	}
	return tops
}

func (w *snapshotWalk) give(set rrset) {
	if w.done || len(set) == 0 {
		return
	}
	if soa, ok := set[0].(*dns.SOA); ok {
		set = rrset{w.zone.soaRecord(soa.Hdr.Ttl, w.serial)}
	}
	w.done = !w.yield(set)
}

// upTo gives the plain records next to the apex and below it whose label comes before top.
func (w *snapshotWalk) upTo(top string, all bool) {
	for len(w.plain) > 0 && !w.done {
		_, at := split(w.plain[0], w.zone.apex)
		if !all && at != "" && at >= top {
			return
		}
		w.givePlain()
	}
}

func (w *snapshotWalk) givePlain() {
	for _, set := range w.plainSets(w.plain[0]) {
		w.give(set)
	}
	w.plain = w.plain[1:]
}

// skip leaves out plain records at and below top, and returns their owners.
func (w *snapshotWalk) skip(top string) []string {
	n := 0
	for n < len(w.plain) {
		if _, at := split(w.plain[n], w.zone.apex); at != top {
			break
		}
		n++
	}
	skipped := w.plain[:n:n]
	w.plain = w.plain[n:]
	return skipped
}

// own gives what is composed at and below one of ownTops.
func (w *snapshotWalk) own(top string) {
	w.upTo(top, false)
	if top == "ns" {
		w.mixed([]string{w.zone.ns}, func(string) *node { return nodeOf(w.ns...) })
		if len(w.plain) > 0 && w.plain[0] == w.zone.ns {
			w.plain = w.plain[1:]
		}
		return // other records below it are plain ones
	}
	names := w.skip(top)
	hosts := slices.DeleteFunc(slices.Clone(w.edges), func(h *host) bool { return h == nil })
	slices.SortFunc(hosts, func(a, b *host) int { return strings.Compare(a.id, b.id) })
	base := wireLabel(top) + w.zone.apex
	at := map[string]*node{base: {}}
	for _, h := range hosts {
		if h.hasName(w.zone) {
			key := wireLabel(h.id) + base
			names, at[key] = append(names, key), h.addressNode(w.zone.ttl.Address)
		}
	}
	w.mixed(names, func(key string) *node { return at[key] })
}

// account gives what is at and below an account's label.
func (w *snapshotWalk) account(l labelled) {
	w.upTo(l.label, false)
	hidden := w.skip(l.label)
	r := w.recordsOf(l.profile)
	key := wireLabel(l.label) + w.zone.apex
	if w.over.spot([]byte(wireLabel(l.label))) != nil {
		w.accountMixed(r, key, hidden)
		return
	}
	if key == w.zone.ns {
		w.own("ns")
		r.below(l.label, w.zone, w.give)
		return
	}
	r.under(l.label, w.zone, w.give)
}

// mostSnapshotMade bounds the records that a walk keeps at hand.
const mostSnapshotMade = 4096

// recordsOf returns the records of inbound names with profile p, as the snapshot has them.
func (w *snapshotWalk) recordsOf(p *profile) *records {
	numbers := p.edgesOf(w.zone)
	var key []byte
	for _, v := range [...]uint32{p.ttl.NAPTR, p.ttl.SRV, p.ttl.Address, p.ttl.Negative} {
		key = binary.BigEndian.AppendUint32(key, v)
	}
	hosts := make([]*host, len(numbers))
	for i, n := range numbers {
		key = binary.BigEndian.AppendUint32(key, n)
		if int(n) < len(w.edges) {
			hosts[i] = w.edges[n]
		}
	}
	r := w.made[string(key)]
	if r == nil {
		r = compose(w.zone, hosts, p.ttl.Or(w.zone.ttl), "")
		if len(w.made) >= mostSnapshotMade {
			clear(w.made)
		}
		w.made[string(key)] = r
	}
	return r
}

// under gives the sets of r at and below label in z, in canonical order.
func (r *records) under(label string, z *zone, give func(rrset)) {
	for _, set := range r.baseNode(wireLabel(label) + z.apex).sets {
		give(owned(set, label+"."+z.name))
	}
	r.below(label, z, give)
}

// below gives the SRV sets of r below label, in canonical order.
func (r *records) below(label string, z *zone, give func(rrset)) {
	name := label + "." + z.name
	if len(label)+1+len(z.apex)+servicePrefixSize > maxNameSize {
		return // too long to be names
	}
	for _, i := range serviceOrder() {
		s := services()[i]
		give(owned(r.sets[placeSRV+i], s.label+"."+s.proto+"."+name))
	}
}

// serviceOrder returns the numbers of services in the canonical order of their names: _http, _https,
// _sip and _sips below _tcp, _sip below _udp, _sip and _sips below _ws.
func serviceOrder() [7]int { return [...]int{6, 5, 2, 0, 1, 4, 3} }

// ordered returns the keys of the zone's tree in canonical order, sorted when first asked for.
func (z *zone) ordered() []string {
	z.sorting.Do(func() {
		keys := make([]orderedKey, 0, len(z.tree))
		for key := range z.tree {
			keys = append(keys, orderedKey{canonical(key), key})
		}
		slices.SortFunc(keys, func(a, b orderedKey) int { return cmp.Compare(a.rank, b.rank) })
		z.keys = make([]string, len(keys))
		for i, k := range keys {
			z.keys[i] = k.key
		}
	})
	return z.keys
}

type orderedKey struct{ rank, key string }

// canonical returns octets that sort as the name key does (RFC 4034 section 6.1): its labels from the
// right, each ended by an octet below all others, which are moved out of its way.
func canonical(key string) string {
	var labels []string
	for rest := key; rest[0] != 0; rest = parent(rest) {
		labels = append(labels, rest[1:1+int(rest[0])])
	}
	rank := make([]byte, 0, len(key)+8)
	for _, l := range slices.Backward(labels) {
		for _, c := range []byte(l) {
			if c < 2 {
				rank, c = append(rank, 1), c+1
			}
			rank = append(rank, c)
		}
		rank = append(rank, 0)
	}
	return string(rank)
}
