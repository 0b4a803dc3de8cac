package update

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// memory is a zone of a test: sets as text, by name and type.
type memory struct {
	apex   string
	sets   map[string]map[uint16][]dns.RR
	denied string // a type that nobody may change
}

func newMemory(t testing.TB, text string) *memory {
	t.Helper()
	m := &memory{apex: Key("z.test."), sets: map[string]map[uint16][]dns.RR{}}
	p := dns.NewZoneParser(strings.NewReader(text), "z.test.", "")
	p.SetDefaultTTL(300)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		m.add(rr)
	}
	if p.Err() != nil {
		t.Fatal(p.Err())
	}
	return m
}

func (m *memory) add(rr dns.RR) {
	key := Key(rr.Header().Name)
	if m.sets[key] == nil {
		m.sets[key] = map[uint16][]dns.RR{}
	}
	m.sets[key][rr.Header().Rrtype] = append(m.sets[key][rr.Header().Rrtype], rr)
}

func (m *memory) Apex() string           { return m.apex }
func (m *memory) Holds(name string) bool { return strings.HasSuffix(name, m.apex) }
func (m *memory) Sets(name string) (sets [][]dns.RR) {
	for _, s := range m.sets[name] {
		sets = append(sets, s)
	}
	return sets
}
func (m *memory) Fixed(name string, rrtype uint16) bool {
	return name == Key("fixed.z.test.") && rrtype == dns.TypeA
}
func (m *memory) May(_ string, rrtype uint16) bool { return dns.Type(rrtype).String() != m.denied }

// after takes the outcome of an update into m.
func (m *memory) after(sets []Set) {
	for _, s := range sets {
		if m.sets[s.Name] == nil {
			m.sets[s.Name] = map[uint16][]dns.RR{}
		}
		delete(m.sets[s.Name], s.Type)
		for _, rr := range s.Records {
			rr = dns.Copy(rr)
			name, _, _ := dns.UnpackDomainName([]byte(s.Name), 0)
			rr.Header().Name, rr.Header().Ttl = name, s.TTL
			m.add(rr)
		}
	}
}

// text returns what m holds, a record a line.
func (m *memory) text() string {
	var lines []string
	for _, sets := range m.sets {
		for _, s := range sets {
			for _, rr := range s {
				lines = append(lines, strings.ReplaceAll(strings.Join(strings.Fields(strings.Replace(rr.String(), "\tIN\t", " ", 1)), " "), ".z.test.", ""))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

const zoneText = `
@ SOA ns host 1 2 3 4 5
@ NS ns
@ NS ns2
a A 192.0.2.1
a A 192.0.2.2
a TXT "x"
alias CNAME a
fixed A 192.0.2.9
fixed TXT "y"
b.ent TXT "deep"
`

// message reads a script: lines of "<section> <record>", where a record's class says what it is.
func message(t testing.TB, script string) *Request {
	t.Helper()
	m := new(dns.Msg)
	m.SetUpdate("z.test.")
	for line := range strings.Lines(script) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		name := f[1] + ".z.test."
		if f[1] == "@" {
			name = "z.test."
		} else if strings.HasSuffix(f[1], ".") {
			name = f[1]
		}
		hdr := dns.RR_Header{Name: name, Rrtype: dns.StringToType[f[2]]}
		record := func(ttl string) dns.RR {
			rr, err := dns.NewRR(fmt.Sprintf("$ORIGIN z.test.\n%s %s IN %s %s", name, ttl, f[2], strings.Join(f[3:], " ")))
			if err != nil {
				t.Fatal(err)
			}
			return rr
		}
		switch f[0] {
		case "exists":
			hdr.Class = dns.ClassANY
			m.Answer = append(m.Answer, &dns.ANY{Hdr: hdr})
		case "absent":
			hdr.Class = dns.ClassNONE
			m.Answer = append(m.Answer, &dns.ANY{Hdr: hdr})
		case "equals":
			m.Answer = append(m.Answer, record("0"))
		case "add":
			m.Ns = append(m.Ns, record("60"))
		case "wipe":
			hdr.Class = dns.ClassANY
			m.Ns = append(m.Ns, &dns.ANY{Hdr: hdr})
		case "remove":
			rr := record("0")
			rr.Header().Class = dns.ClassNONE
			m.Ns = append(m.Ns, rr)
		default:
			t.Fatalf("what is %q?", line)
		}
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	r, rcode := Parse(b)
	if rcode != dns.RcodeSuccess {
		t.Fatalf("Parse = %s", dns.RcodeToString[rcode])
	}
	return r
}

func TestUpdate(t *testing.T) {
	cases := []struct {
		name, script string
		want         string // lines that differ, each with - or +; or an rcode
	}{
		{"nothing", "", ""},
		{"name in use", "exists a ANY\nadd n A 192.0.2.3", "+n 60 A 192.0.2.3"},
		{"name in use, not", "exists n ANY\nadd n A 192.0.2.3", "NXDOMAIN"},
		{"an empty non-terminal is not in use", "exists ent ANY", "NXDOMAIN"},
		{"name not in use", "absent n ANY\nadd n A 192.0.2.3", "+n 60 A 192.0.2.3"},
		{"name not in use, but it is", "absent a ANY\nadd n A 192.0.2.3", "YXDOMAIN"},
		{"set exists", "exists a TXT\nadd n A 192.0.2.3", "+n 60 A 192.0.2.3"},
		{"set exists, not", "exists a MX", "NXRRSET"},
		{"set does not exist", "absent a MX\nadd n A 192.0.2.3", "+n 60 A 192.0.2.3"},
		{"set does not exist, but it does", "absent a A", "YXRRSET"},
		{"set is equal", "equals a A 192.0.2.2\nequals a A 192.0.2.1\nadd n A 192.0.2.3", "+n 60 A 192.0.2.3"},
		{"set is smaller", "equals a A 192.0.2.1", "NXRRSET"},
		{"set is larger", "equals a TXT \"x\"\nequals a TXT \"y\"", "NXRRSET"},
		{"set is equal but for case", "equals alias CNAME A", ""},
		{"prerequisite elsewhere", "exists a.other. ANY", "NOTZONE"},
		{"the first prerequisite counts", "exists n ANY\nabsent a ANY", "NXDOMAIN"},

		{"add to a set", "add a A 192.0.2.3", "-a 300 A 192.0.2.1\n-a 300 A 192.0.2.2\n+a 60 A 192.0.2.1\n+a 60 A 192.0.2.2\n+a 60 A 192.0.2.3"},
		{"add what is there", `add a TXT "x"`, "-a 300 TXT \"x\"\n+a 60 TXT \"x\""},
		{"an alias beside other sets", "add a CNAME b", ""},
		{"other sets beside an alias", "add alias A 192.0.2.3", ""},
		{"an alias for another", "add alias CNAME b", "-alias 300 CNAME a\n+alias 60 CNAME b"},
		{"an alias once the others are gone", "wipe a ANY\nadd a CNAME b", "-a 300 A 192.0.2.1\n-a 300 A 192.0.2.2\n-a 300 TXT \"x\"\n+a 60 CNAME b"},
		{"an alias at the apex", "add @ CNAME b", ""},
		{"an SOA", "add @ SOA ns host 4000000000 2 3 4 5", ""},
		{"an SOA elsewhere", "add n SOA ns host 4000000000 2 3 4 5", ""},
		{"update elsewhere", "add a.other. A 192.0.2.3", "NOTZONE"},
		{"in order", "add n A 192.0.2.3\nremove n A 192.0.2.3\nadd n A 192.0.2.4", "+n 60 A 192.0.2.4"},
		{"all or nothing", "add n A 192.0.2.3\nadd a.other. A 192.0.2.3", "NOTZONE"},

		{"wipe a set", "wipe a A", "-a 300 A 192.0.2.1\n-a 300 A 192.0.2.2"},
		{"wipe a name", "wipe a ANY", "-a 300 A 192.0.2.1\n-a 300 A 192.0.2.2\n-a 300 TXT \"x\""},
		{"wipe the apex", "add @ TXT x\nwipe @ ANY", ""},
		{"wipe NS of the apex", "wipe @ NS", ""},
		{"wipe SOA of the apex", "wipe @ SOA", ""},
		{"wipe what is fixed in part", "wipe fixed ANY", "-fixed 300 TXT \"y\""},
		{"wipe what is fixed", "wipe fixed A", "REFUSED"},
		{"wipe nothing", "wipe n ANY\nwipe a PTR", ""},

		{"remove a record", "remove a A 192.0.2.1", "-a 300 A 192.0.2.1"},
		{"remove what is not there", "remove a A 192.0.2.7\nremove n A 192.0.2.7", ""},
		{"remove one NS of the apex", "remove @ NS ns2", "-z.test. 300 NS ns2"},
		{"remove all NS of the apex", "remove @ NS ns\nremove @ NS ns2", "-z.test. 300 NS ns"},
		{"remove the SOA", "remove @ SOA ns host 1 2 3 4 5", ""},
		{"remove an alias by data in another case", "remove alias CNAME A", "-alias 300 CNAME a"},

		{"a type that the key may not", "add n MX 1 a", "REFUSED"},
		{"wipe a name with a type that the key may not", "wipe a ANY\nadd q MX 1 a", "REFUSED"},
		{"prerequisites come before permission", "exists n ANY\nadd n MX 1 a", "NXDOMAIN"},
		{"permission comes before form", "add n MX 1 a\nadd a.other. A 192.0.2.3", "REFUSED"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory(t, zoneText)
			m.denied = "MX"
			before := strings.Split(m.text(), "\n")
			sets, rcode := message(t, c.script).Apply(m)
			got := dns.RcodeToString[rcode]
			if rcode == dns.RcodeSuccess {
				m.after(sets)
				got = difference(before, strings.Split(m.text(), "\n"))
			} else if sets != nil {
				t.Errorf("%s, and sets %v", got, sets)
			}
			if got != c.want {
				t.Errorf("%s\n%s\nwant\n%s", c.script, got, c.want)
			}
		})
	}
}

func difference(a, b []string) string {
	var out []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			out = append(out, "-"+x)
		}
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			out = append(out, "+"+x)
		}
	}
	return strings.Join(out, "\n")
}

// TestForm gives records that no client should send.
func TestForm(t *testing.T) {
	header := func(name string, rrtype, class uint16, ttl uint32) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: rrtype, Class: class, Ttl: ttl}
	}
	a := func(class uint16, ttl uint32) dns.RR {
		return &dns.A{Hdr: header("a.z.test.", dns.TypeA, class, ttl), A: []byte{192, 0, 2, 1}}
	}
	empty := func(rrtype, class uint16, ttl uint32) dns.RR {
		return &dns.ANY{Hdr: header("a.z.test.", rrtype, class, ttl)}
	}
	cases := []struct {
		name         string
		prerequisite dns.RR
		update       dns.RR
	}{
		{"prerequisite with TTL", empty(dns.TypeA, dns.ClassANY, 1), nil},
		{"prerequisite of class CH", empty(dns.TypeA, dns.ClassCHAOS, 0), nil},
		{"prerequisite ANY with data", a(dns.ClassANY, 0), nil},
		{"prerequisite NONE with data", a(dns.ClassNONE, 0), nil},
		{"update of class CH", nil, a(dns.ClassCHAOS, 0)},
		{"add without data", nil, empty(dns.TypeA, dns.ClassINET, 60)},
		{"add ANY", nil, empty(dns.TypeANY, dns.ClassINET, 60)},
		{"add AXFR", nil, empty(dns.TypeAXFR, dns.ClassINET, 60)},
		{"wipe with TTL", nil, empty(dns.TypeA, dns.ClassANY, 1)},
		{"wipe with data", nil, a(dns.ClassANY, 0)},
		{"wipe MAILB", nil, empty(dns.TypeMAILB, dns.ClassANY, 0)},
		{"remove with TTL", nil, a(dns.ClassNONE, 1)},
		{"remove ANY", nil, empty(dns.TypeANY, dns.ClassNONE, 0)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := &Request{}
			for rr, section := range map[dns.RR]*[]dns.RR{c.prerequisite: &r.Prerequisites, c.update: &r.Updates} {
				if rr == nil {
					continue
				}
				b := make([]byte, 512)
				n, err := dns.PackRR(rr, b, 0, nil, false)
				if err != nil {
					t.Fatal(err)
				}
				parsed, _, err := dns.UnpackRR(b[:n], 0)
				if err != nil {
					t.Fatal(err)
				}
				*section = []dns.RR{parsed}
			}
			if sets, rcode := r.Apply(newMemory(t, zoneText)); rcode != dns.RcodeFormatError || sets != nil {
				t.Errorf("Apply = %v, %s, want FORMERR", sets, dns.RcodeToString[rcode])
			}
		})
	}
}

// TestModel compares with a model that knows records only: a zone is a set of lines.
func TestModel(t *testing.T) {
	for seed := range 3000 {
		g := rand.New(rand.NewPCG(uint64(seed), 5))
		m := newMemory(t, "@ SOA ns host 1 2 3 4 5\n@ NS ns\n")
		model := map[string]bool{"@ NS ns": true}
		for range 4 {
			var script []string
			next := map[string]bool{}
			for k := range model {
				next[k] = true
			}
			for range 1 + g.IntN(4) {
				script = append(script, randomStep(g, next))
			}
			m2 := message(t, strings.Join(script, "\n"))
			sets, rcode := m2.Apply(m)
			if rcode != dns.RcodeSuccess {
				t.Fatalf("seed %d: %s: %s", seed, script, dns.RcodeToString[rcode])
			}
			m.after(sets)
			model = next
			if got, want := m.lines(), lines(model); got != want {
				t.Fatalf("seed %d, %q: zone\n%s\nmodel\n%s", seed, script, got, want)
			}
		}
	}
}

// randomStep returns one update, having done it to model.
func randomStep(g *rand.Rand, model map[string]bool) string {
	name := []string{"@", "a", "b"}[g.IntN(3)]
	record := []string{"A 192.0.2.1", "A 192.0.2.2", "TXT x", "CNAME t", "CNAME u", "NS ns", "NS ns2"}[g.IntN(7)]
	kind, _, _ := strings.Cut(record, " ")
	protected := func(k string) bool { return name == "@" && strings.HasPrefix(k, "@ NS") }
	switch g.IntN(4) {
	case 0, 1:
		clash := name == "@" && kind == "CNAME"
		for k := range model {
			f := strings.Fields(k)
			clash = clash || f[0] == name && f[1] != kind && (f[1] == "CNAME" || kind == "CNAME")
		}
		if !clash {
			for k := range model {
				if kind == "CNAME" && strings.HasPrefix(k, name+" CNAME ") {
					delete(model, k)
				}
			}
			model[name+" "+record] = true
		}
		return "add " + name + " " + record
	case 2:
		if g.IntN(2) == 0 {
			kind = "ANY"
		}
		for k := range model {
			f := strings.Fields(k)
			if f[0] == name && (kind == "ANY" || f[1] == kind) && !protected(k) {
				delete(model, k)
			}
		}
		return "wipe " + name + " " + kind
	}
	servers := 0
	for k := range model {
		if strings.HasPrefix(k, "@ NS") {
			servers++
		}
	}
	if k := name + " " + record; !protected(k) || servers > 1 {
		delete(model, k)
	}
	return "remove " + name + " " + record
}

func lines(model map[string]bool) string {
	var out []string
	for k := range model {
		out = append(out, k)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func (m *memory) lines() string {
	model := map[string]bool{}
	for line := range strings.SplitSeq(m.text(), "\n") {
		f := strings.Fields(line)
		f[0] = strings.TrimSuffix(f[0], "z.test.")
		if f[0] == "" {
			f[0] = "@"
		}
		f[len(f)-1] = strings.Trim(f[len(f)-1], `"`)
		if f[2] != "SOA" {
			model[f[0]+" "+strings.Join(f[2:], " ")] = true
		}
	}
	return lines(model)
}

// FuzzParse: no octets make the parser or the rules panic, and what they say is a response code of RFC 2136.
func FuzzParse(f *testing.F) {
	m := new(dns.Msg)
	m.SetUpdate("z.test.")
	rr, _ := dns.NewRR("a.z.test. 60 IN A 192.0.2.1")
	m.Insert([]dns.RR{rr})
	m.NameUsed([]dns.RR{rr})
	m.Remove([]dns.RR{rr})
	b, _ := m.Pack()
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		r, rcode := Parse(in)
		if (r == nil) != (rcode != dns.RcodeSuccess) {
			t.Fatalf("Parse = %v, %d", r, rcode)
		}
		if r == nil {
			return
		}
		z := newMemory(t, zoneText)
		sets, rcode := r.Apply(z)
		if rcode != dns.RcodeSuccess && sets != nil {
			t.Fatalf("%d with sets", rcode)
		}
		z.after(sets)
		if ns := z.sets[z.apex][dns.TypeNS]; len(ns) == 0 {
			t.Fatal("the apex has lost its NS")
		}
	})
}
