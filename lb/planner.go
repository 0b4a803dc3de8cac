package lb

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"tandem/internal/tandem"
)

// Assignments is where tier 1 writes what it decided.
type Assignments interface {
	// Append commits the edits as one batch, each as one revision, or none of them.
	Append(ctx context.Context, by tandem.Principal, edits []tandem.Edit) (last tandem.Revision, err error)
}

// When a plan is made: once nothing that matters has changed for quiet, at the latest after longest,
// so that a burst makes one plan. When it could not be stored it is made again after a back-off.
const (
	quiet, longest            = 50 * time.Millisecond, 500 * time.Millisecond
	firstBackOff, mostBackOff = 100 * time.Millisecond, 5 * time.Second
)

// Planner is tier 1 at work. It follows groups, clusters, nodes and assignments and keeps the Balancer
// told of them; when something that matters has changed, or a cluster closed, opened or became
// better or worse, it has Assign decide anew and writes the differences as Assignments.
//
// A group is on the cluster of its Assignment; until it has one on that of its pin. A pin that
// differs from the Assignment waits for the plan.
type Planner struct {
	policy   Policy
	balancer *Balancer
	store    Assignments
	clock    func() time.Time
	log      *slog.Logger
	count    planCounters
	wake     chan struct{} // holds one: a plan is due

	mu       sync.Mutex // guards what follows
	lines    map[string]*line
	clusters map[string]*supplier
	minima   [mostMinimum + 1]int // how many groups need this quality
	whole    bool                 // all of the snapshot was seen
	seen     tandem.Revision      // of the last change
	cause    span                 // changes that the last plan has not seen
	planning bool
	backOff  time.Duration
	notUntil time.Time
	done     progress

	left map[string]string // Run's own: groups without a cluster, and the text that was logged
}

// line is one group with what was decided about it.
type line struct {
	group    *tandem.Group      // nil: gone, its assignment is to go too
	assigned *tandem.Assignment // nil: none yet
	writing  *tandem.Assignment // on its way into the store
	at       tandem.Revision    // changes of the assignment up to it are known
}

// span is from the first to the last of some events; zero: there was none.
type span struct{ first, last time.Time }

// PlannerDeps is what only code can give a Planner; Now may be nil: the machine's clock.
type PlannerDeps struct {
	Balancer *Balancer
	Store    Assignments
	Now      func() time.Time
}

// NewPlanner checks cfg and returns a Planner that has seen nothing yet.
func NewPlanner(cfg Config, deps PlannerDeps, log *slog.Logger) (*Planner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Balancer == nil || deps.Store == nil || log == nil {
		return nil, errors.New("lb: the planner needs a balancer, a store and a logger")
	}
	p := &Planner{
		policy: cfg.Policy, balancer: deps.Balancer, store: deps.Store, clock: deps.Now, log: log.With("part", "lb"),
		wake: make(chan struct{}, 1), lines: make(map[string]*line), clusters: make(map[string]*supplier),
		done: progress{grown: make(chan struct{})}, left: make(map[string]string),
	}
	if p.clock == nil {
		p.clock = time.Now
	}
	return p, nil
}

// Apply takes changes of the store: first its snapshot, whose end is an empty call, then what
// follows. The Balancer knows of them when it returns; plans are Run's work. One goroutine calls it.
func (p *Planner) Apply(changes []tandem.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	matters, nodes := !p.whole && len(changes) == 0, false
	p.whole = p.whole || len(changes) == 0
	for _, c := range changes {
		p.seen = max(p.seen, c.Revision)
		switch c.Kind {
		case tandem.KindGroup:
			g, _ := c.Object.(*tandem.Group)
			matters = p.applyGroup(c.ID, g) || matters
		case tandem.KindAssignment:
			a, _ := c.Object.(*tandem.Assignment)
			matters = p.applyAssignment(c.ID, a, c.Revision) || matters
		case tandem.KindCluster:
			x, _ := c.Object.(*tandem.Cluster)
			matters = p.applyCluster(c.ID, x) || matters
		case tandem.KindNode:
			n, _ := c.Object.(*tandem.Node)
			p.balancer.setNode(c.ID, n)
			nodes = true
		}
	}
	if nodes {
		p.balancer.Look()
	}
	matters = p.measure() || matters
	p.changed(matters)
}

// Restored says which revision the snapshot is of.
func (p *Planner) Restored(revision tandem.Revision) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = max(p.seen, revision)
	p.changed(false)
}

// changed notes a cause for a plan or, when there is none, that the last plan still holds.
func (p *Planner) changed(matters bool) {
	if matters {
		now := p.clock()
		if p.cause.first.IsZero() {
			p.cause.first = now
		}
		p.cause.last = now
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	if p.whole && !p.planning && p.cause.first.IsZero() {
		p.done.advance(p.seen, 0)
	}
}

func (p *Planner) applyGroup(id string, g *tandem.Group) (matters bool) {
	l := p.line(id)
	old := l.group
	l.group = g
	if old != nil {
		p.minima[minimum(old)]--
	}
	if g == nil {
		p.balancer.DropGroup(id)
		p.forget(id, l)
		return old != nil
	}
	p.minima[minimum(g)]++
	p.tell(l)
	return old == nil || old.Cluster != g.Cluster || expected(old) != expected(g) || old.MinQuality != g.MinQuality
}

// applyAssignment takes what was decided; usually it is what this planner wrote and knows already.
func (p *Planner) applyAssignment(group string, a *tandem.Assignment, at tandem.Revision) (matters bool) {
	l := p.line(group)
	if at <= l.at {
		p.forget(group, l)
		return false
	}
	matters = !sameAssignment(a, l.assigned) && (a == nil || !sameAssignment(a, l.writing))
	l.assigned, l.at = a, at
	p.tell(l)
	p.forget(group, l)
	return matters || l.group == nil && a != nil
}

func sameAssignment(x, y *tandem.Assignment) bool {
	return x == y || x != nil && y != nil && x.Cluster == y.Cluster && x.Refuse == y.Refuse && x.Text == y.Text
}

func (p *Planner) applyCluster(id string, c *tandem.Cluster) (matters bool) {
	old := p.clusters[id]
	if c == nil {
		p.balancer.setCluster(id, nil)
		delete(p.clusters, id)
		return old != nil
	}
	p.balancer.setCluster(id, c.Health)
	if old == nil {
		p.clusters[id] = &supplier{capacity: capacity(c)}
		return true
	}
	matters = old.capacity != capacity(c)
	old.capacity = capacity(c)
	return matters
}

// line returns a group's line, made if need be.
func (p *Planner) line(id string) *line {
	l := p.lines[id]
	if l == nil {
		l = new(line)
		p.lines[id] = l
	}
	return l
}

// forget drops a line that says nothing any more.
func (p *Planner) forget(id string, l *line) {
	if l.group == nil && l.assigned == nil {
		delete(p.lines, id)
	}
}

// tell gives a group to the Balancer as it stands.
func (p *Planner) tell(l *line) {
	g := l.group
	if g == nil {
		return
	}
	told := Group{ID: g.ID, Cluster: g.Cluster, Permitted: Unlimited, MinQuality: Score(g.MinQuality), Affinity: g.Affinity}
	if g.Permitted != nil {
		told.Permitted = *g.Permitted
	}
	if a := l.assigned; a != nil {
		told.Cluster, told.Refuse = a.Cluster, Reason(a.Refuse)
	}
	p.balancer.PutGroup(told)
}

func expected(g *tandem.Group) int {
	if g.Expected == nil {
		return 0
	}
	return *g.Expected
}

// mostMinimum is the highest quality that a group can need.
const mostMinimum = 93

func minimum(g *tandem.Group) int { return min(max(g.MinQuality, 0), mostMinimum) }

// Run looks at the clusters and makes plans until ctx ends.
func (p *Planner) Run(ctx context.Context) error {
	ticker, due := time.NewTicker(tick), time.NewTimer(longest)
	defer ticker.Stop()
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			p.look()
		case <-p.wake:
		case <-due.C:
		}
		switch wait := p.wait(); {
		case wait > 0:
			due.Reset(wait)
		case wait == 0:
			p.plan(ctx)
		}
	}
}

// Look is one turn of Run, for those who run time themselves: it takes over how the clusters are
// measured now, makes the plan if it is due, and reports whether one is waiting.
func (p *Planner) Look(ctx context.Context) (waiting bool) {
	p.look()
	if p.wait() == 0 {
		p.plan(ctx)
	}
	return p.wait() >= 0
}

// look takes over how the clusters are measured now.
func (p *Planner) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.measure() {
		p.changed(true)
	}
}

// wait is how long to wait for the next plan; negative: none is due.
func (p *Planner) wait() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.whole || p.cause.first.IsZero() {
		return -1
	}
	at := p.cause.last.Add(quiet)
	if most := p.cause.first.Add(longest); at.After(most) {
		at = most
	}
	if at.Before(p.notUntil) {
		at = p.notUntil
	}
	return max(at.Sub(p.clock()), 0)
}

// Settled returns once a plan that has seen the revision is stored, with the revision from which on
// everybody who follows the store knows it.
func (p *Planner) Settled(ctx context.Context, revision tandem.Revision) (tandem.Revision, error) {
	for {
		p.mu.Lock()
		done := p.done
		p.mu.Unlock()
		if done.settled >= revision && done.known {
			return max(revision, done.wrote), nil
		}
		select {
		case <-done.grown:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// progress is how far plans have come.
type progress struct {
	known          bool            // some plan is stored
	settled, wrote tandem.Revision // seen by it; last written
	grown          chan struct{}   // closed and replaced when settled grows
}

func (p *progress) advance(settled, wrote tandem.Revision) {
	p.wrote = max(p.wrote, wrote)
	if p.known && settled <= p.settled {
		return
	}
	p.known, p.settled = true, settled
	close(p.grown)
	p.grown = make(chan struct{})
}
