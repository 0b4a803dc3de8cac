package sipproxy

import (
	"strings"

	"tandem/internal/tandem"
	"tandem/sipproxy/directory"
	"tandem/sipproxy/wire"
)

// ask is one request that begins a transaction, and what is found out about it on its way.
type ask struct {
	m    *wire.Message
	from hop // where it came from
	back hop // where responses go
	key  string

	uri     wire.URI           // its Request-URI
	route   wire.URI           // its top Route that named us, zero when none did
	peer    *tandem.Peer       // nil when it comes from a device or a stranger
	account *directory.Account // who asks: nil for core and carrier peers
	device  *directory.Device  // who asks, once the digest was right
	loop    uint64
	// proved: the sender is believed, so that a transaction may be kept for it.
	proved bool
}

// refusal is an answer of our own.
type refusal struct {
	status int
	reason string // "": the usual one
	fields []wire.Header
	unmet  string // the condition of tier 2 that was not met
}

func refuse(status int, reason string, fields ...wire.Header) *refusal {
	return &refusal{status: status, reason: reason, fields: fields}
}

// fresh takes a request that no transaction knows: it is refused, or sent on its way.
func (w *worker) fresh(a *ask) {
	if r := w.examine(a); r != nil {
		w.refuse(a, r)
		return
	}
	p, r := w.decide(a)
	if r != nil {
		w.refused(a, nil, r)
		w.refuse(a, r)
		return
	}
	w.forward(a, p)
}

// refuse answers a and ends it. Only for a sender who is believed a transaction remembers the answer.
func (w *worker) refuse(a *ask, r *refusal) {
	if a.proved {
		if tx := w.newServerTx(a); tx != nil {
			w.count.answered.Add(1)
			tx.respond(w.refusalMessage(a.m, r))
			return
		}
	}
	w.answer(a.m, a.back, r)
}

// answer sends a response once, without state. To an unproved UDP source it is never more than three
// times what came from there, so that we are no amplifier.
func (w *worker) answer(m *wire.Message, back hop, r *refusal) {
	reply := w.refusalMessage(m, r)
	w.buf = reply.Append(w.buf[:0])
	if back.transport == tandem.UDP && len(w.buf) > 3*m.Size {
		w.count.amplifying.Add(1)
		return
	}
	w.count.answered.Add(1)
	w.went(reply, back, w.put(w.buf, back, 0))
}

func (w *worker) refusalMessage(m *wire.Message, r *refusal) *wire.Message {
	reason := r.reason
	if reason == "" {
		reason = statusText(r.status)
	}
	return m.Response(r.status, reason, w.branches.tag(m), r.fields...)
}

// examine makes the checks of RFC 3261 section 16.3 and takes our own Route off (section 16.4).
func (w *worker) examine(a *ask) *refusal {
	m := a.m
	if m.Headers == nil || m.From.URI == "" {
		return refuse(400, "")
	}
	if m.CSeq > lastCSeq {
		return refuse(400, "Bad Request: CSeq leaves no number for a BYE")
	}
	a.peer = w.dir.Peer(w.locals[a.from.listener].name, a.from.remote)
	a.proved = a.peer != nil
	peer := ""
	if a.peer != nil {
		peer = a.peer.ID
	}
	a.loop = w.branches.loopHash(m, peer)
	for _, h := range m.Headers {
		if h.Name != wire.NameVia {
			continue
		}
		v, err := wire.ParseVia(h.Value)
		if err != nil {
			continue
		}
		if b, ok := w.branches.open(w.now, v.Branch, m.CallID, m.CSeq); ok && b.loop == a.loop {
			return refuse(482, "")
		}
	}
	if r := unsupported(m); r != nil {
		return r
	}
	if r := w.ownRoutes(a); r != nil {
		return r
	}
	if a.uri.Scheme == "sips" && m.To.Tag == "" {
		return refuse(416, "") // TLS all the way cannot be promised (RFC 5630 section 5.3)
	}
	if m.Method == "OPTIONS" && a.uri.User == "" && w.ours(&a.uri) && m.To.Tag == "" {
		return refuse(200, "", wire.Header{Raw: "Allow", Value: allowed}, wire.Header{Raw: "Accept", Value: "*/*"})
	}
	if m.MaxForwards == 0 {
		return refuse(483, "")
	}
	core := a.peer != nil && a.peer.Role == tandem.PeerCore
	if m.Has(wire.NameRoute) && m.To.Tag == "" && !core {
		return refuse(403, "Forbidden: Route leads elsewhere")
	}
	return nil
}

// lastCSeq is the highest CSeq taken, somewhat below what RFC 3261 section 8.1.1.5 allows: a side that used that up
// could not be hung up any more.
const lastCSeq = 1<<31 - 1 - 1<<15

// allowed are the methods that we forward without thinking; others pass as well.
const allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, MESSAGE, SUBSCRIBE, NOTIFY, PUBLISH, REFER, INFO, UPDATE, PRACK"

// unsupported refuses what Proxy-Require asks of us, and, for REGISTER, which ends here, Require
// (RFC 3261 section 16.3 step 5, section 8.2.2.3).
func unsupported(m *wire.Message) *refusal {
	var names []string
	for _, h := range m.Headers {
		if h.Name == wire.NameProxyRequire || h.Name == wire.NameRequire && m.Method == "REGISTER" {
			for tag := range strings.SplitSeq(h.Value, ",") {
				if tag = strings.TrimSpace(tag); tag != "" && !strings.EqualFold(tag, "path") {
					names = append(names, tag)
				}
			}
		}
	}
	if names == nil {
		return nil
	}
	return refuse(420, "", wire.Field(wire.NameUnsupported, strings.Join(names, ", ")))
}

// ownRoutes takes the Route values that name us off the request's front, keeping the first in a.route, and
// repairs what a strict router did to the request (RFC 3261 section 16.4).
func (w *worker) ownRoutes(a *ask) *refusal {
	m := a.m
	u, err := wire.ParseURI(m.URI)
	if err != nil {
		return refuse(400, "Bad Request: malformed Request-URI")
	}
	if routes := m.Values(wire.NameRoute); len(routes) > 0 && w.recorded(&u) {
		last, err := wire.ParseAddress(routes[len(routes)-1])
		if err != nil {
			return refuse(400, "Bad Request: malformed Route")
		}
		a.route, m.URI = u, last.URI
		removeLast(m, wire.NameRoute)
		if u, err = wire.ParseURI(m.URI); err != nil {
			return refuse(400, "Bad Request: malformed Route")
		}
	}
	a.uri = u
	for {
		first := m.Get(wire.NameRoute)
		if first == "" {
			return nil
		}
		addr, err := wire.ParseAddress(first)
		if err != nil {
			return refuse(400, "Bad Request: malformed Route")
		}
		r, err := wire.ParseURI(addr.URI)
		if err != nil || !w.ours(&r) {
			return nil
		}
		m.RemoveFirst(wire.NameRoute)
		if a.route.Host == "" {
			a.route = r
		}
	}
}

func removeLast(m *wire.Message, n wire.Name) {
	for i := len(m.Headers) - 1; i >= 0; i-- {
		if m.Headers[i].Name == n {
			m.Headers = append(m.Headers[:i], m.Headers[i+1:]...)
			return
		}
	}
}

// decide finds out who asks, what for, and where that goes.
func (w *worker) decide(a *ask) (*plan, *refusal) {
	if a.m.To.Tag != "" && a.m.Method != "REGISTER" || isToken(a.route.User) {
		return w.inDialog(a)
	}
	if a.peer == nil {
		return w.fromDevice(a)
	}
	switch {
	case a.m.Method == "REGISTER":
		return nil, refuse(403, "Forbidden: peers do not register")
	case a.peer.Role == tandem.PeerCore:
		return w.fromCore(a)
	case a.peer.Role == tandem.PeerCarrier:
		return w.fromCarrier(a)
	}
	a.account = w.dir.Account(a.peer.Account)
	if a.account == nil {
		return nil, refuse(403, "Forbidden: the peer's account is gone")
	}
	return w.fromAccount(a)
}

// cancel takes a CANCEL: it ends at its INVITE here, whose branches get CANCELs of their own
// (RFC 3261 section 9.2, section 16.10). Nobody can be asked to prove who sent it, but it must come from where
// the INVITE came from (section 22.1).
func (w *worker) cancel(a *ask) {
	invite := *a.m
	invite.Method = "INVITE"
	tx := w.servers[serverKey(&invite)]
	if tx == nil || tx.req.Method != "INVITE" || tx.back.remote.Addr() != a.from.remote.Addr() {
		w.answer(a.m, a.back, refuse(481, ""))
		return
	}
	a.proved = true
	w.refuse(a, refuse(200, "OK"))
	if tx.forward != nil && tx.state < accepted {
		tx.forward.cancel()
		tx.forward.settle()
	}
}

// ack takes an ACK that no transaction absorbs. The one to a 2xx goes on by its route; all others
// belong to answers that we sent without state, or to nothing.
func (w *worker) ack(a *ask) {
	if a.m.To.Tag == w.branches.tag(a.m) || w.examine(a) != nil {
		return
	}
	p, r := w.inDialog(a)
	if r != nil {
		w.count.strays.Add(1)
		return
	}
	f := &forwarding{w: w, req: w.base(a.m, p), plan: p, loop: a.loop, back: a.back}
	for _, t := range p.legs[0].targets {
		m, err := f.copyFor(&leg{f: f, plan: p.legs[0]}, t, w.rand.Uint64())
		if err == nil && w.write(m, t.hop, 0) == nil {
			return
		}
	}
}
