package dnsd

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// withOptions returns the octets of a question with EDNS options.
func withOptions(t testing.TB, name string, rrtype uint16, options ...dns.EDNS0) []byte {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, rrtype)
	q.Id = 0
	q.SetEdns0(datagramSize, false)
	q.IsEdns0().Option = options
	b, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOptionsOfStreams(t *testing.T) {
	keepalive := &dns.EDNS0_LOCAL{Code: dns.EDNS0TCPKEEPALIVE}
	wrong := &dns.EDNS0_LOCAL{Code: dns.EDNS0TCPKEEPALIVE, Data: []byte{0, 1}}
	padding := &dns.EDNS0_PADDING{Padding: make([]byte, 30)}
	tests := []struct {
		name      string
		over      transport
		options   []dns.EDNS0
		keepalive bool
		padded    bool
	}{
		{"neither is asked", overTLS, nil, false, false},
		{"keepalive over TCP", overTCP, []dns.EDNS0{keepalive}, true, false},
		{"keepalive over TLS", overTLS, []dns.EDNS0{keepalive}, true, false},
		{"keepalive with a timeout of the client's", overTCP, []dns.EDNS0{wrong}, false, false},
		{"padding over TCP", overTCP, []dns.EDNS0{padding}, false, false},
		{"padding over TLS", overTLS, []dns.EDNS0{padding}, false, true},
		{"padding over QUIC", overQUIC, []dns.EDNS0{padding}, false, true},
		{"both over TLS", overTLS, []dns.EDNS0{padding, keepalive}, true, true},
	}
	s := loadWorld(t, "rfc")
	for _, test := range tests {
		for _, name := range []string{"www.rfc.test.", "nope.rfc.test.", "elsewhere.test."} {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				in, out := withOptions(t, name, dns.TypeA, test.options...), make([]byte, streamSize)
				c := client{addr: netip.MustParseAddr("127.0.0.1"), stream: true, transport: test.over}
				n := s.handle(s.counters[0], in, out, c)
				m := new(dns.Msg)
				if err := m.Unpack(out[:n]); err != nil {
					t.Fatal(err)
				}
				var timeout, padded bool
				for _, o := range m.IsEdns0().Option {
					switch o := o.(type) {
					case *dns.EDNS0_TCP_KEEPALIVE:
						timeout = o.Timeout == uint16(s.tcp.idle/(100*time.Millisecond))
					case *dns.EDNS0_PADDING:
						padded = true
					}
				}
				if timeout != test.keepalive || padded != test.padded || padded && n%paddingBlock != 0 {
					t.Errorf("idle timeout %v, padded %v, %d octets, want %v and %v", timeout, padded, n, test.keepalive, test.padded)
				}
			})
		}
	}
}

// TestOptionsStayOutOfSignedAnswers: a signature behind OPT covers it.
func TestOptionsStayOutOfSignedAnswers(t *testing.T) {
	s := newStreams(Config{TCPIdle: time.Second})
	in := withOptions(t, "www.rfc.test.", dns.TypeA, &dns.EDNS0_PADDING{Padding: nil})
	m := new(dns.Msg)
	m.SetQuestion("www.rfc.test.", dns.TypeA)
	m.SetEdns0(datagramSize, false)
	for _, signed := range []bool{false, true} {
		if signed {
			m.Extra = append(m.Extra, &dns.TSIG{Hdr: dns.RR_Header{Name: "k.", Rrtype: dns.TypeTSIG, Class: dns.ClassANY}, Algorithm: dns.HmacSHA256})
		}
		out, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		room := append(bytes.Clone(out), make([]byte, 1000)...)
		n := s.addOptions(in, room, len(out), client{stream: true, transport: overTLS})
		if (n == len(out)) != signed {
			t.Errorf("signed %v: %d octets became %d", signed, len(out), n)
		}
	}
}

// TestPaddingFillsWhatRoomThereIs: the largest answers have no room for a whole block.
func TestPaddingFillsWhatRoomThereIs(t *testing.T) {
	for n := 60000; n <= streamSize; n++ {
		got := pad(make([]byte, streamSize), n)
		if got < n || got > streamSize || got%paddingBlock != 0 && got != streamSize && n+4 <= streamSize {
			t.Fatalf("%d octets are padded to %d", n, got)
		}
	}
}

// FuzzOptions: whatever the query and the answer, an answer stays well formed and what it said.
func FuzzOptions(f *testing.F) {
	s := newStreams(Config{TCPIdle: time.Second})
	f.Add(withOptions(f, "a.test.", 1, &dns.EDNS0_PADDING{Padding: []byte{0}}), withOptions(f, "a.test.", 1), uint8(overTLS))
	f.Fuzz(func(t *testing.T, in, answer []byte, over uint8) {
		if len(answer) > 4096 {
			return
		}
		out := append(bytes.Clone(answer), make([]byte, 2000)...)
		n := s.addOptions(in, out, len(answer), client{stream: true, transport: transport(over % uint8(transports))})
		if n < len(answer) {
			t.Fatalf("%d octets became %d", len(answer), n)
		}
		if n == len(answer) {
			return
		}
		p, ok := optOf(out[:n])
		if !ok || p.end != n {
			t.Fatalf("the OPT record does not end the answer: %x", out[:n])
		}
		binary.BigEndian.PutUint16(out[p.data-2:], binary.BigEndian.Uint16(answer[p.data-2:]))
		if !bytes.Equal(out[:len(answer)], answer) {
			t.Fatal("the answer itself was changed")
		}
	})
}
