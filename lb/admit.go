package lb

import (
	"cmp"
	"slices"

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

// Admit judges one call: node and quality first, then one slot in every group it touches, all or
// none. It waits for nothing, unless Leases must be asked.
func (b *Balancer) Admit(r tandem.Admission) (tandem.Admitted, tandem.Refusal) {
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
	var found tandem.Admitted
	var node *candidate
	if !r.Counted {
		var reason Reason
		if node, found.Usable, reason = b.find(rules, r); reason != "" {
			return b.refuse(reason, r.Group)
		}
	}
	var other *account
	if r.Other != "" && r.Other != r.Group {
		if other = b.ledger.find(r.Other); other == nil {
			return b.refuse(ReasonNoCluster, r.Other)
		}
	}
	if r.Joined != 0 {
		return b.join(r, found, node, [...]*account{primary, other})
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
	if !b.enter(&found, node, primary, other) {
		return b.refuse(ReasonCapacity, r.Group)
	}
	b.count.admitted.Add(1)
	return found, tandem.Refusal{}
}

// find chooses the node of a call; when there is none, the reason. A node of nil without a reason is
// a place that is no node of ours.
func (b *Balancer) find(rules *Group, r tandem.Admission) (node *candidate, usable int, reason Reason) {
	t := b.table.Load()
	if rules.Cluster == "" {
		return nil, 0, cmp.Or(rules.Refuse, ReasonNoCluster)
	}
	if r.Among != nil {
		if usable, reason = t.order(r.Among, rules, r.Type, b.cfg.Policy.UnknownQualifies); reason != "" {
			return nil, 0, reason
		}
		if n := t.nodes[r.Among[0].Node]; n != nil {
			node = &n.candidate
		}
		return node, usable, ""
	}
	c := t.clusters[rules.Cluster]
	if c == nil {
		return nil, 0, ReasonNoNode
	}
	node, reason = c.choose(rules, r.Type, b.cfg.Policy.UnknownQualifies)
	return node, 0, reason
}

// join counts a call that continues another one: in the groups which that one does not hold yet.
func (b *Balancer) join(r tandem.Admission, found tandem.Admitted, node *candidate, accts [2]*account) (tandem.Admitted, tandem.Refusal) {
	var taken [2]*account
	back := func() {
		for _, a := range taken {
			if a != nil {
				a.give()
			}
		}
	}
	for i, a := range accts {
		if a == nil || b.slots.holds(r.Joined, a) {
			continue
		}
		group := [...]string{r.Group, r.Other}[i]
		if reason := b.take(a, group); reason != "" {
			back()
			return b.refuse(reason, group)
		}
		taken[i] = a
	}
	for i, a := range taken {
		if a != nil && !b.slots.add(r.Joined, a) { // ended meanwhile, or touches too many groups
			back()
			return b.refuse(ReasonCapacity, [...]string{r.Group, r.Other}[i])
		}
		taken[i] = nil
	}
	if node != nil && !b.enter(&found, node, nil, nil) {
		return b.refuse(ReasonCapacity, r.Group)
	}
	b.count.joined.Add(1)
	return found, tandem.Refusal{}
}

// enter writes down a call whose groups' slots are taken; when the table is full they are given back.
func (b *Balancer) enter(found *tandem.Admitted, node *candidate, primary, other *account) bool {
	slot, h := b.slots.get()
	if h == nil {
		for _, a := range [...]*account{primary, other} {
			if a != nil {
				a.give()
			}
		}
		return false
	}
	h.accts = [mostGroups]*account{primary, other}
	if found.Slot = slot; node != nil {
		found.Node = node.id
		node.state.calls.Add(1)
		node.state.pending.Add(1)
		h.node.Store(node.state)
	}
	return true
}

// admitEmergency takes slots whatever the limits; a full table admits too, without a slot.
func (b *Balancer) admitEmergency(r tandem.Admission) (tandem.Admitted, tandem.Refusal) {
	b.count.emergency.Add(1)
	var found tandem.Admitted
	var node *candidate
	if len(r.Among) > 0 {
		t := b.table.Load()
		t.orderAll(r.Among)
		found.Usable = len(r.Among)
		if n := t.nodes[r.Among[0].Node]; n != nil {
			node = &n.candidate
		}
	}
	primary, other := b.ledger.find(r.Group), (*account)(nil)
	if r.Other != r.Group {
		other = b.ledger.find(r.Other)
	}
	if r.Joined != 0 {
		primary, other = nil, nil
	}
	for _, a := range [...]*account{primary, other} {
		if a != nil {
			a.force()
		}
	}
	b.enter(&found, node, primary, other)
	return found, tandem.Refusal{}
}

// take takes a slot of one group, asking the leases when this instance's are used up. Of a burst one
// caller asks for all that wait; whom that answer does not help is refused with it.
func (b *Balancer) take(a *account, group string) Reason {
	if a.take() {
		return ""
	}
	rules := a.rules.Load()
	if rules == nil {
		return ReasonNoCluster
	}
	if b.leases == nil || a.used() >= rules.Permitted {
		return ReasonPermitted
	}
	a.waiting.Add(1) // before asked is read: whatever question comes after that is for this caller too
	asked := a.asked.Load()
	a.asking.Lock()
	defer a.asking.Unlock()
	defer a.waiting.Add(-1)
	if a.claim() || a.take() { // whoever asked before got enough
		return ""
	}
	if a.asked.Load() == asked {
		a.asked.Add(1)
		a.full = b.leases.Acquire(group, int(a.waiting.Load()), rules.Permitted) == ReasonPermitted
		if a.claim() || a.take() {
			return ""
		}
	}
	if a.full {
		return ReasonPermitted
	}
	return ReasonLease
}

// refuse counts and words a refusal.
func (b *Balancer) refuse(reason Reason, group string) (tandem.Admitted, tandem.Refusal) {
	b.count.refused(reason)
	if reason == ReasonPermitted {
		return tandem.Admitted{}, tandem.Refusal{Code: 486, Reason: string(reason), Group: group}
	}
	return tandem.Admitted{}, tandem.Refusal{Code: 503, Reason: string(reason), Group: group, RetryAfter: b.cfg.RetryAfter}
}

// Answered says that a call's set-up is over: its node is rid of that work. Only the first time counts.
func (b *Balancer) Answered(slot tandem.Slot) {
	h := b.slots.find(slot)
	if h == nil {
		return
	}
	node := h.node.Load()
	if h.step(slot, phaseSetUp, phaseUp) && node != nil {
		node.pending.Add(-1)
	}
}

// Move gives a call in set-up another node after the last one failed. It reports false, and changes
// nothing, when that node takes no calls now, or the call is not in set-up. A node that is not
// known is not counted, but does.
func (b *Balancer) Move(slot tandem.Slot, node string) bool {
	n := b.table.Load().nodes[node]
	if n != nil && !n.Available && !n.untried {
		return false
	}
	h := b.slots.find(slot)
	if h == nil || !h.step(slot, phaseSetUp, phaseMoving) {
		return false
	}
	var state *nodeState
	if n != nil {
		state = n.candidate.state
		state.calls.Add(1)
		state.pending.Add(1)
	}
	if old := h.node.Swap(state); old != nil {
		old.calls.Add(-1)
		old.pending.Add(-1)
	}
	h.step(slot, phaseMoving, phaseSetUp)
	return true
}

// Release gives back all that a call holds, whatever its end. Releasing again, or what never was, is
// counted and changes nothing; it reports whether this was the release that counted.
func (b *Balancer) Release(slot tandem.Slot) bool {
	h, wasUp, ok := b.slots.put(slot)
	if !ok {
		return false
	}
	for _, a := range b.slots.groups(slot, h) {
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
func (b *Balancer) Restore(groups []string, node string, answered bool) tandem.Slot {
	var accts [mostGroups]*account
	for i, id := range groups[:min(len(groups), mostGroups)] {
		if !slices.Contains(groups[:i], id) {
			accts[i] = b.ledger.open(id, (*account).force)
		}
	}
	var at *candidate
	b.mu.Lock()
	if m := b.nodes[node]; m != nil {
		at = &candidate{id: node, state: m.state}
	}
	b.mu.Unlock()
	var found tandem.Admitted
	if !b.enter(&found, at, nil, nil) {
		for _, a := range accts {
			if a != nil {
				a.give()
			}
		}
		return 0
	}
	b.slots.find(found.Slot).accts = accts
	if answered {
		b.Answered(found.Slot)
	}
	return found.Slot
}
