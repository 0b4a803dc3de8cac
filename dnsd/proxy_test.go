package dnsd

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/dnsd/proxyv2"
	"tandem/internal/tandem"
)

// restricted is a server with a zone that only 198.51.100.0/24 is answered from, and proxies at
// 127.0.0.1.
func restricted(t *testing.T, with ...func(*Config)) *Server {
	t.Helper()
	s := secureServer(t, with...)
	s.change(1000, tandem.KindZone, "views.test", &tandem.Zone{
		Head: tandem.Head{ID: "views.test"}, Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, Records: "@ 60 IN A 192.0.2.1\n",
	})
	return s
}

// exchangeRaw sends octets over a transport and returns the answer, nil when there is none.
func exchangeRaw(t *testing.T, over transport, addr netip.AddrPort, header, query []byte) *dns.Msg {
	t.Helper()
	network := map[transport]string{overUDP: "udp", overTCP: "tcp", overTLS: "tcp"}[over]
	conn, err := net.Dial(network, addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wait := 10 * time.Second
	if over == overUDP {
		wait = 300 * time.Millisecond // silence is an outcome
	}
	conn.SetDeadline(time.Now().Add(wait))
	var b []byte
	switch over {
	case overUDP:
		conn.Write(append(header, query...))
		b = make([]byte, 2000)
		var n int
		if n, err = conn.Read(b); err == nil {
			b = b[:n]
		}
	case overTLS:
		conn.Write(header)
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"dot"}})
		secure.Write(framed(query))
		b, err = readFrame(secure)
	default:
		conn.Write(append(header, framed(query)...))
		b, err = readFrame(conn)
	}
	if err != nil {
		return nil
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestProxiedClientsAreAnsweredAsThemselves(t *testing.T) {
	s := restricted(t)
	plain, secure := s.AddrsProxy()
	from := func(text string) proxyv2.Header {
		return proxyv2.Header{Source: netip.MustParseAddrPort(text), Destination: netip.MustParseAddrPort("203.0.113.53:53")}
	}
	spoiled := proxyv2.Append(nil, from("198.51.100.9:4242"), false)
	spoiled[20] ^= 1
	tests := []struct {
		name   string
		header []byte
		rcode  int // -1: silence
	}{
		{"a client within", proxyv2.Append(nil, from("198.51.100.9:4242"), false), dns.RcodeSuccess},
		{"a client without", proxyv2.Append(nil, from("198.51.99.9:4242"), true), dns.RcodeRefused},
		{"a client over IPv6", proxyv2.Append(nil, from("[2001:db8::1]:4242"), true), dns.RcodeRefused},
		{"the proxy itself", proxyv2.Append(nil, proxyv2.Header{Local: true}, true), dns.RcodeRefused},
		{"no header", nil, -1},
		{"version 1", []byte("PROXY TCP4 198.51.100.9 203.0.113.53 4242 53\r\n"), -1},
		{"a wrong checksum", spoiled, -1},
	}
	for over, addr := range map[transport]netip.AddrPort{overUDP: plain[0], overTCP: plain[0], overTLS: secure[0]} {
		for _, test := range tests {
			t.Run(over.String()+"/"+test.name, func(t *testing.T) {
				m := exchangeRaw(t, over, addr, append([]byte{}, test.header...), withOptions(t, "views.test.", dns.TypeA))
				switch {
				case test.rcode < 0 && m != nil:
					t.Errorf("answer %v, want none", m)
				case test.rcode >= 0 && (m == nil || m.Rcode != test.rcode):
					t.Errorf("answer %v, want %s", m, dns.RcodeToString[test.rcode])
				}
			})
		}
	}
	got := readings(s)
	if got["tandem_dnsd_proxy_headers_total believed"] != 12 || got["tandem_dnsd_proxy_headers_total refused"] != 9 {
		t.Errorf("%v believed and %v refused, want 12 and 9", got["tandem_dnsd_proxy_headers_total believed"], got["tandem_dnsd_proxy_headers_total refused"])
	}
}

// TestHeadersOfStrangers: nobody who is not listed speaks for others, and on plain listeners nobody does.
func TestHeadersOfStrangers(t *testing.T) {
	s := restricted(t, func(c *Config) { c.Proxy.From = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	header := proxyv2.Append(nil, proxyv2.Header{
		Source: netip.MustParseAddrPort("198.51.100.9:4242"), Destination: netip.MustParseAddrPort("203.0.113.53:53"),
	}, false)
	query := withOptions(t, "views.test.", dns.TypeA)
	plain, secure := s.AddrsProxy()
	for over, addr := range map[transport]netip.AddrPort{overUDP: plain[0], overTCP: plain[0], overTLS: secure[0]} {
		if m := exchangeRaw(t, over, addr, append([]byte{}, header...), query); m != nil {
			t.Errorf("over %s a stranger's header was answered: %v", over, m)
		}
	}
	m := exchangeRaw(t, overUDP, s.Addrs()[0], append([]byte{}, header...), query)
	if m == nil || len(m.Answer) != 0 || m.Rcode == dns.RcodeSuccess {
		t.Errorf("the plain listener answered %v, want an error", m)
	}
}

// TestProxiedConnectionsAreBoundedByClient: the proxy may have many, each of its clients as many as
// anybody.
func TestProxiedConnectionsAreBoundedByClient(t *testing.T) {
	s := restricted(t, func(c *Config) { c.TCPPerClient = 2 })
	plain, _ := s.AddrsProxy()
	query := framed(withOptions(t, "www.rfc.test.", dns.TypeA))
	for i, test := range []struct {
		client  string
		refused bool
	}{{"198.51.100.1:1", false}, {"198.51.100.1:2", false}, {"198.51.100.1:3", true}, {"198.51.100.2:1", false}, {"198.51.100.3:1", false}} {
		conn, err := net.Dial("tcp", plain[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		h := proxyv2.Header{Source: netip.MustParseAddrPort(test.client), Destination: netip.MustParseAddrPort("203.0.113.53:53")}
		for _, b := range proxyv2.Append(nil, h, true) { // octet by octet
			conn.Write([]byte{b})
		}
		conn.Write(query)
		if _, err := readFrame(conn); (err != nil) != test.refused {
			t.Errorf("connection %d of %s: %v, want it refused: %v", i, test.client, err, test.refused)
		}
	}
}

// FuzzReadHeader: what a stream begins with is read to the header's end and no further.
func FuzzReadHeader(f *testing.F) {
	h := proxyv2.Header{Source: netip.MustParseAddrPort("198.51.100.1:1"), Destination: netip.MustParseAddrPort("203.0.113.53:53")}
	f.Add(append(proxyv2.Append(nil, h, true), 1, 2, 3), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		want, n, wantErr := proxyv2.Parse(b)
		r := &chopped{rest: b, step: 1 + int(step)}
		got, err := readHeader(r)
		if got != want || (err == nil) != (wantErr == nil) {
			t.Fatalf("readHeader = %+v, %v, want %+v, %v", got, err, want, wantErr)
		}
		if rest, _ := io.ReadAll(r); err == nil && len(rest) != len(b)-n {
			t.Fatalf("%d octets left, want %d", len(rest), len(b)-n)
		}
	})
}
