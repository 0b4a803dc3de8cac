package dnsd

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"
)

// door is one listener for streams, and what stands before the first query on it.
type door struct {
	l       *net.TCPListener
	secure  *tls.Config // nil: plain TCP
	proxied bool        // each connection begins with a PROXY header
}

// over returns the transport of a door's queries.
func (d door) over() transport {
	if d.secure != nil {
		return overTLS
	}
	return overTCP
}

// conversation answers one query of a stream with any number of messages, which write sends one by
// one; it blocks until the client has taken what came before, and fails when that takes longer than
// Config.TCPQuery, or the connection is gone. Queries behind it wait. It returns false, and has
// written nothing, for queries that are answered with one message; an error ends the connection. in
// and msg are not kept. ctx ends when the server closes.
type conversation func(ctx context.Context, in []byte, c client, write func(msg []byte) error) (taken bool, err error)

// serveTCP accepts connections until the door is closed.
func (s *Server) serveTCP(ctx context.Context, d door) {
	count := s.counters[0]
	for {
		conn, err := d.l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			count.readErrors.Add(1)
			time.Sleep(10 * time.Millisecond) // out of descriptors: give some time to come free
			continue
		}
		c := client{
			addr: addrPortOf(conn.RemoteAddr()).Addr(), port: addrPortOf(conn.RemoteAddr()).Port(), stream: true, proven: true, transport: d.over(), local: addrPortOf(conn.LocalAddr()),
		}
		who := clientPrefix(c.addr)
		if d.proxied {
			who = noClient()
		}
		if !s.tcp.add(conn, who, c.transport) {
			count.refusedStreams.Add(1)
			conn.Close()
			continue
		}
		go s.enter(ctx, conn, d, c)
	}
}

// addrPortOf returns the address of a socket, IPv4 as such.
func addrPortOf(a net.Addr) netip.AddrPort {
	var at netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		at = a.AddrPort()
	case *net.UDPAddr:
		at = a.AddrPort()
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// enter takes what a door asks for before the first query, and serves.
func (s *Server) enter(ctx context.Context, raw net.Conn, d door, c client) {
	defer s.tcp.remove(raw)
	if d.proxied {
		var ok bool
		if c, ok = s.takeProxied(raw, c); !ok {
			s.tcp.counts.unproxied.Add(1)
			return
		}
	}
	conn := raw
	if d.secure != nil {
		secured, names, err := s.secure(ctx, raw, d.secure)
		if err != nil {
			s.tcp.counts.handshakes[overTLS].Add(1)
			return
		}
		conn, c.names = secured, names
	}
	s.serveStream(ctx, raw, conn, c)
}

// serveStream answers the queries of one connection in their order until the client is silent for
// too long, or too slow (RFC 7766). Queries may well be sent before the last answer is read: those
// that are there together are answered together, with one write. conn is raw or what encrypts it.
func (s *Server) serveStream(ctx context.Context, raw held, conn net.Conn, c client) {
	r := &streamReader{conn: conn, raw: raw, streams: s.tcp}
	for r.fill() == nil {
		if !s.answerBatch(ctx, r, c) {
			return
		}
	}
}

// answerBatch answers the queries that are there whole. It reports false when the connection is of no
// more use: an answer was not taken, or what came is not DNS.
func (s *Server) answerBatch(ctx context.Context, r *streamReader, c client) bool {
	b := s.tcp.answers.Get().(*gathered)
	defer s.tcp.answers.Put(b)
	w := streamWriter{conn: r.conn, streams: s.tcp, failed: &s.counters[0].writeErrors, batch: b}
	for in, ok := r.next(); ok; in, ok = r.next() {
		s.countStream(c)
		if s.converse != nil {
			taken, err := s.converse(ctx, in, c, w.send)
			if err != nil {
				return false
			}
			if taken {
				continue
			}
		}
		out := w.room()
		n := s.handle(s.counters[0], in, out, c)
		if n == 0 {
			s.counters[0].dropped.Add(1)
			_ = w.flush() // what was asked before is answered
			return false
		}
		if w.add(n) != nil {
			return false
		}
	}
	return w.flush() == nil
}

// countStream counts a query by its transport.
func (s *Server) countStream(c client) {
	if c.transport == overTCP {
		s.counters[0].tcp.Add(1)
		return
	}
	s.tcp.counts.queries[c.transport].Add(1)
}

// mostBatch is how many octets of answers are gathered before they are written.
const mostBatch = 16 << 10

// gathered is room for answers that leave together, and one more of any size.
type gathered [mostBatch + 2 + streamSize]byte

// streamWriter gathers answers, each behind its length, and writes them.
type streamWriter struct {
	conn    net.Conn
	streams *streams
	failed  interface{ Add(uint64) uint64 }
	batch   *gathered
	used    int
}

// room returns where the next answer goes.
func (w *streamWriter) room() []byte { return w.batch[w.used+2:][:streamSize] }

// add takes the n octets that were written into room.
func (w *streamWriter) add(n int) error {
	binary.BigEndian.PutUint16(w.batch[w.used:], uint16(n))
	if w.used += 2 + n; w.used > mostBatch {
		return w.flush()
	}
	return nil
}

// send writes a message at once, behind the answers that were gathered before.
func (w *streamWriter) send(msg []byte) error {
	if len(msg) > streamSize {
		return errors.New("message is longer than 65535 octets")
	}
	if err := w.add(copy(w.room(), msg)); err != nil {
		return err
	}
	return w.flush()
}

// flush writes what was gathered. A client that does not take it in time loses its connection.
func (w *streamWriter) flush() error {
	if w.used == 0 {
		return nil
	}
	w.streams.counts.batches.Add(1)
	w.conn.SetWriteDeadline(time.Now().Add(w.streams.query))
	_, err := w.conn.Write(w.batch[:w.used])
	w.used = 0
	if err != nil {
		w.failed.Add(1)
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			w.streams.counts.stalled.Add(1)
		}
	}
	return err
}

// Sizes of a stream's input buffer: what it begins with, and what it may keep while it waits.
const (
	firstInput = 512
	keptInput  = 4096
)

// streamReader cuts a stream into queries. Its buffer grows with what came, not with what was
// announced, and is small again while it waits.
type streamReader struct {
	conn    net.Conn
	raw     held // as the table knows it
	streams *streams

	buf      []byte
	from, to int // what of buf is still to be taken
}

// next returns the next query that is there whole, valid until fill is called.
func (r *streamReader) next() ([]byte, bool) {
	size, ok := r.size()
	if !ok || r.to-r.from < 2+size {
		return nil, false
	}
	in := r.buf[r.from+2:][:size]
	r.from += 2 + size
	return in, true
}

// size returns the length of the next query, once it is known.
func (r *streamReader) size() (int, bool) {
	if r.to-r.from < 2 {
		return 0, false
	}
	return int(binary.BigEndian.Uint16(r.buf[r.from:])), true
}

// fill returns when at least one query is there whole, which next then returns. Whoever begins a query
// has a fixed time to end it, however it trickles in.
func (r *streamReader) fill() error {
	r.compact()
	if r.to == 0 {
		if err := r.streams.await(r.raw); err != nil {
			return err
		}
		if err := r.read(); err != nil {
			return err
		}
	} else if err := r.streams.await(r.raw); err != nil { // it waits with a query begun
		return err
	}
	if r.isWhole() {
		r.streams.settle(r.raw)
		return nil
	}
	if err := r.streams.hasten(r.raw); err != nil {
		return err
	}
	for !r.isWhole() {
		if err := r.read(); err != nil {
			return err
		}
	}
	r.streams.settle(r.raw)
	return nil
}

func (r *streamReader) isWhole() bool {
	size, ok := r.size()
	return ok && r.to-r.from >= 2+size
}

// compact moves what is left to the buffer's beginning.
func (r *streamReader) compact() {
	r.to = copy(r.buf, r.buf[r.from:r.to])
	r.from = 0
	if len(r.buf) == 0 || r.to == 0 && len(r.buf) > keptInput {
		r.buf = make([]byte, firstInput)
	}
}

// read takes what has come, at least one octet.
func (r *streamReader) read() error {
	if r.to == len(r.buf) {
		r.buf = append(r.buf, make([]byte, min(len(r.buf), 2+streamSize-len(r.buf)))...)
	}
	n, err := io.ReadAtLeast(r.conn, r.buf[r.to:], 1)
	r.to += n
	return err
}
