package lb

import (
	"math"
	"time"

	"tandem/internal/tandem"
)

// keepState is how long a state stays for want of measurements, after a start and after the checker
// stood still: long enough for three probes of each node.
const keepState = 10 * time.Second

// recall is what a watch knows from before: before the last start, or before the checker stood still.
type recall struct {
	recalled bool      // the state is of before the start, and nothing has confirmed it
	share    float64   // of its weight, while recalled
	held     time.Time // until then the state stays, measured or not; zero and recalled: until Run begins
	every    time.Duration
}

// holds reports whether the state stays although nothing is measured.
func (r *recall) holds(now time.Time) bool {
	return now.Before(r.held) || r.recalled && r.held.IsZero()
}

// stale is the age at which what probes told counts as unknown: they may be far apart.
func (r *recall) stale() time.Duration { return max(probeStale, 4*r.every) }

// remember begins with the state that h says, which was stored before the start.
func (w *watch) remember(now time.Time, h *tandem.Health) {
	state, ok := map[tandem.HealthState]State{
		tandem.HealthUp: StateGood, tandem.HealthDegraded: StateDegraded, tandem.HealthDown: StateDown,
	}[h.State]
	if !ok {
		return
	}
	w.state, w.why, w.since, w.turned = state, h.Why, now, h.Since
	w.spoke, w.alive = h.Answers, true
	w.recalled, w.share = true, 1
	if h.Share > 0 && h.Share < 1 {
		w.share = h.Share
	}
}

// record is what is to be stored of the watch; nil: nothing is known.
func (w *watch) record(node string, share float64) *tandem.Health {
	state := w.state.health()
	if state == tandem.HealthUnknown {
		return nil
	}
	return &tandem.Health{
		Head: tandem.Head{ID: node}, State: state, Share: math.Round(8*share) / 8, Why: w.why,
		Since: w.turned.UTC().Truncate(time.Millisecond), Checked: w.checked.UTC().Truncate(time.Millisecond), Answers: w.spoke,
	}
}

// Recall begins with the states that were stored before the start; those confirmed longer than
// Config.Remember ago, of nodes that are not there, or found otherwise meanwhile, do not count. It is
// for the start: before Run, after the nodes.
func (b *Balancer) Recall(list []*tandem.Health) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	for _, h := range list {
		m := b.nodes[h.ID]
		if m == nil || now.Sub(h.Checked) > b.cfg.Remember || !m.watch.checked.IsZero() {
			continue
		}
		m.watch.remember(now, h)
	}
	b.publish(now)
}

// findings returns what is to be stored of each node, nil for those of which nothing is known.
func (b *Balancer) findings() map[string]*tandem.Health {
	b.mu.Lock()
	defer b.mu.Unlock()
	table := b.table.Load()
	found := make(map[string]*tandem.Health, len(b.nodes))
	for id, m := range b.nodes {
		share := 1.0
		if n := table.nodes[id]; n != nil {
			share = n.share()
		}
		found[id] = m.watch.record(id, share)
	}
	return found
}

// hold lets every node's state stay for a while though nothing is measured. Called under mu.
func (b *Balancer) hold(now time.Time, all bool) {
	for _, m := range b.nodes {
		if w := m.watch; all || w.recalled {
			w.held, w.seen = now.Add(keepState), now
		}
	}
}
