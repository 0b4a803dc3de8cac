package lab

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

func TestSeen(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"new call", inviteText, "15:04:05.000 INVITE    account=acme.example from=alice@acme.example to=201@acme.example uri=sip:201@acme.example via=udp"},
		{"within a dialog", strings.NewReplacer("INVITE", "BYE", "sip:201@acme.example SIP", "sip:east1@192.0.2.1 SIP", "To: <sip:201@acme.example>", "To: <sip:201@acme.example>;tag=b").Replace(inviteText),
			"15:04:05.000 BYE       account=acme.example from=alice@acme.example to=201@acme.example in-dialog uri=sip:east1@192.0.2.1 via=udp"},
		{"emergency", strings.ReplaceAll(inviteText, "sip:201@acme.example", "urn:service:sos"),
			"15:04:05.000 INVITE    account=acme.example from=alice@acme.example to=urn:service:sos uri=urn:service:sos via=udp"},
	} {
		got := seenSIP(message(t, tt.text).(*sip.Request), time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC)).String()
		if got != tt.want {
			t.Errorf("%s: got\n%s, want\n%s", tt.name, got, tt.want)
		}
	}
}

// The record is bounded, and wait sees what comes later.
func TestRecord(t *testing.T) {
	var r record
	for i := range seenMost + 10 {
		r.add(Seen{Method: "OPTIONS", CallID: string(rune('a' + i%26))})
	}
	if got := len(r.all()); got != seenMost {
		t.Errorf("the record holds %d, want %d", got, seenMost)
	}
	ctx := timeout(t)
	found := make(chan error, 1)
	go func() {
		_, err := r.wait(ctx, func(s Seen) bool { return s.Method == "MESSAGE" })
		found <- err
	}()
	r.add(Seen{Method: "INFO"})
	r.add(Seen{Method: "MESSAGE"})
	if err := <-found; err != nil {
		t.Errorf("wait = %v, want the message", err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := r.wait(over, func(s Seen) bool { return false }); err == nil {
		t.Error("wait for what never comes = nil")
	}
}
