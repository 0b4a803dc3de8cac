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

// longest is how long a call may live: as long as the token that its requests need.
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
	// What hanging up needs: the INVITE until its final answer, and the highest CSeq towards each side.
	invite *forwarding
	cseqs  [2]uint32
}

// callTable holds the live calls of one worker and remembers those that ended last.
type callTable struct {
	limit int

	mu    *sync.Mutex // people look from outside
	live  map[callKey]*call
	dead  map[callKey]*hungUp
	past  []tandem.Call // ring; next is where the next ended call goes
	next  int
	total uint64
}

func newCallTable(limit int) callTable {
	return callTable{limit: max(limit, 1), mu: new(sync.Mutex), live: make(map[callKey]*call), dead: make(map[callKey]*hungUp)}
}

// begin notes a call whose INVITE was accepted for processing; nil when it is known already, or
// when the table is full: then it goes unseen, but it goes.
func (t *callTable) begin(w *worker, a *ask, p *plan) *call {
	m := a.m
	c := &call{key: callKey{m.CallID, m.From.Tag}, of: w}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live[c.key] != nil {
		return nil
	}
	if len(t.live) >= t.limit {
		w.count.callsUnseen.Add(1)
		return nil
	}
	c.seen = tandem.Call{
		ID: tandem.NewCallID(w.now), CallID: m.CallID, Account: p.account, Type: p.typ, Route: p.route,
		From: party(m.From.URI), To: party(m.To.URI),
		// What a restart needs to know the call again by its next request.
		Dialogs: []tandem.Dialog{{CallID: m.CallID, Local: m.To.URI, Remote: m.From.URI, RemoteTag: m.From.Tag}},
	}
	if a.device != nil {
		c.seen.Device, c.seen.User = a.device.ID, a.device.User
	}
	c.seen.Enter(tandem.CallTrying, w.now)
	t.live[c.key] = c
	t.total++
	w.alarms.set(&c.old, c, limitAlarm, w.now.Add(longest))
	w.recorder.note(c.seen)
	return c
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

func (c *call) ringing(w *worker, node string) {
	c.change(func(s *tandem.Call) {
		if s.State == tandem.CallTrying {
			s.Enter(tandem.CallRinging, w.now)
			s.Node, s.Quality.Ringing = node, c.since(w)
		}
	})
}

// answered notes a 2xx. dialogs are what requests to both sides are made of, nil when that is not known.
func (c *call) answered(w *worker, node string, dialogs []tandem.Dialog) {
	c.change(func(s *tandem.Call) {
		if !s.WasAnswered() {
			s.Enter(tandem.CallAnswered, w.now)
			s.Node, s.Quality.Answer, s.Status = node, c.since(w), 200
			c.invite = nil
			if dialogs != nil {
				s.Dialogs = dialogs
			}
			s.Expires = w.now.Add(longest).UTC()
			w.alarms.set(&c.old, c, limitAlarm, w.now.Add(longest))
		}
	})
}

// failed ends a call that was never answered.
func (c *call) failed(w *worker, status int) {
	cause, by := strconv.Itoa(status), tandem.EndedByCallee
	switch status {
	case 487:
		cause, by = "cancel", tandem.EndedByCaller
	case 408, 503:
		by = tandem.EndedByAppliance
	}
	c.end(w, cause, by, status)
}

// end ends the call; status is the final one of its INVITE, zero when that is known already.
func (c *call) end(w *worker, cause string, by tandem.CallEnder, status int) {
	if c == nil || c.seen.State == tandem.CallEnded {
		return
	}
	w.alarms.stop(&c.old)
	c.change(func(s *tandem.Call) {
		s.Enter(tandem.CallEnded, w.now)
		s.Cause, s.EndedBy = cause, by
		if status != 0 {
			s.Status = uint16(status)
		}
		w.calls.remember(*s)
		delete(w.calls.live, c.key)
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

// bye ends the call that a BYE belongs to, whichever side sent it.
func (t *callTable) bye(w *worker, m *wire.Message) {
	if c := t.live[callKey{m.CallID, m.From.Tag}]; c != nil {
		c.end(w, "bye", tandem.EndedByCaller, 0)
	} else if c := t.live[callKey{m.CallID, m.To.Tag}]; c != nil {
		c.end(w, "bye", tandem.EndedByCallee, 0)
	}
}

// late notes that a call was answered whose transaction ended with the process before this one.
func (t *callTable) late(w *worker, m *wire.Message) {
	if m.CSeqMethod == "INVITE" && m.Status/100 == 2 {
		if c := t.live[callKey{m.CallID, m.From.Tag}]; c != nil {
			c.answered(w, c.seen.Node, nil)
		}
	}
}

// wake ends a call that nobody ended.
func (c *call) wake(alarmKind) { c.end(c.of, "timeout", tandem.EndedByReaper, 0) }

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
