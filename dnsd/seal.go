package dnsd

import (
	"slices"

	"github.com/miekg/dns"

	"tandem/dnsd/sign"
)

// The full path's answers from signed zones: what lookup found, with signatures, and with proof of what
// it did not find (RFC 4035 section 3.1, RFC 9824).

// proof is what a zone would have to prove about an answer.
type proof struct {
	kind      proofKind
	name, key string // that it is about, as written and in wire form
	node      *node  // what stands there, nil for nothing
}

type proofKind uint8

const (
	proveNothing proofKind = iota
	proveNode              // the name has no more types than these
	proveAbsent            // there is no such name
	proveCut               // the zone below the name has no DS
)

// seal is one answer being signed.
type seal struct {
	*reply
	m       *model
	z       *zone
	by      asker
	q       *query
	now     int64
	limited bool // new signatures count against the limits
}

// sealed returns r with what a client that asks for DNSSEC gets beside it. r is changed.
func (m *model) sealed(z *zone, by asker, q *query, r *reply) *reply {
	if z.signing == nil {
		return r
	}
	s := seal{reply: r, m: m, z: z, by: by, q: q, now: z.signing.now(), limited: !q.isProven()}
	if s.besides(q.asked.rrtype) {
		return r
	}
	if !q.dnssecOK {
		return r
	}
	q.echoCompact = q.compactOK
	for i, set := range r.answer {
		if !slices.Contains(r.bare, i) {
			r.answer[i] = s.sign(set)
		}
	}
	s.prove()
	for i, set := range r.extra {
		if key, err := wireKey(set[0].Header().Name); err == nil && !s.isGlue(key) {
			r.extra[i] = s.sign(set)
		}
	}
	return r
}

// isProven reports whether the client is at the address that it asks from, as far as we know.
func (q *query) isProven() bool {
	w := &q.wishes
	return q.limit == streamSize || w.cookie != nil && q.facts.jar.Valid(w.cookie, w.addr, w.now)
}

// besides answers questions for the records that signing makes, which stand beside all others: of
// signatures one set's, for nobody needs them apart (RFC 8482 in spirit).
func (s *seal) besides(rrtype uint16) bool {
	if !besidesAll(rrtype) || s.proof.kind == proveNothing ||
		s.proof.kind == proveAbsent && !s.q.dnssecOK || len(s.answer) > 0 {
		return false
	}
	if s.q.dnssecOK {
		s.q.echoCompact = s.q.compactOK
	}
	s.rcode = s.restored()
	set := s.nsec(s.z.negative(0))
	if rrtype == dns.TypeRRSIG && s.proof.node != nil && s.proof.kind == proveNode && len(s.proof.node.sets) > 0 {
		set = owned(s.current(s.proof.node.sets[0]), s.proof.name)
	}
	size := len(set)
	if rrtype == dns.TypeRRSIG || s.q.dnssecOK {
		set = s.signAs(set, s.proof.key, set[0].Header().Ttl, s.contentOf(set))
	}
	if rrtype == dns.TypeRRSIG {
		set = set[size:]
	}
	s.answer, s.authority = []rrset{set}, nil
	if len(set) == 0 {
		s.answer = nil
	}
	return true
}

// current returns set, an SOA with its present serial.
func (s *seal) current(set rrset) rrset {
	if soa, ok := set[0].(*dns.SOA); ok {
		return rrset{s.z.soaRecord(soa.Hdr.Ttl, s.m.serialOf(s.z))}
	}
	return set
}

// restored returns the rcode of a denial: NOERROR for a name that does not exist, which is proven by
// one that has no types, unless the client says that it understands (RFC 9824 section 5).
func (s *seal) restored() int {
	if s.proof.kind == proveAbsent && !s.q.compactOK {
		return dns.RcodeSuccess
	}
	return s.rcode
}

// prove signs AUTHORITY, and adds the NSEC record or the DS set that belongs there.
func (s *seal) prove() {
	for i, set := range s.authority {
		if soa, ok := set[0].(*dns.SOA); ok {
			s.authority[i] = s.signAs(set, s.z.apex, s.z.soa.Hdr.Ttl, nil)
			defer s.deny(soa.Hdr.Ttl)
		}
	}
	if s.proof.kind != proveCut || len(s.authority) == 0 || s.authority[0][0].Header().Rrtype != dns.TypeNS {
		return
	}
	if ds := s.proof.node.set(dns.TypeDS); ds != nil {
		s.authority = append(s.authority, s.sign(owned(ds, s.proof.name)))
		return
	}
	s.deny(s.z.negative(0))
}

// deny adds the NSEC record that proves the denial, with the TTL that it is shown with.
func (s *seal) deny(ttl uint32) {
	s.rcode = s.restored()
	set := s.nsec(ttl)
	s.authority = append(s.authority, s.signAs(set, s.proof.key, s.z.negative(0), s.contentOf(set)))
}

// nsec returns the NSEC record at the name in question: it has just the types that there are
// (RFC 9824 section 3).
func (s *seal) nsec(ttl uint32) rrset {
	p := &s.proof
	types := []uint16{dns.TypeRRSIG, dns.TypeNSEC}
	next := after(p.key)
	switch {
	case p.kind == proveAbsent:
		types = append(types, dns.TypeNXNAME)
	case p.kind == proveCut:
		next = afterCut(p.key)
		types = append(types, dns.TypeNS)
		if p.node != nil && p.node.set(dns.TypeDS) != nil {
			types = append(types, dns.TypeDS)
		}
	case p.node != nil:
		for _, set := range p.node.sets {
			types = append(types, set[0].Header().Rrtype)
		}
	}
	slices.Sort(types)
	return rrset{&dns.NSEC{Hdr: header(p.name, dns.TypeNSEC, ttl), NextDomain: present(next), TypeBitMap: slices.Compact(types)}}
}

// contentOf returns what a compact NSEC record holds beside the next name, which follows from its
// owner; nil for other sets.
func (s *seal) contentOf(set rrset) *sign.Content {
	if n, ok := set[0].(*dns.NSEC); ok {
		c := sign.ContentOf(bitmapOctets(n.TypeBitMap))
		return &c
	}
	return nil
}

// sign adds signatures to a set at its own owner.
func (s *seal) sign(set rrset) rrset {
	h := set[0].Header()
	key, err := wireKey(h.Name)
	if err != nil {
		return set
	}
	return s.signAs(set, key, h.Ttl, nil)
}

// signAs adds to a set its signatures at the owner key, for the TTL that it has in the zone.
func (s *seal) signAs(set rrset, key string, ttl uint32, content *sign.Content) rrset {
	canonical, err := sign.NewSet(key, set)
	if err != nil {
		return set
	}
	canonical.TTL = ttl
	if content == nil {
		c := canonical.Content(key)
		content = &c
	}
	out := slices.Clone(set)
	var sigs []sign.Signature
	for _, k := range s.z.signing.ring.For(canonical.Type) {
		times := sign.When(s.now, []byte(key))
		sig, ok := s.signature(&canonical, content, k, times)
		if !ok {
			s.withheld = true
			return set
		}
		sigs = append(sigs, sig)
		out = append(out, k.Record(&canonical, times, sig, set[0].Header().Name, set[0].Header().Ttl))
	}
	if soa, ok := set[0].(*dns.SOA); ok {
		s.z.signing.soa.Store(&soaSeal{serial: soa.Serial, times: sign.When(s.now, []byte(key)), sigs: sigs})
	}
	return out
}

// signature returns a signature, kept or new. It is not made when too many others were, for a client
// whose address may not be true.
func (s *seal) signature(set *sign.Set, content *sign.Content, k *sign.Key, t sign.Times) (sign.Signature, bool) {
	shared := s.z.signing.seals
	mark := s.z.signing.kept.Mark([]byte(set.Owner), set.Type, set.TTL, content, k, t)
	var sig sign.Signature
	if s.z.signing.kept.Get(mark, s.now, sig[:]) {
		return sig, true
	}
	limit := shared.present
	if s.proof.kind == proveAbsent {
		limit = shared.absent
	}
	if s.limited && !limit.Take(s.now) {
		s.z.signing.kept.Refused()
		return sig, false
	}
	sig, err := k.Sign(set, t)
	if err != nil {
		return sig, false
	}
	s.z.signing.kept.Put(mark, &sig)
	return sig, true
}

// isGlue reports whether key lies at or below a delegation.
func (s *seal) isGlue(key string) bool {
	w := walk{reply: &reply{}, m: s.m, zone: s.z, over: s.z.over(), asker: s.by}
	if _, alone := w.composed(key); alone {
		return false
	}
	for _, at := range suffixes(key, s.z.apex) {
		if n, _ := w.at(at); at != s.z.apex && n != nil && n.set(dns.TypeNS) != nil {
			return true
		}
	}
	return false
}

// bitmapOctets returns types, sorted, as NSEC holds them (RFC 4034 section 4.1.2).
func bitmapOctets(types []uint16) []byte {
	var b []byte
	start, window := 0, -1
	for _, t := range types {
		if int(t>>8) != window {
			window, start = int(t>>8), len(b)
			b = append(b, byte(window), 0)
		}
		for at := int(t & 0xff >> 3); int(b[start+1]) <= at; b[start+1]++ {
			b = append(b, 0)
		}
		b[start+2+int(t&0xff>>3)] |= 0x80 >> (t & 7)
	}
	return b
}

// after returns the name that follows key in canonical order with nothing between (RFC 4034 section
// 6.1): \000.key, or where that is too long the next one at its side.
func after(key string) string {
	if len(key)+2 <= maxNameSize {
		return "\x01\x00" + key
	}
	return afterCut(key)
}

// afterCut returns the name that follows key and all names below it.
func afterCut(key string) string {
	label, rest := key[1:1+key[0]], key[1+key[0]:]
	if len(label) < 63 && len(key) < maxNameSize {
		return wireLabel(label+"\x00") + rest
	}
	b := []byte(label)
	for len(b) > 0 && b[len(b)-1] == 0xff {
		b = b[:len(b)-1]
	}
	if len(b) == 0 {
		return afterCut(rest)
	}
	if b[len(b)-1]++; b[len(b)-1] == 'A' {
		b[len(b)-1] = 'Z' + 1 // capitals sort as small letters
	}
	return wireLabel(string(b)) + rest
}
