package dnsd

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// enumName returns the name of a number in 9.4.e164.test, whose apex stands for +49.
func enumName(number string) string {
	var b strings.Builder
	for i := len(number) - 1; i >= len("49"); i-- {
		b.WriteString(number[i:i+1] + ".")
	}
	return b.String() + "9.4.e164.test"
}

// numbered returns a server with accounts 1 (label one) and 2 (label two) and some numbers.
func numbered(t testing.TB) *Server {
	t.Helper()
	s := newServer(t)
	one, two := testAccount("1", "voice.test", "g", "one"), testAccount("2", "voice.test", "g", "two")
	one.Numbers, two.TTL = []string{"+4930123", "+49301234"}, tandem.TTL{NAPTR: 77}
	objects := []tandem.Object{
		&tandem.Zone{Head: tandem.Head{ID: "voice.test"}, Role: tandem.RoleAccounts, ServiceZone: "svc.test"},
		&tandem.Zone{Head: tandem.Head{ID: "9.4.e164.test"}, Role: tandem.RoleENUM, Records: "_info TXT \"plain\"\n0.0.0.5 NS ns.else.test.\n"},
		one, two,
		&tandem.User{Head: tandem.Head{ID: "u"}, Account: "2", Numbers: []string{"+4940999"}},
		&tandem.NumberRange{Head: tandem.Head{ID: "r1"}, Prefix: "+4989", Account: "1", Least: 8, Most: 10},
		&tandem.NumberRange{Head: tandem.Head{ID: "r2"}, Prefix: "+49895", Account: "2", Least: 9, Service: []tandem.ENUMService{
			{Service: "E2U+sip", Regexp: `!^(.*)$!sip:\1@x"y!`}, {Order: 200, Preference: 5, Service: "E2U+pstn:tel", Regexp: "!^.*$!tel:+1!"}}},
	}
	for i, o := range objects {
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		s.change(tandem.Revision(i+1), o.Kind(), o.Header().ID, o)
	}
	return s
}

func TestENUM(t *testing.T) {
	s := numbered(t)
	sip := func(number, label string) string {
		return fmt.Sprintf(`NOERROR, 100 10 "u" "E2U+sip" "!^.*$!sip:+%s@%s.voice.test!" .`, number, label)
	}
	for number, want := range map[string]string{
		"4930123": sip("4930123", "one"), "49301234": sip("49301234", "one"), "4940999": sip("4940999", "two"),
		"4930": "NOERROR", "493012": "NOERROR", "49301235": "NXDOMAIN", "493013": "NXDOMAIN", "493012345": "NXDOMAIN", "4931": "NXDOMAIN",
		"498": "NOERROR", "4989": "NOERROR", "4989123": "NOERROR",
		"49891234": sip("49891234", "one"), "4989123456": sip("4989123456", "one"), "49891234567": "NXDOMAIN",
		"4989512":          "NOERROR", // the longest prefix counts
		"498951234":        `NOERROR, 100 10 "u" "E2U+sip" "!^(.*)$!sip:\\1@x\"y!" ., 200 5 "u" "E2U+pstn:tel" "!^.*$!tel:+1!" .`,
		"4912345678901234": "NXDOMAIN",
	} {
		s.wantRecords(t, enumName(number), dns.TypeNAPTR, want)
	}
	s.wantRecords(t, enumName("4930123"), dns.TypeA, "NOERROR")
	s.wantRecords(t, "_info.9.4.e164.test", dns.TypeTXT, `NOERROR, "plain"`)
	s.wantRecords(t, "x.3.9.4.e164.test", dns.TypeNAPTR, "NXDOMAIN")
	if got := s.answersTo(t, "192.0.2.1", enumName("4930123"), dns.TypeNAPTR); got != "REFUSED" {
		t.Errorf("from elsewhere: %s, want REFUSED", got)
	}
}

// TestENUMOctets: a substitution comes back octet for octet.
func TestENUMOctets(t *testing.T) {
	s := numbered(t)
	q := new(dns.Msg)
	q.SetQuestion(enumName("498951234")+".", dns.TypeNAPTR)
	query, _ := q.Pack()
	answer := s.askBoth(t, query, client{addr: netip.MustParseAddr("127.0.0.1")})
	if want := []byte("\x01u\x07E2U+sip\x13!^(.*)$!sip:\\1@x\"y!\x00"); !bytes.Contains(answer, want) {
		t.Errorf("%q does not hold %q", answer, want)
	}
}

// TestENUMFollows: numbers follow accounts, labels, users and ranges.
func TestENUMFollows(t *testing.T) {
	s := numbered(t)
	serial := func() uint32 {
		key, _ := wireKey("9.4.e164.test")
		return s.model.serialOf(s.model.zoneOf(key))
	}
	one := testAccount("1", "voice.test", "g", "fresh")
	one.Labels = append(one.Labels, tandem.Label{Label: "one", Role: tandem.LabelRetired})
	one.Numbers = []string{"+4930123"}
	s.change(50, tandem.KindAccount, "1", one)
	s.wantRecords(t, enumName("4930123"), dns.TypeNAPTR, `NOERROR, 100 10 "u" "E2U+sip" "!^.*$!sip:+4930123@fresh.voice.test!" .`)
	s.wantRecords(t, enumName("49301234"), dns.TypeNAPTR, "NXDOMAIN")
	if serial() != 50 {
		t.Errorf("serial %d, want 50", serial())
	}
	s.change(51, tandem.KindUser, "u", nil)
	s.wantRecords(t, enumName("4940999"), dns.TypeNAPTR, "NXDOMAIN")
	s.wantRecords(t, enumName("49"+"40"), dns.TypeNAPTR, "NXDOMAIN")
	s.change(52, tandem.KindNumberRange, "r2", nil)
	s.wantRecords(t, enumName("498951234"), dns.TypeNAPTR, `NOERROR, 100 10 "u" "E2U+sip" "!^.*$!sip:+498951234@fresh.voice.test!" .`)
	s.change(53, tandem.KindNumberRange, "r1", nil)
	s.wantRecords(t, enumName("498"), dns.TypeNAPTR, "NXDOMAIN")
	s.change(54, tandem.KindAccount, "2", testAccount("2", "voice.test", "g", "other"))
	if serial() != 53 {
		t.Errorf("serial %d after an account without numbers changed, want 53", serial())
	}
	s.change(55, tandem.KindAccount, "1", nil)
	s.wantRecords(t, enumName("4930123"), dns.TypeNAPTR, "NXDOMAIN")
	if rows := s.model.numbers.below.rows.Load(); rows != 0 {
		t.Errorf("%d rows are left of no number", rows)
	}
}

// TestNumbersModel compares with a plain list of numbers and prefixes, through random changes.
func TestNumbersModel(t *testing.T) {
	g := rand.New(rand.NewPCG(3, 4))
	number := func() string {
		b := make([]byte, 1+g.IntN(5))
		for i := range b {
			b[i] = '0' + byte(g.IntN(3))
		}
		return string(b)
	}
	n := newNumbers()
	sets := map[*table]map[string]string{n.held: {}, n.users: {}}
	prefixes := map[string]bool{}
	for range 20_000 {
		d := number()
		switch g.IntN(6) {
		case 0, 1, 2, 3:
			in := n.held
			if g.IntN(2) == 0 {
				in = n.users
			}
			account := []string{"", "a", "b"}[g.IntN(3)]
			n.put(in, d, account)
			if sets[in][d] = account; account == "" {
				delete(sets[in], d)
			}
		case 4:
			n.putRange(d, &numberRange{})
			prefixes[d] = true
		default:
			n.putRange(d, nil)
			delete(prefixes, d)
		}
		look := number()
		packed, _ := packDigits(look)
		leads, owner := false, sets[n.held][look]
		if owner == "" {
			owner = sets[n.users][look]
		}
		for _, all := range []map[string]string{sets[n.held], sets[n.users]} {
			for k := range all {
				leads = leads || len(k) > len(look) && strings.HasPrefix(k, look)
			}
		}
		for k := range prefixes {
			leads = leads || len(k) > len(look) && strings.HasPrefix(k, look)
		}
		if n.leadsOn(packed) != leads || n.owner(packed) != owner || packed.text() != look {
			t.Fatalf("%s (%s): leads on %v, owner %q; want %v, %q", look, packed.text(), n.leadsOn(packed), n.owner(packed), leads, owner)
		}
	}
}

// TestNumbersMemory: what a number costs, in blocks of a hundred and alone.
func TestNumbersMemory(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("takes a while")
	}
	const many = 200_000
	for name, number := range map[string]func(int) string{
		"blocks": func(i int) string { return fmt.Sprintf("4930%08d", i/100*7919%1_000_000*100+i%100) },
		"alone":  func(i int) string { return fmt.Sprintf("49%011d", i*7_919_777%100_000_000_000) },
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		n := newNumbers()
		for i := range many {
			n.put(n.held, number(i), fmt.Sprint(i/100))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		each := float64(after.HeapAlloc-before.HeapAlloc) / many
		t.Logf("%s: %.0f octets a number, %d names above", name, each, n.below.rows.Load())
		if each > 250 {
			t.Errorf("%s: %.0f octets a number", name, each)
		}
		runtime.KeepAlive(n)
	}
}
