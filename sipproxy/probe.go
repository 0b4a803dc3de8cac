package sipproxy

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// loadHeader is where a node says, in its answer to OPTIONS, how loaded it is: 0 idle, 1 full.
const loadHeader = "Tandem-Load"

// How probes are paced.
const (
	probeTick   = 25 * time.Millisecond  // how often it is looked whose turn it is
	probeBurst  = 3                      // further ones after a first miss, or while there is doubt
	probeGap    = 65 * time.Millisecond  // between those of a burst: three within 200 ms
	probeQuiet  = 30 * time.Second       // at the most, between those to a node that never answers
	probeStarts = 3                      // of a node that is new, in quick succession
	probeLag    = time.Second            // after its time, for the outcome of a probe to be taken
	probeLate   = 250 * time.Millisecond // after its time, for a time-out to say something of the node and not of us
)

// probes asks nodes by OPTIONS how they are (spec L7). A node that is set out is left alone, and one that never
// answers is asked less and less often: it may not know OPTIONS.
type probes struct {
	*Server
	mu     sync.Mutex
	nodes  map[string]*probe
	tokens float64   // probes that may be sent now
	filled time.Time // when tokens were last added
	late   uint64    // turns that waited for a token
	every  time.Duration
}

// probe is one node's turn.
type probe struct {
	next   time.Time
	burst  int       // probes that are due in quick succession
	spoke  bool      // it has answered at some time
	missed int       // in a row
	asking int       // not yet answered
	owed   time.Time // since when none of those has ended
	late   bool      // it waits for a token
}

func newProbes(s *Server) *probes { return &probes{Server: s, nodes: make(map[string]*probe)} }

// apply follows the nodes.
func (p *probes) apply(changes []tandem.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range changes {
		if c.Kind != tandem.KindNode {
			continue
		}
		n, _ := c.Object.(*tandem.Node)
		switch {
		case n == nil, n.State == tandem.NodeOut, n.Ports.UDP == 0 && n.Ports.TCP == 0:
			delete(p.nodes, c.ID)
		case p.nodes[c.ID] == nil:
			p.nodes[c.ID] = &probe{burst: probeStarts}
		}
	}
}

// all returns the nodes that are not set out, in no order.
func (p *probes) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.nodes))
}

// run asks until ctx ends.
func (p *probes) run(ctx context.Context) {
	if p.cfg.Probes.Off || p.deps.Observer == nil {
		return
	}
	ticker := time.NewTicker(probeTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			due, every := p.due(now), p.interval()
			for _, node := range due {
				callID := strconv.FormatUint(rand.Uint64(), 36) + "@" + p.locals[0].host
				w := p.workerOf(callID) // to whom the answer comes
				select {
				case w.inbox <- event{kind: workDone, then: func() { w.probe(node, callID) }}:
				case <-ctx.Done():
					return
				}
			}
			if p.alive(now) {
				p.deps.Observer.Checking(every)
			}
		}
	}
}

// due returns the nodes whose turn it is, those that have waited longest first, and sets their next
// one. When there are more than the bound allows the rest waits.
func (p *probes) due(now time.Time) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	due := p.waiting(now)
	for i, node := range due {
		x := p.nodes[node]
		if p.tokens < 1 {
			p.postpone(due[i:])
			return due[:i]
		}
		p.tokens--
		if x.asking == 0 {
			x.owed = now
		}
		x.asking++
		x.late = false
		pause := p.every
		if !x.spoke {
			pause = min(pause<<max(min(x.missed, 10), 0), max(pause, probeQuiet))
		}
		// Not all at once, when many became known at once.
		pause += time.Duration(rand.Int64N(int64(pause)/10 + 1))
		if x.burst > 0 {
			x.burst--
			pause = probeGap
		}
		x.next = now.Add(pause)
	}
	return due
}

// waiting returns the nodes whose turn it is, those that have waited longest first, and brings the
// interval and what may be sent up to now. Called under mu.
func (p *probes) waiting(now time.Time) []string {
	var due []string
	regular := 0
	for node, x := range p.nodes {
		if x.spoke {
			regular++
		}
		if !now.Before(x.next) && x.asking <= probeBurst {
			due = append(due, node)
		}
	}
	perSecond := float64(p.cfg.Probes.PerSecond)
	// A tenth is left for those in doubt and those that never answer.
	p.every = max(p.cfg.Probes.Interval, time.Duration(float64(regular)/(0.9*perSecond)*float64(time.Second)))
	p.tokens = min(p.tokens+now.Sub(p.filled).Seconds()*perSecond, max(perSecond/10, 1))
	p.filled = now
	if float64(len(due)) > p.tokens {
		slices.SortFunc(due, func(a, b string) int { return p.nodes[a].next.Compare(p.nodes[b].next) })
	}
	return due
}

// postpone counts turns that wait for a token, each once. Called under mu.
func (p *probes) postpone(nodes []string) {
	for _, node := range nodes {
		if x := p.nodes[node]; !x.late {
			x.late = true
			p.late++
		}
	}
}

// interval is how long it is now between two probes of one node.
func (p *probes) interval() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.every
}

// postponed is how many turns waited because of the bound.
func (p *probes) postponed() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.late
}

// alive reports whether outcomes come in: no node has probes on their way of which none has ended for
// longer than any of them may take.
func (p *probes) alive(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.nodes {
		if x.asking > 0 && now.Sub(x.owed) > p.cfg.Probes.Timeout+probeLag {
			return false
		}
	}
	return true
}

// asked takes the outcome of one probe.
func (p *probes) asked(node string, trip time.Duration, answered bool) {
	again := p.deps.Observer.Probed(node, trip, answered)
	if p.noted(node, answered, again) {
		for _, w := range p.workers {
			select {
			case w.inbox <- event{kind: workDone, then: func() { w.doubt(node) }}:
			default: // too busy; the calls' own silence will tell
			}
		}
	}
}

// refused notes that a node's transport says no, which costs nobody anything: it is asked as often as
// one that answers, and soon. Probes that are on their way went to it before, and do not speak against that.
func (p *probes) refused(node string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x := p.nodes[node]; x != nil && !x.spoke {
		x.missed = -x.asking
		if soon := now.Add(p.cfg.Probes.Interval); soon.Before(x.next) {
			x.next = soon
		}
	}
}

// lost takes a probe whose answer may have been lost here: a flood of messages would close every node otherwise.
func (p *probes) lost(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x := p.nodes[node]; x != nil {
		x.ended()
	}
}

// ended notes that one of the probes that are on their way has ended.
func (x *probe) ended() { x.asking, x.owed = max(x.asking-1, 0), time.Now() }

// noted keeps what a probe told about the node's next turn; it reports whether the node has just
// fallen silent.
func (p *probes) noted(node string, answered, again bool) (silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.nodes[node]
	if x == nil {
		return false
	}
	x.ended()
	if answered {
		x.spoke, x.missed = true, 0
	} else if x.missed++; x.spoke && x.missed == probeBurst+1 {
		silent = true
	}
	if again {
		x.burst = probeBurst
		if soon := time.Now().Add(probeGap); !answered {
			x.next = time.Now() // behind those that have waited longer
		} else if soon.Before(x.next) {
			x.next = soon
		}
	}
	return silent
}

// probe sends one OPTIONS to a node.
func (w *worker) probe(node, callID string) {
	m, to, ok := w.question(node, callID)
	if !ok {
		w.probes.asked(node, 0, false)
		return
	}
	id, sent := w.rand.Uint64(), time.Now()
	m.Prepend(wire.Field(wire.NameVia, w.viaValue(to, w.branches.text(w.now, branch{id: id, back: to}, m.CallID, m.CSeq))))
	tx, err := w.start(id, m, to, w.cfg.Probes.Timeout, nil)
	if err != nil {
		if isRefused(err) {
			w.broken(node, to)
		}
		w.probes.asked(node, 0, false)
		return
	}
	w.count.probes.Add(1)
	w.alarms.stop(&tx.retry) // a lost one shall count as lost
	tx.node = node
	dropped := w.count.queueFull.Load()
	tx.done = func(m *wire.Message) {
		late := time.Since(sent) > w.cfg.Probes.Timeout+probeLate
		if m == nil && (late || w.count.queueFull.Load() != dropped || len(w.inbox) > cap(w.inbox)/4) {
			w.probes.lost(node)
			return
		}
		// 503 says that it serves nobody now (RFC 3261 section 21.5.4): as good as no answer.
		if m == nil || m.Status == 503 {
			w.probes.asked(node, 0, false)
			return
		}
		w.probes.asked(node, max(w.now.Sub(sent), time.Microsecond), true)
		if load, ok := loadOf(m); ok {
			w.deps.Observer.Reported(node, load)
		}
	}
}

// question makes the OPTIONS for a node, and says where it goes; false when it cannot be reached from here.
func (w *worker) question(node, callID string) (*wire.Message, hop, bool) {
	to, ok := w.doorOf(w.dir.Node(node))
	if !ok {
		return nil, hop{}, false
	}
	own := w.locals[to.listener].host
	uri := "sip:" + to.remote.String()
	if to.transport == tandem.TCP {
		uri += ";transport=tcp"
	}
	tag := strconv.FormatUint(w.rand.Uint64(), 36)
	m := &wire.Message{Method: "OPTIONS", URI: uri, CallID: callID, CSeq: 1, CSeqMethod: "OPTIONS"}
	m.Headers = []wire.Header{
		wire.Field(wire.NameMaxForwards, "70"), wire.Field(wire.NameFrom, "<sip:probe@"+own+">;tag="+tag), wire.Field(wire.NameTo, "<"+uri+">"),
		wire.Field(wire.NameCallID, m.CallID), wire.Field(wire.NameCSeq, cseqValue(1, "OPTIONS")),
	}
	return m, to, true
}

// doorOf finds the first of a node's addresses that can be reached from here, over UDP if it takes that.
func (w *worker) doorOf(n *tandem.Node) (hop, bool) {
	if n == nil {
		return hop{}, false
	}
	for _, t := range [...]tandem.Transport{tandem.UDP, tandem.TCP} {
		for _, addr := range n.Addresses {
			if port := n.Ports.Of(t); port != 0 {
				if to, ok := w.hopTo(t, netipAddrPort(addr, port)); ok {
					return to, true
				}
			}
		}
	}
	return hop{}, false
}

// loadOf reads what a node says about its load.
func loadOf(m *wire.Message) (float64, bool) {
	for _, h := range m.Headers {
		if h.Name == wire.NameOther && strings.EqualFold(h.Raw, loadHeader) {
			load, err := strconv.ParseFloat(strings.TrimSpace(h.Value), 64)
			return load, err == nil && load >= 0
		}
	}
	return 0, false
}
