package lb

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/tandem"
)

// Times of a borrower.
const (
	beat         = time.Second            // it is heard of that often, five times within the term
	fetchTime    = 250 * time.Millisecond // a call waits no longer for an answer
	meetTime     = 2 * time.Second        // for finding a grantor that was lost, which no call waits for
	mostAsks     = 4096                   // in one Batch
	mostMeets    = 3                      // grantors that change their epoch within one round
	lastFarewell = 500 * time.Millisecond
)

// Batch is what an instance says to the grantor at once.
type Batch struct {
	// Epoch is the grantor's, as its last Reply named it: what was meant for the grantor before its
	// restart is not heard by the one after.
	Epoch uint64 `json:"epoch"`
	Asks  []Ask  `json:"asks,omitempty"`
	// Forget says that the instance has asked about all that it holds since this Seq; zero: it does
	// not say so.
	Forget uint64 `json:"forget,omitempty"`
}

// Reply answers a Batch. When its Epoch is another than the Batch's, nothing was done, and Seq is the
// highest that the grantor has heard from this instance.
type Reply struct {
	Epoch  uint64  `json:"epoch"`
	Seq    uint64  `json:"seq,omitempty"`
	Grants []Grant `json:"grants,omitempty"`
}

// borrower is an instance's side of all its leases: it keeps a Holder for each group that it uses,
// says once a beat what has changed, and asks when a call needs a slot.
//
// One thing is said at a time. What is not answered is said again, word for word, before anything
// else: so the share that it left the instance stays usable through a cut, however often its calls
// end and others start. After a failure nothing is asked for calls, until a beat got through.
type borrower struct {
	say      func(context.Context, Batch) (Reply, error)
	balancer *Balancer // set before it runs
	log      *slog.Logger
	begun    chan struct{} // closed once it has spoken, with or without an answer
	linked   atomic.Bool   // the last that was said was answered
	asked    atomic.Uint64
	failed   atomic.Uint64

	turn    chan struct{} // filled by whoever speaks; what follows is theirs
	seq     uint64
	epoch   uint64
	met     bool // a grantor has answered in this process's life
	lost    bool // the operator was told that it does not answer
	leaving bool
	loans   map[string]*loan
	unsaid  []Batch // not answered yet

	mu      sync.Mutex // guards waiting
	waiting []*question
}

// loan is one group's share.
type loan struct {
	holder  *Holder
	pending bool // asked, not answered
	stirred bool // calls had to ask since the last beat
	slack   int  // of the last ask
	used    int  // in the last ask, those that were starting among them
	grant   Grant
}

// question is a call's, or several calls', that wait for slots.
type question struct {
	group    string
	starting int
	answered bool
	why      Reason
}

func newBorrower(say func(context.Context, Batch) (Reply, error), log *slog.Logger) *borrower {
	return &borrower{
		say: say, log: log, turn: make(chan struct{}, 1), begun: make(chan struct{}),
		seq: uint64(time.Now().UnixNano()), loans: make(map[string]*loan),
	}
}

// acquire is Leases.Acquire.
func (b *borrower) acquire(group string, starting, permitted int) Reason {
	if permitted == Unlimited {
		b.balancer.Hold(group, Unlimited)
		return ""
	}
	if !b.ready() {
		return ReasonLease
	}
	q := &question{group: group, starting: starting, why: ReasonLease}
	b.mu.Lock()
	b.waiting = append(b.waiting, q)
	b.mu.Unlock()
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	if q.answered { // whoever spoke before has asked this too
		return q.why
	}
	if !b.linked.Load() {
		b.drain()
		return ReasonLease
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	b.round(ctx, false)
	return q.why
}

// ready reports whether questions are answered; a call that comes before anything was said waits a
// little.
func (b *borrower) ready() bool {
	if b.linked.Load() {
		return true
	}
	select {
	case <-b.begun:
	case <-time.After(fetchTime):
	}
	return b.linked.Load()
}

// run says at each beat what there is to say, until ctx ends; then it gives back what no call uses.
func (b *borrower) run(ctx context.Context) {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		b.beat(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			b.leave()
			return
		}
	}
}

// leave gives back what no call uses.
func (b *borrower) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), lastFarewell)
	defer cancel()
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	b.leaving = true
	if b.linked.Load() {
		b.round(ctx, true)
	}
	b.linked.Store(false) // nothing is asked any more
}

func (b *borrower) beat(ctx context.Context) {
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	patience := meetTime
	if b.linked.Load() {
		patience = fetchTime
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b.round(ctx, true)
	select {
	case <-b.begun:
	default:
		close(b.begun)
	}
}

// round says what is unsaid, then the questions that wait and, at a beat, all that has changed.
func (b *borrower) round(ctx context.Context, all bool) {
	questions := b.drain()
	err := b.tell(ctx, questions)
	if err == nil {
		b.unsaid = b.compose(questions, all)
		err = b.tell(ctx, questions)
	}
	b.linked.Store(err == nil)
	if err != nil {
		b.failed.Add(1)
		if !b.lost {
			b.lost = true
			b.log.Warn("lease grantor does not answer: calls are admitted only from the share that is held", "err", err)
		}
		return
	}
	if b.lost || !b.met {
		b.lost, b.met = false, true
		b.log.Info("lease grantor answers")
	}
	for _, q := range questions {
		b.balancer.keep(q.group, q.starting)
		if l := b.loans[q.group]; l != nil && l.grant.All {
			q.why = ReasonPermitted
		}
	}
}

// drain takes the questions that wait; they are answered in this turn or not at all.
func (b *borrower) drain() []*question {
	b.mu.Lock()
	defer b.mu.Unlock()
	questions := b.waiting
	b.waiting = nil
	for _, q := range questions {
		q.answered = true
	}
	return questions
}

var errRestless = errors.New("the grantor is another one with each answer")

// tell says all that is unsaid. A grantor that was not met yet, or has started again, is told
// everything.
func (b *borrower) tell(ctx context.Context, questions []*question) error {
	for met := 0; len(b.unsaid) > 0; {
		said := b.unsaid[0]
		b.asked.Add(1)
		reply, err := b.say(ctx, said)
		if err != nil {
			return err
		}
		if reply.Epoch != said.Epoch {
			if met++; met > mostMeets {
				return errRestless
			}
			if !b.met { // a clock that went back must not make this process speak from the past
				b.seq = max(b.seq, reply.Seq)
			}
			b.epoch = reply.Epoch
			b.unsaid = b.whole(questions)
			continue
		}
		b.unsaid = b.unsaid[1:]
		b.settle(reply.Grants)
	}
	return nil
}

// settle takes what was granted.
func (b *borrower) settle(grants []Grant) {
	for _, g := range grants {
		l := b.loans[g.Group]
		if l == nil || !l.holder.Take(g) {
			continue
		}
		l.pending, l.grant = false, g
		if b.balancer.permitted(g.Group) != Unlimited {
			b.balancer.Hold(g.Group, l.holder.Limit())
		}
		if g.Held == 0 && l.used == 0 {
			delete(b.loans, g.Group)
		}
	}
}

// compose returns what is to be said: the questions and, of everything, what has changed.
func (b *borrower) compose(questions []*question, all bool) []Batch {
	if b.epoch == 0 {
		return []Batch{{}} // to learn whom it speaks to
	}
	starting := b.starting(questions)
	if all {
		for group, l := range b.loans {
			if _, asked := starting[group]; !asked && (l.pending || b.changed(group, l)) {
				starting[group] = 0
			}
			l.stirred = false
		}
		for _, group := range b.balancer.ledger.busy() {
			if _, asked := starting[group]; !asked && b.loans[group] == nil {
				starting[group] = 0
			}
		}
	}
	return b.batches(starting)
}

// whole returns all that this instance holds, and says that this is all.
func (b *borrower) whole(questions []*question) []Batch {
	b.seq++
	since, starting := b.seq, b.starting(questions)
	for _, groups := range [][]string{slices.Collect(maps.Keys(b.loans)), b.balancer.ledger.busy()} {
		for _, group := range groups {
			starting[group] += 0
		}
	}
	batches := b.batches(starting)
	batches[len(batches)-1].Forget = since
	return batches
}

func (b *borrower) starting(questions []*question) map[string]int {
	starting := make(map[string]int)
	for _, q := range questions {
		starting[q.group] += q.starting
	}
	return starting
}

// batches asks about groups for which so many calls wait; there is always one batch.
func (b *borrower) batches(starting map[string]int) []Batch {
	batches := []Batch{{Epoch: b.epoch}}
	for _, group := range slices.Sorted(maps.Keys(starting)) {
		last := &batches[len(batches)-1]
		if len(last.Asks) == mostAsks {
			batches = append(batches, Batch{Epoch: b.epoch})
			last = &batches[len(batches)-1]
		}
		last.Asks = append(last.Asks, b.ask(group, starting[group]))
	}
	return batches
}

// ask puts the question about one group, and lowers what this instance may use until it is answered.
func (b *borrower) ask(group string, starting int) Ask {
	l := b.loans[group]
	if l == nil {
		l = &loan{holder: NewHolder(group)}
		b.loans[group] = l
	}
	l.stirred = l.stirred || starting > 0
	used, limit := func() int { return b.balancer.Used(group) }, func(n int) { b.balancer.Hold(group, n) }
	if b.balancer.permitted(group) == Unlimited { // its calls need no lease any more
		used, limit = func() int { return 0 }, func(int) {}
	}
	b.seq++
	l.slack, l.pending = b.slack(group, l), true
	a := l.holder.Ask(Question{Seq: b.seq, Starting: starting, Slack: l.slack}, used, limit)
	l.used = a.Used + a.Starting
	return a
}

// slack is what a group's calls may use without asking: nothing when slots are short, and once the
// group is quiet, so that others may have it.
func (b *borrower) slack(group string, l *loan) int {
	permitted := b.balancer.permitted(group)
	if b.leaving || l.grant.Short || permitted == Unlimited || b.balancer.Used(group) == 0 && !l.stirred {
		return 0
	}
	return DefaultSlack(permitted)
}

// changed reports whether the grantor believes what is not so any more.
func (b *borrower) changed(group string, l *loan) bool {
	used := b.balancer.Used(group)
	if b.balancer.permitted(group) == Unlimited {
		used = 0
	}
	return used != l.used || b.slack(group, l) != l.slack
}

// metrics emits the borrower's readings.
func (b *borrower) metrics(emit func(tandem.Sample)) {
	linked := 0.0
	if b.linked.Load() {
		linked = 1
	}
	emit(tandem.Sample{Name: "tandem_lease_linked", Help: "Whether the grantor of leases answers.", Gauge: true, Value: linked})
	emit(tandem.Sample{Name: "tandem_lease_asked_total", Help: "What was said to the grantor of leases.", Value: float64(b.asked.Load())})
	emit(tandem.Sample{Name: "tandem_lease_failed_total", Help: "What the grantor did not answer.", Value: float64(b.failed.Load())})
}
