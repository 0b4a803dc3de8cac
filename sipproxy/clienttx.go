package sipproxy

import (
	"slices"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// clientKey names a client transaction. A CANCEL has the branch of what it cancels.
type clientKey struct {
	id     uint64
	cancel bool
}

// clientTx is one client transaction.
type clientTx struct {
	w        *worker
	key      clientKey
	req      *wire.Message // as sent, for ACK and CANCEL
	out      []byte        // octets to repeat
	to       hop
	node     string // whom it was sent to, "" when not a node of ours
	state    txState
	interval time.Duration
	retry    alarm // Timers A, E
	limit    alarm // Timers B, D, F, K, M
	leg      *leg  // whose request it is; nil for a CANCEL and our own
	// done, of a request of our own, takes its final answer; nil when none came.
	done   func(*wire.Message)
	reason string // value of Reason for the CANCEL
	// cancelled: a CANCEL went out, or will with the first provisional response.
	cancelled bool
	sent      time.Time
	first     time.Duration // until the first answer of any kind, 0 before
	told      bool          // the observer knows how it fared
}

// start sends m to its target and waits for a response at most as long as patience. An error means
// that nothing was sent and no transaction is left.
func (w *worker) start(id uint64, m *wire.Message, to hop, patience time.Duration, l *leg) (*clientTx, error) {
	tx := &clientTx{w: w, key: clientKey{id, m.Method == "CANCEL"}, req: m, to: to, leg: l, interval: t1, sent: w.now}
	w.clients[tx.key] = tx
	w.count.clientTx.Add(1)
	if err := w.write(m, to, id); err != nil {
		tx.end()
		return nil, err
	}
	if to.transport == tandem.UDP {
		tx.out = append([]byte(nil), w.buf...)
		w.alarms.set(&tx.retry, tx, retryAlarm, w.now.Add(t1)) // Timers A, E
	}
	w.alarms.set(&tx.limit, tx, limitAlarm, w.now.Add(patience)) // Timers B, F
	return tx, nil
}

func (tx *clientTx) invite() bool { return tx.req.Method == "INVITE" }

// response takes a response to the request. What the state machine absorbs goes no further.
func (tx *clientTx) response(m *wire.Message) {
	tx.fared(m.Status)
	switch {
	case tx.state == completed:
		tx.w.count.retransmissions.Add(1)
		if tx.invite() && m.Status >= 300 {
			tx.acknowledge(m)
		}
		return
	case tx.state == accepted && m.Status/100 != 2:
		return
	case m.Status < 200:
		tx.provisional()
	case tx.invite():
		tx.finalInvite(m)
	default:
		tx.state = completed
		tx.w.alarms.stop(&tx.retry)
		tx.linger(t4) // Timer K
	}
	switch {
	case tx.leg != nil:
		tx.leg.response(tx, m)
	case tx.done != nil && m.Status >= 200:
		tx.done(m)
	}
}

// fared tells the observer how an INVITE fares at its node, once: when more than a 100 comes.
func (tx *clientTx) fared(status int) {
	if tx.leg == nil || !tx.invite() {
		return
	}
	if tx.first == 0 {
		tx.first = max(tx.w.now.Sub(tx.sent), time.Nanosecond)
		tx.leg.f.call.tried(tx.w)
	}
	if status > 100 && !tx.told && tx.sets() && tx.node != "" && tx.w.deps.Observer != nil {
		tx.told = true
		tx.w.deps.Observer.SetUp(tx.node, tx.leg.f.plan.account, tx.first, status/100 == 5, false)
	}
}

// sets reports whether the request sets a call up: what a re-INVITE meets, its sender can arrange.
func (tx *clientTx) sets() bool { return tx.invite() && tx.leg.f.req.To.Tag == "" }

// broken tells the observer that nothing gets through to a node, if to is where the node says that it is: requests
// within a dialog go where their senders say, and what nobody listens to beside it is none of its faults.
func (w *worker) broken(node string, to hop) {
	if w.deps.Observer == nil {
		return
	}
	n := w.dir.Node(node)
	if n != nil && n.Ports.Of(to.transport) == to.remote.Port() && slices.Contains(n.Addresses, to.remote.Addr().Unmap()) {
		w.deps.Observer.Broken(node, "cannot be reached")
		w.probes.refused(node, w.now)
	}
}

func (tx *clientTx) provisional() {
	first := tx.state == calling
	tx.state = proceeding
	if !tx.invite() {
		tx.interval = t2
		return
	}
	if !first {
		return
	}
	tx.w.alarms.stop(&tx.retry)
	tx.w.alarms.stop(&tx.limit)
	tx.out = nil
	if tx.cancelled {
		tx.sendCancel()
	}
}

func (tx *clientTx) finalInvite(m *wire.Message) {
	tx.w.alarms.stop(&tx.retry)
	tx.out = nil
	if m.Status < 300 {
		if tx.state != accepted {
			tx.state = accepted
			tx.w.alarms.set(&tx.limit, tx, limitAlarm, tx.w.now.Add(giveUp)) // Timer M
		}
		return
	}
	tx.state = completed
	tx.acknowledge(m)
	tx.linger(giveUp) // Timer D
}

// linger keeps the transaction to absorb what is repeated, where the transport repeats.
func (tx *clientTx) linger(d time.Duration) {
	if tx.to.transport == tandem.UDP {
		tx.w.alarms.set(&tx.limit, tx, limitAlarm, tx.w.now.Add(d))
		return
	}
	tx.end()
}

// acknowledge sends the ACK to a final response that is not a 2xx (RFC 3261 section 17.1.1.3).
func (tx *clientTx) acknowledge(m *wire.Message) {
	tx.w.write(tx.follow("ACK", m.Get(wire.NameTo)), tx.to, 0)
}

// cancel asks the other side to stop ringing: at once, or when it first says that it is there
// (RFC 3261 section 9.1).
func (tx *clientTx) cancel() {
	if tx.cancelled || tx.state > proceeding {
		return
	}
	tx.cancelled = true
	if tx.state == proceeding {
		tx.sendCancel()
	}
}

func (tx *clientTx) sendCancel() {
	m := tx.follow("CANCEL", tx.req.Get(wire.NameTo))
	if tx.reason != "" {
		m.Headers = append(m.Headers, wire.Header{Raw: "Reason", Value: tx.reason})
	}
	tx.w.alarms.set(&tx.limit, tx, limitAlarm, tx.w.now.Add(giveUp))
	cancel, err := tx.w.start(tx.key.id, m, tx.to, giveUp, nil)
	if err != nil {
		tx.forsaken()
		return
	}
	cancel.done = func(m *wire.Message) {
		if m == nil {
			tx.forsaken()
		}
	}
}

// forsaken ends an INVITE whose CANCEL nobody takes: it gets no answer any more either (RFC 3261
// section 9.1).
func (tx *clientTx) forsaken() {
	if tx.state > proceeding {
		return
	}
	tx.end()
	if l := tx.leg; l != nil && tx == l.tx && l.final == nil {
		l.fail(408, "Request Timeout")
		l.f.settle()
	}
}

// follow makes the ACK or CANCEL that goes with an INVITE: its Request-URI, top Via, Route, From,
// Call-ID and CSeq number.
func (tx *clientTx) follow(method, to string) *wire.Message {
	m := &wire.Message{Method: method, URI: tx.req.URI, CallID: tx.req.CallID, CSeq: tx.req.CSeq, CSeqMethod: method}
	via := false
	for _, h := range tx.req.Headers {
		switch h.Name {
		case wire.NameVia:
			if via {
				continue
			}
			via = true
		case wire.NameTo:
			h.Value = to
		case wire.NameCSeq:
			h.Value = cseqValue(tx.req.CSeq, method)
		case wire.NameFrom, wire.NameCallID, wire.NameRoute:
		default:
			continue
		}
		m.Headers = append(m.Headers, h)
	}
	m.Headers = append(m.Headers, wire.Field(wire.NameMaxForwards, "70"))
	return m
}

func (tx *clientTx) wake(which alarmKind) {
	if which == retryAlarm {
		tx.repeat()
		return
	}
	if tx.state >= accepted {
		tx.end()
		return
	}
	tx.w.count.timeouts.Add(1)
	if tx.leg != nil && tx.state == calling && tx.sets() && tx.node != "" && tx.w.deps.Observer != nil {
		tx.told = true
		tx.w.deps.Observer.SetUp(tx.node, tx.leg.f.plan.account, tx.w.now.Sub(tx.sent), false, true)
	}
	if tx.leg == nil {
		tx.end()
		tx.lost()
		return
	}
	tx.leg.silent(tx)
}

// repeat retransmits the request over UDP: INVITE at doubling intervals, others at most T2 apart.
func (tx *clientTx) repeat() {
	if tx.out == nil {
		return
	}
	if err := tx.w.put(tx.out, tx.to, tx.key.id); err != nil {
		tx.unreachable()
		return
	}
	tx.w.repeated(tx.out, tx.req, tx.to)
	if tx.leg != nil && tx.sets() && tx.node != "" && tx.interval == 2*t1 && tx.w.deps.Observer != nil {
		tx.w.deps.Observer.Waiting(tx.node, tx.w.now.Sub(tx.sent)) // 1.5 s: not to wait for what it says in the end
	}
	if tx.interval *= 2; !tx.invite() {
		tx.interval = min(tx.interval, t2)
	}
	tx.w.alarms.set(&tx.retry, tx, retryAlarm, tx.w.now.Add(tx.interval))
}

// unreachable ends the transaction because the network does not carry its request.
func (tx *clientTx) unreachable() {
	if tx.state > proceeding {
		return
	}
	tx.end()
	tx.w.broken(tx.node, tx.to)
	if tx.leg != nil {
		tx.leg.unreachable(tx)
	}
	tx.lost()
}

// lost tells who sent a request of our own that it gets no answer.
func (tx *clientTx) lost() {
	if tx.done != nil {
		tx.done(nil)
	}
}

func (tx *clientTx) end() {
	if tx.state == ended {
		return
	}
	tx.state = ended
	tx.w.alarms.stop(&tx.retry)
	tx.w.alarms.stop(&tx.limit)
	if tx.w.clients[tx.key] == tx {
		delete(tx.w.clients, tx.key)
		tx.w.count.clientTx.Add(-1)
	}
}
