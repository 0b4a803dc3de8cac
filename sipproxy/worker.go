package sipproxy

import (
	"context"
	"math/rand/v2"
	"runtime/debug"
	"sync/atomic"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// event is what a worker is given: a message that came in, or news of one that did not get out.
type event struct {
	kind eventKind
	from hop    // of a message; for targetFailed, to where nothing gets through
	data string // a message's octets
	tx   uint64 // for sendFailed
	then func() // for workDone
}

type eventKind uint8

const (
	messageIn    eventKind = iota
	sendFailed             // a stream could not carry the request of client transaction tx
	targetFailed           // the network says that from.remote takes no datagrams, or its connection ended
	workDone               // what was done elsewhere is done; then goes on with it here
)

// worker owns all transactions of the calls whose Call-ID falls to it. One goroutine runs it, so that
// nothing in it needs a lock and one call's messages keep their order.
type worker struct {
	*Server
	index int
	inbox chan event
	// waiting is how many octets of messages are in inbox.
	waiting atomic.Int64

	now      time.Time // of the event in hand
	panicked time.Time // when a panic was last logged
	failed   hop       // target that the network last refused
	failedAt time.Time
	alarms   alarms
	servers  map[string]*serverTx
	clients  map[clientKey]*clientTx
	calls    callTable
	ladders  *ladders
	passages []passage // of the event in hand
	rand     *rand.Rand
	buf      []byte // octets being written
}

func newWorker(s *Server, index int) *worker {
	return &worker{
		Server: s, index: index,
		inbox:   make(chan event, s.cfg.Queue),
		servers: make(map[string]*serverTx),
		clients: make(map[clientKey]*clientTx),
		calls:   newCallTable(s.cfg.Calls / s.cfg.Workers),
		ladders: newLadders(),
		rand:    rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	}
}

// maxWaiting bounds the octets that wait for one worker; beyond it datagrams are dropped.
const maxWaiting = 16 << 20

// offer gives the worker a message if there is room; false drops it.
func (w *worker) offer(ev event) bool {
	if w.waiting.Load() > maxWaiting {
		return false
	}
	w.waiting.Add(int64(len(ev.data)))
	select {
	case w.inbox <- ev:
		return true
	default:
		w.waiting.Add(-int64(len(ev.data)))
		return false
	}
}

// hasRoom waits until no more octets wait for the worker than may; false when done is closed before.
func (w *worker) hasRoom(done <-chan struct{}) bool {
	for w.waiting.Load() > maxWaiting {
		select {
		case <-done:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return true
}

// run handles events and alarms until ctx ends, then what is still waiting.
func (w *worker) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if at, ok := w.alarms.next(); ok {
			timer.Reset(time.Until(at))
		} else {
			timer.Reset(time.Hour)
		}
		select {
		case ev := <-w.inbox:
			w.handle(ev, time.Now())
		case <-timer.C:
			w.tick(time.Now())
		case <-ctx.Done():
			for {
				select {
				case ev := <-w.inbox:
					w.handle(ev, time.Now())
				default:
					return
				}
			}
		}
	}
}

// handle does all that one event asks for. Whatever it holds, the worker goes on.
func (w *worker) handle(ev event, now time.Time) {
	defer w.survive("message")
	defer w.passed()
	w.now = now
	switch ev.kind {
	case messageIn:
		w.waiting.Add(-int64(len(ev.data)))
		w.message(ev.data, ev.from)
	case workDone:
		ev.then()
	case sendFailed:
		for _, cancel := range [...]bool{false, true} {
			if tx := w.clients[clientKey{ev.tx, cancel}]; tx != nil {
				tx.unreachable()
			}
		}
	case targetFailed:
		w.targetFailed(ev.from)
	}
}

// targetFailed ends the transactions that wait for a first response from where nothing gets through.
func (w *worker) targetFailed(at hop) {
	if w.failed == at && w.now.Sub(w.failedAt) < 20*time.Millisecond {
		return // a look through all transactions is not for every ICMP message
	}
	w.failed, w.failedAt = at, w.now
	for _, tx := range w.clients {
		if tx.to.transport == at.transport && tx.to.remote == at.remote && tx.state == calling {
			tx.unreachable()
		}
	}
}

// tick rings the alarms that are due.
func (w *worker) tick(now time.Time) {
	w.now = now
	for {
		a := w.alarms.due(now)
		if a == nil {
			return
		}
		w.ring(a)
	}
}

func (w *worker) ring(a *alarm) {
	defer w.survive("timer")
	defer w.passed()
	a.owner.wake(a.kind)
}

// survive is the one recover: a fault in the handling of one message ends that, not the process.
func (w *worker) survive(what string) {
	if p := recover(); p != nil {
		w.count.panics.Add(1)
		if w.now.Sub(w.panicked) < time.Second {
			return // whoever knows how to cause it does not fill the disk with it
		}
		w.panicked = w.now
		w.log.Error("recovered", "in", what, "panic", p, "stack", string(debug.Stack()))
	}
}

func (w *worker) message(data string, from hop) {
	m, fault := wire.Parse(data)
	w.came(m, data, from, fault != nil)
	switch {
	case fault != nil:
		w.count.malformed.Add(1)
		w.log.Debug("malformed message", "from", from.remote, "fault", fault.Reason)
		if m.Answerable() {
			m.Stamp(from.remote.Addr().String(), from.remote.Port())
			w.answer(m, way(m, from), &refusal{status: fault.Code, reason: fault.Reason})
		}
	case m.IsRequest():
		w.count.requests.Add(1)
		w.request(m, from)
	default:
		w.count.responses.Add(1)
		w.response(m)
	}
}

// request finds the transaction that a request belongs to, or begins what it asks for.
func (w *worker) request(m *wire.Message, from hop) {
	m.Stamp(from.remote.Addr().String(), from.remote.Port())
	key := serverKey(m)
	if tx := w.servers[key]; tx != nil && tx.again(m) {
		w.count.retransmissions.Add(1)
		return
	}
	a := &ask{m: m, from: from, back: way(m, from), key: key}
	switch m.Method {
	case "ACK":
		w.ack(a)
	case "CANCEL":
		w.cancel(a)
	default:
		w.fresh(a)
	}
}

// way is where the responses to a request go (RFC 3261 section 18.2.2, RFC 3581): back through its
// connection, or to its source address, at the port that rport or sent-by says. maddr is not
// followed: it would let anybody aim our answers at somebody else.
func way(m *wire.Message, from hop) hop {
	if from.transport != tandem.UDP || m.Via.HasRPort {
		return from
	}
	port := m.Via.Port
	if port == 0 {
		port = 5060
	}
	from.remote = netipAddrPort(from.remote.Addr(), port)
	return from
}

// response gives a response to the client transaction that its branch proves it to be for. What
// belongs to none is dropped, but for a late 2xx to an INVITE (RFC 6026 section 8.9): that goes on upstream.
func (w *worker) response(m *wire.Message) {
	b, ok := w.branches.open(w.now, m.Via.Branch, m.CallID, m.CSeq)
	if !ok || !w.ownVia(&m.Via) {
		w.count.forged.Add(1)
		return
	}
	if tx := w.clients[clientKey{b.id, m.CSeqMethod == "CANCEL"}]; tx != nil {
		if tx.req.Method != m.CSeqMethod { // RFC 3261 section 17.1.3
			w.count.forged.Add(1)
			return
		}
		tx.response(m)
		return
	}
	if m.CSeqMethod == "INVITE" && m.Status/100 == 2 {
		w.calls.late(w, m)
		w.stray(m, b.back)
		return
	}
	w.count.strays.Add(1)
}

// stray sends a 2xx without transaction to where its request came from.
func (w *worker) stray(m *wire.Message, back hop) {
	m.RemoveFirst(wire.NameVia)
	if !m.Has(wire.NameVia) {
		w.count.strays.Add(1)
		return
	}
	w.write(m, back, 0)
}

// write sends a message, w.buf being its octets until the next one is written.
func (w *worker) write(m *wire.Message, to hop, tx uint64) error {
	w.buf = m.Append(w.buf[:0])
	err := w.put(w.buf, to, tx)
	w.went(m, to, err)
	return err
}

func (w *worker) put(b []byte, to hop, tx uint64) error {
	err := w.net.send(to, b, w.index, tx)
	if err != nil {
		w.count.sendErrors.Add(1)
		w.log.Debug("not sent", "to", to.remote, "err", err)
		return err
	}
	w.count.sent.Add(1)
	return nil
}
