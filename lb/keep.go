package lb

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/tandem"
)

// How findings are stored: at most one batch in keepGap, so that no node is written more often, of at
// most keepMost nodes; what is left over is in the next.
const (
	keepGap  = time.Second
	keepMost = 4096
)

// keepFresh is the part of Config.Remember after which an unchanged state is stored again, so that it
// does not seem too old after a start.
const keepFresh = 4

// Keeper stores the state of each node when it changes, as a Health, and gives the Balancer back what
// was stored before the start. A node of which nothing is known has none.
type Keeper struct {
	balancer *Balancer
	store    Assignments
	log      *slog.Logger
	changes  <-chan struct{}
	wrote    atomic.Uint64
	failed   atomic.Uint64

	mu    sync.Mutex
	kept  map[string]*tandem.Health // by node, as stored
	whole bool                      // all of the snapshot was seen
}

// NewKeeper returns a Keeper for what balancer finds.
func NewKeeper(balancer *Balancer, store Assignments, log *slog.Logger) (*Keeper, error) {
	if balancer == nil || store == nil || log == nil {
		return nil, errors.New("lb: the keeper needs a balancer, a store and a logger")
	}
	return &Keeper{
		balancer: balancer, store: store, log: log.With("part", "lb"), changes: balancer.Changes(), kept: make(map[string]*tandem.Health),
	}, nil
}

// Apply takes changes of the store: first its snapshot, whose end is an empty call, then what follows.
// The Balancer must have had them before. When the snapshot has ended, the Balancer knows the states
// that were stored. One goroutine calls it.
func (k *Keeper) Apply(changes []tandem.Change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range changes {
		if c.Kind != tandem.KindHealth {
			continue
		}
		if h, ok := c.Object.(*tandem.Health); ok {
			k.kept[c.ID] = h
		} else {
			delete(k.kept, c.ID)
		}
	}
	if len(changes) == 0 && !k.whole {
		k.whole = true
		k.balancer.Recall(slices.Collect(maps.Values(k.kept)))
	}
}

// Run stores what changes until ctx ends, and at its end what has changed last.
func (k *Keeper) Run(ctx context.Context) error {
	fresh := time.NewTicker(k.balancer.cfg.Remember / (2 * keepFresh))
	defer fresh.Stop()
	gap := time.NewTimer(keepGap)
	defer gap.Stop()
	for {
		more := k.Keep(ctx)
		gap.Reset(keepGap)
		select {
		case <-ctx.Done():
		case <-gap.C:
		}
		if !more {
			select {
			case <-ctx.Done():
			case <-k.changes:
			case <-fresh.C:
			}
		}
		if ctx.Err() != nil {
			k.Keep(context.WithoutCancel(ctx))
			return nil
		}
	}
}

// Keep is one turn of Run, for those who run time themselves: it stores what has changed, and reports
// whether there is more to store.
func (k *Keeper) Keep(ctx context.Context) (more bool) {
	edits := k.edits(k.balancer.findings())
	if more = len(edits) > keepMost; more {
		edits = edits[:keepMost]
	}
	if len(edits) == 0 {
		return false
	}
	if _, err := k.store.Append(ctx, tandem.Principal{Admin: true, Name: "lb"}, edits); err != nil {
		if ctx.Err() == nil && k.failed.Add(1) == 1 {
			k.log.Error("nodes' states could not be stored, and are tried again", "err", err)
		}
		return true
	}
	k.failed.Store(0)
	k.wrote.Add(uint64(len(edits)))
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range edits { // the store's own word of it comes later
		if h, ok := e.Object.(*tandem.Health); ok {
			k.kept[e.ID] = h
		} else {
			delete(k.kept, e.ID)
		}
	}
	return more
}

// edits returns what is to be stored, in the order of ids.
func (k *Keeper) edits(found map[string]*tandem.Health) []tandem.Edit {
	k.mu.Lock()
	defer k.mu.Unlock()
	var edits []tandem.Edit
	for id, h := range found {
		if h != nil && k.due(k.kept[id], h) {
			edits = append(edits, tandem.Edit{Kind: tandem.KindHealth, ID: id, Object: h})
		}
	}
	for id := range k.kept {
		if found[id] == nil { // unknown, or the node is gone
			edits = append(edits, tandem.Edit{Kind: tandem.KindHealth, ID: id})
		}
	}
	slices.SortFunc(edits, func(x, y tandem.Edit) int { return strings.Compare(x.ID, y.ID) })
	return edits
}

// due reports whether a finding is to be stored over the one that is.
func (k *Keeper) due(kept, h *tandem.Health) bool {
	return kept == nil || kept.State != h.State ||
		h.Checked.Sub(kept.Checked) > k.balancer.cfg.Remember/keepFresh
}

// Metrics emits the part's readings.
func (k *Keeper) Metrics(emit func(tandem.Sample)) {
	emit(tandem.Sample{Name: "tandem_lb_states_stored_total", Help: "States of nodes that were stored.", Value: float64(k.wrote.Load())})
}
