package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// D4: a softphone that knows only the account's name and its name server finds the proxy by NAPTR,
// SRV and A, registers with digest, and calls a second one through a feature server.
func TestD4(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	node := s.backToBack(8)
	account := "<sip:%[1]s@alpha.voice.example.net>;auth_user=%[1]s;auth_pass=%[1]s-secret;regint=60;answermode=%[2]s;audio_codecs=PCMU"
	a := s.baresip(100, fmt.Sprintf(account, "alice", "manual"))
	b := s.baresip(101, fmt.Sprintf(account, "bob", "auto"))
	a.prints(15*time.Second, "200 OK")
	b.prints(15*time.Second, "200 OK")
	registrations := s.must("sip", "registrations", "--account", "1001")
	for _, phone := range []string{"alice", s.addr(100), "bob", s.addr(101)} {
		if !strings.Contains(registrations, phone) {
			t.Errorf("tandem sip registrations does not show %s:\n%s", phone, registrations)
		}
	}
	a.command("/dial sip:202@alpha.voice.example.net")
	a.prints(15*time.Second, "Call established")
	b.prints(5*time.Second, "Call established")
	if got := count(node, "INVITE"); got != 1 {
		t.Errorf("the feature server saw %d INVITEs from the edge, want the call to go through it once", got)
	}
	if calls := s.must("call", "list"); !strings.Contains(calls, "answered") {
		t.Errorf("tandem call list does not show the call:\n%s", calls)
	}
	a.command("/hangup")
	b.prints(10*time.Second, "BYE sip:bob")
	eventually(t, 5*time.Second, "tandem call list shows no answered call", func() bool {
		return !strings.Contains(s.must("call", "list"), "answered")
	})
}

// D4, the twin: a softphone with the wrong password finds the proxy the same way and is refused; one
// whose name does not exist never reaches it.
func TestD4Refused(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	wrong := s.baresip(100, "<sip:alice@alpha.voice.example.net>;auth_user=alice;auth_pass=guess;regint=60")
	wrong.prints(15*time.Second, "403")
	lost := s.baresip(101, "<sip:alice@nosuch.voice.example.net>;auth_user=alice;auth_pass=alice-secret;regint=60")
	lost.prints(15*time.Second, "alice@nosuch.voice.example.net")
	time.Sleep(time.Second)
	if text := lost.output(); strings.Contains(text, "200 OK") || strings.Contains(text, "SIP/2.0 4") {
		t.Errorf("a phone whose name does not exist reached a server:\n%s", text)
	}
	if got := s.must("sip", "registrations", "--account", "1001"); strings.Contains(got, "127.") {
		t.Errorf("registrations after refusals:\n%s", got)
	}
}

// D12: credentials count for their own account only; the target's host may name another account; an
// unknown account is a clear 4xx and reaches no server.
func TestD12(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east, west := s.feature(8, "uas_any"), s.feature(10, "uas_any")
	h := s.handset(100, "alice")
	h.user = "carol"
	mixed := dialogue{method: "MESSAGE", from: "carol@alpha.voice.example.net", to: "202@alpha.voice.example.net"}
	if got := h.login(mixed, "MD5", "carol-secret").uri(); got != "403" {
		t.Errorf("name of 1001 with credentials of 1002: %s, want 403", got)
	}
	register := dialogue{method: "REGISTER", from: "carol@alpha.voice.example.net", to: "carol@alpha.voice.example.net", uri: "sip:alpha.voice.example.net"}
	if got := h.login(register, "MD5", "carol-secret").uri(); got != "403" {
		t.Errorf("REGISTER at 1001 with credentials of 1002: %s, want 403", got)
	}
	unknown := dialogue{method: "MESSAGE", from: "carol@nosuch.voice.example.net", to: "x@nosuch.voice.example.net"}
	if got := h.ask(unknown).uri(); got != "404" {
		t.Errorf("unknown account: %s, want 404", got)
	}
	if a, b := len(east.requests("")), len(west.requests("")); a+b != 0 {
		t.Errorf("refused requests reached feature servers: east1 %d, west1 %d", a, b)
	}
	guess := fromAlice("MESSAGE")
	guess.password = "guess"
	s.phone(101, "uac_request", guess).refused("403")
	// The host of the target names the destination and may differ: alice's credentials are her own
	// account's, and the called account's servers take the request (as L10 has it for calls).
	r := fromAlice("MESSAGE")
	r.to = "201@bravo.voice.example.net"
	s.phone(101, "uac_request", r).succeed()
	if a, b := len(east.requests("MESSAGE")), len(west.requests("MESSAGE")); a != 0 || b != 1 {
		t.Errorf("alice to bravo: east1 got %d and west1 %d, want the called account to decide", a, b)
	}
	// After a change of name the same device registers with the same secret; the old name is gone.
	s.edit("Account", "1001", map[string]any{"labels": []any{map[string]any{"label": "aleph"}}})
	renamed := fromAlice("REGISTER")
	renamed.from, renamed.to, renamed.uri = "alice@aleph.voice.example.net", "alice@aleph.voice.example.net", "sip:aleph.voice.example.net"
	s.phone(101, "uac_request", renamed).succeed()
	h.user = "alice"
	old := dialogue{method: "REGISTER", from: alice, to: alice, uri: "sip:alpha.voice.example.net"}
	if got := h.ask(old).uri(); got != "404" {
		t.Errorf("REGISTER at the retired name: %s, want 404", got)
	}
	if reply := s.dig("alpha.voice.example.net", "NAPTR"); reply.status != "NXDOMAIN" {
		t.Errorf("dig of the retired name: %s, want NXDOMAIN", reply.status)
	}
	if out, code := s.run(s.local(`{kind: Account, id: "1005", zone: voice.example.net, labels: [{label: alpha}], group: gold}`), "apply", "-f", "-"); code == 0 {
		t.Errorf("a retired label was given to another account:\n%s", out)
	}
}

// A user that does not exist is challenged and refused exactly like one that does: the responses
// differ in nothing that tells them apart.
func TestUnknownUserLooksKnown(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	shape := func(user, password string) string {
		h := s.handset(100, user)
		from := user + "@alpha.voice.example.net"
		d := dialogue{method: "REGISTER", from: from, to: from, uri: "sip:alpha.voice.example.net"}
		challenge := h.ask(d)
		asked := parameters(strings.Join(challenge.header("WWW-Authenticate"), ", "))
		delete(asked, "nonce")
		delete(asked, "opaque")
		refusal := h.login(d, "MD5", password)
		return fmt.Sprint(challenge.start(), asked, refusal.start())
	}
	known, unknown := shape("alice", "guess"), shape("nobody", "guess")
	if known != unknown {
		t.Errorf("known user: %s\nunknown user: %s\nwant them alike", known, unknown)
	}
	if !strings.Contains(known, "401") || !strings.Contains(known, "403") {
		t.Errorf("wrong credentials: %s, want 401 and then 403", known)
	}
}

// Digest by SHA-256 and by MD5, the strongest offered first; a used answer is no use to a thief.
func TestDigest(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.edit("Account", "1002", map[string]any{"digest": []string{"SHA-256", "MD5"}})
	s.apply(`{kind: Device, id: phone-d, account: "1002", username: dave, secret: dave-secret}`)
	h := s.handset(100, "dave")
	d := dialogue{method: "REGISTER", from: "dave@bravo.voice.example.net", to: "dave@bravo.voice.example.net", uri: "sip:bravo.voice.example.net"}
	challenge := h.ask(d)
	asked := challenge.header("WWW-Authenticate")
	if len(asked) != 2 || parameters(asked[0])["algorithm"] != "SHA-256" || parameters(asked[1])["algorithm"] != "MD5" {
		t.Errorf("challenges are %q, want SHA-256 and then MD5", asked)
	}
	for _, algorithm := range []string{"SHA-256", "MD5"} {
		if got := h.login(d, algorithm, "dave-secret").uri(); got != "200" {
			t.Errorf("REGISTER by %s: %s, want 200", algorithm, got)
		}
		if got := h.login(d, algorithm, "guess").uri(); got != "403" {
			t.Errorf("REGISTER by %s with a wrong password: %s, want 403", algorithm, got)
		}
	}
	// The same credentials again, from elsewhere: refused or challenged anew, never taken.
	header, answer := h.answerTo(h.ask(d), d, "MD5", "dave-secret")
	used := d
	used.header = header + ": " + answer
	if got := h.ask(used).uri(); got != "200" {
		t.Errorf("first use: %s, want 200", got)
	}
	thief := s.handset(120, "dave")
	if got := thief.ask(used).uri(); got == "200" {
		t.Error("credentials used once were taken again")
	}
}

// E1: an emergency number is recognised by exact match only, leaves with the URI of the account's
// list, and takes the emergency route.
func TestE1(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.edit("Account", "1001", map[string]any{
		"targets":   map[string]any{"emergency": nodes("west1")},
		"emergency": []any{map[string]any{"dial": "112", "uri": "urn:service:sos"}, map[string]any{"dial": "17", "uri": "urn:service:sos.police"}},
	})
	ordinary, emergency := s.feature(8, "uas_call"), s.feature(10, "uas_call")
	call := func(to string) {
		t.Helper()
		r := fromAlice("INVITE")
		r.to = to
		s.phone(100, "uac_call", r).succeed()
	}
	cases := []struct {
		name, to string
		want     string // Request-URI at the emergency server, "" for an ordinary call
	}{
		{"112", "112@alpha.voice.example.net", "urn:service:sos"},
		{"17", "17@alpha.voice.example.net", "urn:service:sos.police"},
		{"112 plus digits", "1125551234@alpha.voice.example.net", ""},
		{"digits before 112", "9112@alpha.voice.example.net", ""},
		{"a number of another country's list", "911@alpha.voice.example.net", ""},
	}
	for _, c := range cases {
		before, plain := len(emergency.requests("INVITE")), len(ordinary.requests("INVITE"))
		call(c.to)
		got := emergency.requests("INVITE")[before:]
		switch {
		case c.want == "" && (len(got) > 0 || len(ordinary.requests("INVITE")) == plain):
			t.Errorf("%s: went to the emergency server, want an ordinary call", c.name)
		case c.want != "" && len(got) == 0:
			t.Errorf("%s: did not reach the emergency server", c.name)
		case c.want != "" && got[0].uri() != c.want:
			t.Errorf("%s: left as %s, want %s", c.name, got[0].uri(), c.want)
		}
	}
	// Never by header: this call only says that it is one.
	before := len(emergency.requests("INVITE"))
	r := fromAlice("INVITE")
	r.to, r.header = "5551234@alpha.voice.example.net", "Priority: emergency"
	s.phone(100, "uac_call", r).succeed()
	if got := emergency.requests("INVITE")[before:]; len(got) > 0 {
		t.Errorf("a header made a call an emergency call:\n%s", got[0].text)
	}
	// The service's own name, as a phone that knows it sends it; and the location passes as it came
	// (E4).
	h := s.handset(101, "alice")
	located := dialogue{
		method: "INVITE", from: alice, to: "112@alpha.voice.example.net", uri: "urn:service:sos.fire",
		header: "Geolocation: <cid:here@alpha.voice.example.net>\nGeolocation-Routing: yes\nContent-Type: application/pidf+xml",
		body:   "<presence entity=\"pres:alice\"/>",
	}
	h.login(located, "MD5", "alice-secret")
	got := emergency.requests("INVITE")[before:]
	if len(got) == 0 || got[0].uri() != located.uri || strings.Join(got[0].header("Geolocation"), "") != "<cid:here@alpha.voice.example.net>" || strings.TrimSpace(got[0].body()) != located.body {
		t.Errorf("%s with a location did not pass unchanged: %v", located.uri, got)
	}
}

// E1: an emergency call passes what stops others: here, servers out or draining by hand. Its twin, an
// ordinary call, is refused.
func TestE1PassesDrain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.edit("Account", "1001", map[string]any{"targets": map[string]any{"emergency": nodes("west1"), "invite": nodes("east1")}})
	emergency, ordinary := s.feature(10, "uas_call"), s.feature(8, "uas_call")
	r, twin := fromAlice("INVITE"), fromAlice("INVITE")
	r.to = "112@alpha.voice.example.net"
	for _, state := range []string{"active", "draining"} {
		s.edit("Node", "east1", map[string]any{"state": state})
		s.edit("Node", "west1", map[string]any{"state": state})
		s.phone(100, "uac_call", r).succeed()
		if call := s.phone(101, "uac_call", twin); call.wait() != (state == "active") {
			t.Errorf("nodes %s: an ordinary call came to its end: %v", state, state != "active")
		}
	}
	if a, b := len(emergency.requests("BYE")), len(ordinary.requests("BYE")); a != 2 || b != 1 {
		t.Errorf("the emergency server had %d calls and the ordinary one %d, want 2 and 1", a, b)
	}
	// The account's list is optional: 112 and 911 are emergency calls without it.
	for _, number := range []string{"112", "911"} {
		r.to = number + "@alpha.voice.example.net"
		s.phone(100, "uac_call", r).succeed()
	}
	if got := len(emergency.requests("BYE")); got != 4 {
		t.Errorf("the emergency server had %d calls, want 4: 112 and 911 by default", got)
	}
}
