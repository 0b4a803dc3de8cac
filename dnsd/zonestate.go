package dnsd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"tandem/internal/tandem"
)

// ErrNoZone is a zone that is not here, or not of the kind that an act needs.
var ErrNoZone = errors.New("no such zone")

// Bounds of what is remembered of secondaries.
const (
	mostTakers     = 16      // a zone
	mostTakenZones = 1 << 14 // zones
)

// takers remembers who has transferred which version of which zone.
type takers struct {
	mu    sync.Mutex
	zones map[uint32][]tandem.ZoneSecondary // by zone number, the latest last
}

// noteTransfer remembers who has which version of z.
func (s *Server) noteTransfer(z *zone, addr netip.Addr, serial uint32) {
	t := &s.takers
	t.mu.Lock()
	defer t.mu.Unlock()
	list, known := t.zones[z.number]
	if !known && len(t.zones) >= mostTakenZones {
		return
	}
	list = slices.DeleteFunc(list, func(x tandem.ZoneSecondary) bool { return x.Address == addr })
	list = append(list, tandem.ZoneSecondary{Address: addr, Serial: serial, Time: s.deps.Now()})
	if t.zones == nil {
		t.zones = map[uint32][]tandem.ZoneSecondary{}
	}
	t.zones[z.number] = list[max(0, len(list)-mostTakers):]
}

// ZoneStates returns how zones stand, in the order of their ids: at most limit of those after a given id.
func (s *Server) ZoneStates(after string, limit int) []tandem.ZoneState {
	s.applying.Lock()
	ids := make([]string, 0, len(s.writer.zoneNumbers))
	for id, number := range s.writer.zoneNumbers {
		if id > after && s.model.zoneAt.get(number) != nil {
			ids = append(ids, id)
		}
	}
	s.applying.Unlock()
	slices.Sort(ids)
	states := []tandem.ZoneState{}
	for _, id := range ids[:min(limit, len(ids))] {
		if st, err := s.ZoneState(id); err == nil {
			states = append(states, st)
		}
	}
	return states
}

// ZoneState returns how one zone stands. The error wraps ErrNoZone.
func (s *Server) ZoneState(id string) (tandem.ZoneState, error) {
	z, err := s.zoneByID(id)
	if err != nil {
		return tandem.ZoneState{}, err
	}
	st := tandem.ZoneState{Zone: z.id, Serial: s.model.serialOf(z), State: "served"}
	st.JournalDiffs, st.JournalOctets = s.writer.journal.Size(z.id)
	s.takers.mu.Lock()
	st.Secondaries = slices.Clone(s.takers.zones[z.number])
	s.takers.mu.Unlock()
	for _, p := range z.primaries {
		st.Primaries = append(st.Primaries, p.Address)
	}
	s.copies.describe(z, &st)
	return st, nil
}

func (s *Server) zoneByID(id string) (*zone, error) {
	key, err := wireKey(strings.TrimSuffix(id, "."))
	if err != nil {
		return nil, fmt.Errorf("zone %.80q: %w", id, ErrNoZone)
	}
	z := s.model.zoneOf(key)
	if z == nil || z.apex != key {
		return nil, fmt.Errorf("zone %s: %w", id, ErrNoZone)
	}
	return z, nil
}

// describe adds what is known of a secondary zone.
func (c *copies) describe(z *zone, st *tandem.ZoneState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.zones[z.number]
	if v == nil {
		return
	}
	st.State, st.Error = v.state(), v.lastError
	if v.content == nil {
		st.Serial = 0
	} else {
		st.Refreshed, st.Expires = v.content.refreshed, v.content.expires()
	}
	st.Next, _ = c.agenda.at(z.number)
}

// RefreshZone asks a secondary zone's primaries now for a newer version or, with anew, takes the zone whole,
// whatever its serial. It does not wait for the outcome; ZoneState tells it. The error wraps ErrNoZone.
func (s *Server) RefreshZone(id string, anew bool) error {
	z, err := s.zoneByID(id)
	if err != nil {
		return err
	}
	if !s.copies.due(z.number, anew) {
		return fmt.Errorf("zone %s has no primaries: %w to refresh", id, ErrNoZone)
	}
	return nil
}
