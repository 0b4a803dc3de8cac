package sipproxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// within delivers a request of setUp's dialog and answers it.
func (r *rig) within(m msg, from hop, status int, fields ...wire.Header) {
	r.t.Helper()
	r.answer(r.find(r.deliverRaw(from, m.text(from)), m.method), status, "tt", fields...)
}

func sdp(lines ...string) string {
	return "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n" + strings.Join(lines, "\r\n") + "\r\n"
}

// P8: what happens in a call arrives in order.
func TestCallStates(t *testing.T) {
	focus := wire.Header{Name: wire.NameContact, Raw: "Contact", Value: "<sip:b2b@127.0.0.11:5060>;isfocus"}
	plain := wire.Header{Name: wire.NameContact, Raw: "Contact", Value: "<sip:b2b@127.0.0.11:5060>"}
	for _, tt := range []struct {
		name string
		play func(r *rig, again func(body string) msg)
		want string
	}{
		{"held and taken back", func(r *rig, again func(string) msg) {
			r.within(again(sdp("a=sendonly")), pstn, 200, plain)
			r.within(again(sdp("a=sendrecv")), pstn, 200, plain)
		}, "trying answered held answered"},
		{"hold refused", func(r *rig, again func(string) msg) {
			r.within(again(sdp("a=sendonly")), pstn, 488)
		}, "trying answered"},
		{"held as of old", func(r *rig, again func(string) msg) {
			r.within(again(strings.Replace(sdp(), "192.0.2.1", "0.0.0.0", 1)), pstn, 200, plain)
		}, "trying answered held"},
		{"held twice is held once", func(r *rig, again func(string) msg) {
			r.within(again(sdp("a=inactive")), pstn, 200, plain)
			r.within(again(sdp("a=sendonly")), pstn, 200, plain)
		}, "trying answered held"},
		{"conference", func(r *rig, again func(string) msg) {
			r.within(again(sdp()), pstn, 200, focus)
			r.within(again(sdp()), pstn, 200, plain)
		}, "trying answered conferenced answered"},
		{"transferred", func(r *rig, again func(string) msg) {
			m := again("")
			m.method, m.extra = "REFER", m.extra+"\nRefer-To: <sip:bob@acme.voice.example.net>"
			r.within(m, pstn, 202)
		}, "trying answered forwarded"},
		{"transfer refused", func(r *rig, again func(string) msg) {
			m := again("")
			m.method, m.extra = "REFER", m.extra+"\nRefer-To: <sip:bob@acme.voice.example.net>"
			r.within(m, pstn, 403)
		}, "trying answered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, log := recordingRig(t)
			_, ok := r.setUp()
			n := 1
			tt.play(r, func(body string) msg {
				n++
				m := fromCaller("INVITE", ok)
				m.cseq, m.branch, m.body = n, fmt.Sprint("z9hG4bKre", n), body
				return m
			})
			if got := r.written(log); got != tt.want {
				t.Errorf("recorded %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCallIsBeingForwarded(t *testing.T) {
	r, log := recordingRig(t)
	out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	r.answer(out, 180, "tt")
	r.answer(out, 181, "tt")
	r.answer(out, 180, "tu")
	r.answer(out, 486, "tu")
	if got := r.written(log); got != "trying ringing forwarded ended/486/callee" {
		t.Errorf("recorded %q", got)
	}
}

// L13: a call whose BYE was lost ends by its session timer; one that is refreshed lives on.
func TestSessionTimer(t *testing.T) {
	expires := wire.Header{Raw: "Session-Expires", Value: "90;refresher=uac"}
	r, log := recordingRig(t)
	invite := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	node := wire.Header{Name: wire.NameContact, Raw: "Contact", Value: "<sip:b2b@127.0.0.11:5060>"}
	ok := r.find(r.answer(invite, 200, "tt", node, expires), "SIP/2.0 200")
	r.advance(80 * time.Second)
	again := fromCaller("UPDATE", ok)
	r.within(again, pstn, 200, node, wire.Header{Raw: "x", Value: "90"})
	r.advance(80 * time.Second)
	if got := r.written(log); strings.Contains(got, "ended") {
		t.Fatalf("refreshed, and yet %q", got)
	}
	sent := r.advance(10 * time.Second)
	r.find(sent, "BYE sip:me@127.0.0.21:5060 ")
	if bye := r.find(sent, "BYE sip:b2b@127.0.0.11:5060 "); bye.m.Get(wire.NameCSeq) != "3 BYE" {
		t.Errorf("the callee's BYE:\n%s", bye.b)
	}
	if got := r.written(log); got != "trying answered ended/session-timer/reaper" {
		t.Errorf("recorded %q", got)
	}
}

// A silent call is asked for on both sides, with a CSeq that disturbs nobody, and lives as long as both know it.
func TestSilentCall(t *testing.T) {
	for _, tt := range []struct {
		name           string
		caller, callee int // their answers to OPTIONS
		lives          bool
	}{
		{"both know it", 200, 200, true},
		{"one finds it out of order", 200, 500, true},
		{"one knows no OPTIONS", 405, 200, true},
		{"the caller has forgotten it", 481, 200, false},
		{"the callee has forgotten it", 200, 481, false},
		{"the callee is gone", 200, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, log := recordingRig(t)
			r.setUp()
			sent := r.advance(r.s.cfg.SilentAfter)
			if len(sent) != 2 {
				t.Fatalf("asked %s, want both sides", starts(sent))
			}
			for _, l := range sent {
				if cseq := l.m.Get(wire.NameCSeq); l.m.Method != "OPTIONS" || cseq != "0 OPTIONS" && cseq != "1 OPTIONS" || l.m.To.Tag == "" {
					t.Errorf("asked by\n%s", l.b)
				}
				status := tt.caller
				if l.to.remote == node1.remote {
					status = tt.callee
				}
				if status != 0 {
					r.answer(l, status, "")
				}
			}
			r.advance(40 * time.Second)
			want := "trying answered"
			if !tt.lives {
				want += " ended/silent/reaper"
			}
			if got := r.written(log); got != want {
				t.Errorf("recorded %q, want %q", got, want)
			}
		})
	}
}

// A call of a node that fell silent is asked for at once, another node's is not; an emergency call is
// left in peace.
func TestNodeFellSilent(t *testing.T) {
	r := newRig(t)
	r.setUp()
	r.w.handle(event{kind: workDone, then: func() { r.w.doubt("n2") }}, r.now)
	if sent := r.advance(time.Second); len(sent) != 0 {
		t.Errorf("n2 is silent, and %s", starts(sent))
	}
	r.w.handle(event{kind: workDone, then: func() { r.w.doubt("n1") }}, r.now)
	if sent := r.advance(time.Second); len(sent) == 0 || sent[0].m.Method != "OPTIONS" {
		t.Errorf("n1 is silent, and %s", starts(sent))
	}
	for _, c := range r.w.calls.live {
		c.seen.Type, c.vitals.asking = string(tandem.TypeEmergency), 0
	}
	r.w.handle(event{kind: workDone, then: func() { r.w.doubt("n1") }}, r.now)
	if sent := r.advance(time.Hour); len(sent) > 0 && sent[0].m.CSeqMethod == "BYE" {
		t.Errorf("an emergency call was ended: %s", starts(sent))
	}
}

func TestOffersHold(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		hold, ok   bool
	}{
		{"nothing", "", false, false},
		{"no stream", "v=0\r\n", false, false},
		{"both ways", sdp(), false, true},
		{"sendonly", sdp("a=sendonly"), true, true},
		{"inactive", sdp("a=inactive"), true, true},
		{"recvonly is no hold", sdp("a=recvonly"), false, true},
		{"for the session", "v=0\r\na=sendonly\r\nm=audio 4 RTP/AVP 0\r\n", true, true},
		{"the stream says otherwise", "v=0\r\na=sendonly\r\nm=audio 4 RTP/AVP 0\r\na=sendrecv\r\n", false, true},
		{"one of two", sdp("a=sendonly", "m=video 6 RTP/AVP 31"), false, true},
		{"the other is off", sdp("a=sendonly", "m=video 0 RTP/AVP 31"), true, true},
		{"all off", "v=0\r\nm=audio 0 RTP/AVP 0\r\n", false, false},
		{"bare line feeds", strings.ReplaceAll(sdp("a=sendonly"), "\r", ""), true, true},
	} {
		if hold, ok := offersHold(tt.body); hold != tt.hold || ok != tt.ok {
			t.Errorf("%s: offersHold = %v %v, want %v %v", tt.name, hold, ok, tt.hold, tt.ok)
		}
	}
}

func FuzzOffersHold(f *testing.F) {
	f.Add(sdp("a=sendonly"))
	f.Add("m=\nc=\na=")
	f.Fuzz(func(t *testing.T, body string) {
		hold, ok := offersHold(body)
		if hold && !ok {
			t.Error("held without a stream")
		}
		// A stream more that is received ends any hold.
		if hold, _ := offersHold(body + "\r\nm=audio 4 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\na=sendrecv\r\n"); hold {
			t.Errorf("held though one stream is received: %q", body)
		}
	})
}
