package dnsd

import (
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"tandem/dnsd/sign"
	"tandem/internal/tandem"
)

// signing is how a zone is signed: its keys, and what the apex holds because of them. Signatures are
// made when they are asked for and kept by seals.
type signing struct {
	*seals
	kept *sign.Cache
	ring *sign.Ring
	top  *node // the apex with the sets of its keys
	soa  atomic.Pointer[soaSeal]

	lists typeLists
}

// seals is what all signed zones share.
type seals struct {
	size    int // of the cache, which is made with the first key
	cache   atomic.Pointer[sign.Cache]
	present *sign.Limit // of new signatures over what exists
	absent  *sign.Limit // of new ones over names that do not, of which anybody can think up any number
	clock   func() time.Time
	floor   atomic.Int64 // Unix seconds that have passed for sure: a clock that says less is wrong
}

// now returns the time in Unix seconds; while the clock is behind, the last time that is known.
func (s *seals) now() int64 { return max(s.clock().Unix(), s.floor.Load()) }

// learn takes the last time that k's life tells of.
func (s *seals) learn(k *tandem.ZoneKey) {
	if k != nil {
		s.floor.Store(max(s.floor.Load(), k.Status().Since.Unix()))
	}
}

func newSeals(cfg Config, now func() time.Time) *seals {
	return &seals{
		size: cfg.Signatures, present: sign.NewLimit(cfg.SignRate), absent: sign.NewLimit(cfg.SignRate),
		clock: now,
	}
}

// newSigning returns how z is signed with keys, nil when none of them signs.
func newSigning(z *zone, keys []*tandem.ZoneKey, shared *seals, open sign.Opener, log *slog.Logger) *signing {
	ring, err := sign.NewRing(z.apex, keys, open)
	if err != nil {
		log.Error("zone keys that cannot be used", "zone", z.id, "err", err)
	}
	if ring == nil {
		return nil
	}
	return &signing{seals: shared, kept: shared.cache.Load(), ring: ring, top: withKeys(z.tree[z.apex], ring), lists: newTypeLists()}
}

// madeBySigning reports whether sets of this type in zone text give way to our own.
func madeBySigning(rrtype uint16) bool {
	switch rrtype {
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeCDS, dns.TypeCDNSKEY:
		return true
	}
	return false
}

// topped returns what stands in place of n at key, which may be the apex of a signed zone.
func (z *zone) topped(key string, n *node) *node {
	switch {
	case z.signing == nil || key != z.apex:
		return n
	case n == z.tree[z.apex]:
		return z.signing.top
	}
	return withKeys(n, z.signing.ring) // RecordSets lie over it
}

// withKeys returns the apex n with the sets of a ring's keys.
func withKeys(n *node, ring *sign.Ring) *node {
	top := &node{}
	for _, set := range n.sets {
		if !madeBySigning(set[0].Header().Rrtype) {
			top.sets = append(top.sets, slices.Clone(set))
		}
	}
	for _, set := range ring.Sets() {
		for _, rr := range set {
			top.add(rr)
		}
	}
	return top
}

// zoneKeys are the keys of all zones, for the writer.
type zoneKeys struct {
	open   sign.Opener // nil: nothing can be opened, no zone is signed
	shared *seals
	byZone map[uint32]map[string]*tandem.ZoneKey
	touch  func(zone uint32) // told that a zone or its keys changed
}

// applyZoneKey puts or, with k nil, removes a zone's key.
func (w *writer) applyZoneKey(id string, k *tandem.ZoneKey, revision uint32) {
	zone, _, ok := strings.Cut(id, "/")
	if !ok {
		return
	}
	number := w.zoneNumbers.of(zone)
	keys := w.keys.byZone[number]
	if keys == nil {
		keys = map[string]*tandem.ZoneKey{}
		w.keys.byZone[number] = keys
	}
	if keys[id] = k; k == nil {
		if delete(keys, id); len(keys) == 0 {
			delete(w.keys.byZone, number)
		}
	}
	raise(w.serialFor(number), revision)
	w.keys.shared.learn(k)
	defer w.keys.touch(number)
	if z := w.zoneAt.get(number); z != nil {
		next := *z
		next.signing = w.signingOf(&next)
		w.zoneAt.set(number, &next)
	}
}

// signingOf returns how z is to be signed now.
func (w *writer) signingOf(z *zone) *signing {
	byID := w.keys.byZone[z.number]
	if len(byID) == 0 || w.keys.open == nil {
		return nil
	}
	if w.keys.shared.cache.Load() == nil {
		w.keys.shared.cache.Store(sign.NewCache(w.keys.shared.size))
	}
	keys := make([]*tandem.ZoneKey, 0, len(byID))
	for _, k := range byID {
		keys = append(keys, k)
	}
	return newSigning(z, keys, w.keys.shared, w.keys.open, w.log)
}

// isCut reports whether n, at key, is a delegation.
func (z *zone) isCut(key string, n *node) bool {
	return key != z.apex && n != nil && n.set(dns.TypeNS) != nil
}

// besideAlias reports whether what is asked for stands beside a CNAME (RFC 4034 sections 3 and 4, RFC 2181
// section 10.1).
func (w *walk) besideAlias() bool {
	switch w.q.rrtype {
	case dns.TypeCNAME, dns.TypeANY:
		return true
	}
	return w.zone.signing != nil && besidesAll(w.q.rrtype)
}

// besidesAll reports whether a signed zone has sets of this type at every name.
func besidesAll(rrtype uint16) bool { return rrtype == dns.TypeRRSIG || rrtype == dns.TypeNSEC }

// delegates answers for the DS set of a zone of ours that is signed, where the zone above, which is
// ours too, has none of its own; else it notes that the zone below is unsigned.
func (w *walk) delegates() bool {
	w.proof.kind = proveCut
	child := w.zoneOf(w.q.key)
	if child == nil || child.signing == nil || child.apex != w.q.key {
		return false
	}
	set := child.signing.ring.DS(plainTTL)
	if len(set) == 0 {
		return false
	}
	w.rcode, w.proof.kind = dns.RcodeSuccess, proveNothing
	w.answer = append(w.answer, owned(set, w.name))
	return true
}

// metrics hands the readings about signatures to emit.
func (s *seals) metrics(emit func(tandem.Sample)) {
	n := s.counts()
	const name, help = "tandem_dnsd_signatures_total", "DNSSEC signatures, by what happened: found warm, made, evicted for others, not made for there were too many new ones."
	for what, value := range map[string]uint64{"warm": n.Hits, "made": n.Made, "evicted": n.Evicted, "limited": n.Limited} {
		emit(tandem.Sample{Name: name, Help: help, Labels: map[string]string{"what": what}, Value: float64(value)})
	}
}

func (s *seals) counts() sign.Counts {
	if c := s.cache.Load(); c != nil {
		return c.Counts()
	}
	return sign.Counts{}
}

// signingOnline returns the settings for signing z, nil for none: a zone that others hold copies of is
// not signed, for what is signed on demand is in no transfer.
func signingOnline(z *tandem.Zone) *tandem.DNSSEC {
	if z.ModeOf() == tandem.ModeTransferable && (len(z.Secondaries) > 0 || z.Catalog != "") {
		return nil
	}
	return z.DNSSEC
}
