package dnsd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"
	"golang.org/x/sys/unix"

	"tandem/dnsd/proxyv2"
	"tandem/internal/tandem"
)

// estate opens sockets, and gives duplicates of them to an heir, as a process does to the next one.
type estate struct {
	t     *testing.T
	given map[string][]*os.File
	kept  map[string][]syscall.Conn
}

func newEstate(t *testing.T) *estate {
	return &estate{t, map[string][]*os.File{}, map[string][]syscall.Conn{}}
}

func socketName(network, address string) string {
	return strings.TrimRight(network, "46") + " " + address
}

// heir returns what is given all that e has open.
func (e *estate) heir() *estate {
	h := newEstate(e.t)
	for name, conns := range e.kept {
		for _, c := range conns {
			raw, err := c.SyscallConn()
			if err != nil {
				continue // closed
			}
			fd := -1
			raw.Control(func(from uintptr) { fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) })
			if fd >= 0 {
				h.given[name] = append(h.given[name], os.NewFile(uintptr(fd), name))
			}
		}
	}
	return h
}

func (e *estate) Given(network, address string) int {
	return len(e.given[socketName(network, address)])
}

func (e *estate) take(network, address string) *os.File {
	name := socketName(network, address)
	if len(e.given[name]) == 0 {
		return nil
	}
	f := e.given[name][0]
	e.given[name] = e.given[name][1:]
	return f
}

func (e *estate) Listen(network, address string) (net.Listener, error) {
	var l net.Listener
	var err error
	if f := e.take(network, address); f != nil {
		l, err = net.FileListener(f)
		f.Close()
	} else {
		l, err = net.Listen(network, address)
	}
	if err == nil {
		e.Keep(network, l.Addr().String(), l.(syscall.Conn))
	}
	return l, err
}

func (e *estate) ListenPacketWith(with *net.ListenConfig, network, address string) (net.PacketConn, error) {
	var c net.PacketConn
	var err error
	if f := e.take(network, address); f != nil {
		c, err = net.FilePacketConn(f)
		f.Close()
	} else {
		c, err = with.ListenPacket(context.Background(), network, address)
	}
	if err == nil {
		e.Keep(network, c.LocalAddr().String(), c.(syscall.Conn))
	}
	return c, err
}

func (e *estate) Keep(network, address string, c syscall.Conn) {
	e.kept[socketName(network, address)] = append(e.kept[socketName(network, address)], c)
}

// heirTo makes a server of the world rfc on sockets, and listens. It has all doors that cfg names.
func heirTo(t *testing.T, sockets Sockets, cfg Config) *Server {
	t.Helper()
	certificate := signed(t, "ns1.rfc.test", nil)
	cfg.Host, cfg.Proxy.From, cfg.RateLimit.Off = "ns1.rfc.test", []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, true
	s, err := New(cfg, Deps{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil }}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range readObjects(t, "rfc") {
		s.change(tandem.Revision(i+1), o.Kind(), o.Header().ID, o)
	}
	s.UseSockets(sockets)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs s and returns a function that ends it and waits, which the test's end calls too.
func run(t *testing.T, s *Server) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	t.Cleanup(end)
	return end
}

// steady asks the same again and again in one way, until the test says that it is enough.
type steady struct {
	name string
	ask  func() error
	had  chan struct{} // holds one when it has had answers
}

// patience is when an answer counts as lost.
const patience = 5 * time.Second

func askDatagram(addr netip.AddrPort, header, query []byte) error {
	conn, err := net.Dial("udp", addr.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(append(slices.Clone(header), query...)); err != nil {
		return err
	}
	b := make([]byte, 1500)
	n, err := conn.Read(b)
	return errors.Join(err, isAnswer(b[:n]))
}

func isAnswer(b []byte) error {
	if len(b) < headerSize || b[3]&15 != dns.RcodeSuccess || b[7] == 0 {
		return fmt.Errorf("answer % x", b)
	}
	return nil
}

func askStream(conn net.Conn, err error, query []byte) error {
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(framed(query)); err != nil {
		return err
	}
	b, err := readFrame(conn)
	return errors.Join(err, isAnswer(b))
}

func proxiedHeader() []byte {
	return proxyv2.Append(nil, proxyv2.Header{Source: netip.MustParseAddrPort("198.51.100.9:4242"), Destination: netip.MustParseAddrPort("203.0.113.53:53")}, false)
}

// lasting asks over one QUIC connection as long as it lives, and then over the next. A connection that ends
// without an error is none's fault, and its question is asked again.
type lasting struct {
	addr  netip.AddrPort
	query []byte
	conn  *quic.Conn
	made  int
}

func (l *lasting) ask() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for ctx.Err() == nil {
		if l.conn == nil {
			conn, err := quic.DialAddr(ctx, l.addr.String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"doq"}}, &quic.Config{})
			if err != nil {
				return fmt.Errorf("dial: %w", err)
			}
			l.conn = conn
			l.made++
		}
		b, err := askQUIC(l.conn, framed(l.query))
		if err == nil {
			return isAnswer(b[2:])
		}
		var over *quic.ApplicationError
		if !errors.As(err, &over) || over.ErrorCode != doqNoError {
			return err
		}
		l.conn = nil
	}
	return ctx.Err()
}

// TestHandover lets one server go on with another one's sockets, of every kind, while all doors are asked
// steadily: nothing is lost, neither while the heir has the sockets and does not run yet, nor later.
func TestHandover(t *testing.T) {
	free := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	sockets := newEstate(t)
	first := heirTo(t, sockets, Config{Workers: 3, Listen: free, TLS: TLS{Listen: free}, QUIC: QUIC{Listen: free}, Proxy: Proxy{Listen: free, TLS: free}})
	endFirst := run(t, first)
	plain, secure := first.AddrsProxy()
	query := withOptions(t, "www.rfc.test.", dns.TypeA)
	header := proxiedHeader()
	lasts := &lasting{addr: first.AddrsQUIC()[0], query: query}
	dialTLS := func() (net.Conn, error) {
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"dot"}}}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return d.DialContext(ctx, "tcp", first.AddrsTLS()[0].String())
	}
	askers := []*steady{
		{name: "udp", ask: func() error { return askDatagram(first.Addrs()[0], nil, query) }},
		{name: "tcp", ask: func() error {
			conn, err := net.Dial("tcp", first.Addrs()[0].String())
			return askStream(conn, err, query)
		}},
		{name: "tls", ask: func() error { conn, err := dialTLS(); return askStream(conn, err, query) }},
		{name: "quic", ask: lasts.ask},
		{name: "proxy", ask: func() error { return askDatagram(plain[0], header, query) }},
	}
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for _, a := range askers {
		a.had = make(chan struct{}, 1)
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := a.ask(); err != nil {
					t.Errorf("%s: lost: %v", a.name, err)
					return
				}
				select {
				case a.had <- struct{}{}:
				default:
				}
			}
		})
	}
	more := func(stage string) { // each is answered some more times
		for _, a := range askers {
			for range 20 {
				select {
				case <-a.had:
				case <-time.After(2 * patience):
					t.Fatalf("%s: %s is answered no more", stage, a.name)
				}
			}
		}
	}
	defer asking.Wait()
	endAsking := sync.OnceFunc(func() { close(stop) })
	defer endAsking()
	more("one server")
	heir := heirTo(t, sockets.heir(), Config{
		Workers: 1, Listen: first.Addrs(), TLS: TLS{Listen: first.AddrsTLS()}, QUIC: QUIC{Listen: first.AddrsQUIC()}, Proxy: Proxy{Listen: plain, TLS: secure},
	})
	more("the heir has the sockets")
	if got := readings(heir)["tandem_dnsd_queries_total udp"]; got != 0 {
		t.Errorf("the heir has read %v queries before it runs", got)
	}
	run(t, heir)
	first.Quit()
	more("the first has quit")
	endFirst()
	more("the first has ended")
	endAsking()
	asking.Wait()
	if lasts.made != 2 {
		t.Errorf("%d QUIC connections, want 2: one with each server", lasts.made)
	}
	if n := len(heir.listeners[0].udp); n != 3 {
		t.Errorf("the heir reads %d sockets, want the 3 that there are", n)
	}
}

// TestInheritedByAnotherDoor moves an address from plain DNS to a proxy's: all sockets there are the proxy's.
func TestInheritedByAnotherDoor(t *testing.T) {
	free := netip.MustParseAddrPort("127.0.0.1:0")
	sockets := newEstate(t)
	first := heirTo(t, sockets, Config{Workers: 3, Listen: []netip.AddrPort{free, free}})
	at := first.Addrs()
	heir := heirTo(t, sockets.heir(), Config{Workers: 1, Listen: at[1:], Proxy: Proxy{Listen: at[:1]}})
	run(t, heir)
	query := withOptions(t, "www.rfc.test.", dns.TypeA)
	header := proxiedHeader()
	for range 40 { // from ports that the kernel spreads over the sockets
		if err := askDatagram(at[0], header, query); err != nil {
			t.Fatalf("with a header: %v", err)
		}
		if err := askDatagram(at[1], nil, query); err != nil {
			t.Fatalf("the other door: %v", err)
		}
	}
	if got := readings(heir)["tandem_dnsd_proxy_headers_total believed"]; got != 40 {
		t.Errorf("%v headers believed, want 40", got)
	}
	first.close()
}
