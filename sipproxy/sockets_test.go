package sipproxy

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// live is a proxy on real sockets of loopback.
type live struct {
	*Server
	t        *testing.T
	mem      *memory
	dns      *liveZone
	udp, tcp netip.AddrPort
	stop     func() // ends Run and waits for it
}

func startLive(t *testing.T, change func(*Config)) *live {
	t.Helper()
	any := netip.MustParseAddrPort("127.0.0.1:0")
	cfg := Config{Listeners: []Listener{{Name: "main", UDP: any, TCP: any}}, Edge: "e1", Workers: 2}
	if change != nil {
		change(&cfg)
	}
	l := &live{t: t, dns: &liveZone{zone: zone{}}}
	mem := &memory{bindings: map[string]tandem.Binding{}}
	l.mem = mem
	s, err := New(cfg, Deps{Resolver: l.dns, Bindings: mem, Seal: plainSeal{}, Store: mem}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.Server = s
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	l.udp, l.tcp = s.Addrs("main")
	var changes []tandem.Change
	for _, o := range world() {
		changes = append(changes, tandem.Change{Revision: 1, Kind: o.Kind(), ID: o.Header().ID, Object: o})
	}
	keyed := make(chan struct{}, 8)
	mem.append = func(edits []tandem.Edit) {
		var made []tandem.Change
		for _, e := range edits {
			made = append(made, tandem.Change{Revision: 2, Kind: e.Kind, ID: e.ID, Object: e.Object})
		}
		s.Apply(made)
		keyed <- struct{}{}
	}
	s.Apply(changes)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-keyed:
	case <-time.After(5 * time.Second):
		t.Fatal("no keys made")
	}
	stopped := false
	l.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
	t.Cleanup(l.stop)
	return l
}

// liveZone is a zone that changes while it is asked.
type liveZone struct {
	mu   sync.Mutex
	zone zone
}

func (z *liveZone) Targets(name string) ([]tandem.Target, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.zone.Targets(name)
}

// invitesTo points account 1001's calls somewhere.
func (l *live) invitesTo(targets ...tandem.Target) {
	l.dns.mu.Lock()
	defer l.dns.mu.Unlock()
	l.dns.zone["invite.1001.svc.voice.example.net"] = targets
}

// endpoint is a datagram socket of somebody else.
type endpoint struct {
	t *testing.T
	*net.UDPConn
}

func (l *live) endpoint(addr string) endpoint {
	l.t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr+":0")))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	return endpoint{l.t, c}
}

func (e endpoint) hop() hop {
	return hop{transport: tandem.UDP, remote: e.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func (e endpoint) tell(to netip.AddrPort, text string) {
	e.t.Helper()
	if _, err := e.WriteToUDPAddrPort([]byte(text), to); err != nil {
		e.t.Fatal(err)
	}
}

// hear returns the next message that begins so.
func (e endpoint) hear(start string) *wire.Message {
	e.t.Helper()
	e.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 65535)
	for {
		n, _, err := e.ReadFromUDPAddrPort(buf)
		if err != nil {
			e.t.Fatalf("waiting for %q: %v", start, err)
		}
		if m, fault := wire.Parse(string(buf[:n])); strings.HasPrefix(string(buf[:n]), start) && fault == nil {
			return m
		}
	}
}

func TestCallOverUDP(t *testing.T) {
	l := startLive(t, nil)
	carrier, node := l.endpoint("127.0.0.21"), l.endpoint("127.0.0.11")
	l.invitesTo(targetAt("n1", node.hop(), 0))
	carrier.tell(l.udp, msg{uri: "sip:030100@127.0.0.1"}.text(carrier.hop()))
	invite := node.hear("INVITE ")
	node.tell(l.udp, string(invite.Response(180, "Ringing", "tt").Append(nil)))
	node.tell(l.udp, string(invite.Response(200, "OK", "tt").Append(nil)))
	carrier.hear("SIP/2.0 180")
	carrier.hear("SIP/2.0 200")
}

// A target whose port is closed is found out by ICMP, long before time runs out.
func TestFailoverByICMP(t *testing.T) {
	l := startLive(t, func(c *Config) { c.FailoverAfter = time.Minute })
	carrier, dead, node := l.endpoint("127.0.0.21"), l.endpoint("127.0.0.11"), l.endpoint("127.0.0.12")
	gone := dead.hop()
	dead.Close()
	l.invitesTo(targetAt("n1", gone, 0), targetAt("n2", node.hop(), 1))
	carrier.tell(l.udp, msg{uri: "sip:030100@127.0.0.1"}.text(carrier.hop()))
	node.hear("INVITE ")
}

// What datagrams to the dead meet is not taken for what those to the living do, however many there are.
func TestDeadDoNotHurtLiving(t *testing.T) {
	l := startLive(t, nil)
	node, dead := l.endpoint("127.0.0.11"), l.endpoint("127.0.0.12")
	gone := dead.hop()
	dead.Close()
	var sending sync.WaitGroup
	over := make(chan struct{})
	for range 4 {
		sending.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					l.net.send(gone, []byte("to nobody"), 0, 0)
				}
			}
		})
	}
	failed := 0
	for range 20000 {
		if err := l.net.send(node.hop(), []byte("to somebody"), 0, 0); err != nil {
			failed++
		}
	}
	close(over)
	sending.Wait()
	if failed > 0 {
		t.Errorf("%d of 20000 datagrams to a living node failed with what others met", failed)
	}
}

func TestIPv6(t *testing.T) {
	if c, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Logf("no IPv6 here: %v", err)
		return
	} else {
		c.Close()
	}
	any := netip.MustParseAddrPort("[::1]:0")
	l := startLive(t, func(c *Config) { c.Listeners = []Listener{{Name: "main", UDP: any, TCP: any}} })
	phone := l.endpoint("[::1]")
	phone.tell(l.udp, msg{method: "OPTIONS", uri: "sip:" + l.udp.String()}.text(phone.hop()))
	phone.hear("SIP/2.0 200")
	conn := dialFrom(t, "[::1]", l.tcp)
	src := hop{transport: tandem.TCP, remote: conn.LocalAddr().(*net.TCPAddr).AddrPort()}
	io.WriteString(conn, msg{method: "OPTIONS", uri: "sip:" + l.tcp.String()}.text(src))
	if m := readMessage(t, bufio.NewReader(conn)); m.Status != 200 {
		t.Errorf("over TCP: %d %s", m.Status, m.Reason)
	}
}

// A target that is silent is found out by the worker's own timer.
func TestFailoverBySilence(t *testing.T) {
	l := startLive(t, func(c *Config) { c.FailoverAfter = 50 * time.Millisecond })
	carrier, mute, node := l.endpoint("127.0.0.21"), l.endpoint("127.0.0.11"), l.endpoint("127.0.0.12")
	l.invitesTo(targetAt("n1", mute.hop(), 0), targetAt("n2", node.hop(), 1))
	carrier.tell(l.udp, msg{uri: "sip:030100@127.0.0.1"}.text(carrier.hop()))
	node.hear("INVITE ")
}

// 180 and 200 sent back to back arrive in that order, whatever else goes on.
func TestOrderIsKept(t *testing.T) {
	l := startLive(t, nil)
	carrier, node := l.endpoint("127.0.0.21"), l.endpoint("127.0.0.11")
	l.invitesTo(targetAt("n1", node.hop(), 0))
	const calls = 200
	rang := make(map[string]bool)
	for i := range calls {
		id := "order-" + itoa(i)
		carrier.tell(l.udp, msg{uri: "sip:030100@127.0.0.1", callID: id, branch: "z9hG4bK" + id}.text(carrier.hop()))
		if i%20 != 19 {
			continue
		}
		for range 20 {
			m := node.hear("INVITE ")
			node.tell(l.udp, string(m.Response(180, "Ringing", "tt").Append(nil)))
			node.tell(l.udp, string(m.Response(200, "OK", "tt").Append(nil)))
		}
		for answered := 0; answered < 20; {
			m := carrier.hear("SIP/2.0 ")
			switch m.Status {
			case 180:
				rang[m.CallID] = true
			case 200:
				answered++
				if !rang[m.CallID] {
					t.Errorf("%s: 200 before 180", m.CallID)
				}
			}
		}
	}
}

func dialFrom(t *testing.T, from string, to netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from + ":0"))}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

// readMessage reads one message off a stream.
func readMessage(t *testing.T, r *bufio.Reader) *wire.Message {
	t.Helper()
	var buf []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			t.Fatalf("after %q: %v", buf, err)
		}
		if buf = append(buf, b); len(buf) == 2 && string(buf) == "\r\n" {
			buf = nil
		}
		if n, err := wire.Frame(buf); n > 0 {
			m, fault := wire.Parse(string(buf))
			if fault != nil {
				t.Fatal(fault)
			}
			return m
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestCallOverTCP(t *testing.T) {
	l := startLive(t, nil)
	nodes, err := net.Listen("tcp", "127.0.0.11:0")
	if err != nil {
		t.Fatal(err)
	}
	defer nodes.Close()
	at := hop{transport: tandem.TCP, remote: nodes.Addr().(*net.TCPAddr).AddrPort()}
	l.invitesTo(targetAt("n1", at, 0))
	carrier := dialFrom(t, "127.0.0.21", l.tcp)
	src := hop{transport: tandem.TCP, remote: carrier.LocalAddr().(*net.TCPAddr).AddrPort()}
	text := "\r\n\r\n" + msg{uri: "sip:030100@127.0.0.1"}.text(src)
	for _, part := range []string{text[:30], text[30:200], text[200:]} { // in pieces, as streams come
		io.WriteString(carrier, part)
		time.Sleep(time.Millisecond)
	}
	in := bufio.NewReader(carrier)
	if pong, err := in.Peek(2); err != nil || string(pong) != "\r\n" {
		t.Errorf("ping answered %q, %v", pong, err)
	}
	if m := readMessage(t, in); m.Status != 100 {
		t.Errorf("first answer %d", m.Status)
	}
	nodes.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	conn, err := nodes.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	invite := readMessage(t, bufio.NewReader(conn))
	if v := invite.Via.Transport; v != "TCP" {
		t.Errorf("Via says %s", v)
	}
	conn.Write(invite.Response(200, "OK", "tt").Append(nil))
	if m := readMessage(t, in); m.Status != 200 {
		t.Errorf("second answer %d", m.Status)
	}
}

func TestTCPTargetRefusesAndNextIsTried(t *testing.T) {
	l := startLive(t, nil)
	dead, err := net.Listen("tcp", "127.0.0.11:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := hop{transport: tandem.TCP, remote: dead.Addr().(*net.TCPAddr).AddrPort()}
	dead.Close()
	carrier, node := l.endpoint("127.0.0.21"), l.endpoint("127.0.0.12")
	l.invitesTo(targetAt("n1", gone, 0), targetAt("n2", node.hop(), 1))
	carrier.tell(l.udp, msg{uri: "sip:030100@127.0.0.1"}.text(carrier.hop()))
	node.hear("INVITE ")
}

func TestStreamBounds(t *testing.T) {
	l := startLive(t, func(c *Config) {
		c.Streams = Streams{Connections: 3, PerSource: 2, IdleTimeout: 900 * time.Millisecond, ReadTimeout: 50 * time.Millisecond}
	})
	closed := func(c net.Conn) bool {
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		_, err := io.ReadAll(c)
		return err == nil || strings.Contains(err.Error(), "reset")
	}
	t.Run("no length", func(t *testing.T) {
		c := dialFrom(t, "127.0.0.1", l.tcp)
		io.WriteString(c, "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n")
		answer, _ := io.ReadAll(c)
		if !strings.HasPrefix(string(answer), "SIP/2.0 400") {
			t.Errorf("answered %q", answer)
		}
	})
	t.Run("slow message", func(t *testing.T) {
		c := dialFrom(t, "127.0.0.1", l.tcp)
		io.WriteString(c, "OPTIONS sip:")
		if !closed(c) {
			t.Error("still open")
		}
	})
	t.Run("idle", func(t *testing.T) {
		if !closed(dialFrom(t, "127.0.0.1", l.tcp)) {
			t.Error("still open")
		}
	})
	t.Run("per source", func(t *testing.T) {
		for range 2 {
			dialFrom(t, "127.0.0.1", l.tcp)
		}
		third := dialFrom(t, "127.0.0.1", l.tcp)
		start := time.Now()
		if !closed(third) || time.Since(start) > 800*time.Millisecond {
			t.Error("a third connection of one source was kept")
		}
	})
	if l.count.refusedConnections.Load() == 0 {
		t.Error("not counted")
	}
}

func TestRunLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	l := startLive(t, nil)
	dialFrom(t, "127.0.0.1", l.tcp)
	c := l.endpoint("127.0.0.1")
	c.tell(l.udp, msg{method: "OPTIONS", uri: "sip:" + l.udp.String()}.text(c.hop()))
	c.hear("SIP/2.0 200")
	l.stop()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	buf := make([]byte, 1<<16)
	t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
}

func TestListenNamesWhatIsInUse(t *testing.T) {
	l := startLive(t, nil)
	mem := &memory{}
	s, err := New(Config{Listeners: []Listener{{Name: "second", UDP: l.udp}}}, Deps{Resolver: l.dns, Bindings: mem, Seal: plainSeal{}, Store: mem}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err == nil || !strings.Contains(err.Error(), "second") || !strings.Contains(err.Error(), l.udp.String()) {
		t.Errorf("Listen = %v", err)
	}
}

func TestConfigValidate(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:5060")
	for _, c := range []struct {
		name string
		cfg  Config
		want string // "" for none
	}{
		{"good", Config{Listeners: []Listener{{Name: "a", UDP: at}}}, ""},
		{"none", Config{}, "at least one"},
		{"same name", Config{Listeners: []Listener{{Name: "a", UDP: at}, {Name: "a", TCP: at}}}, "a name of its own"},
		{"no transport", Config{Listeners: []Listener{{Name: "a"}}}, "needs udp or tcp"},
		{"unspecified", Config{Listeners: []Listener{{Name: "a", UDP: netip.MustParseAddrPort("0.0.0.0:5060")}}}, "host"},
		{"impatient", Config{Listeners: []Listener{{Name: "a", UDP: at}}, RingTime: time.Second}, "ringTime"},
		{"negative", Config{Listeners: []Listener{{Name: "a", UDP: at}}, Queue: -1}, "queue"},
	} {
		err := c.cfg.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Validate = %v, want %q", c.name, err, c.want)
		}
	}
}
