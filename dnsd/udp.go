package dnsd

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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
		l.udp = append(l.udp, conn.(*net.UDPConn))
		conn.(*net.UDPConn).SetReadBuffer(receiveBuffer) // as much of it as the kernel grants
	}
	return l, nil
}

// end ends the reading of l's UDP sockets, so that what was read is still answered, and the accepting.
func (l listener) end() {
	for _, conn := range l.udp {
		conn.SetReadDeadline(time.Unix(1, 0))
	}
	l.tcp.Close()
}

// close closes all sockets of l.
func (l listener) close() {
	for _, conn := range l.udp {
		conn.Close()
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

// serveUDP answers one packet after the other until conn is ended or closed. Its buffers are all it needs:
// nothing that arrives makes it grow.
func (s *Server) serveUDP(conn *net.UDPConn, count *counters) {
	in, out, control := make([]byte, 65535), make([]byte, datagramSize), make([]byte, 64)
	for {
		n, controls, _, from, err := conn.ReadMsgUDPAddrPort(in, control)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			count.readErrors.Add(1)
			continue
		}
		count.udp.Add(1)
		if n = s.handle(count, in[:n], out, client{addr: from.Addr().Unmap()}); n == 0 {
			count.dropped.Add(1)
			continue
		}
		if _, _, err := conn.WriteMsgUDPAddrPort(out[:n], sendFrom(control[:controls]), from); err != nil {
			count.writeErrors.Add(1)
		}
	}
}

// sendFrom turns the control message that says where a packet came to into the one that makes the
// answer leave from there. They differ in the interface, which routing shall choose, but for
// link-local addresses. Nothing else is ever in control.
func sendFrom(control []byte) []byte {
	const head = unix.SizeofCmsghdr
	switch len(control) {
	case unix.CmsgSpace(unix.SizeofInet4Pktinfo):
		clear(control[head : head+4])
	case unix.CmsgSpace(unix.SizeofInet6Pktinfo):
		if control[head] != 0xfe || control[head+1]&0xc0 != 0x80 {
			clear(control[head+16 : head+20])
		}
	default:
		return nil
	}
	return control
}
