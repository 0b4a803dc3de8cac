package node

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"tandem/internal/tandem"
	"tandem/lb"
)

// teller tells whoever answers by it how nodes stand: at once when a state changes, and four times a
// second what else has.
type teller struct {
	balancer *lb.Balancer
	changes  <-chan struct{}
	hear     func([]tandem.NodeHealth) // nil: nobody listens

	mu   sync.Mutex // held while telling, so that nobody hears old news after new
	told []tandem.NodeHealth
}

func newTeller(balancer *lb.Balancer) *teller {
	return &teller{balancer: balancer, changes: balancer.Changes()}
}

// tell tells how the nodes stand now, if that is news.
func (t *teller) tell() { t.say(false) }

// say tells how the nodes stand now, if that is news; with always, also when only the time of the last
// check is.
func (t *teller) say(always bool) {
	if t.hear == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.balancer.Table().Health()
	slices.SortFunc(now, func(x, y tandem.NodeHealth) int { return cmp.Compare(x.Node, y.Node) })
	same := slices.EqualFunc(now, t.told, func(x, y tandem.NodeHealth) bool { return x.Same(&y) })
	if !same || always {
		t.hear(now)
		t.told = now
	}
}

// run tells until ctx ends.
func (t *teller) run(ctx context.Context) error {
	const often = 250 * time.Millisecond
	ticker := time.NewTicker(often)
	defer ticker.Stop()
	for {
		t.tell()
		select {
		case <-ctx.Done():
			return nil
		case <-t.changes:
		case <-ticker.C:
		}
	}
}
