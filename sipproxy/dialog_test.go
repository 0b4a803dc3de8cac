package sipproxy

import (
	"strings"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// setUp makes a call from the carrier to n1 and answers it. It returns the INVITE as n1 got it and the
// 200 as the carrier got it.
func (r *rig) setUp() (invite, ok letter) {
	r.t.Helper()
	invite = r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	node := wire.Header{Name: wire.NameContact, Raw: "Contact", Value: "<sip:b2b@" + invite.to.remote.String() + ">"}
	ok = r.find(r.answer(invite, 200, "tt", node), "SIP/2.0 200")
	return invite, ok
}

// routes turns recorded routes into the Route field of one side: the callee's in order, the caller's
// reversed.
func routes(m *wire.Message, reversed bool) string {
	rr := m.Values(wire.NameRecordRoute)
	if reversed {
		for i, j := 0, len(rr)-1; i < j; i, j = i+1, j-1 {
			rr[i], rr[j] = rr[j], rr[i]
		}
	}
	return "Route: " + strings.Join(rr, ", ")
}

// fromCaller and fromCallee are requests within the dialog that setUp made.
func fromCaller(method string, ok letter) msg {
	return msg{method: method, uri: "sip:b2b@127.0.0.11:5060", from: "sip:+33123@pstn.example.org", to: "sip:030100@127.0.0.1", toTag: "tt",
		cseq: 2, branch: "z9hG4bK" + method, extra: routes(ok.m, true)}
}

func fromCallee(method string, invite letter) msg {
	return msg{method: method, uri: "sip:me@127.0.0.21:5060", from: "sip:030100@127.0.0.1", fromTag: "tt", to: "sip:+33123@pstn.example.org", toTag: "ft",
		cseq: 9, branch: "z9hG4bKx" + method, extra: routes(invite.m, false)}
}

func TestDialogRequests(t *testing.T) {
	r := newRig(t)
	invite, ok := r.setUp()
	ack := r.one(r.deliverRaw(pstn, fromCaller("ACK", ok).text(pstn)))
	if ack.m.Method != "ACK" || ack.to.remote != node1.remote || ack.m.Has(wire.NameRoute) || ack.m.Has(wire.NameRecordRoute) {
		t.Errorf("ACK to %v:\n%s", ack.to.remote, ack.b)
	}
	if again := r.one(r.deliverRaw(pstn, fromCaller("ACK", ok).text(pstn))); again.to.remote != node1.remote {
		t.Errorf("repeated ACK went to %v", again.to.remote)
	}
	re := r.find(r.deliverRaw(pstn, fromCaller("INVITE", ok).text(pstn)), "INVITE")
	if re.to.remote != node1.remote {
		t.Errorf("re-INVITE to %v", re.to.remote)
	}
	if s := statuses(r.answer(re, 200, "tt"), pstn); s != "200" {
		t.Errorf("re-INVITE answered %q", s)
	}
	bye := r.one(r.deliverRaw(node1, fromCallee("BYE", invite).text(node1)))
	if bye.m.Method != "BYE" || bye.to.remote != pstn.remote || bye.m.URI != "sip:me@127.0.0.21:5060" {
		t.Errorf("BYE of the callee: %s to %v", bye.start(), bye.to.remote)
	}
	if s := statuses(r.answer(bye, 200, ""), node1); s != "200" {
		t.Errorf("BYE answered %q", s)
	}
	calls := r.s.Calls(tandem.Principal{Admin: true})
	if len(calls) != 1 || calls[0].State != tandem.CallEnded || calls[0].Cause != "bye" {
		t.Errorf("calls = %+v", calls)
	}
}

// D11, L12: what owns the dialog is in the token, not in the routes nor in memory.
func TestDialogSurvives(t *testing.T) {
	t.Run("repointing", func(t *testing.T) {
		r := newRig(t)
		_, ok := r.setUp()
		r.dns["invite.1001.svc.voice.example.net"] = []tandem.Target{targetAt("n2", node2, 0)}
		if bye := r.one(r.deliverRaw(pstn, fromCaller("BYE", ok).text(pstn))); bye.to.remote != node1.remote {
			t.Errorf("BYE to %v, want the node that owns the dialog", bye.to.remote)
		}
		fresh := r.find(r.deliverRaw(pstn, carrierCall(func(m *msg) { m.callID = "call-2"; m.branch = "z9hG4bKnew" })), "INVITE")
		if fresh.to.remote != node2.remote {
			t.Errorf("new call to %v, want the new target", fresh.to.remote)
		}
	})
	t.Run("restart", func(t *testing.T) {
		old := newRig(t)
		invite, ok := old.setUp()
		r := newRig(t)
		r.s.tokens = old.s.tokens // the keys come from the store
		if bye := r.one(r.deliverRaw(pstn, fromCaller("BYE", ok).text(pstn))); bye.to.remote != node1.remote {
			t.Errorf("BYE to %v", bye.to.remote)
		}
		if bye := r.one(r.deliverRaw(node1, fromCallee("BYE", invite).text(node1))); bye.to.remote != pstn.remote {
			t.Errorf("callee's BYE to %v", bye.to.remote)
		}
	})
}

func TestTokenOpensNothingElse(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*msg)
	}{
		{"another call", func(m *msg) { m.callID = "other" }},
		{"another caller", func(m *msg) { m.fromTag = "other" }},
		{"no dialog", func(m *msg) { m.toTag = "" }},
		{"altered", func(m *msg) { m.extra = strings.Replace(m.extra, "sip:0", "sip:f", 1); m.extra = flip(m.extra) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			_, ok := r.setUp()
			m := fromCaller("BYE", ok)
			c.change(&m)
			if got := r.one(r.deliverRaw(strange, m.text(strange))); got.m.Status != 403 {
				t.Errorf("made %s, want 403", got.start())
			}
		})
	}
	t.Run("flow aimed elsewhere", func(t *testing.T) {
		r := newRig(t)
		invite, _ := r.setUp()
		m := fromCallee("BYE", invite)
		i := strings.Index(m.extra, ";fl=")
		if i < 0 {
			t.Fatalf("no flow in %s", m.extra)
		}
		m.extra = m.extra[:i+10] + flip(m.extra[i+10:])
		if got := r.one(r.deliverRaw(node1, m.text(node1))); got.m.Status != 481 {
			t.Errorf("made %s, want 481", got.start())
		}
	})
}

// A node may be deleted while its calls are up: their BYE ends them all the same, and the node is told.
func TestBYEToANodeThatIsGone(t *testing.T) {
	for _, tt := range []struct {
		name, method string
		want         string
		left         int
	}{
		{"BYE", "BYE", "ended/bye/caller", 0},
		{"INFO", "INFO", "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, log := recordingRig(t)
			_, ok := r.setUp()
			r.written(log)
			log.kept = nil
			r.s.Apply([]tandem.Change{{Revision: 900, Kind: tandem.KindNode, ID: "n1"}})
			sent := r.deliverRaw(pstn, fromCaller(tt.method, ok).text(pstn))
			r.find(sent, "SIP/2.0 481")
			if got := r.written(log); got != tt.want || len(r.w.calls.live) != tt.left {
				t.Errorf("recorded %q, want %q, and %d calls live", got, tt.want, len(r.w.calls.live))
			}
			told := 0
			for _, l := range sent {
				if l.m.Method == "BYE" && l.to.remote == node1.remote {
					told++
				}
			}
			if want := 1 - tt.left; told != want {
				t.Errorf("the node got %d BYEs, want %d", told, want)
			}
		})
	}
}

// flip changes one letter in the middle of the first token-like run.
func flip(s string) string {
	i := strings.IndexAny(s, "abcdefghABCDEFGH")
	c := byte('A')
	if s[i] == 'A' {
		c = 'B'
	}
	return s[:i] + string(c) + s[i+1:]
}

// RFC 3261 section 16.4: the router before us put our Record-Route URI into the Request-URI, the target last
// into Route.
func TestStrictRouterBefore(t *testing.T) {
	r := newRig(t)
	_, ok := r.setUp()
	m := fromCaller("BYE", ok)
	rr := ok.m.Values(wire.NameRecordRoute)
	m.uri = strings.Trim(rr[1], "<>")
	m.extra = "Route: " + rr[0] + ", <sip:b2b@127.0.0.11:5060>"
	m.to = "sip:030100@127.0.0.1"
	bye := r.one(r.deliverRaw(pstn, m.text(pstn)))
	if bye.m.URI != "sip:b2b@127.0.0.11:5060" || bye.to.remote != node1.remote || bye.m.Has(wire.NameRoute) {
		t.Errorf("to %v:\n%s", bye.to.remote, bye.b)
	}
}

// RFC 3261 section 16.6 step 6: the next router is strict, so it gets itself in the Request-URI.
func TestStrictRouterBehind(t *testing.T) {
	r := newRig(t)
	_, ok := r.setUp()
	m := fromCaller("BYE", ok)
	m.extra += ", <sip:127.0.0.11:5080>, <sip:10.0.0.9;lr>"
	bye := r.one(r.deliverRaw(pstn, m.text(pstn)))
	if bye.m.URI != "sip:127.0.0.11:5080" || bye.to.remote.String() != "127.0.0.11:5080" {
		t.Errorf("%s to %v", bye.start(), bye.to.remote)
	}
	want := []string{"<sip:10.0.0.9;lr>", "<sip:b2b@127.0.0.11:5060>"}
	if got := bye.m.Values(wire.NameRoute); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("Route = %q, want %q", got, want)
	}
}

func TestCallsAreSeenByTheirAccountOnly(t *testing.T) {
	r := newRig(t)
	r.s.cfg.SilentAfter = 100 * time.Hour
	r.setUp()
	if got := r.s.Calls(tandem.Principal{Account: "1001"}); len(got) != 1 {
		t.Errorf("its own account sees %d calls", len(got))
	}
	if got := r.s.Calls(tandem.Principal{Account: "2002"}); len(got) != 0 {
		t.Errorf("another account sees %d calls", len(got))
	}
	r.advance(25 * time.Hour)
	if got := r.s.Calls(tandem.Principal{Account: "1001"}); len(got) != 1 || got[0].Cause != "timeout" {
		t.Errorf("after a day: %+v", got)
	}
}
