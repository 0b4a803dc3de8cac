// Package batch moves the datagrams of one UDP socket in batches: recvmmsg and sendmmsg on buffers
// that are made once. It allocates nothing while it runs, waits in one place only, and knows nothing
// of DNS. It is for Linux.
package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Sizes of what a Conn holds.
const (
	// Most is how many datagrams one system call moves at most.
	Most = 16
	// QuerySize is the longest datagram that is taken, in octets; longer ones are counted and left out.
	QuerySize = 4096
	// AnswerSize is the longest datagram that can be sent, in octets.
	AnswerSize = 1232

	controlSize = 64 // holds one packet information of either family
)

// hold is how long a socket that is in use is waited for without Go's scheduler knowing.
const hold = 8 * time.Millisecond

// patience is how long a full send buffer is waited for before the rest of a batch is given up.
const patience = 10 * time.Millisecond

// message is struct mmsghdr of recvmmsg(2).
type message struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// slot holds one datagram's buffers. The odd octets between them keep the slots' beginnings in
// different sets of the processor's cache.
type slot struct {
	from    unix.RawSockaddrInet6 // or RawSockaddrInet4, by its family
	control [controlSize]byte
	query   [QuerySize + 64]byte
	answer  [AnswerSize + 48]byte
}

// Conn is a UDP socket with its buffers. One goroutine uses it; Close may be called by any.
type Conn struct {
	file *os.File
	raw  syscall.RawConn
	held bool           // wait without the scheduler while the socket is in use
	wake *os.File       // an eventfd that ends a long wait
	ends [2]unix.PollFd // the socket and wake

	ending atomic.Bool

	in, out       [Most]message
	inAt, outAt   [Most]unix.Iovec
	slots         [Most]slot
	got           int // datagrams of the last Receive
	queued        int // answers for the next Send
	sent          int // of them, those that are gone
	errno         syscall.Errno
	receive, send func(fd uintptr) bool // made once, for a closure made each time would be allocated

	// Lost counts answers that the kernel did not take, Waits how often a full send buffer was waited for.
	Lost, Waits uint64
}

// Detach takes conn's socket out of Go's netpoller, which would wake up for every datagram even while
// nobody waits there, and closes conn. The file is not for reading and writing: it would block.
func Detach(conn *net.UDPConn) (*os.File, error) {
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var file *os.File
	var failed error
	err = raw.Control(func(fd uintptr) { file, failed = duplicate(int(fd)) })
	return file, errors.Join(err, failed)
}

// duplicate returns a blocking descriptor for fd's socket. (net's own File would put it back into the
// netpoller.)
func duplicate(fd int) (*os.File, error) {
	limit := unix.NsecToTimeval(int64(hold))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(own), "udp"), nil
}

// New returns the socket of file, which Detach made, with its buffers. With held, Receive keeps its
// processor of Go's scheduler for up to 8 ms while it waits: that is for a program that has more
// processors of that kind than it has such goroutines. Close closes the file, too.
func New(file *os.File, held bool) (*Conn, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	c := &Conn{file: file, raw: raw, held: held, wake: os.NewFile(uintptr(event), "eventfd")}
	c.ends[1] = unix.PollFd{Fd: int32(event), Events: unix.POLLIN}
	for i := range c.slots {
		s := &c.slots[i]
		c.inAt[i].Base, c.outAt[i].Base = &s.query[0], &s.answer[0]
		c.inAt[i].SetLen(len(s.query))
		c.in[i].header.Iov = &c.inAt[i]
		c.in[i].header.SetIovlen(1)
		c.in[i].header.Name = (*byte)(pointer(&s.from))
		c.out[i].header.SetIovlen(1)
	}
	c.receive, c.send = c.receiveOnce, c.sendOnce
	return c, nil
}

// End ends Receive and leaves the socket open: what was returned can still be answered. Any goroutine may
// call it.
func (c *Conn) End() {
	if c.ending.Swap(true) {
		return
	}
	one := [8]byte{1}
	c.wake.Write(one[:]) // who does not hear it has ended
}

// Close closes the socket and ends Receive.
func (c *Conn) Close() error {
	one := [8]byte{1}
	_, err := c.wake.Write(one[:])
	return errors.Join(err, c.file.Close()) // Receive closes the event: it may be waiting for it
}

// Receive waits for datagrams and returns how many there are: at least one, unless err says why not.
// Zero and no error means that it was interrupted. It is os.ErrClosed once the socket is closed, or after End:
// what is queued then stays for who else reads the socket. After any other error it may be called again.
func (c *Conn) Receive() (int, error) {
	c.queued, c.got = 0, 0
	if c.ending.Load() {
		c.wake.Close()
		return 0, os.ErrClosed
	}
	for i := range c.in {
		h := &c.in[i].header
		h.Namelen = uint32(unix.SizeofSockaddrInet6)
		h.Control = &c.slots[i].control[0]
		h.SetControllen(controlSize)
	}
	err := c.raw.Read(c.receive)
	switch {
	case err != nil || c.errno == unix.EBADF:
		c.wake.Close()
		return 0, os.ErrClosed
	case c.errno != 0:
		return 0, c.errno
	}
	return c.got, nil
}

// receiveOnce waits for datagrams and takes them. It always returns true: that is, no poller is asked.
func (c *Conn) receiveOnce(fd uintptr) bool {
	flags := uintptr(unix.MSG_DONTWAIT)
	if c.held {
		flags = unix.MSG_WAITFORONE
	}
	for c.take(fd, flags) {
		if c.rest(fd); c.errno != 0 {
			return true
		}
	}
	return true
}

// take takes datagrams and reports whether there are none.
//
// A wait here, without MSG_DONTWAIT, keeps this thread's processor of Go's scheduler: telling the
// scheduler of every query costs more than to answer it. The wait is short; and a signal, with which Go asks
// a thread to stop, ends it, because a socket with a time limit is never waited for again after one
// (signal(7)).
func (c *Conn) take(fd, flags uintptr) (none bool) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(pointer(&c.in[0])), Most, flags, 0, 0)
	if errno == unix.EAGAIN {
		return true
	}
	c.got, c.errno = int(n), errno
	if errno != 0 {
		c.got = 0
	}
	if errno == unix.EINTR {
		c.errno = 0 // not again from here: the caller's next function call is where Go can stop us
	}
	return false
}

// rest waits for a datagram, or for Close, as long as it takes, without a processor.
func (c *Conn) rest(fd uintptr) {
	c.ends[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	_, _, c.errno = unix.Syscall6(unix.SYS_PPOLL, uintptr(pointer(&c.ends[0])), 2, 0, 0, 0, 0)
	if c.errno == unix.EINTR {
		c.errno = 0
	}
	if c.ends[1].Revents != 0 {
		c.errno, c.got = unix.EBADF, 0
	}
}

// Query returns datagram i of the last Receive, nil when it is longer than QuerySize.
func (c *Conn) Query(i int) []byte {
	if c.in[i].header.Flags&unix.MSG_TRUNC != 0 || c.in[i].length > QuerySize {
		return nil
	}
	return c.slots[i].query[:c.in[i].length]
}

// From returns the address that datagram i came from, without a zone.
func (c *Conn) From(i int) netip.Addr {
	s := &c.slots[i]
	if s.from.Family == unix.AF_INET {
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(pointer(&s.from)).Addr)
	}
	return netip.AddrFrom16(s.from.Addr).Unmap()
}

// FromPort returns the address and port that datagram i came from, without a zone.
func (c *Conn) FromPort(i int) netip.AddrPort {
	// Both families have the port, in network order, at the same place.
	port := (*[2]byte)(pointer(&c.slots[i].from.Port))
	return netip.AddrPortFrom(c.From(i), binary.BigEndian.Uint16(port[:]))
}

// To returns the address that datagram i came to: bound, unless that is a wildcard and the kernel has told
// more.
func (c *Conn) To(i int, bound netip.Addr) netip.Addr {
	const head = unix.SizeofCmsghdr
	control := c.slots[i].control[:c.in[i].header.Controllen]
	switch len(control) {
	case unix.CmsgSpace(unix.SizeofInet4Pktinfo):
		return netip.AddrFrom4([4]byte(control[head+8 : head+12]))
	case unix.CmsgSpace(unix.SizeofInet6Pktinfo):
		return netip.AddrFrom16([16]byte(control[head : head+16])).Unmap()
	}
	return bound
}

// Answer returns the buffer for the answer to datagram i, AnswerSize long.
func (c *Conn) Answer(i int) []byte { return c.slots[i].answer[:AnswerSize] }

// Return is the way back to where a datagram came from, for an answer that cannot be given at once.
type Return struct {
	to      netip.AddrPort
	ipv4    bool // the socket is
	control []byte
}

// Return returns the way back for datagram i.
func (c *Conn) Return(i int) Return {
	s, of := &c.slots[i], &c.in[i].header
	port := *(*[2]byte)(pointer(&s.from.Port))
	return Return{
		to:      netip.AddrPortFrom(c.From(i), uint16(port[0])<<8|uint16(port[1])),
		ipv4:    s.from.Family == unix.AF_INET,
		control: bytes.Clone(replyFrom(s.control[:of.Controllen])),
	}
}

// SendLater sends an answer back. It may be called by any goroutine, until Close.
func (c *Conn) SendLater(b []byte, back Return) error {
	var to unix.Sockaddr
	if addr := back.to.Addr(); back.ipv4 {
		to = &unix.SockaddrInet4{Port: int(back.to.Port()), Addr: addr.As4()}
	} else {
		to = &unix.SockaddrInet6{Port: int(back.to.Port()), Addr: addr.As16()}
	}
	var failed error
	err := c.raw.Control(func(fd uintptr) {
		_, failed = unix.SendmsgN(int(fd), b, back.control, to, unix.MSG_DONTWAIT)
	})
	return errors.Join(err, failed)
}

// Reply queues the first n octets of the answer to datagram i for Send.
func (c *Conn) Reply(i, n int) {
	to, of := &c.out[c.queued].header, &c.in[i].header
	c.outAt[c.queued].Base = &c.slots[i].answer[0]
	c.outAt[c.queued].SetLen(n)
	to.Iov = &c.outAt[c.queued]
	to.Name, to.Namelen = of.Name, of.Namelen
	control := replyFrom(c.slots[i].control[:of.Controllen])
	to.Control = nil
	if len(control) > 0 {
		to.Control = &control[0]
	}
	to.SetControllen(len(control))
	c.queued++
}

// Send sends what is queued. What the kernel refuses is counted in Lost and left out; a full send
// buffer is waited for, but not for long: a client whose answer is lost asks again.
func (c *Conn) Send() error {
	c.sent = 0
	if c.queued == 0 {
		return nil
	}
	for waited := false; c.sent < c.queued; {
		if err := c.raw.Write(c.send); err != nil {
			return err
		}
		switch {
		case c.errno == 0:
		case c.errno == unix.EAGAIN && !waited:
			waited = true
			c.await()
		case c.errno == unix.EAGAIN:
			c.Lost += uint64(c.queued - c.sent)
			return nil
		default: // about the first of them: nobody can be reached there
			c.Lost++
			c.sent++
		}
	}
	return nil
}

// sendOnce sends as much as the kernel takes at once.
func (c *Conn) sendOnce(fd uintptr) bool {
	c.errno = unix.EINTR
	for tries := 0; c.errno == unix.EINTR && tries < 4; tries++ {
		var n uintptr
		n, _, c.errno = unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(pointer(&c.out[c.sent])),
			uintptr(c.queued-c.sent), unix.MSG_DONTWAIT, 0, 0)
		if c.errno == 0 {
			c.sent += int(n)
		}
	}
	return true
}

// await waits until the socket takes more, at most for patience.
func (c *Conn) await() {
	c.Waits++
	c.raw.Write(func(fd uintptr) bool {
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(patience/time.Millisecond))
		return true
	})
}

// replyFrom turns the control message that says where a packet came to into the one that makes the
// answer leave from there. They differ in the interface, which routing shall choose, but for
// link-local addresses. Nothing else is ever in control.
func replyFrom(control []byte) []byte {
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
