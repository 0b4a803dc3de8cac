package sipproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// flows is all stream connections: found by number, to answer over the one that asked, and by
// address, to use again what stands.
type flows struct {
	mu     sync.Mutex
	last   uint64
	byID   map[uint64]*flow
	byAddr map[netip.AddrPort]*flow // the newest of an address
	each   map[netip.Addr]int       // connections of one address
	// waiting is how many octets wait for connections.
	waiting atomic.Int64
	closed  bool
}

// What keeps a connection from being made or used.
var (
	errNoFlow   = errors.New("no connection stands")
	errFlows    = errors.New("too many connections")
	errBacklog  = errors.New("too much waits for the connection")
	errShutdown = errors.New("shutting down")
)

// backlog is how many messages may wait for one connection, maxBacklog how many octets for all.
const (
	backlog    = 64
	maxBacklog = 64 << 20
)

// flow is one stream connection. Its reader and its writer are a goroutine each; both end when it is
// closed.
type flow struct {
	id       uint64
	listener uint8
	remote   netip.AddrPort
	out      chan outgoing
	done     chan struct{} // closed with the flow
	asked    atomic.Bool   // requests of ours went this way

	mu   sync.Mutex
	conn net.Conn // nil while it is being dialled
	shut bool
}

// outgoing is one message that waits, and the client transaction to tell when it cannot leave.
type outgoing struct {
	data   []byte
	worker int
	tx     uint64
}

func (f *flows) init() {
	f.byID = make(map[uint64]*flow)
	f.byAddr = make(map[netip.AddrPort]*flow)
	f.each = make(map[netip.Addr]int)
}

// add files a connection, within the bounds of cfg.
func (f *flows) add(cfg *Streams, listener uint8, remote netip.AddrPort, conn net.Conn) (*flow, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, errShutdown
	case len(f.byID) >= cfg.Connections || f.each[remote.Addr()] >= cfg.PerSource:
		return nil, errFlows
	}
	f.last++
	fl := &flow{id: f.last, listener: listener, remote: remote, conn: conn, out: make(chan outgoing, backlog), done: make(chan struct{})}
	f.byID[fl.id], f.byAddr[remote] = fl, fl
	f.each[remote.Addr()]++
	return fl, nil
}

func (f *flows) remove(fl *flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byID[fl.id] != fl {
		return
	}
	delete(f.byID, fl.id)
	if f.byAddr[fl.remote] == fl {
		delete(f.byAddr, fl.remote)
	}
	if f.each[fl.remote.Addr()]--; f.each[fl.remote.Addr()] == 0 {
		delete(f.each, fl.remote.Addr())
	}
}

// find returns the connection that a hop names, or any to its address.
func (f *flows) find(to hop) *flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	if to.conn != 0 {
		if fl := f.byID[to.conn]; fl != nil {
			return fl
		}
	}
	return f.byAddr[to.remote]
}

func (f *flows) close() {
	f.mu.Lock()
	f.closed = true
	all := make([]*flow, 0, len(f.byID))
	for _, fl := range f.byID {
		all = append(all, fl)
	}
	f.mu.Unlock()
	for _, fl := range all {
		fl.close()
	}
}

func (fl *flow) close() {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.shut {
		return
	}
	fl.shut = true
	close(fl.done)
	if fl.conn != nil {
		fl.conn.Close()
	}
}

// opened gives a dialled flow its connection; false when it was closed meanwhile.
func (fl *flow) opened(conn net.Conn) bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.shut {
		conn.Close()
		return false
	}
	fl.conn = conn
	return true
}

// accept takes connections until the listener is closed. An error of accept (no descriptors left)
// is waited out, not died of.
func (n *sockets) accept(listener uint8) {
	l := n.tcp[listener]
	pause := time.Duration(0)
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				n.halts.wait()
				continue
			}
			n.s.count.acceptErrors.Add(1)
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			time.Sleep(pause)
			continue
		}
		pause = 0
		remote := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
		remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
		fl, err := n.flows.add(&n.s.cfg.Streams, listener, remote, conn)
		if err != nil {
			n.s.count.refusedConnections.Add(1)
			conn.Close()
			continue
		}
		n.run(fl)
	}
}

// run starts an open flow's reader and writer.
func (n *sockets) run(fl *flow) {
	n.s.count.connections.Add(1)
	n.s.count.streams.Add(1)
	n.serving.Go(func() { n.writeStream(fl, fl.conn) })
	n.serving.Go(func() {
		n.readStream(fl, fl.conn)
		fl.close()
		n.flows.remove(fl)
		n.s.count.streams.Add(-1)
		if fl.asked.Load() { // what was written last may never have been read
			n.tell(hop{transport: tandem.TCP, listener: fl.listener, remote: fl.remote})
		}
	})
}

// sendStream queues a message for a connection, dialling one when none stands and the hop allows it.
func (n *sockets) sendStream(to hop, b []byte, worker int, tx uint64) error {
	fl := n.flows.find(to)
	if fl == nil {
		if to.flow || to.conn != 0 {
			return errNoFlow
		}
		var err error
		if fl, err = n.flows.add(&n.s.cfg.Streams, to.listener, to.remote, nil); err != nil {
			return err
		}
		n.serving.Go(func() { n.dial(fl) })
	}
	return n.queue(fl, outgoing{append([]byte(nil), b...), worker, tx})
}

// queue puts a message behind those that wait for a connection. Nothing joins the queue of a closed
// one, so that drain finds all.
func (n *sockets) queue(fl *flow, o outgoing) error {
	if n.flows.waiting.Load() > maxBacklog {
		return errBacklog
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.shut {
		return errNoFlow
	}
	select {
	case fl.out <- o:
		if o.tx != 0 {
			fl.asked.Store(true)
		}
		n.flows.waiting.Add(int64(len(o.data)))
		return nil
	default:
		return errBacklog
	}
}

// dial opens a connection from the listener's own address and serves it. What waited for one that
// cannot be opened is reported.
func (n *sockets) dial(fl *flow) {
	d := net.Dialer{Timeout: n.s.cfg.Streams.DialTimeout}
	if a := n.s.locals[fl.listener].addr; !a.IsUnspecified() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dialled := make(chan struct{})
	n.serving.Go(func() { // shutting down ends the dialling too
		select {
		case <-fl.done:
			cancel()
		case <-dialled:
		}
	})
	conn, err := d.DialContext(ctx, "tcp", fl.remote.String())
	close(dialled)
	if err == nil && fl.opened(conn) {
		n.run(fl)
		return
	}
	fl.close()
	n.flows.remove(fl)
	n.drain(fl)
}

// drain reports every message that still waits for a closed flow.
func (n *sockets) drain(fl *flow) {
	for {
		select {
		case o := <-fl.out:
			n.flows.waiting.Add(-int64(len(o.data)))
			n.lost(o)
		default:
			return
		}
	}
}

// lost tells the worker that a request did not leave. A worker too busy to hear it finds out by time.
func (n *sockets) lost(o outgoing) {
	if o.tx == 0 {
		return
	}
	select {
	case n.s.workers[o.worker].inbox <- event{kind: sendFailed, tx: o.tx}:
	default:
	}
}

// writeStream sends what is queued until the flow is closed or a write fails.
func (n *sockets) writeStream(fl *flow, conn net.Conn) {
	defer n.drain(fl)
	defer fl.close()
	for {
		select {
		case o := <-fl.out:
			n.flows.waiting.Add(-int64(len(o.data)))
			conn.SetWriteDeadline(time.Now().Add(n.s.cfg.Streams.WriteTimeout))
			if _, err := conn.Write(o.data); err != nil {
				n.lost(o)
				return
			}
		case <-fl.done:
			return
		}
	}
}

// readStream cuts the stream into messages and gives each to its worker. It returns when the peer is
// gone, idle for too long, too slow with a message, or sends what is no SIP.
func (n *sockets) readStream(fl *flow, conn net.Conn) {
	cfg := &n.s.cfg.Streams
	from := hop{transport: tandem.TCP, listener: fl.listener, remote: fl.remote, conn: fl.id}
	buf := make([]byte, 0, 4096)
	begun := false // deadlines are for the whole message: octets now and then win no time
	conn.SetReadDeadline(time.Now().Add(cfg.IdleTimeout))
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		size, err := conn.Read(buf[len(buf):cap(buf)])
		before := len(buf)
		buf = buf[:before+size]
		if !n.cut(fl, from, &buf) {
			n.s.count.brokenStreams.Add(1)
			return
		}
		switch {
		case len(buf) == 0:
			begun = false
			conn.SetReadDeadline(time.Now().Add(cfg.IdleTimeout))
		case !begun || len(buf) < before+size:
			begun = true
			conn.SetReadDeadline(time.Now().Add(cfg.ReadTimeout))
		}
		if err != nil {
			if err != io.EOF && !errors.Is(err, net.ErrClosed) {
				n.s.log.Debug("stream", "remote", fl.remote, "err", err)
			}
			return
		}
	}
}

// cut takes whole messages off the front of buf; false when the stream makes no sense.
func (n *sockets) cut(fl *flow, from hop, buf *[]byte) bool {
	data := *buf
	defer func() { *buf = append((*buf)[:0], data...) }()
	for {
		skip, ping := wire.Keepalive(data)
		if ping {
			n.s.count.keepalives.Add(1)
			n.queue(fl, outgoing{data: []byte("\r\n")})
		}
		data = data[skip:]
		size, err := wire.Frame(data)
		if err != nil {
			n.unframed(from, data)
			return false
		}
		if size == 0 {
			return true
		}
		w := n.workerFor(data[:size])
		if !w.hasRoom(fl.done) {
			return true
		}
		w.waiting.Add(int64(size))
		select {
		case w.inbox <- event{kind: messageIn, from: from, data: string(data[:size])}:
		case <-fl.done:
			w.waiting.Add(-int64(size))
			return true
		}
		data = data[size:]
	}
}

// unframed lets the front name the fault of a message whose end cannot be found; the connection is
// closed once the answer had its time to leave.
func (n *sockets) unframed(from hop, data []byte) {
	if len(data) >= wire.MaxMessage {
		data = data[:wire.MaxMessage]
	}
	m, fault := wire.Parse(string(data))
	if fault == nil {
		fault = &wire.Fault{Code: 400, Reason: "Bad Request: no sound Content-Length"}
	}
	if !m.Answerable() {
		return
	}
	m.Stamp(from.remote.Addr().String(), from.remote.Port())
	reply := m.Response(fault.Code, fault.Reason, n.s.branches.tag(m)).Append(nil)
	if fl := n.flows.find(from); fl != nil && fl.conn != nil {
		fl.conn.SetWriteDeadline(time.Now().Add(n.s.cfg.Streams.WriteTimeout))
		fl.conn.Write(reply)
	}
}
