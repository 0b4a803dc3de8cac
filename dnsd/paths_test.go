package dnsd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// both answers query by both paths, checks each answer by itself and the two against each other,
// and returns the length of the fast one, 0 when it left the question to the full path.
func both(t testing.TB, m *model, query []byte, c client, bufs *[2][65535]byte) int {
	t.Helper()
	full := bufs[0][:m.full(query, bufs[0][:], c)] // first: it makes the records that fast needs
	checkAnswer(t, query, full, c)
	out := bufs[1][:]
	if !c.stream {
		out = out[:datagramSize]
	}
	fast := out[:m.fast(query, out, c)]
	if len(fast) > 0 && !bytes.Equal(fast, full) {
		diffAnswers(t, query, fast, full)
	}
	return len(fast)
}

// checkAnswer checks what holds for every answer whatever was asked.
func checkAnswer(t testing.TB, query, answer []byte, c client) {
	t.Helper()
	if len(answer) == 0 {
		if len(query) >= headerSize && query[2]&flagQR == 0 {
			t.Fatalf("no answer to %x", query)
		}
		return
	}
	if query[2]&flagQR != 0 {
		t.Fatalf("an answer was answered: %x", query)
	}
	limit := datagramSize
	if c.stream {
		limit = streamSize
	}
	if len(answer) > limit {
		t.Fatalf("%d octets of answer to %x", len(answer), query)
	}
	if !bytes.Equal(answer[:2], query[:2]) || answer[2]&flagQR == 0 || answer[2]&0x78 != query[2]&0x78 || answer[3]&0xf0 != 0 {
		t.Fatalf("header %x answers header %x", answer[:4], query[:4])
	}
	if binary.BigEndian.Uint16(answer[4:]) == 0 {
		return
	}
	end := skipName(query, headerSize) + 4
	if !bytes.Equal(answer[headerSize:end], query[headerSize:end]) {
		t.Fatalf("question %x comes back as %x", query[headerSize:end], answer[headerSize:end])
	}
}

// generator makes questions that are near the names of a world.
type generator struct {
	*rand.Rand
	labels []string
	ends   []string
	types  []uint16
}

func newGenerator(world string, seed uint64) *generator {
	g := &generator{
		Rand: rand.New(rand.NewPCG(seed, 1)),
		types: []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeNAPTR, dns.TypeSRV, dns.TypeHTTPS, dns.TypeTXT, dns.TypeSOA,
			dns.TypeNS, dns.TypeCNAME, dns.TypeDNAME, dns.TypeANY, dns.TypeMX, dns.TypeDS, 1000, dns.TypeAXFR, 0},
	}
	switch world {
	case "voice":
		g.labels = strings.Fields("k7 acme trip old b2 c3 nobody edge node e1 e2 e3 n1 n2 n3 vm1 web1 ns _udp _tcp _ws _sip _sips " +
			"_http _https 1001 1002 1003 1004 1005 9999 invite register message berlin pinned dark fax voicemail http nokey www deep b *")
		g.ends = []string{"voice.example.net", "svc.voice.example.net", "svc2.example.net", "mixed.example.net", "example.net",
			"k7.voice.example.net", "b2.voice.example.net", "invite.1001.svc.voice.example.net", "berlin.1001.svc.voice.example.net",
			"1001.svc.voice.example.net", "1002.svc.voice.example.net", "invite.1005.svc.voice.example.net", "edge.voice.example.net", "node.svc.voice.example.net"}
	case "rfc":
		g.labels = strings.Fields("www mail chain1 dangling loop1 self out tosub towild ent b a wild host1 host2 * sub alias void x dn " +
			"under h target long dout dloop ns deep er _ssh _sip _udp _tcp c1 sip1 sip2 e164 typ svc big mixed child nope")
		g.ends = []string{"rfc.test", "child.rfc.test", "own.test", "inner.test", "test", "wild.rfc.test", "dn.rfc.test", "sub.rfc.test", "*.wild.rfc.test"}
	}
	return g
}

// question returns a question's octets and who asks.
func (g *generator) question() ([]byte, client) {
	name := g.ends[g.IntN(len(g.ends))]
	for range g.IntN(4) {
		name = g.labels[g.IntN(len(g.labels))] + "." + name
	}
	if g.IntN(4) == 0 {
		name = g.shuffleCase(name)
	}
	q := new(dns.Msg)
	q.SetQuestion(name+".", g.types[g.IntN(1+g.IntN(len(g.types)))]) // the first types more often
	q.Id, q.RecursionDesired = uint16(g.Uint32()), g.IntN(2) == 0
	if g.IntN(16) == 0 {
		q.AuthenticatedData, q.CheckingDisabled = g.IntN(2) == 0, g.IntN(2) == 0
	}
	if g.IntN(2) == 0 {
		q.SetEdns0([]uint16{0, 512, 600, 1232, 4096}[g.IntN(5)], g.IntN(3) == 0)
		for range g.IntN(3) {
			g.addOption(q.IsEdns0())
		}
	}
	b, err := q.Pack()
	if err != nil {
		panic(err)
	}
	from := netip.MustParseAddr([]string{"10.1.2.3", "198.51.100.9", "2001:db8::7", "::1", "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1"}[g.IntN(8)])
	return b, client{addr: from, stream: g.IntN(8) == 0, now: 1 + g.Uint32()>>1, proven: g.IntN(2) == 0}
}

func (g *generator) addOption(opt *dns.OPT) {
	local := func(code uint16, size int) {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(g.Uint32())
		}
		opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: code, Data: data})
	}
	switch g.IntN(10) {
	case 0:
		opt.Option = append(opt.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"})
	case 3, 4:
		local(optionCookie, []int{8, 16, 24, 40}[g.IntN(4)])
	case 5:
		local(optionCookie, g.IntN(44))
	case 6:
		local(optionNSID, max(0, g.IntN(8)-6))
	case 7:
		local(optionKeepalive, g.IntN(2)*2)
	case 8:
		local(optionPadding, g.IntN(64))
	case 1:
		opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: uint16(g.IntN(20)), Data: make([]byte, g.IntN(9))})
	case 2:
		opt.SetVersion(uint8(g.IntN(2)))
	}
}

func (g *generator) shuffleCase(name string) string {
	b := []byte(name)
	for i := range b {
		if g.IntN(2) == 0 {
			b[i] = strings.ToUpper(name[i : i+1])[0]
		}
	}
	return string(b)
}

// mutate spoils a few octets, cuts or lengthens b.
func (g *generator) mutate(b []byte) []byte {
	for range 1 + g.IntN(3) {
		switch g.IntN(8) {
		case 0:
			b = b[:g.IntN(len(b)+1)]
		case 1:
			b = append(b, byte(g.Uint32()))
		default:
			if len(b) > 0 {
				b[g.IntN(len(b))] = byte(g.Uint32()) >> g.IntN(8)
			}
		}
	}
	return b
}

// TestPathsAgree gives both paths the same questions. They share no code that answers.
func TestPathsAgree(t *testing.T) {
	questions := 200_000
	switch {
	case os.Getenv("TANDEM_LONG") != "":
		questions = 10_000_000
	case testing.Short() || raceEnabled:
		questions = 50_000
	}
	for _, world := range []string{"voice", "rfc"} {
		t.Run(world, func(t *testing.T) {
			s, g := loadWorld(t, world), newGenerator(world, 7)
			var bufs [2][65535]byte
			fast := 0
			for i := range questions / 2 {
				query, from := g.question()
				if i%4 == 0 {
					query = g.mutate(query)
				}
				if both(t, s.model, query, from, &bufs) > 0 {
					fast++
				}
			}
			t.Logf("%d of %d questions took the fast path", fast, questions/2)
			if world == "voice" && fast < questions/6 {
				t.Errorf("the fast path answered %d of %d questions: too few to compare", fast, questions/2)
			}
		})
	}
}

// FuzzPaths: no octets make either path panic or disagree; every answer parses, echoes id and
// question, and is in bounds.
func FuzzPaths(f *testing.F) {
	for _, world := range []string{"voice", "rfc"} {
		g := newGenerator(world, 11)
		for range 40 {
			b, _ := g.question()
			f.Add(b, false)
		}
	}
	for name, b := range oddPackets() {
		f.Add(b, strings.Contains(name, "tcp"))
	}
	models := []*model{loadWorld(f, "voice").model, loadWorld(f, "rfc").model}
	f.Fuzz(func(t *testing.T, query []byte, stream bool) {
		var bufs [2][65535]byte
		for _, m := range models {
			c := client{addr: netip.MustParseAddr("127.0.0.1"), stream: stream}
			both(t, m, query, c, &bufs)
			n := m.full(query, bufs[0][:], c)
			if err := new(dns.Msg).Unpack(bufs[0][:n]); n > 0 && err != nil {
				t.Fatalf("answer to %x does not parse: %v", query, err)
			}
		}
	})
}

// packet returns octets: a header with flags and counts, then rest.
func packet(flags uint16, counts [4]uint16, rest ...string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x12, 0x34}, flags)
	for _, n := range counts {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return append(b, strings.Join(rest, "")...)
}

// Pieces of packets.
const (
	askWWW    = "\x03www\x03rfc\x04test\x00\x00\x01\x00\x01"
	askSOA    = "\x03rfc\x04test\x00\x00\x06\x00\x01"
	plainOPT  = "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
	tsigKey   = "\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x1d\x0bhmac-sha256\x00\x00\x00\x65\x53\xf1\x00\x01\x2c\x00\x00\x12\x34\x00\x00\x00\x00"
	recordWWW = "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x01\x02\x03\x04"
)

// oddPackets are the packets that a server meets and no resolver sends.
func oddPackets() map[string][]byte {
	one, withOPT := [4]uint16{1, 0, 0, 0}, [4]uint16{1, 0, 0, 1}
	odd := map[string][]byte{
		"nothing":                {},
		"short header":           packet(0, one)[:11],
		"header alone":           packet(0, [4]uint16{}),
		"header that promises":   packet(0, one),
		"question cut":           packet(0, one, askWWW[:9]),
		"type cut":               packet(0, one, askWWW[:len(askWWW)-3]),
		"an answer":              packet(0x8000, one, askWWW),
		"two questions":          packet(0, [4]uint16{2, 0, 0, 0}, askWWW, askSOA),
		"an answer record":       packet(0, [4]uint16{1, 1, 0, 0}, askWWW, recordWWW),
		"an authority record":    packet(0, [4]uint16{1, 0, 1, 0}, askWWW, recordWWW),
		"TC":                     packet(0x0200, one, askWWW),
		"trailing octets":        packet(0, one, askWWW, "xyz"),
		"pointer to itself":      packet(0, one, "\xc0\x0c\x00\x01\x00\x01"),
		"pointers in a ring":     packet(0, one, "\x01a\xc0\x0e\xc0\x0c\x00\x01\x00\x01"),
		"pointer beyond the end": packet(0, one, "\xc3\xff\x00\x01\x00\x01"),
		"label type 01":          packet(0, one, "\x41a\x00\x00\x01\x00\x01"),
		"name too long":          packet(0, one, strings.Repeat("\x3f"+strings.Repeat("a", 63), 4), "\x00\x00\x01\x00\x01"),
		"class CH":               packet(0, one, "\x07version\x04bind\x00\x00\x10\x00\x03"),
		"class ANY":              packet(0, one, askWWW[:len(askWWW)-1], "\xff"),
		"type OPT":               packet(0, one, "\x03rfc\x04test\x00\x00\x29\x00\x01"),
		"type 0":                 packet(0, one, "\x03rfc\x04test\x00\x00\x00\x00\x01"),
		"all flags":              packet(0x07f0&^0x0200|0x0100, one, askWWW),
		"two OPT":                packet(0, [4]uint16{1, 0, 0, 2}, askWWW, plainOPT, plainOPT),
		"OPT with a name":        packet(0, withOPT, askWWW, "\x03www", plainOPT),
		"EDNS version 1":         packet(0, withOPT, askSOA, "\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00"),
		"EDNS flags":             packet(0, withOPT, askSOA, "\x00\x00\x29\x04\xd0\x00\x00\x00\x80\x00\x00"),
		"EDNS size 0":            packet(0, withOPT, askSOA, "\x00\x00\x29\x00\x00\x00\x00\x80\x00\x00\x00"),
		"EDNS unknown option":    packet(0, withOPT, askSOA, "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x06\x00\x64\x00\x02hi"),
		"EDNS option cut":        packet(0, withOPT, askSOA, "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x05\x00\x64\x00\x02h"),
		"EDNS option longer":     packet(0, withOPT, askSOA, "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x04\x00\x64\x00\x02"),
		"OPT beyond the end":     packet(0, withOPT, askSOA, "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\xff"),
		"EDNS zone version":      packet(0, withOPT, askSOA, "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x04\x00\x13\x00\x00"),
		"EDNS expire, odd":       packet(0, withOPT, askSOA, "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x07\x00\x09\x00\x03abc"),
		"EDNS 1, other options":  packet(0, withOPT, askSOA, "\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x01x"),
		"two OPT, the first 1":   packet(0, [4]uint16{1, 0, 0, 2}, askSOA, "\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00", plainOPT),
		"OPT in authority":       packet(0, [4]uint16{1, 0, 1, 0}, "\x03rfc\x04test\x00\x00\xfb\x00\x01", plainOPT),
		"TSIG":                   packet(0, withOPT, askSOA, tsigKey),
		"TSIG after OPT":         packet(0, [4]uint16{1, 0, 0, 2}, askSOA, plainOPT, tsigKey),
		"TSIG before OPT":        packet(0, [4]uint16{1, 0, 0, 2}, askSOA, tsigKey, plainOPT),
		"two TSIG":               packet(0, [4]uint16{1, 0, 0, 2}, askSOA, tsigKey, tsigKey),
		"TSIG of class IN":       packet(0, withOPT, askSOA, strings.Replace(tsigKey, "\x00\xfa\x00\xff", "\x00\xfa\x00\x01", 1)),
		"TSIG without data":      packet(0, withOPT, askSOA, "\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x00"),
		"TSIG cut":               packet(0, withOPT, askSOA, "\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x02\x01h"),
		"an additional A":        packet(0, withOPT, askWWW, recordWWW),
		"NOTIFY":                 packet(0x2000, one, askSOA),
		"UPDATE":                 packet(0x2800, [4]uint16{1, 0, 0, 0}, askSOA),
		"tcp: AXFR":              packet(0, one, "\x03rfc\x04test\x00\x00\xfc\x00\x01"),
		"IXFR with its SOA":      packet(0, [4]uint16{1, 0, 1, 0}, "\x03rfc\x04test\x00\x00\xfb\x00\x01", "\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16\x00\x00", strings.Repeat("\x00", 20)),
	}
	for opcode := range uint16(16) {
		odd[fmt.Sprintf("opcode %02d", opcode)] = packet(opcode<<11, [4]uint16{})
	}
	return odd
}

// TestOddPackets pins what each of them gets.
func TestOddPackets(t *testing.T) {
	s := loadWorld(t, "rfc")
	odd := oddPackets()
	want := map[string]string{
		"nothing": "silence", "short header": "silence", "an answer": "silence",
		"header alone": "FORMERR", "header that promises": "FORMERR", "question cut": "FORMERR", "type cut": "FORMERR",
		"two questions": "FORMERR", "an answer record": "FORMERR", "an authority record": "FORMERR", "TC": "FORMERR",
		"trailing octets": "FORMERR", "pointer to itself": "FORMERR", "pointers in a ring": "FORMERR",
		"pointer beyond the end": "FORMERR", "label type 01": "FORMERR", "name too long": "FORMERR",
		"class CH": "REFUSED", "class ANY": "REFUSED", "type OPT": "FORMERR", "type 0": "FORMERR", "all flags": "NOERROR aa",
		"two OPT": "FORMERR opt", "OPT with a name": "FORMERR", "EDNS version 1": "BADVERS opt", "EDNS flags": "NOERROR aa opt",
		"EDNS size 0": "NOERROR aa opt", "EDNS unknown option": "NOERROR aa opt", "EDNS option cut": "FORMERR opt",
		"EDNS zone version": "NOERROR aa opt", "EDNS expire, odd": "NOERROR aa opt", "EDNS 1, other options": "BADVERS opt",
		"two OPT, the first 1": "FORMERR opt", "OPT in authority": "FORMERR", "TSIG": "NOTAUTH", "TSIG after OPT": "NOTAUTH opt",
		"TSIG before OPT": "FORMERR", "two TSIG": "FORMERR", "TSIG of class IN": "FORMERR", "TSIG without data": "FORMERR", "TSIG cut": "FORMERR",
		"EDNS option longer": "FORMERR opt", "OPT beyond the end": "FORMERR", "an additional A": "NOERROR aa",
		"NOTIFY": "REFUSED", "UPDATE": "REFUSED", "tcp: AXFR": "REFUSED", "IXFR with its SOA": "REFUSED",
		"opcode 00": "FORMERR", "opcode 04": "FORMERR", "opcode 05": "FORMERR",
	}
	for name, b := range odd {
		t.Run(name, func(t *testing.T) {
			expected, ok := want[name]
			if !ok {
				expected = "NOTIMP"
			}
			c := client{addr: netip.MustParseAddr("127.0.0.1"), stream: strings.HasPrefix(name, "tcp")}
			if got := brief(s.askBoth(t, b, c)); got != expected {
				t.Errorf("%x: %s, want %s", b, got, expected)
			}
		})
	}
}

// brief returns an answer's rcode, aa, and whether it has an OPT record.
func brief(octets []byte) string {
	msg := new(dns.Msg)
	if len(octets) == 0 {
		return "silence"
	}
	if err := msg.Unpack(octets); err != nil {
		return err.Error()
	}
	text := dns.RcodeToString[msg.Rcode]
	if msg.Rcode == dns.RcodeBadVers {
		text = "BADVERS"
	}
	if msg.Authoritative {
		text += " aa"
	}
	if msg.RecursionAvailable || msg.Zero || msg.AuthenticatedData {
		text += " ra, z or ad"
	}
	if opt := msg.IsEdns0(); opt != nil {
		text += " opt"
		if opt.Version() != 0 || len(opt.Option) != 0 || opt.UDPSize() != datagramSize {
			text += " that is odd"
		}
	}
	return text
}

// TestUnknownKeyIsRefused: who signs with a key that we do not have learns just that.
func TestUnknownKeyIsRefused(t *testing.T) {
	s := loadWorld(t, "rfc")
	q := new(dns.Msg)
	q.SetQuestion("rfc.test.", dns.TypeSOA)
	q.SetTsig("nokey.", dns.HmacSHA256, 300, 1_700_000_000)
	query, _, err := dns.TsigGenerate(q, "c2VjcmV0", "", false)
	if err != nil {
		t.Fatal(err)
	}
	msg := new(dns.Msg)
	if err := msg.Unpack(s.askBoth(t, query, client{addr: netip.MustParseAddr("127.0.0.1")})); err != nil {
		t.Fatal(err)
	}
	if tsig := msg.IsTsig(); msg.Rcode != dns.RcodeNotAuth || tsig == nil || tsig.Error != dns.RcodeBadKey || tsig.MAC != "" || len(msg.Answer) != 0 {
		t.Errorf("answer = %v, want NOTAUTH with BADKEY, unsigned", msg)
	}
}

// TestLargeClusterOverTCP: answers beyond the reach of compression pointers.
func TestLargeClusterOverTCP(t *testing.T) {
	s := loadWorld(t, "voice")
	for i := range 600 {
		id := fmt.Sprint("big", i)
		s.change(tandem.Revision(100+i), tandem.KindNode, id, &tandem.Node{
			Head: tandem.Head{ID: id}, Cluster: "c2", Ports: tandem.Ports{UDP: 5060},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)})},
		})
	}
	var bufs [2][65535]byte
	q := new(dns.Msg)
	q.SetQuestion("_sip._udp.invite.1002.svc.voice.example.net.", dns.TypeSRV)
	query, _ := q.Pack()
	for _, stream := range []bool{true, false} {
		c := client{addr: netip.MustParseAddr("127.0.0.1"), stream: stream}
		both(t, s.model, query, c, &bufs)
		msg := new(dns.Msg)
		if err := msg.Unpack(bufs[0][:s.model.full(query, bufs[0][:], c)]); err != nil {
			t.Fatal(err)
		}
		if stream && len(msg.Answer) != 601 || !stream && (!msg.Truncated || len(msg.Answer) != 0) {
			t.Errorf("stream %v: %d records, TC %v", stream, len(msg.Answer), msg.Truncated)
		}
	}
}
