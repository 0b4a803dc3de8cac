package sipproxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/tandem"
)

// ladder writes the messages of a call as by may see them, one a line; "" when there are none.
func (r *rig) ladder(by tandem.Principal, id string) string {
	r.t.Helper()
	arrows, err := r.s.Ladder(r.t.Context(), by, id)
	if err != nil {
		if !errors.Is(err, tandem.ErrNotFound) {
			r.t.Errorf("Ladder = %v", err)
		}
		return ""
	}
	var b strings.Builder
	for i, a := range arrows {
		if i > 0 && a.Time.Before(arrows[i-1].Time) {
			r.t.Errorf("arrow %d is before the one before", i)
		}
		fmt.Fprintf(&b, "%s > %s %s\n", a.From, a.To, a.Text)
	}
	return b.String()
}

func admin() tandem.Principal { return tandem.Principal{Admin: true} }

// newest returns the id of the call that was recorded last.
func (r *rig) newest(log *callLog) string {
	r.t.Helper()
	r.written(log)
	if len(log.kept) == 0 {
		r.t.Fatal("no call is recorded")
	}
	return log.kept[len(log.kept)-1].ID
}

func TestLadder(t *testing.T) {
	tests := []struct {
		name string
		play func(r *rig)
		want string
	}{
		{"a call from the carrier, ended by it", func(r *rig) {
			_, ok := r.setUp()
			r.deliverRaw(pstn, fromCaller("ACK", ok).text(pstn))
			r.answer(r.one(r.deliverRaw(pstn, fromCaller("BYE", ok).text(pstn))), 200, "")
		}, `
pstn > tandem INVITE
tandem > pstn 100 INVITE
tandem > n1 INVITE
n1 > tandem 200 INVITE
tandem > pstn 200 INVITE
pstn > tandem ACK
tandem > n1 ACK
pstn > tandem BYE
tandem > n1 BYE
n1 > tandem 200 BYE
tandem > pstn 200 BYE
`},
		{"the callee's requests", func(r *rig) {
			invite, _ := r.setUp()
			r.deliverRaw(node1, fromCallee("BYE", invite).text(node1))
		}, `
pstn > tandem INVITE
tandem > pstn 100 INVITE
tandem > n1 INVITE
n1 > tandem 200 INVITE
tandem > pstn 200 INVITE
n1 > tandem BYE
tandem > pstn BYE
`},
		{"a device is challenged first, and its call fails", func(r *rig) {
			out := r.find(r.ask(phoneA, alice(), msg{uri: "sip:030200@acme.voice.example.net"}), "INVITE")
			r.answer(out, 180, "tt")
			r.answer(out, 486, "tt")
		}, `
alice > tandem INVITE
tandem > alice 407 INVITE
alice > tandem INVITE
tandem > alice 100 INVITE
tandem > n1 INVITE
n1 > tandem 180 INVITE
tandem > alice 180 INVITE
n1 > tandem 486 INVITE
tandem > n1 ACK
tandem > alice 486 INVITE
`},
		{"refused by us, and acknowledged", func(r *rig) {
			m := msg{uri: "sip:0999@127.0.0.1", from: "sip:+33123@pstn.example.org"}
			refused := r.one(r.deliverRaw(pstn, m.text(pstn)))
			m.method, m.toTag = "ACK", refused.m.To.Tag
			r.deliverRaw(pstn, m.text(pstn))
		}, `
pstn > tandem INVITE
tandem > pstn 404 INVITE
pstn > tandem ACK
`},
		{"two phones ring, one answers", func(r *rig) {
			a, b := r.callBoth()
			r.answer(a, 180, "ta")
			r.answer(b, 180, "tb")
			r.answer(b, 200, "tb")
		}, `
n1 > tandem INVITE
tandem > n1 100 INVITE
tandem > alice INVITE
tandem > alice 127.0.0.1:5064 INVITE
alice > tandem 180 INVITE
tandem > n1 180 INVITE
alice 127.0.0.1:5064 > tandem 180 INVITE
tandem > n1 180 INVITE
alice 127.0.0.1:5064 > tandem 200 INVITE
tandem > n1 200 INVITE
tandem > alice CANCEL
`},
		{"what comes and goes again", func(r *rig) {
			r.deliverRaw(pstn, carrierCall())
			r.deliverRaw(pstn, carrierCall())
			r.advance(t1)
		}, `
pstn > tandem INVITE
tandem > pstn 100 INVITE
tandem > n1 INVITE
pstn > tandem INVITE (again)
tandem > pstn 100 INVITE (again)
tandem > n1 INVITE (again)
`},
		{"what is not understood", func(r *rig) {
			_, ok := r.setUp()
			r.deliverRaw(pstn, strings.Replace(fromCaller("ACK", ok).text(pstn), "2 ACK", "2 INVITE", 1))
		}, `
pstn > tandem INVITE
tandem > pstn 100 INVITE
tandem > n1 INVITE
n1 > tandem 200 INVITE
tandem > pstn 200 INVITE
pstn > tandem ACK (malformed)
`},
		{"a target that takes nothing", func(r *rig) {
			r.twoNodes()
			r.net.refuse[node1.remote] = true
			r.deliverRaw(pstn, carrierCall())
		}, `
pstn > tandem INVITE
tandem > pstn 100 INVITE
tandem > n1 INVITE (not sent)
tandem > n2 INVITE
`},
		{"hung up", func(r *rig) {
			r.setUp()
			sent, _ := r.hangup()
			r.answer(sent[0], 200, "")
		}, `
pstn > tandem INVITE
tandem > pstn 100 INVITE
tandem > n1 INVITE
n1 > tandem 200 INVITE
tandem > pstn 200 INVITE
tandem > pstn BYE
tandem > n1 BYE
pstn > tandem 200 BYE
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, log := recordingRig(t)
			tt.play(r)
			want, id := strings.TrimPrefix(tt.want, "\n"), r.newest(log)
			if got := r.ladder(admin(), id); got != want {
				t.Errorf("ladder:\n%swant:\n%s", got, want)
			}
			if got := r.ladder(tandem.Principal{Account: "2002"}, id); got != "" {
				t.Errorf("another account sees:\n%s", got)
			}
			if got := r.ladder(admin(), tandem.NewCallID(r.now)); got != "" {
				t.Errorf("no call has the ladder:\n%s", got)
			}
		})
	}
}

// An account sees the ladder of its own call.
func TestLadderOfOnesOwn(t *testing.T) {
	r, log := recordingRig(t)
	r.setUp()
	if got := r.ladder(tandem.Principal{Account: "1001"}, r.newest(log)); !strings.HasPrefix(got, "pstn > tandem INVITE\n") {
		t.Errorf("ladder:\n%s", got)
	}
}

// A call that the balancer refuses has the messages of its refusal.
func TestLadderOfARefusedCall(t *testing.T) {
	r, s := weighedRig(t)
	log := new(callLog)
	r.s.deps.Calls = log
	s.refuse["g1"] = tandem.Refusal{Code: 486, Reason: "permitted"}
	r.deliverRaw(pstn, carrierCall())
	id := r.newest(log)
	if got := r.ladder(admin(), id); got != "pstn > tandem INVITE\ntandem > pstn 486 INVITE\n" {
		t.Errorf("ladder:\n%s", got)
	}
	if got := r.ladder(tandem.Principal{Account: "2002"}, id); got != "" {
		t.Errorf("another account sees:\n%s", got)
	}
}

// Calls that are one communication have one ladder, under each of their ids.
func TestLadderOfJoinedCalls(t *testing.T) {
	const alone = "n1 > tandem INVITE\ntandem > n1 100 INVITE\ntandem > bob INVITE\n"
	const before = "pstn > tandem INVITE\ntandem > pstn 100 INVITE\ntandem > n1 INVITE\n"
	const after = "n1 > tandem 486 INVITE\ntandem > n1 ACK\ntandem > pstn 486 INVITE\n"
	for _, joined := range []bool{true, false} {
		t.Run(fmt.Sprint(joined), func(t *testing.T) {
			r, _ := weighedRig(t)
			r.register(phoneB, "bob", 1)
			first := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
			header, want := "", map[string]string{"call-1": before + after, "second-leg": alone}
			if joined {
				header = callHeader + ": " + fieldNamed(first.m, callHeader, "")
				want = map[string]string{"call-1": before + alone + after, "second-leg": before + alone + after}
			}
			r.now = r.now.Add(time.Second)
			r.deliverRaw(node1, coreCall("sip:bob@acme.voice.example.net", header))
			r.now = r.now.Add(time.Second)
			r.answer(first, 486, "tt") // it has ended, the other leg has not
			for _, c := range r.s.Calls(admin()) {
				if got := r.ladder(admin(), c.ID); got != want[c.CallID] {
					t.Errorf("ladder of %s:\n%swant:\n%s", c.CallID, got, want[c.CallID])
				}
				if got := r.ladder(tandem.Principal{Account: "2002"}, c.ID); got != "" {
					t.Errorf("another account sees:\n%s", got)
				}
			}
		})
	}
}

func TestLadderIsBounded(t *testing.T) {
	t.Run("messages", func(t *testing.T) {
		r, log := recordingRig(t)
		_, ok := r.setUp()
		for i := range 100 {
			info := fromCaller("INFO", ok)
			info.cseq, info.branch = 10+i, "z9hG4bKinfo"+itoa(i)
			r.deliverRaw(pstn, info.text(pstn))
		}
		arrows, err := r.s.Ladder(t.Context(), admin(), r.newest(log))
		if err != nil || len(arrows) != maxSteps+1 {
			t.Fatalf("%d arrows, %v, want %d", len(arrows), err, maxSteps+1)
		}
		if got := arrows[firstSteps]; got.Text != "141 messages left out" || got.From != "" {
			t.Errorf("in the middle is %+v", got)
		}
		if got := arrows[maxSteps]; got.Text != "INFO" || got.To != "n1" {
			t.Errorf("the last is %+v", got)
		}
	})
	t.Run("parties", func(t *testing.T) {
		r := newRig(t)
		l := r.w.ladders.open(callKey{"c", "t"}, "id", "1001", r.now)
		for port := range 300 {
			r.w.now = r.now
			r.w.ladders.add(r.w, &passage{hop: udpFrom("127.0.0.1:" + itoa(7000+port)), method: "INFO", callID: "c", fromTag: "t", cseq: uint32(port)})
		}
		if n := len(l.parties); n != maxParties || l.parties[n-1].name != elsewhere {
			t.Errorf("%d parties, the last %q", n, l.parties[n-1].name)
		}
	})
	t.Run("calls", func(t *testing.T) {
		r := newRig(t)
		for i := range keptCalls + 10 {
			key := callKey{"c" + itoa(i), "t"}
			r.w.ladders.open(key, itoa(i), "1001", r.now)
			r.w.ladders.ended(key)
		}
		if k, i := len(r.w.ladders.byKey), len(r.w.ladders.byID); k != keptCalls || i != keptCalls {
			t.Errorf("%d and %d ladders are kept, want %d", k, i, keptCalls)
		}
	})
	t.Run("strangers", func(t *testing.T) {
		r := newRig(t)
		for i := range 2 * earlySlots {
			r.deliverRaw(strange, msg{callID: "flood" + itoa(i), branch: "z9hG4bK" + itoa(i)}.text(strange))
		}
		if k, i := len(r.w.ladders.byKey), len(r.w.ladders.byID); k+i != 0 {
			t.Errorf("strangers have %d and %d ladders", k, i)
		}
		if cap(r.w.passages) > 64 {
			t.Errorf("room for %d passages", cap(r.w.passages))
		}
	})
	t.Run("octets", func(t *testing.T) {
		r := newRig(t)
		steps, parties := 0, 0
		_, ok := r.setUp()
		r.deliverRaw(pstn, fromCaller("ACK", ok).text(pstn))
		r.answer(r.one(r.deliverRaw(pstn, fromCaller("BYE", ok).text(pstn))), 200, "")
		for _, l := range r.w.ladders.byKey {
			steps, parties = cap(l.steps), cap(l.parties)
		}
		if octets := 144 + steps*16 + parties*72 + 60 + 130; octets > 1024 {
			t.Errorf("a usual call takes some %d octets", octets)
		}
	})
}

// People may look while calls go on, are challenged, refused and end.
func TestLadderWhileCallsGoOn(t *testing.T) {
	r, log := recordingRig(t)
	_, ok := r.setUp()
	id := r.newest(log)
	var looking sync.WaitGroup
	done := make(chan struct{})
	looking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if _, err := r.s.Ladder(context.Background(), admin(), id); err != nil {
					t.Errorf("Ladder = %v", err)
					return
				}
			}
		}
	})
	for i := range 100 {
		info := fromCaller("INFO", ok)
		info.cseq, info.branch = 10+i, "z9hG4bKinfo"+itoa(i)
		r.deliverRaw(pstn, info.text(pstn))
		r.deliverRaw(pstn, carrierCall(func(m *msg) { m.uri, m.callID, m.branch = "sip:0999@127.0.0.1", "r"+itoa(i), "z9hG4bKr"+itoa(i) }))
		r.deliverRaw(pstn, carrierCall(func(m *msg) { m.callID, m.branch = "c"+itoa(i), "z9hG4bKc"+itoa(i) }))
	}
	r.deliverRaw(pstn, fromCaller("BYE", ok).text(pstn))
	close(done)
	looking.Wait()
}

// A message of a known call costs no more than the growing of its ladder.
func TestLadderAllocates(t *testing.T) {
	r := newRig(t)
	_, ok := r.setUp()
	cseq := uint32(100)
	m := *ok.m
	pass := func() {
		cseq++
		m.CSeq = cseq
		r.w.came(&m, ok.b, node1, false)
		r.w.passed()
	}
	if n := testing.AllocsPerRun(1000, pass); n > 1 {
		t.Errorf("%v allocations a message of a call", n)
	}
	m.CallID = "another"
	if n := testing.AllocsPerRun(1000, pass); n > 0 {
		t.Errorf("%v allocations a message of no call", n)
	}
}

func BenchmarkLadder(b *testing.B) {
	r := newRig(b)
	_, ok := r.setUp()
	b.ReportAllocs()
	for b.Loop() {
		r.w.came(ok.m, ok.b, node1, false)
		r.w.passed()
	}
}
