package dnsd

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"tandem/dnsd/zonefile"
	"tandem/internal/tandem"
)

// plainTTL is for zone text without $TTL, and for the SOA and NS records we compose.
const plainTTL = 3600

// rrset is the records of one owner and type (RFC 2181 section 5).
type rrset []dns.RR

// node is what a zone holds at one name; without sets it is an empty non-terminal.
type node struct {
	sets []rrset
}

func (n *node) set(rrtype uint16) rrset {
	for _, s := range n.sets {
		if s[0].Header().Rrtype == rrtype {
			return s
		}
	}
	return nil
}

// tree is a zone's plain records: its nodes, empty non-terminals among them, by the owner's name
// in lower-case wire form.
type tree map[string]*node

// CheckRecords reports whether zone's plain records can be served; the error is a
// tandem.FieldError for the field records that names the line.
func CheckRecords(zone *tandem.Zone) error {
	_, err := plant(zone, nil)
	return err
}

// CountRecords returns how many records zone's plain records say, those of $GENERATE among them;
// what is not well formed counts for nothing.
func CountRecords(zone *tandem.Zone) int {
	reader := zonefile.NewReader(strings.NewReader(zone.Records), zonefile.Options{Origin: originOf(zone.ID)})
	for n := 0; ; {
		_, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			return n
		case err == nil:
			n++
		}
	}
}

// plant makes the tree of a zone's plain records, with the SOA and NS sets that it lacks. What is wrong
// ends it, or with skip is given to that and left out.
func plant(z *tandem.Zone, skip func(error)) (tree, error) {
	t := tree{}
	apex, err := wireKey(z.ID)
	if err != nil {
		return nil, tandem.FieldError{Field: "id", Reason: "is not a domain name"}
	}
	t.at(apex, apex)
	reader := zonefile.NewReader(strings.NewReader(z.Records), zonefile.Options{Origin: originOf(z.ID), TTL: plainTTL})
	for {
		rec, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = t.plantOne(z, apex, &rec)
		}
		switch {
		case err == nil:
		case skip != nil:
			skip(err)
		default:
			return nil, tandem.FieldError{Field: "records", Reason: err.Error()}
		}
	}
	t.complete(z, apex)
	return t, nil
}

// originOf returns a zone's apex in wire form, as names of its text without a dot end in it.
func originOf(id string) string {
	origin, err := zonefile.ParseName(id+".", "")
	if err != nil {
		return "\x00"
	}
	return origin
}

// plantOne puts one record of zone text in its place; the error names its line.
func (t tree) plantOne(z *tandem.Zone, apex string, rec *zonefile.Record) error {
	if reason := t.add(z, apex, rec); reason != "" {
		return fmt.Errorf("line %d: %s", rec.Line, reason)
	}
	return nil
}

// add puts one record of zone text in its place, or says why it cannot stand there.
func (t tree) add(z *tandem.Zone, apex string, rec *zonefile.Record) string {
	name, key := zonefile.NameText(rec.Owner), zonefile.Fold(rec.Owner)
	switch {
	case !within(key, apex):
		return fmt.Sprintf("%s lies outside %s", name, z.ID)
	case rec.Class != dns.ClassINET:
		return fmt.Sprintf("class %s is not IN", dns.Class(rec.Class))
	case rec.Type == dns.TypeSOA && key != apex:
		return fmt.Sprintf("SOA at %s, which is not the apex", name)
	case rec.Type == dns.TypeNS && key == apex && len(z.NameServers) > 0:
		return "NS at the apex, where the zone's nameServers say who they are"
	case rec.Type == dns.TypeCNAME && isServer(z, key):
		return fmt.Sprintf("CNAME at %s, which is one of the zone's nameServers", name) // RFC 2181 section 10.3
	}
	rr := recordOf(rec)
	h := rr.Header()
	n := t.at(key, apex)
	if reason := n.admits(rr, key == apex); reason != "" {
		return reason
	}
	n.add(rr)
	if n.set(h.Rrtype).size() > mostSetSize {
		return fmt.Sprintf("%s %s has more records than an answer can hold", h.Name, dns.Type(h.Rrtype))
	}
	return ""
}

// mostSetSize is what an answer over TCP has for one set, beside header, question and OPT.
const mostSetSize = streamSize - headerSize - maxNameSize - 4 - optSize

// size returns the octets of s in an answer, its owner a pointer to the question. It is for
// records that came over the wire.
func (s rrset) size() int {
	size := 0
	for _, rr := range s {
		size += fixedSize + int(rr.Header().Rdlength)
	}
	return size
}

// isServer reports whether key is the name of one of z's name servers.
func isServer(z *tandem.Zone, key string) bool {
	return slices.ContainsFunc(z.NameServers, func(ns tandem.NameServer) bool {
		name, err := wireKey(ns.Name)
		return err == nil && name == key
	})
}

// recordOf returns rec in the library's form, in that of RFC 3597 where the library would change it: it
// knows fewer types, and some of them not right.
func recordOf(rec *zonefile.Record) dns.RR {
	buf := make([]byte, 0, len(rec.Owner)+10+len(rec.Data))
	buf = append(buf, rec.Owner...)
	buf = binary.BigEndian.AppendUint16(buf, rec.Type)
	buf = binary.BigEndian.AppendUint16(buf, rec.Class)
	buf = binary.BigEndian.AppendUint32(buf, rec.TTL)
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(rec.Data)))
	buf = append(buf, rec.Data...)
	rr, _, err := dns.UnpackRR(buf, 0)
	if err == nil {
		again := make([]byte, len(buf))
		if n, err := dns.PackRR(rr, again, 0, nil, false); err == nil && bytes.Equal(again[:n], buf) {
			return rr
		}
	}
	generic := &dns.RFC3597{Hdr: header(zonefile.NameText(rec.Owner), rec.Type, rec.TTL), Rdata: hex.EncodeToString(rec.Data)}
	generic.Hdr.Rdlength = uint16(len(rec.Data))
	return generic
}

// admits says why rr cannot join what the node holds: an alias stands alone (RFC 1034 section
// 3.6.2), and SOA and DNAME are single (RFC 1035, RFC 6672 section 2.4).
func (n *node) admits(rr dns.RR, apex bool) string {
	h := rr.Header()
	alias := n.set(dns.TypeCNAME)
	switch {
	case h.Rrtype == dns.TypeCNAME && apex:
		return "CNAME at the apex"
	case h.Rrtype == dns.TypeCNAME && alias != nil && !dns.IsDuplicate(alias[0], rr):
		return fmt.Sprintf("a second CNAME at %s", h.Name)
	case h.Rrtype == dns.TypeCNAME && alias == nil && len(n.sets) > 0, h.Rrtype != dns.TypeCNAME && alias != nil:
		return fmt.Sprintf("CNAME and other records at %s", h.Name)
	}
	if h.Rrtype == dns.TypeSOA || h.Rrtype == dns.TypeDNAME {
		if s := n.set(h.Rrtype); s != nil && !dns.IsDuplicate(s[0], rr) {
			return fmt.Sprintf("a second %s at %s", dns.Type(h.Rrtype), h.Name)
		}
	}
	return ""
}

// add puts rr into its set once; a set has one TTL, the lowest (RFC 2181 section 5.2).
func (n *node) add(rr dns.RR) {
	h := rr.Header()
	i := slices.IndexFunc(n.sets, func(s rrset) bool { return s[0].Header().Rrtype == h.Rrtype })
	if i < 0 {
		n.sets = append(n.sets, rrset{rr})
		return
	}
	if !slices.ContainsFunc(n.sets[i], func(x dns.RR) bool { return dns.IsDuplicate(x, rr) }) {
		n.sets[i] = append(n.sets[i], rr)
	}
	lowest := min(h.Ttl, n.sets[i][0].Header().Ttl)
	for _, x := range n.sets[i] {
		x.Header().Ttl = lowest
	}
}

// emptyNonTerminal stands in a tree wherever a name has nothing but names below it. Deep names make
// many, so they share one, which nobody changes: at puts another in its place.
var emptyNonTerminal = &node{}

// at returns the node for key to put records at, made with its empty non-terminals when it is new
// (RFC 4592 section 2.2.2).
func (t tree) at(key, apex string) *node {
	n := t[key]
	if n != nil && n != emptyNonTerminal {
		return n
	}
	n = &node{}
	t[key] = n
	for len(key) > len(apex) {
		key = parent(key)
		if t[key] != nil {
			break
		}
		t[key] = emptyNonTerminal
	}
	return n
}

// complete adds the SOA, the NS set and the name servers' addresses where zone text has none.
func (t tree) complete(z *tandem.Zone, apex string) {
	top := t[apex]
	servers := z.NameServers
	if len(servers) == 0 && top.set(dns.TypeNS) == nil {
		servers = []tandem.NameServer{{Name: "ns." + z.ID}}
	}
	for _, ns := range servers {
		top.add(&dns.NS{Hdr: header(z.ID+".", dns.TypeNS, plainTTL), Ns: ns.Name + "."})
		key, err := wireKey(ns.Name)
		if err != nil || !within(key, apex) {
			continue
		}
		if host := t.at(key, apex); host.set(dns.TypeA) == nil && host.set(dns.TypeAAAA) == nil && host.set(dns.TypeCNAME) == nil {
			for _, rr := range addressRecords(ns.Name+".", plainTTL, ns.Addresses) {
				host.add(rr)
			}
		}
	}
	if top.set(dns.TypeSOA) != nil {
		return
	}
	keeper := z.Hostmaster
	if keeper == "" {
		keeper = "hostmaster." + z.ID
	}
	top.add(&dns.SOA{
		Hdr: header(z.ID+".", dns.TypeSOA, plainTTL), Ns: top.set(dns.TypeNS)[0].(*dns.NS).Ns, Mbox: keeper + ".",
		Refresh: 3600, Retry: 600, Expire: 1209600, Minttl: z.TTL.Or(tandem.DefaultTTL()).Negative,
	})
}

// addressRecords returns A and AAAA records for addrs at owner, A first.
func addressRecords(owner string, ttl uint32, addrs []netip.Addr) []dns.RR {
	var a, aaaa []dns.RR
	for _, addr := range addrs {
		if addr = addr.Unmap(); addr.Is4() {
			a = append(a, &dns.A{Hdr: header(owner, dns.TypeA, ttl), A: addr.AsSlice()})
		} else {
			aaaa = append(aaaa, &dns.AAAA{Hdr: header(owner, dns.TypeAAAA, ttl), AAAA: addr.AsSlice()})
		}
	}
	return append(a, aaaa...)
}

func header(owner string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

// isMeta reports whether a type exists in questions and messages only (RFC 6895 section 3.1).
func isMeta(rrtype uint16) bool {
	return rrtype == 0 || rrtype == dns.TypeOPT || rrtype >= 128 && rrtype <= 255
}

// wireKey returns a name in wire form and lower case, the form in which names are compared here.
// Lengths are below 64 and so untouched by the change of case.
func wireKey(name string) (string, error) {
	var buf [256]byte
	n, err := dns.PackDomainName(dns.Fqdn(name), buf[:], 0, nil, false)
	if err != nil {
		return "", err
	}
	lower(buf[:n])
	return string(buf[:n]), nil
}

// lower puts ASCII letters in lower case (RFC 4343).
func lower(b []byte) {
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
}

// parent returns key without its first label. The root has none.
func parent(key string) string { return key[1+key[0]:] }

// within reports whether key is apex or below it.
func within(key, apex string) bool {
	for len(key) > len(apex) {
		key = parent(key)
	}
	return key == apex
}

// present returns a name in text form from its wire form.
func present(key string) string {
	name, _, err := dns.UnpackDomainName([]byte(key), 0)
	if err != nil {
		return "."
	}
	return name
}

func loopback() []netip.Addr { return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})} }
