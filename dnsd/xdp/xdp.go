// Package xdp answers common questions where packets arrive (XDP), before the kernel makes sockets'
// work of them: a program in the kernel, loaded by Open, looks a question up in a map of ready answers
// and sends the packet back. What it does not find, or does not understand, goes up to the sockets as
// if it were not there; so does everything when it cannot be attached.
//
// The map holds what the name server puts there: answers that it gave just before to the same question.
// Each is worth something only as long as two counters stand where they stood before the answer was
// made: one for the account that the name belongs to, one for everything else. Changed and ChangedAll
// count up, by a write to memory that the program reads: no answer from before is given after them.
//
// To no source are sent many more octets than come in its name (Limit); what is over that is left to
// the sockets, which have limits of their own.
package xdp

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

//go:generate sh -c "clang -O2 -g -target bpf -Wall -Werror -I/usr/include/$(uname -m)-linux-gnu -c answer.bpf.c -o answer.bpf.o && llvm-strip -g answer.bpf.o && sha256sum answer.bpf.c >answer.bpf.sum"

// program is answer.bpf.c, compiled for little-endian machines, which all of ours are.
//
//go:embed answer.bpf.o
var program []byte

// Sizes that answer.bpf.c has too.
const (
	nameSize = 80
	bodySize = 400
	slots    = 1 << 16
	header   = 12
)

// Limit bounds what one source, a /24 of IPv4 or a /56 of IPv6, is sent. The zero value is no limit.
type Limit struct {
	Factor float64 // octets out for each octet in
	Refill int     // octets a second besides
	Most   int     // octets that may be saved up
	Rate   int     // answers a second, and at once
	Exempt []netip.Prefix
}

// ErrOccupied is what Attach returns when another program is attached to the device.
var ErrOccupied = errors.New("another program is attached")

// Responder is the program and its maps in the kernel.
type Responder struct {
	maps struct {
		Answers     *ebpf.Map `ebpf:"answers"`
		Generations *ebpf.Map `ebpf:"generations"`
		Listeners   *ebpf.Map `ebpf:"listeners"`
		Exempt      *ebpf.Map `ebpf:"exempt"`
		Limits      *ebpf.Map `ebpf:"limits"`
		Counters    *ebpf.Map `ebpf:"counters"`
	}
	program *ebpf.Program
	memory  []byte // the map generations, which the program reads
	links   []link.Link

	life   sync.RWMutex // held for reading while the maps are used
	closed bool
}

// question, answer, listener, prefix and limit are laid out as in answer.bpf.c.
type question struct {
	name [nameSize]byte
	kind [2]byte
	edns uint8
	_    uint8
}

type answer struct {
	Mark
	size, sum      uint16
	answers, extra [2]byte
	body           [bodySize]byte
	_              [4]byte
}

type limit struct{ factor, refill, most, rate, seed, _ uint32 }

// Mark is where the counters stood that an answer depends on.
type Mark struct {
	own, all uint64
	slot     uint32
}

// Open loads the program and makes its maps. It needs the right to load programs (CAP_BPF,
// CAP_NET_ADMIN and CAP_PERFMON, or root). Nothing is attached yet.
func Open(l Limit) (*Responder, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(program))
	if err != nil {
		return nil, fmt.Errorf("read the program: %w", err)
	}
	r := new(Responder)
	var loaded struct {
		Answer *ebpf.Program `ebpf:"answer"`
	}
	all, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load the program: %w", err)
	}
	defer all.Close()
	if err := errors.Join(all.Assign(&r.maps), all.Assign(&loaded)); err != nil {
		return nil, fmt.Errorf("load the program: %w", err)
	}
	r.program = loaded.Answer
	if r.memory, err = unix.Mmap(r.maps.Generations.FD(), 0, 8*(slots+1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		err = fmt.Errorf("map the generations: %w", err)
	} else {
		err = r.limit(l)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// generation is one counter in the memory that the program reads.
func (r *Responder) generation(slot uint32) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&r.memory[8*slot]))
}

// limit sets the limit of each source.
func (r *Responder) limit(l Limit) error {
	for _, p := range l.Exempt {
		key := prefixKey(p)
		if err := r.maps.Exempt.Put(key[:], uint8(1)); err != nil {
			return fmt.Errorf("exempt %s from limits: %w", p, err)
		}
	}
	v := limit{factor: uint32(l.Factor * 1024), refill: uint32(l.Refill), most: uint32(l.Most), rate: uint32(l.Rate), seed: rand.Uint32()}
	return r.maps.Limits.Put(uint32(0), &v)
}

// prefixKey is a prefix as the map of exempt ones has it: bits, then the address, IPv4 mapped.
func prefixKey(p netip.Prefix) (key [20]byte) {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	binary.NativeEndian.PutUint32(key[:], uint32(bits))
	addr := p.Masked().Addr().As16()
	copy(key[4:], addr[:])
	return key
}

// Attach has the program answer on a network interface, in the driver (native) or before the kernel's
// own network code (generic). It is ErrOccupied when another program is there, in either way.
func (r *Responder) Attach(device string, native bool) error {
	r.life.Lock()
	defer r.life.Unlock()
	if r.closed {
		return os.ErrClosed
	}
	at, err := net.InterfaceByName(device)
	if err != nil {
		return fmt.Errorf("attach to %s: %w", device, err)
	}
	flags := link.XDPGenericMode
	if native {
		flags = link.XDPDriverMode
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: r.program, Interface: at.Index, Flags: flags})
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		err = ErrOccupied
	}
	if err != nil {
		return fmt.Errorf("attach to %s: %w", device, err)
	}
	r.links = append(r.links, l)
	return nil
}

// Listen has the program answer at addr, which must be a machine's own address.
func (r *Responder) Listen(addr netip.AddrPort) error {
	if r.enter(); r.closed {
		return r.leave(os.ErrClosed)
	}
	defer r.life.RUnlock()
	key := listenerKey(addr)
	return r.maps.Listeners.Put(key[:], uint8(1))
}

// Unlisten is the inverse of Listen.
func (r *Responder) Unlisten(addr netip.AddrPort) error {
	if r.enter(); r.closed {
		return r.leave(os.ErrClosed)
	}
	defer r.life.RUnlock()
	key := listenerKey(addr)
	if err := r.maps.Listeners.Delete(key[:]); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	return nil
}

func listenerKey(addr netip.AddrPort) (key [20]byte) {
	a := addr.Addr().As16()
	copy(key[:], a[:])
	binary.BigEndian.PutUint16(key[16:], addr.Port())
	return key
}

// enter and leave stand around what uses the maps, so that Close waits for it.
func (r *Responder) enter() { r.life.RLock() }

func (r *Responder) leave(err error) error {
	r.life.RUnlock()
	return err
}

// Close detaches the program and frees the maps. Whatever is called afterwards does nothing.
func (r *Responder) Close() error {
	r.life.Lock()
	defer r.life.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	var errs []error
	for _, l := range r.links {
		errs = append(errs, l.Close())
	}
	for _, m := range []*ebpf.Map{r.maps.Answers, r.maps.Generations, r.maps.Listeners, r.maps.Exempt, r.maps.Limits, r.maps.Counters} {
		errs = append(errs, m.Close())
	}
	if r.memory != nil {
		errs = append(errs, unix.Munmap(r.memory))
	}
	return errors.Join(append(errs, r.program.Close())...)
}

// Mark returns where the counters stand, of the account with a hash and of all: to be taken before
// an answer is made that depends on them.
func (r *Responder) Mark(account uint32) Mark {
	r.enter()
	defer r.life.RUnlock()
	if r.closed {
		return Mark{}
	}
	slot := account % slots
	return Mark{slot: slot, own: r.generation(slot).Load(), all: r.generation(slots).Load()}
}

// Changed makes worthless the answers about an account.
func (r *Responder) Changed(account uint32) { r.count(account % slots) }

// ChangedAll makes all answers worthless.
func (r *Responder) ChangedAll() { r.count(slots) }

func (r *Responder) count(slot uint32) {
	r.enter()
	defer r.life.RUnlock()
	if !r.closed {
		r.generation(slot).Add(1)
	}
}

// Fits reports whether Put would keep an answer of that size to a question whose name ends at the offset
// nameEnd, both in octets of the whole message.
func Fits(nameEnd, size int) bool {
	return nameEnd-header <= nameSize && size-nameEnd-4 <= bodySize && size > nameEnd+4
}

// Put keeps a whole answer: a message with one question, whose name ends at offset nameEnd, in lower
// case, and with no authority. It was asked with OPT, without DO and options, when edns is set.
func (r *Responder) Put(message []byte, nameEnd int, edns bool, m Mark) error {
	if !Fits(nameEnd, len(message)) {
		return errors.New("xdp: answer does not fit")
	}
	if r.enter(); r.closed {
		return r.leave(os.ErrClosed)
	}
	defer r.life.RUnlock()
	var q question
	copy(q.name[:], message[header:nameEnd])
	copy(q.kind[:], message[nameEnd:])
	if edns {
		q.edns = 1
	}
	a := answer{Mark: m}
	n := copy(a.body[:], message[nameEnd+4:])
	a.size, a.sum = uint16(n), sum(a.body[:n])
	copy(a.answers[:], message[6:])
	copy(a.extra[:], message[10:])
	return r.maps.Answers.Put(&q, &a)
}

// sum is the ones' complement sum of b (RFC 1071), in the machine's own order of octets.
func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.NativeEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0])
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}
