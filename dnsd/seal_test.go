package dnsd

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/dnsd/sign"
)

// exchangeSigned asks both paths with EDNS flags and returns the answer.
func exchangeSigned(t *testing.T, s *Server, name string, rrtype uint16, do, co, stream bool) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), rrtype)
	q.SetEdns0(1232, do)
	q.IsEdns0().SetCo(co)
	in, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	msg := new(dns.Msg)
	if err := msg.Unpack(s.askBoth(t, in, client{addr: netip.MustParseAddr("127.0.0.1"), stream: stream})); err != nil {
		t.Fatal(err)
	}
	return msg
}

// told is an answer's rcode, flags of EDNS, and its records as owner, type and, of NSEC, next name and types.
func told(m *dns.Msg) string {
	b := []string{dns.RcodeToString[m.Rcode]}
	if o := m.IsEdns0(); o != nil && o.Co() {
		b = append(b, "co")
	}
	if m.AuthenticatedData {
		b = append(b, "ad")
	}
	for i, section := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			text := []string{"an ", "ns "}[i] + rr.Header().Name + " " + dns.Type(rr.Header().Rrtype).String()
			switch rr := rr.(type) {
			case *dns.NSEC:
				text = strings.Join(append([]string{text, rr.NextDomain}, strings.Fields(rr.String())[5:]...), " ")
			case *dns.RRSIG:
				text += fmt.Sprint(" ", dns.Type(rr.TypeCovered), " ", rr.Labels, " ", rr.Hdr.Ttl == rr.OrigTtl)
			}
			b = append(b, text)
		}
	}
	return strings.Join(b, "; ")
}

func TestCompactDenial(t *testing.T) {
	s := signedServer(t, "rfc", dns.ED25519, "rfc.test")
	const soa = "ns rfc.test. SOA; ns rfc.test. RRSIG SOA 2 "
	for _, c := range []struct {
		name, asked string
		rrtype      uint16
		do, co      bool
		want        string
	}{
		{"no such name", "no.rfc.test.", dns.TypeA, true, false, "NOERROR; " + soa + "false; ns no.rfc.test. NSEC \\000.no.rfc.test. RRSIG NSEC NXNAME; ns no.rfc.test. RRSIG NSEC 3 true"},
		{"no such name, restored", "no.rfc.test.", dns.TypeA, true, true, "NXDOMAIN; co; " + soa + "false; ns no.rfc.test. NSEC \\000.no.rfc.test. RRSIG NSEC NXNAME; ns no.rfc.test. RRSIG NSEC 3 true"},
		{"no such name, unsigned", "no.rfc.test.", dns.TypeA, false, false, "NXDOMAIN; ns rfc.test. SOA"},
		{"CO without DO", "no.rfc.test.", dns.TypeA, false, true, "NXDOMAIN; ns rfc.test. SOA"},
		{"empty non-terminal", "ent.rfc.test.", dns.TypeA, true, false, "NOERROR; " + soa + "false; ns ent.rfc.test. NSEC \\000.ent.rfc.test. RRSIG NSEC; ns ent.rfc.test. RRSIG NSEC 3 true"},
		{"no such type", "www.rfc.test.", dns.TypeTXT, true, false, "NOERROR; " + soa + "false; ns www.rfc.test. NSEC \\000.www.rfc.test. A AAAA RRSIG NSEC; ns www.rfc.test. RRSIG NSEC 3 true"},
		{"no such type at a wildcard", "a.wild.rfc.test.", dns.TypeA, true, false, "NOERROR; " + soa + "false; ns a.wild.rfc.test. NSEC \\000.a.wild.rfc.test. MX TXT RRSIG NSEC; ns a.wild.rfc.test. RRSIG NSEC 4 true"},
		{"a wildcard as if it were a name", "a.wild.rfc.test.", dns.TypeTXT, true, false, "NOERROR; an a.wild.rfc.test. TXT; an a.wild.rfc.test. RRSIG TXT 4 true"},
		{"NSEC itself", "www.rfc.test.", dns.TypeNSEC, true, false, "NOERROR; an www.rfc.test. NSEC \\000.www.rfc.test. A AAAA RRSIG NSEC; an www.rfc.test. RRSIG NSEC 3 true"},
		{"signatures themselves", "www.rfc.test.", dns.TypeRRSIG, false, false, "NOERROR; an www.rfc.test. RRSIG A 3 true"},
		{"DNAME's alias is not signed", "x.dn.rfc.test.", dns.TypeCNAME, true, false, "NOERROR; an dn.rfc.test. DNAME; an dn.rfc.test. RRSIG DNAME 3 true; an x.dn.rfc.test. CNAME"},
		{"referral, signed below", "www.sub.rfc.test.", dns.TypeA, true, false, "NOERROR; ns sub.rfc.test. NS; ns sub.rfc.test. NS; ns sub.rfc.test. NS; ns sub.rfc.test. DS; ns sub.rfc.test. RRSIG DS 3 true"},
		{"a zone of ours below, unsigned", "child.rfc.test.", dns.TypeDS, true, false, "NOERROR; " + soa + "false; ns child.rfc.test. NSEC child\\000.rfc.test. NS RRSIG NSEC; ns child.rfc.test. RRSIG NSEC 3 true"},
		{"NXNAME", "www.rfc.test.", dns.TypeNXNAME, true, false, "FORMERR"},
		{"nothing without DO", "www.rfc.test.", dns.TypeA, false, false, "NOERROR; an www.rfc.test. A"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := told(exchangeSigned(t, s, c.asked, c.rrtype, c.do, c.co, true))
			if got = strings.Replace(got, "SOA 2 true", "SOA 2 false", 1); got != c.want { // an SOA's shown TTL is the denial's
				t.Errorf("%s %s:\n%s, want\n%s", c.asked, dns.Type(c.rrtype), got, c.want)
			}
		})
	}
	reply := exchangeSigned(t, s, "www.rfc.test.", dns.TypeNXNAME, true, false, true)
	if o := reply.IsEdns0().Option; len(o) != 1 || o[0].(*dns.EDNS0_EDE).InfoCode != uint16(edeInvalidQueryType) {
		t.Errorf("options = %v, want EDE 30", o)
	}
}

// TestSigningFlood: names thought up by a client that may be spoofed are signed at a bounded rate, then it
// is sent to TCP; what is warm, what exists and who came over TCP is answered.
func TestSigningFlood(t *testing.T) {
	s := signedServer(t, "rfc", dns.ED25519, "rfc.test")
	shared := s.writer.keys.shared
	now := shared.clock()
	shared.clock = func() time.Time { return now }
	shared.floor.Store(0)
	shared.absent = sign.NewLimit(200)
	exchangeSigned(t, s, "www.rfc.test.", dns.TypeA, true, false, false)
	truncated := 0
	for i := range 200 + 500 {
		if exchangeSigned(t, s, fmt.Sprintf("n%d.rfc.test.", i), dns.TypeA, true, false, false).Truncated {
			truncated++
		}
	}
	if truncated < 400 || truncated > 600 {
		t.Errorf("%d of the questions over the rate were sent to TCP, want some 500", truncated)
	}
	for _, c := range []struct {
		name   string
		stream bool
	}{{"www.rfc.test.", false}, {"chain2.rfc.test.", false}, {"fresh.rfc.test.", true}} {
		if m := exchangeSigned(t, s, c.name, dns.TypeA, true, false, c.stream); m.Truncated {
			t.Errorf("%s over TCP %v: truncated", c.name, c.stream)
		}
	}
	if n := shared.counts(); n.Limited < 400 || n.Evicted > n.Made {
		t.Errorf("counts = %+v", n)
	}
}

// TestSuccessors: nothing lies between a name and the one after it.
func TestSuccessors(t *testing.T) {
	long := strings.Repeat("\x3f"+strings.Repeat("a", 63), 3)
	for _, c := range []struct{ name, key, next, cut string }{
		{"short", "\x01a\x04test\x00", "\x01\x00\x01a\x04test\x00", "\x02a\x00\x04test\x00"},
		{"full label", "\x3f" + strings.Repeat("a", 63) + "\x00", "\x01\x00\x3f" + strings.Repeat("a", 63) + "\x00", "\x3f" + strings.Repeat("a", 62) + "b\x00"},
		{"before capitals", "\x3f" + strings.Repeat("a", 62) + "@\x00", "\x01\x00\x3f" + strings.Repeat("a", 62) + "@\x00", "\x3f" + strings.Repeat("a", 62) + "[\x00"},
		{"no room", long + "\x3d" + strings.Repeat("z", 61) + "\x00", long[:0] + "\x3d", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.cut == "" {
				if len(after(c.key)) > maxNameSize || after(c.key) <= "" {
					t.Errorf("after a name of 255 octets: %q", after(c.key))
				}
				return
			}
			if got := after(c.key); got != c.next {
				t.Errorf("after = %q, want %q", got, c.next)
			}
			if got := afterCut(c.key); got != c.cut {
				t.Errorf("afterCut = %q, want %q", got, c.cut)
			}
		})
	}
}

// TestBitmap: types are packed as the library unpacks them.
func TestBitmap(t *testing.T) {
	for _, types := range [][]uint16{{1}, {1, 2, 46, 47, 128}, {255, 256, 257, 65400}, {}} {
		rr := &dns.NSEC{Hdr: header("a.", dns.TypeNSEC, 1), NextDomain: ".", TypeBitMap: types}
		buf := make([]byte, 512)
		n, err := dns.PackRR(rr, buf, 0, nil, false)
		if err != nil || !slices.Equal(buf[14:n], bitmapOctets(types)) {
			t.Errorf("%v: %x, want %x (%v)", types, bitmapOctets(types), buf[14:n], err)
		}
	}
}
