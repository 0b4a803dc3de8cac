package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A call over TCP from the phone to the edge, and over UDP from there.
func TestCallOverTCP(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east := s.feature(8, "uas_call")
	s.phone(100, "uac_call", fromAlice("INVITE"), "-t", "t1").succeed()
	if got := len(east.requests("BYE")); got != 1 {
		t.Errorf("east1 got %d BYEs, want 1", got)
	}
	// A message too long for UDP goes on over TCP (RFC 3261 section 18.1.1).
	east.stop()
	stream := s.feature(8, "uas_any", "-t", "t1")
	long := fromAlice("MESSAGE")
	long.header = "Subject: " + strings.Repeat("long ", 250)
	s.phone(100, "uac_request", long, "-t", "t1").succeed()
	if got := len(stream.requests("MESSAGE")); got != 1 {
		t.Errorf("over TCP east1 got %d long messages, want 1", got)
	}
}

// A phone whose digest-uri names the server it sends to, whatever the Request-URI, is let in; with a
// wrong password it is not.
func TestDigestNamesServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east := s.feature(8, "uas_call")
	for method, scenario := range map[string]string{"REGISTER": "uac_request", "INVITE": "uac_call"} {
		r := fromAlice(method)
		r.server = true
		phone := s.phone(100, scenario, r)
		phone.succeed()
		if want := fmt.Sprintf(`uri="sip:%s:5060"`, s.addr(1)); !strings.Contains(phone.trace(), want) {
			t.Errorf("no %s has %s: sipp names another place", method, want)
		}
		before := len(east.requests("INVITE"))
		r.password = "guess"
		s.phone(101, scenario, r).refused("403")
		if got := len(east.requests("INVITE")); got != before {
			t.Errorf("%s with a wrong password reached the feature server", method)
		}
	}
	if got := len(east.requests("BYE")); got != 1 {
		t.Errorf("east1 got %d BYEs, want 1", got)
	}
}

// A registrar behind the edge: the edge authenticates, strips the credentials, adds Path, and a
// request that comes back along that Path reaches the phone.
func TestRemoteRegistrar(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.edit("Account", "1001", map[string]any{"registrar": "remote"})
	east := s.feature(8, "uas_any")
	phone := s.handset(100, "alice")
	register := dialogue{method: "REGISTER", from: alice, to: alice, uri: "sip:alpha.voice.example.net"}
	if got := phone.login(register, "MD5", "alice-secret").uri(); got != "200" {
		t.Fatalf("REGISTER: %s, want the registrar's 200", got)
	}
	seen := east.requests("REGISTER")
	if len(seen) != 1 || len(seen[0].header("Path")) == 0 || len(seen[0].header("Authorization")) > 0 {
		t.Fatalf("the registrar got %v, want one REGISTER with Path and without credentials", seen)
	}
	// Twin: wrong credentials never get there.
	if got := phone.login(register, "MD5", "guess").uri(); got != "403" {
		t.Errorf("REGISTER with a wrong password: %s, want 403", got)
	}
	if got := len(east.requests("REGISTER")); got != 1 {
		t.Errorf("the registrar got %d REGISTERs, want 1", got)
	}
	east.stop()
	// The registrar's own request, along the Path it was given.
	server := s.handsetAt(8, 5060, "server")
	path := strings.Join(seen[0].header("Path"), ", ")
	server.send(server.write(dialogue{
		method: "MESSAGE", from: "server@alpha.voice.example.net", to: alice,
		uri: "sip:alice@" + phone.conn.LocalAddr().String(), header: "Route: " + path,
	}))
	for {
		m, ok := phone.receive(2 * time.Second)
		if !ok {
			t.Fatal("the phone got nothing along its Path")
		}
		if m.method() == "MESSAGE" {
			break
		}
	}
}

// Two phones of one user ring together; one answers, the other is cancelled.
func TestForking(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	phones := []*handset{s.handset(100, "bob"), s.handset(101, "bob")}
	const bob = "bob@alpha.voice.example.net"
	for _, phone := range phones {
		d := dialogue{method: "REGISTER", from: bob, to: bob, uri: "sip:alpha.voice.example.net"}
		if got := phone.login(d, "MD5", "bob-secret").uri(); got != "200" {
			t.Fatalf("REGISTER: %s", got)
		}
	}
	server := s.handsetAt(8, 5060, "server")
	server.send(server.write(dialogue{method: "INVITE", from: "server@alpha.voice.example.net", to: "202@alpha.voice.example.net"}))
	invites := make([]message, len(phones))
	for i, phone := range phones {
		m, ok := phone.receive(3 * time.Second)
		if !ok || m.method() != "INVITE" {
			t.Fatalf("phone %d got %q, want the INVITE", i, m.start())
		}
		invites[i] = m
		phone.send(respond(m, "180 Ringing", "ring"+phone.user))
	}
	phones[0].send(respond(invites[0], "200 OK", "first"))
	if got := server.final(3 * time.Second); got.uri() != "200" {
		t.Errorf("the caller got %q, want the 200", got.start())
	}
	for {
		m, ok := phones[1].receive(3 * time.Second)
		if !ok {
			t.Fatal("the other phone was not cancelled")
		}
		if m.method() == "CANCEL" {
			break
		}
	}
}

// respond writes a response to a request, as a phone with a To tag of its own does.
func respond(request message, status, tag string) string {
	var b strings.Builder
	b.WriteString("SIP/2.0 " + status + "\n")
	for _, name := range []string{"Via", "Record-Route", "From", "Call-ID", "CSeq"} {
		for _, value := range request.header(name) {
			b.WriteString(name + ": " + value + "\n")
		}
	}
	to := strings.Join(request.header("To"), "")
	if !strings.Contains(to, ";tag=") {
		to += ";tag=" + tag
	}
	b.WriteString("To: " + to + "\n")
	b.WriteString("Contact: <" + request.uri() + ">\nContent-Length: 0\n\n")
	return b.String()
}
