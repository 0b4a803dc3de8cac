package dnsd

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// plainTTL is for zone text without $TTL, and for the SOA and NS records we compose.
const plainTTL = 3600

// mostGenerated bounds the records that zone text makes beyond one a line: a line of $GENERATE can
// make 65,536, and thousands of such lines are quickly written.
const mostGenerated = 1 << 16

// mostTTL is the longest time to live (RFC 2181 section 8).
const mostTTL = 1<<31 - 1

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
	_, err := plant(zone)
	return err
}

// plant makes the tree of a zone's plain records, with the SOA and NS sets that it lacks.
func plant(z *tandem.Zone) (tree, error) {
	t := tree{}
	apex, err := wireKey(z.ID)
	if err != nil {
		return nil, tandem.FieldError{Field: "id", Reason: "is not a domain name"}
	}
	t.at(apex, apex)
	lines := &lineReader{Reader: strings.NewReader(z.Records), line: 1}
	parser := dns.NewZoneParser(lines, z.ID+".", "")
	parser.SetDefaultTTL(plainTTL)
	buf := make([]byte, maxNameSize+10+streamSize)
	for count := 1; ; count++ {
		rr, ok := parser.Next()
		if !ok {
			break
		}
		reason := t.add(z, apex, rr, buf)
		if count-lines.last() > mostGenerated {
			reason = fmt.Sprintf("$GENERATE makes more than %d records", mostGenerated)
		}
		if reason != "" {
			return nil, tandem.FieldError{Field: "records", Reason: fmt.Sprintf("line %d: %s", lines.last(), reason)}
		}
	}
	if err := parser.Err(); err != nil {
		return nil, tandem.FieldError{Field: "records", Reason: parseReason(err, lines.last())}
	}
	t.complete(z, apex)
	return t, nil
}

// add puts one record of zone text in its place, or says why it cannot stand there. buf has room
// for any record.
func (t tree) add(z *tandem.Zone, apex string, rr dns.RR, buf []byte) string {
	h := rr.Header()
	key, err := wireKey(h.Name)
	switch {
	case h.Name == "":
		return "no name, and no record before it to take one from"
	case err != nil:
		return fmt.Sprintf("%q is not a domain name", h.Name)
	case !within(key, apex):
		return fmt.Sprintf("%s lies outside %s", h.Name, z.ID)
	case h.Class != dns.ClassINET:
		return fmt.Sprintf("class %s is not IN", dns.Class(h.Class))
	case h.Ttl > mostTTL:
		return fmt.Sprintf("TTL %d is over %d", h.Ttl, mostTTL)
	case h.Rrtype == dns.TypeSOA && key != apex:
		return fmt.Sprintf("SOA at %s, which is not the apex", h.Name)
	case h.Rrtype == dns.TypeNS && key == apex && len(z.NameServers) > 0:
		return "NS at the apex, where the zone's nameServers say who they are"
	case h.Rrtype == dns.TypeCNAME && isServer(z, key):
		return fmt.Sprintf("CNAME at %s, which is one of the zone's nameServers", h.Name) // RFC 2181 section 10.3
	case isMeta(h.Rrtype):
		return fmt.Sprintf("type %s cannot be stored", dns.Type(h.Rrtype))
	}
	if rr, err = normal(rr, buf); err != nil {
		return fmt.Sprintf("%s %s cannot be sent: %s", h.Name, dns.Type(h.Rrtype), strings.TrimPrefix(err.Error(), "dns: "))
	}
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

// normal returns rr as it looks after a journey over the wire, so that what is the same is spelled
// the same: zone text may write any letter as \DDD. What could not be sent is an error.
func normal(rr dns.RR, buf []byte) (dns.RR, error) {
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return nil, err
	}
	if rr, _, err = dns.UnpackRR(buf[:n], 0); err != nil {
		return nil, err
	}
	switch rr.(type) {
	case *dns.APL, *dns.NULL, *dns.RFC3597: // may be empty
	default:
		if rr.Header().Rdlength == 0 {
			return nil, errors.New("no data")
		}
	}
	return rr, nil
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

// at returns the node for key, made with its empty non-terminals when it is new (RFC 4592 section 2.2.2).
func (t tree) at(key, apex string) *node {
	n := t[key]
	if n == nil {
		n = &node{}
		t[key] = n
		if len(key) > len(apex) {
			t.at(parent(key), apex)
		}
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

// lineReader counts the lines that the zone parser has read. The parser reads octet by octet, so
// that the count is right when it hands out a record.
type lineReader struct {
	*strings.Reader
	line    int
	atStart bool
}

func (r *lineReader) ReadByte() (byte, error) {
	c, err := r.Reader.ReadByte()
	if errors.Is(err, io.EOF) {
		return c, err
	}
	if r.atStart {
		r.line++
	}
	r.atStart = c == '\n'
	return c, err
}

// last returns the line of the octet read last.
func (r *lineReader) last() int { return r.line }

// parseReason turns the parser's error, "dns: bad A A: "x" at line: 3:12", into ours.
func parseReason(err error, line int) string {
	text := regexp.MustCompile(` at line: (\d+):(\d+)$`).ReplaceAllString(strings.TrimPrefix(err.Error(), "dns: "), "")
	return fmt.Sprintf("line %d: %s", line, text)
}

func loopback() []netip.Addr { return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})} }
