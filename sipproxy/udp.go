package sipproxy

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tandem/internal/tandem"
)

// readUDP reads one socket until it is closed and gives each datagram to the worker of its call. A
// worker whose queue is full gets no more: the datagram is dropped, as the network might have.
func (n *sockets) readUDP(listener uint8) {
	c := n.udp[listener]
	buf := make([]byte, 65535)
	for {
		size, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				n.halts.wait()
				continue
			}
			n.s.count.readErrors.Add(1)
			if n.drainErrors(c, listener); !isRefused(err) {
				time.Sleep(time.Millisecond) // whatever it is, it must not take a processor
			}
			continue
		}
		data := buf[:size]
		if size <= 4 {
			n.s.count.keepalives.Add(1) // RFC 5626 section 3.5.1 and what phones send to keep a NAT open
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		ev := event{kind: messageIn, from: hop{transport: tandem.UDP, listener: listener, remote: from}, data: string(data)}
		if !n.workerFor(data).offer(ev) {
			n.s.count.queueFull.Add(1)
		}
	}
}

// reportErrors has the kernel report what ICMP says of datagrams that we sent (ip(7), IP_RECVERR).
func reportErrors(c *net.UDPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	})
}

// drainErrors reads the socket's error queue and tells the workers which targets take no datagrams, so
// that their requests fail over at once.
func (n *sockets) drainErrors(c *net.UDPConn, listener uint8) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	var failed []netip.AddrPort
	raw.Control(func(fd uintptr) {
		var data [1]byte
		var oob [512]byte
		for len(failed) < 64 {
			_, oobn, _, to, err := unix.Recvmsg(int(fd), data[:], oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			if addr, ok := addrPortOf(to); ok && unreachable(oob[:oobn]) {
				failed = append(failed, addr)
			}
		}
	})
	for _, addr := range failed {
		n.tell(hop{transport: tandem.UDP, listener: listener, remote: addr})
	}
}

// tell tells the workers of a target that failed. One too busy to hear it finds out by time.
func (n *sockets) tell(target hop) {
	for _, w := range n.s.workers {
		select {
		case w.inbox <- event{kind: targetFailed, from: target}:
		default:
		}
	}
}

// unreachable reports whether an error-queue message tells of a host, port or network that cannot be
// reached; a datagram that was too long is no such thing.
func unreachable(oob []byte) bool {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return false
	}
	for _, m := range msgs {
		if len(m.Data) < int(unsafe.Sizeof(unix.SockExtendedErr{})) {
			continue
		}
		e := (*unix.SockExtendedErr)(unsafe.Pointer(&m.Data[0]))
		switch unix.Errno(e.Errno) {
		case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH:
			return true
		}
	}
	return false
}

func addrPortOf(sa unix.Sockaddr) (netip.AddrPort, bool) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), true
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)), true
	}
	return netip.AddrPort{}, false
}

func isRefused(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH)
}
