package dnsd

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestDiscovery: what is said of TLS and QUIC stands at our own name servers' names and at
// resolver.arpa, only when there is TLS or QUIC, and says where they really are.
func TestDiscovery(t *testing.T) {
	never := false
	s := secureServer(t, func(c *Config) { c.Host = "www.rfc.test" })
	ports := fmt.Sprintf(`alpn="dot" port="%d" | 2 www.rfc.test. alpn="doq" port="%d"`, s.AddrsTLS()[0].Port(), s.AddrsQUIC()[0].Port())
	silent := secureServer(t, func(c *Config) { c.DDR = &never })
	plain := loadWorld(t, "rfc")
	plain.cfg.Host = "www.rfc.test"
	serve(t, plain)
	tests := []struct {
		name   string
		s      *Server
		ask    string
		rrtype uint16
		want   string // of the answer; "": NODATA without a record, else the rcode
	}{
		{"by address", s, "_dns.resolver.arpa.", dns.TypeSVCB, "1 www.rfc.test. " + ports},
		{"in upper case", s, "_DNS.Resolver.ARPA.", dns.TypeSVCB, "1 www.rfc.test. " + ports},
		{"another type", s, "_dns.resolver.arpa.", dns.TypeA, ""},
		{"the name above", s, "resolver.arpa.", dns.TypeSVCB, ""},
		{"another name", s, "x.resolver.arpa.", dns.TypeSVCB, ""},
		{"nearly the name", s, "_dns.xresolver.arpa.", dns.TypeSVCB, "REFUSED"},
		{"a transfer", s, "resolver.arpa.", dns.TypeAXFR, "REFUSED"},
		{"switched off", silent, "_dns.resolver.arpa.", dns.TypeSVCB, "REFUSED"},
		{"nothing to tell of", plain, "_dns.resolver.arpa.", dns.TypeSVCB, "REFUSED"},
		{"by name", s, "_dns.www.rfc.test.", dns.TypeSVCB, "1 www.rfc.test. " + ports},
		{"by name, another type", s, "_dns.www.rfc.test.", dns.TypeTXT, "SOA"},
		{"a host that is not ours", s, "_dns.mail.rfc.test.", dns.TypeSVCB, "NXDOMAIN"},
		{"below it", s, "x._dns.www.rfc.test.", dns.TypeSVCB, "NXDOMAIN"},
		{"by name, nothing to tell of", plain, "_dns.www.rfc.test.", dns.TypeSVCB, "NXDOMAIN"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			q := new(dns.Msg)
			q.SetQuestion(test.ask, test.rrtype)
			in, err := dns.Exchange(q, test.s.Addrs()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			var said []string
			for _, rr := range in.Answer {
				if rr.Header().Name != test.ask {
					t.Errorf("owner %s, want %s", rr.Header().Name, test.ask)
				}
				said = append(said, strings.TrimPrefix(rr.String(), rr.Header().String()))
			}
			got := strings.Join(said, " | ")
			switch {
			case in.Rcode != dns.RcodeSuccess:
				got = dns.RcodeToString[in.Rcode]
			case got == "" && len(in.Ns) > 0:
				got = "SOA"
			}
			if got != test.want {
				t.Errorf("answer %q, want %q", got, test.want)
			}
		})
	}
}

// TestDiscoveryOfOwnNameServers: ns.<apex> of our own making is told of; one in the zone's text is the
// operator's affair.
func TestDiscoveryOfOwnNameServers(t *testing.T) {
	s := loadWorld(t, "voice")
	s.cfg.QUIC.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:853")}
	for _, set := range []bool{false, true} {
		if set {
			s.model.designation.Store(s.cfg.designate(s.cfg.QUIC.Listen, s.cfg.QUIC.Listen))
		}
		for _, z := range []string{"voice.example.net.", "svc.voice.example.net."} {
			q := new(dns.Msg)
			q.SetQuestion("_dns.ns."+z, dns.TypeSVCB)
			b, err := q.Pack()
			if err != nil {
				t.Fatal(err)
			}
			var bufs [2][65535]byte
			c := client{addr: netip.MustParseAddr("127.0.0.1"), stream: true}
			n := s.model.full(b, bufs[0][:], c)
			m := new(dns.Msg)
			if err := m.Unpack(bufs[0][:n]); err != nil {
				t.Fatal(err)
			}
			if set != (len(m.Answer) == 1) || set && m.Answer[0].(*dns.SVCB).String() != "_dns.ns."+z+"\t300\tIN\tSVCB\t1 ns."+z+` alpn="dot,doq"` {
				t.Errorf("with TLS %v: %v", set, m)
			}
			if n := s.model.fast(b, bufs[1][:], c); n != 0 && string(bufs[1][:n]) != string(bufs[0][:len(bufs[1][:n])]) {
				t.Errorf("the fast path says otherwise: %x", bufs[1][:n])
			}
		}
	}
}
