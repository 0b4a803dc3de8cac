package sign

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/miekg/dns"
)

// Content stands for what a set holds, its TTL and owner apart. Equal sets have equal contents.
type Content [16]byte

// Set is one record set in canonical form (RFC 4034 section 6).
type Set struct {
	Owner string // wire form, lower case
	Type  uint16
	TTL   uint32   // as in the zone, whatever an answer shows: the original TTL
	data  [][]byte // RDATA in canonical form and order, without duplicates
}

// NewSet returns the canonical form of a set that is not empty. The owner is given apart, in wire form
// and lower case; those of the records are ignored, and so are their TTLs but for the first.
func NewSet(owner string, records []dns.RR) (Set, error) {
	h := records[0].Header()
	s := Set{Owner: owner, Type: h.Rrtype, TTL: h.Ttl}
	for _, rr := range records {
		data, err := canonical(rr)
		if err != nil {
			return s, fmt.Errorf("canonical form of %s: %w", dns.Type(s.Type), err)
		}
		s.data = append(s.data, data)
	}
	slices.SortFunc(s.data, bytes.Compare)
	s.data = slices.CompactFunc(s.data, bytes.Equal)
	return s, nil
}

// canonical returns rr's RDATA with its names uncompressed and, for the types that RFC 4034 section 6.2
// and RFC 6840 section 5.1 list, in lower case.
func canonical(rr dns.RR) ([]byte, error) {
	rr = dns.Copy(rr)
	rr.Header().Name = "."
	if names := namesOf(rr); names != nil {
		for _, name := range names {
			*name = dns.CanonicalName(*name)
		}
	}
	const fixed = 11 // a root owner, type, class, TTL, length
	buf := make([]byte, dns.Len(rr)+64)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return nil, err
	}
	return buf[fixed:n], nil
}

// namesOf returns the names in RDATA that are put in lower case before signing. Types that are not
// listed here keep theirs as they are, newer ones among them (RFC 3597 section 7).
func namesOf(rr dns.RR) []*string {
	switch rr := rr.(type) {
	case *dns.NS:
		return []*string{&rr.Ns}
	case *dns.MD:
		return []*string{&rr.Md}
	case *dns.MF:
		return []*string{&rr.Mf}
	case *dns.CNAME:
		return []*string{&rr.Target}
	case *dns.SOA:
		return []*string{&rr.Ns, &rr.Mbox}
	case *dns.MB:
		return []*string{&rr.Mb}
	case *dns.MG:
		return []*string{&rr.Mg}
	case *dns.MR:
		return []*string{&rr.Mr}
	case *dns.PTR:
		return []*string{&rr.Ptr}
	case *dns.MINFO:
		return []*string{&rr.Rmail, &rr.Email}
	case *dns.MX:
		return []*string{&rr.Mx}
	case *dns.RP:
		return []*string{&rr.Mbox, &rr.Txt}
	case *dns.AFSDB:
		return []*string{&rr.Hostname}
	case *dns.RT:
		return []*string{&rr.Host}
	case *dns.PX:
		return []*string{&rr.Map822, &rr.Mapx400}
	case *dns.NAPTR:
		return []*string{&rr.Replacement}
	case *dns.KX:
		return []*string{&rr.Exchanger}
	case *dns.SRV:
		return []*string{&rr.Target}
	case *dns.DNAME:
		return []*string{&rr.Target}
	}
	return nil
}

// Content returns what s holds, apart from owner and TTL. Of NAPTR replacements that end in the
// owner, the part before it counts: accounts with equal records have equal contents, each at its
// own name. base is the end of the owner that is left out, "" for none.
func (s *Set) Content(base string) Content {
	h := sha256.New()
	var size [2]byte
	for _, d := range s.data {
		if s.Type == dns.TypeNAPTR && base != "" && bytes.HasSuffix(d, []byte(base)) {
			d = d[:len(d)-len(base)]
		}
		binary.BigEndian.PutUint16(size[:], uint16(len(d)))
		h.Write(size[:])
		h.Write(d)
	}
	return Content(h.Sum(nil)[:16])
}

// ContentOf returns the content of a set that octets stand for.
func ContentOf(octets []byte) Content {
	sum := sha256.Sum256(octets)
	return Content(sum[:16])
}

// Labels returns the Labels field of signatures over sets at owner: without the root, and without the
// label of a wildcard (RFC 4034 section 3.1.3).
func Labels[T string | []byte](owner T) uint8 {
	n := uint8(0)
	for at := 0; owner[at] != 0; at += 1 + int(owner[at]) {
		n++
	}
	if len(owner) > 2 && owner[0] == 1 && owner[1] == '*' {
		n--
	}
	return n
}

// octets returns what is signed: the RRSIG's RDATA without the signature, then every record
// (RFC 4034 section 3.1.8.1).
func (s *Set) octets(head []byte) []byte {
	b := slices.Clone(head)
	for _, d := range s.data {
		b = append(b, s.Owner...)
		b = binary.BigEndian.AppendUint16(b, s.Type)
		b = binary.BigEndian.AppendUint16(b, dns.ClassINET)
		b = binary.BigEndian.AppendUint32(b, s.TTL)
		b = binary.BigEndian.AppendUint16(b, uint16(len(d)))
		b = append(b, d...)
	}
	return b
}
