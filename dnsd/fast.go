package dnsd

import (
	"encoding/binary"
	"net/netip"

	"tandem/internal/tandem"
)

// The fast path answers the common questions (accounts, forwarding names, hosts) from octets to
// octets, with the record sets that compose made ready. It shares the data with the full path and
// no code that answers: each is the other's test. What it returns is either right or 0, "not mine".

// fast answers the query in into out and returns the answer's length, 0 for what it leaves to full.
// It allocates nothing.
func (m *model) fast(in, out []byte, c client) int {
	a := composer{m: m, in: in, out: out, addr: c.addr, now: c.now, proven: c.proven}
	if !a.q.read(in, c.stream) || len(out) < a.q.limit {
		return 0
	}
	z, at := m.zoneOfAsk(&a.q)
	if z == nil || at == 0 || !z.answers(c.addr) || z.concerns(&a.q, at-1) || m.dependsOnView(z) {
		return 0
	}
	if z.signing != nil && !a.signs(z.signing) {
		return 0
	}
	a.z, a.apexAt = z, headerSize+a.q.size-len(z.apex)
	top := a.q.label(at - 1)
	switch z.role {
	case tandem.RoleAccounts:
		return a.inbound(top, at)
	case tandem.RoleService:
		return a.forwarding(top, at)
	}
	return 0
}

// zoneOfAsk returns the zone with the longest apex, and the number of labels before the apex.
func (m *model) zoneOfAsk(q *ask) (*zone, int) {
	for i := 0; i <= q.count; i++ {
		if row, ok := m.zones.get(q.from(i)); ok {
			return m.zoneAt.get(row.a), i
		}
	}
	return nil, 0
}

// composer is an answer of the fast path in the making.
type composer struct {
	q      ask // by value, so that it stays on the stack
	m      *model
	z      *zone
	in     []byte
	out    []byte
	addr   netip.Addr
	now    uint32
	apexAt int // offset of the apex in the question
	proven bool
	fastSeal
}

// inbound answers for a name in a zone with role accounts, at labels above its apex.
func (a *composer) inbound(top []byte, at int) int {
	if string(top) == "edge" {
		return a.host(&a.m.edges, at)
	}
	p, ok := a.m.inboundProfile(a.z, top)
	if !ok {
		return a.unknown(at)
	}
	r := p.made.Load()
	if r == nil || !r.valid(a.z, &a.m.edges.at, p.edgesOf(a.z)) {
		return 0
	}
	return a.service(r, at-1, p.ttl.Negative)
}

// forwarding answers for a name in a service zone.
func (a *composer) forwarding(top []byte, at int) int {
	if string(top) == "node" {
		return a.host(&a.m.nodes, at)
	}
	if string(top) == "ns" {
		return 0 // our own name server, or an account of that id: full tells them apart
	}
	p, group, ok := a.m.account(top)
	if !ok {
		return a.unknown(at)
	}
	if home := a.m.zoneAt.get(p.zone); home == nil || home.service != a.z.number {
		return a.unknown(at)
	}
	if at == 1 {
		return a.deny(0, p.ttl.Negative)
	}
	r, known := a.m.readyRecords(a.z, p, group, a.q.label(at-2))
	switch {
	case r != nil:
		return a.service(r, at-2, p.ttl.Negative)
	case !known:
		return a.deny(rcodeNXDomain, p.ttl.Negative)
	}
	return 0
}

// readyRecords returns the records of a forwarding name if they stand ready; known is false when
// there is no such name.
func (m *model) readyRecords(z *zone, p *profile, group uint32, key []byte) (r *records, known bool) {
	t := p.targets[string(key)]
	if t != nil && t.nodes != nil {
		if r := t.made.Load(); r != nil && r.valid(z, &m.nodes.at, t.nodes) {
			return r, true
		}
		return nil, true
	}
	c, strict := m.clusterOf(group), true
	if t != nil {
		c, strict = m.clusters.get(t.cluster), p.types[string(key)] || wellKnown(string(key))
	}
	if t == nil && !wellKnown(string(key)) && !isNamed(p, key) && (c == nil || !c.types[string(key)]) {
		return nil, false
	}
	if c == nil {
		return nil, true
	}
	if made := c.made.Load(); made != nil {
		r := (*made)[madeKey{zone: z.number, ttl: p.ttl, strict: strict, key: string(key)}]
		if r != nil && r.zone == z {
			return r, true
		}
	}
	return nil, true
}

func isNamed(p *profile, key []byte) bool {
	_, ok := p.types[string(key)]
	return ok
}

// unknown denies a name that no account has, at labels above the apex, unless plain records or
// another zone may say more.
func (a *composer) unknown(at int) int {
	if !a.z.closed || a.z.isOpen() || a.z.tree[string(a.q.from(at-1))] != nil || a.m.isAbove(a.q.from(0)) {
		return 0
	}
	return a.deny(rcodeNXDomain, 0)
}

// host answers for a host's own name: one label below edge or node.
func (a *composer) host(h *hosts, at int) int {
	switch at {
	case 1:
		return a.deny(0, 0)
	case 2:
	default:
		return a.deny(rcodeNXDomain, 0)
	}
	found := h.byID(a.q.label(0))
	if found == nil {
		return a.deny(rcodeNXDomain, 0)
	}
	ttl := a.z.ttl.Address
	a.types = found.present
	switch {
	case a.q.rrtype == typeA && found.wire[0].count > 0:
		return a.positive(&found.wire[0], &ttl)
	case a.q.rrtype == typeAAAA && found.wire[1].count > 0:
		return a.positive(&found.wire[1], &ttl)
	}
	return a.deny(0, 0)
}

// service answers from r for the first labels of the question, before the composed name.
func (a *composer) service(r *records, labels int, negative uint32) int {
	switch labels {
	case 0:
		a.types = &r.types
		return a.set(r, basePlace(a.q.rrtype), negative)
	case 1:
		if r.hasProto(a.q.label(0)) {
			return a.deny(0, negative)
		}
	case 2:
		if i := r.srvPlace(a.q.label(0), a.q.label(1)); i >= 0 {
			if a.types = r.srvTypes(i); a.q.rrtype != typeSRV {
				i = -1
			}
			return a.set(r, i, negative)
		}
	}
	return a.deny(rcodeNXDomain, negative)
}

// basePlace returns the place of the set of this type at the composed name itself, or -1.
func basePlace(rrtype uint16) int {
	switch rrtype {
	case typeA:
		return placeA
	case typeAAAA:
		return placeAAAA
	case typeNAPTR:
		return placeNAPTR
	case typeHTTPS:
		return placeHTTPS
	}
	return -1
}

// srvPlace returns the place of the SRV set of label.proto when that name exists, or -1.
func (r *records) srvPlace(label, proto []byte) int {
	i := -1
	switch string(proto) {
	case "_tcp":
		switch string(label) {
		case "_sips":
			i = placeSRV
		case "_sip":
			i = placeSRV + 2
		case "_https":
			i = placeSRV + 5
		case "_http":
			i = placeSRV + 6
		}
	case "_udp":
		if string(label) == "_sip" {
			i = placeSRV + 1
		}
	case "_ws":
		switch string(label) {
		case "_sips":
			i = placeSRV + 3
		case "_sip":
			i = placeSRV + 4
		}
	}
	if i >= 0 && !r.exists[i] {
		return -1
	}
	return i
}

// hasProto reports whether proto is an empty non-terminal above an SRV name.
func (r *records) hasProto(proto []byte) bool {
	e := &r.exists
	switch string(proto) {
	case "_tcp":
		return e[placeSRV] || e[placeSRV+2] || e[placeSRV+5] || e[placeSRV+6]
	case "_udp":
		return e[placeSRV+1]
	case "_ws":
		return e[placeSRV+3] || e[placeSRV+4]
	}
	return false
}

// set answers with the set at a place of r, or NODATA when it is empty or there is no such place.
func (a *composer) set(r *records, place int, negative uint32) int {
	if place < 0 || r.wire[place].count == 0 {
		return a.deny(0, negative)
	}
	return a.positive(&r.wire[place], nil)
}

// positive writes an answer with the records of w. A ttl that is not nil takes the place of theirs,
// which all are of one size then.
func (a *composer) positive(w *wireSet, ttl *uint32) int {
	if a.signing != nil {
		return a.signedPositive(w, ttl)
	}
	nameSize := a.q.size
	extra, extraCount, chain := w.extra, w.extraCount, a.chained(w)
	if a.z.additional == tandem.AdditionalNone {
		extra, extraCount = nil, 0
	}
	size := a.question() + len(w.answers) + len(w.tails)*nameSize + len(extra) + a.optSize()
	if chain != nil {
		if size, extraCount = size+len(chain.octets), chain.count; size > mostChain {
			return 0
		}
	}
	if size > a.q.limit || len(w.tails) > 0 && nameSize+servicePrefixSize > maxNameSize || a.question()+w.reach() > maxPointer {
		return 0
	}
	a.begin(0, w.count, 0, extraCount)
	answersAt, at := a.question(), a.putAnswers(w, ttl)
	if chain != nil {
		return a.end(chain.put(a.out, at, answersAt, nameSize))
	}
	extraAt := at
	at += copy(a.out[at:], extra)
	for _, p := range w.pointers[:min(len(w.pointers), int(extraCount))] {
		binary.BigEndian.PutUint16(a.out[extraAt+p.at:], 0xc000|uint16(answersAt+p.to))
	}
	return a.end(at)
}

// deny writes an answer without records but with the zone's SOA; own is the account's TTL for it.
func (a *composer) deny(rcode byte, own uint32) int {
	w := &a.z.wire
	rdata := w.primary.size() + w.keeper.size() + 20
	if a.question()+fixedSize+rdata+a.optSize() > a.q.limit {
		return 0
	}
	if a.signing != nil {
		return a.signedDeny(rcode, own)
	}
	a.begin(rcode, 0, 1, 0)
	return a.end(a.putSOA(rdata, own))
}

// putSOA writes the zone's SOA after the question, and returns where it ends.
func (a *composer) putSOA(rdata int, own uint32) int {
	w := &a.z.wire
	at, apex := a.question(), 0xc000|uint16(a.apexAt)
	out := a.out
	binary.BigEndian.PutUint16(out[at:], apex)
	binary.BigEndian.PutUint16(out[at+2:], 6)
	binary.BigEndian.PutUint16(out[at+4:], classIN)
	binary.BigEndian.PutUint32(out[at+6:], a.z.negative(own))
	binary.BigEndian.PutUint16(out[at+10:], uint16(rdata))
	at += fixedSize
	for _, n := range [...]*wireName{&w.primary, &w.keeper} {
		at += copy(out[at:], n.octets)
		if n.inside {
			binary.BigEndian.PutUint16(out[at:], apex)
			at += 2
		}
	}
	binary.BigEndian.PutUint32(out[at:], a.m.serialOf(a.z))
	at += 4
	return at + copy(out[at:], w.timers[:])
}

// question returns the offset after the question.
func (a *composer) question() int { return headerSize + a.q.size + 4 }

// begin writes header and question, whose octets stay as the client wrote them.
func (a *composer) begin(rcode byte, answers, authority, extra uint16) {
	out := a.out
	copy(out, a.in[:a.question()])
	out[2] = flagQR | flagAA | a.in[2]&flagRD
	out[3] = rcode
	if a.q.edns {
		extra++
	}
	binary.BigEndian.PutUint16(out[6:], answers)
	binary.BigEndian.PutUint16(out[8:], authority)
	binary.BigEndian.PutUint16(out[10:], extra)
}

// end writes OPT, if the question had one, and returns the answer's length.
func (a *composer) end(at int) int {
	if !a.q.edns {
		return at
	}
	o := a.out[at : at+optSize]
	o[0], o[1], o[2] = 0, 0, typeOPT
	binary.BigEndian.PutUint16(o[3:], datagramSize)
	o[5], o[6], o[7], o[8], o[9], o[10] = 0, 0, 0, 0, 0, 0
	if a.q.do {
		o[7] = 0x80
		if a.signing != nil && a.q.compact {
			o[7] = 0xc0
		}
	}
	at += optSize
	n := a.options(a.out[at:])
	binary.BigEndian.PutUint16(o[9:], uint16(n))
	return at + n
}
