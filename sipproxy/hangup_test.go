package sipproxy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// hangup hangs up the only live call. It returns what was sent, and the outcome once there is one.
func (r *rig) hangup() ([]letter, *[]error) {
	r.t.Helper()
	calls := r.s.Calls(tandem.Principal{Account: "1001"})
	w, key, err := r.s.findCall(tandem.Principal{Account: "1001"}, calls[0].ID)
	if err != nil {
		r.t.Fatal(err)
	}
	told := new([]error)
	r.net.sent = nil
	w.handle(event{kind: workDone, then: func() {
		w.hangup(key, calls[0].ID, `the "customer" asked`, func(err error) { *told = append(*told, err) })
	}}, r.now)
	if n := r.s.count.panics.Load(); n != 0 {
		r.t.Fatalf("%d panics", n)
	}
	return r.net.sent, told
}

// byes finds the BYEs to both sides of the call of setUp and checks what they are made of.
func (r *rig) byes(sent []letter, cseqs [2]string) (caller, callee letter) {
	r.t.Helper()
	if len(sent) != 2 {
		r.t.Fatalf("%d messages sent, want 2: %s", len(sent), starts(sent))
	}
	caller, callee = r.find(sent, "BYE sip:me@127.0.0.21:5060 "), r.find(sent, "BYE sip:b2b@127.0.0.11:5060 ")
	for _, c := range []struct {
		bye      letter
		to       hop
		from, ft string
		tt, cseq string
	}{
		{caller, pstn, "sip:030100@127.0.0.1", "tt", "ft", cseqs[0]},
		{callee, node1, "sip:+33123@pstn.example.org", "ft", "tt", cseqs[1]},
	} {
		m := c.bye.m
		if c.bye.to.remote != c.to.remote || m.From.URI != c.from || m.From.Tag != c.ft || m.To.Tag != c.tt || m.Get(wire.NameCSeq) != c.cseq+" BYE" ||
			m.CallID != "call-1" || !strings.Contains(c.bye.b, `Reason: SIP;cause=200;text="the \"customer\" asked"`) || m.Has(wire.NameRoute) {
			r.t.Errorf("BYE to %v, want CSeq %s:\n%s", c.bye.to.remote, c.cseq, c.bye.b)
		}
	}
	return caller, callee
}

func TestHangupAnswered(t *testing.T) {
	r, log := recordingRig(t)
	invite, ok := r.setUp()
	r.deliverRaw(pstn, fromCaller("INFO", ok).text(pstn)) // CSeq 2
	sent, told := r.hangup()
	caller, callee := r.byes(sent, [2]string{"1", "3"})
	if got := r.written(log); got != "trying answered ended/hangup/appliance" {
		t.Errorf("recorded %q", got)
	}
	if again := r.advance(t1); len(again) != 2+1 { // the INFO is repeated too
		t.Errorf("repeated: %s", starts(again))
	}
	r.answer(caller, 200, "")
	if len(*told) != 0 {
		t.Error("done with one answer of two")
	}
	// Glare: the callee's own BYE is answered here; anything else of it finds nothing.
	if got := r.one(r.deliverRaw(node1, fromCallee("BYE", invite).text(node1))); got.m.Status != 200 || got.to.remote != node1.remote {
		t.Errorf("a BYE of the callee was answered %s", got.start())
	}
	if got := r.one(r.deliverRaw(pstn, fromCaller("UPDATE", ok).text(pstn))); got.m.Status != 481 {
		t.Errorf("an UPDATE of the caller was answered %s", got.start())
	}
	r.answer(callee, 481, "")
	if len(*told) != 1 || (*told)[0] != nil {
		t.Errorf("outcome %v, want success", *told)
	}
	r.advance(2 * giveUp)
	if len(r.w.calls.dead)+len(r.w.clients)+len(r.w.servers) != 0 {
		t.Errorf("left behind: %d dead calls, %d and %d transactions", len(r.w.calls.dead), len(r.w.clients), len(r.w.servers))
	}
}

func TestHangupSilentAndRefusing(t *testing.T) {
	r := newRig(t)
	r.setUp()
	sent, told := r.hangup()
	caller, _ := r.byes(sent, [2]string{"1", "2"})
	r.answer(caller, 403, "")
	r.advance(giveUp + time.Second)
	if len(*told) != 1 || (*told)[0] == nil || !strings.Contains((*told)[0].Error(), "callee did not answer") || !strings.Contains((*told)[0].Error(), "caller answered its BYE with 403") {
		t.Errorf("outcome %v", *told)
	}
}

func TestHangupFollowsMovedTarget(t *testing.T) {
	r, log := recordingRig(t)
	_, ok := r.setUp()
	re := r.find(r.deliverRaw(pstn, strings.ReplaceAll(fromCaller("INVITE", ok).text(pstn), "<sip:me@", "<sip:moved@")), "INVITE")
	r.answer(re, 200, "tt", wire.Field(wire.NameContact, "<sip:elsewhere@127.0.0.11:5060>"))
	r.written(log)
	if d := log.kept[len(log.kept)-1].Dialogs; len(d) != 2 || d[0].Target != "sip:moved@127.0.0.21:5060" || d[1].Target != "sip:elsewhere@127.0.0.11:5060" {
		t.Errorf("recorded dialogs %+v", d)
	}
	sent, _ := r.hangup()
	r.find(sent, "BYE sip:moved@127.0.0.21:5060 ")
	r.find(sent, "BYE sip:elsewhere@127.0.0.11:5060 ")
}

func TestHangupAfterTakeUp(t *testing.T) {
	old, log := recordingRig(t)
	old.setUp()
	old.written(log)
	up := log.kept[len(log.kept)-1]
	r, log := recordingRig(t)
	up.Started = time.Now()
	log.open = []tandem.Call{up}
	if err := r.s.takeUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	sent, told := r.hangup()
	caller, callee := r.byes(sent, [2]string{"1001", "1002"})
	r.answer(caller, 200, "")
	r.answer(callee, 200, "")
	if len(*told) != 1 || (*told)[0] != nil {
		t.Errorf("outcome %v, want success", *told)
	}
}

func TestHangupRinging(t *testing.T) {
	r, log := recordingRig(t)
	out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	r.answer(out, 180, "tt")
	sent, told := r.hangup()
	cancel := r.find(sent, "CANCEL")
	if s := statuses(sent, pstn); s != "480" || cancel.to.remote != node1.remote || !strings.Contains(cancel.b, "Reason: SIP;cause=200") {
		t.Errorf("the caller got %q, the callee\n%s", s, cancel.b)
	}
	if len(*told) != 1 || (*told)[0] != nil {
		t.Errorf("outcome %v, want success", *told)
	}
	// The callee answers all the same: it gets ACK and BYE, the caller nothing.
	node := wire.Field(wire.NameContact, "<sip:b2b@127.0.0.11:5060>")
	late := r.answer(out, 200, "tt", node)
	ack, bye := r.find(late, "ACK sip:b2b@"), r.find(late, "BYE sip:b2b@")
	if len(late) != 2 || ack.m.CSeq != 1 || bye.m.CSeq != 2 || bye.m.To.Tag != "tt" || bye.to.remote != node1.remote {
		t.Errorf("after a late 200: %s", starts(late))
	}
	if again := r.one(r.answer(out, 200, "tt", node)); again.m.Method != "ACK" {
		t.Errorf("after its repetition: %s", again.start())
	}
	if got := r.written(log); got != "trying ringing ended/hangup/appliance" {
		t.Errorf("recorded %q", got)
	}
}

func TestHangupRefused(t *testing.T) {
	r := newRig(t)
	_, ok := r.setUp()
	id := r.s.Calls(tandem.Principal{Admin: true})[0].ID
	for name, by := range map[string]tandem.Principal{"another tenant": {Account: "2002"}, "nobody": {}} {
		if err := r.s.Hangup(t.Context(), by, id, ""); !errors.Is(err, tandem.ErrNotFound) {
			t.Errorf("by %s: %v, want not found", name, err)
		}
	}
	if err := r.s.Hangup(t.Context(), tandem.Principal{Admin: true}, "nosuch", ""); !errors.Is(err, tandem.ErrNotFound) {
		t.Errorf("unknown id: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := r.s.Hangup(ctx, tandem.Principal{Admin: true}, id, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody works: %v", err)
	}
	select {
	case <-r.w.inbox:
	default: // the time was over before it was put there
	}
	r.answer(r.find(r.deliverRaw(pstn, fromCaller("BYE", ok).text(pstn)), "BYE"), 200, "")
	if err := r.s.Hangup(t.Context(), tandem.Principal{Admin: true}, id, ""); !errors.Is(err, errOver) {
		t.Errorf("ended call: %v", err)
	}
}

// HangupAll ends what it is told to and nothing else: of one account, of one device, or what is pending.
func TestHangupAll(t *testing.T) {
	admin := tandem.Principal{Admin: true}
	for _, tt := range []struct {
		name   string
		by     tandem.Principal
		choice Choice
		want   int
		left   int
	}{
		{"of the account", admin, Choice{Account: "1001"}, 2, 0},
		{"pending ones", admin, Choice{Account: "1001", Pending: true}, 1, 1},
		{"of another account", admin, Choice{Account: "2002"}, 0, 2},
		{"of a device that calls nobody", admin, Choice{Device: "d-bob"}, 0, 2},
		{"by another tenant", tandem.Principal{Account: "2002"}, Choice{Account: "1001"}, 0, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.setUp()
			ringing := r.find(r.deliverRaw(pstn, carrierCall(func(m *msg) { m.callID, m.branch = "rings", "z9hG4bKrings" })), "INVITE")
			r.answer(ringing, 180, "rr")
			done := make(chan int)
			go func() {
				n, err := r.s.HangupAll(t.Context(), tt.by, tt.choice, "")
				if err != nil {
					t.Errorf("HangupAll: %v", err)
				}
				done <- n
			}()
			for {
				select {
				case n := <-done:
					if left := r.liveCalls(); n != tt.want || left != tt.left {
						t.Errorf("ended %d, %d are left, want %d and %d", n, left, tt.want, tt.left)
					}
					return
				case ev := <-r.w.inbox:
					r.net.sent = nil
					r.w.handle(ev, r.now)
					for _, l := range r.net.sent {
						if l.m.Method == "BYE" {
							r.answer(l, 200, "")
						}
					}
				}
			}
		})
	}
}

func (r *rig) liveCalls() (n int) {
	for _, c := range r.s.Calls(tandem.Principal{Admin: true}) {
		if c.State != tandem.CallEnded {
			n++
		}
	}
	return n
}
