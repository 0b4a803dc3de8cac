package tests

import (
	"strings"
	"testing"
	"time"
)

const (
	alice = "alice@alpha.voice.example.net"
	carol = "carol@bravo.voice.example.net"
)

// fromAlice is a request of account 1001's phone to an extension of its own account.
func fromAlice(method string) request {
	r := request{method: method, from: alice, to: "202@alpha.voice.example.net", password: "alice-secret", hold: 300 * time.Millisecond}
	switch method {
	case "REGISTER":
		r.to, r.uri = alice, "sip:alpha.voice.example.net"
	case "SUBSCRIBE":
		r.header = "Event: presence"
	case "MESSAGE":
		r.header = "Content-Type: text/plain"
	}
	return r
}

// fromCarol is the same of account 1002's phone.
func fromCarol(method string) request {
	r := fromAlice(method)
	r.from, r.to, r.password = carol, "201@bravo.voice.example.net", "carol-secret"
	if method == "REGISTER" {
		r.to, r.uri = carol, "sip:bravo.voice.example.net"
	}
	return r
}

// D5: REGISTER, INVITE, SUBSCRIBE and MESSAGE of one account each reach the feature server that the
// server database names for that type.
func TestD5(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.edit("Account", "1001", map[string]any{
		"routes":  map[string]any{"register": []string{"reg"}, "subscribe": []string{"presence"}, "message": []string{"chat"}},
		"targets": map[string]any{"reg": nodes("east2"), "presence": nodes("west1"), "chat": nodes("west2")},
	})
	at := map[string]*sipp{
		"INVITE":    s.feature(8, "uas_call"),
		"REGISTER":  s.feature(9, "uas_any"),
		"SUBSCRIBE": s.feature(10, "uas_any"),
		"MESSAGE":   s.feature(11, "uas_any"),
	}
	s.phone(100, "uac_request", fromAlice("REGISTER")).succeed()
	s.phone(100, "uac_request", fromAlice("SUBSCRIBE")).succeed()
	s.phone(100, "uac_request", fromAlice("MESSAGE")).succeed()
	s.phone(100, "uac_call", fromAlice("INVITE")).succeed()
	for method, server := range at {
		if got := len(server.requests(method)); got == 0 {
			t.Errorf("%s got no %s", server.name, method)
		}
		for _, r := range server.requests("") {
			if m := r.method(); m != method && (method != "INVITE" || m != "ACK" && m != "BYE") {
				t.Errorf("%s got a %s too", server.name, m)
			}
		}
	}
	for _, m := range at["REGISTER"].requests("REGISTER") {
		if len(m.header("Path")) == 0 {
			t.Errorf("the forwarded REGISTER has no Path (RFC 3327):\n%s", m.text)
		}
	}
	// Twin: with the routes gone all go to the group's cluster.
	s.edit("Account", "1001", map[string]any{"routes": nil, "targets": nil})
	at["INVITE"].stop()
	first := s.feature(8, "uas_any")
	s.phone(100, "uac_request", fromAlice("SUBSCRIBE")).succeed()
	if got := len(first.requests("SUBSCRIBE")); got != 1 {
		t.Errorf("without routes east1 got %d SUBSCRIBEs, want 1", got)
	}
}

func nodes(ids ...string) map[string]any { return map[string]any{"nodes": ids} }

// D6: two accounts, the same type: different feature servers.
func TestD6(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east, west := s.feature(8, "uas_any"), s.feature(10, "uas_any")
	s.phone(100, "uac_request", fromAlice("MESSAGE")).succeed()
	s.phone(101, "uac_request", fromCarol("MESSAGE")).succeed()
	if a, b := len(east.requests("MESSAGE")), len(west.requests("MESSAGE")); a != 1 || b != 1 {
		t.Errorf("east1 got %d messages and west1 %d, want 1 and 1", a, b)
	}
	// Twin: mapped to one server, both go there.
	s.edit("Account", "1002", map[string]any{"targets": map[string]any{"message": nodes("east1")}})
	s.phone(101, "uac_request", fromCarol("MESSAGE")).succeed()
	if a, b := len(east.requests("MESSAGE")), len(west.requests("MESSAGE")); a != 2 || b != 1 {
		t.Errorf("mapped to one server, east1 has %d messages and west1 %d, want 2 and 1", a, b)
	}
}

// D8: a change of the server database while running moves the very next new request.
func TestD8(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east, west := s.feature(8, "uas_any"), s.feature(10, "uas_any")
	s.edit("Account", "1001", map[string]any{"targets": map[string]any{"other": nodes("west1")}})
	for round, want := range []int{8, 10, 8, 10} {
		route := []string{"message"}
		if want == 10 {
			route = []string{"other"}
		}
		s.edit("Account", "1001", map[string]any{"routes": map[string]any{"message": route}})
		before := len(east.requests("MESSAGE"))
		s.phone(100, "uac_request", fromAlice("MESSAGE")).succeed()
		if moved := len(east.requests("MESSAGE")) == before; moved != (want == 10) {
			t.Errorf("round %d: the request went elsewhere than to .%d", round, want)
		}
	}
	if got := len(west.requests("MESSAGE")); got != 2 {
		t.Errorf("west1 got %d messages, want 2", got)
	}
}

// D9: several feature servers a key, all used; one stops and the next request succeeds on another
// within the same transaction.
func TestD9(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.edit("Node", "east2", map[string]any{"priority": 0})
	first, second := s.feature(8, "uas_any"), s.feature(9, "uas_any")
	for range 12 {
		s.phone(100, "uac_request", fromAlice("MESSAGE")).succeed()
	}
	if a, b := len(first.requests("MESSAGE")), len(second.requests("MESSAGE")); a == 0 || b == 0 || a+b != 12 {
		t.Errorf("the two servers got %d and %d of 12 messages, want both used", a, b)
	}
	before := len(second.requests("MESSAGE"))
	first.stop()
	for range 6 {
		phone := s.phone(100, "uac_request", fromAlice("MESSAGE"))
		phone.succeed()
		if got := len(phone.received()); got > 3 { // challenge, perhaps 100, 200
			t.Errorf("a phone saw %d responses, want the failover to stay inside its transaction", got)
		}
	}
	if got := len(second.requests("MESSAGE")) - before; got != 6 {
		t.Errorf("the server left got %d of 6 messages", got)
	}
	// Twin: with none left the request fails, clearly.
	second.stop()
	phone := s.phone(100, "uac_request", fromAlice("MESSAGE"))
	if phone.wait() {
		t.Error("a request succeeded with every feature server stopped")
	}
	if seen := phone.received(); len(seen) > 0 && !strings.HasPrefix(seen[len(seen)-1].uri(), "5") && !strings.HasPrefix(seen[len(seen)-1].uri(), "408") {
		t.Errorf("with every server stopped the phone got %s, want a 5xx or 408", seen[len(seen)-1].start())
	}
}

// D9, silently: a server that takes packets and answers nothing is passed over as well.
func TestD9SilentNode(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	silent := s.listenUDP(8)
	second := s.feature(9, "uas_any")
	phone := s.phone(100, "uac_request", fromAlice("MESSAGE"), "-recv_timeout", "20000")
	phone.succeed()
	if got := len(second.requests("MESSAGE")); got != 1 {
		t.Errorf("the second server got %d messages, want 1", got)
	}
	if silent() == 0 {
		t.Error("the silent server was not tried: it has the better priority")
	}
}

// D11: while the server database changes, re-INVITE and BYE of an open dialog still reach the server
// that owns it.
func TestD11(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east, west := s.feature(8, "uas_call"), s.feature(10, "uas_call")
	r := fromAlice("INVITE")
	r.hold = 1500 * time.Millisecond
	call := s.phone(100, "uac_call", r)
	eventually(t, 10*time.Second, "the call is up at east1", func() bool { return len(east.requests("ACK")) > 0 })
	s.must("account", "repoint", "1001", "invite", "--cluster", "west")
	call.succeed()
	if a, b := len(east.requests("INVITE")), len(east.requests("BYE")); a != 2 || b != 1 {
		t.Errorf("east1 got %d INVITEs and %d BYEs, want 2 and 1", a, b)
	}
	if got := len(west.requests("")); got != 0 {
		t.Errorf("west1 got %d requests of a dialog that is not its own", got)
	}
	// Twin: a new call goes to the new place.
	s.phone(100, "uac_call", fromAlice("INVITE")).succeed()
	if got := len(west.requests("INVITE")); got != 2 {
		t.Errorf("after the change west1 got %d INVITEs of a new call, want 2", got)
	}
}

// L12: re-INVITE, BYE and CANCEL stay on the dialog's node, and established calls survive the move
// of their group to another cluster.
func TestL12(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.edit("Node", "east2", map[string]any{"priority": 0})
	first, second := s.feature(8, "uas_call"), s.feature(9, "uas_call")
	r := fromAlice("INVITE")
	r.hold = time.Second
	var calls []*sipp
	for i := range 6 {
		calls = append(calls, s.phone(100+i, "uac_call", r))
	}
	eventually(t, 15*time.Second, "six calls are up", func() bool {
		return len(first.requests("ACK"))+len(second.requests("ACK")) >= 6
	})
	s.edit("Group", "gold", map[string]any{"cluster": "west"})
	for _, call := range calls {
		call.succeed()
	}
	for _, server := range []*sipp{first, second} {
		perCall := make(map[string]int)
		for _, m := range server.requests("") {
			if m.method() != "ACK" {
				perCall[strings.Join(m.header("Call-ID"), "")]++
			}
		}
		for id, got := range perCall {
			if got < 3 { // INVITE, re-INVITE, BYE
				t.Errorf("%s got %d requests of call %s, want all of them", server.name, got, id)
			}
		}
	}
	// CANCEL reaches the node that rings, after the move as before.
	ringing := s.feature(10, "uas_ring")
	s.phone(100, "uac_cancel", fromAlice("INVITE")).succeed()
	if got := len(ringing.requests("CANCEL")); got != 1 {
		t.Errorf("the ringing node got %d CANCELs, want 1", got)
	}
}

// L12, the twin: a token that was tampered with, or stands in a request outside a dialog, opens
// nothing.
func TestL12TokenIsNoRelay(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east := s.feature(8, "uas_call")
	r := fromAlice("INVITE")
	r.hold = time.Second
	call := s.phone(100, "uac_call", r)
	eventually(t, 10*time.Second, "the call is up", func() bool { return len(east.requests("ACK")) > 0 })
	route := strings.Join(east.requests("INVITE")[0].header("Record-Route"), ", ")
	if !strings.Contains(route, s.addr(1)) {
		t.Fatalf("Record-Route %q does not name tandem", route)
	}
	before := len(east.requests(""))
	h := s.handset(120, "mallory")
	uri, _, _ := strings.Cut(strings.TrimPrefix(route, "<"), ">")
	changed := strings.Replace(uri, uri[strings.Index(uri, ":")+3:strings.Index(uri, ":")+5], "zz", 1)
	for name, d := range map[string]dialogue{
		"no To tag":       {method: "INVITE", header: "Route: <" + uri + ">"},
		"another dialog":  {method: "BYE", header: "Route: <" + uri + ">", toTag: ";tag=guess"},
		"a changed token": {method: "BYE", header: "Route: <" + changed + ">", toTag: ";tag=guess"},
	} {
		d.uri, d.from, d.to = "sip:server@"+s.addr(8)+":5060", "mallory@elsewhere.example", "x@elsewhere.example"
		if got := h.ask(d).uri(); !strings.HasPrefix(got, "4") {
			t.Errorf("%s: answered %s, want a 4xx", name, got)
		}
	}
	call.succeed()
	for _, m := range east.requests("")[before:] {
		if strings.Contains(m.text, "mallory") {
			t.Errorf("a request with a token that is not its own was relayed:\n%s", m.text)
		}
	}
}
