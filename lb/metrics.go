package lb

import (
	"sync/atomic"

	"tandem/internal/tandem"
)

// counters are what the part has done since its start.
type counters struct {
	admitted, joined, emergency, negative, turns, stalls       atomic.Uint64
	permitted, quality, noNode, noCluster, lease, capacityFull atomic.Uint64
}

func (c *counters) refused(reason Reason) {
	switch reason {
	case ReasonPermitted:
		c.permitted.Add(1)
	case ReasonQuality:
		c.quality.Add(1)
	case ReasonNoNode:
		c.noNode.Add(1)
	case ReasonNoCluster:
		c.noCluster.Add(1)
	case ReasonLease:
		c.lease.Add(1)
	case ReasonCapacity:
		c.capacityFull.Add(1)
	}
}

// Metrics emits the part's readings.
func (b *Balancer) Metrics(emit func(tandem.Sample)) {
	c := &b.count
	for _, x := range []struct {
		reason Reason
		value  *atomic.Uint64
	}{
		{ReasonPermitted, &c.permitted}, {ReasonQuality, &c.quality}, {ReasonNoNode, &c.noNode},
		{ReasonNoCluster, &c.noCluster}, {ReasonLease, &c.lease}, {ReasonCapacity, &c.capacityFull},
	} {
		emit(tandem.Sample{Name: "tandem_lb_refused_total", Help: "Calls refused, by the condition that was not met.",
			Labels: map[string]string{"reason": string(x.reason)}, Value: float64(x.value.Load())})
	}
	for _, x := range []struct {
		name, help string
		value      uint64
	}{
		{"tandem_lb_admitted_total", "Calls admitted.", c.admitted.Load()},
		{"tandem_lb_joined_total", "Calls that continued another one behind a feature server; they took no further slot.", c.joined.Load()},
		{"tandem_lb_emergency_total", "Emergency calls, admitted whatever the limits.", c.emergency.Load()},
		{"tandem_lb_released_twice_total", "Releases of what was released already; they changed nothing.", b.slots.doubly.Load()},
		{"tandem_lb_negative_total", "Counts that would have fallen below zero: a programmer's mistake.", c.negative.Load()},
		{"tandem_lb_node_changes_total", "Changes of a node's state.", c.turns.Load()},
	} {
		emit(tandem.Sample{Name: x.name, Help: x.help, Value: float64(x.value)})
	}
	b.checkMetrics(emit)
	emit(tandem.Sample{Name: "tandem_lb_slots", Help: "Calls that hold slots.", Gauge: true, Value: float64(b.slots.inUse())})
	emit(tandem.Sample{Name: "tandem_lb_groups", Help: "Groups known.", Gauge: true, Value: float64(b.ledger.groups.Load())})
}
