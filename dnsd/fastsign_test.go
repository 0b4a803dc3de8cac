package dnsd

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"tandem/dnsd/sign"
	"tandem/internal/tandem"
)

// signedPopulation is populated with both zones signed.
func signedPopulation(t testing.TB, n int) *Server {
	s, err := New(Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}, Deps{Seal: openSeal{}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(population(t, n))
	for _, zone := range []string{"voice.example.net", "svc.voice.example.net"} {
		k := zoneKey(t, zone, 1, dns.ECDSAP256SHA256, sign.SignsBoth)
		s.change(1_000_000_000, tandem.KindZoneKey, k.ID, k)
	}
	return s
}

// askedWith returns the questions of common that have EDNS and a cookie, with or without DO.
func askedWith(do bool) map[string][]byte {
	questions := map[string][]byte{}
	for title, q := range common() {
		if opt := q.IsEdns0(); opt != nil {
			opt.SetDo(do)
			questions[strings.TrimSuffix(title, "+EDNS")], _ = q.Pack()
		}
	}
	return questions
}

func TestSignedFastAllocatesNothing(t *testing.T) {
	s := signedPopulation(t, 1000)
	var bufs [2][65535]byte
	c := client{addr: netip.MustParseAddr("127.0.0.1"), stream: true}
	for title, query := range askedWith(true) {
		n := both(t, s.model, query, c, &bufs)
		msg := new(dns.Msg)
		if err := msg.Unpack(bufs[1][:n]); n == 0 || err != nil || !strings.Contains(msg.String(), "RRSIG") {
			t.Errorf("%s: not answered with signatures by the fast path: %v", title, err)
		}
		if n := testing.AllocsPerRun(200, func() { s.model.fast(query, bufs[1][:], c) }); n != 0 {
			t.Errorf("%s: %v allocations", title, n)
		}
	}
}

// BenchmarkSigned answers the same questions with and without DO from signed zones, signatures warm.
func BenchmarkSigned(b *testing.B) {
	s := signedPopulation(b, 1000)
	var bufs [2][65535]byte
	c := client{addr: netip.MustParseAddr("127.0.0.1"), stream: true}
	for title := range askedWith(true) {
		for _, do := range []bool{false, true} {
			query := askedWith(do)[title]
			if both(b, s.model, query, c, &bufs) == 0 {
				b.Fatalf("%s: not answered by the fast path", title)
			}
			name := title + "/unsigned"
			if do {
				name = title + "/signed"
			}
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.model.fast(query, bufs[1][:], c)
				}
			})
		}
	}
}
