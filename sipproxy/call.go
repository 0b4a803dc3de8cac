package sipproxy

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
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
}

// callTable holds the live calls of one worker and remembers those that ended last.
type callTable struct {
	limit int

	mu    *sync.Mutex // people look from outside
	live  map[callKey]*call
	past  []tandem.Call // ring; next is where the next ended call goes
	next  int
	total uint64
}

func newCallTable(limit int) callTable {
	return callTable{limit: max(limit, 1), mu: new(sync.Mutex), live: make(map[callKey]*call)}
}

// begin notes a call whose INVITE was accepted for processing; nil when it is known already, or
// when the table is full: then it goes unseen, but it goes.
func (t *callTable) begin(w *worker, m *wire.Message, p *plan) *call {
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
	var id [8]byte
	rand.Read(id[:])
	c.seen = tandem.Call{
		ID: hex.EncodeToString(id[:]), CallID: m.CallID, Account: p.account, Type: p.typ,
		From: party(m.From.URI), To: party(m.To.URI), State: tandem.CallTrying, Started: w.now,
	}
	t.live[c.key] = c
	t.total++
	w.alarms.set(&c.old, c, limitAlarm, w.now.Add(longest))
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

func (c *call) change(fn func(*tandem.Call)) {
	if c == nil {
		return
	}
	c.of.calls.mu.Lock()
	defer c.of.calls.mu.Unlock()
	if c.seen.State != tandem.CallEnded {
		fn(&c.seen)
	}
}

func (c *call) ringing(_ *worker, node string) {
	c.change(func(s *tandem.Call) {
		if s.State == tandem.CallTrying {
			s.State, s.Node = tandem.CallRinging, node
		}
	})
}

func (c *call) answered(w *worker, node string) {
	c.change(func(s *tandem.Call) {
		if s.State != tandem.CallAnswered {
			s.State, s.Node, s.Answered = tandem.CallAnswered, node, w.now
		}
	})
}

// failed ends a call that was never answered.
func (c *call) failed(w *worker, status int) {
	cause := strconv.Itoa(status)
	if status == 487 {
		cause = "cancel"
	}
	c.end(w, cause)
}

func (c *call) end(w *worker, cause string) {
	if c == nil || c.seen.State == tandem.CallEnded {
		return
	}
	w.alarms.stop(&c.old)
	c.change(func(s *tandem.Call) {
		s.State, s.Ended, s.Cause = tandem.CallEnded, w.now, cause
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
	for _, tag := range [...]string{m.From.Tag, m.To.Tag} {
		if c := t.live[callKey{m.CallID, tag}]; c != nil {
			c.end(w, "bye")
			return
		}
	}
}

// wake ends a call that nobody ended.
func (c *call) wake(alarmKind) { c.end(c.of, "timeout") }

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
