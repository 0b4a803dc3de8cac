package dnsd

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// sharedWorld is a server with a zone that holds accounts and one that does not, both given to
// 192.0.2.0/24, and to whoever has the key.
func sharedWorld(t testing.TB) *Server {
	t.Helper()
	s := newServer(t)
	s.writer.seal = openSeal{}
	secondaries := []tandem.Secondary{
		{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		{Key: "good"},
		{Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, TLS: true},
	}
	objects := []tandem.Object{
		testKey("good", ""), testKey("stranger", ""),
		&tandem.Edge{Head: tandem.Head{ID: "e1"}, Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")}, Ports: tandem.Ports{UDP: 5060, TLS: 5061}},
		&tandem.Edge{Head: tandem.Head{ID: "e2"}, Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.2")}, Ports: tandem.Ports{UDP: 5060, HTTPS: 443}},
		&tandem.Zone{Head: tandem.Head{ID: "voice.test"}, Role: tandem.RoleAccounts, Mode: tandem.ModeTransferable, Edges: []string{"e1"},
			Secondaries: secondaries, Records: "www A 192.0.2.80\nzulu TXT \"last\"\nedgy TXT \"not below edge\"\n"},
		&tandem.Zone{Head: tandem.Head{ID: "plain.test"}, Role: tandem.RolePlain, Secondaries: secondaries,
			Records: "@ NS ns.plain.test.\nns A 192.0.2.53\nsub NS ns.sub\nns.sub A 192.0.2.54\n*.w TXT \"wild\"\n"},
		&tandem.Zone{Head: tandem.Head{ID: "steered.test"}, Role: tandem.RoleAccounts, Edges: []string{"e1"}},
	}
	for i := range 20 {
		id := fmt.Sprintf("10%02d", i)
		a := &tandem.Account{Head: tandem.Head{ID: id}, Zone: "voice.test", Labels: []tandem.Label{{Label: fmt.Sprintf("label%d", i), Role: tandem.LabelCurrent}}}
		if i%5 == 0 {
			a.Edges = []string{"e1", "e2"}
		}
		objects = append(objects, a)
	}
	var changes []tandem.Change
	for i, o := range objects {
		changes = append(changes, tandem.Change{Revision: tandem.Revision(i + 1), Kind: o.Kind(), ID: o.Header().ID, Object: o})
	}
	s.Apply(changes)
	s.Restored(tandem.Revision(len(changes)))
	return s
}

func secondary() client { return client{addr: netip.MustParseAddr("192.0.2.9"), stream: true} }

// transferred asks s for a transfer and returns the messages of the answer.
func (s *Server) transferred(t testing.TB, query []byte, c client) []*dns.Msg {
	t.Helper()
	var all []*dns.Msg
	err := s.transfer(query, make([]byte, streamSize), c, func(msg []byte) error {
		m := new(dns.Msg)
		if err := m.Unpack(msg); err != nil {
			t.Fatalf("%x: %v", msg, err)
		}
		all = append(all, m)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func axfr(t testing.TB, zone string) []byte {
	q := new(dns.Msg)
	q.SetAxfr(zone + ".")
	return pack(t, q)
}

func ixfr(t testing.TB, zone string, serial uint32) []byte {
	q := new(dns.Msg)
	q.SetIxfr(zone+".", serial, "ns.", "host.")
	return pack(t, q)
}

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func recordsOf(msgs []*dns.Msg) []dns.RR {
	var all []dns.RR
	for _, m := range msgs {
		all = append(all, m.Answer...)
	}
	return all
}

// contents returns the records of an AXFR without the last SOA, as sorted text.
func contents(t testing.TB, records []dns.RR) []string {
	t.Helper()
	if len(records) < 2 || records[0].String() != records[len(records)-1].String() || records[0].Header().Rrtype != dns.TypeSOA {
		t.Fatalf("%d records, not between two SOA: %v", len(records), records)
	}
	var lines []string
	for _, rr := range records[:len(records)-1] {
		lines = append(lines, rr.String())
	}
	slices.Sort(lines)
	return lines
}

// TestWholeTransfer: what a secondary gets is what queries are answered with, name for name, and comes
// in canonical order.
func TestWholeTransfer(t *testing.T) {
	s := sharedWorld(t)
	for _, zone := range []string{"voice.test", "plain.test"} {
		records := recordsOf(s.transferred(t, axfr(t, zone), secondary()))
		contents(t, records)
		last := ""
		for _, rr := range records[:len(records)-1] {
			h := rr.Header()
			key, err := wireKey(h.Name)
			if err != nil || canonical(key) < last {
				t.Errorf("%s comes after a name that it sorts before", h.Name)
			}
			last = canonical(key)
			if strings.HasSuffix(h.Name, "sub.plain.test.") || strings.HasPrefix(h.Name, "*") {
				continue // glue and wildcards are not asked for by name
			}
			got := s.records(t, strings.TrimSuffix(h.Name, "."), h.Rrtype)
			if data := strings.TrimPrefix(rr.String(), h.String()); !strings.Contains(got, data) {
				t.Errorf("%s is transferred, and answered %q", rr, got)
			}
		}
	}
	got := recordsOf(s.transferred(t, axfr(t, "voice.test"), secondary()))
	// SOA twice, NS, ns A+AAAA, e1 A+AAAA, e2 A, www, zulu, edgy; 16 accounts with 2 SRV, 2 NAPTR, A, AAAA;
	// 4 with SRV 2+1+1(https), NAPTR 2, A 2, AAAA 1, HTTPS 1.
	if want := 2 + 1 + 2 + 3 + 3 + 16*6 + 4*(4+2+3+1); len(got) != want {
		t.Errorf("%d records, want %d:\n%v", len(got), want, got)
	}
}

// TestTransferRights: who may, and what those get who may not.
func TestTransferRights(t *testing.T) {
	s := sharedWorld(t)
	stranger := client{addr: netip.MustParseAddr("203.0.113.200"), stream: true}
	tlsOnly := client{addr: netip.MustParseAddr("198.51.100.7"), stream: true}
	encrypted := tlsOnly
	encrypted.transport = overTLS
	sign := func(key string) func([]byte) []byte {
		return func(b []byte) []byte {
			m := new(dns.Msg)
			if err := m.Unpack(b); err != nil {
				t.Fatal(err)
			}
			signed, _ := signedQuery(t, m, key, dns.HmacSHA256, time.Now())
			return signed
		}
	}
	cases := []struct {
		name  string
		query []byte
		sign  func([]byte) []byte
		from  client
		rcode int
	}{
		{name: "by network", query: axfr(t, "voice.test"), from: secondary()},
		{name: "stranger", query: axfr(t, "voice.test"), from: stranger, rcode: dns.RcodeRefused},
		{name: "stranger with the key", query: axfr(t, "voice.test"), sign: sign("good."), from: stranger},
		{name: "stranger with another key", query: axfr(t, "voice.test"), sign: sign("stranger."), from: stranger, rcode: dns.RcodeRefused},
		{name: "TLS wanted", query: axfr(t, "voice.test"), from: tlsOnly, rcode: dns.RcodeRefused},
		{name: "over TLS", query: axfr(t, "voice.test"), from: encrypted},
		{name: "steered zone", query: axfr(t, "steered.test"), from: secondary(), rcode: dns.RcodeRefused},
		{name: "not an apex", query: axfr(t, "www.voice.test"), from: secondary(), rcode: dns.RcodeNotAuth},
		{name: "not ours", query: axfr(t, "elsewhere.test"), from: secondary(), rcode: dns.RcodeRefused},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.sign != nil {
				c.query = c.sign(c.query)
			}
			got := s.transferred(t, c.query, c.from)
			if got[0].Rcode != c.rcode || (len(recordsOf(got)) > 0) != (c.rcode == 0) {
				t.Errorf("answered %v", got[0])
			}
		})
	}
}

// patch applies an IXFR to what a secondary has.
func patch(t testing.TB, have []string, records []dns.RR) []string {
	t.Helper()
	set := map[string]bool{}
	for _, line := range have {
		set[line] = true
	}
	first := records[0].(*dns.SOA)
	adding := true
	for _, rr := range records[1 : len(records)-1] {
		if _, ok := rr.(*dns.SOA); ok {
			adding = !adding
		}
		line := rr.String()
		if set[line] == adding {
			t.Fatalf("%s: adding %v, there already: %v", line, adding, set[line])
		}
		if adding {
			set[line] = true
		} else {
			delete(set, line)
		}
	}
	if !set[first.String()] {
		t.Fatalf("ends without SOA %s", first)
	}
	var lines []string
	for line := range set {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// TestDifferences: after any change, old version plus IXFR is the new version.
func TestDifferences(t *testing.T) {
	s := sharedWorld(t)
	revision := tandem.Revision(100)
	account := func(id, label string, edges ...string) *tandem.Account {
		return &tandem.Account{Head: tandem.Head{ID: id}, Zone: "voice.test", Edges: edges, Labels: []tandem.Label{{Label: label, Role: tandem.LabelCurrent}}}
	}
	zone := func(records string) *tandem.Zone {
		z := *readZone(s, "voice.test")
		z.Records = records
		return &z
	}
	cases := []struct {
		name  string
		kind  tandem.Kind
		id    string
		to    tandem.Object
		whole bool
	}{
		{name: "a new account", kind: tandem.KindAccount, id: "2000", to: account("2000", "fresh")},
		{name: "another label", kind: tandem.KindAccount, id: "1001", to: account("1001", "another")},
		{name: "other edges", kind: tandem.KindAccount, id: "1002", to: account("1002", "label2", "e2")},
		{name: "an account gone", kind: tandem.KindAccount, id: "1003"},
		{name: "nothing that shows", kind: tandem.KindAccount, id: "1004", to: &tandem.Account{Head: tandem.Head{ID: "1004"}, Zone: "voice.test",
			Labels: []tandem.Label{{Label: "label4", Role: tandem.LabelCurrent}}, Routes: map[tandem.RequestType][]string{"invite": {"a"}}}},
		{name: "an edge's address", kind: tandem.KindEdge, id: "e1", to: &tandem.Edge{Head: tandem.Head{ID: "e1"},
			Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.77")}, Ports: tandem.Ports{UDP: 5060}}},
		{name: "zone text", kind: tandem.KindZone, id: "voice.test", to: zone("www A 192.0.2.81\nnew TXT x\nlabel5 TXT hidden\n")},
		{name: "a label that hides zone text", kind: tandem.KindAccount, id: "2001", to: account("2001", "new"), whole: true},
		{name: "an edge gone", kind: tandem.KindEdge, id: "e2"},
	}
	have := contents(t, recordsOf(s.transferred(t, axfr(t, "voice.test"), secondary())))
	serial := s.model.serialOf(s.model.zoneOf("\x05voice\x04test\x00"))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			revision++
			s.change(revision, c.kind, c.id, c.to)
			records := recordsOf(s.transferred(t, ixfr(t, "voice.test", serial), secondary()))
			want := contents(t, recordsOf(s.transferred(t, axfr(t, "voice.test"), secondary())))
			var got []string
			if _, incremental := records[1].(*dns.SOA); incremental == c.whole {
				t.Fatalf("incremental: %v, want %v: %v", incremental, !c.whole, records)
			}
			if c.whole {
				got = contents(t, records)
			} else {
				got = patch(t, have, records)
			}
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			have, serial = want, uint32(revision)
		})
	}
	first := uint32(100 + 9) // after the one that had to be taken whole
	records := recordsOf(s.transferred(t, ixfr(t, "voice.test", first-1), secondary()))
	if _, incremental := records[1].(*dns.SOA); !incremental {
		t.Error("the last difference alone is not there")
	}
}

// readZone returns a zone's object much as it was applied.
func readZone(s *Server, id string) *tandem.Zone {
	key, _ := wireKey(id)
	z := s.model.zoneOf(key)
	return &tandem.Zone{Head: tandem.Head{ID: id}, Role: z.role, Mode: tandem.ModeTransferable, Secondaries: z.secondaries, Edges: []string{"e1"}}
}

// TestIncrementalForms: the cases of RFC 1995 sections 2 and 4.
func TestIncrementalForms(t *testing.T) {
	s := sharedWorld(t)
	now := uint32(100)
	s.change(100, tandem.KindAccount, "1003", nil)
	form := func(records []dns.RR) string {
		if len(records) == 1 {
			return "SOA"
		}
		if _, ok := records[1].(*dns.SOA); ok {
			return "differences"
		}
		return "whole"
	}
	last := s.lastBefore(t, now)
	cases := []struct {
		name   string
		serial uint32
		udp    bool
		want   string
	}{
		{"current", now, false, "SOA"},
		{"newer than ours", now + 1000, false, "SOA"},
		{"one behind", last, false, "differences"},
		{"unknown", 3, false, "whole"},
		{"current over UDP", now, true, "SOA"},
		{"one behind over UDP", last, true, "differences"},
		{"unknown over UDP", 3, true, "SOA"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			from := secondary()
			var records []dns.RR
			if from.stream = !c.udp; c.udp {
				q := new(dns.Msg)
				q.SetIxfr("voice.test.", c.serial, "ns.", "host.")
				q.SetEdns0(1232, false)
				out := make([]byte, datagramSize)
				m := new(dns.Msg)
				if err := m.Unpack(out[:s.handle(&counters{}, pack(t, q), out, from)]); err != nil {
					t.Fatal(err)
				}
				records = m.Answer
			} else {
				records = recordsOf(s.transferred(t, ixfr(t, "voice.test", c.serial), from))
			}
			if got := form(records); got != c.want {
				t.Errorf("answered %s, want %s: %v", got, c.want, records)
			}
		})
	}
	out := make([]byte, datagramSize)
	from := secondary()
	from.stream = false
	if n := s.handle(&counters{}, axfr(t, "voice.test"), out, from); n < headerSize || int(out[3]&15) != dns.RcodeFormatError {
		t.Errorf("AXFR over UDP: %x, want FORMERR", out[:n])
	}
}

// lastBefore returns the serial that the one difference to now begins at.
func (s *Server) lastBefore(t testing.TB, now uint32) uint32 {
	t.Helper()
	for serial := now - 1; serial > 0; serial-- {
		if d, ok := s.writer.journal.Since("voice.test", serial); ok && d[len(d)-1].To == now {
			return serial
		}
	}
	t.Fatal("no difference leads to the last version")
	return 0
}

// TestTransferIsOneVersion: what is applied while a transfer is under way does not show in it.
func TestTransferIsOneVersion(t *testing.T) {
	s := sharedWorld(t)
	before := contents(t, recordsOf(s.transferred(t, axfr(t, "voice.test"), secondary())))
	key, _ := wireKey("voice.test")
	z := s.model.zoneOf(key)
	snap, _ := s.version(z, 0)
	var lines []string
	revision := tandem.Revision(100)
	for set := range snap.sets() {
		revision++
		switch revision % 3 {
		case 0:
			s.change(revision, tandem.KindAccount, fmt.Sprintf("10%02d", revision%20), nil)
		case 1:
			s.change(revision, tandem.KindEdge, "e1", &tandem.Edge{Head: tandem.Head{ID: "e1"}, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(revision)})}, Ports: tandem.Ports{UDP: 5060}})
		case 2:
			s.change(revision, tandem.KindZone, "voice.test", &tandem.Zone{Head: tandem.Head{ID: "voice.test"}, Role: tandem.RoleAccounts,
				Mode: tandem.ModeTransferable, Secondaries: z.secondaries, Edges: []string{"e2"}, Records: fmt.Sprintf("w%d A 192.0.2.1\n", revision)})
		}
		for _, rr := range set {
			lines = append(lines, rr.String())
		}
	}
	slices.Sort(lines)
	if !slices.Equal(lines, before) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(before, "\n"))
	}
	after := contents(t, recordsOf(s.transferred(t, axfr(t, "voice.test"), secondary())))
	if slices.Equal(after, before) {
		t.Error("nothing was changed")
	}
}

// TestSignedTransfer: each message of a large transfer is signed, as the library checks it.
func TestSignedTransfer(t *testing.T) {
	s := sharedWorld(t)
	var text strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&text, "host%d TXT %s\n", i, strings.Repeat("x", 200))
	}
	z := readZone(s, "plain.test")
	z.Records = text.String()
	s.change(200, tandem.KindZone, "plain.test", z)
	q := new(dns.Msg)
	q.SetAxfr("plain.test.")
	query, mac := signedQuery(t, q, "good.", dns.HmacSHA256, time.Now())
	messages, records := 0, 0
	err := s.transfer(query, make([]byte, streamSize), client{addr: netip.MustParseAddr("203.0.113.9"), stream: true}, func(msg []byte) error {
		m := new(dns.Msg)
		if err := m.Unpack(msg); err != nil {
			t.Fatal(err)
		}
		records += len(m.Answer)
		if m.IsTsig() == nil || len(msg) > batchSize+1024 {
			t.Fatalf("message %d: %d octets, TSIG %v", messages, len(msg), m.IsTsig())
		}
		next := m.IsTsig().MAC
		if err := dns.TsigVerify(slices.Clone(msg), secretText(), mac, messages > 0); err != nil {
			t.Fatalf("message %d: %v", messages, err)
		}
		mac = next
		messages++
		if binary.BigEndian.Uint16(msg[4:]) != 0 && messages > 1 {
			t.Errorf("message %d repeats the question", messages)
		}
		return nil
	})
	if err != nil || messages < 30 || records != 3000+5 {
		t.Errorf("%d records in %d messages, %v", records, messages, err)
	}
}
