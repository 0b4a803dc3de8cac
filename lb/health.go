package lb

import (
	"time"

	"tandem/internal/tandem"
)

// health is a state as the vocabulary has it.
func (s State) health() tandem.HealthState {
	switch s {
	case StateGood:
		return tandem.HealthUp
	case StateDegraded:
		return tandem.HealthDegraded
	case StateDown:
		return tandem.HealthDown
	}
	return tandem.HealthUnknown
}

// Health tells how each node stands, for those who answer with it; node by node in no order. A node
// that is new and refuses is unknown: it may not have been started yet.
func (t *Table) Health() []tandem.NodeHealth {
	all := make([]tandem.NodeHealth, 0, len(t.nodes))
	for _, n := range t.nodes {
		h := tandem.NodeHealth{
			Node: n.ID, State: n.State.health(), Found: n.Found.health(), Share: n.share(), Since: n.Since, Checked: n.Checked,
			Recalled: n.Recalled, Forced: n.Forced,
		}
		if n.untried {
			h.State = tandem.HealthUnknown
		}
		if h.State == tandem.HealthDown || h.State == tandem.HealthDegraded {
			h.Why = n.why
		}
		all = append(all, h)
	}
	return all
}

// Changes returns a channel that holds one value once a node's state has changed, or what is wanted of
// it, since the last one was taken. Call it before Run; each caller has a channel of its own.
func (b *Balancer) Changes() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := make(chan struct{}, 1)
	b.waiting = append(b.waiting, c)
	return c
}

// signal wakes those who wait for changes. Called under mu, when the new table stands.
func (b *Balancer) signal() {
	for _, c := range b.waiting {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// setCluster sets how checks of a cluster's nodes become states; nil: as the configuration says.
func (b *Balancer) setCluster(id string, h *tandem.ClusterHealth) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h == nil {
		delete(b.policies, id)
	} else {
		b.policies[id] = b.cfg.Quality.with(h)
	}
	for _, m := range b.nodes {
		if m.node.Cluster == id {
			m.watch.policy = b.policyOf(id)
		}
	}
}

// policyOf returns how checks of nodes in a cluster become states. Called under mu.
func (b *Balancer) policyOf(cluster string) Quality {
	if q, ok := b.policies[cluster]; ok {
		return q
	}
	return b.cfg.Quality
}

// force keeps whose word counts for a node up to now, and reports whether that has changed.
func (m *member) force(b *Balancer) (changed bool) {
	is := m.node.Force
	if !is.Holds(b.clock()) {
		is = nil
	}
	switch changed = (is == nil) != (m.forced == nil) || is != nil && *is != *m.forced; {
	case changed && is != nil:
		b.log.Warn("node's health is forced", "node", m.node.ID, "cluster", m.node.Cluster, "state", is.State, "reason", is.Reason, "until", is.Until)
	case changed:
		b.log.Warn("node's health is forced no more", "node", m.node.ID, "cluster", m.node.Cluster)
	}
	m.forced = is
	return changed
}

// share is the part of its configured weight that a node should get: less while it comes back, while
// it is slower than its neighbours, and as it says that it is loaded.
func (n *NodeStatus) share() float64 {
	switch {
	case n.Recalled:
		return n.recalled
	case n.Forced != nil:
		return 1
	}
	free := 1.0
	if _, known := n.Parts[PartLoad]; known {
		free = max(1-n.Load, 0.05)
	}
	return n.ramped / max(n.candidate.slow, 1) * free
}

// with returns q with what a cluster has of its own.
func (q Quality) with(h *tandem.ClusterHealth) Quality {
	for _, x := range []struct {
		field *int
		own   int
	}{{&q.DownAfter, h.DownAfter}, {&q.UpAfter, h.UpAfter}} {
		if x.own > 0 {
			*x.field = x.own
		}
	}
	for _, x := range []struct {
		field *time.Duration
		own   int
	}{{&q.CloseAfter, h.CloseAfter}, {&q.OpenAfter, h.OpenAfter}} {
		if x.own > 0 {
			*x.field = time.Duration(x.own) * time.Second
		}
	}
	return q
}
