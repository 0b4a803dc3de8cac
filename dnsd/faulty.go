package dnsd

import (
	"log/slog"
	"maps"
	"sync"
)

// faultyZones are the zones whose stored text cannot be served as it stands. The door checks a text
// before it is stored, so there are none unless an older program stored it.
type faultyZones struct {
	mu      sync.Mutex
	reasons map[string]string // by zone id
}

// note remembers what is wrong with a zone, and tells it; a nil error is a zone that is well.
func (f *faultyZones) note(id string, err error, log *slog.Logger) {
	if err == nil {
		f.forget(id)
		return
	}
	log.Error("zone text is faulty: the last good records are served, from a start those that are not faulty", "zone", id, "err", err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reasons[id] = err.Error()
}

func (f *faultyZones) forget(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.reasons, id)
}

// FaultyZones returns, by zone id, what is wrong with zone texts that are not served as they stand.
func (s *Server) FaultyZones() map[string]string {
	f := s.writer.faulty
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.reasons)
}

// AccountsIn returns how many accounts a zone holds.
func (s *Server) AccountsIn(zone string) int {
	s.applying.Lock()
	defer s.applying.Unlock()
	number, n := s.writer.zoneNumbers.of(zone), 0
	for profile, use := range s.writer.profileUses {
		if p := s.model.profiles.get(profile); p != nil && p.zone == number {
			n += use.count
		}
	}
	return n
}
