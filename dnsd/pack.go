package dnsd

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// The library shortens a name only where its letters have the same case as before. Zone text and
// questions mix cases, so that its answers are longer than other servers' and truncated where
// theirs are whole; hence a packer of our own.

// packer writes one message. Names are compared without regard to case (RFC 4343), so a name that
// a pointer replaces comes back in the case in which it stood first.
type packer struct {
	out   []byte // its length is the limit
	at    int
	names map[string]int // in lower-case wire form, and where each stands
	room  []byte         // for one record, uncompressed
}

// packMessage writes msg into out and returns its length, 0 when it does not fit.
func packMessage(msg *dns.Msg, out []byte) int {
	if len(out) < headerSize {
		return 0
	}
	p := packer{out: out, at: headerSize, names: map[string]int{}}
	putHeader(msg, out)
	for _, q := range msg.Question {
		p.room = sized(p.room, maxNameSize)
		n, err := dns.PackDomainName(q.Name, p.room, 0, nil, false)
		if err != nil || !p.name(p.room[:n]) || !p.octets(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, q.Qtype), q.Qclass)) {
			return 0
		}
	}
	for _, section := range [...][]dns.RR{msg.Answer, msg.Ns, msg.Extra} {
		for _, rr := range section {
			if !p.record(rr, msg.Rcode) {
				return 0
			}
		}
	}
	return p.at
}

// putHeader writes the twelve octets of RFC 1035 section 4.1.1.
func putHeader(msg *dns.Msg, out []byte) {
	flags := uint16(msg.Opcode&0xf)<<11 | uint16(msg.Rcode&0xf)
	for _, bit := range [...]struct {
		set  bool
		mask uint16
	}{
		{msg.Response, 1 << 15}, {msg.Authoritative, 1 << 10}, {msg.Truncated, 1 << 9}, {msg.RecursionDesired, 1 << 8},
		{msg.RecursionAvailable, 1 << 7}, {msg.Zero, 1 << 6}, {msg.AuthenticatedData, 1 << 5}, {msg.CheckingDisabled, 1 << 4},
	} {
		if bit.set {
			flags |= bit.mask
		}
	}
	for i, v := range [...]uint16{
		msg.Id, flags, uint16(len(msg.Question)), uint16(len(msg.Answer)), uint16(len(msg.Ns)), uint16(len(msg.Extra)),
	} {
		binary.BigEndian.PutUint16(out[2*i:], v)
	}
}

// record writes one record; an OPT record carries the upper bits of rcode (RFC 6891 section 6.1.3).
func (p *packer) record(rr dns.RR, rcode int) bool {
	if opt, ok := rr.(*dns.OPT); ok && rcode > 0xf {
		opt.SetExtendedRcode(uint16(rcode))
	}
	p.room = sized(p.room, dns.Len(rr)+maxNameSize)
	n, err := dns.PackRR(rr, p.room, 0, nil, false)
	if err != nil {
		return false
	}
	owner := skipName(p.room[:n], 0)
	fixed, data := p.room[owner:owner+10], p.room[owner+10:n]
	if !p.name(p.room[:owner]) || !p.octets(fixed) {
		return false
	}
	begin := p.at
	if !p.data(rr.Header().Rrtype, data) {
		return false
	}
	binary.BigEndian.PutUint16(p.out[begin-2:], uint16(p.at-begin))
	return true
}

// data writes RDATA. Names are shortened in the types of RFC 1035 only (RFC 3597 section 4), but
// those that stand whole can be pointed to.
func (p *packer) data(rrtype uint16, data []byte) bool {
	names := 0
	switch rrtype {
	case dns.TypeNS, dns.TypeCNAME, dns.TypePTR, dns.TypeMB, dns.TypeMG, dns.TypeMR, dns.TypeMD, dns.TypeMF:
		names = 1
	case dns.TypeSOA, dns.TypeMINFO:
		names = 2
	case dns.TypeMX:
		if len(data) < 2 || !p.octets(data[:2]) {
			return false
		}
		data, names = data[2:], 1
	}
	if names == 0 {
		p.note(rrtype, data)
	}
	for range names {
		end := skipName(data, 0)
		if end < 0 || !p.name(data[:end]) {
			return false
		}
		data = data[end:]
	}
	return p.octets(data)
}

// note remembers the names in data, which begins at the present place, for later owners.
func (p *packer) note(rrtype uint16, data []byte) {
	at, names := 0, 1
	switch rrtype {
	case dns.TypeDNAME, dns.TypeNSEC:
	case dns.TypeRP:
		names = 2
	case dns.TypeAFSDB, dns.TypeKX, dns.TypeLP, dns.TypeRT, dns.TypeSVCB, dns.TypeHTTPS:
		at = 2
	case dns.TypeSRV:
		at = 6
	case dns.TypeNAPTR:
		at = 4
		for range 3 {
			if at < len(data) {
				at += 1 + int(data[at])
			}
		}
	default:
		return
	}
	for range names {
		end := skipName(data, at)
		if end < 0 {
			return
		}
		folded := append(make([]byte, 0, end-at), data[at:end]...)
		lower(folded)
		for key, to := string(folded), p.at+at; len(key) > 1 && to <= maxPointer; key, to = parent(key), to+1+int(key[0]) {
			if _, ok := p.names[key]; !ok {
				p.names[key] = to
			}
		}
		at = end
	}
}

// name writes a name in wire form, its end as a pointer when that stands in the message already.
func (p *packer) name(name []byte) bool {
	folded := append(make([]byte, 0, len(name)), name...)
	lower(folded)
	key := string(folded)
	for at := 0; name[at] != 0; at += 1 + int(name[at]) {
		if to, ok := p.names[key[at:]]; ok {
			return p.octets(name[:at]) && p.octets([]byte{0xc0 | byte(to>>8), byte(to)})
		}
		if p.at+at <= maxPointer {
			p.names[key[at:]] = p.at + at // where the calls of octets here put it
		}
	}
	return p.octets(name)
}

func (p *packer) octets(b []byte) bool {
	if len(b) > len(p.out)-p.at {
		return false
	}
	p.at += copy(p.out[p.at:], b)
	return true
}

// sized returns b, or a new slice when b is too short for n.
func sized(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
