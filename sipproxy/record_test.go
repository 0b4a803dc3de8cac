package sipproxy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tandem/internal/tandem"
)

// callLog is a CallLog in memory.
type callLog struct {
	kept []tandem.Call
	open []tandem.Call
	err  error
}

func (l *callLog) RecordCalls(_ context.Context, list []tandem.Call) error {
	if l.err == nil {
		l.kept = append(l.kept, list...)
	}
	return l.err
}

func (l *callLog) OpenCalls(_ context.Context, fn func(tandem.Call) error) error {
	for _, c := range l.open {
		if err := fn(c); err != nil {
			return err
		}
	}
	return nil
}

// written writes what waits and returns all that was written, as state/cause/who.
func (r *rig) written(log *callLog) string {
	for len(r.s.recorder.waiting) > 0 {
		r.s.recorder.write([]tandem.Call{*<-r.s.recorder.waiting})
	}
	var out []string
	for i := range log.kept {
		c := &log.kept[i]
		if err := c.Validate(); err != nil {
			r.t.Errorf("record %d: %v", i, err)
		}
		out = append(out, strings.TrimRight(string(c.State)+"/"+c.Cause+"/"+string(c.EndedBy), "/"))
	}
	return strings.Join(out, " ")
}

func recordingRig(t *testing.T) (*rig, *callLog) {
	r, log := newRig(t), new(callLog)
	r.s.deps.Calls = log
	return r, log
}

func TestCallsAreRecorded(t *testing.T) {
	tests := []struct {
		name string
		play func(r *rig)
		want string
	}{
		{"answered, ended by the caller", func(r *rig) {
			_, ok := r.setUp()
			r.answer(r.find(r.deliverRaw(pstn, fromCaller("BYE", ok).text(pstn)), "BYE"), 200, "")
		}, "trying answered ended/bye/caller"},
		{"answered, a BYE that is refused", func(r *rig) {
			_, ok := r.setUp()
			r.answer(r.find(r.deliverRaw(pstn, fromCaller("BYE", ok).text(pstn)), "BYE"), 401, "")
		}, "trying answered"},
		{"answered, a BYE that nobody answers", func(r *rig) {
			_, ok := r.setUp()
			r.deliverRaw(pstn, fromCaller("BYE", ok).text(pstn))
			r.advance(40 * time.Second)
		}, "trying answered ended/bye/caller"},
		{"answered, ended by the callee", func(r *rig) {
			invite, _ := r.setUp()
			r.answer(r.find(r.deliverRaw(node1, fromCallee("BYE", invite).text(node1)), "BYE"), 200, "")
		}, "trying answered ended/bye/callee"},
		{"ringing, given up", func(r *rig) {
			out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
			r.answer(out, 180, "tt")
			r.answer(out, 487, "tt")
		}, "trying ringing ended/cancel/caller"},
		{"busy", func(r *rig) {
			r.answer(r.find(r.deliverRaw(pstn, carrierCall()), "INVITE"), 486, "tt")
		}, "trying ended/486/callee"},
		{"silent for a day", func(r *rig) {
			r.s.cfg.SilentAfter = 100 * time.Hour
			r.setUp()
			r.advance(25 * time.Hour)
		}, "trying answered ended/timeout/reaper"},
		{"silent, and nobody knows it", func(r *rig) {
			r.setUp()
			r.advance(11 * time.Minute)
		}, "trying answered ended/silent/reaper"},
		{"number not in service", func(r *rig) {
			r.deliverRaw(pstn, carrierCall(func(m *msg) { m.uri = "sip:0999@127.0.0.1" }))
		}, "ended/404/appliance"},
		{"a feature server's to nobody", func(r *rig) {
			r.deliverRaw(node1, carrierCall(func(m *msg) { m.uri = "sip:nobody@acme.voice.example.net" }))
		}, "ended/404/appliance"},
		{"a stranger without credentials", func(r *rig) {
			r.deliverRaw(strange, carrierCall())
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, log := recordingRig(t)
			tt.play(r)
			if got := r.written(log); got != tt.want {
				t.Errorf("recorded %q, want %q", got, tt.want)
			}
			if n := len(log.kept); n > 0 && (log.kept[n-1].Type == "core") != strings.HasPrefix(tt.name, "a feature server") {
				t.Errorf("recorded with type %q", log.kept[n-1].Type)
			}
			for _, c := range log.kept[:max(0, len(log.kept)-1)] {
				if len(c.Dialogs) == 0 || c.Route != "invite.1001.svc.voice.example.net" {
					t.Errorf("an open record has dialogs %v and route %q", c.Dialogs, c.Route)
				}
			}
		})
	}
}

// What was open when the process ended is taken up: an answered call ends by its BYE, one that rang
// by its time, one of which nothing is known at once.
func TestOpenCallsAreTakenUp(t *testing.T) {
	before, log := recordingRig(t)
	_, ok := before.setUp()
	before.written(log)
	up := log.kept[len(log.kept)-1]

	r, log := recordingRig(t)
	rang := up
	rang.ID, rang.CallID, rang.Answered, rang.State = tandem.NewCallID(r.now), "rang", time.Time{}, tandem.CallRinging
	rang.Dialogs = []tandem.Dialog{{CallID: "rang", RemoteTag: "x"}}
	unknown := rang
	unknown.ID, unknown.CallID, unknown.Dialogs = tandem.NewCallID(r.now), "unknown", nil
	up.Started = time.Now()
	log.open = []tandem.Call{up, rang, unknown}
	if err := r.s.takeUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(r.s.Calls(tandem.Principal{Admin: true})); n != 2 {
		t.Errorf("%d calls taken up, want 2", n)
	}
	if got := r.written(log); got != "ended/lost/reaper" {
		t.Errorf("at start %q is recorded", got)
	}
	key := callKey{up.CallID, up.Dialogs[0].RemoteTag}
	if r.w.calls.live[key] == nil {
		t.Fatalf("the answered call is not under %v", key)
	}
	r.w.now = time.Now()
	r.w.calls.byeSent(r.w, ok.m, false)(200)
	if got := r.written(log); got != "ended/lost/reaper ended/bye/caller" {
		t.Errorf("after the BYE %q is recorded", got)
	}
	r.now = time.Now()
	r.advance(r.s.cfg.RingTime + time.Minute)
	if got := r.written(log); !strings.HasSuffix(got, " ended/timeout/reaper") {
		t.Errorf("after the time to ring %q is recorded", got)
	}
}

// A call whose answer came too late to be recorded before the process ended is known by what its sides say
// next; what a side refuses proves nothing.
func TestAnsweredBeforeTheRestart(t *testing.T) {
	for _, tt := range []struct {
		name, method string
		status       int
		want         string
	}{
		{"BYE", "BYE", 200, "ended/bye/caller"},
		{"BYE refused", "BYE", 481, ""},
		{"re-INVITE", "INVITE", 200, "answered"},
		{"re-INVITE refused", "INVITE", 488, ""},
		{"INFO", "INFO", 200, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, log := recordingRig(t)
			_, ok := r.setUp()
			r.written(log)
			key := callKey{log.kept[0].CallID, log.kept[0].Dialogs[0].RemoteTag}
			r.w.calls.drop(r.w.calls.live[key])
			log.open, log.kept = log.kept[:1], nil
			log.open[0].Started = time.Now()
			if err := r.s.takeUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			m := r.find(r.deliverRaw(pstn, fromCaller(tt.method, ok).text(pstn)), tt.method)
			r.answer(m, tt.status, "tt")
			if got := r.written(log); got != tt.want {
				t.Errorf("recorded %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRecordsAreBounded(t *testing.T) {
	r, log := recordingRig(t)
	for range recordsWaiting {
		r.s.recorder.note(tandem.Call{})
	}
	r.setUp() // goes on all the same
	if n := r.s.count.callsUnrecorded.Load(); n != 2 {
		t.Errorf("%d records counted as lost, want 2", n)
	}
	log.err = errors.New("disk full")
	r.s.recorder.write(make([]tandem.Call, 5))
	if n := r.s.count.callsUnrecorded.Load(); n != 7 {
		t.Errorf("%d records counted as lost, want 7", n)
	}
}
