package dnsd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"tandem/dnsd/xdp"
	"tandem/internal/tandem"
)

// wire is two network namespaces with a cable between them: the server's end has 192.0.2.1 and
// 2001:db8::1, the client's 192.0.2.2 and 2001:db8::2.
type wire struct {
	t      testing.TB
	prefix string
}

var wires atomic.Int32

func newWire(t testing.TB) *wire {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces are root's")
	}
	w := &wire{t: t, prefix: fmt.Sprintf("tx%d-%d", os.Getpid(), wires.Add(1))}
	t.Cleanup(func() {
		for _, end := range []string{"s", "c"} {
			exec.Command("ip", "netns", "del", w.prefix+end).Run()
		}
	})
	w.run("netns add %[1]ss", "netns add %[1]sc",
		"link add dev cable netns %[1]ss type veth peer name cable netns %[1]sc",
		"-n %[1]ss link set cable up", "-n %[1]sc link set cable up",
		"-n %[1]ss addr add 192.0.2.1/24 dev cable", "-n %[1]sc addr add 192.0.2.2/24 dev cable",
		"-n %[1]ss addr add 2001:db8::1/64 dev cable nodad", "-n %[1]sc addr add 2001:db8::2/64 dev cable nodad")
	return w
}

func (w *wire) run(commands ...string) {
	w.t.Helper()
	for _, c := range commands {
		c = fmt.Sprintf(c, w.prefix)
		if out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			w.t.Fatalf("ip %s: %v %s", c, err, out)
		}
	}
}

// in calls fn inside one end's namespace: "s" or "c".
func (w *wire) in(end string, fn func()) {
	w.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		ns, err := os.Open("/var/run/netns/" + w.prefix + end)
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			ns.Close()
		}
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
}

// xdpServer serves the world voice at the server's end, with common questions answered as mode says.
func xdpServer(t *testing.T, w *wire, mode xdpMode) *Server {
	t.Helper()
	s := xdpListening(t, w, mode, 53)
	run(t, s)
	return s
}

// xdpListening is such a server at a port, which does not run yet.
func xdpListening(t *testing.T, w *wire, mode xdpMode, port uint16) *Server {
	t.Helper()
	s := loadWorld(t, "voice")
	s.cfg.XDP = mode
	s.cfg.RateLimit.Off = true
	s.guard = newGuard(s.cfg, s.model.edns.jar)
	s.cfg.Listen = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), port)}
	for range s.cfg.Workers {
		s.counters = append(s.counters, &counters{})
	}
	var err error
	w.in("s", func() { err = s.Listen() })
	if err != nil {
		t.Fatal(err)
	}
	if mode != xdpOff && s.accelerator == nil {
		t.Skip("this machine loads no programs")
	}
	if mode == xdpNative {
		w.takeFrames()
	}
	return s
}

// takeFrames has the client's end take what XDP sends from the driver of the other one: it does so only
// while a program of its own is there.
func (w *wire) takeFrames() {
	var idle *xdp.Responder
	var err error
	w.in("c", func() {
		if idle, err = xdp.Open(xdp.Limit{}); err == nil {
			err = idle.Attach("cable", true)
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { idle.Close() })
}

// dial returns a socket of the client's end.
func (w *wire) dial(to string) net.Conn {
	var conn net.Conn
	var err error
	w.in("c", func() { conn, err = net.Dial("udp", to) })
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

// exchangeOver returns the answer to a question, and counts how often it asked.
func exchangeOver(t testing.TB, conn net.Conn, query []byte, asked *uint64) []byte {
	t.Helper()
	buf := make([]byte, 4096)
	for range 20 { // the first packets may wait for a neighbour's address
		conn.Write(query)
		*asked++
		conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		for {
			n, err := conn.Read(buf)
			if err != nil {
				break
			}
			if n > 1 && buf[0] == query[0] && buf[1] == query[1] { // not a late answer to a question asked twice
				return buf[:n]
			}
		}
	}
	t.Fatal("no answer")
	return nil
}

func packed(t testing.TB, name string, rrtype uint16, edns bool) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, rrtype)
	m.RecursionDesired = false
	if edns {
		m.SetEdns0(1232, false)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answered returns how many questions XDP has answered.
func (s *Server) answered() uint64 {
	_, stats := s.accelerator.counters()
	return stats.Answered
}

// TestXDPAnswers asks over a cable what accounts' clients ask: XDP answers what was asked before, with
// the octets of the sockets, and not after a change.
func TestXDPAnswers(t *testing.T) {
	for _, mode := range []xdpMode{xdpGeneric, xdpNative, xdpAuto, xdpOff} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWire(t)
			s := xdpServer(t, w, mode)
			asked := uint64(0)
			for _, to := range []string{"192.0.2.1:53", "[2001:db8::1]:53"} {
				conn := w.dial(to)
				for _, name := range []string{"acme.voice.example.net.", "_sip._udp.ACME.voice.example.net."} {
					for _, rrtype := range []uint16{dns.TypeNAPTR, dns.TypeSRV, dns.TypeA} {
						for _, edns := range []bool{false, true} {
							asked += s.askAgainAndAgain(t, conn, packed(t, name, rrtype, edns))
						}
					}
				}
			}
			readings := map[string]float64{}
			s.Metrics(func(x tandem.Sample) {
				if x.Name == "tandem_dnsd_queries_total" || x.Name == "tandem_dnsd_questions_total" || x.Name == "tandem_dnsd_answers_total" {
					readings[x.Name] += x.Value
				}
			})
			for name, value := range readings {
				if value != float64(asked) {
					t.Errorf("%s = %v, want %d", name, value, asked)
				}
			}
		})
	}
}

// askAgainAndAgain asks until XDP answers, if it ever does, and 8 times more, which XDP must answer then; every
// answer must be the first one, which the sockets gave. It returns how often it asked.
func (s *Server) askAgainAndAgain(t *testing.T, conn net.Conn, q []byte) uint64 {
	t.Helper()
	asked := uint64(0)
	first := bytes.Clone(exchangeOver(t, conn, q, &asked))
	positive := first[7] != 0 && len(first) <= len(q)+200 // beyond that it depends on the room behind the frame
	again := func() (byXDP bool) {
		before := s.answered()
		q[1]++
		first[1]++
		if got := exchangeOver(t, conn, q, &asked); !bytes.Equal(got, first) {
			t.Fatalf("answer changed from\n% x to\n% x", first, got)
		}
		return s.answered() > before
	}
	for tries := 0; positive && s.accelerator != nil && !again(); tries++ {
		if tries == 5000 {
			t.Fatalf("XDP does not answer % x", q)
		}
	}
	for range 8 {
		if byXDP := again(); positive && !byXDP && s.accelerator != nil || byXDP && s.accelerator == nil {
			t.Fatalf("answered by XDP: %v, % x", byXDP, q)
		}
	}
	return asked
}

// TestXDPTakesPlainQuestionsOnly checks that what is asked with options, or with DO, is neither answered by XDP nor
// shown to those who ask without.
func TestXDPTakesPlainQuestionsOnly(t *testing.T) {
	w := newWire(t)
	s := xdpServer(t, w, xdpGeneric)
	conn := w.dial("192.0.2.1:53")
	var asked uint64
	for name, change := range map[string]func(*dns.OPT){
		"cookie": func(o *dns.OPT) {
			o.Option = append(o.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"})
		},
		"NSID": func(o *dns.OPT) { o.Option = append(o.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID}) },
		"DO":   func(o *dns.OPT) { o.SetDo() },
		"CO":   func(o *dns.OPT) { o.Hdr.Ttl |= 0x4000 },
	} {
		m := new(dns.Msg).SetQuestion("acme.voice.example.net.", dns.TypeA)
		m.RecursionDesired = false
		change(m.SetEdns0(1232, false).IsEdns0())
		q, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		plain := packed(t, "acme.voice.example.net.", dns.TypeA, true)
		want := make([]byte, datagramSize)
		want = want[:s.model.full(plain, want, client{addr: netip.MustParseAddr("192.0.2.2")})]
		before := s.answered()
		for range 30 {
			exchangeOver(t, conn, q, &asked)
		}
		if s.answered() != before {
			t.Errorf("%s: answered by XDP", name)
		}
		for range 30 {
			if got := exchangeOver(t, conn, plain, &asked); !bytes.Equal(got[2:], want[2:]) {
				t.Fatalf("after %s a plain question gets\n% x, want\n% x", name, got, want)
			}
		}
		s.accelerator.kernel.ChangedAll()
	}
}

// TestXDPKeepsWhatDidNotChange checks that changes which no inbound name shows leave the kernel's answers
// alone, and its twin that one does not.
func TestXDPKeepsWhatDidNotChange(t *testing.T) {
	w := newWire(t)
	s := xdpServer(t, w, xdpGeneric)
	conn := w.dial("192.0.2.1:53")
	var asked uint64
	q := packed(t, "acme.voice.example.net.", dns.TypeA, false)
	byXDP := func() bool {
		before := s.answered()
		exchangeOver(t, conn, q, &asked)
		return s.answered() > before
	}
	for tries := 0; !byXDP(); tries++ {
		if tries == 5000 {
			t.Fatal("XDP does not answer")
		}
	}
	for _, k := range []tandem.Kind{tandem.KindHealth, tandem.KindLease, tandem.KindUser, tandem.KindDevice, tandem.KindNode} {
		if s.accelerator.changed(k); !byXDP() {
			t.Errorf("a change of a %s took the answer away", k)
		}
	}
	if s.accelerator.changed(tandem.KindEdge); byXDP() {
		t.Error("a change of an edge left the answer there")
	}
}

// TestXDPFollowsChanges checks that the first question after a change is answered by it.
func TestXDPFollowsChanges(t *testing.T) {
	w := newWire(t)
	s := xdpServer(t, w, xdpGeneric)
	conn := w.dial("192.0.2.1:53")
	q := packed(t, "acme.voice.example.net.", dns.TypeA, true)
	revision := tandem.Revision(1000)
	for round := range 20 {
		before := s.answered()
		for tries := 0; s.answered() == before; tries++ {
			if tries == 5000 {
				t.Fatal("XDP does not answer")
			}
			exchangeOver(t, conn, q, new(uint64))
		}
		addr := netip.AddrFrom4([4]byte{203, 0, 113, byte(round)})
		var changed tandem.Object
		for _, o := range readObjects(t, "voice") {
			switch o := o.(type) {
			case *tandem.Edge:
				if round%2 == 0 {
					o.Addresses = []netip.Addr{addr}
					revision++
					s.Apply([]tandem.Change{{Revision: revision, Kind: tandem.KindEdge, ID: o.ID, Object: o}})
				}
			case *tandem.Account:
				if o.ID == "1001" {
					changed = o
				}
			}
		}
		if round%2 == 1 {
			account := changed.(*tandem.Account)
			account.TTL.Address = uint32(100 + round)
			revision++
			s.Apply([]tandem.Change{{Revision: revision, Kind: tandem.KindAccount, ID: account.ID, Object: account}})
		}
		m := new(dns.Msg)
		if err := m.Unpack(exchangeOver(t, conn, q, new(uint64))); err != nil {
			t.Fatal(err)
		}
		for _, rr := range m.Answer {
			if a := rr.(*dns.A); round%2 == 0 && !a.A.Equal(addr.AsSlice()) || round%2 == 1 && a.Hdr.Ttl != uint32(100+round) {
				t.Fatalf("round %d: answer from before the change: %v", round, rr)
			}
		}
	}
}

// TestXDPHandover checks that a server whose device another one has answers over sockets until that one quits,
// and by XDP from then on.
func TestXDPHandover(t *testing.T) {
	for _, mode := range []xdpMode{xdpGeneric, xdpNative} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWire(t)
			first := xdpServer(t, w, mode)
			heir := xdpListening(t, w, xdpAuto, 5353)
			waiting := heir.accelerator.waiting
			heir.accelerator.waiting = nil // for Run is not in the namespace
			run(t, heir)
			ctx, cancel := context.WithCancel(t.Context())
			var attaching sync.WaitGroup
			defer attaching.Wait()
			defer cancel()
			attaching.Go(func() { w.in("s", func() { heir.accelerator.attachWaiting(ctx, waiting) }) })
			old, conn := w.dial("192.0.2.1:53"), w.dial("192.0.2.1:5353")
			q := packed(t, "acme.voice.example.net.", dns.TypeA, true)
			for tries := 0; tries < 20 || tries < 5000 && first.answered() == 0; tries++ { // an answer is kept a little later
				exchangeOver(t, old, q, new(uint64))
				exchangeOver(t, conn, q, new(uint64))
			}
			if first.answered() == 0 || heir.answered() != 0 {
				t.Fatalf("XDP answered %d for the first and %d for the heir, want some and none", first.answered(), heir.answered())
			}
			first.Quit()
			for began := time.Now(); heir.answered() == 0; {
				if time.Since(began) > reattachSoon {
					t.Fatal("the heir does not get the device")
				}
				exchangeOver(t, conn, q, new(uint64))
			}
			old.SetDeadline(time.Now().Add(200 * time.Millisecond))
			old.Write(q)
			if n, err := old.Read(make([]byte, 512)); err == nil {
				t.Errorf("%d octets from who has quit", n)
			}
		})
	}
}

// TestXDPFallsBack checks that where there is no device to attach to one line is logged and sockets answer.
func TestXDPFallsBack(t *testing.T) {
	var log bytes.Buffer
	s, err := New(Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, XDP: xdpAuto}, Deps{}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if s.accelerator != nil || strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "no XDP") {
		t.Errorf("log:\n%s", log.String())
	}
	if _, err := New(Config{Listen: s.cfg.Listen, XDP: "fast"}, Deps{}, s.log); err == nil || !strings.Contains(err.Error(), "xdp") {
		t.Errorf("a mode that is none: %v", err)
	}
}
