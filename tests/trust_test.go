package tests

import (
	"strings"
	"testing"
	"time"
)

// A peer is believed on the listener it names, and nowhere else.
func TestPeerOnItsListenerOnly(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	phone := s.handset(100, "bob")
	const bob = "bob@alpha.voice.example.net"
	if got := phone.login(dialogue{method: "REGISTER", from: bob, to: bob, uri: "sip:alpha.voice.example.net"}, "MD5", "bob-secret").uri(); got != "200" {
		t.Fatalf("REGISTER: %s", got)
	}
	fromServer := dialogue{method: "MESSAGE", from: "server@alpha.voice.example.net", to: "202@alpha.voice.example.net"}
	send := func(host, listener int) (reached bool) {
		t.Helper()
		h := s.handsetTo(host, listener, "server")
		h.send(h.write(fromServer))
		m, ok := phone.receive(500 * time.Millisecond)
		if ok && m.method() == "MESSAGE" {
			phone.send(respond(m, "200 OK", "b"))
			return true
		}
		return false
	}
	if !send(8, 1) {
		t.Error("a feature server's message on its listener did not reach the phone")
	}
	if send(9, 2) {
		t.Error("on another listener the feature server's address was believed")
	}
	if send(20, 1) {
		t.Error("an address outside the peer's networks was believed")
	}
}

// What a device says about its own identity is not passed on as asserted.
func TestAssertedIdentityIsOurs(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east := s.feature(8, "uas_any")
	r := fromAlice("MESSAGE")
	r.header = "P-Asserted-Identity: <sip:+19005550000@elsewhere.example>"
	s.phone(100, "uac_request", r).succeed()
	got := east.requests("MESSAGE")
	if len(got) != 1 {
		t.Fatalf("the feature server got %d messages", len(got))
	}
	if values := strings.Join(got[0].header("P-Asserted-Identity"), " "); strings.Contains(values, "+1900") {
		t.Errorf("a device's P-Asserted-Identity passed: %s", values)
	}
	if credentials := got[0].header("Proxy-Authorization"); len(credentials) > 0 {
		t.Errorf("the device's credentials were passed on: %s", credentials)
	}
}

// Towards a source that proved nothing: one answer a request, at most three times its octets.
func TestNoAmplifier(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for name, d := range map[string]dialogue{
		"a challenge":        {method: "REGISTER", from: alice, to: alice, uri: "sip:alpha.voice.example.net"},
		"an INVITE":          {method: "INVITE", from: alice, to: "202@alpha.voice.example.net"},
		"an unknown account": {method: "INVITE", from: "x@nosuch.voice.example.net", to: "x@nosuch.voice.example.net"},
		"no hops left":       {method: "INVITE", from: alice, to: "202@alpha.voice.example.net", hops: -1},
	} {
		h := s.handset(120, "alice")
		text := h.write(d)
		if d.hops < 0 {
			text = strings.Replace(text, "Max-Forwards: -1", "Max-Forwards: 0", 1)
		}
		h.send(text)
		answers, octets := 0, 0
		for {
			m, ok := h.receive(1500 * time.Millisecond)
			if !ok {
				break
			}
			answers++
			octets += len(m.text)
		}
		if answers != 1 || octets > 3*len(text) {
			t.Errorf("%s: %d octets brought %d answers of %d octets together, want one of at most %d", name, len(text), answers, octets, 3*len(text))
		}
	}
}
