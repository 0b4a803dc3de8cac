package lb

import (
	"math"
	"slices"
	"strings"
	"time"

	"tandem/internal/tandem"
)

// supplier is a cluster as tier 1 sees it: how it is measured is taken over with hysteresis, so that
// noise makes no plans.
type supplier struct {
	capacity int
	standing
	taken time.Time // when quality was
}

// standing is how a cluster was found. Its zero value is that of one without nodes.
type standing struct {
	open     bool // some node takes calls
	degraded bool // none does, some for nothing but its quality
	quality  Score
}

// A quality is taken over at once when it differs by step; by less, but by more than jitter, when
// the last one is as old as settleAfter.
const (
	step, jitter = 3, 0.5
	settleAfter  = 10 * time.Second
)

func capacity(c *tandem.Cluster) int {
	if c.Capacity == nil {
		return Unbounded
	}
	return *c.Capacity
}

// find returns a cluster's status, nil when it has no nodes.
func (t *Table) find(cluster string) *ClusterStatus {
	i, ok := slices.BinarySearchFunc(t.Clusters, cluster, func(c ClusterStatus, id string) int { return strings.Compare(c.ID, id) })
	if !ok {
		return nil
	}
	return &t.Clusters[i]
}

func (c *ClusterStatus) standing() standing {
	if c == nil {
		return standing{quality: Unknown}
	}
	s := standing{quality: c.Score}
	for i := range c.Nodes {
		s.open = s.open || c.Nodes[i].Available || c.Nodes[i].untried
	}
	s.degraded = !s.open && c.State == StateDegraded
	return s
}

// measure takes over how all clusters stand now, and reports whether that matters to some group.
// Called under mu.
func (p *Planner) measure() (matters bool) {
	table, now := p.balancer.Table(), p.clock()
	for id, s := range p.clusters {
		is := table.find(id).standing()
		if !s.differs(is, now) {
			continue
		}
		matters = matters || s.open != is.open || s.degraded != is.degraded || p.reach(s.quality) != p.reach(is.quality)
		s.standing, s.taken = is, now
	}
	return matters
}

func (s *supplier) differs(is standing, now time.Time) bool {
	by := math.Abs(float64(s.quality - is.quality))
	switch {
	case s.open != is.open, s.degraded != is.degraded, (s.quality < 0) != (is.quality < 0), by >= step:
		return true
	}
	return by > jitter && now.Sub(s.taken) >= settleAfter
}

// reach is how many groups' minimum a quality reaches; negative for one that is not known.
func (p *Planner) reach(q Score) int {
	if q < 0 {
		return -1
	}
	sum := 0
	for least := 1; least < len(p.minima) && Score(least) <= q; least++ {
		sum += p.minima[least]
	}
	return sum
}
