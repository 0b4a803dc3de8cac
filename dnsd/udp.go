package dnsd

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tandem/dnsd/batch"
	"tandem/dnsd/guard"
)

// listenAttempts bounds the search for a port that is free for both UDP and TCP.
const listenAttempts = 16

// receiveBuffer holds some ten thousand queries while a worker is busy.
const receiveBuffer = 4 << 20

// listen binds addr over TCP and, workers times, over UDP.
func listen(sockets Sockets, addr netip.AddrPort, workers int) (listener, error) {
	var l listener
	var err error
	for range listenAttempts {
		if l, err = bind(sockets, addr, workers); err == nil || addr.Port() != 0 || !errors.Is(err, unix.EADDRINUSE) {
			return l, err
		}
	}
	return l, err
}

// bind binds TCP first and UDP to the same port. SO_REUSEPORT, which lets our own sockets share an
// address, would share it with another server as well: a first socket without it makes sure that
// the port is free, unless our own process of before has left some. All that it left are read: the
// kernel spreads packets over them whether they are or not.
func bind(sockets Sockets, addr netip.AddrPort, workers int) (l listener, err error) {
	family := "6"
	if addr.Addr().Is4() {
		family = "4"
	}
	stream, err := sockets.Listen("tcp"+family, addr.String())
	if err != nil {
		return listener{}, err
	}
	l.tcp = stream.(*net.TCPListener)
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	bound := netip.AddrPortFrom(addr.Addr(), l.tcp.Addr().(*net.TCPAddr).AddrPort().Port())
	given := sockets.Given("udp"+family, bound.String())
	if given == 0 {
		probe, err := net.ListenUDP("udp"+family, net.UDPAddrFromAddrPort(bound))
		if err != nil {
			return l, err
		}
		probe.Close()
	}
	options := socketOptions{wildcard: bound.Addr().IsUnspecified(), ipv4: bound.Addr().Is4()}
	shared := net.ListenConfig{Control: options.set}
	for range max(workers, given) {
		conn, err := sockets.ListenPacketWith(&shared, "udp"+family, bound.String())
		if err != nil {
			return l, err
		}
		conn.(*net.UDPConn).SetReadBuffer(receiveBuffer) // as much of it as the kernel grants
		file, err := batch.Detach(conn.(*net.UDPConn))
		if err != nil {
			return l, err
		}
		sockets.Keep("udp"+family, bound.String(), file)
		l.udp = append(l.udp, file)
	}
	return l, nil
}

// close closes all sockets of l.
func (l listener) close() {
	for _, file := range l.udp {
		file.Close()
	}
	l.tcp.Close()
}

// socketOptions are what UDP sockets need beyond their address.
type socketOptions struct {
	wildcard bool // bound to all addresses: the kernel tells which one a packet came to
	ipv4     bool
}

// set lets several sockets bind one address, over which the kernel spreads packets.
func (o socketOptions) set(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		switch {
		case failed != nil || !o.wildcard:
		case o.ipv4:
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		default:
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	})
	return errors.Join(err, failed)
}

// worker serves one UDP socket.
type worker struct {
	*Server
	conn    *batch.Conn
	watch   *guard.Watch
	seen    *sightings // nil without XDP
	proxied bool       // each packet begins with the header of a proxy
	at      netip.AddrPort
	turns   turns
	began   time.Time // the batch was there
	count   *counters
	tally   tally
}

// serve answers batch after batch until the socket is closed. Its buffers are all it needs: nothing
// that arrives makes it grow.
func (w *worker) serve() {
	for {
		n, err := w.conn.Receive()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			w.count.readErrors.Add(1)
			continue
		}
		if n == 0 {
			continue
		}
		w.began = time.Now()
		now := w.watch.Tick(w.began, n)
		for i := range n {
			w.datagram(i, now)
		}
		w.tally.watch(w.watch)
		w.tally.publish(w.count) // before they are sent: who has an answer finds it counted
		if err := w.conn.Send(); err != nil {
			return // closed meanwhile
		}
		if w.conn.Lost > 0 {
			w.count.writeErrors.Add(w.conn.Lost)
			w.conn.Lost = 0
		}
	}
}

// datagram answers datagram i of the batch.
func (w *worker) datagram(i int, now uint32) {
	w.tally.udp++
	n := 0
	in, c, whole := w.conn.Query(i), client{addr: w.conn.From(i), now: now}, true
	if w.proxied && in != nil {
		in, c, whole = w.unwrap(in, c)
	}
	if in != nil && whole && isUpdate(in) && w.takeUpdate(queuedUpdate{in: in, c: c, conn: w.conn, back: w.conn.Return(i)}) {
		return
	}
	if in != nil && whole {
		w.tally.by = byNobody
		n = w.respond(in, w.conn.Answer(i), c)
		if o := w.observing.on.Load(); o != nil {
			w.show(o, i, in, n, c)
		}
	}
	if n == 0 {
		w.tally.dropped++
		return
	}
	if w.seen != nil {
		w.accelerator.sight(w.seen, in, w.conn.Answer(i)[:n])
	}
	w.conn.Reply(i, n)
}

// respond answers in into out, as far as the guard lets it, and returns the answer's length.
func (w *worker) respond(in, out []byte, c client) int {
	f := guard.Read(in)
	w.tally.ask(&f)
	cookies := w.watch.Proven
	verdict, free := w.watch.Judge(c.addr, &f)
	c.proven = w.watch.Proven > cookies
	n := 0
	if verdict == guard.Pass {
		n = w.answer(&w.tally, in, out, c)
		if n > 0 && !free && !w.watch.Afford(c.addr, len(in), n) {
			verdict = w.watch.Instead(&f)
		}
	}
	if verdict != guard.Pass {
		n = w.refuse(verdict, in, out, &f, c)
	}
	w.tally.answer(out[:n], false)
	return n
}

// refuse writes the short answer that verdict asks for.
func (w *worker) refuse(verdict guard.Verdict, in, out []byte, f *guard.Facts, c client) int {
	if verdict == guard.Drop || in[2]&flagQR != 0 {
		return 0
	}
	n := w.watch.Short(verdict, in, out, f, c.addr)
	w.watch.Charge(c.addr, len(in), n)
	return n
}

// show lets observers see datagram i, which says in and was answered with n octets.
func (w *worker) show(o *observers, i int, in []byte, n int, c client) {
	who := w.turns.pick(o)
	if who == 0 {
		return
	}
	e := dialogue{
		in: in, out: w.conn.Answer(i)[:n], client: netip.AddrPortFrom(c.addr, c.port), local: c.local, by: w.tally.by, asked: w.began,
	}
	if !w.proxied || !c.local.IsValid() {
		e.client, e.local = w.conn.FromPort(i), netip.AddrPortFrom(w.conn.To(i, w.at.Addr()), w.at.Port())
	}
	w.observing.take(o, who, &e)
}
