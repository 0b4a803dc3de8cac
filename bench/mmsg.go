package main

import (
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is how many datagrams one system call moves at most.
const batch = 64

// maxDatagram holds any answer that the questions here can have.
const maxDatagram = 1500

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// udpSocket is a connected UDP socket that moves datagrams in batches.
type udpSocket struct {
	fd      int
	headers [batch]mmsghdr
	vectors [batch]unix.Iovec
	buffers [batch][maxDatagram]byte
}

func dialUDP(to netip.AddrPort) (*udpSocket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	s := &udpSocket{fd: fd}
	for i := range s.headers {
		s.vectors[i].Base = &s.buffers[i][0]
		s.headers[i].header.Iov = &s.vectors[i]
		s.headers[i].header.SetIovlen(1)
	}
	return s, nil
}

func (s *udpSocket) close() { unix.Close(s.fd) }

// send sends n datagrams, those that fill composed in the socket's buffers, and returns how many
// went out.
func (s *udpSocket) send(n int, fill func(i int, buffer []byte) int) int {
	for i := range n {
		s.vectors[i].SetLen(fill(i, s.buffers[i][:]))
	}
	sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.headers[0])),
		uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	runtime.KeepAlive(s)
	if errno != 0 {
		return 0
	}
	return int(sent)
}

// receive takes up to a batch of datagrams without waiting.
func (s *udpSocket) receive(take func(datagram []byte)) int {
	for i := range s.vectors {
		s.vectors[i].SetLen(maxDatagram)
	}
	got, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.headers[0])),
		batch, unix.MSG_DONTWAIT, 0, 0)
	runtime.KeepAlive(s)
	if errno != 0 {
		return 0
	}
	for i := range int(got) {
		take(s.buffers[i][:s.headers[i].length])
	}
	return int(got)
}

// waitAny waits until one of the sockets can be read, at most the given time.
func waitAny(sockets []*udpSocket, most time.Duration) {
	fds := make([]unix.PollFd, len(sockets))
	for i, s := range sockets {
		fds[i] = unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN}
	}
	limit := unix.NsecToTimespec(int64(max(most, 0)))
	unix.Ppoll(fds, &limit, nil)
}
