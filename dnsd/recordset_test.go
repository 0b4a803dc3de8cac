package dnsd

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// recordSet returns a RecordSet of everybody's.
func recordSet(zone, name, rrtype string, records ...string) *tandem.RecordSet {
	return &tandem.RecordSet{
		Head: tandem.Head{ID: tandem.RecordSetID(name, rrtype, "")},
		Zone: zone, Name: name, Type: rrtype, Records: records,
	}
}

// putSet applies a RecordSet under a revision of its own.
func (s *Server) putSet(t testing.TB, r *tandem.RecordSet) {
	t.Helper()
	if err := r.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := CheckRecordSet(r); err != nil {
		t.Fatal(err)
	}
	s.change(1000, tandem.KindRecordSet, r.ID, r)
}

func TestCheckRecordSet(t *testing.T) {
	cases := []struct {
		name string
		set  *tandem.RecordSet
		want string // "" for none
	}{
		{"text", recordSet("z.test", "a.z.test", "TXT", `"one" "two"`, "three"), ""},
		{"unknown type", recordSet("z.test", "a.z.test", "TYPE65400", `\# 3 010203`), ""},
		{"tombstone", recordSet("z.test", "a.z.test", "A"), ""},
		{"relative name", recordSet("z.test", "a.z.test", "CNAME", "b"), ""},
		{"escaped name", recordSet("z.test", `a\.b.z.test`, "A", "192.0.2.1"), ""},
		{"name spelled otherwise", recordSet("z.test", `\097.z.test`, "A", "192.0.2.1"), `name: "\\097.z.test" is not a domain name in lower case, escaped as in zone text`},
		{"outside", recordSet("z.test", "a.y.test", "A", "192.0.2.1"), "name: lies outside zone z.test"},
		{"an end of the zone's name", recordSet("z.test", "az.test", "A", "192.0.2.1"), "name: lies outside zone z.test"},
		{"SOA", recordSet("z.test", "z.test", "SOA", "a b 1 2 3 4 5"), "type: SOA is the zone's own: its records say it"},
		{"RRSIG", recordSet("z.test", "z.test", "RRSIG"), "type: RRSIG is made by signing"},
		{"TYPE1", recordSet("z.test", "z.test", "TYPE1", "192.0.2.1"), `type: "TYPE1" is written A`},
		{"ANY", recordSet("z.test", "z.test", "ANY"), `type: "ANY" is not a type that can be stored`},
		{"nonsense", recordSet("z.test", "z.test", "NONSENSE"), `type: "NONSENSE" is not a type that can be stored`},
		{"CNAME at the apex", recordSet("z.test", "z.test", "CNAME", "b"), "type: CNAME cannot stand at the apex"},
		{"two CNAMEs", recordSet("z.test", "a.z.test", "CNAME", "b", "c"), "records[1]: a second CNAME at a.z.test."},
		{"not data", recordSet("z.test", "a.z.test", "A", "192.0.2"), `records[0]: "192.0.2" is not the data of a A record: bad A: "192.0.2" is no address of 4 octets`},
		{"two lines", recordSet("z.test", "a.z.test", "TXT", "a\nb.z.test. A 192.0.2.1"), "records[0]: holds a control character"},
		{"another record in brackets", recordSet("z.test", "a.z.test", "TXT", "( a"), ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := CheckRecordSet(c.set)
			if c.name == "another record in brackets" {
				if err == nil {
					t.Error("no error for an open bracket")
				}
				return
			}
			if got := fmt.Sprint(err); got != c.want && !(err == nil && c.want == "") {
				t.Errorf("CheckRecordSet = %q, want %q", got, c.want)
			}
		})
	}
}

// TestRecordSetsBesideAccounts walks through sets at names of accounts.
func TestRecordSetsBesideAccounts(t *testing.T) {
	s := loadWorld(t, "voice")
	const zone = "voice.example.net"
	s.wantRecords(t, "_acme-challenge.k7."+zone, dns.TypeTXT, "NXDOMAIN")
	s.putSet(t, recordSet(zone, "_acme-challenge.k7."+zone, "TXT", `"token"`))
	s.putSet(t, recordSet(zone, "k7."+zone, "TXT", `"hello"`))
	s.putSet(t, recordSet(zone, "k7."+zone, "A", `192.0.2.99`))
	s.putSet(t, recordSet(zone, "a.deep.k7."+zone, "TXT", `"deep"`))
	s.putSet(t, recordSet(zone, "*.any.k7."+zone, "TXT", `"any"`))
	s.putSet(t, recordSet(zone, "_sip._udp.k7."+zone, "TXT", `"beside SRV"`))
	for _, c := range []struct {
		name   string
		rrtype uint16
		want   string
	}{
		{"_acme-challenge.k7", dns.TypeTXT, `NOERROR, "token"`},
		{"_acme-challenge.k7", dns.TypeA, "NOERROR"},
		{"_acme-challenge.b2", dns.TypeTXT, "NXDOMAIN"},
		{"k7", dns.TypeTXT, `NOERROR, "hello"`},
		{"k7", dns.TypeA, "NOERROR, 192.0.2.10, 192.0.2.20"},
		{"deep.k7", dns.TypeTXT, "NOERROR"},
		{"a.deep.k7", dns.TypeTXT, `NOERROR, "deep"`},
		{"b.deep.k7", dns.TypeTXT, "NXDOMAIN"},
		{"x.y.any.k7", dns.TypeTXT, `NOERROR, "any"`},
		{"x.any.k7", dns.TypeA, "NOERROR"},
		{"_sip._udp.k7", dns.TypeTXT, `NOERROR, "beside SRV"`},
		{"_sip._udp.k7", dns.TypeSRV, "NOERROR, 0 100 5060 e1.edge.voice.example.net., 10 5 5060 e2.edge.voice.example.net."},
		{"_udp.k7", dns.TypeTXT, "NOERROR"},
		{"nobody", dns.TypeTXT, "NXDOMAIN"},
	} {
		s.wantRecords(t, c.name+"."+zone, c.rrtype, c.want)
	}
	s.change(2000, tandem.KindRecordSet, tandem.RecordSetID("a.deep.k7."+zone, "TXT", ""), nil)
	s.wantRecords(t, "deep.k7."+zone, dns.TypeTXT, "NXDOMAIN")
	if serial := s.model.serialOf(s.model.zoneOf("\x05voice\x07example\x03net\x00")); serial != 2000 {
		t.Errorf("serial is %d after a record set's change, want 2000", serial)
	}
}

// TestRecordSetOfAnAccount: an account's set is served where a label leads to it and nowhere else.
func TestRecordSetOfAnAccount(t *testing.T) {
	s := loadWorld(t, "voice")
	const zone = "voice.example.net"
	for _, name := range []string{"_acme-challenge.k7", "_acme-challenge.b2", "old", "www"} {
		r := recordSet(zone, name+"."+zone, "TXT", `"mine"`)
		r.Account = "1001"
		s.putSet(t, r)
	}
	s.wantRecords(t, "_acme-challenge.k7."+zone, dns.TypeTXT, `NOERROR, "mine"`)
	s.wantRecords(t, "_acme-challenge.b2."+zone, dns.TypeTXT, "NXDOMAIN")
	s.wantRecords(t, "old."+zone, dns.TypeTXT, "NXDOMAIN")
	s.wantRecords(t, "www."+zone, dns.TypeTXT, "NXDOMAIN")
	a := testAccount("1001", zone, "g1", "fresh")
	a.Labels = append(a.Labels, tandem.Label{Label: "k7", Role: tandem.LabelRetired}, tandem.Label{Label: "old", Role: tandem.LabelVanity})
	s.change(2000, tandem.KindAccount, "1001", a)
	s.wantRecords(t, "_acme-challenge.k7."+zone, dns.TypeTXT, "NXDOMAIN")
	s.wantRecords(t, "k7."+zone, dns.TypeA, "NXDOMAIN")
	s.wantRecords(t, "old."+zone, dns.TypeTXT, `NOERROR, "mine"`)
}

// TestFastPathBesideRecordSets: sets of one account leave the others on the fast path.
func TestFastPathBesideRecordSets(t *testing.T) {
	s := loadWorld(t, "voice")
	s.putSet(t, recordSet("voice.example.net", "_acme-challenge.k7.voice.example.net", "TXT", `"token"`))
	for name, want := range map[string]bool{"k7": false, "b2": true, "unknown": true} {
		q := new(dns.Msg)
		q.SetQuestion(name+".voice.example.net.", dns.TypeA)
		query, _ := q.Pack()
		var bufs [2][65535]byte
		if fast := both(t, s.model, query, client{addr: netip.MustParseAddr("192.0.2.1")}, &bufs) > 0; fast != want {
			t.Errorf("%s by the fast path: %v, want %v", name, fast, want)
		}
	}
	s.putSet(t, recordSet("voice.example.net", "*.voice.example.net", "TXT", `"any"`))
	s.wantRecords(t, "unknown.voice.example.net", dns.TypeTXT, `NOERROR, "any"`)
}

// TestRecordSetsAreText: a zone with RecordSets answers like one whose text says the same.
func TestRecordSetsAreText(t *testing.T) {
	rounds := 300
	if testing.Short() || raceEnabled {
		rounds = 30
	}
	for seed := range rounds {
		compareOverlay(t, rand.New(rand.NewPCG(uint64(seed), 3)))
	}
}

// pile is the sets of a zone, by name relative to the apex and type.
type pile map[[2]string][]string

func (p pile) text() string {
	var b strings.Builder
	for _, k := range slices.SortedFunc(maps.Keys(p), func(a, b [2]string) int { return strings.Compare(a[0]+" "+a[1], b[0]+" "+b[1]) }) {
		for _, data := range p[k] {
			fmt.Fprintf(&b, "%s 300 %s %s\n", k[0], k[1], data)
		}
	}
	return b.String()
}

// lawful drops aliases that do not stand alone.
func (p pile) lawful() pile {
	for k := range p {
		for other := range p {
			if k[1] == "CNAME" && other[0] == k[0] && other[1] != "CNAME" {
				delete(p, k)
			}
		}
	}
	return p
}

func overlayNames() []string {
	return strings.Fields("@ a b *.b x.b y.x.b c *.c.c d.c * ns.a sub x.sub dn.b y")
}

func randomPile(g *rand.Rand) pile {
	data := map[string][]string{
		"A": {"192.0.2.1", "192.0.2.2"}, "TXT": {`"t"`, `"u"`}, "CNAME": {"x.b"}, "NS": {"ns.a"}, "DNAME": {"c"}, "MX": {"1 a", "2 x.b"},
	}
	kinds := []string{"A", "A", "TXT", "CNAME", "MX", "NS", "DNAME"}
	p := pile{}
	names := overlayNames()
	for range g.IntN(9) {
		name, kind := names[g.IntN(len(names))], kinds[g.IntN(len(kinds))]
		if name == "@" && (kind == "CNAME" || kind == "NS") || kind == "DNAME" && name == "@" {
			continue
		}
		p[[2]string{name, kind}] = data[kind][:1+g.IntN(len(data[kind]))]
	}
	return p
}

func compareOverlay(t *testing.T, g *rand.Rand) {
	t.Helper()
	text, sets := randomPile(g).lawful(), randomPile(g)
	merged := maps.Clone(text)
	for k, data := range sets {
		if g.IntN(4) == 0 {
			sets[k], data = nil, nil
		}
		delete(merged, k)
		if data != nil {
			merged[k] = data
		}
	}
	for k := range text { // tombstones that hit something
		if _, set := sets[k]; !set && g.IntN(4) == 0 {
			sets[k] = nil
			delete(merged, k)
		}
	}
	merged.lawful()
	over, plain := newServer(t), newServer(t)
	zoneOf := func(p pile) *tandem.Zone {
		return &tandem.Zone{Head: tandem.Head{ID: "z.test"}, Role: tandem.RolePlain, Records: p.text()}
	}
	late := g.IntN(2) == 0
	if !late {
		over.change(1, tandem.KindZone, "z.test", zoneOf(text))
	}
	for k, data := range sets {
		name := strings.TrimPrefix(k[0]+".z.test", "@.")
		if g.IntN(3) == 0 { // something else first
			over.putSet(t, recordSet("z.test", name, k[1]))
		}
		over.putSet(t, recordSet("z.test", name, k[1], data...))
		extra := recordSet("z.test", "gone."+name, "A", "192.0.2.3")
		over.putSet(t, extra)
		over.change(1000, tandem.KindRecordSet, extra.ID, nil)
	}
	if late {
		over.change(1, tandem.KindZone, "z.test", zoneOf(text))
	}
	plain.change(1000, tandem.KindZone, "z.test", zoneOf(merged))
	over.change(1000, tandem.KindZone, "other.test", &tandem.Zone{Head: tandem.Head{ID: "other.test"}, Role: tandem.RolePlain})
	for _, label := range []string{"", "x.", "y.x.", "sub."} {
		for _, end := range overlayNames() {
			for _, rrtype := range []uint16{dns.TypeA, dns.TypeTXT, dns.TypeNS, dns.TypeCNAME} {
				name := label + strings.TrimPrefix(end+".z.test", "@.")
				want, got := replyText(plain, name, rrtype), replyText(over, name, rrtype)
				if got != want {
					t.Fatalf("%s %s:\n%s\nas text:\n%s\ntext\n%s\nsets %v", name, dns.Type(rrtype), got, want, text.text(), sets)
				}
			}
		}
	}
}

// replyText returns what s says, its sets in order.
func replyText(s *Server, name string, rrtype uint16) string {
	key, _ := wireKey(name)
	r := s.model.lookup(s.model.zoneOf(key), question{name: name + ".", key: key, rrtype: rrtype})
	var lines []string
	for i, sets := range [][]rrset{r.answer, r.authority, r.extra} {
		var section []string
		for _, rr := range flatten(sets) {
			if rr.Header().Rrtype != dns.TypeSOA {
				section = append(section, fmt.Sprint(i, " ", rr))
			}
		}
		slices.Sort(section)
		lines = append(lines, section...)
	}
	return dns.RcodeToString[r.rcode] + "\n" + strings.Join(lines, "\n")
}

// TestManyRecordSets: with 100,000 sets in a zone, one change more costs no more than the first ones did.
func TestManyRecordSets(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("takes a while")
	}
	s := loadWorld(t, "voice")
	var changes []tandem.Change
	for i := range 100_000 {
		r := recordSet("voice.example.net", fmt.Sprintf("_acme-challenge.h%d.voice.example.net", i), "TXT", `"token"`)
		changes = append(changes, tandem.Change{Revision: tandem.Revision(100 + i), Kind: tandem.KindRecordSet, ID: r.ID, Object: r})
	}
	for batch := range slices.Chunk(changes, 1000) {
		s.Apply(batch)
	}
	s.wantRecords(t, "_acme-challenge.h77777.voice.example.net", dns.TypeTXT, `NOERROR, "token"`)
	s.wantRecords(t, "h77777.voice.example.net", dns.TypeTXT, "NOERROR")
	r := recordSet("voice.example.net", "_acme-challenge.k7.voice.example.net", "TXT", `"one more"`)
	change := []tandem.Change{{Revision: 200_000, Kind: tandem.KindRecordSet, ID: r.ID, Object: r}}
	cost := testing.AllocsPerRun(100, func() { s.Apply(change) })
	if cost > 500 {
		t.Errorf("one change among 100,000 allocates %v times", cost)
	}
	s.wantRecords(t, "_acme-challenge.k7.voice.example.net", dns.TypeTXT, `NOERROR, "one more"`)
}

// FuzzRecordData: what came over the wire and is kept as text comes back as the same octets.
func FuzzRecordData(f *testing.F) {
	for _, text := range []string{"A 192.0.2.1", `TXT "a\"b\\c" ""`, "MX 1 a.B.", `NAPTR 1 2 "u" "E2U+sip" "!^(.*)$!sip:\\1@x!" .`, "SVCB 1 . alpn=h2 port=53", "CAA 0 issue \"ca\"",
		"LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m", "APL 1:192.0.2.0/24", "TYPE65400 \\# 2 0102", "HINFO a b", "URI 1 2 \"x\"", "TLSA 1 1 1 aabb"} {
		rr, err := dns.NewRR("x. 60 IN " + text)
		if err != nil {
			f.Fatal(text, err)
		}
		data, err := packData(rr)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(rr.Header().Rrtype, data)
	}
	f.Fuzz(func(t *testing.T, rrtype uint16, data []byte) {
		if isMeta(rrtype) || isSigning(rrtype) || rrtype == dns.TypeSOA || len(data) == 0 || len(data) > 4000 {
			return
		}
		b := append([]byte{1, 'x', 0, byte(rrtype >> 8), byte(rrtype), 0, 1, 0, 0, 0, 60, byte(len(data) >> 8), byte(len(data))}, data...)
		rr, n, err := dns.UnpackRR(b, 0)
		if err != nil || n != len(b) {
			return
		}
		want, err := packData(rr)
		if err != nil {
			return
		}
		r := recordSet("z.test", "x.z.test", typeText(rrtype), recordData(rr))
		_, _, set, err := readRecordSet(r)
		if err != nil {
			if len(want) == 0 {
				return
			}
			t.Fatalf("%q: %v", r.Records, err)
		}
		if got, err := packData(set[0]); err != nil || string(got) != string(want) {
			t.Fatalf("%q is kept as %q and comes back as %q, %v", want, r.Records, got, err)
		}
	})
}
