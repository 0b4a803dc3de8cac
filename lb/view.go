package lb

import (
	"fmt"
	"slices"
	"strings"

	"tandem/internal/tandem"
)

// GroupStatus is a group with what tier 1 decided about it; neither may be changed.
type GroupStatus struct {
	Group    *tandem.Group
	Assigned *tandem.Assignment // nil: nothing yet
}

// Groups returns all groups by id.
func (p *Planner) Groups() []GroupStatus {
	p.mu.Lock()
	all := make([]GroupStatus, 0, len(p.lines))
	for _, l := range p.lines {
		if l.group != nil {
			all = append(all, GroupStatus{l.group, l.assigned})
		}
	}
	p.mu.Unlock()
	slices.SortFunc(all, func(x, y GroupStatus) int { return strings.Compare(x.Group.ID, y.Group.ID) })
	return all
}

// Supplies returns all clusters by id, as tier 1 sees them.
func (p *Planner) Supplies() []Supply {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.input().supplies
}

// WhatIf is what an operator wants to try before doing it.
type WhatIf struct {
	Lose     []string       // clusters that are closed
	Capacity map[string]int // of clusters
	Expected map[string]int // of groups
}

// Trial is a plan that was made to be looked at, with what it was made of.
type Trial struct {
	Demands  []Demand
	Supplies []Supply
	Plan
}

// Try makes the plan that would be made now if things were as w says, and carries nothing out. A
// cluster or group that does not exist, or a number that cannot be, is a tandem.FieldError.
func (p *Planner) Try(w WhatIf) (Trial, error) {
	p.mu.Lock()
	in := p.input()
	p.mu.Unlock()
	for i, id := range w.Lose {
		s, err := in.supply(fmt.Sprintf("lose[%d]", i), id)
		if err != nil {
			return Trial{}, err
		}
		s.Open, s.Degraded = false, false
	}
	for id, n := range w.Capacity {
		field := "capacity." + id
		s, err := in.supply(field, id)
		if err == nil {
			err = inRange(field, n)
		}
		if err != nil {
			return Trial{}, err
		}
		s.Capacity = n
	}
	for id, n := range w.Expected {
		field := "expected." + id
		i, ok := slices.BinarySearchFunc(in.demands, id, func(d Demand, id string) int { return strings.Compare(d.Group, id) })
		if !ok {
			return Trial{}, tandem.FieldError{Field: field, Reason: fmt.Sprintf("there is no %s %.80q", tandem.KindGroup, id)}
		}
		if err := inRange(field, n); err != nil {
			return Trial{}, err
		}
		in.demands[i].Expected = n
	}
	return Trial{in.demands, in.supplies, Assign(in.demands, in.supplies, p.policy)}, nil
}

func (in *input) supply(field, id string) (*Supply, error) {
	i, ok := slices.BinarySearchFunc(in.supplies, id, func(s Supply, id string) int { return strings.Compare(s.Cluster, id) })
	if !ok {
		return nil, tandem.FieldError{Field: field, Reason: fmt.Sprintf("there is no %s %.80q", tandem.KindCluster, id)}
	}
	return &in.supplies[i], nil
}

func inRange(field string, n int) error {
	if n < 0 || n > mostPermitted {
		return tandem.FieldError{Field: field, Reason: fmt.Sprintf("is %d: must be 0 to %d", n, mostPermitted)}
	}
	return nil
}
