package main

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func newAgent(t *testing.T) *agent {
	t.Helper()
	a, err := listenAgent(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.stop)
	return a
}

// A call between two agents, and how its called side behaves.
func TestAgentCall(t *testing.T) {
	for _, c := range []struct {
		name   string
		manner manner
		err    string // "": the call comes about
	}{
		{"answered", manner{}, ""},
		{"answered though probes are lost", manner{loss: 1}, ""},
		{"late", manner{slow: 20 * time.Millisecond}, ""},
		{"refused", manner{failed: 1}, "SIP/2.0 500 Server Internal Error"},
		{"silent", manner{silent: true}, "is not answered"},
	} {
		t.Run(c.name, func(t *testing.T) {
			caller, called := newAgent(t), newAgent(t)
			called.be(c.manner)
			wait := 10 * time.Second
			if c.manner.silent {
				wait = 50 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			d, err := caller.call(ctx, called.addr, "sip:x@"+called.addr)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("call: %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !called.byeOf(d.id).IsZero() {
				t.Error("a BYE before it was sent")
			}
			if text, err := caller.ask(ctx, called.addr, d, "BYE", 2); err != nil || !strings.HasPrefix(text, "SIP/2.0 200") {
				t.Errorf("BYE: %v %s", err, text)
			}
			if called.byeOf(d.id).IsZero() || !caller.byeOf(d.id).IsZero() {
				t.Errorf("BYEs at %v and %v, want one at the called side only", called.byeOf(d.id), caller.byeOf(d.id))
			}
		})
	}
}

func TestAgentRoutes(t *testing.T) {
	d := &dialog{id: "1", from: "<sip:a>;tag=1", to: "<sip:b>;tag=2", target: "sip:b@10.0.0.2", routes: []string{"<sip:p;lr>", "<sip:q;lr>"}}
	text := d.request("10.0.0.1:5060", "BYE", 2, "z9hG4bK1")
	if got := fields(text, "route"); len(got) != 2 || got[0] != "<sip:p;lr>" || field(text, "CSeq") != "2 BYE" || field(text, "Subject") != "" {
		t.Errorf("request:\n%s", text)
	}
}

func TestWard(t *testing.T) {
	w := ward{states: make(map[string]string), turns: make(map[string]int)}
	var out transcript
	out.tell = w.hear
	for _, part := range []string{
		"time=x level=INFO msg=\"node changed state\" part=lb node=n1 cluster=c sta", "te=good why=\"\" score=93\ntime=x msg=other node=n2 state=down\n",
		"time=x level=INFO msg=\"node changed state\" part=lb node=n1 cluster=c state=down why=\"probes\"\nhalf a li",
	} {
		if n, err := out.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if state, turns := w.of("n1"); state != "down" || turns != 2 {
		t.Errorf("n1 is %q after %d changes, want down after 2", state, turns)
	}
	if state, turns := w.of("n2"); state != "" || turns != 0 {
		t.Errorf("n2 is %q after %d changes, want none", state, turns)
	}
	if !strings.HasSuffix(out.String(), "half a li") {
		t.Errorf("what was printed: %q", out.String())
	}
}
