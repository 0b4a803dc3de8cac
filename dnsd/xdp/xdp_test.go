package xdp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/miekg/dns"
)

// What the program does with a frame, as XDP names it.
const (
	drop = 1
	pass = 2
	send = 3
)

var (
	here4 = netip.MustParseAddrPort("192.0.2.1:53")
	here6 = netip.MustParseAddrPort("[2001:db8::1]:53")
)

// open returns a responder that answers at here4 and here6.
func open(t testing.TB, l Limit) *Responder {
	t.Helper()
	r, err := Open(l)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, ebpf.ErrNotSupported) {
		t.Skipf("this machine loads no programs: %v", err)
	}
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, a := range []netip.AddrPort{here4, here6} {
		if err := r.Listen(a); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// ask packs a question; with size not zero it has OPT.
func ask(t testing.TB, name string, rrtype uint16, size uint16) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, rrtype)
	m.Id = 0xbeef
	if size > 0 {
		m.SetEdns0(size, false)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reply packs an answer to a question, as the fast path of the server would give it.
func reply(t testing.TB, question []byte, records ...string) []byte {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(question); err != nil {
		t.Fatal(err)
	}
	edns := m.IsEdns0() != nil
	m.Response, m.Authoritative, m.Extra, m.Compress = true, true, nil, true
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	if edns {
		m.SetEdns0(1232, false)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// keep puts the answer to a question.
func keep(t testing.TB, r *Responder, question, answer []byte, m Mark) {
	t.Helper()
	at := header
	for question[at] != 0 {
		at += int(question[at]) + 1
	}
	if err := r.Put(answer, at+1, question[11] == 1, m); err != nil {
		t.Fatal(err)
	}
}

// frame puts a payload into UDP, IP and Ethernet, with sums.
func frame(from, to netip.AddrPort, payload []byte) []byte {
	eth := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00}
	udp := make([]byte, 8+len(payload))
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	copy(udp[8:], payload)
	var ip []byte
	if to.Addr().Is4() {
		ip = []byte{0x45, 0, 0, 0, 0, 7, 0, 0, 64, 17, 0, 0}
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(udp)))
	} else {
		eth[12], eth[13] = 0x86, 0xdd
		ip = []byte{0x60, 0, 0, 0, 0, 0, 17, 64}
		binary.BigEndian.PutUint16(ip[4:], uint16(len(udp)))
	}
	ip = append(append(ip, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	if to.Addr().Is4() {
		binary.BigEndian.PutUint16(ip[10:], ^internetSum(ip))
	}
	binary.BigEndian.PutUint16(udp[6:], ^internetSum(pseudo(from, to, udp)))
	return append(append(eth, ip...), udp...)
}

// pseudo is a datagram behind its pseudo-header.
func pseudo(from, to netip.AddrPort, udp []byte) []byte {
	b := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	b = append(b, 0, 17, udp[4], udp[5])
	return append(b, udp...)
}

// internetSum is the ones' complement sum in network order, computed apart from the code under test.
func internetSum(b []byte) uint16 {
	var s uint64
	for i, c := range b {
		if i%2 == 0 {
			s += uint64(c) << 8
		} else {
			s += uint64(c)
		}
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// run gives the program a frame and returns what it does, and the frame that it leaves.
func run(t testing.TB, r *Responder, in []byte) (uint32, []byte) {
	t.Helper()
	opts := ebpf.RunOptions{Data: in, DataOut: make([]byte, 2048)}
	verdict, err := r.program.Run(&opts)
	if err != nil {
		t.Fatal(err)
	}
	return verdict, opts.DataOut
}

// payload checks a frame from here to a client, and returns the message in it.
func payload(t testing.TB, from, to netip.AddrPort, out []byte) []byte {
	t.Helper()
	if !bytes.Equal(out[:12], []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}) {
		t.Errorf("Ethernet addresses % x are not turned round", out[:12])
	}
	at := 14 + 40
	if to.Addr().Is4() {
		at = 14 + 20
		if s := internetSum(out[14:34]); s != 0xffff {
			t.Errorf("sum of the IP header %#x, want ffff", s)
		}
		if n := int(binary.BigEndian.Uint16(out[16:])); n != len(out)-14 {
			t.Errorf("IP says %d octets, frame has %d", n, len(out)-14)
		}
	}
	udp := out[at:]
	if n := int(binary.BigEndian.Uint16(udp[4:])); n != len(udp) {
		t.Fatalf("UDP says %d octets, frame has %d", n, len(udp))
	}
	if s := internetSum(pseudo(from, to, udp)); s != 0xffff {
		t.Errorf("sum of the datagram %#x, want ffff", s)
	}
	if p := binary.BigEndian.Uint16(udp); p != from.Port() {
		t.Errorf("from port %d, want %d", p, from.Port())
	}
	return udp[8:]
}

// TestAnswers checks the octets that come back for names of all lengths, so that all alignments
// of the sum are met.
func TestAnswers(t *testing.T) {
	r := open(t, Limit{})
	clients := map[netip.AddrPort]netip.AddrPort{
		here4: netip.MustParseAddrPort("198.51.100.7:4711"), here6: netip.MustParseAddrPort("[2001:db8:7::7]:4711"),
	}
	for n := 1; n < 50; n++ {
		name := string(bytes.Repeat([]byte{'a'}, n)) + ".example.net."
		for _, size := range []uint16{0, 1232} {
			q := ask(t, name, dns.TypeSRV, size)
			want := reply(t, q, name+" 30 IN SRV 0 100 5060 e1.edge.example.net.", name+" 30 IN SRV 10 77 5060 e2.edge.example.net.")
			keep(t, r, q, want, r.Mark(7))
			upper := bytes.Clone(q)
			upper[13] = 'A'
			upper[2] |= 1
			want[13], want[2] = 'A', want[2]|1
			for to, from := range clients {
				verdict, out := run(t, r, frame(from, to, upper))
				if verdict != send {
					t.Fatalf("%d letters to %s: verdict %d, want %d", n, to, verdict, send)
				}
				if got := payload(t, to, from, out); !bytes.Equal(got, want) {
					t.Fatalf("%d letters to %s: answer\n% x, want\n% x", n, to, got, want)
				}
			}
			want[13] = 'a'
		}
	}
	s, err := r.Stats()
	if err != nil || s.Answered != 4*49 || s.AnsweredIPv6 != 2*49 || s.WithEDNS != 2*49 {
		t.Errorf("Stats = %+v, %v", s, err)
	}
}

// TestPasses checks what is left to the sockets, unchanged.
func TestPasses(t *testing.T) {
	r := open(t, Limit{})
	from := netip.MustParseAddrPort("198.51.100.7:4711")
	q := ask(t, "a.example.net.", dns.TypeA, 1232)
	keep(t, r, q, reply(t, q, "a.example.net. 60 IN A 192.0.2.9"), r.Mark(1))
	small := ask(t, "b.example.net.", dns.TypeTXT, 0)
	keep(t, r, small, reply(t, small, "b.example.net. 60 IN A 192.0.2.9"), r.Mark(1))
	change := func(b []byte, at int, to byte) []byte {
		b = bytes.Clone(b)
		b[at] = to
		return b
	}
	good := frame(from, here4, q)
	tests := []struct {
		name string
		in   []byte
		want uint32
	}{
		{"the question", good, send},
		{"another name", frame(from, here4, ask(t, "c.example.net.", dns.TypeA, 1232)), pass},
		{"a longer name with the same beginning", frame(from, here4, ask(t, "a.example.net.x.", dns.TypeA, 1232)), pass},
		{"another type", frame(from, here4, ask(t, "a.example.net.", dns.TypeAAAA, 1232)), pass},
		{"without OPT", frame(from, here4, ask(t, "a.example.net.", dns.TypeA, 0)), pass},
		{"another address", frame(from, netip.MustParseAddrPort("192.0.2.2:53"), q), pass},
		{"another port", frame(from, netip.MustParseAddrPort("192.0.2.1:54"), q), pass},
		{"class CH", frame(from, here4, change(q, len(q)-12, 3)), pass},
		{"a response", frame(from, here4, change(q, 2, 0x81)), pass},
		{"opcode STATUS", frame(from, here4, change(q, 2, 0x10)), pass},
		{"two questions", frame(from, here4, change(q, 5, 2)), pass},
		{"an answer", frame(from, here4, change(q, 7, 1)), pass},
		{"DO", frame(from, here4, change(q, len(q)-4, 0x80)), pass},
		{"EDNS version 1", frame(from, here4, change(q, len(q)-5, 1)), pass},
		{"an option", frame(from, here4, append(change(q, len(q)-1, 4), 0, 3, 0, 0)), pass},
		{"octets behind", frame(from, here4, append(bytes.Clone(q), 0)), pass},
		{"cut", frame(from, here4, q[:len(q)-1]), pass},
		{"a pointer as a name", frame(from, here4, change(q, 12, 0xc0)), pass},
		{"header only", frame(from, here4, q[:12]), pass},
		{"a fragment", change(good, 20, 0x20), pass},
		{"IP options", change(good, 14, 0x46), pass},
		{"TCP", change(good, 23, 6), pass},
		{"ARP", change(good, 13, 0x06), pass},
		{"a short frame", good[:30], pass},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			verdict, out := run(t, r, tt.in)
			if verdict != tt.want {
				t.Fatalf("verdict %d, want %d", verdict, tt.want)
			}
			if verdict == pass && !bytes.Equal(out, tt.in) {
				t.Errorf("passed up as % x, was % x", out, tt.in)
			}
		})
	}
}

// TestRoom checks that an answer is not longer than its client takes, nor kept when it cannot be sent.
func TestRoom(t *testing.T) {
	r := open(t, Limit{})
	from := netip.MustParseAddrPort("198.51.100.7:4711")
	text := `a.example.net. 60 IN TXT "` + string(bytes.Repeat([]byte{'x'}, 150)) + `"`
	q := ask(t, "a.example.net.", dns.TypeTXT, 0)
	keep(t, r, q, reply(t, q, text), r.Mark(1))
	if verdict, _ := run(t, r, frame(from, here4, q)); verdict != send {
		t.Errorf("verdict %d for an answer of %d octets more than its question, want %d", verdict, len(text), send)
	}
	long := reply(t, q, text, text[:len(text)-1]+`yyyy"`, text[:len(text)-1]+`zzzzzzzz"`)
	if err := r.Put(long, 27, false, r.Mark(1)); err == nil {
		t.Errorf("an answer of %d octets is kept", len(long))
	}
}

// TestGenerations checks that no answer from before a change is given, and that others are.
func TestGenerations(t *testing.T) {
	r := open(t, Limit{})
	from := netip.MustParseAddrPort("198.51.100.7:4711")
	q := ask(t, "a.example.net.", dns.TypeA, 0)
	answer := reply(t, q, "a.example.net. 60 IN A 192.0.2.9")
	steps := []struct {
		name string
		do   func()
		want uint32
	}{
		{"kept", func() { keep(t, r, q, answer, r.Mark(5)) }, send},
		{"another account changed", func() { r.Changed(6) }, send},
		{"its account changed", func() { r.Changed(5) }, pass},
		{"kept again", func() { keep(t, r, q, answer, r.Mark(5)) }, send},
		{"all changed", func() { r.ChangedAll() }, pass},
		{"made before a change and kept after it", func() { m := r.Mark(5); r.Changed(5); keep(t, r, q, answer, m) }, pass},
	}
	for _, s := range steps {
		s.do()
		if verdict, _ := run(t, r, frame(from, here4, q)); verdict != s.want {
			t.Errorf("%s: verdict %d, want %d", s.name, verdict, s.want)
		}
	}
}

// TestLimit checks that a source is not sent much more than came in its name, and that neither other
// sources nor exempt ones suffer.
func TestLimit(t *testing.T) {
	l := Limit{Factor: 1, Refill: 1, Most: 500, Rate: 1000, Exempt: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	r := open(t, l)
	q := ask(t, "a.example.net.", dns.TypeSRV, 0)
	answer := reply(t, q, "a.example.net. 30 IN SRV 0 100 5060 e1.edge.example.net.", "a.example.net. 30 IN SRV 0 100 5060 e2.edge.example.net.")
	keep(t, r, q, answer, r.Mark(1))
	tests := []struct {
		name, from string
		to         netip.AddrPort
		limited    bool
	}{
		{"IPv4", "198.51.100.7:1000", here4, true},
		{"the same /24", "198.51.100.8:1000", here4, true},
		{"another /24", "198.51.101.7:1000", here4, true},
		{"exempt", "203.0.113.9:1000", here4, false},
		{"IPv6", "[2001:db8:1:100::7]:1000", here6, true},
	}
	spent := map[string]int{}
	for _, tt := range tests {
		in, out := 0, 0
		for range 400 {
			in += len(q)
			verdict, b := run(t, r, frame(netip.MustParseAddrPort(tt.from), tt.to, q))
			if verdict == send {
				out += len(payload(t, tt.to, netip.MustParseAddrPort(tt.from), b))
			}
		}
		spent[tt.name] = out
		if tt.limited != (out < 400*len(answer)) {
			t.Errorf("%s: %d octets out for %d in, limited is to be %v", tt.name, out, in, tt.limited)
		}
		if tt.limited && out > in+l.Most+10*l.Refill+len(answer) {
			t.Errorf("%s: %d octets out for %d in", tt.name, out, in)
		}
	}
	if spent["another /24"] == 0 || spent["IPv6"] == 0 {
		t.Errorf("a source suffers from another: %v", spent)
	}
}

// TestRate checks the bound of answers a second, whatever their octets.
func TestRate(t *testing.T) {
	r := open(t, Limit{Factor: 100, Refill: 1000, Most: 100000, Rate: 20})
	q := ask(t, "a.example.net.", dns.TypeA, 0)
	keep(t, r, q, reply(t, q, "a.example.net. 60 IN A 192.0.2.9"), r.Mark(1))
	sent, began := 0, time.Now()
	for range 300 {
		if verdict, _ := run(t, r, frame(netip.MustParseAddrPort("198.51.100.7:1000"), here4, q)); verdict == send {
			sent++
		}
	}
	if most := 21 + int(20*time.Since(began).Seconds()); sent < 20 || sent > most {
		t.Errorf("%d answers, want 20 to %d", sent, most)
	}
}

// TestProgramIsThatOfItsSource checks that answer.bpf.o was made from answer.bpf.c as it is.
func TestProgramIsThatOfItsSource(t *testing.T) {
	source, err := os.ReadFile("answer.bpf.c")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("answer.bpf.sum")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x  answer.bpf.c\n", sha256.Sum256(source)); got != string(want) {
		t.Errorf("answer.bpf.o was made from another answer.bpf.c; run go generate ./dnsd/xdp (needs clang and libbpf-dev)")
	}
}
