package dnsd

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

const headerSize = 12

// query is a question that passed the front: what it asks, and what it may be answered with.
type query struct {
	id         uint16
	opcode     int
	recurse    bool // RD, copied into the answer
	question   dns.Question
	asked      question
	edns       bool
	dnssecOK   bool
	signature  signature
	told       uint32 // NOTIFY and IXFR: the serial that came along, if has
	has        bool
	by         asker            // who asks, as far as the zone's answers depend on it
	limit      int              // octets that the answer may have
	subnetData []byte           // the client's network, as a resolver says; not looked at yet
	subnets    int              // how many such options there are
	subnet     *subnet          // the same once it is believed
	echo       *dns.EDNS0_LOCAL // the answer's own
	ede        *dns.EDNS0_EDE   // why there is no better answer; nil: nothing to say
	wishes     wishes
	bare       bool // no question, but a cookie
	facts      *ednsFacts

	compactOK   bool // CO: a denial's rcode may be restored (RFC 9824 section 5)
	echoCompact bool
}

// full answers the octets of one query into out and returns the answer's length, 0 for silence. It
// takes everything; what it does for common questions, fast does sooner.
func (m *model) full(in, out []byte, c client) int {
	q, z, rcode, ok := m.front(in, c)
	if !ok {
		return 0
	}
	if z == nil && rcode == dns.RcodeRefused && q.opcode == dns.OpcodeQuery && q.question.Qclass == dns.ClassINET && !isMeta(q.asked.rrtype) {
		if r := m.special(q.asked); r != nil {
			q.ede = nil
			return q.answer(r, out)
		}
	}
	if rcode == dns.RcodeSuccess && q.opcode == dns.OpcodeQuery && !q.bare {
		if isTransferType(q.asked.rrtype) && m.transfer != nil {
			return m.transfer(q, z, c, out)
		}
		rcode = q.transferOrMeta()
	}
	if rcode != dns.RcodeSuccess || q.opcode != dns.OpcodeQuery || q.bare {
		return q.refuse(rcode, out)
	}
	if z.absent != "" {
		q.explain(edeNotReady)
		return q.refuse(dns.RcodeServerFailure, out)
	}
	r := m.lookupFor(z, q.asked, q.by)
	q.addSubnet(r)
	if z.faulty && len(r.answer) == 0 {
		q.explain(edeInvalidData)
	}
	return q.answer(m.sealed(z, q.by, q, r), out)
}

// zoneAsked returns the zone that answers c, and what is known of c there; nil when it gets REFUSED.
func (m *model) zoneAsked(q *query, c client) (*zone, asker) {
	v := m.views.Load()
	by := asker{views: v, view: v.of(c), proven: c.proven, near: q.nearness()}
	z := m.zoneShown(q.asked, v, by.view)
	switch {
	case q.question.Qclass != dns.ClassINET:
		q.explain(edeNotSupported)
	case z == nil:
		q.explain(edeNotAuthoritative)
	case !z.answers(c.addr) && !z.mayTransfer(q, c): // secondaries may ask for what they may have
		q.explain(edeProhibited)
	default:
		return z, by
	}
	return nil, by
}

// front takes a query apart and finds out who asks, of which zone, and whether they are answered; an
// rcode other than NOERROR is to be sent with what q then holds, and !ok means silence.
func (m *model) front(in []byte, c client) (q *query, z *zone, rcode int, ok bool) {
	if q, rcode, ok = parseQuery(in, c); !ok {
		return nil, nil, 0, false
	}
	q.facts = &m.edns
	if rcode = m.authenticate(q, in, rcode); rcode != dns.RcodeSuccess || q.bare {
		return q, nil, rcode, true
	}
	c.key = q.signature.by()
	if q.opcode == dns.OpcodeNotify {
		z = m.zoneFor(q.asked)
		return q, z, m.notified(q, z, c), true
	}
	if rcode = q.takeSubnet(m.resolvers, c); rcode != dns.RcodeSuccess {
		return q, nil, rcode, true
	}
	if z = m.zoneFor(q.asked); z != nil && isTransferType(q.asked.rrtype) && q.question.Qclass == dns.ClassINET && z.mayTransfer(q, c) {
		q.by = everybody() // also when a view hides the zone: its secondaries hold what everybody sees
		return q, z, dns.RcodeSuccess, true
	}
	if z, q.by = m.zoneAsked(q, c); z == nil {
		return q, nil, dns.RcodeRefused, true
	}
	return q, z, dns.RcodeSuccess, true
}

func isTransferType(rrtype uint16) bool { return rrtype == dns.TypeAXFR || rrtype == dns.TypeIXFR }

// zoneFor returns the zone that answers q: the one with the longest apex, but for DS at an apex the
// zone above, if that is ours too (RFC 4035 section 3.1.4.1).
func (m *model) zoneFor(q question) *zone {
	z := m.zoneOf(q.key)
	if z == nil || q.rrtype != dns.TypeDS || q.key != z.apex || z.apex == "\x00" {
		return z
	}
	if above := m.zoneOf(parent(z.apex)); above != nil {
		return above
	}
	return z
}

// transferOrMeta returns the rcode for types that are not looked up, NOERROR for all others.
func (q *query) transferOrMeta() int {
	switch rrtype := q.asked.rrtype; {
	case rrtype == dns.TypeANY, !isMeta(rrtype):
		return dns.RcodeSuccess
	case rrtype == dns.TypeAXFR, rrtype == dns.TypeIXFR:
		q.explain(edeProhibited)
		return dns.RcodeRefused
	case rrtype == dns.TypeMAILA, rrtype == dns.TypeMAILB:
		q.explain(edeNotSupported)
		return dns.RcodeNotImplemented // obsolete since RFC 973
	}
	q.explain(edeInvalidQueryType)
	return dns.RcodeFormatError
}

// parseQuery is the front that everything passes: it is stricter than the library behind it. An
// rcode other than NOERROR is to be sent with what q then holds; !ok means silence: too short for
// a header, or itself a response, which must never be answered.
func parseQuery(in []byte, c client) (q *query, rcode int, ok bool) {
	if len(in) < headerSize || in[2]&0x80 != 0 {
		return nil, 0, false
	}
	q = newQuery(in, c)
	switch q.opcode {
	case dns.OpcodeQuery, dns.OpcodeNotify:
	case dns.OpcodeUpdate:
		return q, dns.RcodeRefused, true // known, and nobody is allowed to
	default:
		return q, dns.RcodeNotImplemented, true
	}
	o, whole := outline(in)
	if whole && o.questions == 0 && o.answers+o.authority == 0 {
		return q, q.takeBare(in, o), true
	}
	if !whole || o.questions != 1 || o.answers != 0 && q.opcode != dns.OpcodeNotify || in[2]&0x02 != 0 || isCompressed(in) {
		return q, dns.RcodeFormatError, true // RFC 9619 section 4
	}
	name, at, err := dns.UnpackDomainName(in, headerSize)
	if err != nil {
		return q, dns.RcodeFormatError, true
	}
	q.question = dns.Question{Name: name, Qtype: binary.BigEndian.Uint16(in[at:]), Qclass: binary.BigEndian.Uint16(in[at+2:])}
	key, err := wireKey(name)
	if err != nil || o.authority != 0 && q.question.Qtype != dns.TypeIXFR {
		return q, dns.RcodeFormatError, true
	}
	q.asked = question{name: name, key: key, rrtype: q.question.Qtype}
	return q, q.takeRecords(in, o), true
}

// takeBare sees whether a query without a question asks for a cookie (RFC 7873 section 5.4).
func (q *query) takeBare(in []byte, o sections) int {
	with := *q
	if in[2]&0x02 != 0 || with.takeRecords(in, o) != dns.RcodeSuccess || with.wishes.cookie == nil {
		return dns.RcodeFormatError
	}
	*q, q.bare = with, true
	return dns.RcodeSuccess
}

// newQuery returns what the header of in says.
func newQuery(in []byte, c client) *query {
	q := &query{
		id: binary.BigEndian.Uint16(in), opcode: int(in[2]>>3) & 15, recurse: in[2]&1 != 0,
		limit: minimumSize, wishes: wishes{addr: c.addr, now: c.now},
	}
	if c.stream {
		q.limit = streamSize
	}
	return q
}

// takeRecords notes what OPT and TSIG say; other records beside a question mean nothing here.
func (q *query) takeRecords(in []byte, o sections) int {
	rcode := dns.RcodeSuccess
	q.takeSerial(in, o)
	for i, r := range o.records {
		additional := i >= o.answers+o.authority
		switch r.rrtype {
		case dns.TypeOPT:
			if !additional || q.edns {
				return dns.RcodeFormatError // RFC 6891 section 6.1.1
			}
			rcode = q.takeEDNS(in, r)
		case dns.TypeTSIG:
			if !additional || i != len(o.records)-1 || !q.signature.take(in, r) {
				return dns.RcodeFormatError // RFC 8945 section 5.2
			}
		}
		if rcode == dns.RcodeFormatError {
			return rcode
		}
	}
	return rcode
}

// takeEDNS notes what the OPT record r says (RFC 6891). Options that we do not know are ignored,
// whatever they hold; of another version than ours they are taken only as far as they look like ours.
func (q *query) takeEDNS(in []byte, r record) int {
	if in[r.at] != 0 {
		return dns.RcodeFormatError
	}
	q.edns, q.dnssecOK, q.compactOK = true, r.ttl&0x8000 != 0, r.ttl&0x4000 != 0
	if q.limit != streamSize {
		q.limit = min(max(int(r.class), minimumSize), datagramSize)
	}
	other := uint8(r.ttl>>16) != 0
	for o := r.data; len(o) > 0; {
		n := 0
		if len(o) >= 4 {
			n = 4 + int(binary.BigEndian.Uint16(o[2:]))
		}
		if n == 0 || n > len(o) || !q.wishes.take(binary.BigEndian.Uint16(o), o[4:n]) {
			if other {
				break
			}
			return dns.RcodeFormatError
		}
		if binary.BigEndian.Uint16(o) == optionSubnet {
			q.subnetData, q.subnets = o[4:n:n], q.subnets+1
		}
		o = o[n:]
	}
	if other {
		return dns.RcodeBadVers
	}
	return dns.RcodeSuccess
}

// sections is how many questions and records of a kind a message has, and all its records.
type sections struct {
	questions, answers, authority int
	records                       []record
}

// record is one record of a message, not looked into.
type record struct {
	at            int // offset of its owner
	rrtype, class uint16
	ttl           uint32
	data          []byte
}

// outline walks over a message, and reports whether its sections fill it exactly.
func outline(in []byte) (sections, bool) {
	o := sections{
		questions: int(binary.BigEndian.Uint16(in[4:])), answers: int(binary.BigEndian.Uint16(in[6:])),
		authority: int(binary.BigEndian.Uint16(in[8:])),
	}
	at := headerSize
	for range o.questions {
		if at = skipName(in, at) + 4; at < 5 || at > len(in) {
			return o, false
		}
	}
	for range o.answers + o.authority + int(binary.BigEndian.Uint16(in[10:])) {
		r := record{at: at}
		at = skipName(in, at)
		if at < 0 || at+10 > len(in) {
			return o, false
		}
		fixed := in[at : at+10]
		r.rrtype, r.class, r.ttl = binary.BigEndian.Uint16(fixed), binary.BigEndian.Uint16(fixed[2:]), binary.BigEndian.Uint32(fixed[4:])
		end := at + 10 + int(binary.BigEndian.Uint16(fixed[8:]))
		if end > len(in) {
			return o, false
		}
		r.data = in[at+10 : end]
		o.records = append(o.records, r)
		at = end
	}
	return o, at == len(in)
}

// isCompressed reports whether the question's name, which ends within in, has a pointer: there is
// nothing before it that one could point to.
func isCompressed(in []byte) bool {
	at := headerSize
	for in[at] != 0 && in[at] < 0xc0 {
		at += int(in[at]) + 1
	}
	return in[at] != 0
}

// skipName returns the offset after the name at offset at, -1 when it does not end within in.
func skipName(in []byte, at int) int {
	for at >= 0 && at < len(in) {
		switch n := int(in[at]); {
		case n == 0:
			return at + 1
		case n >= 0xc0 && at+1 < len(in):
			return at + 2
		case n > 63:
			return -1
		default:
			at += n + 1
		}
	}
	return -1
}
