package sign

import (
	"encoding/binary"
	"time"
)

// How long signatures are good for. One is used for a period from its birth, which differs from owner
// to owner, and has never less than the rest of its life left when it is given out: enough for every
// TTL below ten days.
const (
	backdated = time.Hour           // for clocks that are behind
	lifetime  = 14 * 24 * time.Hour // from its birth
	period    = 4 * 24 * time.Hour
)

// Times are when a signature begins and ends to be good, as in RRSIG (RFC 4034 section 3.1.5).
type Times struct {
	Inception, Expiration uint32
}

// When returns the times of signatures at owner, in wire form and lower case, that are used at now in
// Unix seconds. They are the same for a whole period, so that a signature is made once in it.
func When(now int64, owner []byte) Times {
	const step = int64(period / time.Second)
	offset := int64(spread(owner) % uint64(step))
	born := now - (now+offset)%step
	return Times{
		Inception:  uint32(born - int64(backdated/time.Second)),
		Expiration: uint32(born + int64(lifetime/time.Second)),
	}
}

// spread returns a number that differs between owners, the same everywhere and for ever.
func spread(owner []byte) uint64 {
	const odd = 0x9e3779b97f4a7c15
	h := uint64(len(owner)) * odd
	for ; len(owner) >= 8; owner = owner[8:] {
		h = (h ^ binary.LittleEndian.Uint64(owner)) * odd
		h ^= h >> 32
	}
	for _, c := range owner {
		h = (h ^ uint64(c)) * odd
	}
	return h ^ h>>29
}
