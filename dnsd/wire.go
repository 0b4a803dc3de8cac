package dnsd

import (
	"bytes"
	"encoding/binary"

	"github.com/miekg/dns"

	"tandem/dnsd/sign"
)

// What the fast path copies: record sets as octets, made once when their records are composed.
// An owner is a compression pointer to the question, which begins at offset 12 in every answer.

// ownerPointer points to the question's name.
const ownerPointer = 0xc000 | headerSize

// wireSet is one record set, and what belongs beside it into ADDITIONAL.
type wireSet struct {
	answers []byte
	count   uint16
	// tails are the ends, within answers, of records whose RDATA ends in the question's name: NAPTR
	// replacements, which must not be compressed (RFC 3597 section 4).
	tails []int

	chain *wireChain // NAPTR: what else belongs there for a client that is proven

	extra      []byte
	extraCount uint16
	pointers   []wirePointer

	ttl     uint32
	content sign.Content
	groups  []wireGroup // the sets in extra
}

// wireGroup is one set in extra, as its signature sees it.
type wireGroup struct {
	end     int // of its records within extra
	count   int // of its records, which have as many pointers
	owner   []byte
	rrtype  uint16
	ttl     uint32
	content sign.Content
}

// wirePointer is an owner within extra that stands, uncompressed, within answers.
type wirePointer struct{ at, to int }

// maxPointer is the farthest that a compression pointer reaches (RFC 1035 section 4.1.4).
const maxPointer = 0x3fff

// reach returns the farthest offset within answers that extra points to.
func (w *wireSet) reach() int {
	if len(w.pointers) == 0 {
		return 0
	}
	return w.pointers[len(w.pointers)-1].to
}

// newWireSet packs set and extra.
func newWireSet(set rrset, extra []hostSet) wireSet {
	var w wireSet
	hosts := make([]int, len(set)) // where each SRV target stands
	for i, rr := range set {
		record := packRecord(rr)
		if rr.Header().Rrtype == dns.TypeSRV {
			hosts[i] = len(w.answers) + fixedSize + 6
		}
		if rr.Header().Rrtype == dns.TypeNAPTR {
			record = record[:len(record)-1] // the root; the question's name takes its place
			w.tails = append(w.tails, len(w.answers)+len(record))
		}
		w.answers = append(w.answers, record...)
		w.count++
	}
	for _, h := range extra {
		first := len(w.pointers)
		for _, rr := range h.set {
			w.pointers = append(w.pointers, wirePointer{at: len(w.extra), to: hosts[h.record]})
			w.extra = append(w.extra, packRecord(rr)...)
			w.extraCount++
		}
		g := wireGroup{end: len(w.extra), count: len(w.pointers) - first, rrtype: h.set[0].Header().Rrtype, ttl: h.set[0].Header().Ttl, content: contentOf(h.set)}
		if key, err := wireKey(h.name); err == nil {
			g.owner = []byte(key)
		}
		w.groups = append(w.groups, g)
	}
	if len(set) > 0 {
		w.ttl, w.content = set[0].Header().Ttl, contentOf(set)
	}
	return w
}

// contentOf returns what a composed set holds. A NAPTR replacement ends where the owner would follow.
func contentOf(set rrset) sign.Content {
	s, err := sign.NewSet("\x00", set)
	if err != nil {
		return sign.Content{}
	}
	return s.Content("\x00")
}

// fixedSize is what precedes the RDATA of a record with a compressed owner.
const fixedSize = 12

// packRecord returns rr with a pointer to the question as its owner and nothing else compressed.
func packRecord(rr dns.RR) []byte {
	rr = dns.Copy(rr)
	rr.Header().Name = "."
	buf := make([]byte, dns.Len(rr)+256)
	n, err := dns.PackRR(rr, buf[1:], 0, nil, false)
	if err != nil {
		panic("dnsd: composed record does not pack: " + err.Error())
	}
	binary.BigEndian.PutUint16(buf, ownerPointer)
	return buf[:n+1]
}

// soaWire is a zone's SOA for denials, its names shortened by a pointer to the apex in the question.
type soaWire struct {
	primary, keeper wireName
	timers          [16]byte // refresh, retry, expire, minimum
}

// wireName is a name that ends in the apex, cut there, or a whole name.
type wireName struct {
	octets []byte
	inside bool
}

func newSOAWire(z *zone) soaWire {
	var w soaWire
	w.primary, w.keeper = newWireName(z.soa.Ns, z.apex), newWireName(z.soa.Mbox, z.apex)
	for i, v := range [...]uint32{z.soa.Refresh, z.soa.Retry, z.soa.Expire, z.soa.Minttl} {
		binary.BigEndian.PutUint32(w.timers[4*i:], v)
	}
	return w
}

func newWireName(name, apex string) wireName {
	var buf [256]byte
	n, err := dns.PackDomainName(name, buf[:], 0, nil, false)
	if err != nil {
		return wireName{octets: []byte{0}}
	}
	key, _ := wireKey(name)
	if within(key, apex) {
		return wireName{octets: bytes.Clone(buf[:n-len(apex)]), inside: true}
	}
	return wireName{octets: bytes.Clone(buf[:n])}
}

// size is the name's length in an answer.
func (w wireName) size() int {
	if w.inside {
		return len(w.octets) + 2
	}
	return len(w.octets)
}
