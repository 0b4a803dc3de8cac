package lb

import (
	"time"

	"tandem/internal/tandem"
)

// Reasons of Admit, as they stand in the text of the Reason header (RFC 3326).
const (
	ReasonPermitted Reason = "permitted"  // a group has as many calls as it is permitted (486)
	ReasonQuality   Reason = "quality"    // nodes are there, but none of the needed quality (503, as the others)
	ReasonNoNode    Reason = "no-node"    // no node of the cluster is available
	ReasonNoCluster Reason = "no-cluster" // the group is unknown or has no cluster
	ReasonLease     Reason = "lease"      // slots may be free, but not to this instance now
	ReasonCapacity  Reason = "capacity"   // this instance's own table of calls is full
)

// Request asks for a call to be admitted.
type Request struct {
	Group string             // of the called account when that is ours, else of the caller's; it is placed on this one's cluster
	Other string             // of the other side when that is ours too; empty or the same: one slot
	Type  tandem.RequestType // that the node must serve
	// Counted asks only for the slots: the caller has a node or needs none.
	Counted bool
	// Emergency asks for slots that no limit withholds and unknown groups do not hinder; implies Counted.
	Emergency bool
}

// Placement is an admitted call: its slot, to be released once, and its node.
type Placement struct {
	Slot Slot
	Node string // empty when only counted
}

// Refusal says why a call was not admitted; Code zero: it was.
type Refusal struct {
	Code       int // 486 or 503
	Reason     Reason
	Group      string        // that failed the condition
	RetryAfter time.Duration // zero for 486
}

// Admit judges one call: node and quality first, then one slot in every group it touches, all or
// none. It waits for nothing, unless Leases must be asked.
func (b *Balancer) Admit(r Request) (Placement, Refusal) {
	if r.Emergency {
		return b.admitEmergency(r)
	}
	primary := b.ledger.find(r.Group)
	var rules *Group
	if primary != nil {
		rules = primary.rules.Load()
	}
	if rules == nil {
		return b.refuse(ReasonNoCluster, r.Group)
	}
	var node *candidate
	if !r.Counted {
		c := b.table.Load().clusters[rules.Cluster]
		if rules.Cluster == "" {
			return b.refuse(ReasonNoCluster, r.Group)
		} else if c == nil {
			return b.refuse(ReasonNoNode, r.Group)
		}
		var reason Reason
		if node, reason = c.choose(rules, r.Type, b.cfg.UnknownQualifies); node == nil {
			return b.refuse(reason, r.Group)
		}
	}
	var other *account
	if r.Other != "" && r.Other != r.Group {
		if other = b.ledger.find(r.Other); other == nil {
			return b.refuse(ReasonNoCluster, r.Other)
		}
	}
	if reason := b.take(primary, r.Group); reason != "" {
		return b.refuse(reason, r.Group)
	}
	if other != nil {
		if reason := b.take(other, r.Other); reason != "" {
			primary.give()
			return b.refuse(reason, r.Other)
		}
	}
	p, ok := b.enter(node, primary, other)
	if !ok {
		return b.refuse(ReasonCapacity, r.Group)
	}
	b.count.admitted.Add(1)
	return p, Refusal{}
}

// enter writes down a call whose groups' slots are taken; when the table is full they are given back.
func (b *Balancer) enter(node *candidate, primary, other *account) (p Placement, ok bool) {
	slot, h := b.slots.get()
	if h == nil {
		for _, a := range [...]*account{primary, other} {
			if a != nil {
				a.give()
			}
		}
		return p, false
	}
	h.accts = [mostGroups]*account{primary, other}
	if p.Slot = slot; node != nil {
		p.Node = node.id
		node.state.calls.Add(1)
		node.state.pending.Add(1)
		h.node.Store(node.state)
	}
	return p, true
}

// admitEmergency takes slots whatever the limits; a full table admits too, without a slot.
func (b *Balancer) admitEmergency(r Request) (Placement, Refusal) {
	b.count.emergency.Add(1)
	primary, other := b.ledger.find(r.Group), (*account)(nil)
	if r.Other != r.Group {
		other = b.ledger.find(r.Other)
	}
	for _, a := range [...]*account{primary, other} {
		if a != nil {
			a.force()
		}
	}
	p, _ := b.enter(nil, primary, other)
	return p, Refusal{}
}

// take takes a slot of one group, asking the leases when this instance's are used up.
func (b *Balancer) take(a *account, group string) Reason {
	if a.take() {
		return ""
	}
	rules := a.rules.Load()
	if rules == nil {
		return ReasonNoCluster
	}
	used := a.used()
	if b.leases == nil || used >= rules.Permitted {
		return ReasonPermitted
	}
	a.asking.Lock()
	defer a.asking.Unlock()
	if a.take() { // whoever asked before got enough
		return ""
	}
	why := b.leases.Acquire(group, a.used(), rules.Permitted)
	if a.take() {
		return ""
	}
	if why == "" {
		why = ReasonLease
	}
	return why
}

// refuse counts and words a refusal.
func (b *Balancer) refuse(reason Reason, group string) (Placement, Refusal) {
	b.count.refused(reason)
	if reason == ReasonPermitted {
		return Placement{}, Refusal{Code: 486, Reason: reason, Group: group}
	}
	return Placement{}, Refusal{Code: 503, Reason: reason, Group: group, RetryAfter: b.cfg.RetryAfter}
}

// Answered says that a call's set-up is over: its node is rid of that work. Only the first time counts.
func (b *Balancer) Answered(slot Slot) {
	h := b.slots.find(slot)
	if h == nil {
		return
	}
	node := h.node.Load()
	if h.step(slot, phaseSetUp, phaseUp) && node != nil {
		node.pending.Add(-1)
	}
}

// Move gives a call in set-up another node of its cluster after the last one failed; group and type
// are those of its Request. It reports false when there is no other, or the call is not in set-up.
func (b *Balancer) Move(slot Slot, r Request, tried []string) (string, bool) {
	a, h := b.ledger.find(r.Group), b.slots.find(slot)
	if a == nil || h == nil || a.rules.Load() == nil {
		return "", false
	}
	rules := a.rules.Load()
	c := b.table.Load().clusters[rules.Cluster]
	if c == nil {
		return "", false
	}
	next, _ := c.without(tried).choose(rules, r.Type, b.cfg.UnknownQualifies)
	if next == nil || !h.step(slot, phaseSetUp, phaseMoving) {
		return "", false
	}
	next.state.calls.Add(1)
	next.state.pending.Add(1)
	if old := h.node.Swap(next.state); old != nil {
		old.calls.Add(-1)
		old.pending.Add(-1)
	}
	h.step(slot, phaseMoving, phaseSetUp)
	return next.id, true
}

// Release gives back all that a call holds, whatever its end. Releasing again, or what never was, is
// counted and changes nothing; it reports whether this was the release that counted.
func (b *Balancer) Release(slot Slot) bool {
	h, wasUp, ok := b.slots.put(slot)
	if !ok {
		return false
	}
	for _, a := range h.accts {
		if a != nil && !a.give() {
			b.count.negative.Add(1)
		}
	}
	if node := h.node.Load(); node != nil {
		node.calls.Add(-1)
		if !wasUp {
			node.pending.Add(-1)
		}
	}
	b.slots.recycle(slot, h)
	return true
}

// Restore takes up a call that was up before a restart, from its record, whatever the limits; a node
// or group that is not known (yet) is no hindrance. It returns zero when the table is full.
func (b *Balancer) Restore(groups []string, node string) Slot {
	var accts [mostGroups]*account
	for i, id := range groups[:min(len(groups), mostGroups)] {
		if i == 0 || id != groups[0] {
			accts[i] = b.ledger.open(id, (*account).force)
		}
	}
	var at *candidate
	b.mu.Lock()
	if m := b.nodes[node]; m != nil {
		at = &candidate{id: node, state: m.state}
	}
	b.mu.Unlock()
	p, _ := b.enter(at, accts[0], accts[1])
	b.Answered(p.Slot)
	return p.Slot
}
