package sipproxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// scales is a balancer that counts each group's slots and refuses what is set.
type scales struct {
	refuse map[string]tandem.Refusal // by group
	dead   map[string]bool           // nodes
	next   tandem.Slot
	groups map[tandem.Slot][]string
	asked  []tandem.Admission
	log    []string
}

func newScales() *scales {
	return &scales{refuse: map[string]tandem.Refusal{}, dead: map[string]bool{}, groups: map[tandem.Slot][]string{}}
}

func (s *scales) Admit(a tandem.Admission) (tandem.Admitted, tandem.Refusal) {
	a.Among = slices.Clone(a.Among)
	s.asked = append(s.asked, a)
	for _, g := range []string{a.Group, a.Other} {
		if r, ok := s.refuse[g]; ok && !a.Emergency {
			return tandem.Admitted{}, r
		}
	}
	if a.Joined != 0 {
		return tandem.Admitted{Usable: len(a.Among)}, tandem.Refusal{}
	}
	s.next++
	s.groups[s.next] = []string{a.Group, a.Other}
	return tandem.Admitted{Slot: s.next, Usable: len(a.Among)}, tandem.Refusal{}
}

func (s *scales) Move(_ tandem.Slot, node string) bool {
	s.log = append(s.log, "move "+node)
	return !s.dead[node]
}
func (s *scales) Answered(slot tandem.Slot) { s.log = append(s.log, fmt.Sprint("answered ", slot)) }
func (s *scales) Release(slot tandem.Slot) bool {
	s.log = append(s.log, fmt.Sprint("release ", slot))
	delete(s.groups, slot)
	return true
}
func (s *scales) Restore(groups []string, node string, answered bool) tandem.Slot {
	s.next++
	s.groups[s.next] = groups
	s.log = append(s.log, fmt.Sprint("restore ", groups, node, answered))
	return s.next
}

// weighedRig is a rig whose calls are admitted by scales; account 2002 is in a group of its own.
func weighedRig(t *testing.T) (*rig, *scales) {
	r := newRig(t, func(o tandem.Object) {
		if a, ok := o.(*tandem.Account); ok && a.ID == "2002" {
			a.Group = "g2"
		}
	})
	s := newScales()
	r.s.deps.Balancer = s
	r.s.joins = newJoins(s)
	r.twoNodes()
	return r, s
}

// L5, L6, L15: a refusal carries code and reason, and is recorded; other groups are served.
func TestRefusedCalls(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refusal tandem.Refusal
		code    int
		reason  string
		retry   bool
	}{
		{"permitted", tandem.Refusal{Code: 486, Reason: "permitted"}, 486, `SIP;cause=486;text="permitted"`, false},
		{"quality", tandem.Refusal{Code: 503, Reason: "quality", RetryAfter: 5 * time.Second}, 503, `SIP;cause=503;text="quality"`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, s := weighedRig(t)
			log := new(callLog)
			r.s.deps.Calls = log
			s.refuse["g1"] = tt.refusal
			got := r.one(r.deliverRaw(pstn, carrierCall()))
			if got.m.Status != tt.code || fieldNamed(got.m, "Reason", "") != tt.reason || got.m.Has(wire.NameRetryAfter) != tt.retry {
				t.Errorf("answered:\n%s", got.b)
			}
			if got := r.written(log); got != "ended/"+tt.name+"/appliance" || log.kept[0].Account != "1001" || log.kept[0].Status != uint16(tt.code) {
				t.Errorf("recorded %q: %+v", got, log.kept)
			}
			if got := strings.Join(log.kept[0].Groups, " "); got != "g1" {
				t.Errorf("recorded with groups %q, want g1: whose limit or cluster refused it", got)
			}
			if n := len(r.s.Calls(tandem.Principal{Admin: true})); n != 0 || len(s.groups) != 0 {
				t.Errorf("%d calls and %d slots", n, len(s.groups))
			}
			other := r.deliverRaw(pstn, carrierCall(func(m *msg) { m.uri, m.callID, m.branch = "sip:030200@127.0.0.1", "other", "z9hG4bKo" }))
			r.find(other, "INVITE")
		})
	}
}

// L13: each kind of end gives the slot back, once.
func TestEveryEndFreesTheSlot(t *testing.T) {
	ring := func(r *rig) letter { return r.find(r.deliverRaw(pstn, carrierCall()), "INVITE") }
	for _, tt := range []struct {
		name string
		play func(r *rig)
		want string
	}{
		{"BYE of the caller", func(r *rig) {
			_, ok := r.setUp()
			r.answer(r.find(r.deliverRaw(pstn, fromCaller("BYE", ok).text(pstn)), "BYE"), 200, "")
		}, "answered 1 release 1"},
		{"BYE repeated, and one of the callee", func(r *rig) {
			invite, ok := r.setUp()
			bye := r.find(r.deliverRaw(pstn, fromCaller("BYE", ok).text(pstn)), "BYE")
			other := r.find(r.deliverRaw(node1, fromCallee("BYE", invite).text(node1)), "BYE")
			r.answer(bye, 200, "")
			r.answer(bye, 200, "")
			r.answer(other, 481, "")
		}, "answered 1 release 1"},
		{"BYE that is lost for ever", func(r *rig) {
			r.setUp()
			r.advance(25 * time.Hour)
		}, "answered 1 release 1"},
		{"BYE refused", func(r *rig) {
			_, ok := r.setUp()
			r.answer(r.find(r.deliverRaw(pstn, fromCaller("BYE", ok).text(pstn)), "BYE"), 407, "")
		}, "answered 1"},
		{"BYE of another fork's dialog", func(r *rig) {
			_, ok := r.setUp()
			bye := fromCaller("BYE", ok)
			bye.toTag = "another"
			r.answer(r.find(r.deliverRaw(pstn, bye.text(pstn)), "BYE"), 200, "")
		}, "answered 1"},
		{"CANCEL", func(r *rig) {
			out := ring(r)
			r.answer(out, 180, "tt")
			r.deliverRaw(pstn, carrierCall(func(m *msg) { m.method = "CANCEL" }))
			r.answer(out, 487, "tt")
		}, "release 1"},
		{"busy", func(r *rig) { r.answer(ring(r), 486, "tt") }, "release 1"},
		{"declined", func(r *rig) { r.answer(ring(r), 603, "tt") }, "release 1"},
		{"both nodes fail", func(r *rig) {
			out := ring(r)
			next := r.find(r.answer(out, 503, "tt"), "INVITE")
			r.answer(next, 503, "tt")
		}, "move n2 release 1"},
		{"nobody answers", func(r *rig) {
			ring(r)
			r.advance(5 * time.Minute)
		}, "move n2 release 1"},
		{"rings for ever", func(r *rig) {
			r.answer(ring(r), 180, "tt")
			r.advance(10 * time.Minute)
		}, "release 1"},
		{"hangup", func(r *rig) {
			r.setUp()
			r.hangup()
		}, "answered 1 release 1"},
		{"hangup while it rings", func(r *rig) {
			r.answer(ring(r), 180, "tt")
			r.hangup()
		}, "release 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, s := weighedRig(t)
			tt.play(r)
			r.advance(time.Minute)
			if got := strings.Join(s.log, " "); got != tt.want {
				t.Errorf("the balancer heard %q, want %q", got, tt.want)
			}
		})
	}
}

// A node that has failed since the call was placed is passed over; an emergency call tries it all the same.
func TestFailoverSkipsTheDead(t *testing.T) {
	r, s := weighedRig(t)
	r.dns["invite.1001.svc.voice.example.net"] = []tandem.Target{targetAt("n1", node1, 0), targetAt("n2", node2, 1), targetAt("n3", node3, 2)}
	s.dead["n2"] = true
	out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	if next := r.find(r.answer(out, 503, "tt"), "INVITE"); next.to.remote != node3.remote {
		t.Errorf("tried %v next, want n3", next.to.remote)
	}
}

// coreCall is a feature server's INVITE towards a number, in a dialog of its own.
func coreCall(uri string, fields ...string) string {
	return carrierCall(func(m *msg) {
		m.uri, m.callID, m.branch, m.fromTag = uri, "second-leg", "z9hG4bKsecond", "b2b"
		m.extra = strings.Join(fields, "\n")
	})
}

// A call that passes a feature server is one call, told by our header or by Session-ID.
func TestLegsAreJoined(t *testing.T) {
	const session = "Session-ID: ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000"
	for _, tt := range []struct {
		name   string
		first  string                     // field of the first leg
		second func(invite letter) string // field of the second
		joined bool
	}{
		{"our header", "", func(i letter) string { return callHeader + ": " + fieldNamed(i.m, callHeader, "") }, true},
		{"our header, forged", "", func(i letter) string {
			value := fieldNamed(i.m, callHeader, "")
			return callHeader + ": " + value[:len(value)-2] + "AA"
		}, false},
		{"Session-ID", session, func(letter) string { return session }, true},
		{"another Session-ID", session, func(letter) string { return strings.ReplaceAll(session, "ab30", "cd30") }, false},
		{"nothing", "", func(letter) string { return "" }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, s := weighedRig(t)
			r.register(phoneB, "bob", 1)
			first := r.find(r.deliverRaw(pstn, carrierCall(func(m *msg) { m.extra = tt.first })), "INVITE")
			second := r.find(r.deliverRaw(node1, coreCall("sip:bob@acme.voice.example.net", tt.second(first))), "INVITE")
			if fieldNamed(second.m, callHeader, "") != "" {
				t.Errorf("our header went to a phone:\n%s", second.b)
			}
			want := 2
			if tt.joined {
				want = 1
			}
			if len(s.groups) != want {
				t.Fatalf("%d slots, want %d", len(s.groups), want)
			}
			calls := r.s.Calls(tandem.Principal{Admin: true})
			leg, other := calls[0], calls[1]
			if leg.CallID != "second-leg" {
				leg, other = other, leg
			}
			if (leg.Joined == other.ID) != tt.joined || leg.Separate == tt.joined {
				t.Errorf("second leg: joined %q separate %v", leg.Joined, leg.Separate)
			}
			want = 2
			if !tt.joined {
				want = 1
			}
			for _, c := range calls {
				if legs := r.s.legsOf(c.ID); len(legs) != want {
					t.Errorf("legs of %s: %v, want %d", c.CallID, legs, want)
				}
			}
			r.answer(second, 486, "tt") // the first leg goes on
			if len(s.groups) != 1 {
				t.Errorf("%d slots while the first leg is up, want 1", len(s.groups))
			}
			r.answer(first, 486, "tt")
			if len(s.groups) != 0 {
				t.Errorf("%d slots after both", len(s.groups))
			}
			if n := len(r.w.calls.names); n != 0 {
				t.Errorf("%d names left", n)
			}
		})
	}
}

// A device that makes one call again and again beside itself does not get past its number.
func TestSameCallTwice(t *testing.T) {
	r, s := weighedRig(t)
	invite := func(branch string) []letter {
		return r.ask(phoneA, alice(), msg{branch: branch, callID: "twice"})
	}
	r.find(invite("z9hG4bKone"), "INVITE")
	if got := invite("z9hG4bKtwo"); !strings.Contains(statuses(got, phoneA), "482") || len(s.groups) != 1 {
		t.Errorf("again: %s with %d slots, want 482 and 1", starts(got), len(s.groups))
	}
}

// X2: after a restart each call holds its slots again, the legs of one call together, until the last is over.
func TestSlotsAfterRestart(t *testing.T) {
	before, _ := weighedRig(t)
	log := new(callLog)
	before.s.deps.Calls = log
	before.register(phoneB, "bob", 1)
	first, _ := before.setUp()
	second := before.find(before.deliverRaw(node1, coreCall("sip:bob@acme.voice.example.net", callHeader+": "+fieldNamed(first.m, callHeader, ""))), "INVITE")
	before.answer(second, 200, "bb", wire.Header{Name: wire.NameContact, Raw: "Contact", Value: "<sip:bob@127.0.0.1:5064>"})
	before.written(log)
	latest := map[string]tandem.Call{}
	for _, c := range log.kept {
		latest[c.ID] = c
	}

	r, s := weighedRig(t)
	log = new(callLog)
	r.s.deps.Calls = log
	for _, c := range latest {
		c.Started = time.Now()
		log.open = append(log.open, c)
	}
	if err := r.s.takeUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.groups) != 1 || len(log.open) != 2 || !strings.HasPrefix(s.log[0], "restore [g1]n1true") {
		t.Fatalf("%d legs hold %v after %q", len(log.open), s.groups, s.log)
	}
	for i, c := range log.open {
		r.w.calls.live[callKey{c.CallID, c.Dialogs[0].RemoteTag}].end(r.w, "bye", tandem.EndedByCaller, 0)
		if want := 1 - i; len(s.groups) != want {
			t.Errorf("%d slots after %d legs ended, want %d", len(s.groups), i+1, want)
		}
	}
}

// What a carrier forked to us is one call: it holds one slot until the last branch has failed, or the one
// that was answered ends.
func TestCarrierForks(t *testing.T) {
	for _, tt := range []struct {
		name string
		play func(r *rig, one, two letter)
		want string
	}{
		{"both fail", func(r *rig, one, two letter) {
			r.answer(one, 486, "t1")
			r.answer(two, 486, "t2")
		}, "trying ended/486/callee"},
		{"one fails", func(r *rig, one, _ letter) { r.answer(one, 486, "t1") }, "trying"},
		{"one is answered", func(r *rig, one, two letter) {
			r.answer(one, 486, "t1")
			r.answer(two, 200, "t2")
		}, "trying answered"},
		{"one is answered, the other fails then", func(r *rig, one, two letter) {
			r.answer(one, 200, "t1")
			r.answer(two, 487, "t2")
		}, "trying answered"},
		{"both are answered", func(r *rig, one, two letter) {
			node := wire.Field(wire.NameContact, "<sip:b2b@127.0.0.11:5060>")
			r.answer(one, 200, "t1", node)
			late := r.answer(two, 200, "t2", node)
			if s := statuses(late, pstn); s != "487" || r.find(late, "BYE").m.To.Tag != "t2" || r.find(late, "ACK").m.To.Tag != "t2" {
				r.t.Errorf("the second answer: %q, %s", s, starts(late))
			}
			if again := r.answer(one, 200, "t1", node); statuses(again, pstn) != "200" {
				r.t.Errorf("the first answer again: %s", starts(again))
			}
		}, "trying answered"},
		{"hung up", func(r *rig, one, two letter) {
			r.answer(one, 180, "t1")
			r.answer(two, 180, "t2")
			if sent, _ := r.hangup(); strings.Count(starts(sent), "CANCEL") != 2 {
				r.t.Errorf("sent %s, want two CANCELs", starts(sent))
			}
		}, "trying ringing ended/hangup/appliance"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, s := weighedRig(t)
			log := new(callLog)
			r.s.deps.Calls = log
			one := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
			two := r.find(r.deliverRaw(pstn, carrierCall(func(m *msg) { m.branch = "z9hG4bKb2" })), "INVITE")
			if len(s.groups) != 1 {
				t.Fatalf("%d slots, want 1", len(s.groups))
			}
			tt.play(r, one, two)
			got := r.written(log)
			if got != tt.want || (len(s.groups) == 0) != strings.Contains(got, "ended") {
				t.Errorf("recorded %q with %d slots, want %q", got, len(s.groups), tt.want)
			}
		})
	}
}

// slowScales answer when the test says so, as a balancer does that must ask another instance.
type slowScales struct {
	*scales
	answer chan struct{}
}

func (s slowScales) Admit(a tandem.Admission) (tandem.Admitted, tandem.Refusal) {
	<-s.answer
	return s.scales.Admit(a)
}

// A call that waits for its slot keeps nobody else waiting, and can be given up meanwhile.
func TestWaitingForASlot(t *testing.T) {
	for _, tt := range []struct {
		name   string
		play   func(r *rig) []letter // while it waits
		refuse bool
		want   string // statuses for the carrier, at the end
		slots  int
	}{
		{"goes on", nil, false, "100", 1},
		{"is refused", nil, true, "100 486", 0},
		{"given up", func(r *rig) []letter {
			return r.deliverRaw(pstn, carrierCall(func(m *msg) { m.method = "CANCEL" }))
		}, false, "100 200 487", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, s := weighedRig(t)
			slow := slowScales{s, make(chan struct{})}
			r.s.deps.Balancer, r.s.deps.Waits = slow, true
			if tt.refuse {
				s.refuse["g1"] = tandem.Refusal{Code: 486, Reason: "permitted"}
			}
			got := r.deliverRaw(pstn, carrierCall())
			if other := r.deliverRaw(pstn, msg{method: "OPTIONS", uri: "sip:127.0.0.1", branch: "z9hG4bKo", callID: "o"}.text(pstn)); statuses(other, pstn) != "200" {
				t.Errorf("another request meanwhile: %s", starts(other))
			}
			if tt.play != nil {
				got = append(got, tt.play(r)...)
			}
			close(slow.answer)
			r.net.sent = nil
			r.w.handle(<-r.w.inbox, r.now)
			if got = append(got, r.net.sent...); statuses(got, pstn) != tt.want || len(s.groups) != tt.slots {
				t.Errorf("%s with %d slots, want %s and %d", starts(got), len(s.groups), tt.want, tt.slots)
			}
			if sent := strings.Contains(starts(r.net.sent), "INVITE"); sent != (tt.slots == 1) {
				t.Errorf("the node got an INVITE: %v", sent)
			}
		})
	}
}

// An emergency call waits for nobody's slot, however many other calls do; an ordinary one is refused then.
func TestEmergencyWaitsForNoSlot(t *testing.T) {
	for called, want := range map[string]string{"112": "100", "1120": "503"} {
		r, s := weighedRig(t)
		r.s.deps.Waits = true
		for range mostAsking {
			r.s.asking <- struct{}{}
		}
		got := r.ask(phoneA, alice(), msg{uri: "sip:" + called + "@acme.voice.example.net"})
		if statuses(got, phoneA) != want || (len(s.groups) == 1) != (called == "112") {
			t.Errorf("%s: %s with %d slots, want %s", called, starts(got), len(s.groups), want)
		}
	}
}
