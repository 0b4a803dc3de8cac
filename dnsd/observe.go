package dnsd

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/tandem"
)

// How some queries come to be seen: whoever answers one looks at one pointer. While nobody watches it
// is nil. Else each worker counts to the next that an observer wants, and copies it into a glimpse; one
// goroutine shows these to the observers. There are so many glimpses and no more: when all wait to be shown,
// what comes is missed, and counted. What XDP answers is never seen.

// Observers, by number.
const (
	byTap = iota
	byLog
	byTop
	observerKinds
)

// observerNames are their names in the metrics, by number.
func observerNames() [observerKinds]string { return [...]string{"dnstap", "query-log", "top"} }

// observers says who looks at what share. It is replaced, not changed.
type observers struct {
	every [observerKinds]uint32 // one in so many; 0: nobody
}

// turns counts to the next dialogue that each observer wants. One goroutine uses it.
type turns [observerKinds]uint32

// pick returns a bit for each observer who wants this dialogue.
func (t *turns) pick(o *observers) (who uint8) {
	for i, every := range o.every {
		if every == 0 {
			continue
		}
		if t[i]++; t[i] >= every {
			t[i] = 0
			who |= 1 << i
		}
	}
	return who
}

// path is who answered.
type path uint8

const (
	byNobody path = iota // or by the guard, before anybody looked the name up
	byFast
	byFull
)

// String returns the path as the query log names it.
func (p path) String() string { return [...]string{"limited", "fast", "full"}[p] }

// dialogue is a query and what came of it. Its octets are the answerer's.
type dialogue struct {
	in, out []byte // out is empty when there is no answer
	client  netip.AddrPort
	local   netip.AddrPort
	over    transport
	by      path
	asked   time.Time
}

const (
	mostGlimpses  = 1024
	glimpseOctets = 4096 // of query and answer together; longer ones are seen without their octets
)

// glimpse is a dialogue as observers see it.
type glimpse struct {
	dialogue          // without its octets
	who         uint8 // bits of observers
	answered    time.Time
	topEvery    uint32 // stands for so many, to top
	size        int    // of the answer; 0: none
	inEnd, kept int    // of octets
	octets      [glimpseOctets]byte
}

// query returns the query's octets, nil when they were too many.
func (g *glimpse) query() []byte {
	if g.inEnd == 0 {
		return nil
	}
	return g.octets[:g.inEnd]
}

// answer returns the answer's octets, nil when there was none or they were too many.
func (g *glimpse) answer() []byte {
	if g.kept == g.inEnd {
		return nil
	}
	return g.octets[g.inEnd:g.kept]
}

// observation is the whole of it.
type observation struct {
	on          atomic.Pointer[observers] // nil: nobody
	free, ready chan *glimpse             // each holds all there are
	stream      struct {
		sync.Mutex
		turns
	}
	missed, cut atomic.Uint64
	seen        [observerKinds]atomic.Uint64

	tap  *tap      // nil: none
	log  *queryLog // nil: none
	tops tops

	mu     sync.Mutex // of those who come and go
	filled bool       // free has been given its glimpses, which it keeps for good
}

// newObservation opens nothing yet.
func newObservation(cfg Config, m *model, log *slog.Logger) *observation {
	o := &observation{free: make(chan *glimpse, mostGlimpses), ready: make(chan *glimpse, mostGlimpses)}
	o.tops.model = m
	if cfg.Dnstap.wanted() {
		o.tap = newTap(cfg.Dnstap, log)
		o.watch(byTap, orDefault(cfg.Dnstap.Sample, 1))
	}
	if cfg.QueryLog.wanted() {
		o.log = newQueryLog(cfg.QueryLog, log)
		o.watch(byLog, orDefault(cfg.QueryLog.Sample, 100))
	}
	return o
}

// open opens the files there are.
func (o *observation) open() error {
	if o.tap != nil {
		if err := o.tap.sink.Open(); err != nil {
			return err
		}
	}
	if o.log != nil {
		return o.log.open()
	}
	return nil
}

// watch has an observer see one in so many from now on; zero: none.
func (o *observation) watch(who, every int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var next observers
	if now := o.on.Load(); now != nil {
		next = *now
	}
	next.every[who] = uint32(every)
	if next == (observers{}) {
		o.on.Store(nil)
		return
	}
	if !o.filled {
		for range mostGlimpses {
			o.free <- new(glimpse)
		}
		o.filled = true
	}
	o.on.Store(&next)
}

// take keeps a dialogue for those who want it, if there is room.
func (o *observation) take(now *observers, who uint8, e *dialogue) {
	var g *glimpse
	select {
	case g = <-o.free:
	default:
		o.missed.Add(1)
		return
	}
	g.dialogue, g.who, g.topEvery, g.answered = *e, who, now.every[byTop], time.Now()
	g.in, g.out, g.size = nil, nil, len(e.out)
	g.inEnd, g.kept = 0, 0
	if len(e.in) <= glimpseOctets {
		g.inEnd = copy(g.octets[:], e.in)
		g.kept = g.inEnd
	}
	if g.inEnd > 0 && len(e.out) <= glimpseOctets-g.inEnd {
		g.kept += copy(g.octets[g.inEnd:], e.out)
	} else if len(e.out) > 0 {
		o.cut.Add(1)
	}
	o.ready <- g // there is room for all
}

// takeStream is take for whoever is not a worker, when it is its turn.
func (o *observation) takeStream(now *observers, in, out []byte, c client, by path, asked time.Time) {
	o.stream.Lock()
	who := o.stream.pick(now)
	o.stream.Unlock()
	if who == 0 {
		return
	}
	o.take(now, who, &dialogue{in: in, out: out, client: netip.AddrPortFrom(c.addr, c.port), local: c.local, over: c.transport, by: by, asked: asked})
}

// run shows what is seen to the observers until ctx ends, and writes what they then have in hand.
func (o *observation) run(ctx context.Context) {
	var outlets sync.WaitGroup
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	if o.tap != nil {
		outlets.Go(func() { o.tap.sink.Run(writing) })
	}
	if o.log != nil {
		outlets.Go(func() { o.log.run(writing) })
	}
	defer outlets.Wait()
	defer stop()
	for {
		select {
		case g := <-o.ready:
			o.show(g)
		case <-ctx.Done():
			for len(o.ready) > 0 {
				o.show(<-o.ready)
			}
			return
		}
	}
}

// show shows g to those who want it, and frees it.
func (o *observation) show(g *glimpse) {
	for who, see := range [observerKinds]func(*glimpse){o.tap.see, o.log.see, o.tops.see} {
		if g.who&(1<<who) != 0 {
			o.seen[who].Add(1)
			see(g)
		}
	}
	o.free <- g
}

// metrics hands the readings of observers to emit. Their number does not depend on who watches.
func (o *observation) metrics(emit func(tandem.Sample)) {
	total := func(name, help, label, value string, n uint64) {
		s := tandem.Sample{Name: name, Help: help, Value: float64(n)}
		if label != "" {
			s.Labels = map[string]string{label: value}
		}
		emit(s)
	}
	for who, name := range observerNames() {
		total("tandem_dnsd_observed_total", "Queries shown to who watches, by observer.", "by", name, o.seen[who].Load())
	}
	total("tandem_dnsd_observe_missed_total", "Queries that observers wanted and missed, for too many waited.", "", "", o.missed.Load())
	total("tandem_dnsd_observe_cut_total", "Answers too long for observers, who saw only their length.", "", "", o.cut.Load())
	var sent, lost, connected, lines, over uint64
	if o.tap != nil {
		sent, lost, connected = o.tap.sink.Counts()
	}
	const tapped, tappedHelp = "tandem_dnsd_dnstap_messages_total", "Messages for dnstap, by what became of them."
	total(tapped, tappedHelp, "result", "sent", sent)
	total(tapped, tappedHelp, "result", "lost", lost)
	total("tandem_dnsd_dnstap_connects_total", "Times that dnstap's collector was connected to.", "", "", connected)
	lost = 0
	if o.log != nil {
		lines, lost, over = o.log.lines.Load(), o.log.lost.Load(), o.log.over.Load()
	}
	const logged, loggedHelp = "tandem_dnsd_query_log_total", "Lines for the query log, by what became of them."
	total(logged, loggedHelp, "result", "written", lines)
	total(logged, loggedHelp, "result", "lost", lost)
	total(logged, loggedHelp, "result", "over-rate", over)
}
