package dnsd

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"tandem/internal/tandem"
)

// QUIC is where DNS over dedicated QUIC connections is answered (RFC 9250), with the certificate of TLS.
type QUIC struct {
	// Listen are the addresses served; none: no DNS over QUIC. Port 0 takes a free one.
	Listen []netip.AddrPort `yaml:"listen"`
}

// faults reports what is wrong with q.
func (q QUIC) faults() tandem.FieldErrors { return addressFaults("quic.listen", q.Listen) }

// Error codes of RFC 9250 section 4.3.
const (
	doqNoError       = 0x0
	doqInternalError = 0x1
	doqProtocolError = 0x2
	doqExcessiveLoad = 0x4
)

// Bounds of DNS over QUIC beside those it shares with TCP.
const (
	quicStreams    = 32      // queries under way at once, of one connection
	quicQuery      = 4096    // octets of one query: more is what nobody asks
	quicHandshakes = 256     // under way at once, on all listeners
	quicUnproven   = 32      // handshakes from which on addresses are to be proven first
	quicWindow     = 1 << 16 // octets that a connection may have under way
)

// quicDoor is one listener for QUIC. Its socket may be another process's as well, so nothing is read from it
// before openQUIC.
type quicDoor struct {
	socket    *net.UDPConn
	secure    *tls.Config
	transport *quic.Transport
	listener  *quic.Listener // nil before openQUIC
	life      context.Context
	end       context.CancelFunc // of connections: each ends once it has given the answers in hand
	serving   sync.WaitGroup
}

// leave takes no more connections, and ends those there are.
func (d *quicDoor) leave() {
	d.end()
	if d.listener != nil {
		d.listener.Close()
	}
}

// close closes the socket once the last connection is gone.
func (d *quicDoor) close() {
	d.leave()
	d.serving.Wait()
	if d.listener != nil {
		d.transport.Close() // it would begin to read if it had not
	}
	d.socket.Close()
}

func (d *quicDoor) addr() netip.AddrPort { return d.socket.LocalAddr().(*net.UDPAddr).AddrPort() }

// listenQUIC binds one address. A client is made to prove its address by a Retry as soon as some
// handshakes are under way; there are never more of them than quicHandshakes, and the flood's
// answers are no larger than three times its packets (RFC 9000 section 8.1).
func (s *Server) listenQUIC(addr netip.AddrPort, secure *tls.Config) (*quicDoor, error) {
	bound, err := s.sockets.ListenPacketWith(&net.ListenConfig{}, "udp", addr.String())
	if err != nil {
		return nil, err
	}
	d := &quicDoor{socket: bound.(*net.UDPConn), secure: secure}
	d.life, d.end = context.WithCancel(context.Background())
	d.transport = &quic.Transport{
		Conn:                d.socket,
		VerifySourceAddress: func(net.Addr) bool { return s.tcp.shaking.Load() >= quicUnproven || s.tcp.isCrowded() },
		ConnContext: func(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
			return s.tcp.beginHandshake(ctx)
		},
	}
	return d, nil
}

// openQUIC begins to read.
func (s *Server) openQUIC(d *quicDoor) (err error) {
	d.listener, err = d.transport.Listen(d.secure, &quic.Config{
		HandshakeIdleTimeout: s.tcp.query, MaxIdleTimeout: s.tcp.idle + s.tcp.query, // so that the client hears of our own
		MaxIncomingStreams: quicStreams, MaxIncomingUniStreams: -1, Allow0RTT: false,
		InitialStreamReceiveWindow: quicQuery + 2, MaxStreamReceiveWindow: quicQuery + 2,
		InitialConnectionReceiveWindow: quicWindow, MaxConnectionReceiveWindow: quicWindow,
	})
	return err
}

// handshake is a QUIC connection that is not in the table yet.
type handshake struct{ over func() }

// handshakeKey is where a connection's context holds its handshake.
type handshakeKey struct{}

// beginHandshake counts one until it is over, by success or failure, or refuses it.
func (t *streams) beginHandshake(ctx context.Context) (context.Context, error) {
	if t.shaking.Add(1) > quicHandshakes {
		t.shaking.Add(-1)
		t.counts.handshakes[overQUIC].Add(1)
		return nil, errors.New("too many handshakes")
	}
	h := &handshake{over: sync.OnceFunc(func() { t.shaking.Add(-1) })}
	context.AfterFunc(ctx, h.over)
	return context.WithValue(ctx, handshakeKey{}, h), nil
}

// isCrowded reports whether half of all connections are taken.
func (t *streams) isCrowded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open) >= t.most/2
}

// quicConn is a QUIC connection as the table of streams holds it.
type quicConn struct {
	*quic.Conn
	active atomic.Int32 // queries under way
}

// Close tells the client that it is nobody's fault.
func (c *quicConn) Close() error {
	go c.CloseWithError(doqNoError, "") // it waits for the connection's own goroutine
	return nil
}

// SetReadDeadline does nothing: each wait has a deadline of its own.
func (c *quicConn) SetReadDeadline(time.Time) error { return nil }

// serveQUIC accepts connections until the door is closed.
func (s *Server) serveQUIC(d *quicDoor) {
	for {
		accepted, err := d.listener.Accept(d.life)
		if err != nil {
			return
		}
		if h, ok := accepted.Context().Value(handshakeKey{}).(*handshake); ok {
			h.over()
		}
		conn := &quicConn{Conn: accepted}
		c := client{
			addr: addrPortOf(accepted.RemoteAddr()).Addr(), port: addrPortOf(accepted.RemoteAddr()).Port(), stream: true, proven: true, transport: overQUIC,
			local: addrPortOf(accepted.LocalAddr()), names: provenNames(accepted.ConnectionState().TLS),
		}
		if !s.tcp.add(conn, clientPrefix(c.addr), overQUIC) {
			s.counters[0].refusedStreams.Add(1)
			accepted.CloseWithError(doqExcessiveLoad, "too many connections")
			continue
		}
		d.serving.Go(func() { s.serveQUICConn(d.life, conn, c) })
	}
}

// serveQUICConn answers the queries of one connection, each on its own stream, until the client asks
// nothing for too long or ctx ends. The answers in hand then still go out, within lastSilence.
func (s *Server) serveQUICConn(ctx context.Context, conn *quicConn, c client) {
	var queries sync.WaitGroup
	defer func() {
		if ctx.Err() != nil {
			defer time.AfterFunc(lastSilence, func() { conn.CloseWithError(doqNoError, "") }).Stop()
		}
		queries.Wait()
		conn.CloseWithError(doqNoError, "")
		s.tcp.remove(conn)
	}()
	for {
		if conn.active.Load() == 0 && s.tcp.await(conn) != nil {
			return
		}
		waiting, end := context.WithTimeout(ctx, s.tcp.idle)
		stream, err := conn.AcceptStream(waiting)
		end()
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) && conn.active.Load() > 0 {
				continue
			}
			return
		}
		conn.active.Add(1)
		queries.Go(func() { s.serveQUICStream(conn, stream, c) })
	}
}

// serveQUICStream answers one query.
func (s *Server) serveQUICStream(conn *quicConn, stream *quic.Stream, c client) {
	defer func() {
		if conn.active.Add(-1) == 0 {
			_ = s.tcp.await(conn) // it may make room again
		}
	}()
	stream.SetDeadline(time.Now().Add(s.tcp.query))
	in, err := readQUICQuery(stream)
	switch {
	case errors.Is(err, errViolation):
		s.tcp.counts.violations.Add(1)
		conn.CloseWithError(doqProtocolError, err.Error())
		return
	case err != nil: // given up by the client, or too slow
		stream.CancelRead(doqNoError)
		stream.CancelWrite(doqNoError)
		return
	}
	s.tcp.settle(conn)
	s.countStream(c)
	if s.converse != nil {
		taken, err := s.converse(conn.Context(), in, c, func(msg []byte) error { return s.sendQUIC(stream, msg) })
		switch {
		case err != nil:
			stream.CancelWrite(doqInternalError)
			return
		case taken:
			stream.Close()
			return
		}
	}
	b := s.tcp.answers.Get().(*gathered)
	defer s.tcp.answers.Put(b)
	n := s.handle(s.counters[0], in, b[2:][:streamSize], c)
	if n == 0 {
		s.counters[0].dropped.Add(1)
		stream.CancelWrite(doqInternalError)
		return
	}
	binary.BigEndian.PutUint16(b[:], uint16(n))
	s.tcp.counts.batches.Add(1)
	if _, err := stream.Write(b[:2+n]); err != nil {
		s.counters[0].writeErrors.Add(1)
		stream.CancelWrite(doqInternalError)
		return
	}
	stream.Close()
}

// sendQUIC writes one of several messages, each behind its length, and waits as long for the client to take
// it as for a query (RFC 9250 section 4.2).
func (s *Server) sendQUIC(stream *quic.Stream, msg []byte) error {
	stream.SetDeadline(time.Now().Add(s.tcp.query))
	s.tcp.counts.batches.Add(1)
	_, err := stream.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg))), msg...))
	if err != nil {
		s.counters[0].writeErrors.Add(1)
	}
	return err
}

// errViolation is what RFC 9250 section 4.3.3 calls a fatal error of the client's.
var errViolation = errors.New("protocol error")

// readQUICQuery reads a stream to its end: one query behind its length, with message ID 0 and without
// the option for TCP's idle timeout (RFC 9250 sections 4.2.1, 4.3.3 and 5.5.2). Its buffer grows with
// what comes, not with what is announced.
func readQUICQuery(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, 2+quicQuery+1))
	if err != nil {
		return nil, err
	}
	if len(b) < 2+headerSize || len(b) != 2+int(binary.BigEndian.Uint16(b)) {
		return nil, fmt.Errorf("%w: not one query behind its length", errViolation)
	}
	in := b[2:]
	if in[0]|in[1] != 0 {
		return nil, fmt.Errorf("%w: message ID is not zero", errViolation)
	}
	if in[2]&flagQR != 0 {
		return nil, fmt.Errorf("%w: a response, not a query", errViolation)
	}
	if opt, ok := optOf(in); ok && hasOption(opt, optionKeepalive, -1) {
		return nil, fmt.Errorf("%w: the option is for TCP only", errViolation)
	}
	return in, nil
}
