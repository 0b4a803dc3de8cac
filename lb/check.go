package lb

import (
	"time"

	"tandem/internal/tandem"
)

// checker is the watchdog on who sends the probes. Silence of the checker says nothing about nodes:
// while it stands still every state stays as it is.
type checker struct {
	beat    time.Time     // its last sign of life; zero: nobody probes
	every   time.Duration // between probes of one node, as it is now
	stalled bool
}

// A checker that gave no sign of life for this many intervals, and at least so long, stands still.
const (
	beatsMissed = 4
	leastStall  = 2 * time.Second
)

// Checking says that the probes are on their way and their outcomes come in, and how long it is now
// between two of one node. Who probes calls it at every round; when the calls stop, states stay as
// they are until they come again.
func (b *Balancer) Checking(every time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	b.guard(now) // it may have stood still unseen, when everything did
	c := &b.checker
	c.beat = now
	if c.every != every {
		c.every = every
		for _, m := range b.nodes {
			m.watch.every = every
		}
	}
	if c.stalled {
		c.stalled = false
		b.hold(now, true)
		b.log.Info("checker runs again")
	}
}

// guard looks whether the checker stands still. Called under mu.
func (b *Balancer) guard(now time.Time) {
	c := &b.checker
	if c.stalled || c.beat.IsZero() || now.Sub(c.beat) <= max(beatsMissed*c.every, leastStall) {
		return
	}
	c.stalled = true
	b.count.stalls.Add(1)
	b.log.Error("checker stands still: nodes keep the states that they have", "silent", now.Sub(c.beat).Round(time.Millisecond))
}

// Checks is how the checks of nodes go.
type Checks struct {
	Every   time.Duration // between two of one node, as it is now; zero: nobody checks
	Stalled bool          // the checker stands still
}

// Checks tells how the checks of nodes go.
func (b *Balancer) Checks() Checks {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Checks{Every: b.checker.every, Stalled: b.checker.stalled}
}

// checkMetrics emits the readings of the watchdog.
func (b *Balancer) checkMetrics(emit func(tandem.Sample)) {
	is, stalled := b.Checks(), 0.0
	if is.Stalled {
		stalled = 1
	}
	emit(tandem.Sample{Name: "tandem_lb_checker_stalled", Help: "1 while the checker of nodes stands still; their states stay as they were.", Gauge: true, Value: stalled})
	emit(tandem.Sample{Name: "tandem_lb_checker_stalls_total", Help: "Times that the checker of nodes stood still.", Value: float64(b.count.stalls.Load())})
	emit(tandem.Sample{Name: "tandem_lb_check_interval_seconds", Help: "Between two checks of one node, as it is now: longer than configured when there are too many nodes.", Gauge: true, Value: is.Every.Seconds()})
}
