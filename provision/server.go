// Package provision gives devices their configuration: a generic JSON profile over HTTPS, behind a
// secret URL that opens once.
//
// It promises that nothing but the secret opens a profile: no MAC, name or number does. The store
// keeps the secret's SHA-256 only. A permit is used up durably before the first octet of its
// profile leaves, so that of two who hold one URL one gets the profile, also across a crash. A
// secret that is unknown, used, expired or malformed, a device that cannot be configured, another
// path or method: all get one and the same 404; another Host gets 421. Guesses are bounded per source.
// Without TLS nothing is served (spec D3, D14, F7).
//
// It opens the sealed device secret only for a device whose permit is in hand. It leaves the
// listener and its certificate to its caller, and the making of secrets to the one who applies devices.
package provision

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/tandem"
)

// Store is the durable memory, as far as this part needs it.
type Store interface {
	Append(ctx context.Context, by tandem.Principal, edits []tandem.Edit) (tandem.Revision, error)
	Get(ctx context.Context, by tandem.Principal, kind tandem.Kind, id string) (tandem.Object, error)
}

// Seal opens the device secrets that are kept sealed.
type Seal interface {
	Unseal(sealed []byte, context string) ([]byte, error)
}

// Server serves device profiles.
type Server struct {
	cfg      Config
	store    Store
	seal     Seal
	log      *slog.Logger
	port     atomic.Uint32 // in URLs, once known
	making   sync.Mutex    // held while a permit is stored
	open     *permits
	guesses  *guesses
	counters counters
}

// New checks cfg and returns a server without permits.
func New(cfg Config, store Store, seal Seal, logger *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if store == nil || seal == nil {
		return nil, errors.New("provision: a collaborator is missing")
	}
	s := &Server{
		cfg: cfg.withDefaults(), store: store, seal: seal, log: logger.With("part", "provision"),
		open: newPermits(), guesses: newGuesses(),
	}
	s.Announce(443)
	return s, nil
}

// Announce says at which port the listener is, for URLs. A port in the configuration wins.
func (s *Server) Announce(port uint16) {
	if s.cfg.Port != 0 {
		port = s.cfg.Port
	}
	s.port.Store(uint32(port))
}

// Apply follows the store's changes. Calls must not overlap.
func (s *Server) Apply(changes []tandem.Change) {
	for _, c := range changes {
		switch c.Kind {
		case tandem.KindPermit:
			p, _ := c.Object.(*tandem.Permit)
			s.open.apply(c.ID, c.Revision, p)
		case tandem.KindDevice:
			if c.Object == nil {
				s.open.forbid(c.ID)
			}
		}
	}
}

// sweepEvery is how often expired permits are removed from the store.
const sweepEvery = time.Minute

// Run removes permits that have expired or lost their device, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		s.sweep(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sweepMost bounds the deletions of one batch.
const sweepMost = 1000

// sweep deletes what is over, batch by batch. Nothing of a batch is done when one of its permits
// has gone already; that one is forgotten and the rest tried again.
func (s *Server) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		over := s.open.over(time.Now(), sweepMost)
		if len(over) == 0 {
			return
		}
		edits := make([]tandem.Edit, len(over))
		for i, id := range over {
			edits[i] = tandem.Edit{Kind: tandem.KindPermit, ID: id}
		}
		_, err := s.store.Append(ctx, own, edits)
		var gone *tandem.EditError
		switch {
		case errors.As(err, &gone) && errors.Is(err, tandem.ErrNotFound):
			over = over[gone.Index : gone.Index+1]
		case err != nil:
			s.log.Warn("expired permits not deleted", "count", len(over), "err", err)
			return
		}
		for _, id := range over {
			s.open.apply(id, 0, nil)
		}
	}
}

// own is who this part is to the store.
var own = tandem.Principal{Name: "provision", Admin: true}
