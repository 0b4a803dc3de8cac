package sipproxy

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// longest is how long a call may live at the most: as long as the token that its requests need.
const longest = 24 * time.Hour

// keptCalls is how many ended calls are kept for people to look at.
const keptCalls = 1000

// callKey names a call by what all its messages repeat: Call-ID and the caller's tag.
type callKey struct{ callID, tag string }

// call is one live call as its worker knows it. A nil *call is no call; its methods do nothing.
type call struct {
	key  callKey
	seen tandem.Call
	old  alarm
	of   *worker
	// What hanging up needs: its INVITEs until they are answered, several when a carrier forked it, and
	// the highest CSeq towards each side.
	invites []*forwarding
	cseqs   [2]uint32
	leap    uint32 // what may have passed of them unseen, before a restart
	seat    *seat  // nil without a balancer
	sealed  string // value of callHeader, once it was asked for
	vitals  vitals
}

// callTable holds the live calls of one worker and remembers those that ended last.
type callTable struct {
	limit int

	mu    *sync.Mutex // people look from outside
	live  map[callKey]*call
	ids   map[string]*call   // by Call-ID; the last one that began with it
	names map[string][]*call // by their own id, and by that of the call that they continue
	dead  map[callKey]*hungUp
	past  []tandem.Call // ring; next is where the next ended call goes
	next  int
	total uint64
}

func newCallTable(limit int) callTable {
	return callTable{limit: max(limit, 1), mu: new(sync.Mutex), live: make(map[callKey]*call), ids: make(map[string]*call), names: make(map[string][]*call), dead: make(map[callKey]*hungUp)}
}

// begin notes a call whose INVITE was accepted for processing; nil when it is known already and a
// feature server has sent it back, or when the table is full: then it goes unseen, but it goes. What a
// carrier forked is one call.
func (t *callTable) begin(w *worker, a *ask, p *plan, seat *seat) *call {
	m := a.m
	c := &call{key: callKey{m.CallID, m.From.Tag}, of: w, seat: seat}
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.live[c.key]; known != nil {
		if a.peer != nil && a.peer.Role == tandem.PeerCarrier && !known.seen.WasAnswered() {
			return known
		}
		return nil
	}
	if len(t.live) >= t.limit {
		w.count.callsUnseen.Add(1)
		return nil
	}
	c.seen = tandem.Call{
		ID: tandem.NewCallID(w.now), CallID: m.CallID, Account: p.account, Type: p.typ, Route: p.route,
		From: party(m.From.URI), To: party(m.To.URI), Session: sessionID(m),
		// What a restart needs to know the call again by its next request.
		Dialogs: []tandem.Dialog{{CallID: m.CallID, Local: m.To.URI, Remote: m.From.URI, RemoteTag: m.From.Tag}},
	}
	if a.device != nil {
		c.seen.Device, c.seen.User = a.device.ID, a.device.User
	}
	if seat != nil {
		c.seen.ID, c.seen.Groups, c.seen.Separate = seat.id, seat.add(), seat.separate
		if seat.hold.id != seat.id {
			c.seen.Joined = seat.hold.id
		}
	}
	c.seen.Enter(tandem.CallTrying, w.now)
	if a.peer != nil && a.peer.Role == tandem.PeerCore {
		if n := w.dir.NodeAt(a.from.remote); n != nil {
			w.at(&c.seen, n.ID) // it is this end of the dialog
		}
	}
	t.keep(c)
	t.total++
	c.vitals.age, c.vitals.heard = w.now.Add(longest), w.now
	c.watch(w)
	w.recorder.note(c.seen)
	w.ladders.begin(w, a, c.seen.ID, p.account)
	return c
}

// keep and drop are called with mu held, or before anybody looks.
func (t *callTable) keep(c *call) {
	t.live[c.key], t.ids[c.key.callID] = c, c
	for _, name := range [...]string{c.seen.ID, c.seen.Joined} {
		if name != "" {
			t.names[name] = append(t.names[name], c)
		}
	}
}

func (t *callTable) drop(c *call) {
	delete(t.live, c.key)
	for _, name := range [...]string{c.seen.ID, c.seen.Joined} {
		left := slices.DeleteFunc(t.names[name], func(x *call) bool { return x == c })
		if t.names[name] = left; len(left) == 0 {
			delete(t.names, name)
		}
	}
	if t.ids[c.key.callID] == c {
		delete(t.ids, c.key.callID)
	}
}

// named returns the live call with this id. It is called with mu held.
func (t *callTable) named(id string) *call {
	for _, c := range t.names[id] {
		if c.seen.ID == id {
			return c
		}
	}
	return nil
}

// party writes a URI as user@host.
func party(uri string) string {
	u, err := wire.ParseURI(uri)
	if err != nil {
		return uri
	}
	if u.Opaque != "" {
		return u.Opaque
	}
	return u.User + "@" + u.Host
}

// change makes fn's change to a call that has not ended, and has it recorded.
func (c *call) change(fn func(*tandem.Call)) {
	if c == nil {
		return
	}
	c.of.calls.mu.Lock()
	defer c.of.calls.mu.Unlock()
	if c.seen.State == tandem.CallEnded {
		return
	}
	before := c.seen.State
	fn(&c.seen)
	if c.seen.State != before {
		c.of.recorder.note(c.seen)
	}
}

// since is how long ago the call began, in milliseconds.
func (c *call) since(w *worker) uint32 { return uint32(w.now.Sub(c.seen.Started).Milliseconds()) }

// attempt notes that one more target is tried.
func (c *call) attempt() {
	c.change(func(s *tandem.Call) { s.Quality.Attempts++ })
}

// moves gives the call's slot to the node that is tried next; false when that takes no calls now.
func (c *call) moves(w *worker, node string) bool {
	if c == nil || c.seat == nil || c.seat.slot == 0 || node == "" {
		return true
	}
	return w.deps.Balancer.Move(c.seat.slot, node) || c.seen.Type == string(tandem.TypeEmergency)
}

// token is the value of callHeader, "" for what is no call or cannot be joined.
func (c *call) token(w *worker) string {
	if c == nil || c.seat == nil {
		return ""
	}
	if c.sealed == "" {
		c.sealed = w.sealCall(c.seat.hold.id)
	}
	return c.sealed
}

// at notes the node that a call is on; a phone is none.
func (w *worker) at(s *tandem.Call, node string) {
	if node == "" {
		return
	}
	s.Node = node
	if n := w.dir.Node(node); n != nil {
		s.Cluster = n.Cluster
	}
}

// tried notes when the first answer of any kind came.
func (c *call) tried(w *worker) {
	c.change(func(s *tandem.Call) {
		if s.Quality.Trying == 0 {
			s.Quality.Trying = max(c.since(w), 1)
		}
	})
}

// ringing notes a provisional response.
func (c *call) ringing(w *worker, node string, status int) {
	c.change(func(s *tandem.Call) {
		if status == 181 && s.State != tandem.CallForwarded && !s.WasAnswered() {
			s.Enter(tandem.CallForwarded, w.now)
		}
		if s.State == tandem.CallTrying {
			s.Enter(tandem.CallRinging, w.now)
			w.at(s, node)
			s.Quality.Ringing = c.since(w)
		}
	})
}

// answered notes a 2xx, m. dialogs are what requests to both sides are made of, nil when that is not known.
func (c *call) answered(w *worker, node string, dialogs []tandem.Dialog, m *wire.Message) {
	if c == nil || c.seen.WasAnswered() || c.seen.State == tandem.CallEnded {
		return
	}
	c.vitals.age, c.vitals.heard = w.now.Add(w.cfg.MaxAge), w.now
	c.vitals.focus[calleeSide] = isFocus(m) || c.seen.Type == "conference"
	c.seat.answered()
	c.invites = nil
	c.timed(w, m)
	c.change(func(s *tandem.Call) {
		s.Enter(tandem.CallAnswered, w.now)
		w.at(s, node)
		s.Quality.Answer, s.Status = c.since(w), 200
		if dialogs != nil {
			s.Dialogs = dialogs
		}
		s.Expires = c.expires().UTC()
	})
	c.watch(w)
	c.enter(w, c.upState())
}

// failed ends a call that was never answered, once the last of its INVITEs has failed; m is what the
// caller is told.
func (c *call) failed(w *worker, f *forwarding, m *wire.Message) {
	if c == nil || c.seen.WasAnswered() {
		return
	}
	c.invites = slices.DeleteFunc(c.invites, func(x *forwarding) bool { return x == f })
	if len(c.invites) > 0 {
		return
	}
	cause, by := strconv.Itoa(m.Status), tandem.EndedByCallee
	switch {
	case m.Status == 487:
		cause, by = "cancel", tandem.EndedByCaller
	case m.Status == 503 && m.Reason == unreached:
		cause, by = "no-node", tandem.EndedByAppliance
	case m.Status == 408, m.Status == 503:
		by = tandem.EndedByAppliance
	}
	c.end(w, cause, by, m.Status)
}

// end ends the call; status is the final one of its INVITE, zero when that is known already.
func (c *call) end(w *worker, cause string, by tandem.CallEnder, status int) {
	if c == nil || c.seen.State == tandem.CallEnded {
		return
	}
	w.alarms.stop(&c.old)
	c.seat.leave()
	c.change(func(s *tandem.Call) {
		s.Enter(tandem.CallEnded, w.now)
		s.Cause, s.EndedBy = cause, by
		if status != 0 {
			s.Status = uint16(status)
		}
		w.calls.remember(*s)
		w.calls.drop(c)
		w.ladders.ended(c.key)
	})
}

// remember puts an ended call into the ring.
func (t *callTable) remember(c tandem.Call) {
	if len(t.past) < keptCalls {
		t.past = append(t.past, c)
		return
	}
	t.past[t.next] = c
	t.next = (t.next + 1) % keptCalls
}

// byeSent returns what takes the answer to a BYE, whichever side sent it; nil when it ends no call. A
// call is over for whoever sent one (RFC 3261 section 15.1.1), but for a challenge, which a phone has none to make.
// What is of another fork's dialog ends nothing, and a call that is not answered yet ends by its INVITE, unless that
// went with the process before this one: it may have been answered since it was recorded. Whoever
// sends a BYE may aim it where nobody knows the call, at another port of a node for one, and whoever gets it may
// refuse it: after all but a 2xx, both sides get one of our own.
func (t *callTable) byeSent(w *worker, m *wire.Message, phone bool) func(status int) {
	c, to := t.of(m)
	if c == nil || !c.seen.WasAnswered() && len(c.invites) > 0 {
		return nil
	}
	by, callee := tandem.EndedByCaller, m.To.Tag
	if to == callerSide {
		by, callee = tandem.EndedByCallee, m.From.Tag
	}
	if d := c.seen.Dialogs; len(d) == 2 && d[calleeSide].RemoteTag != callee {
		return nil
	}
	return func(status int) {
		switch {
		case c.seen.State == tandem.CallEnded, !phone && (status == 401 || status == 407):
		case status/100 == 2:
			c.end(w, "bye", by, 0)
		case !c.seen.WasAnswered():
		default:
			w.terminate(c, "bye", "", by, func(error) {})
		}
	}
}

// late notes that a call was answered whose transaction ended with the process before this one.
func (t *callTable) late(w *worker, m *wire.Message) {
	if m.CSeqMethod == "INVITE" && m.Status/100 == 2 {
		if c := t.live[callKey{m.CallID, m.From.Tag}]; c != nil {
			c.answered(w, c.seen.Node, nil, m)
		}
	}
}

// Calls returns the calls that by may see: those that live, and the last that ended, newest first.
func (s *Server) Calls(by tandem.Principal) []tandem.Call {
	var live, past []tandem.Call
	for _, w := range s.workers {
		w.calls.mu.Lock()
		for _, c := range w.calls.live {
			if by.MaySee(c.seen.Account) {
				live = append(live, c.seen)
			}
		}
		for _, c := range w.calls.past {
			if by.MaySee(c.Account) {
				past = append(past, c)
			}
		}
		w.calls.mu.Unlock()
	}
	slices.SortFunc(live, func(a, b tandem.Call) int { return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(a.ID, b.ID)) })
	slices.SortFunc(past, func(a, b tandem.Call) int { return cmp.Or(b.Ended.Compare(a.Ended), cmp.Compare(a.ID, b.ID)) })
	return append(live, past[:min(len(past), keptCalls)]...)
}
