package rehearsal

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem/internal/tandem"
)

// act is an event, or the end of one, made ready to happen.
type act struct {
	at time.Duration
	do func()
}

// acts makes events ready, in the order of their times; of those of one time the ends come first.
func (p *play) acts(events []Event) ([]act, error) {
	var ends, begins []act
	for _, e := range events {
		if e.At >= 0 && (e.At < p.cfg.From || e.At >= p.cfg.To) {
			return nil, fmt.Errorf("event %q is not between %s and %s", e, clock(p.cfg.From), clock(p.cfg.To))
		}
		do, undo, err := p.act(e)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", e, err)
		}
		begins = append(begins, act{max(e.At, p.now), do})
		if e.Until > 0 {
			ends = append(ends, act{e.Until, undo})
		}
	}
	all := slices.Concat(ends, begins)
	slices.SortStableFunc(all, func(x, y act) int { return int(x.at - y.at) })
	return all, nil
}

// act returns what an event does, and what its end does.
func (p *play) act(e Event) (do, undo func(), err error) {
	switch e.Verb {
	case Expected, Permitted, Quality, Pin:
		return p.setGroup(e)
	case Capacity:
		home := p.places[e.Target]
		if home == nil {
			return nil, nil, fmt.Errorf("there is no cluster %q", e.Target)
		}
		before := home.cluster
		changed := *before
		changed.Capacity = limit(e.Number)
		set := func(c *tandem.Cluster) func() {
			return func() {
				home.cluster = c
				home.share(p.cfg.Machines.Calls)
				p.put(c)
			}
		}
		return set(&changed), set(before), nil
	}
	targets, err := p.targets(e.Target)
	if err != nil {
		return nil, nil, err
	}
	each := func(fn func(m *machine)) func() {
		return func() {
			for _, m := range targets {
				fn(m)
			}
		}
	}
	switch e.Verb {
	case Lose:
		return each(p.lose), each(func(m *machine) { m.dead = false }), nil
	case Slow:
		return each(func(m *machine) { m.slow = e.Factor }), each(func(m *machine) { m.slow = 1 }), nil
	case Fail:
		return each(func(m *machine) { m.failing = e.Share }), each(func(m *machine) { m.failing = 0 }), nil
	case Drain:
		return each(func(m *machine) { p.setState(m, tandem.NodeDraining) }), each(func(m *machine) { p.setState(m, m.was) }), nil
	case Out:
		return each(func(m *machine) { p.setState(m, tandem.NodeOut) }), each(func(m *machine) { p.setState(m, m.was) }), nil
	}
	return each(p.restore), nil, nil
}

// lose lets a node fall silent: what it was doing is lost.
func (p *play) lose(m *machine) {
	m.dead = true
	for _, t := range slices.Clone(m.calls) {
		p.cut(t)
	}
}

// restore makes a node as good as new.
func (p *play) restore(m *machine) {
	m.dead, m.slow, m.failing, m.busy = false, 1, 0, 0
	p.setState(m, tandem.NodeActive)
}

func (p *play) setState(m *machine, state tandem.NodeState) {
	changed := *m.node
	changed.State = state
	m.node = &changed
	p.put(m.node)
}

// targets finds the nodes that an event is about: one, or all of a cluster.
func (p *play) targets(name string) ([]*machine, error) {
	kind, id, qualified := strings.Cut(name, ":")
	m, home := p.machines[name], p.places[name]
	if qualified && m == nil && home == nil {
		switch kind {
		case "node":
			m = p.machines[id]
		case "cluster":
			home = p.places[id]
		}
	}
	switch {
	case m != nil && home != nil:
		return nil, fmt.Errorf("both a node and a cluster are called %s: write node:%s or cluster:%s", name, name, name)
	case m != nil:
		return []*machine{m}, nil
	case home != nil:
		return home.machines, nil
	}
	return nil, fmt.Errorf("there is no node or cluster %q", name)
}

// setGroup returns what sets a field of a group, and what sets it back.
func (p *play) setGroup(e Event) (do, undo func(), err error) {
	before := p.groups[e.Target]
	if before == nil {
		return nil, nil, fmt.Errorf("there is no group %q", e.Target)
	}
	if e.Verb == Pin && e.Name != "" && p.places[e.Name] == nil {
		return nil, nil, fmt.Errorf("there is no cluster %q", e.Name)
	}
	set := func(number *int, quality int, pin string) func() {
		return func() {
			g := *p.groups[e.Target]
			switch e.Verb {
			case Expected:
				g.Expected = number
			case Permitted:
				g.Permitted = number
			case Quality:
				g.MinQuality = quality
			case Pin:
				g.Cluster = pin
			}
			p.groups[g.ID] = &g
			p.put(&g)
		}
	}
	was := before.Expected
	if e.Verb == Permitted {
		was = before.Permitted
	}
	return set(limit(e.Number), e.Number, e.Name), set(was, before.MinQuality, before.Cluster), nil
}

// limit is a number that may be absent: below zero.
func limit(n int) *int {
	if n < 0 {
		return nil
	}
	return &n
}
