package sipproxy

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// msg is a request as a phone or node would write it; text fills in what is left out.
type msg struct {
	method, uri, from, to, fromTag, toTag, callID, branch, hops string
	cseq                                                        int
	extra                                                       string // whole lines
	body                                                        string
}

func (m msg) text(src hop) string {
	def := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	def(&m.method, "INVITE")
	def(&m.uri, "sip:bob@acme.voice.example.net")
	def(&m.from, "sip:alice@acme.voice.example.net")
	def(&m.to, m.uri)
	def(&m.fromTag, "ft")
	def(&m.callID, "call-1")
	def(&m.branch, "z9hG4bKb1")
	def(&m.hops, "70")
	if m.cseq == 0 {
		m.cseq = 1
	}
	if m.toTag != "" {
		m.toTag = ";tag=" + m.toTag
	}
	lines := []string{
		m.method + " " + m.uri + " SIP/2.0",
		"Via: SIP/2.0/" + strings.ToUpper(src.transport.String()) + " " + src.remote.String() + ";branch=" + m.branch + ";rport",
		"From: <" + m.from + ">;tag=" + m.fromTag,
		"To: <" + m.to + ">" + m.toTag,
		"Call-ID: " + m.callID,
		"CSeq: " + strconv.Itoa(m.cseq) + " " + m.method,
		"Max-Forwards: " + m.hops,
		"Contact: <sip:me@" + src.remote.String() + ">",
	}
	if m.method == "ACK" || m.method == "CANCEL" || m.method == "BYE" {
		lines = lines[:7]
	}
	text := strings.Join(lines, "\r\n") + "\r\n"
	if m.extra != "" {
		text += strings.ReplaceAll(m.extra, "\n", "\r\n") + "\r\n"
	}
	return text + "Content-Length: " + strconv.Itoa(len(m.body)) + "\r\n\r\n" + m.body
}

// carrierCall is an INVITE from the carrier, which needs no digest, to account 1001.
func carrierCall(extra ...func(*msg)) string {
	m := msg{uri: "sip:030100@127.0.0.1", from: "sip:+33123@pstn.example.org"}
	for _, fn := range extra {
		fn(&m)
	}
	return m.text(pstn)
}

// twoNodes lets invites of account 1001 go to n1, then n2.
func (r *rig) twoNodes() {
	r.dns["invite.1001.svc.voice.example.net"] = []tandem.Target{targetAt("n1", node1, 0), targetAt("n2", node2, 1)}
}

func TestForwardsCall(t *testing.T) {
	r := newRig(t)
	got := r.deliverRaw(pstn, carrierCall(func(m *msg) { m.extra = "X-Kept: \"as; it is\""; m.body = "v=0" }))
	if s := statuses(got, pstn); s != "100" {
		t.Fatalf("answered %q, want 100", s)
	}
	out := r.find(got, "INVITE sip:030100@127.0.0.1 SIP/2.0")
	if out.to.remote != node1.remote {
		t.Errorf("sent to %v, want %v", out.to.remote, node1.remote)
	}
	if vias := out.m.Values(wire.NameVia); len(vias) != 2 || !strings.HasPrefix(vias[0], "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK") ||
		!strings.Contains(vias[1], "received=127.0.0.21;rport=5060") {
		t.Errorf("Via = %q", vias)
	}
	if rr := out.m.Values(wire.NameRecordRoute); len(rr) != 2 {
		t.Errorf("Record-Route = %q, want one a side", rr)
	}
	if out.m.MaxForwards != 69 || !strings.Contains(out.b, "X-Kept: \"as; it is\"\r\n") || out.m.Body != "v=0" {
		t.Errorf("forwarded:\n%s", out.b)
	}
	up := r.one(r.answer(out, 180, "tt"))
	if up.to.remote != pstn.remote || up.m.Status != 180 || len(up.m.Values(wire.NameVia)) != 1 {
		t.Errorf("upstream: %s", up.b)
	}
	up = r.one(r.answer(out, 200, "tt"))
	if up.m.Status != 200 || up.m.To.Tag != "tt" {
		t.Errorf("upstream: %s", up.b)
	}
	calls := r.s.Calls(tandem.Principal{Admin: true})
	if len(calls) != 1 || calls[0].State != tandem.CallAnswered || calls[0].Node != "n1" || calls[0].Account != "1001" || calls[0].Type != "invite" {
		t.Errorf("calls = %+v", calls)
	}
}

func TestRetransmissions(t *testing.T) {
	r := newRig(t)
	invite := carrierCall()
	out := r.find(r.deliverRaw(pstn, invite), "INVITE")
	if got := r.one(r.deliverRaw(pstn, invite)); got.m.Status != 100 {
		t.Errorf("retransmitted INVITE made %s", got.start())
	}
	// Timer A: 0.5, 1.5, 3.5 s.
	if got := r.advance(3500 * time.Millisecond); len(got) != 3 || got[0].b != out.b {
		t.Errorf("repeated %s, want the INVITE three times", starts(got))
	}
	r.answer(out, 180, "tt")
	if got := r.advance(20 * time.Second); len(got) != 0 {
		t.Errorf("repeated after a provisional response: %s", starts(got))
	}
	if got := r.one(r.deliverRaw(pstn, invite)); got.m.Status != 180 {
		t.Errorf("retransmitted INVITE was answered %s, want the 180", got.start())
	}
	got := r.answer(out, 486, "tt")
	if ack := r.find(got, "ACK "); ack.to.remote != node1.remote || ack.m.Via.Branch != out.m.Via.Branch || ack.m.To.Tag != "tt" {
		t.Errorf("ACK %s", ack.b)
	}
	if s := statuses(got, pstn); s != "486" {
		t.Errorf("upstream %q", s)
	}
	if got := r.one(r.answer(out, 486, "tt")); got.m.Method != "ACK" {
		t.Errorf("repeated 486 made %s", got.start())
	}
	if got := r.advance(1500 * time.Millisecond); statuses(got, pstn) != "486 486" { // Timer G
		t.Errorf("repeated %s", starts(got))
	}
	if got := r.deliverRaw(pstn, carrierCall(func(m *msg) { m.method = "ACK"; m.toTag = "tt" })); len(got) != 0 {
		t.Errorf("ACK to 486 made %s", starts(got))
	}
	if got := r.advance(60 * time.Second); len(got) != 0 {
		t.Errorf("after the ACK: %s", starts(got))
	}
	r.empty()
}

// empty checks that no transaction is left.
func (r *rig) empty() {
	r.t.Helper()
	if len(r.w.servers) != 0 || len(r.w.clients) != 0 || r.s.count.serverTx.Load() != 0 || r.s.count.clientTx.Load() != 0 {
		r.t.Errorf("%d server and %d client transactions left (counted %d and %d)", len(r.w.servers), len(r.w.clients),
			r.s.count.serverTx.Load(), r.s.count.clientTx.Load())
	}
}

func TestFailover(t *testing.T) {
	second := func(r *rig, got []letter) letter {
		r.t.Helper()
		for _, l := range got {
			if l.m.Method == "INVITE" && l.to.remote == node2.remote {
				return l
			}
		}
		r.t.Fatalf("nothing for the second target among %s", starts(got))
		return letter{}
	}
	for _, c := range []struct {
		name string
		fail func(r *rig, out letter) []letter
	}{
		{"503", func(r *rig, out letter) []letter { return r.answer(out, 503, "x") }},
		{"silence", func(r *rig, out letter) []letter { return r.advance(4 * time.Second) }},
		{"the network says so", func(r *rig, out letter) []letter {
			r.net.sent = nil
			r.w.handle(event{kind: targetFailed, from: node1}, r.now)
			return r.net.sent
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.twoNodes()
			out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
			if out.to.remote != node1.remote {
				t.Fatalf("first target %v", out.to.remote)
			}
			next := second(r, c.fail(r, out))
			if s := statuses(r.answer(next, 200, "tt"), pstn); s != "200" {
				t.Errorf("upstream %q, want 200", s)
			}
			r.advance(2 * time.Minute)
			r.empty()
		})
	}
	t.Run("sending fails", func(t *testing.T) {
		r := newRig(t)
		r.twoNodes()
		r.net.refuse[node1.remote] = true
		second(r, r.deliverRaw(pstn, carrierCall()))
	})
	t.Run("486 is no reason", func(t *testing.T) {
		r := newRig(t)
		r.twoNodes()
		out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
		if s := statuses(r.answer(out, 486, "x"), pstn); s != "486" {
			t.Errorf("upstream %q, want 486", s)
		}
	})
	t.Run("all fail", func(t *testing.T) {
		r := newRig(t)
		r.twoNodes()
		out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
		next := second(r, r.answer(out, 503, "x"))
		if s := statuses(r.answer(next, 503, "y"), pstn); s != "500" {
			t.Errorf("upstream %q, want 500", s)
		}
	})
	t.Run("all silent", func(t *testing.T) {
		r := newRig(t)
		r.twoNodes()
		r.deliverRaw(pstn, carrierCall())
		if s := statuses(r.advance(8*time.Second), pstn); s != "408" {
			t.Errorf("upstream %q, want 408", s)
		}
	})
	t.Run("the one given up wakes", func(t *testing.T) {
		r := newRig(t)
		r.twoNodes()
		out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
		second(r, r.advance(4*time.Second))
		if got := r.one(r.answer(out, 180, "late")); got.m.Method != "CANCEL" || got.to.remote != node1.remote {
			t.Errorf("late 180 made %s", got.start())
		}
	})
}

// The target given up answers after all: the caller gets that, and the one tried since stops ringing.
func TestLateAnswerOfTheOneGivenUp(t *testing.T) {
	r := newRig(t)
	r.twoNodes()
	first := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	var second letter
	for _, l := range r.advance(4 * time.Second) {
		if l.to.remote == node2.remote {
			second = l
		}
	}
	r.answer(second, 180, "t2")
	got := r.answer(first, 200, "t1")
	if s := statuses(got, pstn); s != "200" {
		t.Errorf("upstream %q, want 200", s)
	}
	if c := r.find(got, "CANCEL"); c.to.remote != node2.remote {
		t.Errorf("CANCEL went to %v", c.to.remote)
	}
	if s := statuses(r.answer(second, 487, "t2"), pstn); s != "" {
		t.Errorf("the other's 487 gave %q", s)
	}
	r.advance(5 * time.Minute)
	r.empty()
}

func TestCancel(t *testing.T) {
	cancel := carrierCall(func(m *msg) { m.method = "CANCEL" })
	t.Run("while ringing", func(t *testing.T) {
		r := newRig(t)
		out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
		r.answer(out, 180, "tt")
		got := r.deliverRaw(pstn, cancel)
		if s := statuses(got, pstn); s != "200" {
			t.Errorf("CANCEL answered %q", s)
		}
		c := r.find(got, "CANCEL ")
		if c.to.remote != node1.remote || c.m.Via.Branch != out.m.Via.Branch || c.m.To.Tag != "" || c.m.CSeq != out.m.CSeq {
			t.Errorf("CANCEL %s", c.b)
		}
		if got := r.one(r.deliverRaw(pstn, cancel)); got.m.Status != 200 {
			t.Errorf("repeated CANCEL made %s", got.start())
		}
		if got := r.answer(c, 200, "tt"); len(got) != 0 {
			t.Errorf("200 to our CANCEL made %s", starts(got))
		}
		if s := statuses(r.answer(out, 487, "tt"), pstn); s != "487" {
			t.Errorf("upstream %q, want 487", s)
		}
		if calls := r.s.Calls(tandem.Principal{Admin: true}); len(calls) != 1 || calls[0].State != tandem.CallEnded || calls[0].Cause != "cancel" {
			t.Errorf("calls = %+v", calls)
		}
	})
	t.Run("before anything came back", func(t *testing.T) {
		r := newRig(t)
		out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
		if got := r.one(r.deliverRaw(pstn, cancel)); got.m.Status != 200 {
			t.Errorf("CANCEL made %s", starts([]letter{got}))
		}
		if got := r.one(r.answer(out, 100, "")); got.m.Method != "CANCEL" {
			t.Errorf("first provisional made %s, want CANCEL", got.start())
		}
	})
	t.Run("crossing a 200", func(t *testing.T) {
		r := newRig(t)
		out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
		r.answer(out, 180, "tt")
		r.deliverRaw(pstn, cancel)
		if s := statuses(r.answer(out, 200, "tt"), pstn); s != "200" {
			t.Errorf("upstream %q, want 200", s)
		}
	})
	t.Run("no failover for who gave up", func(t *testing.T) {
		r := newRig(t)
		r.twoNodes()
		out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
		r.answer(out, 180, "tt")
		r.deliverRaw(pstn, cancel)
		if got := r.answer(out, 503, "tt"); statuses(got, pstn) != "487" {
			t.Errorf("503 after CANCEL made %s", starts(got))
		}
	})
	t.Run("of a silent target", func(t *testing.T) {
		r := newRig(t)
		out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
		r.answer(out, 180, "tt")
		r.deliverRaw(pstn, cancel)
		if s := statuses(r.advance(33*time.Second), pstn); !strings.HasPrefix(s, "487") {
			t.Errorf("upstream %q, want 487", s)
		}
		r.advance(2 * time.Minute)
		r.empty()
	})
	t.Run("of nothing", func(t *testing.T) {
		r := newRig(t)
		if got := r.one(r.deliverRaw(pstn, cancel)); got.m.Status != 481 {
			t.Errorf("answered %s, want 481", got.start())
		}
		r.empty()
	})
}

// The network may turn the order round.
func TestReordered(t *testing.T) {
	r := newRig(t)
	if got := r.one(r.deliverRaw(pstn, carrierCall(func(m *msg) { m.method = "CANCEL" }))); got.m.Status != 481 {
		t.Errorf("CANCEL before its INVITE made %s", got.start())
	}
	if got := r.deliverRaw(pstn, carrierCall(func(m *msg) { m.method, m.toTag = "ACK", "tt" })); len(got) != 0 {
		t.Errorf("ACK before its INVITE made %s", starts(got))
	}
	out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	if s := statuses(r.answer(out, 200, "tt"), pstn); s != "200" {
		t.Errorf("upstream %q", s)
	}
	if got := r.answer(out, 180, "tt"); len(got) != 0 {
		t.Errorf("180 after 200 made %s", starts(got))
	}
	if got := r.deliverRaw(pstn, carrierCall()); len(got) != 0 {
		t.Errorf("INVITE after its 200 made %s", starts(got))
	}
	if got := r.deliverRaw(pstn, carrierCall(func(m *msg) { m.method = "CANCEL" })); statuses(got, pstn) != "200" || len(got) != 1 {
		t.Errorf("CANCEL after 200 made %s", starts(got))
	}
}

// Timers E and F: requests other than INVITE are repeated at most every four seconds, and given up with
// 504, for 408 is forbidden (RFC 4320).
func TestNonInviteTimers(t *testing.T) {
	r := newRig(t)
	m := msg{method: "MESSAGE", uri: "sip:030100@127.0.0.1", body: "hi"}
	out := r.one(r.deliverRaw(pstn, m.text(pstn)))
	if got := r.advance(16 * time.Second); len(got) != 6 { // 0.5, 1.5, 3.5, 7.5, 11.5, 15.5 s
		t.Errorf("repeated %d times in 16 s, want 6", len(got))
	}
	if s := statuses(r.advance(17*time.Second), pstn); s != "504" {
		t.Errorf("upstream %q, want 504", s)
	}
	if got := r.answer(out, 200, "late"); len(got) != 0 {
		t.Errorf("late 200 made %s", starts(got))
	}
	r.advance(2 * time.Minute)
	r.empty()
}

// The queue of alarms gives them back in order, whatever was set and stopped.
func TestAlarms(t *testing.T) {
	var h alarms
	start := time.Unix(0, 0)
	set := make([]*alarm, 300)
	r := newRig(t)
	for i := range set {
		set[i] = new(alarm)
		h.set(set[i], nil, retryAlarm, start.Add(time.Duration(r.w.rand.IntN(1000))*time.Second))
	}
	for i := range set {
		switch i % 3 {
		case 0:
			h.stop(set[i])
		case 1:
			h.set(set[i], nil, limitAlarm, start.Add(time.Duration(r.w.rand.IntN(1000))*time.Second))
		}
	}
	last, n := start, 0
	for a := h.due(start.Add(time.Hour)); a != nil; a = h.due(start.Add(time.Hour)) {
		if a.at.Before(last) || a.pos != 0 {
			t.Fatalf("rang at %v after %v", a.at, last)
		}
		last, n = a.at, n+1
	}
	if n != 200 {
		t.Errorf("%d rang, want 200", n)
	}
}

func TestTimerC(t *testing.T) {
	r := newRig(t)
	out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	r.answer(out, 180, "tt")
	r.advance(100 * time.Second)
	r.answer(out, 183, "tt")
	if got := r.advance(184 * time.Second); len(got) != 0 {
		t.Errorf("too early: %s", starts(got))
	}
	if got := r.advance(2 * time.Second); len(got) == 0 || got[0].m.Method != "CANCEL" {
		t.Errorf("after 185 s: %s, want CANCEL", starts(got))
	}
	if s := statuses(r.answer(out, 487, "tt"), pstn); s != "487" {
		t.Errorf("upstream %q", s)
	}
}

func TestForgedResponses(t *testing.T) {
	r := newRig(t)
	out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	good := string(out.m.Response(200, "OK", "evil").Append(nil))
	for _, c := range []struct{ name, text string }{
		{"guessed branch", strings.Replace(good, out.m.Via.Branch, out.m.Via.Branch[:20]+strings.Repeat("A", 19), 1)},
		{"another call's", strings.Replace(good, "call-1", "call-2", 1)},
		{"another CSeq", strings.Replace(good, "CSeq: 1 ", "CSeq: 2 ", 1)},
		{"another host", strings.Replace(good, "127.0.0.1:5060;branch", "127.0.0.9:5060;branch", 1)},
		{"no branch", strings.Replace(good, ";branch="+out.m.Via.Branch, "", 1)},
		{"reflected request's Via", strings.Replace(good, out.m.Values(wire.NameVia)[0]+"\r\nVia: ", "", 1)},
	} {
		if got := r.deliverRaw(node1, c.text); len(got) != 0 {
			t.Errorf("%s: passed: %s", c.name, starts(got))
		}
	}
	if n := r.s.count.forged.Load(); n != 6 {
		t.Errorf("%d counted, want 6", n)
	}
	if s := statuses(r.deliverRaw(node1, good), pstn); s != "200" {
		t.Errorf("the genuine one gave %q", s)
	}
}

func TestLate200(t *testing.T) {
	r := newRig(t)
	out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	r.answer(out, 200, "tt")
	if s := statuses(r.answer(out, 200, "tt"), pstn); s != "200" {
		t.Errorf("repeated 200 gave %q, want 200 upstream", s)
	}
	r.advance(40 * time.Second)
	r.empty()
	if got := r.one(r.answer(out, 200, "tt")); got.to.remote != pstn.remote {
		t.Errorf("late 200 went to %v", got.to.remote)
	}
	if got := r.answer(out, 486, "tt"); len(got) != 0 {
		t.Errorf("late 486 made %s", starts(got))
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		from hop
		m    msg
		want int
	}{
		{"too many hops", pstn, msg{uri: "sip:030100@127.0.0.1", hops: "0"}, 483},
		{"Proxy-Require", pstn, msg{uri: "sip:030100@127.0.0.1", extra: "Proxy-Require: privacy"}, 420},
		{"unknown scheme", pstn, msg{uri: "http://example.com"}, 416},
		{"a number that is nobody's", pstn, msg{uri: "sip:030999@127.0.0.1"}, 404},
		{"no number", pstn, msg{uri: "sip:alice@acme.voice.example.net"}, 404},
		{"OPTIONS to us", strange, msg{method: "OPTIONS", uri: "sip:127.0.0.1:5060"}, 200},
		{"OPTIONS to us by name", strange, msg{method: "OPTIONS", uri: "sip:acme.voice.example.net"}, 200},
		{"stranger from an unknown domain", strange, msg{from: "sip:x@elsewhere.example"}, 404},
		{"Route elsewhere", strange, msg{extra: "Route: <sip:192.0.2.9;lr>"}, 403},
		{"dialog without route", strange, msg{method: "BYE", toTag: "x"}, 403},
		{"dialog with an invented token", strange, msg{method: "BYE", toTag: "x", extra: "Route: <sip:" + strings.Repeat("a", 64) + "@127.0.0.1:5060;lr>"}, 403},
		{"token outside a dialog", strange, msg{extra: "Route: <sip:" + strings.Repeat("a", 64) + "@127.0.0.1:5060;lr>"}, 403},
		{"REGISTER by a peer", pstn, msg{method: "REGISTER", uri: "sip:acme.voice.example.net"}, 403},
		{"core to nobody", node1, msg{uri: "sip:nobody@acme.voice.example.net"}, 404},
		{"core to a device not registered", node1, msg{}, 480},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			got := r.one(r.deliverRaw(c.from, c.m.text(c.from)))
			if got.m.Status != c.want {
				t.Errorf("answered %s, want %d", got.start(), c.want)
			}
			if got.to.remote != c.from.remote {
				t.Errorf("answered to %v", got.to.remote)
			}
			if c.from == strange && len(r.w.servers) != 0 {
				t.Error("a stranger left state behind")
			}
		})
	}
}

func TestLoop(t *testing.T) {
	r := newRig(t)
	out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	// The node sends it back with everything as it was, as if it came from the carrier again.
	back := strings.Replace(out.b, "Via: ", "Via: SIP/2.0/UDP 127.0.0.21:5060;branch=z9hG4bKnode\r\nVia: ", 1)
	if got := r.one(r.deliverRaw(pstn, back)); got.m.Status != 482 {
		t.Errorf("answered %s, want 482", got.start())
	}
	// A feature server that is a proxy may send it back to be delivered: no loop.
	if got := r.deliverRaw(node1, back); statuses(got, node1) == "482" {
		t.Errorf("a spiral through the core was taken for a loop")
	}
}

func TestNeverAmplifies(t *testing.T) {
	r := newRig(t)
	for _, text := range []string{
		"X sip:a SIP/2.0\r\nv:SIP/2.0/UDP a\r\n\r\n",
		"OPTIONS sip:127.0.0.1 SIP/2.0\r\nv:SIP/2.0/UDP a\r\nf:<sip:a@b>\r\nt:<sip:a@b>\r\ni:1\r\nCSeq:1 OPTIONS\r\n\r\n",
	} {
		for _, l := range r.deliverRaw(strange, text) {
			if len(l.b) > 3*len(text) {
				t.Errorf("%d octets for %d", len(l.b), len(text))
			}
		}
	}
}

func TestMalformedIsAnsweredOnceWithoutState(t *testing.T) {
	r := newRig(t)
	bad := strings.Replace(msg{}.text(strange), "CSeq: 1 INVITE", "CSeq: 1 BYE", 1)
	got := r.one(r.deliverRaw(strange, bad))
	if got.m.Status != 400 || !strings.Contains(got.m.Reason, "CSeq") {
		t.Errorf("answered %s", got.start())
	}
	if got := r.advance(time.Minute); len(got) != 0 {
		t.Errorf("repeated %s", starts(got))
	}
	r.empty()
	for _, text := range []string{"", "\r\n\r\n", "garbage", "INVITE\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", "ACK sip:a@b SIP/2.0\r\n\r\n"} {
		if got := r.deliverRaw(strange, text); len(got) != 0 {
			t.Errorf("%q made %s", text, starts(got))
		}
	}
}
