package dnsd

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// answersTo returns what a client at an address is answered, by both paths.
func (s *Server) answersTo(t testing.TB, from, name string, rrtype uint16) string {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name+".", rrtype)
	query, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	msg := new(dns.Msg)
	if err := msg.Unpack(s.askBoth(t, query, client{addr: netip.MustParseAddr(from), stream: true})); err != nil {
		t.Fatal(err)
	}
	return brief1(msg)
}

// brief1 returns an answer's rcode and the data of its records.
func brief1(msg *dns.Msg) string {
	text := dns.RcodeToString[msg.Rcode]
	for _, rr := range msg.Answer {
		text += ", " + strings.Join(strings.Fields(rr.String())[4:], " ")
	}
	return text
}

// viewed returns a server with views inside (10/8, but for 10.1/16) and lab (10.1/16, key ops).
func viewed(t testing.TB) *Server {
	t.Helper()
	s, _ := updatable(t)
	for i, o := range []tandem.Object{
		&tandem.View{Head: tandem.Head{ID: "inside"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}},
		&tandem.View{Head: tandem.Head{ID: "lab"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Keys: []string{"ops"}, Zones: []string{"child.z.test"}},
	} {
		s.change(tandem.Revision(50+i), o.Kind(), o.Header().ID, o)
	}
	for _, set := range [][]string{
		{"z.test", "a.z.test", "A", "inside", "10.0.0.1"}, {"z.test", "only.z.test", "A", "inside", "10.0.0.2"},
		{"z.test", "a.z.test", "A", "lab", "10.1.0.1"}, {"z.test", "b.z.test", "A", "inside", ""}, {"z.test", "b.z.test", "A", "", "192.0.2.9"},
		{"voice.test", "one.voice.test", "TXT", "inside", `"inside"`}, {"voice.test", "one.voice.test", "TXT", "", `"all"`},
		{"voice.test", "one.voice.test", "A", "inside", `10.0.0.3`},
	} {
		r := recordSet(set[0], set[1], set[2])
		if set[4] != "" {
			r.Records = []string{set[4]}
		}
		r.View, r.ID = set[3], tandem.RecordSetID(set[1], set[2], set[3])
		s.putSet(t, r)
	}
	return s
}

func TestViews(t *testing.T) {
	s := viewed(t)
	s.change(60, tandem.KindRecordSet, "x.child.z.test:A", recordSet("child.z.test", "x.child.z.test", "A", "192.0.2.7"))
	for _, c := range []struct {
		from, name string
		rrtype     uint16
		want       string
	}{
		{"192.0.2.1", "a.z.test", dns.TypeA, "NOERROR, 192.0.2.1, 192.0.2.2"},
		{"10.9.9.9", "a.z.test", dns.TypeA, "NOERROR, 10.0.0.1"},
		{"2001:db8::1", "a.z.test", dns.TypeA, "NOERROR, 10.0.0.1"},
		{"2001:db9::1", "a.z.test", dns.TypeA, "NOERROR, 192.0.2.1, 192.0.2.2"},
		{"10.1.2.3", "a.z.test", dns.TypeA, "NOERROR, 10.1.0.1"}, // the longest network
		{"10.9.9.9", "only.z.test", dns.TypeA, "NOERROR, 10.0.0.2"},
		{"192.0.2.1", "only.z.test", dns.TypeA, "NXDOMAIN"},
		{"10.1.2.3", "only.z.test", dns.TypeA, "NXDOMAIN"},
		{"192.0.2.1", "b.z.test", dns.TypeA, "NOERROR, 192.0.2.9"},
		{"10.1.2.3", "b.z.test", dns.TypeA, "NOERROR, 192.0.2.9"}, // falls through
		{"10.9.9.9", "b.z.test", dns.TypeA, "NXDOMAIN"},           // a tombstone of the view
		{"10.9.9.9", "one.voice.test", dns.TypeTXT, `NOERROR, "inside"`},
		{"192.0.2.1", "one.voice.test", dns.TypeTXT, `NOERROR, "all"`},
		{"10.9.9.9", "one.voice.test", dns.TypeA, "NOERROR, 192.0.2.1"}, // composed wins
		{"10.1.2.3", "x.child.z.test", dns.TypeA, "NOERROR, 192.0.2.7"},
		{"10.9.9.9", "x.child.z.test", dns.TypeA, "NXDOMAIN"}, // answered from the zone above
		{"192.0.2.1", "child.z.test", dns.TypeSOA, "NXDOMAIN"},
	} {
		if got := s.answersTo(t, c.from, c.name, c.rrtype); got != c.want {
			t.Errorf("%s %s from %s: %s, want %s", c.name, dns.Type(c.rrtype), c.from, got, c.want)
		}
	}
	s.change(70, tandem.KindView, "lab", &tandem.View{Head: tandem.Head{ID: "lab"}, Keys: []string{"ops"}, Zones: []string{"z.test"}})
	if got := s.answersTo(t, "10.1.2.3", "a.z.test", dns.TypeA); got != "REFUSED" {
		t.Errorf("a zone of another view: %s, want REFUSED", got)
	}
	if got := s.answersTo(t, "10.1.2.3", "x.child.z.test", dns.TypeA); got != "NOERROR, 192.0.2.7" {
		t.Errorf("a zone below one of another view: %s, want its answer", got)
	}
	s.change(71, tandem.KindView, "lab", nil)
	s.change(72, tandem.KindView, "inside", nil)
	if s.model.views.Load() != nil {
		t.Error("views are looked up though there are none")
	}
}

// TestViewByKey: a key puts its client in a view before networks are looked at.
func TestViewByKey(t *testing.T) {
	s := viewed(t)
	for key, want := range map[string]string{"ops": "NOERROR, 10.1.0.1", "narrow": "NOERROR, 192.0.2.1, 192.0.2.2"} {
		q := new(dns.Msg)
		q.SetQuestion("a.z.test.", dns.TypeA)
		q.SetTsig(key+".", dns.HmacSHA256, 300, time.Now().Unix())
		b, _, err := dns.TsigGenerate(q, base64.StdEncoding.EncodeToString([]byte(updateSecret)), "", false)
		if err != nil {
			t.Fatal(err)
		}
		out, msg := make([]byte, 65535), new(dns.Msg)
		if err := msg.Unpack(out[:s.handle(&counters{}, b, out, client{addr: netip.MustParseAddr("127.0.0.1")})]); err != nil {
			t.Fatal(err)
		}
		if got := brief1(msg); got != want || msg.IsTsig() == nil {
			t.Errorf("with key %s: %s, want %s, signed", key, got, want)
		}
	}
}

// TestLongestNetwork compares with a search through all networks.
func TestLongestNetwork(t *testing.T) {
	g := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		all := map[uint32]*tandem.View{}
		for i := range 12 {
			n := netip.PrefixFrom(randomAddr(g), g.IntN(25)).Masked()
			all[uint32(i)] = &tandem.View{Head: tandem.Head{ID: fmt.Sprint(i)}, Networks: []netip.Prefix{n}}
		}
		v := newViews(all)
		for range 50 {
			addr := randomAddr(g)
			best := -1
			for _, view := range all {
				if n := view.Networks[0]; n.Contains(addr) {
					best = max(best, n.Bits())
				}
			}
			got := -1
			if number := v.of(client{addr: addr}); number != noView {
				got = all[number].Networks[0].Bits()
			}
			if got != best {
				t.Fatalf("%s: a network of %d bits, want %d", addr, got, best)
			}
		}
	}
}

// randomAddr returns an address of few different beginnings, of either family.
func randomAddr(g *rand.Rand) netip.Addr {
	if g.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{byte(g.IntN(3)), byte(g.IntN(256)) & 0xc0, byte(g.IntN(256)), 1})
	}
	return netip.AddrFrom16([16]byte{0x20, byte(g.IntN(3)), byte(g.IntN(256)) & 0xc0, 15: 1})
}

// TestTraceShowsViews: an explanation says which view counts, and that record sets stand at a name.
func TestTraceShowsViews(t *testing.T) {
	s := viewed(t)
	steps := func(from string) string {
		var b strings.Builder
		for _, step := range s.Trace("a.z.test", netip.PrefixFrom(netip.MustParseAddr(from), netip.MustParseAddr(from).BitLen())) {
			fmt.Fprintf(&b, "%s: %s\n", step.What, step.Text)
		}
		return b.String()
	}
	inside, outside := steps("10.9.9.9"), steps("192.0.2.1")
	for _, want := range []string{"view: 10.9.9.9 is in view inside", "record sets: 2 stand", "10.0.0.1"} {
		if !strings.Contains(inside, want) {
			t.Errorf("no %q in\n%s", want, inside)
		}
	}
	if strings.Contains(outside, "view:") || !strings.Contains(outside, "192.0.2.1") {
		t.Errorf("from outside:\n%s", outside)
	}
}
