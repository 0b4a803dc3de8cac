// Package handover lets a process take another's place without closing what it listens on.
//
// The old process starts the new one with its listening sockets and a line to speak over. Both then
// hold the same sockets, so that what is queued in them is lost by neither; who of the two reads is
// for them to agree on. Sockets that a service manager hands over (LISTEN_FDS, sd_listen_fds(3)) are
// taken alike.
//
// It knows nothing of what is served. It leaves to its caller when to hand over, and what to do when
// the new process fails.
package handover

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// variable tells a new process what it was given: a bequest in JSON.
const variable = "TANDEM_HANDOVER"

// firstFD is where descriptors that are handed over begin: the line, then the sockets.
const firstFD = 3

// bequest is what a new process is given: the names of sockets, in the order of their descriptors.
type bequest struct {
	Sockets []string `json:"sockets"`
}

// Sockets opens listening sockets: those that were handed to this process, where it was given some
// for the same address, or new ones. It keeps account of them, so that they can be handed on. The zero
// value was given none. Its methods may be called by many at once.
type Sockets struct {
	mu    sync.Mutex
	given map[string][]int // descriptors by name
	open  []open
}

// open is a socket in use.
type open struct {
	name string
	conn syscall.Conn
}

// Inherit takes what the environment says that this process was given, out of the environment too. The
// line is nil when no other tandem has started it. Call it once, before any other descriptor is opened.
func Inherit() (*Sockets, *Line, error) {
	s := &Sockets{given: map[string][]int{}}
	if text, ok := os.LookupEnv(variable); ok {
		var b bequest
		if err := json.Unmarshal([]byte(text), &b); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", variable, err)
		}
		for i, name := range b.Sockets {
			s.give(name, firstFD+1+i)
		}
		os.Unsetenv(variable)
		line, err := newLine(firstFD)
		return s, line, err
	}
	count, pid := os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID")
	os.Unsetenv("LISTEN_FDS")
	os.Unsetenv("LISTEN_PID")
	if n, err := strconv.Atoi(count); err == nil && pid == strconv.Itoa(os.Getpid()) {
		for fd := firstFD; fd < firstFD+n; fd++ {
			name, err := nameOf(fd)
			if err != nil {
				return nil, nil, fmt.Errorf("LISTEN_FDS: descriptor %d: %w", fd, err)
			}
			s.give(name, fd)
		}
	}
	return s, nil, nil
}

func (s *Sockets) give(name string, fd int) {
	unix.CloseOnExec(fd)
	s.given[name] = append(s.given[name], fd)
}

// nameOf names a socket after what it is bound to.
func nameOf(fd int) (string, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return "", err
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return "", err
	}
	network := map[int]string{unix.SOCK_STREAM: "tcp", unix.SOCK_DGRAM: "udp"}[kind]
	switch at := bound.(type) {
	case *unix.SockaddrInet4:
		return name(network, (&net.TCPAddr{IP: at.Addr[:], Port: at.Port}).String()), nil
	case *unix.SockaddrInet6:
		return name(network, (&net.TCPAddr{IP: at.Addr[:], Port: at.Port}).String()), nil
	case *unix.SockaddrUnix:
		return name("unix", at.Name), nil
	}
	return "", fmt.Errorf("is neither an internet nor a unix socket")
}

// name is what a socket is called between processes: its network without the family, and the address
// that was asked for.
func name(network, address string) string {
	return strings.TrimRight(network, "46") + " " + address
}

// Given returns how many sockets that were handed over are left for this address. Network is tcp, udp
// or unix, as for net.Listen; address is compared as text.
func (s *Sockets) Given(network, address string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.given[name(network, address)])
}

// take returns one of the sockets handed over for a name, nil when there is none.
func (s *Sockets) take(name string) *os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	fds := s.given[name]
	if len(fds) == 0 {
		return nil
	}
	s.given[name] = fds[1:]
	return os.NewFile(uintptr(fds[0]), name)
}

// Listen is like net.Listen.
func (s *Sockets) Listen(network, address string) (net.Listener, error) {
	var l net.Listener
	var err error
	if f := s.take(name(network, address)); f != nil {
		defer f.Close() // what was made of it has a descriptor of its own
		l, err = net.FileListener(f)
	} else {
		l, err = net.Listen(network, address)
	}
	if err != nil {
		return nil, err
	}
	s.Keep(network, address, l.(syscall.Conn))
	return l, nil
}

// ListenPacket is like net.ListenPacket.
func (s *Sockets) ListenPacket(network, address string) (net.PacketConn, error) {
	return s.ListenPacketWith(&net.ListenConfig{}, network, address)
}

// ListenPacketWith is like with.ListenPacket.
func (s *Sockets) ListenPacketWith(with *net.ListenConfig, network, address string) (net.PacketConn, error) {
	var c net.PacketConn
	var err error
	if f := s.take(name(network, address)); f != nil {
		defer f.Close()
		c, err = net.FilePacketConn(f)
	} else {
		c, err = with.ListenPacket(context.Background(), network, address)
	}
	if err != nil {
		return nil, err
	}
	s.Keep(network, address, c.(syscall.Conn))
	return c, nil
}

// Keep takes note of a socket, to be handed on while it is open: one that was made from another, which is
// closed. Listen and ListenPacket do so themselves.
func (s *Sockets) Keep(network, address string, c syscall.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = append(s.open, open{name(network, address), c})
}

// Own says that this process is the one that serves. What was handed to it and nobody has taken is
// closed, and a unix socket's path is removed when its listener is closed.
func (s *Sockets) Own() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fds := range s.given {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	clear(s.given)
	s.unlink(true)
}

// Pass says that another process is the one that serves: what this one closes stays in place.
func (s *Sockets) Pass() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlink(false)
}

func (s *Sockets) unlink(own bool) {
	for _, o := range s.open {
		if l, ok := o.conn.(*net.UnixListener); ok {
			l.SetUnlinkOnClose(own)
		}
	}
}

// duplicate returns descriptors of its own for all sockets that are still open, with their names. The
// caller closes them.
func (s *Sockets) duplicate() (fds []int, names []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.open {
		raw, err := o.conn.SyscallConn()
		if err != nil {
			continue // closed
		}
		fd := -1
		var failed error
		if raw.Control(func(from uintptr) { fd, failed = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, firstFD) }) != nil {
			continue // closed
		}
		if failed != nil {
			closeAll(fds)
			return nil, nil, fmt.Errorf("duplicate %s: %w", o.name, failed)
		}
		fds, names = append(fds, fd), append(names, o.name)
	}
	return fds, names, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
