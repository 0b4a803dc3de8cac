package tests

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// hardZone is a random zone made of what DNS servers get wrong: wildcards at and below empty
// non-terminals, chains and loops of aliases, delegations, names that a cut hides, long and odd labels.
type hardZone struct {
	rng    *rand.Rand
	id     string              // apex without trailing dot
	text   []string            // records, one a line
	names  []string            // owners and other names worth asking, in text form, absolute
	types  map[string][]string // what stands at an owner, by its name in lower case
	dnames []string
	cuts   []string
	child  string // end of the names in the child zone, if there is one
}

// newHardZone makes the zone number n of a seed. One in four is the child of the one before.
func newHardZone(seed uint64, n int) *hardZone {
	z := &hardZone{rng: rand.New(rand.NewPCG(seed, uint64(n))), id: fmt.Sprintf("z%d.test", n), types: map[string][]string{}}
	if n%4 == 3 {
		z.id = fmt.Sprintf("sub.z%d.test", n-1)
	}
	minimum := pick(z.rng, 5, 60, 7200)
	z.line(z.apex(), "SOA", fmt.Sprintf("ns1.%s hostmaster.%s 1 3600 600 86400 %d", z.apex(), z.apex(), minimum))
	z.line(z.apex(), "NS", "ns1."+z.apex())
	z.line(z.apex(), "NS", "ns.elsewhere.example.")
	z.line("ns1."+z.apex(), "A", "192.0.2.53")
	if n%4 == 2 {
		z.line("sub."+z.apex(), "NS", "ns1.sub."+z.apex())
		z.line("ns1.sub."+z.apex(), "A", "192.0.2.53")
		z.cuts = append(z.cuts, "sub."+z.apex())
		z.child = ".sub." + z.apex() // NSD takes what the parent hides there for the child's
	}
	for range 1 + z.rng.IntN(3) {
		z.addRedirection()
	}
	for range 1 + z.rng.IntN(4) {
		z.addDelegation()
	}
	for range 10 + z.rng.IntN(30) {
		z.addData(z.randomName(z.apex(), 4))
	}
	for range 3 + z.rng.IntN(5) {
		z.addData("*." + z.someName())
	}
	for range 5 + z.rng.IntN(10) {
		z.addAlias()
	}
	z.addLongName()
	return z
}

func (z *hardZone) apex() string { return z.id + "." }

func pick[T any](rng *rand.Rand, choices ...T) T { return choices[rng.IntN(len(choices))] }

// line adds one record, if the rules that every server checks allow it there: an alias stands alone,
// and nothing stands below a DNAME. All records of a set have one TTL.
func (z *hardZone) line(owner, kind, data string) bool {
	key := strings.ToLower(owner)
	have := z.types[key]
	alone := kind == "CNAME" || slices.Contains(have, "CNAME")
	single := kind == "DNAME" && (len(have) > 0 || z.holdsBelow(key)) || slices.Contains(have, "DNAME") && (kind == "DNAME" || kind == "NS")
	hidden := z.child != "" && strings.HasSuffix(key, z.child)
	if alone && len(have) > 0 || single || hidden || z.isRedirected(key) || nameSize(owner) > 255 {
		return false
	}
	if !slices.Contains(have, kind) {
		z.types[key] = append(have, kind)
	}
	if !slices.Contains(z.names, key) {
		z.names = append(z.names, key)
	}
	ttl := 60 + 7*len(key) + 100*int(kind[0])
	z.text = append(z.text, fmt.Sprintf("%s %d IN %s %s", z.vary(owner), ttl, kind, data))
	return true
}

func (z *hardZone) isRedirected(key string) bool {
	return slices.ContainsFunc(z.dnames, func(d string) bool { return strings.HasSuffix(key, "."+d) })
}

func (z *hardZone) holdsBelow(key string) bool {
	return slices.ContainsFunc(z.names, func(n string) bool { return strings.HasSuffix(n, "."+key) })
}

// vary writes a name as zone text may: letters in either case, now and then one as \DDD.
func (z *hardZone) vary(name string) string {
	var b strings.Builder
	escaped := false
	for i := range len(name) {
		c := name[i]
		switch letter := c >= 'a' && c <= 'z'; {
		case letter && !escaped && z.rng.IntN(40) == 0:
			fmt.Fprintf(&b, "\\%03d", c)
		case letter && z.rng.IntN(4) == 0:
			b.WriteByte(c - 'a' + 'A')
		default:
			b.WriteByte(c)
		}
		escaped = c == '\\' && !escaped
	}
	return b.String()
}

// label returns a label from a small stock, so that names meet.
func (z *hardZone) label() string {
	odd := []string{`d\.t`, `\000`, `\200\255`, `sp\032ce`, `at\@`, `q\"q`, `s\;c`, `b\\s`, `\(p\)`, "_sip", "_udp", "xn--bcher-kva",
		strings.Repeat("l", 63), "*", "*", `\$o`, "-", "0"}
	if z.rng.IntN(4) == 0 {
		return pick(z.rng, odd...)
	}
	return pick(z.rng, "a", "b", "c", "www", "x")
}

// randomName returns a name of up to depth labels below base.
func (z *hardZone) randomName(base string, depth int) string {
	for range 1 + z.rng.IntN(depth) {
		base = z.label() + "." + base
	}
	return base
}

// someName returns a name that the zone holds, or one beside or below such a name.
func (z *hardZone) someName() string {
	name := pick(z.rng, z.names...)
	switch z.rng.IntN(6) {
	case 0, 1:
		if below := z.randomName(name, 3); nameSize(below) <= 255 {
			return below
		}
	case 2:
		if _, above, ok := cutLabel(name); ok && strings.HasSuffix(above, z.apex()) {
			return above
		}
	}
	return name
}

// addRedirection adds a DNAME: within the zone, out of it, onto itself, or too long for most names.
func (z *hardZone) addRedirection() {
	owner := z.randomName(z.apex(), 2)
	long := strings.Repeat(strings.Repeat("n", 60)+".", 3)
	target := pick(z.rng, z.someName(), z.someName(), "dname.elsewhere.example.", long+"elsewhere.example.", long+z.apex(), z.apex(), "sub."+owner, ".")
	if strings.HasPrefix(owner, "*") {
		return // RFC 4592 section 4.4 leaves it open
	}
	if z.line(owner, "DNAME", target) {
		z.dnames = append(z.dnames, strings.ToLower(owner))
	}
}

// addDelegation adds a cut with servers of every kind, glue, perhaps a DS, and data that it hides.
func (z *hardZone) addDelegation() {
	cut := z.randomName(z.apex(), 2)
	if strings.Contains(cut, "*") || !z.line(cut, "NS", "ns."+cut) {
		return
	}
	z.cuts = append(z.cuts, strings.ToLower(cut))
	z.line("ns."+cut, "A", "192.0.2.1")
	z.line("ns."+cut, "AAAA", "2001:db8::1")
	if z.rng.IntN(2) == 0 {
		z.line(cut, "NS", "ns.elsewhere.example.")
	}
	if z.rng.IntN(2) == 0 {
		z.line(cut, "NS", "ns."+pick(z.rng, z.cuts...)) // a sibling's
	}
	if z.rng.IntN(3) == 0 {
		z.line(cut, "NS", "ns1."+z.apex())
	}
	if z.rng.IntN(2) == 0 {
		z.line(cut, "DS", "12345 13 2 "+strings.Repeat("ab", 32))
	}
	for range z.rng.IntN(3) {
		z.addData(z.randomName(cut, 2))
	}
}

// addData adds one to three records at an owner.
func (z *hardZone) addData(owner string) {
	for range 1 + z.rng.IntN(3) {
		kind, data := z.record()
		z.line(owner, kind, data)
	}
}

// addAlias adds a CNAME: to a name of the zone, an alias among them, to nowhere, out, or in a ring.
func (z *hardZone) addAlias() {
	owner := z.randomName(z.apex(), 3)
	if z.rng.IntN(3) == 0 {
		owner = "*." + z.someName()
	}
	if z.rng.IntN(6) == 0 {
		ring := []string{"r1." + owner, "r2." + owner, "r3." + owner}
		for i, name := range ring {
			z.line(name, "CNAME", ring[(i+1)%len(ring)])
		}
		return
	}
	z.line(owner, "CNAME", z.vary(pick(z.rng, z.someName(), z.someName(), z.someName(), z.randomName(z.apex(), 4), "out.elsewhere.example.", owner)))
}

// addLongName adds a name of exactly 255 octets.
func (z *hardZone) addLongName() {
	name := z.apex()
	for nameSize(name) < 255 {
		room := min(255-nameSize(name)-1, 63)
		if 255-nameSize(name)-1-room == 1 {
			room-- // a last label needs two octets
		}
		name = strings.Repeat("o", room) + "." + name
	}
	z.addData(name)
}

// nameSize returns the octets of an absolute name in wire form.
func nameSize(name string) int {
	size := 1
	for i := 0; i < len(name); i++ {
		if name[i] == '\\' {
			i++
			if name[i] >= '0' && name[i] <= '9' {
				i += 2
			}
		}
		size++
	}
	return size
}

// cutLabel takes the first label off an absolute name.
func cutLabel(name string) (label, rest string, ok bool) {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case '.':
			return name[:i], name[i+1:], true
		}
	}
	return "", "", false
}

// record returns a random type and data for it, in forms that all servers' parsers take.
func (z *hardZone) record() (kind, data string) {
	n := z.rng.IntN(250)
	host := z.vary(z.someName())
	records := [][2]string{
		{"A", fmt.Sprintf("192.0.2.%d", n)},
		{"AAAA", fmt.Sprintf("2001:db8::%x", n)},
		{"MX", fmt.Sprintf("%d %s", n, host)},
		{"TXT", fmt.Sprintf(`"v=%d" "" "quote \" back\\slash \; \065\000\255" plain`, n)},
		{"TXT", `"` + strings.Repeat("t", 255) + `" "` + strings.Repeat("u", n) + `"`},
		{"SRV", fmt.Sprintf("%d 100 5060 %s", n, host)},
		{"NAPTR", fmt.Sprintf(`%d 10 "u" "E2U+sip" "!^(.*)$!sip:\\1@example.net!" .`, n)},
		{"NAPTR", fmt.Sprintf(`100 %d "S" "SIP+D2U" "" %s`, n, host)},
		{"CAA", fmt.Sprintf(`%d issue "ca.example; a=\"b\""`, n)},
		{"HTTPS", fmt.Sprintf(`%d %s alpn=h2,h3 port=%d ipv4hint=192.0.2.1,192.0.2.2`, 1+n, host, n)},
		{"SVCB", fmt.Sprintf(`%d . mandatory=alpn alpn=sip key65333=abc`, 1+n)},
		{"HTTPS", "0 " + host},
		{"TYPE65400", fmt.Sprintf(`\# 5 00ff%02x0a20`, n)},
		{"PTR", host},
		{"HINFO", fmt.Sprintf(`"cpu %d" os`, n)},
		{"SSHFP", fmt.Sprintf("4 2 %064x", n)},
		{"TLSA", fmt.Sprintf("3 1 1 %064x", n)},
		{"RP", host + " " + z.vary(z.someName())},
		{"URI", fmt.Sprintf(`10 %d "sip:a@example.net"`, n)},
		{"LOC", fmt.Sprintf("52 %d 0.000 N 4 53 0.000 E 10m 20m 100m 10m", n%60)},
		{"AFSDB", "1 " + host},
		{"KX", "10 " + host},
		{"EUI48", fmt.Sprintf("00-00-5e-00-53-%02x", n)},
		{"OPENPGPKEY", "q83vEjRWeJA="},
		{"CERT", "PGP 0 0 q83vEjRWeJA="},
		{"DHCID", "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA="},
		{"NID", "10 0014:4fff:ff20:ee64"},
		{"L32", "10 10.1.2.0"},
		{"L64", "10 2001:0db8:1140:1000"},
		{"LP", "10 " + host},
		{"APL", "1:192.0.2.0/24 !2:2001:db8::/32"},
		{"SMIMEA", fmt.Sprintf("3 1 1 %064x", n)},
		{"MINFO", host + " " + z.vary(z.someName())},
		{"RT", "10 " + host},
		{"EUI64", fmt.Sprintf("00-00-5e-ef-10-00-00-%02x", n)},
		{"CSYNC", fmt.Sprintf("%d 3 A NS AAAA", n)},
		{"IPSECKEY", fmt.Sprintf("%d 1 2 192.0.2.38 q83vEjRWeJA=", n)},
		{"TYPE262", fmt.Sprintf(`\# 4 03%06x`, 0x616263+n%8)},
	}
	r := pick(z.rng, records...)
	if z.rng.IntN(3) == 0 {
		r = records[z.rng.IntN(4)]
	}
	return r[0], r[1]
}
