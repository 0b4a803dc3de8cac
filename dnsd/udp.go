package dnsd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenAttempts bounds the search for a port that is free for both UDP and TCP.
const listenAttempts = 16

// listen binds addr over TCP and, workers times, over UDP.
func listen(addr netip.AddrPort, workers int) (listener, error) {
	var l listener
	var err error
	for range listenAttempts {
		if l, err = bind(addr, workers); err == nil || addr.Port() != 0 || !errors.Is(err, unix.EADDRINUSE) {
			return l, err
		}
	}
	return l, err
}

// bind binds TCP first and UDP to the same port. SO_REUSEPORT, which lets our own sockets share an
// address, would share it with another server as well: a first socket without it makes sure that
// the port is free.
func bind(addr netip.AddrPort, workers int) (l listener, err error) {
	if l.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr)); err != nil {
		return listener{}, err
	}
	defer func() {
		if err != nil {
			l.tcp.Close()
			for _, c := range l.udp {
				c.Close()
			}
			l = listener{}
		}
	}()
	bound := netip.AddrPortFrom(addr.Addr(), l.tcp.Addr().(*net.TCPAddr).AddrPort().Port())
	probe, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(bound))
	if err != nil {
		return l, err
	}
	probe.Close()
	shared := net.ListenConfig{Control: reusePort}
	for range workers {
		conn, err := shared.ListenPacket(context.Background(), "udp", bound.String())
		if err != nil {
			return l, err
		}
		l.udp = append(l.udp, conn.(*net.UDPConn))
	}
	return l, nil
}

// reusePort lets several sockets bind one address; the kernel spreads packets over them.
func reusePort(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	return errors.Join(err, failed)
}

// serveUDP answers one packet after the other until conn is closed. Its two buffers are all it
// needs: nothing that arrives makes it grow.
func (s *Server) serveUDP(conn *net.UDPConn, count *counters) {
	in, out := make([]byte, 65535), make([]byte, datagramSize)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(in)
		if errors.Is(err, net.ErrClosed) {
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
		if _, err := conn.WriteToUDPAddrPort(out[:n], from); err != nil {
			count.writeErrors.Add(1)
		}
	}
}
