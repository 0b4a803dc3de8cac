package sign

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
)

// Mark stands for one signature: owner, type, TTL, content, key and times. Two that differ have
// different marks but for one chance in 2^128.
type Mark struct{ a, b uint64 }

// ways is how many signatures share a bucket; with its version they are one cache line of marks.
const ways = 7

// bucket is where the signatures of some marks stand. Readers take no lock: they read between two
// looks at version, which is odd while somebody writes.
type bucket struct {
	version atomic.Uint64
	a       [ways]atomic.Uint64
	entries [ways]entry
}

// entry is one signature. used is zero until it was wanted a second time, then the second of its last
// use, roughly; entries that are never wanted again make room first, so that names which are asked
// once do not push out those which are asked often.
type entry struct {
	b    atomic.Uint64
	used atomic.Int64
	sig  [SignatureSize / 8]atomic.Uint64
}

// Cache holds signatures: so many and no more, in memory without pointers. Anyone may use it at any
// time.
type Cache struct {
	seeds   [2]maphash.Seed
	buckets []bucket

	hits                   [8]stripe // by mark, so that workers seldom meet
	made, evicted, limited atomic.Uint64
}

type stripe struct {
	atomic.Uint64
	_ [56]byte
}

// NewCache returns a cache for about so many signatures, of some 90 octets each.
func NewCache(size int) *Cache {
	n := 1
	for n*ways < size {
		n *= 2
	}
	return &Cache{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, buckets: make([]bucket, n)}
}

// Counts are what a cache has counted since it was made.
type Counts struct {
	Hits, Made, Evicted, Limited uint64
	Size                         int // signatures that it has room for
}

// Counts returns the present readings.
func (c *Cache) Counts() Counts {
	var hits uint64
	for i := range c.hits {
		hits += c.hits[i].Load()
	}
	return Counts{hits, c.made.Load(), c.evicted.Load(), c.limited.Load(), len(c.buckets) * ways}
}

// Mark returns the mark of the signature by k, for times t, over a set at owner (wire form, lower case).
func (c *Cache) Mark(owner []byte, rrtype uint16, ttl uint32, content *Content, k *Key, t Times) Mark {
	var buf [256 + 38]byte
	n := copy(buf[:], owner)
	b := buf[n : n+38]
	binary.LittleEndian.PutUint16(b, rrtype)
	binary.LittleEndian.PutUint32(b[2:], ttl)
	copy(b[6:], content[:])
	binary.LittleEndian.PutUint64(b[22:], k.ID)
	binary.LittleEndian.PutUint32(b[30:], t.Inception)
	binary.LittleEndian.PutUint32(b[34:], t.Expiration)
	n += 38
	a := maphash.Bytes(c.seeds[0], buf[:n])
	if a == 0 {
		a = 1 // zero means an empty place
	}
	return Mark{a, maphash.Bytes(c.seeds[1], buf[:n])}
}

func (c *Cache) bucket(m Mark) *bucket { return &c.buckets[m.a>>32&uint64(len(c.buckets)-1)] }

// Get copies the signature with this mark into out, which has room for it, and reports whether it is
// there. now is in Unix seconds.
func (c *Cache) Get(m Mark, now int64, out []byte) bool {
	b := c.bucket(m)
	version := b.version.Load()
	if version&1 != 0 {
		return false
	}
	for i := range b.a {
		if b.a[i].Load() != m.a {
			continue
		}
		e := &b.entries[i]
		if e.b.Load() != m.b {
			continue
		}
		for j := range e.sig {
			binary.LittleEndian.PutUint64(out[8*j:], e.sig[j].Load())
		}
		used := e.used.Load()
		if b.version.Load() != version {
			return false
		}
		if now-used > 60 || now < used {
			e.used.Store(now)
		}
		c.hits[m.b&7].Add(1)
		return true
	}
	return false
}

// Put keeps a new signature, in place of the one in its bucket that was used longest ago. When two write at
// once, the second gives up: a signature that is not kept is made again.
func (c *Cache) Put(m Mark, sig *Signature) {
	c.made.Add(1)
	b := c.bucket(m)
	version := b.version.Load()
	if version&1 != 0 || !b.version.CompareAndSwap(version, version+1) {
		return
	}
	at, oldest := 0, int64(1<<62)
	for i := range ways {
		i = (i + int(version>>1)) % ways // so that equals take turns
		if a := b.a[i].Load(); a == 0 || a == m.a && b.entries[i].b.Load() == m.b {
			at = i
			break
		}
		if used := b.entries[i].used.Load(); used < oldest {
			at, oldest = i, used
		}
	}
	e := &b.entries[at]
	if b.a[at].Load() != 0 {
		c.evicted.Add(1)
	}
	b.a[at].Store(m.a)
	e.b.Store(m.b)
	e.used.Store(0)
	for j := range e.sig {
		e.sig[j].Store(binary.LittleEndian.Uint64(sig[8*j:]))
	}
	b.version.Store(version + 2)
}

// Refused counts a signature that was not made for there were too many.
func (c *Cache) Refused() { c.limited.Add(1) }
