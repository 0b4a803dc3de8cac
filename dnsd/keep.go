package dnsd

import (
	"context"
	"errors"
	"time"

	"tandem/internal/tandem"
)

// journalDelay is how long differences may wait to be written, so that one write takes many.
const journalDelay = 100 * time.Millisecond

// load reads what the store keeps of zones: journals, and the contents of secondary zones. Without it
// both begin anew.
func (s *Server) load() {
	if s.deps.Zones == nil {
		return
	}
	err := s.deps.Zones.ZoneData(context.Background(), func(d tandem.ZoneDatum) error {
		if mine, revision := s.writer.journal.Load(d); mine {
			s.journaled.Store(max(s.journaled.Load(), uint64(revision)))
		} else {
			s.copies.load(d)
		}
		return nil
	})
	switch {
	case errors.Is(err, tandem.ErrAway): // it is another process's still, which will hand it over
		s.unread = true
	case err != nil:
		s.log.Error("zones' journals cannot be read; they begin anew", "err", err)
	}
}

// loadLate reads the contents of secondary zones when the store was not ours yet at the start. Journals
// begin anew then: secondaries take their zones whole once.
func (s *Server) loadLate() {
	if !s.unread {
		return
	}
	s.unread = false
	s.applying.Lock()
	defer s.applying.Unlock()
	err := s.deps.Zones.ZoneData(context.Background(), func(d tandem.ZoneDatum) error {
		if d.Part == partHead || d.Part == partChunk {
			s.copies.load(d)
		}
		return nil
	})
	if err != nil {
		s.log.Error("secondary zones cannot be read; they are transferred anew", "err", err)
		return
	}
	w := s.writer
	for id, number := range w.zoneNumbers {
		old := w.zoneAt.get(number)
		if old == nil || !old.copied() {
			continue
		}
		next := old.filled(nil, "")
		w.copies.drop(number)
		w.copies.put(next)
		w.carry(number, next, nil)
		w.zoneAt.set(number, next)
		w.shareZone(number, id, next)
	}
	w.reveal()
}

// keepJournal writes the journal to the store shortly after it has changed, until ctx ends.
func (s *Server) keepJournal(ctx context.Context) {
	if s.deps.Zones == nil {
		<-ctx.Done()
		return
	}
	for {
		select {
		case <-ctx.Done():
			s.flushJournal(context.WithoutCancel(ctx))
			return
		case <-s.applied:
		}
		select {
		case <-ctx.Done():
		case <-time.After(journalDelay):
			s.flushJournal(context.WithoutCancel(ctx))
		}
	}
}

func (s *Server) flushJournal(ctx context.Context) {
	s.applying.Lock()
	last, live := s.writer.last, s.writer.live
	s.applying.Unlock()
	if !live || uint64(last) == s.journaled.Load() {
		return
	}
	if err := s.writer.journal.Flush(ctx, s.deps.Zones, last); err != nil {
		s.log.Warn("zones' journals are not written; after a restart secondaries take zones whole", "err", err)
		return
	}
	s.journaled.Store(uint64(last))
}
