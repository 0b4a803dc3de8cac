package lb

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"tandem/internal/tandem"
)

// Table is the clusters and nodes as they were found a moment ago. It never changes; Balancer.Table
// returns the newest.
type Table struct {
	Clusters []ClusterStatus // by id
	clusters map[string]*cluster
	nodes    map[string]*NodeStatus
	dice     func() float64
}

// ClusterStatus is one cluster as it stands.
type ClusterStatus struct {
	ID    string
	State State
	Score Score // mean of its available nodes, by weight; Unknown when none is known: for Supply
	Nodes []NodeStatus
}

// NodeStatus is one node as it stands.
type NodeStatus struct {
	ID        string
	Available bool   // new calls may go to it
	State     State  // that counts: as found, or as an operator has forced it
	Found     State  // as found
	Why       string // why it is not available; empty when it is
	Score     Score
	Parts     map[Part]Score // the known ones
	RoundTrip time.Duration  // of probes
	Loss      float64        // of probes
	Answer    time.Duration  // from INVITE to the first answer
	Failed    float64        // share of set-ups that failed
	Load      float64        // as it says
	Weight    float64        // with its ramp, for DNS too
	Calls     int            // up or in set-up here
	InSetUp   int
	Wanted    tandem.NodeState // by hand
	Since     time.Time        // of Found
	Checked   time.Time        // last probe or call that told something; zero: none since the start
	Recalled  bool             // Found is of before the start, and nothing has confirmed it
	Forced    *tandem.Force    // an operator's word that counts; nil: none
	why       string           // of State
	recalled  float64          // share of its weight while Recalled
	cluster   string
	candidate candidate
	priority  uint16
	set       bool    // out of service by hand
	untried   bool    // down, but new: see watch.untried
	ramped    float64 // share of its weight after recovery
}

// cluster is what Admit needs of one.
type cluster struct {
	tiers    [][]candidate // by priority, available ones only
	degraded bool          // some node is kept out by its quality alone
	dice     func() float64
}

// Table returns the newest table.
func (b *Balancer) Table() *Table { return b.table.Load() }

// publish looks at all nodes and swaps the table. Called under mu.
func (b *Balancer) publish(now time.Time) {
	groups := make(map[string][]NodeStatus)
	b.guard(now)
	turned := false
	for _, m := range b.nodes {
		if m.force(b) {
			turned = true
		}
		if !b.checker.stalled && m.watch.look(now) {
			b.tell(m)
			turned = true
		}
		groups[m.node.Cluster] = append(groups[m.node.Cluster], b.status(m, now))
	}
	t := &Table{clusters: make(map[string]*cluster, len(groups)), nodes: make(map[string]*NodeStatus, len(b.nodes)), dice: b.dice}
	for id, nodes := range groups {
		slices.SortFunc(nodes, func(x, y NodeStatus) int {
			return cmp.Or(cmp.Compare(x.priority, y.priority), strings.Compare(x.ID, y.ID))
		})
		t.clusters[id] = newCluster(nodes, b.dice)
		for i := range nodes {
			t.nodes[nodes[i].ID] = &nodes[i]
		}
		t.Clusters = append(t.Clusters, clusterStatus(id, nodes))
	}
	slices.SortFunc(t.Clusters, func(x, y ClusterStatus) int { return strings.Compare(x.ID, y.ID) })
	b.table.Store(t)
	if turned {
		b.signal()
	}
}

// mute reports whether no call can be sent to a node: it has ports, and none for a transport of ours.
func mute(n *tandem.Node) bool {
	return n.Ports != (tandem.Ports{}) && n.Ports.UDP == 0 && n.Ports.TCP == 0
}

func (b *Balancer) status(m *member, now time.Time) NodeStatus {
	w, n := m.watch, m.node
	ramped := b.ramp(w, now)
	s := NodeStatus{
		ID: n.ID, State: w.state, Found: w.state, Why: w.why, Score: w.score, Parts: w.parts(now), Since: w.turned, Checked: w.checked,
		Recalled: w.recalled, Forced: m.forced, recalled: w.share,
		RoundTrip: seconds(w.trip.value), Loss: w.loss.value, Answer: seconds(w.answer.value), Failed: w.failed(now), Load: w.load.value,
		Weight: float64(cmp.Or(n.Weight, 100)) * ramped,
		Calls:  int(m.state.calls.Load()), InSetUp: int(m.state.pending.Load()), cluster: n.Cluster, priority: n.Priority,
		Wanted: cmp.Or(n.State, tandem.NodeActive), set: !n.Available() || mute(n), ramped: ramped,
	}
	s.untried = w.untried(now) && !s.set && s.Forced == nil
	s.force()
	s.why = s.Why
	switch {
	case !n.Available():
		s.Why = "set " + string(n.State)
	case s.set:
		s.Why = "offers no SIP over UDP or TCP"
	}
	s.Available = !s.set && (s.State == StateGood || s.State == StateUnknown)
	s.candidate = candidate{id: n.ID, hash: hashName(n.ID), state: m.state, weight: s.Weight, base: float64(cmp.Or(n.Weight, 100)), slow: 1, score: w.score, types: n.Types}
	return s
}

// force lets an operator's word count instead of what was found.
func (s *NodeStatus) force() {
	if s.Forced == nil {
		return
	}
	s.State, s.Why, s.Weight, s.ramped = StateGood, "", s.Weight/s.ramped, 1
	if s.Forced.State == tandem.HealthDown {
		s.State, s.Why = StateDown, s.Forced.String()
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// ramp is the share of its weight that a node gets: all, unless it has just recovered.
func (b *Balancer) ramp(w *watch, now time.Time) float64 {
	if w.opened.IsZero() {
		return 1
	}
	return min(0.1+0.9*float64(now.Sub(w.opened))/float64(b.cfg.Ramp), 1)
}

func newCluster(nodes []NodeStatus, dice func() float64) *cluster {
	c := &cluster{dice: dice}
	compare(nodes)
	usual := usualAnswer(nodes)
	last := -1
	for i := range nodes {
		n := &nodes[i]
		if !n.Available {
			c.degraded = c.degraded || (n.State == StateDegraded && !n.set)
			continue
		}
		if n.Answer > 0 && usual > 0 {
			// 10 ms on both sides: what differs by less is no slowness.
			n.candidate.slow = max(float64(n.Answer+10*time.Millisecond)/float64(usual+10*time.Millisecond), 1)
		}
		if last != int(n.priority) {
			c.tiers, last = append(c.tiers, nil), int(n.priority)
		}
		tier := &c.tiers[len(c.tiers)-1]
		*tier = append(*tier, n.candidate)
	}
	return c
}

// compare tells the nodes of each tier how its available ones stand.
func compare(nodes []NodeStatus) {
	for rest := nodes; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].priority == rest[0].priority {
			n++
		}
		calls, weight, many := 0.0, 0.0, 0.0
		for i := range rest[:n] {
			if rest[i].Available {
				calls, weight, many = calls+float64(rest[i].Calls), weight+rest[i].Weight, many+1
			}
		}
		for i := range rest[:n] {
			c := &rest[i].candidate
			if c.usual = c.weight; many > 0 {
				c.usual, c.even = weight/many, calls/weight
			}
		}
		rest = rest[n:]
	}
}

// usualAnswer is the median time to the first answer of the available nodes that have one.
func usualAnswer(nodes []NodeStatus) time.Duration {
	var all []time.Duration
	for i := range nodes {
		if nodes[i].Available && nodes[i].Answer > 0 {
			all = append(all, nodes[i].Answer)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[(len(all)-1)/2]
}

func clusterStatus(id string, nodes []NodeStatus) ClusterStatus {
	c := ClusterStatus{ID: id, Nodes: nodes, Score: Unknown}
	var states []State
	sum, weight := 0.0, 0.0
	for i := range nodes {
		n := &nodes[i]
		if n.set {
			continue
		}
		states = append(states, n.State)
		if n.Available && n.Score >= 0 {
			sum, weight = sum+float64(n.Score)*n.Weight, weight+n.Weight
		}
	}
	c.State = together(states)
	if weight > 0 {
		c.Score = Score(sum / weight)
	}
	return c
}

// choose picks a node for a call of group g; when it finds none, the reason.
func (c *cluster) choose(g *Group, t tandem.RequestType, unknown bool) (*candidate, Reason) {
	poor := c.degraded
	for _, tier := range c.tiers {
		var found *candidate
		var low bool
		if g.Affinity {
			found, low = home(tier, hashName(g.ID), t, g.MinQuality, unknown)
		} else {
			found, low = c.pick(tier, t, g.MinQuality, unknown)
		}
		if found != nil {
			return found, ""
		}
		poor = poor || low
	}
	if poor {
		return nil, ReasonQuality
	}
	return nil, ReasonNoNode
}
