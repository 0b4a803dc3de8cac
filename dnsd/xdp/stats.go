package xdp

import (
	"fmt"
	"os"
)

// Stats counts what the program did since it was loaded.
type Stats struct {
	Answered, AnsweredIPv6, WithEDNS  uint64 // answers sent
	OctetsIn, OctetsOut               uint64 // of the messages that were answered, and of their answers
	Absent, Stale                     uint64 // questions left to the sockets: no answer is kept, or it is from before a change
	Limited                           uint64 // left to the sockets because their source had enough
	NoRoom                            uint64 // left to the sockets because the frame could not grow
	A, AAAA, NAPTR, SRV, HTTPS, Other uint64 // answered, by the type asked for
}

// Stats returns the counts, summed up over the processors.
func (r *Responder) Stats() (Stats, error) {
	var s Stats
	if r.enter(); r.closed {
		return s, r.leave(os.ErrClosed)
	}
	defer r.life.RUnlock()
	for i, n := range []*uint64{
		&s.Answered, &s.OctetsIn, &s.OctetsOut, &s.Absent, &s.Stale, &s.Limited, &s.NoRoom, &s.AnsweredIPv6, &s.WithEDNS,
		&s.A, &s.AAAA, &s.NAPTR, &s.SRV, &s.HTTPS, &s.Other,
	} {
		var each []uint64
		if err := r.maps.Counters.Lookup(uint32(i), &each); err != nil {
			return Stats{}, fmt.Errorf("read the counters: %w", err)
		}
		for _, v := range each {
			*n += v
		}
	}
	return s, nil
}
