package sipproxy

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// sockets is the network as it is: a datagram socket and a stream listener for each listener, and
// the stream connections.
type sockets struct {
	s     *Server
	seed  maphash.Seed
	udp   []*net.UDPConn // by listener, nil where there is none
	tcp   []*net.TCPListener
	flows flows
	halts halts

	serving sync.WaitGroup // readers, acceptors, connections
}

func newSockets(s *Server) *sockets {
	n := &sockets{s: s, seed: maphash.MakeSeed(), udp: make([]*net.UDPConn, len(s.locals)), tcp: make([]*net.TCPListener, len(s.locals))}
	n.flows.init()
	return n
}

// errNoSocket is a hop over a listener that is not bound.
var errNoSocket = errors.New("no such socket")

func newLocal(l Listener) local {
	host := l.Host
	for _, a := range []netip.AddrPort{l.UDP, l.TCP} {
		if host == "" && a.IsValid() {
			host = a.Addr().Unmap().String()
		}
	}
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		host = "[" + host + "]"
	}
	out := local{name: l.Name, host: host}
	if l.UDP.IsValid() {
		out.udp, out.addr = l.UDP.Port(), l.UDP.Addr().Unmap()
	}
	if l.TCP.IsValid() {
		out.tcp, out.addr = l.TCP.Port(), l.TCP.Addr().Unmap()
	}
	return out
}

// reaches reports whether the listener's sockets can send to a: loopback only from loopback, and
// within one address family.
func (l *local) reaches(a netip.Addr) bool {
	a = a.Unmap()
	if l.addr.IsUnspecified() {
		return l.addr.Is6() || a.Is4()
	}
	return l.addr.Is4() == a.Is4() && (l.addr.IsLoopback() == a.IsLoopback())
}

// listen binds every listener; on an error it closes what it bound.
func (n *sockets) listen() error {
	for i, l := range n.s.cfg.Listeners {
		if err := n.bind(i, l); err != nil {
			n.close()
			return fmt.Errorf("sip listener %s: %w", l.Name, err)
		}
	}
	return nil
}

func (n *sockets) bind(i int, l Listener) error {
	loc := &n.s.locals[i]
	listen, listenPacket := net.Listen, net.ListenPacket
	if n.s.deps.Sockets != nil {
		listen, listenPacket = n.s.deps.Sockets.Listen, n.s.deps.Sockets.ListenPacket
	}
	if l.UDP.IsValid() {
		bound, err := listenPacket("udp", l.UDP.String())
		if err != nil {
			return err
		}
		c := bound.(*net.UDPConn)
		n.udp[i] = c
		c.SetReadBuffer(4 << 20) // a burst waits in the kernel; less than asked for is no error
		reportErrors(c)
		loc.udp = c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	}
	if l.TCP.IsValid() {
		bound, err := listen("tcp", l.TCP.String())
		if err != nil {
			return err
		}
		t := bound.(*net.TCPListener)
		n.tcp[i] = t
		loc.tcp = t.Addr().(*net.TCPAddr).AddrPort().Port()
	}
	return nil
}

func (n *sockets) addrs(listener string) (udp, tcp netip.AddrPort) {
	for i, l := range n.s.cfg.Listeners {
		if l.Name != listener {
			continue
		}
		if n.udp[i] != nil {
			udp = n.udp[i].LocalAddr().(*net.UDPAddr).AddrPort()
		}
		if n.tcp[i] != nil {
			tcp = n.tcp[i].Addr().(*net.TCPAddr).AddrPort()
		}
	}
	return udp, tcp
}

// serve reads all sockets until ctx ends, and returns once every reader has.
func (n *sockets) serve(ctx context.Context) {
	for i := range n.udp {
		if n.udp[i] != nil {
			n.serving.Go(func() { n.readUDP(uint8(i)) })
		}
		if n.tcp[i] != nil {
			n.serving.Go(func() { n.accept(uint8(i)) })
		}
	}
	<-ctx.Done()
	n.close()
	n.serving.Wait()
}

// close closes all sockets and connections.
func (n *sockets) close() {
	defer n.halts.end(true)
	for i := range n.udp {
		if n.udp[i] != nil {
			n.udp[i].Close()
		}
		if n.tcp[i] != nil {
			n.tcp[i].Close()
		}
	}
	n.flows.close()
}

// workerFor returns the worker that a message belongs to, by its Call-ID, so that one call's messages
// are handled one after the other.
func (n *sockets) workerFor(data []byte) *worker {
	ws := n.s.workers
	if len(ws) == 1 {
		return ws[0]
	}
	return ws[maphash.Bytes(n.seed, wire.CallID(data))%uint64(len(ws))]
}

// workerOf is workerFor a Call-ID.
func (s *Server) workerOf(callID string) *worker {
	return s.workers[maphash.String(s.sockets.seed, callID)%uint64(len(s.workers))]
}

// send implements network.
func (n *sockets) send(to hop, b []byte, worker int, tx uint64) error {
	if int(to.listener) >= len(n.udp) {
		return errNoSocket
	}
	if to.transport == tandem.TCP {
		return n.sendStream(to, b, worker, tx)
	}
	c := n.udp[to.listener]
	if c == nil {
		return errNoSocket
	}
	// What an earlier datagram met is told to the next one, which is not sent and may be for somebody
	// else: it is tried again. That several do is common where nodes or phones are dead, for all workers
	// write to the same socket. A refusal can never be this datagram's own, so that one which was always
	// in the way is lost as the network might lose it.
	var err error
	for range sendTries {
		if _, err = c.WriteToUDPAddrPort(b, to.remote); err == nil || !isRefused(err) {
			return err
		}
	}
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil
	}
	return err
}

// sendTries is how often a datagram is tried against the errors of others.
const sendTries = 8

// ours reports whether a URI names this proxy: an address of a listener, or a name that leads
// devices here.
func (s *Server) ours(u *wire.URI) bool {
	port := u.Port
	if port == 0 {
		port = 5060
	}
	host := strings.Trim(u.Host, "[]")
	addr, err := netip.ParseAddr(host)
	for i := range s.locals {
		l := &s.locals[i]
		if port != l.udp && port != l.tcp {
			continue
		}
		if strings.EqualFold(strings.Trim(l.host, "[]"), host) || err == nil && addr.Unmap() == l.addr {
			return true
		}
	}
	if err == nil {
		return false
	}
	if acct, _ := s.dir.AccountByHost(host); acct != nil {
		return true
	}
	label, zone, _ := strings.Cut(host, ".")
	return label != "" && len(zone) > 5 && strings.EqualFold(zone[:5], "edge.") && s.dir.IsOurs(host)
}

// recorded reports whether a Request-URI is one that we put into Record-Route: a strict router's
// request then has the target at the end of Route.
func (s *Server) recorded(u *wire.URI) bool {
	if _, loose := u.Param("lr"); !loose {
		return false
	}
	return (isToken(u.User) || strings.HasPrefix(u.User, "path.")) && s.ours(u)
}

// ownVia reports whether a Via's sent-by is one of our listeners.
func (s *Server) ownVia(v *wire.Via) bool {
	for i := range s.locals {
		l := &s.locals[i]
		if (v.Port == l.udp || v.Port == l.tcp) && v.Port != 0 && strings.EqualFold(l.host, v.Host) {
			return true
		}
	}
	return false
}
