package dnsd

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// streams counts the open TCP connections, and holds them so that they can be ended.
type streams struct {
	most, mostPerClient int
	idle, query         time.Duration

	mu      sync.Mutex
	open    map[net.Conn]*stream
	clients map[netip.Prefix]int
	evicted uint64 // connections that had to make room
	closed  bool
	running sync.WaitGroup

	answers sync.Pool // of *[2 + streamSize]byte: only connections with an answer in hand hold one
}

// stream is one open connection.
type stream struct {
	who   netip.Prefix
	since time.Time // it waits for its next query to be there whole; zero while it is answered
}

func newStreams(cfg Config) *streams {
	return &streams{
		most: cfg.TCPConnections, mostPerClient: cfg.TCPPerClient, idle: cfg.TCPIdle, query: cfg.TCPQuery,
		open: map[net.Conn]*stream{}, clients: map[netip.Prefix]int{},
		answers: sync.Pool{New: func() any { return new([2 + streamSize]byte) }},
	}
}

// add takes conn in, or reports that there are too many. When it is not its client who has too
// many, the one that has waited longest makes room, so that idle connections shut nobody out
// (RFC 7766 section 6.2.3).
func (t *streams) add(conn net.Conn, who netip.Prefix) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.clients[who] >= t.mostPerClient || len(t.open) >= t.most && !t.evict() {
		return false
	}
	t.open[conn] = &stream{who: who, since: time.Now()}
	t.clients[who]++
	t.running.Add(1)
	return true
}

// evict closes the connection that has waited longest for a query, if any waits. mu is held.
func (t *streams) evict() bool {
	var oldest net.Conn
	for conn, s := range t.open {
		if !s.since.IsZero() && (oldest == nil || s.since.Before(t.open[oldest].since)) {
			oldest = conn
		}
	}
	if oldest == nil {
		return false
	}
	t.evicted++
	t.forget(oldest)
	oldest.Close()
	return true
}

// forget takes conn out of the counts, if it is still there. mu is held.
func (t *streams) forget(conn net.Conn) {
	s := t.open[conn]
	if s == nil {
		return
	}
	delete(t.open, conn)
	if t.clients[s.who]--; t.clients[s.who] == 0 {
		delete(t.clients, s.who)
	}
}

// remove closes conn and lets it go.
func (t *streams) remove(conn net.Conn) {
	conn.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(conn)
	t.running.Done()
}

// await notes that conn waits for a query from now on and sets until when its first octet must
// come. It is an error once the server closes: else it would undo the deadline that ends the connection.
func (t *streams) await(conn net.Conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.open[conn]
	if t.closed || s == nil {
		return net.ErrClosed
	}
	s.since = time.Now()
	return conn.SetReadDeadline(s.since.Add(t.idle))
}

// hasten sets until when the rest of a query must come, under the same condition.
func (t *streams) hasten(conn net.Conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return net.ErrClosed
	}
	return conn.SetReadDeadline(time.Now().Add(t.query))
}

// settle notes that conn's query is there whole.
func (t *streams) settle(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.open[conn]; s != nil {
		s.since = time.Time{}
	}
}

// close ends the reading side of all connections: answers in hand still go out.
func (t *streams) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for conn := range t.open {
		conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (t *streams) wait() { t.running.Wait() }

// clientPrefix is what counts as one client: an IPv4 address, or an IPv6 /64.
func clientPrefix(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits)
	return p
}

// serveTCP accepts connections until l is closed.
func (s *Server) serveTCP(l *net.TCPListener) {
	count := s.counters[0]
	for {
		conn, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			count.readErrors.Add(1)
			time.Sleep(10 * time.Millisecond) // out of descriptors: give some time to come free
			continue
		}
		addr := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if !s.tcp.add(conn, clientPrefix(addr)) {
			count.refusedStreams.Add(1)
			conn.Close()
			continue
		}
		go s.serveStream(conn, addr)
	}
}

// serveStream answers the queries of one connection in their order until the client is silent for
// too long, or too slow (RFC 7766). The next query may well be sent before the last answer is read.
func (s *Server) serveStream(conn net.Conn, addr netip.Addr) {
	defer s.tcp.remove(conn)
	r := &streamReader{conn: conn, streams: s.tcp}
	for {
		in, err := r.next()
		if err != nil || !s.answerStream(conn, in, addr) {
			return
		}
	}
}

// answerStream answers one query. It reports false when the connection is of no more use: nothing
// was sent, or what came is not DNS.
func (s *Server) answerStream(conn net.Conn, in []byte, addr netip.Addr) bool {
	count := s.counters[0]
	count.tcp.Add(1)
	out := s.tcp.answers.Get().(*[2 + streamSize]byte)
	defer s.tcp.answers.Put(out)
	if isTransfer(in) {
		return s.answerTransfer(conn, in, out, client{addr: addr, stream: true})
	}
	n := s.handle(count, in, out[2:], client{addr: addr, stream: true})
	if n == 0 {
		count.dropped.Add(1)
		return false
	}
	binary.BigEndian.PutUint16(out[:], uint16(n))
	conn.SetWriteDeadline(time.Now().Add(s.tcp.query))
	if _, err := conn.Write(out[:2+n]); err != nil {
		count.writeErrors.Add(1)
		return false
	}
	return true
}

// answerTransfer answers a request for a transfer, as answerStream does.
func (s *Server) answerTransfer(conn net.Conn, in []byte, out *[2 + streamSize]byte, c client) bool {
	count := s.counters[0]
	return nil == s.guard(count, func() error {
		return s.transfer(in, out[2:], c, func(msg []byte) error {
			count.full.Add(1)
			count.note(msg, true)
			binary.BigEndian.PutUint16(out[:], uint16(len(msg)))
			conn.SetWriteDeadline(time.Now().Add(s.tcp.query))
			_, err := conn.Write(out[:2+len(msg)])
			return err
		})
	})
}

// streamReader cuts a TCP stream into queries. Its buffer grows with the query in hand and is
// kept: most connections never need more than the first.
type streamReader struct {
	conn    net.Conn
	streams *streams
	size    [2]byte
	buf     []byte
}

// next returns the next query, valid until the call after it.
func (r *streamReader) next() ([]byte, error) {
	if err := r.streams.await(r.conn); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(r.conn, r.size[:1]); err != nil {
		return nil, err
	}
	if err := r.streams.hasten(r.conn); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(r.conn, r.size[1:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(r.size[:]))
	if n > cap(r.buf) {
		r.buf = make([]byte, n)
	}
	_, err := io.ReadFull(r.conn, r.buf[:n])
	r.streams.settle(r.conn)
	return r.buf[:n], err
}
