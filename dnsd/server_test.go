package dnsd

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// serve runs s until the test ends and returns its address.
func serve(t *testing.T, s *Server) netip.AddrPort {
	t.Helper()
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	return s.Addrs()[0]
}

func TestServeOverUDPAndTCP(t *testing.T) {
	s := loadWorld(t, "voice")
	addr := serve(t, s)
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			q := new(dns.Msg)
			q.SetQuestion("k7.voice.example.net.", dns.TypeNAPTR)
			in, _, err := (&dns.Client{Net: network}).Exchange(q, addr.String())
			if err != nil {
				t.Fatal(err)
			}
			if len(in.Answer) != 5 || !in.Authoritative || in.RecursionAvailable || !in.RecursionDesired {
				t.Errorf("answer = %v, want five NAPTR, aa, rd and no ra", in)
			}
		})
	}
	readings := map[string]float64{}
	s.Metrics(func(m tandem.Sample) {
		key := m.Name
		for _, v := range m.Labels {
			key += " " + v
		}
		readings[key] = m.Value
	})
	for name, want := range map[string]float64{
		"tandem_dnsd_queries_total udp": 1, "tandem_dnsd_queries_total tcp": 1,
		"tandem_dnsd_answers_total NOERROR": 2, "tandem_dnsd_path_total full": 1, "tandem_dnsd_path_total fast": 1,
		"tandem_dnsd_zones": 4, "tandem_dnsd_accounts": 5, "tandem_dnsd_labels": 7,
	} {
		if readings[name] != want {
			t.Errorf("%s = %v, want %v", name, readings[name], want)
		}
	}
}

func TestStreamTakesPipelinedAndSlowSenders(t *testing.T) {
	addr := serve(t, loadWorld(t, "rfc"))
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var octets []byte
	for id := range uint16(3) {
		q := new(dns.Msg)
		q.SetQuestion("www.rfc.test.", dns.TypeA)
		q.Id = id
		b, _ := q.Pack()
		octets = append(binary.BigEndian.AppendUint16(octets, uint16(len(b))), b...)
	}
	for _, b := range octets {
		if _, err := conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	in := &dns.Conn{Conn: conn}
	for id := range uint16(3) {
		m, err := in.ReadMsg()
		if err != nil || m.Id != id || len(m.Answer) != 1 {
			t.Fatalf("answer %d = %v, %v", id, m, err)
		}
	}
	conn.Write([]byte{0, 3, 1, 2, 3}) // no header: not DNS
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after garbage: %v, want the connection closed", err)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	s := loadWorld(t, "rfc")
	s.tcp.mostPerClient, s.tcp.idle = 2, 50*time.Millisecond
	addr := serve(t, s)
	var open []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		open = append(open, c)
	}
	for i := range open { // the third is refused at once, the others when they have been idle
		if _, err := open[2-i].Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("connection %d: %v, want it closed", 2-i, err)
		}
	}
	if n := s.counters[0].refusedStreams.Load(); n != 1 {
		t.Errorf("%d connections refused, want 1", n)
	}
}

// TestIdleStreamsMakeRoom: whoever fills the table with connections that ask nothing, or only begin
// to ask, shuts nobody out; a connection with an answer in hand is not closed.
func TestIdleStreamsMakeRoom(t *testing.T) {
	s := loadWorld(t, "rfc")
	s.tcp.most = 2
	addr := serve(t, s)
	var open []net.Conn
	for _, first := range [][]byte{{}, {0}, askTCP(t)} {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write(first); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if m, err := (&dns.Conn{Conn: open[2]}).ReadMsg(); err != nil || len(m.Answer) != 1 {
		t.Errorf("the newest got %v, %v, want an answer", m, err)
	}
	s.tcp.mu.Lock()
	defer s.tcp.mu.Unlock()
	if s.tcp.evicted != 1 || len(s.tcp.open) != 2 || s.tcp.clients[clientPrefix(netip.MustParseAddr("127.0.0.1"))] != 2 {
		t.Errorf("%d evicted, %d open, want 1 and 2", s.tcp.evicted, len(s.tcp.open))
	}
}

func TestStreamsWithAnswersInHandStay(t *testing.T) {
	cfg := Config{TCPConnections: 1, TCPPerClient: 5}
	streams := newStreams(cfg)
	busy, _ := net.Pipe()
	late, _ := net.Pipe()
	if !streams.add(busy, netip.Prefix{}, overTCP) {
		t.Fatal("the first is refused")
	}
	streams.settle(busy)
	if streams.add(late, netip.Prefix{}, overTCP) {
		t.Error("a connection with an answer in hand had to make room")
	}
	streams.remove(busy)
	if !streams.add(late, netip.Prefix{}, overTCP) {
		t.Error("there is room, and a connection is refused")
	}
}

func TestListenRefusesAPortInUse(t *testing.T) {
	taken := newServer(t)
	if err := taken.Listen(); err != nil {
		t.Fatal(err)
	}
	defer taken.close()
	second, err := New(Config{Listen: taken.Addrs()}, Deps{}, taken.log)
	if err != nil {
		t.Fatal(err)
	}
	err = second.Listen()
	if err == nil || !strings.Contains(err.Error(), taken.Addrs()[0].String()) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Listen = %v, want one line that names the address", err)
	}
}

func TestRunLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 3 {
		s := loadWorld(t, "rfc")
		if err := s.Listen(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		conn, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		q := new(dns.Msg)
		q.SetQuestion("www.rfc.test.", dns.TypeA)
		c := &dns.Conn{Conn: conn}
		if err := c.WriteMsg(q); err != nil {
			t.Fatal(err)
		}
		if _, err := c.ReadMsg(); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil { // with the connection still open
			t.Errorf("Run = %v, want nil", err)
		}
		conn.Close()
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before Run", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}

func TestConfigValidate(t *testing.T) {
	good := Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}}
	tests := []struct {
		name  string
		spoil func(*Config)
		want  string
	}{
		{"good", func(*Config) {}, ""},
		{"no listener", func(c *Config) { c.Listen = nil }, "listen: is missing"},
		{"no address", func(c *Config) { c.Listen = make([]netip.AddrPort, 1) }, "listen[0]: is not an address"},
		{"workers", func(c *Config) { c.Workers = -1 }, "workers: is below zero"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := good
			test.spoil(&cfg)
			err := cfg.Validate()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("Validate = %v, want %q", err, test.want)
			}
		})
	}
}

// TestAnswersComeFromTheAddressAsked: a connected socket takes answers from there only.
func TestAnswersComeFromTheAddressAsked(t *testing.T) {
	for _, test := range []struct{ listen, ask string }{{"0.0.0.0:0", "127.0.0.5"}, {"[::]:0", "::1"}} {
		t.Run(test.listen, func(t *testing.T) {
			s := loadWorld(t, "rfc")
			s.cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort(test.listen)}
			port := serve(t, s).Port()
			q := new(dns.Msg)
			q.SetQuestion("www.rfc.test.", dns.TypeA)
			in, err := dns.Exchange(q, netip.AddrPortFrom(netip.MustParseAddr(test.ask), port).String())
			if err != nil || len(in.Answer) != 1 {
				t.Errorf("answer = %v, %v", in, err)
			}
		})
	}
}

// TestPanicCostsOneAnswer: the server has lost its model, and goes on all the same.
func TestPanicCostsOneAnswer(t *testing.T) {
	s := newServer(t)
	s.model = nil
	count := &counters{}
	for range 3 {
		if n := s.handle(count, askTCP(t)[2:], make([]byte, datagramSize), client{}); n != 0 {
			t.Errorf("handle = %d, want 0", n)
		}
	}
	if n := count.panics.Load(); n != 3 {
		t.Errorf("%d panics counted, want 3", n)
	}
}
