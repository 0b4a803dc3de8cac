package dnsd

import (
	"encoding/binary"
	"slices"

	"github.com/miekg/dns"

	"tandem/dnsd/sign"
	"tandem/internal/tandem"
)

// The fast path's answers from signed zones: what fast.go composes, with signatures that the full path
// made before. One that is not kept any more, and the question is left to the full path, which makes it.

const (
	typeSOA   = 6
	typeRRSIG = 46
	typeNSEC  = 47

	signatureHead = 18 // RDATA of an RRSIG before the signer's name
)

// fastSeal is what a composer needs for a signed answer.
type fastSeal struct {
	signing *signing  // nil: the answer is not signed
	types   *typeList // at the name asked for; nil: none, or no such name
	unix    int64
}

// typeList is the type bitmap of an NSEC record, and the content that stands for it.
type typeList struct {
	octets  []byte
	content sign.Content
}

func newTypeList(types ...uint16) typeList {
	types = append(types, dns.TypeRRSIG, dns.TypeNSEC)
	slices.Sort(types)
	l := typeList{octets: bitmapOctets(types)}
	l.content = sign.ContentOf(l.octets)
	return l
}

// typesOf returns the list of the types of sets that are not empty.
func typesOf(sets ...rrset) typeList {
	var types []uint16
	for _, s := range sets {
		if len(s) > 0 {
			types = append(types, s[0].Header().Rrtype)
		}
	}
	return newTypeList(types...)
}

// typeLists are those that need no records to be known.
type typeLists struct{ empty, absent, srv typeList }

func newTypeLists() typeLists {
	return typeLists{empty: newTypeList(), absent: newTypeList(dns.TypeNXNAME), srv: newTypeList(dns.TypeSRV)}
}

// soaSeal is an SOA's signatures, by the keys that sign the zone.
type soaSeal struct {
	serial uint32
	times  sign.Times
	sigs   []sign.Signature
}

// signs prepares for an answer from a zone signed by s; false leaves it to the full path.
func (a *composer) signs(s *signing) bool {
	if a.q.do {
		a.signing, a.unix = s, s.now()
	}
	return !besidesAll(a.q.rrtype)
}

// srvTypes returns the types at the SRV name of a place, nil when it is empty.
func (r *records) srvTypes(place int) *typeList {
	if r.wire[place].count == 0 || r.zone.signing == nil {
		return nil
	}
	return &r.zone.signing.lists.srv
}

// sealSize is how long a set's signatures are by n keys, their owners compressed.
func (a *composer) sealSize(n int) int {
	return n * (fixedSize + signatureHead + len(a.z.apex) + sign.SignatureSize)
}

// signedPositive is positive with signatures.
func (a *composer) signedPositive(w *wireSet, ttl *uint32) int {
	keys, groups := a.signing.ring.For(a.q.rrtype), w.groups
	if a.chained(w) != nil {
		return 0
	}
	extra := len(w.extra)
	if a.z.additional == tandem.AdditionalNone {
		groups, extra = nil, 0
	}
	size := a.question() + len(w.answers) + len(w.tails)*a.q.size + extra + a.sealSize(len(keys)*(1+len(groups))) + a.optSize()
	if size > a.q.limit || len(w.tails) > 0 && a.q.size+servicePrefixSize > maxNameSize || a.question()+w.reach() > maxPointer {
		return 0
	}
	extraCount := uint16(len(keys) * len(groups))
	if extra > 0 {
		extraCount += w.extraCount
	}
	a.begin(0, w.count+uint16(len(keys)), 0, extraCount)
	shown := w.ttl
	if ttl != nil {
		shown = *ttl
	}
	at := a.putAnswers(w, ttl)
	answersAt := a.question()
	if at = a.seal(at, sealed{a.q.name[:a.q.size], ownerPointer, a.q.rrtype, shown, shown, &w.content}); at == 0 {
		return 0
	}
	from, pointers := 0, w.pointers
	for i := range groups {
		g := &groups[i]
		owner := 0xc000 | uint16(answersAt+pointers[0].to)
		copy(a.out[at:], w.extra[from:g.end])
		for _, p := range pointers[:g.count] {
			binary.BigEndian.PutUint16(a.out[at+p.at-from:], owner)
		}
		at += g.end - from
		from, pointers = g.end, pointers[g.count:]
		if at = a.seal(at, sealed{g.owner, owner, g.rrtype, g.ttl, g.ttl, &g.content}); at == 0 {
			return 0
		}
	}
	return a.end(at)
}

// putAnswers writes the records of w after the question, and returns where they end.
func (a *composer) putAnswers(w *wireSet, ttl *uint32) int {
	at := a.question()
	begin, from := at, 0
	if len(w.tails) == 0 {
		at += copy(a.out[at:], w.answers)
	}
	for _, end := range w.tails {
		record := at
		at += copy(a.out[at:], w.answers[from:end])
		at += copy(a.out[at:], a.q.name[:a.q.size])
		binary.BigEndian.PutUint16(a.out[record+fixedSize-2:], uint16(at-record-fixedSize))
		from = end
	}
	if ttl != nil {
		for record := begin; record < at; record += len(w.answers) / int(w.count) {
			binary.BigEndian.PutUint32(a.out[record+6:], *ttl)
		}
	}
	return at
}

// sealed is a set that was written and is to be signed.
type sealed struct {
	owner      []byte // wire form, lower case
	pointer    uint16 // to the owner, as the signature's owner
	rrtype     uint16
	ttl, shown uint32 // in the zone, in this answer
	content    *sign.Content
}

// seal writes the signatures of s and returns where they end, 0 when one is not there.
func (a *composer) seal(at int, s sealed) int {
	times := sign.When(a.unix, s.owner)
	for _, k := range a.signing.ring.For(s.rrtype) {
		to := a.sealHead(at, &s, k, times)
		mark := a.signing.kept.Mark(s.owner, s.rrtype, s.ttl, s.content, k, times)
		if !a.signing.kept.Get(mark, a.unix, a.out[to:]) {
			return 0
		}
		at = to + sign.SignatureSize
	}
	return at
}

// sealHead writes an RRSIG record up to its signature, and returns where that begins.
func (a *composer) sealHead(at int, s *sealed, k *sign.Key, times sign.Times) int {
	out := a.out[at:]
	binary.BigEndian.PutUint16(out, s.pointer)
	binary.BigEndian.PutUint16(out[2:], typeRRSIG)
	binary.BigEndian.PutUint16(out[4:], classIN)
	binary.BigEndian.PutUint32(out[6:], s.shown)
	head := k.Head(out[fixedSize:fixedSize], s.rrtype, sign.Labels(s.owner), s.ttl, times)
	binary.BigEndian.PutUint16(out[10:], uint16(len(head)+sign.SignatureSize))
	return at + fixedSize + len(head)
}

// signedDeny is deny with signatures and proof (RFC 9824 section 3).
func (a *composer) signedDeny(rcode byte, own uint32) int {
	w, list := &a.z.wire, a.types
	switch {
	case rcode == rcodeNXDomain:
		list = &a.signing.lists.absent
	case list == nil:
		list = &a.signing.lists.empty
	}
	rdata := w.primary.size() + w.keeper.size() + 20
	keys := a.signing.ring.For(typeNSEC)
	size := a.question() + fixedSize + rdata + fixedSize + 2 + a.q.size + len(list.octets) + a.sealSize(2*len(keys)) + a.optSize()
	if size > a.q.limit || a.q.size+servicePrefixSize > maxNameSize {
		return 0
	}
	if rcode == rcodeNXDomain && !a.q.compact {
		rcode = 0
	}
	a.begin(rcode, 0, 2+2*uint16(len(keys)), 0)
	ttl, shown := a.z.negative(0), a.z.negative(own)
	at := a.sealSOA(a.putSOA(rdata, own), keys, shown)
	if at == 0 {
		return 0
	}
	at = a.putNSEC(at, list, shown)
	if at = a.seal(at, sealed{a.q.name[:a.q.size], ownerPointer, typeNSEC, ttl, shown, &list.content}); at == 0 {
		return 0
	}
	return a.end(at)
}

// sealSOA writes the SOA's signatures, if they stand ready for its serial.
func (a *composer) sealSOA(at int, keys []*sign.Key, shown uint32) int {
	ready := a.signing.soa.Load()
	apex := a.q.name[a.apexAt-headerSize : a.q.size]
	times := sign.When(a.unix, apex)
	if ready == nil || ready.serial != a.m.serialOf(a.z) || ready.times != times || len(ready.sigs) != len(keys) {
		return 0
	}
	s := sealed{owner: apex, pointer: 0xc000 | uint16(a.apexAt), rrtype: typeSOA, ttl: a.z.soa.Hdr.Ttl, shown: shown}
	for i, k := range keys {
		at = a.sealHead(at, &s, k, times)
		at += copy(a.out[at:], ready.sigs[i][:])
	}
	return at
}

// putNSEC writes the NSEC record at the name asked for; the next one is \000 below it.
func (a *composer) putNSEC(at int, list *typeList, ttl uint32) int {
	out := a.out[at:]
	binary.BigEndian.PutUint16(out, ownerPointer)
	binary.BigEndian.PutUint16(out[2:], typeNSEC)
	binary.BigEndian.PutUint16(out[4:], classIN)
	binary.BigEndian.PutUint32(out[6:], ttl)
	binary.BigEndian.PutUint16(out[10:], uint16(2+a.q.size+len(list.octets)))
	out[fixedSize], out[fixedSize+1] = 1, 0
	n := fixedSize + 2
	n += copy(out[n:], a.q.name[:a.q.size])
	n += copy(out[n:], list.octets)
	return at + n
}
