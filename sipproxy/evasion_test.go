package sipproxy

import (
	"fmt"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// only returns the only live call.
func (r *rig) only() *call {
	r.t.Helper()
	if len(r.w.calls.live) != 1 {
		r.t.Fatalf("%d live calls, want 1", len(r.w.calls.live))
	}
	for _, c := range r.w.calls.live {
		return c
	}
	return nil
}

// A session timer that has run out of a call which is not ended by it is not looked at again and again.
func TestSessionTimerThatEndsNothing(t *testing.T) {
	expires := wire.Header{Raw: "Session-Expires", Value: "1"}
	node := wire.Field(wire.NameContact, "<sip:b2b@127.0.0.11:5060>")
	for _, tt := range []struct {
		name string
		play func(r *rig)
	}{
		{"a 2xx without Contact", func(r *rig) {
			r.answer(r.find(r.deliverRaw(pstn, carrierCall()), "INVITE"), 200, "tt", expires)
		}},
		{"an emergency call", func(r *rig) {
			out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
			r.only().seen.Type = string(tandem.TypeEmergency)
			r.answer(out, 200, "tt", node, expires)
		}},
		{"an UPDATE before the answer", func(r *rig) {
			rings := r.find(r.answer(r.find(r.deliverRaw(pstn, carrierCall()), "INVITE"), 183, "tt", node), "SIP/2.0 183")
			r.within(fromCaller("UPDATE", rings), pstn, 200, node, expires)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			tt.play(r)
			c := r.only()
			r.now = r.now.Add(2 * time.Second)
			r.w.now = r.now
			c.wake(limitAlarm)
			if !c.old.at.After(r.now) || c.seen.State == tandem.CallEnded {
				t.Errorf("%s, to be looked at again %v later", c.seen.State, c.old.at.Sub(r.now))
			}
		})
	}
}

// A restart ends no call because of a time that its record names: refreshes since are not in it.
func TestRestartBelievesNoOldTimer(t *testing.T) {
	for _, tt := range []struct {
		name    string
		expires []wire.Header
	}{
		{"no session timer", nil},
		{"refreshed since", []wire.Header{{Raw: "Session-Expires", Value: "1800"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, log := recordingRig(t)
			node := wire.Field(wire.NameContact, "<sip:b2b@127.0.0.11:5060>")
			invite := before.find(before.deliverRaw(pstn, carrierCall()), "INVITE")
			ok := before.find(before.answer(invite, 200, "tt", append(tt.expires, node)...), "SIP/2.0 200")
			held := fromCaller("INVITE", ok)
			held.body = sdp("a=sendonly")
			before.within(held, pstn, 200, append(tt.expires, node)...)
			before.written(log)
			up := log.kept[len(log.kept)-1]
			// The process ends an hour after; the call was refreshed in time.
			shift := time.Now().Add(-time.Hour).Sub(before.now)
			up.Started, up.Answered, up.Expires = up.Started.Add(shift), up.Answered.Add(shift), up.Expires.Add(shift)

			r, log := recordingRig(t)
			log.open = []tandem.Call{up}
			if err := r.s.takeUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.now = time.Now()
			for range 20 * 60 {
				for _, l := range r.advance(time.Second) {
					if l.m.Method == "BYE" {
						t.Fatalf("ended: %s", l.b)
					}
					r.answer(l, 200, "")
				}
			}
			if n := r.s.count.sounded.Load(); n == 0 {
				t.Error("its sides were not asked")
			}
		})
	}
}

// A call that is up after a BYE which did not reach its other side is not taken for over without telling that side.
func TestBYEThatGoesAstray(t *testing.T) {
	r, s := weighedRig(t)
	_, ok := r.setUp()
	bye := fromCaller("BYE", ok)
	bye.uri = "sip:b2b@127.0.0.11:9"
	astray := r.find(r.deliverRaw(pstn, bye.text(pstn)), "BYE")
	if astray.to.remote.Port() != 9 {
		t.Fatalf("went to %v", astray.to.remote)
	}
	r.net.sent = nil
	r.w.handle(event{kind: targetFailed, from: astray.to}, r.now)
	own := r.find(r.net.sent, "BYE sip:b2b@127.0.0.11:5060 ")
	if own.to.remote != node1.remote || own.m.CSeq != 3 {
		t.Errorf("sent\n%s", own.b)
	}
	r.answer(own, 200, "")
	if len(s.groups) != 0 {
		t.Errorf("%d slots", len(s.groups))
	}
}

// A BYE before the answer ends no call: its INVITE's final response does.
func TestBYEBeforeTheAnswer(t *testing.T) {
	r, s := weighedRig(t)
	invite := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	rings := r.find(r.answer(invite, 180, "tt", wire.Field(wire.NameContact, "<sip:b2b@127.0.0.11:5060>")), "SIP/2.0 180")
	bye := fromCaller("BYE", rings)
	bye.toTag = "invented"
	r.answer(r.find(r.deliverRaw(pstn, bye.text(pstn)), "BYE"), 481, "")
	if len(s.groups) != 1 {
		t.Fatalf("%d slots while it rings, want 1", len(s.groups))
	}
	r.answer(invite, 200, "tt", wire.Field(wire.NameContact, "<sip:b2b@127.0.0.11:5060>"))
	if c := r.only(); c.seen.State != tandem.CallAnswered || len(s.groups) != 1 {
		t.Errorf("%s with %d slots", c.seen.State, len(s.groups))
	}
}

// A carrier's INVITE for a call that is answered already, or has many branches, is none of its forks: it would be
// counted nowhere.
func TestForksAreBounded(t *testing.T) {
	fork := func(r *rig, n int) string {
		return statuses(r.deliverRaw(pstn, carrierCall(func(m *msg) { m.branch = fmt.Sprint("z9hG4bKfork", n) })), pstn)
	}
	t.Run("answered", func(t *testing.T) {
		r, s := weighedRig(t)
		r.setUp()
		if got := fork(r, 0); got != "482" || len(s.groups) != 1 {
			t.Errorf("answered %q with %d slots", got, len(s.groups))
		}
	})
	t.Run("many", func(t *testing.T) {
		r, s := weighedRig(t)
		for n := range mostForks + 1 {
			want := "100"
			if n == mostForks {
				want = "482"
			}
			if got := fork(r, n); got != want || len(s.groups) != 1 {
				t.Errorf("branch %d: answered %q with %d slots, want %s", n, got, len(s.groups), want)
			}
		}
	})
}

// What a feature server sends out of an emergency call is one too: no limit keeps it back.
func TestEmergencySecondLeg(t *testing.T) {
	for _, tt := range []struct{ name, user, want string }{
		{"emergency", "112", "100"},
		{"another number", "1121", "486"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, s := weighedRig(t)
			s.refuse["g1"] = tandem.Refusal{Code: 486, Reason: "permitted"}
			got := r.deliverRaw(node1, coreCall("sip:"+tt.user+"@acme.voice.example.net"))
			if st := statuses(got, node1); st != tt.want {
				t.Fatalf("answered %q, want %s", st, tt.want)
			}
			if tt.want == "100" && r.find(got, "INVITE sip:112@").to.remote != node3.remote {
				t.Errorf("sent %s", starts(got))
			}
		})
	}
}

// Nobody uses up the numbers that a BYE of ours would need.
func TestNoCSeqIsTheLast(t *testing.T) {
	const last = 1<<31 - 1
	r := newRig(t)
	if got := r.one(r.deliverRaw(pstn, carrierCall(func(m *msg) { m.cseq = last }))); got.m.Status != 400 {
		t.Fatalf("INVITE: %s", got.start())
	}
	_, ok := r.setUp()
	info := fromCaller("INFO", ok)
	info.cseq = last
	if got := r.one(r.deliverRaw(pstn, info.text(pstn))); got.m.Status != 400 {
		t.Fatalf("INFO: %s", got.start())
	}
	info.cseq, info.branch = last-1<<16, "z9hG4bKhigh"
	r.find(r.deliverRaw(pstn, info.text(pstn)), "INFO")
	sent, _ := r.hangup()
	if bye := r.find(sent, "BYE sip:b2b@127.0.0.11:5060 "); bye.m.CSeq != last-1<<16+1 {
		t.Errorf("BYE with CSeq %d", bye.m.CSeq)
	}
}

// The callee does not pass for the caller by the caller's tag: what is known of the caller's side stays.
func TestCalleeIsNotTheCaller(t *testing.T) {
	r := newRig(t)
	invite, _ := r.setUp()
	c := r.only()
	target, cseqs := c.seen.Dialogs[callerSide].Target, c.cseqs
	re := fromCallee("INVITE", invite)
	re.fromTag, re.cseq = "ft", 1000
	re.extra += "\nContact: <sip:elsewhere@127.0.0.22>"
	r.deliverRaw(node1, re.text(node1))
	if c.seen.Dialogs[callerSide].Target != target || c.cseqs[calleeSide] != cseqs[calleeSide] {
		t.Errorf("the caller is at %s, CSeq %v", c.seen.Dialogs[callerSide].Target, c.cseqs)
	}
}

// A phone that refuses the BYE of a feature server holds no slot of those who called it; a node that asks for
// credentials does.
func TestPhoneRefusesBYE(t *testing.T) {
	for _, status := range []int{401, 500, 403} {
		r, s := weighedRig(t)
		r.register(phoneB, "bob", 1)
		out := r.find(r.deliverRaw(node1, coreCall("sip:bob@acme.voice.example.net")), "INVITE")
		ok := r.find(r.answer(out, 200, "bb", wire.Field(wire.NameContact, "<sip:bob@127.0.0.1:5064>")), "SIP/2.0 200")
		bye := msg{method: "BYE", uri: "sip:bob@127.0.0.1:5064", from: "sip:+33123@pstn.example.org", to: "sip:bob@acme.voice.example.net",
			fromTag: "b2b", toTag: "bb", callID: "second-leg", cseq: 2, branch: "z9hG4bKbye", extra: routes(ok.m, true)}
		got := r.answer(r.find(r.deliverRaw(node1, bye.text(node1)), "BYE"), status, "")
		if own := r.find(got, "BYE sip:bob@127.0.0.1:5064 "); own.to.remote != phoneB.remote || len(s.groups) != 0 {
			t.Errorf("after %d: %d slots, %s", status, len(s.groups), starts(got))
		}
	}
}
