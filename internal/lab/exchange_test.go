package lab

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/tandem"
)

// One call of the lab, hung up early because the lab ends, and one that is refused.
func TestExchangeCall(t *testing.T) {
	caller, called, node := trio(t, tandem.UDP)
	alice := &phone{caller, Person{ID: "alice", Account: "1001"}}
	bob := &phone{called, Person{ID: "bob", Account: "1001", Extension: "201"}}
	carol := &phone{called, Person{ID: "carol", Account: "1002", Extension: "300", Dialled: "globex.voice.example.net"}}
	x := newExchange([]*phone{alice, bob}, Config{}, testLog())
	ctx, cancel := context.WithCancel(timeout(t))
	go func() { // the called phone knows of the answer before the caller does
		defer cancel()
		for x.answered.Load() == 0 && pause(ctx, time.Millisecond) {
		}
	}()
	x.call(ctx, alice, bob)
	if got := x.String(); !strings.HasPrefix(got, "calls: 1 made, 1 answered, 0 failed") {
		t.Errorf("after an answered call: %s", got)
	}
	called.SetAnswer(Reply{Code: 486})
	x.call(timeout(t), alice, carol)
	if got := x.String(); !strings.HasPrefix(got, "calls: 2 made, 1 answered, 1 failed") {
		t.Errorf("after a refused call: %s", got)
	}
	seen, err := node.WaitFor(timeout(t), func(s Seen) bool { return s.Account == "globex.voice.example.net" })
	if err != nil || seen.URI != "sip:300@globex.voice.example.net" {
		t.Errorf("a call to another account went to %q, %v", seen.URI, err)
	}
}

// An exchange whose phones find no server ends when it is told to.
func TestExchangeEnds(t *testing.T) {
	p := startPhone(t, PhoneConfig{User: "alice"})
	x := newExchange([]*phone{{p, Person{ID: "alice"}}}, Config{Pause: time.Millisecond}, testLog())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := x.register(ctx); err == nil || !strings.Contains(err.Error(), "register alice") {
		t.Errorf("register without a server = %v", err)
	}
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !pause(t.Context(), time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("pause lasted %s, want 1m", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if pause(ctx, time.Minute) {
			t.Error("pause = true though its context ended first")
		}
		for range 100 {
			if d := jitter(time.Second); d < time.Second/2 || d >= 3*time.Second/2 {
				t.Errorf("jitter(1s) = %s", d)
			}
		}
	})
}
