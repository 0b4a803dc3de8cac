package dnsd

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// TestAdditionalSwitch asks for NAPTR and SRV by both paths, with and without proof, in each mode.
func TestAdditionalSwitch(t *testing.T) {
	s := loadWorld(t, "voice")
	var zone tandem.Zone
	for _, o := range readObjects(t, "voice") {
		if z, ok := o.(*tandem.Zone); ok && z.ID == "voice.example.net" {
			zone = *z
		}
	}
	for _, c := range []struct {
		mode       tandem.Additional
		name       string
		rrtype     uint16
		proven     bool
		additional string
		fast       bool
	}{
		{"", "b2", dns.TypeNAPTR, true, "SRV A", true},
		{"", "b2", dns.TypeNAPTR, false, "", true},
		{"", "_sip._udp.b2", dns.TypeSRV, false, "A", true},
		{tandem.AdditionalChain, "k7", dns.TypeNAPTR, true, "SRV A AAAA SRV A SRV SRV SRV", true},
		{tandem.AdditionalAddresses, "b2", dns.TypeNAPTR, true, "", true},
		{tandem.AdditionalAddresses, "_sip._udp.b2", dns.TypeSRV, true, "A", true},
		{tandem.AdditionalNone, "b2", dns.TypeNAPTR, true, "", true},
		{tandem.AdditionalNone, "_sip._udp.b2", dns.TypeSRV, true, "", true},
	} {
		zone.Additional = c.mode
		s.change(1000, tandem.KindZone, zone.ID, &zone)
		q := new(dns.Msg)
		q.SetQuestion(c.name+".voice.example.net.", c.rrtype)
		q.SetEdns0(1232, false)
		query, _ := q.Pack()
		var bufs [2][65535]byte
		from := client{addr: netip.MustParseAddr("192.0.2.1"), proven: c.proven}
		n := both(t, s.model, query, from, &bufs)
		if (n > 0) != c.fast {
			t.Errorf("%s %s in mode %q: %d octets by the fast path", c.name, dns.Type(c.rrtype), c.mode, n)
		}
		msg := new(dns.Msg)
		if err := msg.Unpack(bufs[0][:s.model.full(query, bufs[0][:], from)]); err != nil {
			t.Fatal(err)
		}
		if got := kindsOf(msg); got != c.additional {
			t.Errorf("%s %s in mode %q, proven %v: additional %q, want %q", c.name, dns.Type(c.rrtype), c.mode, c.proven, got, c.additional)
		}
	}
}

// kindsOf returns the types of an answer's additional sets.
func kindsOf(msg *dns.Msg) string {
	var kinds []string
	last := ""
	for _, rr := range msg.Extra {
		h := rr.Header()
		if key := h.Name + dns.TypeToString[h.Rrtype]; h.Rrtype != dns.TypeOPT && key != last {
			last = key
			kinds = append(kinds, dns.TypeToString[h.Rrtype])
		}
	}
	return strings.Join(kinds, " ")
}

// TestChainOfText follows NAPTR records of zone text: by order, to addresses too, whole sets, once each.
func TestChainOfText(t *testing.T) {
	s := newServer(t)
	s.change(1, tandem.KindZone, "z.test", &tandem.Zone{Head: tandem.Head{ID: "z.test"}, Role: tandem.RolePlain, Records: `
$GENERATE 10-29 h2 A 192.0.2.$
n NAPTR 20 1 "a" "SIP+D2U" "" h2
n NAPTR 10 1 "S" "SIP+D2T" "" _sip._tcp
n NAPTR 30 1 "s" "SIP+D2T" "" _SIP._tcp
n NAPTR 40 1 "u" "E2U+sip" "!^.*$!sip:x@y!" .
n NAPTR 50 1 "s" "SIP+D2T" "" _sip._tcp.elsewhere.test.
n NAPTR 60 1 "s" "SIP+D2T" "" missing
_sip._tcp SRV 1 1 1 h1
_sip._tcp SRV 1 1 1 h2
h1 A 192.0.2.1
h1 AAAA 2001:db8::1
h2 A 192.0.2.2
`})
	for size, want := range map[uint16]string{1232: "SRV A AAAA A", 512: "SRV A AAAA"} {
		q := new(dns.Msg)
		q.SetQuestion("n.z.test.", dns.TypeNAPTR)
		q.SetEdns0(size, false)
		query, _ := q.Pack()
		out, msg := make([]byte, 1232), new(dns.Msg)
		if err := msg.Unpack(out[:s.model.full(query, out, client{proven: true})]); err != nil {
			t.Fatal(err)
		}
		if got := kindsOf(msg); got != want || msg.Truncated || len(msg.Answer) != 6 {
			t.Errorf("size %d: additional %q, TC %v, want %q", size, got, msg.Truncated, want)
		}
	}
}
