package dnsd

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/dnsd/guard"
	"tandem/internal/tandem"
)

// newWorker returns a worker of s without a socket, at the present time.
func newWorker(s *Server) *worker {
	w := &worker{Server: s, watch: s.guard.Watch(), count: s.counters[1]}
	w.watch.Tick(time.Now(), 1)
	return w
}

// strict makes s limit everyone, as with the configuration r.
func strict(s *Server, r RateLimit) {
	if r.Exempt == nil {
		r.Exempt = []netip.Prefix{}
	}
	s.cfg.RateLimit = r
	s.cfg = s.cfg.withDefaults(1)
	s.guard = newGuard(s.cfg, s.model.edns.jar)
}

// asking returns a query with EDNS and options.
func asking(t testing.TB, name string, rrtype uint16, options ...dns.EDNS0) []byte {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, rrtype)
	q.SetEdns0(1232, false)
	q.IsEdns0().Option = options
	b, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func cookieOption(hex string) dns.EDNS0 {
	return &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: hex}
}
func nsidOption() dns.EDNS0 { return &dns.EDNS0_NSID{Code: dns.EDNS0NSID} }

// optionsOf returns an answer's rcode and its options as text.
func optionsOf(t testing.TB, octets []byte) string {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(octets); err != nil {
		t.Fatalf("answer %x: %v", octets, err)
	}
	text := dns.RcodeToString[m.Rcode]
	if opt := m.IsEdns0(); opt != nil {
		text += " opt"
		for _, o := range opt.Option {
			text += fmt.Sprintf(" %d:%d", o.Option(), len(o.String()))
		}
	}
	return text
}

// TestOptions asks both paths, over UDP and TCP, and wants options only where they were asked for.
func TestOptions(t *testing.T) {
	s := loadWorld(t, "voice")
	const fastName, fullName = "k7.voice.example.net.", "voice.example.net."
	tests := []struct {
		name    string
		options []dns.EDNS0
		want    string
	}{
		{"none", nil, "NOERROR opt"},
		{"NSID", []dns.EDNS0{nsidOption()}, "NOERROR opt 3:14"},
		{"client cookie", []dns.EDNS0{cookieOption("0123456789abcdef")}, "NOERROR opt 10:48"},
		{"an old server cookie", []dns.EDNS0{cookieOption("0123456789abcdef0100000000000000cae0a3f42f1aae17")}, "NOERROR opt 10:48"},
		{"both, the other way", []dns.EDNS0{cookieOption("0123456789abcdef"), nsidOption()}, "NOERROR opt 3:14 10:48"},
		{"two cookies", []dns.EDNS0{cookieOption("0123456789abcdef"), cookieOption("00")}, "NOERROR opt 10:48"},
		{"short cookie", []dns.EDNS0{cookieOption("01234567")}, "FORMERR opt"},
		{"nine octets", []dns.EDNS0{cookieOption("0123456789abcdef01")}, "FORMERR opt"},
		{"long cookie", []dns.EDNS0{cookieOption(strings.Repeat("01", 41))}, "FORMERR opt"},
		{"keepalive", []dns.EDNS0{&dns.EDNS0_LOCAL{Code: dns.EDNS0TCPKEEPALIVE}}, "NOERROR opt"},
		{"unknown", []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")}}, "NOERROR opt"},
	}
	for _, test := range tests {
		for _, name := range []string{fastName, fullName} {
			w := newWorker(s)
			var out [datagramSize]byte
			n := w.respond(asking(t, name, dns.TypeA, test.options...), out[:], client{addr: netip.MustParseAddr("127.0.0.1"), now: 1})
			if got := optionsOf(t, out[:n]); got != test.want {
				t.Errorf("%s, %s: %s, want %s", test.name, name, got, test.want)
			}
		}
	}
	s.model.edns.nsid = ""
	var out [datagramSize]byte
	n := newWorker(s).respond(asking(t, fastName, dns.TypeA, nsidOption()), out[:], client{addr: netip.MustParseAddr("127.0.0.1")})
	if got := optionsOf(t, out[:n]); got != "NOERROR opt" {
		t.Errorf("without an NSID: %s", got)
	}
}

// TestBareCookie: a query without a question asks for a cookie (RFC 7873 section 5.4).
func TestBareCookie(t *testing.T) {
	s := loadWorld(t, "rfc")
	var out [datagramSize]byte
	for options, want := range map[string]string{
		"\x00\x0a\x00\x0801234567": "NOERROR opt 10:48", "\x00\x0a\x00\x070123456": "FORMERR", "": "FORMERR",
	} {
		q := packet(0, [4]uint16{0, 0, 0, 1}, "\x00\x00\x29\x04\xd0\x00\x00\x00\x00", string([]byte{0, byte(len(options))}), options)
		n := newWorker(s).respond(q, out[:], client{addr: netip.MustParseAddr("127.0.0.1")})
		if got := optionsOf(t, out[:n]); got != want {
			t.Errorf("options %q: %s, want %s", options, got, want)
		}
	}
}

// TestLimitedAnswers follows a client without, then with a cookie through the limits.
func TestLimitedAnswers(t *testing.T) {
	s := loadWorld(t, "voice")
	strict(s, RateLimit{AnswersPerSecond: 2})
	w := newWorker(s)
	var out [datagramSize]byte
	ask := func(from string, options ...dns.EDNS0) string {
		n := w.respond(asking(t, "k7.voice.example.net.", dns.TypeA, options...), out[:], client{addr: netip.MustParseAddr(from), now: uint32(time.Now().Unix())})
		if n == 0 {
			return "silence"
		}
		m := new(dns.Msg)
		if err := m.Unpack(out[:n]); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s tc=%v aa=%v %d", dns.RcodeToString[m.Rcode], m.Truncated, m.Authoritative, len(m.Answer))
	}
	const served, short, challenge = "NOERROR tc=false aa=true 2", "NOERROR tc=true aa=false 0", "BADCOOKIE tc=false aa=false 0"
	for i, want := range []string{served, served, "silence", short, "silence", short} {
		if got := ask("192.0.2.1"); got != want {
			t.Errorf("question %d: %s, want %s", i, got, want)
		}
	}
	if got := ask("198.51.100.1"); got != served {
		t.Errorf("another network: %s, want %s", got, served)
	}
	if got := ask("192.0.2.1", cookieOption("0123456789abcdef")); got != challenge {
		t.Errorf("with a client cookie: %s, want %s", got, challenge)
	}
	m := new(dns.Msg)
	if err := m.Unpack(out[:]); err != nil && m.IsEdns0() == nil {
		t.Fatal(err)
	}
	given := m.IsEdns0().Option[0].(*dns.EDNS0_COOKIE).Cookie
	if got := ask("192.0.2.1", cookieOption(given)); got != served {
		t.Errorf("with the cookie it was given: %s, want %s", got, served)
	}
	if got := ask("192.0.2.77", cookieOption(given)); got != challenge {
		t.Errorf("with another's cookie: %s, want %s", got, challenge)
	}
	w.tally.watch(w.watch)
	w.tally.publish(w.count)
	got := readings(s)
	for name, want := range map[string]float64{
		"tandem_dnsd_limited_total over-rate": 6, "tandem_dnsd_limited_total slipped": 2, "tandem_dnsd_limited_total dropped": 2,
		"tandem_dnsd_limited_total badcookie": 2, "tandem_dnsd_edns_total valid-cookie": 1, "tandem_dnsd_edns_total cookie": 3,
		"tandem_dnsd_questions_total A": 10, "tandem_dnsd_answers_total NOERROR": 6, "tandem_dnsd_answers_total BADCOOKIE": 2,
	} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
}

// readings returns the metrics by name and label.
func readings(s *Server) map[string]float64 {
	all := map[string]float64{}
	s.Metrics(func(m tandem.Sample) {
		key := m.Name
		for _, v := range m.Labels {
			key += " " + v
		}
		all[key] = m.Value
	})
	return all
}

// TestUDPAllocatesNothing covers all that happens to a datagram between two system calls.
func TestUDPAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s := loadWorld(t, "voice")
	strict(s, RateLimit{AnswersPerSecond: 1_000_000})
	w := newWorker(s)
	var out [datagramSize]byte
	from := netip.MustParseAddr("192.0.2.1")
	now := w.watch.Tick(time.Now(), 1)
	fresh := make([]byte, guard.CookieSize)
	s.model.edns.jar.Put(fresh, []byte("01234567"), from, now)
	for name, q := range map[string][]byte{
		"plain":   askUDP("k7.voice.example.net.", dns.TypeNAPTR),
		"denied":  askUDP("nobody.voice.example.net.", dns.TypeA),
		"options": asking(t, "k7.voice.example.net.", dns.TypeA, nsidOption(), cookieOption(fmt.Sprintf("%x", fresh))),
	} {
		for range 2 { // the records are made at the first question
			w.respond(q, out[:], client{addr: from, now: now})
		}
		before := w.tally.fast
		w.respond(q, out[:], client{addr: from, now: now})
		quick := w.tally.fast > before
		allocations := testing.AllocsPerRun(500, func() {
			w.watch.Tick(time.Now(), 1)
			w.respond(q, out[:], client{addr: from, now: now})
			w.tally.watch(w.watch)
			w.tally.publish(w.count)
		})
		if allocations != 0 || !quick {
			t.Errorf("%s: %v allocations a question, by the fast path: %v; want none, true", name, allocations, quick)
		}
	}
}

func askUDP(name string, rrtype uint16) []byte {
	q := new(dns.Msg)
	q.SetQuestion(name, rrtype)
	b, _ := q.Pack()
	return b
}

// FuzzDatagram: no octets from anywhere make the guard and both paths panic, be silent where an answer is
// due, say what does not parse, or miscount.
func FuzzDatagram(f *testing.F) {
	g := newGenerator("voice", 5)
	for range 40 {
		b, _ := g.question()
		f.Add(b, uint32(0x7f000001))
	}
	for _, b := range oddPackets() {
		f.Add(b, uint32(0xc0000201))
	}
	s := loadWorld(f, "voice")
	strict(s, RateLimit{AnswersPerSecond: 1000, Buckets: 64})
	w := newWorker(s)
	f.Fuzz(func(t *testing.T, in []byte, from uint32) {
		var out [datagramSize]byte
		addr := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, from)))
		in = in[:min(len(in), 4096)]
		now := w.watch.Tick(time.Now(), 1)
		w.tally = tally{}
		n := w.respond(in, out[:], client{addr: addr, now: now})
		if w.tally.panics > 0 {
			t.Fatalf("a panic at %x", in)
		}
		var answers, asked uint64
		for _, c := range w.tally.rcodes {
			answers += c
		}
		for _, c := range w.tally.kinds {
			asked += c
		}
		if asked != 1 || answers != uint64(min(n, 1)) {
			t.Fatalf("%d questions and %d answers counted for %d octets", asked, answers, n)
		}
		if n == 0 {
			return
		}
		checkAnswer(t, in, out[:n], client{addr: addr})
		if err := new(dns.Msg).Unpack(out[:n]); err != nil {
			t.Fatalf("%x does not parse: %v", out[:n], err)
		}
	})
}

// TestFloodOverLoopback forges sources with a socket for each, so that what comes back can be counted:
// no one of them gets three times what it sent, and honest clients beside them get every answer.
func TestFloodOverLoopback(t *testing.T) {
	s := loadWorld(t, "voice")
	strict(s, RateLimit{})
	to := serve(t, s)
	q := askUDP("k7.voice.example.net.", dns.TypeNAPTR)
	var flooding sync.WaitGroup
	for i := range 32 {
		flooding.Go(func() { floodFrom(t, netip.AddrFrom4([4]byte{127, 99, byte(i), 1}), to, q) })
	}
	honest(t, to, "127.98.0.1", true)
	honest(t, to, "127.97.0.1", false)
	flooding.Wait()
	got := readings(s)
	if got["tandem_dnsd_limited_total over-budget"] == 0 || got["tandem_dnsd_edns_total valid-cookie"] < 290 {
		t.Errorf("over budget %v, valid cookies %v", got["tandem_dnsd_limited_total over-budget"], got["tandem_dnsd_edns_total valid-cookie"])
	}
}

// floodFrom sends 600 questions from an address, and wants at most three times their octets back.
func floodFrom(t *testing.T, from netip.Addr, to netip.AddrPort, q []byte) {
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	in, out := 0, 0
	buf := make([]byte, 2048)
	drain := func(patience time.Duration) {
		conn.SetReadDeadline(time.Now().Add(patience))
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			out += n
		}
	}
	for range 60 {
		for range 10 {
			if n, err := conn.Write(q); err == nil {
				in += n
			}
		}
		drain(time.Millisecond)
	}
	drain(200 * time.Millisecond)
	if out > 3*in || out == 0 {
		t.Errorf("%s sent %d octets and got %d", from, in, out)
	}
}

// honest asks 300 questions as a resolver does: again after a time, over TCP when it is told so.
func honest(t *testing.T, to netip.AddrPort, from string, cookies bool) {
	t.Helper()
	local := netip.MustParseAddr(from)
	udp := &dns.Client{Timeout: time.Second, Dialer: &net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0))}}
	tcp := &dns.Client{Net: "tcp", Timeout: 5 * time.Second, Dialer: &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))}}
	cookie := "0123456789abcdef"
	streams := 0
	for i := range 300 {
		var answered bool
		for try := 0; try < 8 && !answered; try++ {
			q := new(dns.Msg)
			q.SetQuestion("k7.voice.example.net.", dns.TypeNAPTR)
			if cookies {
				q.SetEdns0(1232, false)
				q.IsEdns0().Option = []dns.EDNS0{cookieOption(cookie)}
			}
			m, _, err := udp.Exchange(q, to.String())
			if err == nil && m.Truncated {
				streams++
				m, _, err = tcp.Exchange(q, to.String())
			}
			if err != nil {
				continue
			}
			if opt := m.IsEdns0(); opt != nil && len(opt.Option) > 0 {
				cookie = opt.Option[0].(*dns.EDNS0_COOKIE).Cookie
			}
			answered = m.Rcode == dns.RcodeSuccess && len(m.Answer) == 5
		}
		if !answered {
			t.Fatalf("question %d of %s has no answer", i, from)
		}
	}
	if cookies && streams > 0 {
		t.Errorf("%s had to use TCP %d times although it has a cookie", from, streams)
	}
	t.Logf("%s: 300 answers, %d of them over TCP", from, streams)
}

func TestGuardConfigFaults(t *testing.T) {
	good := Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}}
	for _, test := range []struct {
		name  string
		spoil func(*Config)
		want  string
	}{
		{"good", func(c *Config) { c.NSID = "a"; c.Cookies.Secret = strings.Repeat("0f", 16) }, ""},
		{"long NSID", func(c *Config) { c.NSID = strings.Repeat("a", 129) }, "nsid: is longer"},
		{"short secret", func(c *Config) { c.Cookies.Secret = "0f" }, "cookies.secret: is not 16 octets"},
		{"secret that is not hexadecimal", func(c *Config) { c.Cookies.Secret = strings.Repeat("xy", 16) }, "cookies.secret: is not 16 octets"},
		{"staged alone", func(c *Config) { c.Cookies.Staged = strings.Repeat("0f", 16) }, "cookies.secret: is missing"},
		{"rate", func(c *Config) { c.RateLimit.AnswersPerSecond = -1 }, "rateLimit.answersPerSecond: is not within"},
		{"buckets", func(c *Config) { c.RateLimit.Buckets = 1 << 30 }, "rateLimit.buckets: is not within"},
		{"exempt", func(c *Config) { c.RateLimit.Exempt = make([]netip.Prefix, 1) }, "rateLimit.exempt[0]: is not a network"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := good
			test.spoil(&cfg)
			_, err := New(cfg, Deps{}, slog.New(slog.DiscardHandler))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("New = %v, want %q", err, test.want)
			}
		})
	}
}
