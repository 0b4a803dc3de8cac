package rehearsal

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"tandem/internal/tandem"
	"tandem/lb"
)

// Config is everything that a rehearsal is made of. It is not changed.
type Config struct {
	Telco    *Telco
	Calls    []Call // in order
	Events   []Event
	From, To time.Duration // the part of the day that is played; it begins without calls
	Balance  lb.Config
	Machines Machines
	Seed     uint64
}

// Trial is settings of balancing that are tried. What is zero stays as it is.
type Trial struct {
	Spread           float64
	Low, High        float64 // quality below which a node closes, and from which it opens
	UnknownQualifies bool
}

// Try takes settings over.
func (c *Config) Try(t Trial) {
	b := &c.Balance
	b.Policy.UnknownQualifies = b.Policy.UnknownQualifies || t.UnknownQualifies
	if t.Spread != 0 {
		b.Policy.Spread = t.Spread
	}
	if t.Low != 0 {
		b.Quality.Low = lb.Score(t.Low)
	}
	if t.High != 0 {
		b.Quality.High = lb.Score(t.High)
	}
}

// Low is the quality below which a node closes.
func (c *Config) Low() float64 { return float64(cmp.Or(c.Balance.Quality.Low, 60)) }

// Validate reports what cannot be played.
func (c *Config) Validate() error {
	if err := c.Telco.Validate(); err != nil {
		return err
	}
	if err := c.Balance.Validate(); err != nil {
		return err
	}
	switch {
	case c.From < 0 || c.To > day || c.To-c.From < time.Minute:
		return fmt.Errorf("%s to %s: a part of a day of at least a minute", clock(c.From), clock(c.To))
	case c.Machines.SetUp <= 0 || c.Machines.SetUp > callPatient:
		return fmt.Errorf("set-up of %v: it is more than 0, at most %v", c.Machines.SetUp, callPatient)
	case c.Machines.Calls < 1:
		return fmt.Errorf("%d calls a node: at least one", c.Machines.Calls)
	}
	return nil
}

// The rehearsal's ticks. Balancing looks at its nodes once a tick, as it does in earnest; while all is
// well, once in calmTicks.
const (
	tick       = 100 * time.Millisecond
	calmTicks  = 10
	attention  = 10 * time.Second // how long to look at each tick after something happened
	wellScore  = 76               // above it, a node is not about to be closed
	warmUp     = 5 * time.Second  // in which nodes are probed before tier 1 begins
	beforehand = 30 * time.Second // probing and tier 1 begin so long before the first call
)

// play is a rehearsal under way.
type play struct {
	cfg      *Config
	now      time.Duration // since midnight
	balancer *lb.Balancer
	planner  *lb.Planner
	dice     *rand.Rand
	groups   map[string]*tandem.Group // as they are set now
	places   map[string]*place        // by cluster
	machines map[string]*machine      // by node
	all      []*machine
	order    uint64 // of the last moment made
	agenda   agenda
	script   []act
	revision tandem.Revision
	assigned map[string]string // cluster by group
	closely  time.Duration     // until when to look at each tick
	ticks    int
	tally    *tally
}

// midnight is the beginning of a day on the balancer's clock.
func midnight() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// Run plays a day. Progress, which may be nil, is told now and then how many calls have come. It ends
// early, with ctx's error, when ctx does.
func Run(ctx context.Context, cfg Config, progress func(calls int)) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p, err := newPlay(&cfg)
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(int) {}
	}
	if err := p.run(ctx, progress); err != nil {
		return nil, err
	}
	return p.tally.result(p), nil
}

func newPlay(cfg *Config) (*play, error) {
	p := &play{
		cfg: cfg, now: cfg.From - beforehand, dice: rand.New(rand.NewPCG(cfg.Seed, 3)),
		groups: make(map[string]*tandem.Group), places: make(map[string]*place), machines: make(map[string]*machine),
		assigned: make(map[string]string), closely: cfg.From + attention,
	}
	p.tally = newTally(cfg)
	clock := func() time.Time { return midnight().Add(p.now) }
	silence := slog.New(slog.DiscardHandler)
	var err error
	if p.balancer, err = lb.New(cfg.Balance, lb.Deps{Now: clock, Dice: rand.New(rand.NewPCG(cfg.Seed, 4)).Float64}, silence); err != nil {
		return nil, err
	}
	if p.planner, err = lb.NewPlanner(cfg.Balance, lb.PlannerDeps{Balancer: p.balancer, Store: p, Now: clock}, silence); err != nil {
		return nil, err
	}
	p.furnish()
	p.script, err = p.acts(cfg.Events)
	return p, err
}

// furnish sets the telco up.
func (p *play) furnish() {
	for i, c := range sorted(p.cfg.Telco.Clusters) {
		p.places[c.ID] = &place{cluster: c, number: i}
		p.put(c)
	}
	for i, n := range sorted(p.cfg.Telco.Nodes) {
		m := &machine{node: n, was: n.State, home: p.places[n.Cluster], slow: 1}
		m.due = p.now + time.Duration(i)*tick%probeEvery // not all at once
		m.home.machines = append(m.home.machines, m)
		p.machines[n.ID], p.all = m, append(p.all, m)
		p.put(n)
	}
	for _, c := range p.places {
		c.share(p.cfg.Machines.Calls)
	}
	for _, g := range p.cfg.Telco.Groups {
		p.groups[g.ID] = g
		p.put(g)
	}
}

// put gives balancing an object as it is set now.
func (p *play) put(o tandem.Object) {
	p.revision++
	p.planner.Apply([]tandem.Change{{Revision: p.revision, Kind: o.Kind(), ID: o.Header().ID, Object: o}})
}

// Append takes what tier 1 decided, as the store would.
func (p *play) Append(_ context.Context, _ tandem.Principal, edits []tandem.Edit) (tandem.Revision, error) {
	for _, e := range edits {
		p.revision++
		a, ok := e.Object.(*tandem.Assignment)
		if !ok {
			continue // no group goes in a rehearsal
		}
		p.tally.move(p.now, a, p.placeOf(e.ID), p.places[a.Cluster])
		p.assigned[e.ID] = a.Cluster
	}
	return p.revision, nil
}

// run goes from one thing that happens to the next. At one time events come first, then the ticks,
// then what calls do, then new calls.
func (p *play) run(ctx context.Context, progress func(calls int)) error {
	calls := p.cfg.Calls
	for len(calls) > 0 && calls[0].At < p.cfg.From {
		calls = calls[1:]
	}
	next := p.now
	planning := false
	for next < p.cfg.To {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.between(next, &calls)
		p.now = next
		if !planning && p.now >= p.cfg.From-beforehand+warmUp {
			planning = true
			p.planner.Apply(nil)
		}
		p.tick(ctx)
		if p.ticks%600 == 0 {
			progress(p.tally.Calls)
		}
		next += tick
	}
	p.now = p.cfg.To
	return nil
}

// between lets events and calls happen up to a time.
func (p *play) between(until time.Duration, calls *[]Call) {
	for {
		at := until + 1
		kind := 0
		if len(*calls) > 0 && (*calls)[0].At < at {
			at, kind = (*calls)[0].At, 1
		}
		if len(p.agenda) > 0 && p.agenda[0].at <= min(at, until) {
			at, kind = p.agenda[0].at, 2
		}
		if len(p.script) > 0 && p.script[0].at <= min(at, until) {
			at, kind = p.script[0].at, 3
		}
		if kind == 0 {
			return
		}
		p.now = max(p.now, at)
		switch kind {
		case 1:
			p.arrive(&(*calls)[0])
			*calls = (*calls)[1:]
		case 2:
			if m := heap.Pop(&p.agenda).(moment); m.turn == m.talk.turn {
				p.happen(m.talk)
			}
		case 3:
			p.script[0].do()
			p.script = p.script[1:]
			p.watchClosely()
		}
	}
}

// watchClosely lets balancing look at each tick for a while.
func (p *play) watchClosely() { p.closely = p.now + attention }

// tick probes the nodes that are due, and lets balancing look at what it knows.
func (p *play) tick(ctx context.Context) {
	p.ticks++
	for _, m := range p.all {
		if m.due <= p.now {
			p.probe(m)
		}
	}
	if p.now > p.closely && p.ticks%calmTicks != 0 {
		return
	}
	p.balancer.Look()
	if p.planner.Look(ctx) {
		p.watchClosely()
	}
	table := p.balancer.Table()
	if !p.well(table) {
		p.watchClosely()
	}
	p.tally.look(p, table)
}

// well reports whether nothing is about to change: every node takes calls and is not about to be
// closed, or is set otherwise, or is dead and known to be.
func (p *play) well(t *lb.Table) bool {
	return !slices.ContainsFunc(t.Clusters, func(c lb.ClusterStatus) bool {
		return slices.ContainsFunc(c.Nodes, func(n lb.NodeStatus) bool {
			m := p.machines[n.ID]
			calm := n.Available && n.Score >= wellScore || !m.node.Available() || m.dead && n.State == lb.StateDown
			return !calm
		})
	})
}

// probe asks a node how it is, as the proxy does: one that does not answer is asked three times more.
func (p *play) probe(m *machine) {
	trip := m.trip(p.now)
	answers := !m.dead && trip < probePatient
	ask := func() bool { return p.balancer.Probed(m.node.ID, trip, answers) }
	switch m.phase {
	case probe:
		if !answers {
			m.phase, m.due = missed, p.now+probePatient
			return
		}
		ask()
		if !p.cfg.Machines.Quiet {
			p.balancer.Reported(m.node.ID, m.load())
		}
		m.due += probeEvery
		return
	case missed:
		answers = false
		if ask() {
			m.phase, m.due = burst, p.now+probePatient
			p.watchClosely()
			return
		}
	case burst:
		for range 3 {
			ask()
		}
	}
	m.phase, m.due = probe, p.now+probeEvery-probePatient
}
