package tests

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// follow sends a request that goes with the INVITE that invited sent: the same but for its method.
func (h *handset) follow(method string) {
	h.t.Helper()
	text := strings.Replace(h.sent, "INVITE ", method+" ", 1)
	text = regexp.MustCompile(`(?m)^(CSeq: \d+) INVITE\r?$`).ReplaceAllString(text, "$1 "+method+"\r")
	h.send(regexp.MustCompile(`(?m)^(Contact|Proxy-Authorization): .*\n`).ReplaceAllString(text, ""))
}

// hear waits for a message that begins so.
func (h *handset) hear(start string) message {
	h.t.Helper()
	for {
		m, ok := h.receive(3 * time.Second)
		if !ok {
			h.t.Fatalf("waiting for %q", start)
		}
		if strings.HasPrefix(m.text, start) {
			return m
		}
	}
}

// silent reports what comes within a moment that begins so, "" for nothing.
func (h *handset) silent(start string) string {
	for {
		m, ok := h.receive(300 * time.Millisecond)
		if !ok {
			return ""
		}
		if strings.HasPrefix(m.text, start) {
			return m.start()
		}
	}
}

func TestCancelRaces(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	node := s.handsetAt(8, 5060, "node")

	early := s.handset(100, "alice")
	invite := early.invited(s, node, "")
	early.follow("CANCEL")
	early.hear("SIP/2.0 200")
	if got := node.silent("CANCEL"); got != "" {
		t.Errorf("CANCEL before any provisional response went on: %s", got)
	}
	early.follow("CANCEL") // again
	early.hear("SIP/2.0 200")
	node.send(respond(invite, "180 Ringing", "c"))
	cancel := node.hear("CANCEL")
	if branchOf(cancel) != branchOf(invite) {
		t.Errorf("CANCEL with branch %s, want the INVITE's %s", branchOf(cancel), branchOf(invite))
	}
	node.send(respond(cancel, "200 OK", "c"))
	if got := node.silent("CANCEL"); got != "" {
		t.Errorf("CANCEL came twice: %s", got)
	}
	node.send(respond(invite, "487 Request Terminated", "c"))
	node.hear("ACK")
	early.hear("SIP/2.0 487")
	early.follow("ACK")

	late := s.handset(101, "alice")
	invite = late.invited(s, node, "")
	node.send(respond(invite, "200 OK", "l"))
	late.hear("SIP/2.0 200")
	late.follow("CANCEL")
	late.hear("SIP/2.0 200")
	if got := node.silent("CANCEL"); got != "" {
		t.Errorf("CANCEL after 200 went on: %s", got)
	}
	node.send(respond(invite, "200 OK", "l")) // its ACK is late
	late.hear("SIP/2.0 200 OK")

	crossing := s.handset(102, "alice") // CANCEL meets 200 on its way
	invite = crossing.invited(s, node, "")
	node.send(respond(invite, "180 Ringing", "x"))
	crossing.hear("SIP/2.0 180")
	crossing.follow("CANCEL")
	node.send(respond(invite, "200 OK", "x"))
	if got := crossing.hear("SIP/2.0 200"); strings.Contains(strings.Join(got.header("CSeq"), ""), "CANCEL") {
		if got = crossing.hear("SIP/2.0 200"); !strings.Contains(strings.Join(got.header("CSeq"), ""), "INVITE") {
			t.Errorf("the 200 that crossed CANCEL became %s", got.text)
		}
	}
}

// A dialog's token serves its own dialog alone, whoever has it; and no Route leads past us.
func TestStolenTokens(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	node, phone := s.handsetAt(8, 5060, "node"), s.handset(100, "alice")
	invite := phone.invited(s, node, "")
	node.send(respond(invite, "200 OK", "n"))
	answer := phone.hear("SIP/2.0 200")
	route := "Route: " + strings.Join(answer.header("Record-Route"), ", ") // turned round: the callee's comes first
	own := answer.header("Record-Route")
	callID := strings.Join(invite.header("Call-ID"), "")
	caller := strings.Join(invite.header("From"), "")
	tag := caller[strings.Index(caller, ";tag="):]
	bob := "bob@alpha.voice.example.net"
	carol := s.handset(110, "carol")
	for name, d := range map[string]dialogue{
		"another Call-ID":     {method: "BYE", callID: "stolen", toTag: ";tag=n", header: "Route: " + own[len(own)-1]},
		"another caller":      {method: "BYE", callID: callID + "x", toTag: tag, header: "Route: " + own[len(own)-1]},
		"no To tag":           {method: "INVITE", callID: callID, header: "Route: " + own[len(own)-1]},
		"no token":            {method: "BYE", callID: callID, toTag: ";tag=n"},
		"the other side's":    {method: "BYE", callID: callID, toTag: ";tag=n", header: route},
		"another account":     {method: "MESSAGE", callID: "mine", toTag: ";tag=n", header: "Route: " + own[len(own)-1]},
		"foreign Route":       {method: "MESSAGE", header: "Route: <sip:" + s.addr(9) + ";lr>"},
		"Route behind ours":   {method: "MESSAGE", header: "Route: <sip:" + s.addr(1) + ";lr>, <sip:" + s.addr(9) + ";lr>"},
		"ours as Request-URI": {method: "MESSAGE", uri: "sip:bob@" + s.addr(1) + ":5060"},
		"the node itself":     {method: "MESSAGE", uri: "sip:bob@" + s.addr(8) + ":5060"},
		"no hops left":        {method: "MESSAGE", hops: -1},
	} {
		d.from, d.to = alice, bob
		if name == "another account" {
			d.from, d.to = "carol@bravo.voice.example.net", bob
		}
		if got := carol.ask(d).uri(); !strings.HasPrefix(got, "4") {
			t.Errorf("%s: %s, want a 4xx", name, got)
		}
	}
	if got := node.silent("BYE") + node.silent("MESSAGE"); got != "" {
		t.Errorf("the node got %s", got)
	}
	// The twin: the dialog's own requests, of any method, reach its node.
	for _, method := range []string{"PRACK", "UPDATE", "MESSAGE", "SUBSCRIBE", "INFO", "REFER", "X-NEW", "BYE"} {
		header := ""
		for i := len(own) - 1; i >= 0; i-- {
			header += "Route: " + own[i] + "\n"
		}
		phone.send(phone.write(dialogue{method: method, from: alice, to: bob, toTag: ";tag=n", uri: "sip:node@" + s.addr(8) + ":5060", header: header, callID: callID}))
		node.send(respond(node.hear(method), "200 OK", "n"))
		if got := phone.final(3 * time.Second); got.uri() != "200" {
			t.Errorf("%s: %q, want the node's 200", method, got.start())
		}
	}
}

// A nonce serves each count once.
func TestNonceReplay(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	h := s.handset(100, "alice")
	d := dialogue{method: "REGISTER", from: alice, to: alice, uri: "sip:alpha.voice.example.net"}
	name, answer := h.answerTo(h.ask(d), d, "MD5", "alice-secret")
	d.header = name + ": " + answer
	if got := h.ask(d).uri(); got != "200" {
		t.Fatalf("REGISTER: %s", got)
	}
	for _, thief := range []*handset{h, s.handset(101, "alice")} {
		got := thief.ask(d)
		if got.uri() != "401" || !strings.Contains(strings.Join(got.header("WWW-Authenticate"), ""), "stale=true") {
			t.Errorf("credentials sent again: %s, want 401 with stale", got.text)
		}
	}
}
