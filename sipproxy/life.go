package sipproxy

import (
	"strconv"
	"strings"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// What happens to a call while it is up, and how one is found to be over whose BYE was lost: by its
// session timer (RFC 4028), by asking both sides when nothing was heard for long, or when its node
// fell silent, else by its greatest age. Emergency calls are never ended so: they only stop being
// counted at their greatest age.

// vitals are when a call is looked at.
type vitals struct {
	age     time.Time // its greatest age
	session time.Time // its session timer runs out; zero: it has none
	heard   time.Time // the last sign of life
	doubted bool      // both sides are to be asked now
	asking  int       // sides that have not answered yet
	gone    [2]bool   // sides that know nothing of it any more
	holds   [2]bool   // sides that hold the other
	focus   [2]bool   // sides that are a conference
}

// expires is when the call is given up unless something is heard of it. A session timer counts only where it
// can end the call: one that ran out would otherwise be looked at for ever.
func (c *call) expires() time.Time {
	if v := &c.vitals; c.maySound() && !v.session.IsZero() && v.session.Before(v.age) {
		return v.session
	}
	return c.vitals.age
}

// watch sets the alarm for when the call must be looked at next.
func (c *call) watch(w *worker) {
	v, at := &c.vitals, c.expires()
	if silent := v.heard.Add(w.cfg.SilentAfter); c.maySound() && silent.Before(at) {
		at = silent
	}
	w.alarms.set(&c.old, c, limitAlarm, at)
}

// maySound reports whether the call's sides can be asked, and their silence can end it.
func (c *call) maySound() bool {
	return c.seen.WasAnswered() && len(c.seen.Dialogs) == 2 && c.seen.Type != string(tandem.TypeEmergency)
}

// wake looks at a call of which nothing was heard.
func (c *call) wake(alarmKind) {
	w, v := c.of, &c.vitals
	switch {
	case !w.now.Before(v.age):
		c.reap(w, "timeout")
	case !v.session.IsZero() && !w.now.Before(v.session) && c.maySound():
		c.reap(w, "session-timer")
	case c.maySound() && v.asking == 0 && (v.doubted || !w.now.Before(v.heard.Add(w.cfg.SilentAfter))):
		c.sound(w)
	default:
		c.watch(w)
	}
}

// reap ends a call whose sides are gone; should one be there all the same, it is told.
func (c *call) reap(w *worker, cause string) {
	if !c.maySound() {
		c.end(w, cause, tandem.EndedByReaper, 0)
		return
	}
	w.terminate(c, cause, cause, tandem.EndedByReaper, func(error) {})
}

// sound asks both sides by OPTIONS within their dialog whether the call is still up. Its CSeq is that of the
// last request of the dialog, so that it takes no number which the other side will use: whoever
// finds it out of order says 500, and knows the dialog.
func (c *call) sound(w *worker) {
	v := &c.vitals
	v.doubted, v.asking, v.gone = false, len(c.seen.Dialogs), [2]bool{}
	w.count.sounded.Add(1)
	for i := range c.seen.Dialogs {
		d := c.seen.Dialogs[i]
		d.CSeq = max(d.CSeq, c.cseqs[i])
		w.sendWithin(&d, "OPTIONS", "", func(m *wire.Message) { c.sounded(w, i, m) })
	}
}

// sounded takes one side's answer, nil when there was none.
func (c *call) sounded(w *worker, side int, m *wire.Message) {
	v := &c.vitals
	v.asking--
	if m == nil || m.Status == 481 || m.Status == 408 {
		v.gone[side] = true
	}
	switch {
	case c.seen.State == tandem.CallEnded:
	case v.gone[callerSide] || v.gone[calleeSide]: // whatever the other one is going to say
		c.reap(w, "silent")
	case v.asking > 0:
	default:
		v.heard = w.now
		c.watch(w)
	}
}

// doubt has the sides of a node's calls asked by and by, because the node fell silent.
func (w *worker) doubt(node string) {
	const pace = 4 * time.Millisecond // between two calls, so that many of them are no storm
	at := w.now
	for _, c := range w.calls.live {
		if c.seen.Node == node && c.maySound() && c.vitals.asking == 0 {
			c.vitals.doubted = true
			w.alarms.set(&c.old, c, limitAlarm, at)
			at = at.Add(pace)
		}
	}
}

// timed reads the session timer that a 2xx agrees on (RFC 4028 section 8.2): absent, there is none.
func (c *call) timed(w *worker, m *wire.Message) {
	c.vitals.session = time.Time{}
	if s := sessionExpires(m); s > 0 {
		c.vitals.session = w.now.Add(s)
	}
}

// sessionExpires reads Session-Expires (RFC 4028 section 4), zero when it is absent or unreadable.
func sessionExpires(m *wire.Message) time.Duration {
	value := fieldNamed(m, "Session-Expires", "x")
	value, _, _ = strings.Cut(value, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// fieldNamed returns the value of a header field that the wire package knows no number for.
func fieldNamed(m *wire.Message, name, compact string) string {
	for _, h := range m.Headers {
		if h.Name == wire.NameOther && (strings.EqualFold(h.Raw, name) || compact != "" && strings.EqualFold(h.Raw, compact)) {
			return h.Value
		}
	}
	return ""
}

// changed notes what a 2xx to a request within the dialog changed: hold, conference, transfer.
func (c *call) changed(w *worker, req, m *wire.Message) {
	to := calleeSide
	if req.To.Tag == c.key.tag {
		to = callerSide
	}
	v := &c.vitals
	v.heard = w.now
	switch req.Method {
	case "INVITE", "UPDATE":
		if holds, ok := offersHold(req.Body); ok {
			v.holds[1-to] = holds
		} else if holds, ok := offersHold(m.Body); ok {
			v.holds[to] = holds
		}
		v.focus[1-to], v.focus[to] = isFocus(req), isFocus(m)
		c.timed(w, m)
		c.watch(w)
		c.change(func(s *tandem.Call) { s.Expires = c.expires().UTC() })
		c.enter(w, c.upState())
	case "REFER":
		c.enter(w, tandem.CallForwarded)
	}
}

// upState is the state of an answered call.
func (c *call) upState() tandem.CallState {
	v := &c.vitals
	switch {
	case v.holds[0] || v.holds[1]:
		return tandem.CallHeld
	case v.focus[0] || v.focus[1]:
		return tandem.CallConferenced
	}
	return tandem.CallAnswered
}

// enter brings an answered call into a state, if it is in another.
func (c *call) enter(w *worker, state tandem.CallState) {
	c.change(func(s *tandem.Call) {
		if s.WasAnswered() && s.State != state {
			s.Enter(state, w.now)
		}
	})
}

// isFocus reports whether the sender of a message is a conference (RFC 4579 section 5.1).
func isFocus(m *wire.Message) bool {
	a, err := wire.ParseAddress(m.Get(wire.NameContact))
	if err != nil {
		return false
	}
	for p := range wire.Params(a.Params) {
		if p.Is("isfocus") {
			return true
		}
	}
	return false
}

// offersHold reports whether a session description stops the media that its sender would receive (RFC 3264
// section 8.4): no stream that is not rejected is received. ok is false when there is none.
func offersHold(body string) (hold, ok bool) {
	session := direction{receives: true}
	var streams []direction
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\r\n")
		at := &session
		if len(streams) > 0 {
			at = &streams[len(streams)-1]
		}
		switch {
		case strings.HasPrefix(line, "m="):
			fields := strings.Fields(line)
			streams = append(streams, direction{receives: session.receives, nowhere: session.nowhere, off: len(fields) > 1 && fields[1] == "0"})
		case strings.HasPrefix(line, "c="):
			fields := strings.Fields(line)
			at.nowhere = len(fields) > 2 && fields[2] == "0.0.0.0" // as before RFC 3264
		case line == "a=sendonly", line == "a=inactive":
			at.receives = false
		case line == "a=sendrecv", line == "a=recvonly":
			at.receives = true
		}
	}
	for _, s := range streams {
		if s.off {
			continue
		}
		if ok = true; s.receives && !s.nowhere {
			return false, true
		}
	}
	return ok, ok
}

// direction is what a session description says of a stream.
type direction struct{ receives, nowhere, off bool }
