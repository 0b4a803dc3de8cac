package dnsd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// watched returns a server of the world voice with what changes of the configuration.
func watched(t testing.TB, change func(*Config)) *Server {
	t.Helper()
	cfg := Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Workers: 1}
	change(&cfg)
	s, err := New(cfg, Deps{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range readObjects(t, "voice") {
		s.Apply([]tandem.Change{{Revision: tandem.Revision(i + 1), Kind: o.Kind(), ID: o.Header().ID, Object: o}})
	}
	return s
}

// packedAsk returns a question in wire form.
func packedAsk(t testing.TB, name string, rrtype uint16) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, rrtype)
	m.SetEdns0(1232, true)
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// observedAsker returns a function that asks s once as a stream's client, and how it is counted.
func observedAsker(t testing.TB, s *Server, name string, rrtype uint16) func() {
	query, out := packedAsk(t, name, rrtype), make([]byte, streamSize)
	c := client{addr: netip.MustParseAddr("192.0.2.77"), port: 4711, stream: true, transport: overTCP, local: netip.MustParseAddrPort("192.0.2.1:53")}
	return func() {
		if s.handle(s.counters[0], query, out, c) == 0 {
			t.Errorf("%s is not answered", name)
		}
	}
}

// drain runs the observers until what waits is shown and written.
func (s *Server) drain(t testing.TB) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	s.observing.run(ctx)
}

// TestQueryLog: one query in so many is written, with what it was; twin: without a target nothing is, nor is
// there a glimpse.
func TestQueryLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queries")
	s := watched(t, func(c *Config) { c.QueryLog = QueryLog{File: path, Sample: 100, PerSecond: 1000} })
	if err := s.observing.open(); err != nil {
		t.Fatal(err)
	}
	ask := observedAsker(t, s, "K7.voice.example.net.", dns.TypeNAPTR)
	for range 1000 {
		ask()
	}
	s.drain(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != 10 {
		t.Errorf("%d lines for 1000 queries, want 10", len(lines))
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil {
		t.Fatal(err)
	}
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(line["at"])); err != nil {
		t.Errorf("at: %v", err)
	}
	delete(line, "at")
	if line["size"].(float64) < 100 {
		t.Errorf("size %v", line["size"])
	}
	delete(line, "size")
	want := map[string]any{
		"client": "192.0.2.77:4711", "transport": "tcp", "name": "K7.voice.example.net.", "type": "NAPTR", "rcode": "NOERROR",
		"path": "fast", "flags": "qr aa rd edns do",
	}
	if fmt.Sprint(line) != fmt.Sprint(want) {
		t.Errorf("line %v\nwant %v", line, want)
	}

	silent := watched(t, func(*Config) {})
	observedAsker(t, silent, "k7.voice.example.net.", dns.TypeNAPTR)()
	if silent.observing.on.Load() != nil || len(silent.observing.free)+len(silent.observing.ready) != 0 {
		t.Error("somebody watches who was not asked to")
	}
}

// TestQueryLogIsBounded: no more lines a second than said, the rest is counted; the next second has its own.
func TestQueryLogIsBounded(t *testing.T) {
	s := watched(t, func(c *Config) { c.QueryLog = QueryLog{Stderr: true, Sample: 1, PerSecond: 5} })
	var out bytes.Buffer
	s.observing.log.to = &out
	g := &glimpse{answered: time.Unix(1000, 0)}
	for range 20 {
		s.observing.log.see(g)
	}
	g.answered = time.Unix(1001, 0)
	s.observing.log.see(g)
	s.drain(t)
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 6 || s.observing.log.over.Load() != 15 || s.observing.log.lines.Load() != 6 {
		t.Errorf("%d lines, %d over, %d counted", n, s.observing.log.over.Load(), s.observing.log.lines.Load())
	}
}

// TestObservingAllocatesNothing: neither while nobody watches, nor for those that are passed over, nor for those
// that are taken, nor when there is no room.
func TestObservingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, c := range []struct {
		name   string
		sample int
		show   bool
	}{{"off", 0, false}, {"one in a million", 1_000_000, false}, {"each", 1, true}, {"each, without room", 1, false}} {
		t.Run(c.name, func(t *testing.T) {
			s := watched(t, func(*Config) {})
			s.observing.watch(byTop, c.sample) // nobody is attached: what is shown is dropped
			ask := observedAsker(t, s, "k7.voice.example.net.", dns.TypeNAPTR)
			if n := testing.AllocsPerRun(3000, func() {
				ask()
				if c.show {
					s.observing.show(<-s.observing.ready)
				}
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
			full := c.name == "each, without room"
			if missed := s.observing.missed.Load(); full != (missed > 0) || full && len(s.observing.ready) != mostGlimpses {
				t.Errorf("%d missed, %d wait", missed, len(s.observing.ready))
			}
		})
	}
}

// TestObservingNeverWaits: a flood while nobody shows what is seen is answered, and what has no room counted; afterwards all
// glimpses are free again.
func TestObservingNeverWaits(t *testing.T) {
	s := watched(t, func(c *Config) { c.QueryLog = QueryLog{Stderr: true, Sample: 1} })
	s.observing.log.to = new(bytes.Buffer)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			ask := observedAsker(t, s, "k7.voice.example.net.", dns.TypeA)
			for range 1000 {
				ask()
			}
		})
	}
	all.Wait()
	if got := s.observing.missed.Load(); got != 4000-mostGlimpses {
		t.Errorf("%d missed, want %d", got, 4000-mostGlimpses)
	}
	s.drain(t)
	if len(s.observing.free) != mostGlimpses {
		t.Errorf("%d glimpses are free", len(s.observing.free))
	}
}

// TestGlimpseHoldsWhatFits: a query and an answer that fit are seen whole; an answer that does not is seen by its
// length.
func TestGlimpseHoldsWhatFits(t *testing.T) {
	for _, c := range []struct {
		name            string
		in, out         int
		seenIn, seenOut int
		cut             uint64
	}{
		{"both", 40, 400, 40, 400, 0}, {"to the last octet", 96, 4000, 96, 4000, 0}, {"answer too long", 96, 4001, 96, 0, 1},
		{"no answer", 96, 0, 96, 0, 0}, {"query too long", 5000, 100, 0, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := watched(t, func(*Config) {}).observing
			o.watch(byTop, 1)
			o.take(o.on.Load(), 1<<byTop, &dialogue{in: make([]byte, c.in), out: make([]byte, c.out)})
			g := <-o.ready
			if len(g.query()) != c.seenIn || len(g.answer()) != c.seenOut || g.size != c.out || o.cut.Load() != c.cut {
				t.Errorf("saw %d and %d of %d octets, %d cut", len(g.query()), len(g.answer()), g.size, o.cut.Load())
			}
		})
	}
}

// TestTop: what was asked most is found, by each key; twin: afterwards nobody looks any more, and a ninth
// watcher, a key that there is not and a number out of range are refused.
func TestTop(t *testing.T) {
	s := watched(t, func(*Config) {})
	often, seldom := observedAsker(t, s, "k7.voice.example.net.", dns.TypeNAPTR), observedAsker(t, s, "nobody.voice.example.net.", dns.TypeA)
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ by, want string }{
			{"name", "[{k7.voice.example.net. 30 0} {nobody.voice.example.net. 10 0}]"}, {"type", "[{NAPTR 30 0} {A 10 0}]"},
			{"rcode", "[{NOERROR 30 0} {NXDOMAIN 10 0}]"}, {"zone", "[{voice.example.net. 40 0}]"}, {"client", "[{192.0.2.77 40 0}]"},
		} {
			found := make(chan Top)
			go func() {
				top, err := s.Top(t.Context(), c.by, time.Second, 5)
				if err != nil {
					t.Error(err)
				}
				found <- top
			}()
			synctest.Wait()
			for range 10 {
				often()
				often()
				often()
				seldom()
			}
			for range 40 {
				s.observing.show(<-s.observing.ready)
			}
			if top := <-found; fmt.Sprint(top.Items) != c.want || top.Queries != 40 || top.Every != 1 {
				t.Errorf("by %s: %v of %d, one in %d; want %s", c.by, top.Items, top.Queries, top.Every, c.want)
			}
			often()
			if s.observing.on.Load() != nil || len(s.observing.ready) != 0 {
				t.Error("it is looked at though nobody watches")
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		for range mostTops {
			go s.Top(ctx, "name", time.Hour, 5)
		}
		synctest.Wait()
		if _, err := s.Top(ctx, "name", time.Second, 5); !errors.Is(err, ErrWatched) {
			t.Errorf("one more: %v", err)
		}
		stop()
		synctest.Wait()
		for _, c := range []struct {
			by string
			n  int
		}{{"colour", 5}, {"name", 0}, {"name", mostTopItems + 1}} {
			var fault tandem.FieldError
			if _, err := s.Top(t.Context(), c.by, time.Second, c.n); !errors.As(err, &fault) {
				t.Errorf("by %s, %d: %v", c.by, c.n, err)
			}
		}
	})
}

// TestStatsTellRates: rates are those of the last second, ten and sixty; gauges have none; memory has a bound.
func TestStatsTellRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		count, late := 0.0, false
		metrics := func(emit func(tandem.Sample)) {
			mu.Lock()
			defer mu.Unlock()
			emit(tandem.Sample{Name: "count", Labels: map[string]string{"of": "x"}, Value: count})
			emit(tandem.Sample{Name: "gauge", Gauge: true, Value: 7})
			if late {
				emit(tandem.Sample{Name: "late", Value: 60})
			}
		}
		var h history
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { h.run(ctx, metrics); close(done) }()
		time.Sleep(time.Second / 2)
		for second := range 200 {
			time.Sleep(time.Second)
			mu.Lock()
			if count += 10; second == 199 {
				count, late = count+90, true
			}
			mu.Unlock()
		}
		time.Sleep(time.Second / 4)
		got := h.stats(metrics)
		stop()
		<-done
		text := fmt.Sprintf("%.1f %v %.1f", got[0].Rates, got[1].Rates, got[2].Rates)
		if want := "[62.9 18.6 11.5] [0 0 0] [34.3 5.6 1.0]"; text != want {
			t.Errorf("rates %s, want %s", text, want)
		}
		if len(h.past) > remembered+1 {
			t.Errorf("%d readings are kept", len(h.past))
		}
	})
}

// TestSeriesDoNotGrowWithCustomers: a thousand accounts, each asked for, make no series that there was not; and
// no label is one of theirs.
func TestSeriesDoNotGrowWithCustomers(t *testing.T) {
	s := watched(t, func(*Config) {})
	series := func() map[string]bool {
		all := map[string]bool{}
		for _, v := range s.Stats() {
			all[fmt.Sprint(v.Name, v.Labels)] = true
		}
		return all
	}
	observedAsker(t, s, "k7.voice.example.net.", dns.TypeNAPTR)()
	observedAsker(t, s, "nobody.voice.example.net.", dns.TypeA)()
	before := series()
	for i, c := range population(t, 1000) {
		c.Revision = tandem.Revision(1000 + i)
		s.Apply([]tandem.Change{c})
	}
	for i := range 1000 {
		observedAsker(t, s, label(i)+".voice.example.net.", dns.TypeNAPTR)()
	}
	after := series()
	if len(after) != len(before) {
		t.Errorf("%d series with a thousand accounts, %d without", len(after), len(before))
	}
	for name := range after {
		if !before[name] || strings.Contains(name, "voice.example") || strings.Contains(name, label(1)) {
			t.Errorf("%s", name)
		}
	}
}

// TestDnstapFileOfServer has a server write what it is asked over UDP and TCP; the addresses are those of both
// ends, also where it listens to all.
func TestDnstapFileOfServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tap")
	s := watched(t, func(c *Config) {
		c.Listen = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:0")}
		c.Dnstap = Dnstap{File: path, Identity: "here"}
	})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), s.Addrs()[0].Port())
	for _, network := range []string{"udp", "tcp"} {
		q := new(dns.Msg)
		q.SetQuestion("k7.voice.example.net.", dns.TypeNAPTR)
		if _, _, err := (&dns.Client{Net: network}).Exchange(q, to.String()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	server := append([]byte{0x2a, 4}, net.IPv4(127, 0, 0, 9).To4()...) // response_address
	if n := bytes.Count(got, server); n != 4 {
		t.Errorf("the server's address stands %d times, want 4", n)
	}
	if n := bytes.Count(got, []byte("\x0a\x04here")); n != 4 {
		t.Errorf("%d messages, want 4", n)
	}
	if sent, lost, _ := s.observing.tap.sink.Counts(); sent != 4 || lost != 0 {
		t.Errorf("sent %d, lost %d", sent, lost)
	}
}

func TestObserversAreChecked(t *testing.T) {
	for _, c := range []struct {
		name  string
		cfg   Config
		field string
	}{
		{"socket", Config{Dnstap: Dnstap{Socket: "/x", Sample: 10}}, ""},
		{"address", Config{Dnstap: Dnstap{Address: netip.MustParseAddrPort("[::1]:6000")}}, ""},
		{"two targets", Config{Dnstap: Dnstap{Socket: "/x", File: "/y"}}, "dnstap"},
		{"no target", Config{Dnstap: Dnstap{Sample: 10}}, "dnstap"},
		{"port zero", Config{Dnstap: Dnstap{Address: netip.MustParseAddrPort("[::1]:0")}}, "dnstap.address"},
		{"sample below zero", Config{Dnstap: Dnstap{File: "/y", Sample: -1}}, "dnstap.sample"},
		{"long identity", Config{Dnstap: Dnstap{File: "/y", Identity: strings.Repeat("x", 256)}}, "dnstap.identity"},
		{"log", Config{QueryLog: QueryLog{Stderr: true}}, ""},
		{"two logs", Config{QueryLog: QueryLog{Stderr: true, File: "/y"}}, "queryLog"},
		{"no log", Config{QueryLog: QueryLog{PerSecond: 5}}, "queryLog"},
		{"log rate below zero", Config{QueryLog: QueryLog{File: "/y", PerSecond: -5}}, "queryLog.perSecond"},
		{"large file", Config{QueryLog: QueryLog{File: "/y", FileSize: 1 << 21}}, "queryLog.fileSize"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
			err := c.cfg.Validate()
			var faults tandem.FieldErrors
			if errors.As(err, &faults); (err == nil) != (c.field == "") || c.field != "" && faults[0].Field != c.field {
				t.Errorf("Validate = %v, want a fault of %q", err, c.field)
			}
		})
	}
}

// BenchmarkWatched tells what being watched costs an answer: nobody, one in a hundred, each.
func BenchmarkWatched(b *testing.B) {
	for _, every := range []int{0, 100, 1} {
		b.Run(fmt.Sprint("every=", every), func(b *testing.B) {
			s := watched(b, func(*Config) {})
			s.observing.watch(byTop, every)
			ask := observedAsker(b, s, "k7.voice.example.net.", dns.TypeNAPTR)
			b.ReportAllocs()
			for b.Loop() {
				ask()
				if len(s.observing.ready) > 0 {
					s.observing.show(<-s.observing.ready)
				}
			}
		})
	}
}
