package dnsd

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// TestExtendedErrors asks for answers that want an explanation; without EDNS there is none.
func TestExtendedErrors(t *testing.T) {
	s := loadWorld(t, "voice")
	s.change(1000, tandem.KindZone, "broken.test", &tandem.Zone{Head: tandem.Head{ID: "broken.test"}, Role: tandem.RolePlain, Records: "a A nonsense"})
	for _, c := range []struct {
		name   string
		rrtype uint16
		class  uint16
		rcode  int
		code   uint16 // 0 for none
	}{
		{"k7.voice.example.net", dns.TypeA, dns.ClassINET, dns.RcodeSuccess, 0},
		{"nobody.voice.example.net", dns.TypeA, dns.ClassINET, dns.RcodeNameError, 0},
		{"www.elsewhere.test", dns.TypeA, dns.ClassINET, dns.RcodeRefused, dns.ExtendedErrorCodeNotAuthoritative},
		{"1003.svc2.example.net", dns.TypeA, dns.ClassINET, dns.RcodeRefused, dns.ExtendedErrorCodeProhibited},
		{"voice.example.net", dns.TypeAXFR, dns.ClassINET, dns.RcodeRefused, dns.ExtendedErrorCodeProhibited},
		{"voice.example.net", dns.TypeMAILB, dns.ClassINET, dns.RcodeNotImplemented, dns.ExtendedErrorCodeNotSupported},
		{"version.bind", dns.TypeTXT, dns.ClassCHAOS, dns.RcodeRefused, dns.ExtendedErrorCodeNotSupported},
		{"a.broken.test", dns.TypeA, dns.ClassINET, dns.RcodeNameError, dns.ExtendedErrorCodeInvalidData},
		{"broken.test", dns.TypeSOA, dns.ClassINET, dns.RcodeSuccess, 0},
	} {
		for _, edns := range []bool{true, false} {
			q := new(dns.Msg)
			q.SetQuestion(c.name+".", c.rrtype)
			q.Question[0].Qclass = c.class
			if edns {
				q.SetEdns0(1232, false)
			}
			query, _ := q.Pack()
			msg := new(dns.Msg)
			if err := msg.Unpack(s.askBoth(t, query, client{addr: netip.MustParseAddr("192.0.2.1")})); err != nil {
				t.Fatal(err)
			}
			var code uint16
			if opt := msg.IsEdns0(); opt != nil {
				for _, o := range opt.Option {
					if e, ok := o.(*dns.EDNS0_EDE); ok {
						code = e.InfoCode
						if e.ExtraText == "" || strings.Contains(e.ExtraText, "example") {
							t.Errorf("%s: text %q", c.name, e.ExtraText)
						}
					}
				}
			}
			if want := c.code; msg.Rcode != c.rcode || edns && code != want || !edns && code != 0 {
				t.Errorf("%s, EDNS %v: %s with %d, want %s with %d", c.name, edns, dns.RcodeToString[msg.Rcode], code, dns.RcodeToString[c.rcode], want)
			}
		}
	}
}

// TestUnsignedUpdateIsExplained: an update without a key is refused, and says why.
func TestUnsignedUpdateIsExplained(t *testing.T) {
	s, _ := updatable(t)
	m := updating(t, "z.test", "n.z.test. TXT x")
	m.SetEdns0(1232, false)
	answer := s.exchange(t, m, "")
	opt := answer.IsEdns0()
	if answer.Rcode != dns.RcodeRefused || opt == nil || len(opt.Option) != 1 || opt.Option[0].(*dns.EDNS0_EDE).InfoCode != dns.ExtendedErrorCodeProhibited {
		t.Errorf("answer %v, want REFUSED with EDE 18", answer)
	}
}
