package lb

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tandem/internal/tandem"
)

// planBatch is how many assignments are written at once.
const planBatch = 1000

// mostNamed bounds the groups that one plan logs by name.
const mostNamed = 100

// planCounters are what the planner has done since its start.
type planCounters struct {
	plans, moves, failed, unplaced atomic.Uint64
	took                           atomic.Int64 // nanoseconds in all
}

// input is what a plan is made of.
type input struct {
	seen     tandem.Revision
	demands  []Demand // by group
	supplies []Supply // by cluster
}

// plan decides, stores what differs, and notes how far that has come.
func (p *Planner) plan(ctx context.Context) {
	begun := time.Now()
	in := p.begin()
	plan := Assign(in.demands, in.supplies, p.policy)
	took := time.Since(begun)
	p.count.plans.Add(1)
	p.count.took.Add(int64(took))
	p.warn(&plan)
	edits := p.edits(&plan)
	last, err := p.write(ctx, edits)
	wait := p.end(in, last, err)
	switch {
	case err != nil && ctx.Err() == nil:
		p.count.failed.Add(1)
		p.log.Warn("assignments cannot be stored; the plan is made again", "after", wait, "error", err)
	case err == nil && len(edits) > 0:
		p.count.moves.Add(uint64(len(plan.Moves)))
		for i := range plan.Moves[:min(len(plan.Moves), mostNamed)] {
			if m := &plan.Moves[i]; m.From != "" {
				p.log.Info("a group moves", "group", m.Group, "from", m.From, "to", m.To, "reason", m.Reason)
			}
		}
		p.log.Info("groups are assigned", "placed", len(plan.Moves), "moved", plan.Moved(), "unplaced", len(plan.Unplaced), "took", took)
	}
}

// begin takes the input; from now on a change is a cause for the next plan.
func (p *Planner) begin() input {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.planning, p.cause = true, span{}
	return p.input()
}

// input is called under mu.
func (p *Planner) input() input {
	in := input{seen: p.seen, demands: make([]Demand, 0, len(p.lines)), supplies: make([]Supply, 0, len(p.clusters))}
	for id, l := range p.lines {
		if l.group == nil {
			continue
		}
		d := Demand{Group: id, Expected: expected(l.group), MinQuality: Score(l.group.MinQuality), Pin: l.group.Cluster}
		if l.assigned != nil {
			d.Current = l.assigned.Cluster
		}
		in.demands = append(in.demands, d)
	}
	for id, s := range p.clusters {
		in.supplies = append(in.supplies, Supply{Cluster: id, Capacity: s.capacity, Quality: s.quality, Open: s.open, Degraded: s.degraded})
	}
	if !slices.ContainsFunc(in.supplies, func(s Supply) bool { return s.Open }) {
		// Nothing is gained by taking every group off every cluster, and it may be our own view that is
		// wrong: all is as if nothing were known, and tier 2 says why calls are refused.
		for i := range in.supplies {
			in.supplies[i].Open, in.supplies[i].Quality = true, Unknown
		}
	}
	slices.SortFunc(in.demands, func(x, y Demand) int { return strings.Compare(x.Group, y.Group) })
	slices.SortFunc(in.supplies, func(x, y Supply) int { return strings.Compare(x.Cluster, y.Cluster) })
	return in
}

// edits are what the plan changes: moves, groups left out, and assignments of groups that are gone.
func (p *Planner) edits(plan *Plan) []tandem.Edit {
	p.mu.Lock()
	defer p.mu.Unlock()
	var edits []tandem.Edit
	now := p.clock()
	put := func(a *tandem.Assignment) {
		l := p.lines[a.ID]
		if l == nil || l.group == nil {
			return // gone meanwhile
		}
		a.Since, l.writing = now, a
		edits = append(edits, tandem.Edit{Kind: tandem.KindAssignment, ID: a.ID, Object: a})
	}
	for _, m := range plan.Moves {
		put(&tandem.Assignment{Head: tandem.Head{ID: m.Group}, Cluster: m.To, From: m.From, Reason: string(m.Reason)})
	}
	for _, u := range plan.Unplaced {
		a := &tandem.Assignment{Head: tandem.Head{ID: u.Group}, From: u.From, Reason: string(u.Reason), Text: u.Text, Refuse: string(u.Refuse)}
		if l := p.lines[u.Group]; l != nil && l.assigned != nil && l.assigned.Cluster == "" {
			a.From = l.assigned.From
			if sameAssignment(l.assigned, a) {
				continue
			}
		}
		put(a)
	}
	var gone []string
	for id, l := range p.lines {
		if l.group == nil && l.assigned != nil {
			gone = append(gone, id)
		}
	}
	slices.Sort(gone)
	for _, id := range gone {
		edits = append(edits, tandem.Edit{Kind: tandem.KindAssignment, ID: id})
	}
	return edits
}

// write stores the edits in batches. What is stored counts at once, also when a later batch fails.
func (p *Planner) write(ctx context.Context, edits []tandem.Edit) (last tandem.Revision, err error) {
	for batch := range slices.Chunk(edits, planBatch) {
		at, err := p.append(ctx, slices.Clone(batch))
		if err != nil {
			return last, err
		}
		last = max(last, at)
		p.stored(batch, at)
	}
	return last, nil
}

// append stores one batch, without the deletions of what somebody else deleted just now.
func (p *Planner) append(ctx context.Context, batch []tandem.Edit) (last tandem.Revision, err error) {
	by := tandem.Principal{Admin: true, Name: "lb"}
	for len(batch) > 0 {
		last, err = p.store.Append(ctx, by, batch)
		var refused *tandem.EditError
		if !errors.As(err, &refused) || !errors.Is(err, tandem.ErrNotFound) || batch[refused.Index].Object != nil {
			return last, err
		}
		batch = slices.Delete(batch, refused.Index, refused.Index+1)
	}
	return 0, nil
}

// stored makes edits count that are in the store; at is the revision of the last.
func (p *Planner) stored(edits []tandem.Edit, at tandem.Revision) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range edits {
		l := p.line(e.ID)
		a, _ := e.Object.(*tandem.Assignment)
		if at < l.at { // followed already, and what was followed is newer
			continue
		}
		l.assigned, l.writing, l.at = a, nil, at
		p.tell(l)
		if (l.group == nil) == (a != nil) { // the group went, or came back, meanwhile
			p.changed(true)
		}
		p.forget(e.ID, l)
	}
}

// end notes how far plans have come, or returns how long to wait before the next.
func (p *Planner) end(in input, last tandem.Revision, err error) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.planning = false
	p.done.wrote = max(p.done.wrote, last)
	if err != nil {
		p.backOff = min(max(2*p.backOff, firstBackOff), mostBackOff)
		p.notUntil = p.clock().Add(p.backOff)
		p.changed(true)
		return p.backOff
	}
	p.backOff, p.notUntil = 0, time.Time{}
	p.done.advance(in.seen, last)
	p.changed(false)
	return 0
}

// warn logs by name which groups are left without a cluster, once for each text.
func (p *Planner) warn(plan *Plan) {
	p.count.unplaced.Store(uint64(len(plan.Unplaced)))
	left := make(map[string]string, len(plan.Unplaced))
	named := 0
	for _, u := range plan.Unplaced {
		left[u.Group] = u.Text
		if p.left[u.Group] == u.Text {
			continue
		}
		if named++; named <= mostNamed {
			p.log.Warn("a group has no cluster, its calls are refused", "group", u.Group, "reason", u.Reason, "text", u.Text)
		}
	}
	if named > mostNamed {
		p.log.Warn("more groups have no cluster", "groups", named-mostNamed)
	}
	p.left = left
}

// Metrics emits the planner's readings.
func (p *Planner) Metrics(emit func(tandem.Sample)) {
	c := &p.count
	emit(tandem.Sample{Name: "tandem_lb_unplaced_groups", Help: "Groups that no cluster can take.", Gauge: true, Value: float64(c.unplaced.Load())})
	emit(tandem.Sample{Name: "tandem_lb_moves_total", Help: "Clusters given to groups.", Value: float64(c.moves.Load())})
	emit(tandem.Sample{Name: "tandem_lb_plans_total", Help: "Plans made.", Value: float64(c.plans.Load())})
	emit(tandem.Sample{Name: "tandem_lb_plans_not_stored_total", Help: "Plans that could not be stored and were made again.", Value: float64(c.failed.Load())})
	emit(tandem.Sample{Name: "tandem_lb_plan_seconds_total", Help: "Time that plans took.", Value: time.Duration(c.took.Load()).Seconds()})
}
