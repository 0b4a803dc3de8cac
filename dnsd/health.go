package dnsd

import (
	"math"
	"slices"

	"tandem/internal/tandem"
)

// What balancing found out about nodes shows in the records of forwarding names, and nowhere else:
// not in plain records, inbound names and edges, nor at a node's own name, which is always answered.
// Serials do not rise for it. They are for secondaries, which have no service zone: what depends on
// health is never transferred.
//
// Whether names exist does not depend on it either; records.exists is made from configuration.

// health is what answers show of a node's health. The zero value is a node of which nothing is known.
type health struct {
	down     bool
	degraded bool
	forced   bool  // down or up by an operator's word
	withheld uint8 // eighths of its weight that it does not get
	fell     int64 // since when it is down, in nanoseconds of Unix time; 0: not down, or not known
}

// eighths is how finely shares show: records shall not change with every breath.
const eighths = 8

// slack is how far a share may be from the eighth that shows before another one does: a quarter
// beyond the middle between two, so that a share around there does not swing.
const slack = 0.75

// Priorities of nodes that others are preferred to.
const (
	worse = 1000  // added for a degraded node
	worst = 65535 // of a node that is down, where it is answered at all
)

// finding is the health last told of a node, there or not, as long as lists name it.
type finding struct {
	health
	round uint64 // of the last list that named it
}

// Health takes the health of all nodes as it stands; a node that is not on the list is as configured.
// Forwarding names answer by it from the first query after its return. It costs a look at each node,
// and beyond that only what differs from the last time. The list belongs to the server from now on.
// Anyone may call it at any time; a change that is being applied is waited for.
func (s *Server) Health(nodes []tandem.NodeHealth) {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.told.Store(&nodes)
	s.healthChanges.Add(s.writer.hear(nodes))
}

// hear takes a list of nodes' health and returns how many nodes it changed.
func (w *writer) hear(nodes []tandem.NodeHealth) (changed uint64) {
	w.round++
	named := 0
	var clusters []uint32
	show := func(id string, h health) {
		if c, ok := w.showHealth(id, h); ok {
			clusters = append(clusters, c)
			changed++
		}
	}
	for i := range nodes {
		id := nodes[i].Node
		f := w.found[id]
		if f == nil {
			f = &finding{}
			w.found[id] = f
		}
		if f.round != w.round {
			f.round = w.round
			named++
		}
		if h := f.health.after(&nodes[i]); h != f.health {
			f.health = h
			show(id, h)
		}
	}
	if named < len(w.found) {
		for _, id := range w.forget() {
			show(id, health{})
		}
	}
	slices.Sort(clusters)
	for _, c := range slices.Compact(clusters) {
		w.refreshCluster(c)
	}
	return changed
}

// forget drops the findings that the last list did not name and returns whose they were.
func (w *writer) forget() []string {
	var ids []string
	for id, f := range w.found {
		if f.round != w.round {
			delete(w.found, id)
			ids = append(ids, id)
		}
	}
	return ids
}

// showHealth gives a node another health and returns the number of its cluster, which is to be made
// anew; false when there is no such node or it has that health already.
func (w *writer) showHealth(id string, v health) (uint32, bool) {
	number, ok := w.nodeNumbers[id]
	if !ok {
		return 0, false
	}
	h := w.nodes.at.get(number)
	if h == nil || h.health == v {
		return 0, false
	}
	next := *h
	next.health = v
	w.nodes.at.set(number, &next)
	return w.clusterOfNode[number], true
}

// healthOf returns the health that a node shows when it is put.
func (w *writer) healthOf(id string) health {
	if f := w.found[id]; f != nil {
		return f.health
	}
	return health{}
}

// after returns the health that shows after n was told, when h shows. A node that is down has no
// share; so when it comes back it is seen to move from the whole.
func (h health) after(n *tandem.NodeHealth) health {
	forced := n.Forced != nil
	if n.State == tandem.HealthDown {
		next := health{down: true, forced: forced}
		if !n.Since.IsZero() {
			next.fell = n.Since.UnixNano()
		}
		return next
	}
	exact := eighths * n.Share
	switch {
	case n.Share >= 1 || math.IsNaN(n.Share):
		exact = eighths
	case n.Share <= 0:
		exact = 0
	}
	next := health{degraded: n.State == tandem.HealthDegraded, forced: forced, withheld: h.withheld}
	if math.Abs(exact-float64(eighths-h.withheld)) > slack {
		next.withheld = eighths - uint8(math.Round(exact))
	}
	return next
}

// weigh returns the part of a configured weight that h leaves, at least 1: weight 0 would mean that
// the node gets next to nothing (RFC 2782), which is for those who configure it to say.
func (h health) weigh(configured uint16) uint16 {
	return uint16(max(1, (uint32(configured)*uint32(eighths-h.withheld)+eighths/2)/eighths))
}
