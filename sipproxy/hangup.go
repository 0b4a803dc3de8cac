package sipproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// hangupPatience is how long Hangup waits for both sides; their BYEs are repeated for longer.
const hangupPatience = 5 * time.Second

// leap is what CSeq numbers rise by when a call is taken up: requests that passed since it was
// recorded used some, and gaps are allowed (RFC 3261 section 12.2.2).
const leap = 1000

// errOver says that there is nothing left to hang up.
var errOver = errors.New("the call has ended already")

// The sides of a call, as indices of what is kept for each.
const (
	callerSide = iota
	calleeSide
)

func sideName(i int) string { return [...]string{"caller", "callee"}[i] }

// Hangup ends a call that by may see, with all its legs behind feature servers: answered ones by BYE to
// both sides, those that are being set up by CANCEL to the callee and 480 to the caller. It returns
// when all were told, or after at most five seconds with what failed; the call has ended then all the same.
func (s *Server) Hangup(ctx context.Context, by tandem.Principal, id, reason string) error {
	if _, _, err := s.findCall(by, id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, hangupPatience)
	defer cancel()
	legs := s.legsOf(id)
	ended := make(chan error, len(legs))
	for _, leg := range legs {
		go func() {
			err := s.hangupLeg(ctx, leg, reason)
			if leg != id && errors.Is(err, errOver) {
				err = nil // its feature server was faster
			}
			ended <- err
		}()
	}
	var errs error
	for range legs {
		errs = errors.Join(errs, <-ended)
	}
	return errs
}

// Choice chooses among live calls, to end them.
type Choice struct {
	Account string // "": any
	Device  string // that calls; "": any
	Pending bool   // only those that have not been answered
}

// HangupAll ends all calls that by may see and that c chooses, and returns how many it told to end.
// What failed is joined in the error.
func (s *Server) HangupAll(ctx context.Context, by tandem.Principal, c Choice, reason string) (int, error) {
	var ids []string
	for _, x := range s.Calls(by) {
		if x.State == tandem.CallEnded {
			break // those that live come first
		}
		if (c.Account == "" || x.Account == c.Account) && (c.Device == "" || x.Device == c.Device) && !(c.Pending && x.WasAnswered()) {
			ids = append(ids, x.ID)
		}
	}
	var group errgroup.Group
	group.SetLimit(hangupsAtOnce)
	failed := make([]error, len(ids))
	for i, id := range ids {
		group.Go(func() error {
			if err := s.Hangup(ctx, by, id, reason); !errors.Is(err, errOver) { // another leg of a call before it
				failed[i] = err
			}
			return nil
		})
	}
	_ = group.Wait() // what failed is in failed
	return len(ids), errors.Join(failed...)
}

// hangupsAtOnce bounds the calls that HangupAll ends side by side.
const hangupsAtOnce = 256

// legsOf returns the ids of the live legs of a call, itself first.
func (s *Server) legsOf(id string) []string {
	legs, whole := []string{id}, id
	for _, w := range s.workers {
		w.calls.mu.Lock()
		if c := w.calls.named(id); c != nil {
			whole = cmp.Or(c.seen.Joined, id)
		}
		w.calls.mu.Unlock()
	}
	for _, w := range s.workers {
		w.calls.mu.Lock()
		for _, c := range w.calls.names[whole] {
			if c.seen.ID != id {
				legs = append(legs, c.seen.ID)
			}
		}
		w.calls.mu.Unlock()
	}
	return legs
}

// hangupLeg ends one leg.
func (s *Server) hangupLeg(ctx context.Context, id, reason string) error {
	w, key, err := s.findCall(tandem.Principal{Admin: true}, id)
	if err != nil {
		return err
	}
	told := make(chan error, 1)
	select {
	case w.inbox <- event{kind: workDone, then: func() { w.hangup(key, id, reason, func(err error) { told <- err }) }}:
	case <-ctx.Done():
		return fmt.Errorf("call %s: too busy to hang up: %w", id, ctx.Err())
	}
	select {
	case err := <-told:
		if err != nil {
			return fmt.Errorf("call %s: %w", id, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("call %s: not every side has answered its BYE: %w", id, ctx.Err())
	}
}

// findCall finds a live call that by may see, and whose it is.
func (s *Server) findCall(by tandem.Principal, id string) (*worker, callKey, error) {
	for _, w := range s.workers {
		w.calls.mu.Lock()
		if c := w.calls.named(id); c != nil && by.MaySee(c.seen.Account) {
			w.calls.mu.Unlock()
			return w, c.key, nil
		}
		over := slices.ContainsFunc(w.calls.past, func(c tandem.Call) bool { return c.ID == id && by.MaySee(c.Account) })
		w.calls.mu.Unlock()
		if over {
			return nil, callKey{}, fmt.Errorf("call %s: %w", id, errOver)
		}
	}
	return nil, callKey{}, fmt.Errorf("call %s: %w", id, tandem.ErrNotFound)
}

// hungUp is a call that was hung up, for as long as its sides may still send requests.
type hungUp struct {
	w       *worker
	key     callKey
	peerTag string // the callee's tag, "" when it never answered
	reason  string // value of Reason
	cseqs   [2]uint32
	alarm   alarm
	ended   []string // tags of callees that answered too late and were told
	wait    int
	errs    error
	done    func(error)
}

// wake forgets it.
func (h *hungUp) wake(alarmKind) { delete(h.w.calls.dead, h.key) }

// hangup ends a call; done is called once, when both sides were told.
func (w *worker) hangup(key callKey, id, reason string, done func(error)) {
	c := w.calls.live[key]
	if c == nil || c.seen.ID != id {
		done(errOver)
		return
	}
	answered, invites := c.seen.WasAnswered(), c.invites
	if !answered && len(invites) == 0 {
		done(errors.New("it was being set up when the process was started again; it ends by itself"))
		return
	}
	if answered {
		w.terminate(c, "hangup", reason, tandem.EndedByAppliance, done)
		return
	}
	h := w.bury(c, reason, done)
	c.end(w, "hangup", tandem.EndedByAppliance, 480)
	for _, f := range invites {
		f.hangup(h)
	}
	done(nil)
}

// bury remembers a call that is ended from here for as long as its sides may still send requests.
func (w *worker) bury(c *call, reason string, done func(error)) *hungUp {
	h := &hungUp{w: w, key: c.key, reason: reasonValue(reason), done: done}
	w.calls.dead[c.key] = h
	w.alarms.set(&h.alarm, h, limitAlarm, w.now.Add(giveUp))
	c.change(func(s *tandem.Call) { s.Reason = reason })
	return h
}

// terminate ends an answered call by BYE to both sides; done is called once, when both were told.
func (w *worker) terminate(c *call, cause, reason string, by tandem.CallEnder, done func(error)) {
	dialogs := c.seen.Dialogs
	h := w.bury(c, reason, done)
	c.end(w, cause, by, 0)
	if len(dialogs) != 2 {
		done(errors.New("its dialogs are not known: neither side was told"))
		return
	}
	h.peerTag, h.wait = dialogs[calleeSide].RemoteTag, len(dialogs)
	for i := range dialogs {
		d := dialogs[i]
		d.CSeq = max(d.CSeq, c.cseqs[i]) + c.leap + 1
		h.cseqs[i] = d.CSeq
		w.sendBye(&d, h.reason, func(m *wire.Message) { h.answered(i, m) })
	}
}

// answered takes the final answer of one side to its BYE, nil when there was none.
func (h *hungUp) answered(side int, m *wire.Message) {
	switch {
	case m == nil:
		h.errs = errors.Join(h.errs, fmt.Errorf("the %s did not answer its BYE", sideName(side)))
	case m.Status >= 300 && m.Status != 408 && m.Status != 481: // those two end the dialog as well (RFC 3261 section 12.2.1.2)
		h.errs = errors.Join(h.errs, fmt.Errorf("the %s answered its BYE with %d %s", sideName(side), m.Status, m.Reason))
	}
	if h.wait--; h.wait == 0 {
		h.done(h.errs)
	}
}

// reasonValue writes the value of a Reason header (RFC 3326).
func reasonValue(text string) string {
	text = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(cmp.Or(text, "hangup"))
	return `SIP;cause=200;text="` + text + `"`
}

// hangup ends a call that nobody has answered yet: its branches are cancelled and its caller is told.
func (f *forwarding) hangup(h *hungUp) {
	f.cancelled, f.hung = true, h
	for _, l := range f.legs {
		if l.tx != nil {
			l.tx.reason = h.reason
		}
	}
	f.done = true
	f.cancelOthers(nil)
	f.tx.respond(f.tx.req.Response(480, statusText(480), f.w.branches.tag(f.tx.req), wire.Header{Raw: "Reason", Value: h.reason}))
}

// elsewhere takes a 2xx to one branch of a call that a carrier forked, when another branch was answered before. Two
// calls would be up in one slot, or one without: this one ends here. That departs from RFC 3261 section 16.7
// step 5; whoever forks takes one answer.
func (f *forwarding) elsewhere(tx *clientTx, m *wire.Message) {
	f.hung = &hungUp{w: f.w, key: f.call.key, reason: reasonValue("answered elsewhere")}
	f.done = true
	f.tooLate(tx, m)
	f.cancelOthers(nil)
	f.tx.respond(f.tx.req.Response(487, statusText(487), f.w.branches.tag(f.tx.req)))
}

// tooLate takes a 2xx to a call that was hung up before: it is acknowledged, and its sender gets a BYE.
func (f *forwarding) tooLate(tx *clientTx, m *wire.Message) {
	d, ok := f.calleeDialog(tx.to, m)
	if !ok {
		return
	}
	ack := f.w.within(&d, "ACK", f.hung.reason)
	f.w.writeWithin(ack, f.w.hopIn(&d))
	if slices.Contains(f.hung.ended, d.RemoteTag) {
		return // its 2xx came again
	}
	f.hung.ended = append(f.hung.ended, d.RemoteTag)
	d.CSeq++
	f.w.sendBye(&d, f.hung.reason, func(*wire.Message) {})
}

// sendBye sends a BYE in dialog d; done is called once, with its final answer or nil.
func (w *worker) sendBye(d *tandem.Dialog, reason string, done func(*wire.Message)) {
	w.sendWithin(d, "BYE", reason, done)
}

// sendWithin sends a request in dialog d; done is called once, with its final answer or nil.
func (w *worker) sendWithin(d *tandem.Dialog, method, reason string, done func(*wire.Message)) {
	to, id := w.hopIn(d), w.rand.Uint64()
	m := w.within(d, method, reason)
	if d.Target == "" || !to.remote.IsValid() {
		done(nil)
		return
	}
	to = w.withinPeer(&ask{m: m, uri: targetOf(m)}, to)
	m.Prepend(wire.Field(wire.NameVia, w.viaValue(to, w.branches.text(w.now, branch{id: id, back: to}, m.CallID, m.CSeq))))
	tx, err := w.start(id, m, to, giveUp, nil)
	if err != nil {
		done(nil)
		return
	}
	tx.done = done
}

// writeWithin sends an ACK.
func (w *worker) writeWithin(m *wire.Message, to hop) {
	to = w.withinPeer(&ask{m: m, uri: targetOf(m)}, to)
	id := w.rand.Uint64()
	m.Prepend(wire.Field(wire.NameVia, w.viaValue(to, w.branches.text(w.now, branch{id: id, back: to}, m.CallID, m.CSeq))))
	w.write(m, to, 0)
}

func targetOf(m *wire.Message) wire.URI {
	u, _ := wire.ParseURI(m.URI) // zero: nothing is named
	return u
}

// within makes a request in dialog d as the other side would send it (RFC 3261 section 12.2.1.1).
func (w *worker) within(d *tandem.Dialog, method, reason string) *wire.Message {
	m := &wire.Message{Method: method, URI: d.Target, CallID: d.CallID, CSeq: d.CSeq, CSeqMethod: method}
	for _, r := range d.Routes {
		m.Headers = append(m.Headers, wire.Field(wire.NameRoute, r))
	}
	m.Headers = append(m.Headers,
		wire.Field(wire.NameFrom, "<"+d.Local+">;tag="+d.LocalTag), wire.Field(wire.NameTo, "<"+d.Remote+">;tag="+d.RemoteTag),
		wire.Field(wire.NameCallID, d.CallID), wire.Field(wire.NameCSeq, cseqValue(d.CSeq, method)),
		wire.Field(wire.NameMaxForwards, "70"))
	if reason != "" {
		m.Headers = append(m.Headers, wire.Header{Raw: "Reason", Value: reason})
	}
	strictNext(m)
	return m
}

// hopIn is where a dialog's side is reached. What is no peer cannot be dialled.
func (w *worker) hopIn(d *tandem.Dialog) hop {
	h := hop{transport: d.Transport, remote: d.Hop, flow: true}
	i := slices.IndexFunc(w.locals, func(l local) bool { return l.name == d.Listener })
	if i < 0 {
		return hop{}
	}
	h.listener = uint8(i)
	return h
}

// calleeDialog is what requests to the callee that answered with m are made of.
func (f *forwarding) calleeDialog(to hop, m *wire.Message) (tandem.Dialog, bool) {
	below := len(f.tx.req.Values(wire.NameRecordRoute))
	all := m.Values(wire.NameRecordRoute)
	d := tandem.Dialog{
		CallID: m.CallID, Local: m.From.URI, LocalTag: m.From.Tag, Remote: m.To.URI, RemoteTag: m.To.Tag,
		CSeq: m.CSeq, Target: contact(m), Hop: to.remote, Transport: to.transport, Listener: f.w.locals[to.listener].name,
	}
	if above := len(all) - below - 2; above > 0 { // two are ours
		d.Routes = slices.Clone(all[:above])
		slices.Reverse(d.Routes)
	}
	return d, d.Target != "" && d.RemoteTag != ""
}

// dialogs are what requests to both sides of a call that m answers are made of; nil when m does not
// tell enough.
func (f *forwarding) dialogs(to hop, m *wire.Message) []tandem.Dialog {
	callee, ok := f.calleeDialog(to, m)
	if !ok {
		return nil
	}
	from := f.plan.caller.hop
	caller := tandem.Dialog{
		CallID: m.CallID, Local: m.To.URI, LocalTag: m.To.Tag, Remote: m.From.URI, RemoteTag: m.From.Tag,
		Routes: f.tx.req.Values(wire.NameRecordRoute), Target: contact(f.tx.req),
		Hop: from.remote, Transport: from.transport, Listener: f.w.locals[from.listener].name,
	}
	return []tandem.Dialog{callerSide: caller, calleeSide: callee}
}

// contact is the URI of a message's Contact, "" when it has none that can be read.
func contact(m *wire.Message) string {
	a, err := wire.ParseAddress(m.Get(wire.NameContact))
	if err != nil {
		return ""
	}
	return a.URI
}

// of returns the call of an in-dialog message and the side that its request goes to; nil for one with the same
// tag twice, since a token binds the caller's tag alone and the callee might write it into From too.
func (t *callTable) of(m *wire.Message) (*call, int) {
	if m.From.Tag == m.To.Tag {
		return nil, callerSide
	}
	if c := t.live[callKey{m.CallID, m.From.Tag}]; c != nil {
		return c, calleeSide
	}
	return t.live[callKey{m.CallID, m.To.Tag}], callerSide
}

// passing notes what a request of a dialog tells: its CSeq, and where its sender is from now on.
func (t *callTable) passing(m *wire.Message) {
	c, to := t.of(m)
	if c == nil || m.Method == "ACK" {
		return
	}
	c.cseqs[to] = max(c.cseqs[to], m.CSeq)
	c.vitals.heard = c.of.now
	if m.Method == "INVITE" || m.Method == "UPDATE" {
		c.moved(1-to, contact(m))
	}
}

// confirmed notes what the 2xx to a request of a dialog tells: where its sender is from now on, and how
// the call stands.
func (t *callTable) confirmed(w *worker, req, m *wire.Message) {
	c, side := t.of(m)
	if c == nil {
		return
	}
	if m.CSeqMethod == "INVITE" || m.CSeqMethod == "UPDATE" {
		c.moved(side, contact(m))
	}
	if m.CSeqMethod == "INVITE" && len(c.invites) == 0 {
		c.answered(w, c.seen.Node, nil, m) // before a restart, and it was not recorded any more
	}
	c.changed(w, req, m)
}

// moved gives a side a new remote target, and has that recorded.
func (c *call) moved(side int, target string) {
	if target == "" || len(c.seen.Dialogs) != 2 || c.seen.Dialogs[side].Target == target {
		return
	}
	c.change(func(s *tandem.Call) {
		s.Dialogs = slices.Clone(s.Dialogs) // records that wait to be written have the old ones
		s.Dialogs[side].Target = target
		c.of.recorder.note(*s)
	})
}

// gone answers a request of a dialog that was hung up; nil when it is none, or our own come back.
func (t *callTable) gone(m *wire.Message) *refusal {
	for i, tag := range [...]string{callerSide: m.To.Tag, calleeSide: m.From.Tag} {
		h := t.dead[callKey{m.CallID, tag}]
		switch {
		case h == nil:
		case m.Method == "ACK", h.cseqs[i] == m.CSeq && m.Method == "BYE" && h.own(m):
			return nil
		case m.Method == "BYE":
			return refuse(200, "OK")
		default:
			return refuse(481, "")
		}
	}
	return nil
}

// own reports whether m is our BYE, sent back to us by a proxy between.
func (h *hungUp) own(m *wire.Message) bool {
	for _, v := range m.Values(wire.NameVia) {
		via, err := wire.ParseVia(v)
		if err != nil {
			continue
		}
		if _, ok := h.w.branches.open(h.w.now, via.Branch, m.CallID, m.CSeq); ok {
			return true
		}
	}
	return false
}
