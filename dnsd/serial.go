package dnsd

import (
	"sync/atomic"

	"tandem/internal/tandem"
)

// serialOfRevision returns the serial that stands for a revision. A restore of the store lifts the
// revision by 2^40 over that of the backup, which 32 bits do not show; each restore adds 2^24
// instead, so that a zone restored from a backup does not go back for its secondaries either, as
// long as fewer than sixteen million changes are lost with it (RFC 1982 section 3.2).
func serialOfRevision(r tandem.Revision) uint32 {
	return uint32(r) + uint32(r>>40)<<24
}

// later returns the later of two serials (RFC 1982 section 3.2).
func later(a, b uint32) uint32 {
	if int32(b-a) > 0 {
		return b
	}
	return a
}

// raise sets a to v unless it is later already; zero is earlier than all. It has one writer.
func raise(a *atomic.Uint32, v uint32) {
	if now := a.Load(); now == 0 || later(now, v) == v {
		a.Store(v)
	}
}
