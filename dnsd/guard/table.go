package guard

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
)

// ways is how many places a network has to choose from: a line of the processor's cache.
const ways = 4

// table remembers source networks. It has no pointers in it and never grows.
type table struct {
	sets []set
	seed [2]uint64 // nobody else knows which networks share a place
}

type set [ways]cell

// cell is one network's account. Both words hold when its debts will be paid, in microseconds since the
// guard's start; before now means that there are none (a leaky bucket, told by its clock). The
// upper 16 bits of due are a part of the network's hash.
type cell struct {
	due    atomic.Uint64 // of queries
	octets atomic.Uint64
}

const (
	tagShift = 48
	dueMask  = 1<<tagShift - 1

	burst = 1e6 // microseconds: a second's worth of queries

	quarterOctet = 2000                    // microseconds that a quarter of an octet takes to be paid: 125 octets a second
	allowance    = 2048 * 4 * quarterOctet // what a network may owe
	tries        = 4                       // at a word that others change, too
)

func newTable(buckets int) table {
	n := 1
	for n*ways < buckets {
		n *= 2
	}
	return table{sets: make([]set, n), seed: [2]uint64{rand.Uint64(), rand.Uint64() | 1}}
}

// hash spreads a key. Its lowest 32 bits choose the place and its upper ones tell keys apart.
func (t *table) hash(key uint64) uint64 {
	hi, lo := bits.Mul64(key^t.seed[0], t.seed[1])
	hi, lo = bits.Mul64(hi^lo^t.seed[1], 0x9e3779b97f4a7c15)
	return hi ^ lo
}

// at returns the account of a network. When it is not there it takes over the one with the
// smallest debts, and these.
func (t *table) at(key uint64) *cell {
	h := t.hash(key)
	s := &t.sets[h&uint64(len(t.sets)-1)]
	tag := h >> tagShift
	least, debts := 0, uint64(1<<63)
	for i := range s {
		due := s[i].due.Load()
		if due>>tagShift == tag {
			return &s[i]
		}
		if d := max(due&dueMask, s[i].octets.Load()); d < debts {
			least, debts = i, d
		}
	}
	c := &s[least]
	due := c.due.Load()
	c.due.CompareAndSwap(due, tag<<tagShift|due&dueMask)
	return c
}

// takeOne counts a query at now, and reports whether the network is within its rate of one each
// interval.
func (c *cell) takeOne(now, interval int64) bool {
	for range tries {
		old := c.due.Load()
		due := max(int64(old&dueMask), now) + interval
		if due-now > burst {
			return false
		}
		if c.due.CompareAndSwap(old, old&^dueMask|uint64(due)) {
			return true
		}
	}
	return true // others count at the same time, and will go on
}

// spend takes what an answer is over its question's worth from the budget, and reports whether it was
// there. A network may owe up to most.
func (c *cell) spend(now int64, in, out int, most int64) bool {
	for range tries {
		old := c.octets.Load()
		due := owed(old, now, in, out)
		if due-now > most {
			return false
		}
		if c.octets.CompareAndSwap(old, uint64(due)) {
			return true
		}
	}
	return false
}

// charge takes it whether it is there or not.
func (c *cell) charge(now int64, in, out int) {
	for range tries {
		old := c.octets.Load()
		if c.octets.CompareAndSwap(old, uint64(owed(old, now, in, out))) {
			return
		}
	}
}

// owed is when the debts are paid after in octets have come and out gone: 2.25 are good for one.
func owed(old uint64, now int64, in, out int) int64 {
	return max(max(int64(old), now)+int64(4*out-9*in)*quarterOctet, now)
}

// network is the key of addr's network: /24, or /56.
func network(addr netip.Addr) uint64 {
	if addr.Is4() {
		a := addr.As4()
		return uint64(a[0])<<16 | uint64(a[1])<<8 | uint64(a[2])
	}
	a := addr.As16()
	return binary.BigEndian.Uint64(a[:8])&^0xff | 1<<63
}

// whole is the key of one address, or of an IPv6 /64.
func whole(addr netip.Addr) uint64 {
	if addr.Is4() {
		a := addr.As4()
		return uint64(binary.BigEndian.Uint32(a[:]))
	}
	a := addr.As16()
	return binary.BigEndian.Uint64(a[:8]) | 1<<63
}
