package sipproxy

import (
	"errors"
	"strings"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/location"
	"tandem/sipproxy/token"
	"tandem/sipproxy/wire"
)

// plan is what was decided about a request: where it goes and what happens on the way.
type plan struct {
	legs    []legPlan // parallel branches
	account string    // id of the account that the call belongs to
	typ     string    // request type, or core
	// groups are those that a call touches: the called account's, or the caller's; and the other
	// side's when that is ours too. counted: it needs no node, only slots.
	groups  [2]string
	counted bool
	route   string // forwarding name of the first target, "" for bindings
	// record: the request may begin a dialog, so that its way is recorded. caller is how the
	// callee's requests reach the side that it came from.
	record bool
	caller side
	// strip are header fields that end here (credentials for us, identities not to be believed).
	strip func(wire.Header) bool
	// path is put into Path, so that requests to the contact come back through us (RFC 3327).
	path string
	// finish may replace the final response before it goes upstream by reply, now or later; nil
	// passes it on.
	finish func(m *wire.Message, reply func(*wire.Message))
	// bind: the request ends here, as a registration.
	bind *location.Request
}

// legPlan is one branch: a Request-URI, and targets of which the next is tried when one fails.
type legPlan struct {
	uri     string
	routes  []string // Route values to put in front (Path of a binding)
	name    string   // whose binding it is, "" when it is none
	targets []target
	failure int // status when no target can be reached, 0: 503
}

// target is one place to send a request to.
type target struct {
	hop  hop
	node string // id, "" when it is no node of ours
	tier int    // lower ones are tried first
}

// side is how one end of a dialog is reached by the other end's requests.
type side struct {
	hop  hop
	node string // pinned node; then hop's address counts only until the token is made
}

// forwarding is a request on its way through us: the response context of RFC 3261 section 16.
type forwarding struct {
	w    *worker
	tx   *serverTx
	req  *wire.Message // what all branches begin from
	plan *plan
	loop uint64
	back hop // where responses go
	legs []*leg
	call *call
	done bool // a final response went upstream
	// waiting: tier 2 has not answered yet.
	waiting bool
	// cancelled: the caller gave up.
	cancelled bool
	// hung: the call was hung up before it was answered.
	hung *hungUp
}

// leg is one branch.
type leg struct {
	f       *forwarding
	plan    legPlan
	next    int // index of the next target
	tx      *clientTx
	final   *wire.Message // nil while pending
	ringing alarm         // Timer C
}

// forward sends a's request where p says. From here on the outcome comes as events.
func (w *worker) forward(a *ask, p *plan) {
	tx := w.newServerTx(a)
	if tx == nil {
		w.answer(a.m, a.back, &refusal{status: 503, reason: "Service Unavailable: too many transactions",
			fields: []wire.Header{wire.Field(wire.NameRetryAfter, "5")}})
		return
	}
	if p.bind != nil {
		w.bind(p.bind, func(r *refusal) {
			w.count.answered.Add(1)
			tx.respond(w.refusalMessage(a.m, r))
		})
		return
	}
	f := &forwarding{w: w, tx: tx, req: w.base(a.m, p), plan: p, loop: a.loop, back: a.back}
	tx.forward = f
	if a.m.Method != "INVITE" {
		f.launch()
		return
	}
	q, r := w.petition(a, p)
	switch {
	case r != nil:
		f.refuse(a, r)
	case q == nil:
		f.begin(a, nil)
	case w.deps.Waits && !q.Emergency: // which asks nobody
		f.wait(a, q)
	default:
		got, refused := w.deps.Balancer.Admit(q.Admission)
		f.judged(a, q, got, refused)
	}
}

// base makes what all branches have in common (RFC 3261 section 16.6 steps 1 to 3).
func (w *worker) base(m *wire.Message, p *plan) *wire.Message {
	c := m.Clone(8)
	c.Remove(func(h wire.Header) bool { return isCallHeader(h) || p.strip != nil && p.strip(h) })
	if m.MaxForwards < 0 {
		c.Set(wire.NameMaxForwards, "70")
	} else {
		c.Set(wire.NameMaxForwards, itoa(m.MaxForwards-1))
	}
	if p.path != "" {
		c.Prepend(wire.Field(wire.NamePath, p.path))
	}
	return c
}

// try sends the request to the next target that takes it; when there is none left, the branch has
// failed.
func (l *leg) try() {
	f := l.f
	w := f.w
	for l.next < len(l.plan.targets) {
		t := l.plan.targets[l.next]
		l.next++
		if l.next > 1 && !f.call.moves(w, t.node) {
			continue // it has failed meanwhile
		}
		id := w.rand.Uint64()
		m, err := f.copyFor(l, t, id)
		switch {
		case errors.Is(err, token.ErrNoDialog):
			l.fail(400, "Bad Request: no From tag, or Call-ID or tag too long")
			return
		case err != nil:
			w.log.Warn("no Record-Route token", "err", err)
			l.fail(503, "Service Unavailable")
			return
		}
		patience := time.Duration(giveUp)
		if len(l.plan.targets) > 1 {
			patience = w.cfg.FailoverAfter
		}
		f.call.met(t.hop, l.plan.name)
		tx, err := w.start(id, m, t.hop, patience, l)
		if err != nil {
			if isRefused(err) { // and not too long, or too much for us
				w.broken(t.node, t.hop)
			}
			w.count.failovers.Add(1)
			continue
		}
		l.tx, tx.node = tx, t.node
		f.call.attempt()
		if tx.invite() {
			w.alarms.set(&l.ringing, l, ringAlarm, w.now.Add(w.cfg.RingTime))
		}
		return
	}
	if l.plan.failure != 0 {
		l.fail(l.plan.failure, statusText(l.plan.failure))
		return
	}
	l.fail(503, unreached)
}

// unreached says that nobody answered: the next request will fare no better for a while.
const unreached = "Service Unavailable: no target reached"

// copyFor makes the request as it goes to one target (RFC 3261 section 16.6 steps 4 to 8).
func (f *forwarding) copyFor(l *leg, t target, id uint64) (*wire.Message, error) {
	m := f.req.Clone(6)
	m.URI = l.plan.uri
	for i := len(l.plan.routes) - 1; i >= 0; i-- {
		m.Prepend(wire.Field(wire.NameRoute, l.plan.routes[i]))
	}
	strictNext(m)
	if f.plan.record {
		if err := f.w.recordRoute(m, f.plan.account, f.plan.caller, side{t.hop, t.node}); err != nil {
			return nil, err
		}
	}
	if t.node != "" {
		if value := f.call.token(f.w); value != "" {
			m.Headers = append(m.Headers, wire.Header{Raw: callHeader, Value: value})
		}
	}
	m.Prepend(wire.Field(wire.NameVia, f.w.viaValue(t.hop, f.w.branches.text(f.w.now, branch{id, f.loop, f.back}, m.CallID, m.CSeq))))
	return m, nil
}

// strictNext rewrites for a next hop that is a strict router (RFC 3261 section 16.6 step 6): it expects
// itself in the Request-URI, and the target at the end of Route.
func strictNext(m *wire.Message) {
	first := m.Get(wire.NameRoute)
	if first == "" {
		return
	}
	a, err := wire.ParseAddress(first)
	if err != nil {
		return
	}
	u, err := wire.ParseURI(a.URI)
	if err != nil {
		return
	}
	if _, loose := u.Param("lr"); loose {
		return
	}
	m.RemoveFirst(wire.NameRoute)
	last := -1
	for i, h := range m.Headers {
		if h.Name == wire.NameRoute {
			last = i
		}
	}
	own := wire.Field(wire.NameRoute, "<"+m.URI+">")
	if last < 0 {
		m.Prepend(own)
	} else {
		m.Headers = append(m.Headers, wire.Header{})
		copy(m.Headers[last+2:], m.Headers[last+1:])
		m.Headers[last+1] = own
	}
	m.URI = a.URI
}

// response takes a response to the branch's request (RFC 3261 section 16.7).
func (l *leg) response(tx *clientTx, m *wire.Message) {
	m.RemoveFirst(wire.NameVia)
	f := l.f
	if tx != l.tx {
		l.late(tx, m)
		return
	}
	switch {
	case m.Status == 100:
	case m.Status < 200:
		if tx.invite() {
			f.w.alarms.set(&l.ringing, l, ringAlarm, f.w.now.Add(f.w.cfg.RingTime))
		}
		if !f.done {
			f.call.ringing(f.w, tx.node, m.Status)
			f.tx.respond(m)
		}
	case m.Status < 300:
		l.settled(m)
		f.success(l, tx, m)
	case m.Status == 503 && l.next < len(l.plan.targets) && !f.cancelled && !f.done:
		f.w.count.failovers.Add(1)
		l.try()
		f.settle()
	default:
		l.settled(m)
		if m.Status >= 600 {
			f.cancelOthers(l)
		}
		f.settle()
	}
}

// late takes a response of a target that was given up. Its call may have been set up all the same: a
// 2xx goes upstream, and the target tried since is told to stop; so is one that only now rings.
func (l *leg) late(tx *clientTx, m *wire.Message) {
	switch {
	case m.Status < 200:
		tx.cancel()
	case m.Status < 300:
		l.f.success(l, tx, m)
		l.f.cancelOthers(nil)
	}
}

// silent is called when a target said nothing in time.
func (l *leg) silent(tx *clientTx) {
	if tx != l.tx || l.final != nil {
		tx.end()
		return
	}
	f := l.f
	switch {
	case tx.state == calling && l.next < len(l.plan.targets) && !f.cancelled && !f.done:
		f.w.count.failovers.Add(1)
		tx.giveUp()
		l.try()
	case tx.invite():
		tx.giveUp()
		l.fail(408, "Request Timeout")
	default:
		// RFC 4320 section 4.2 forbids 408 here; the caller still listens, so it is told.
		tx.giveUp()
		l.fail(504, "Server Time-out")
	}
	f.settle()
}

// giveUp stops retransmissions but still listens for what is late.
func (tx *clientTx) giveUp() {
	tx.w.alarms.stop(&tx.retry)
	tx.out = nil
	if tx.cancelled && tx.state == proceeding {
		tx.end()
		return
	}
	tx.cancelled = tx.cancelled || tx.state == proceeding
	tx.w.alarms.set(&tx.limit, tx, limitAlarm, tx.w.now.Add(giveUp))
}

// unreachable is called when the network does not carry the request.
func (l *leg) unreachable(tx *clientTx) {
	if tx != l.tx || l.final != nil {
		return
	}
	if l.f.cancelled {
		l.fail(487, "Request Terminated")
	} else {
		l.f.w.count.failovers.Add(1)
		l.try()
	}
	l.f.settle()
}

// wake is Timer C: the phone rang too long (RFC 3261 section 16.8).
func (l *leg) wake(alarmKind) {
	if l.final != nil {
		return
	}
	if l.tx != nil && l.tx.state == proceeding {
		l.tx.cancel()
		return
	}
	l.fail(408, "Request Timeout")
	l.f.settle()
}

// fail settles the branch with a response of our own.
func (l *leg) fail(status int, reason string) {
	if l.f.cancelled && status != 487 {
		status, reason = 487, "Request Terminated"
	}
	l.settled(l.f.tx.req.Response(status, reason, l.f.w.branches.tag(l.f.tx.req)))
}

func (l *leg) settled(m *wire.Message) {
	l.final = m
	l.f.w.alarms.stop(&l.ringing)
}

// success passes a 2xx of a node upstream: the first of any request, and every one of an INVITE.
func (f *forwarding) success(l *leg, tx *clientTx, m *wire.Message) {
	if f.hung != nil {
		f.tooLate(tx, m)
		return
	}
	if f.done && f.req.Method != "INVITE" {
		return
	}
	if c := f.call; c != nil && !f.done && c.seen.WasAnswered() {
		f.elsewhere(tx, m)
		return
	}
	switch {
	case f.done:
	case f.call != nil:
		f.call.answered(f.w, tx.node, f.dialogs(tx.to, m), m)
	case f.req.To.Tag != "":
		f.w.calls.confirmed(f.w, f.req, m)
	}
	f.finish(m)
	f.cancelOthers(l)
}

// finish sends a final response upstream.
func (f *forwarding) finish(m *wire.Message) {
	f.done = true
	if f.plan.finish != nil {
		f.plan.finish(m, f.tx.respond)
		return
	}
	f.tx.respond(m)
}

// settle answers the caller once every branch has ended without success.
func (f *forwarding) settle() {
	if f.done || f.waiting {
		return
	}
	for _, l := range f.legs {
		if l.final == nil {
			return
		}
	}
	m := f.best()
	f.call.failed(f.w, f, m)
	f.finish(m)
}

// cancelOthers stops every branch but l that still rings.
func (f *forwarding) cancelOthers(l *leg) {
	if f.req.Method != "INVITE" {
		return
	}
	for _, other := range f.legs {
		if other != l && other.final == nil && other.tx != nil {
			other.next = len(other.plan.targets)
			other.tx.cancel()
		}
	}
}

// cancel ends all branches for the caller.
func (f *forwarding) cancel() {
	if f.done || f.cancelled {
		return
	}
	f.cancelled = true
	f.cancelOthers(nil)
}

// viaValue writes our Via for a message to h.
func (s *Server) viaValue(h hop, branch string) string {
	l := &s.locals[h.listener]
	proto := "SIP/2.0/UDP "
	if h.transport == tandem.TCP {
		proto = "SIP/2.0/TCP "
	}
	var b strings.Builder
	b.Grow(len(proto) + len(l.host) + len(branch) + 16)
	b.WriteString(proto)
	b.WriteString(l.host)
	b.WriteByte(':')
	b.WriteString(itoa(int(l.port(h.transport))))
	b.WriteString(";branch=")
	b.WriteString(branch)
	return b.String()
}
