package tests

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/lab"
	"tandem/internal/tandem"
)

// softphone runs a phone of the lab, registered in account 1001, that answers all calls.
func (s *server) softphone(host int, user string) *lab.Phone {
	s.t.Helper()
	p, err := lab.NewPhone(lab.PhoneConfig{
		User: user, Secret: user + "-secret", Domain: "alpha.voice.example.net",
		Listen: netip.MustParseAddrPort(s.addr(host) + ":5060"),
		Proxy:  tandem.Target{Transport: tandem.UDP, Addr: netip.MustParseAddrPort(s.addr(1) + ":5060")},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.Listen(); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		<-ended
	})
	if _, err := p.Register(ctx, time.Minute); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// A call that passes a back-to-back node, which makes a second call of it, counts once.
func TestBackToBackCountsOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	node := s.backToBack(eastNode)
	s.softphone(101, "bob")
	s.edit("Group", "gold", map[string]any{"permitted": 1})
	c := s.dial(100, fromAlice("INVITE"))
	c.is("200")
	if got := node.Dialogs(); got != 2 {
		t.Fatalf("the node has %d dialogs, want two halves of the call", got)
	}
	s.dial(102, fromAlice("INVITE")).is("486 permitted")
	if got := s.stands("gold").Groups[0].Calls; got != 1 {
		t.Errorf("the group has %d calls, want 1", got)
	}
	if got := s.metric("tandem_lb_joined_total"); got != 1 {
		t.Errorf("%.0f calls joined another, want 1", got)
	}
	var first, second tandem.Call
	for _, r := range s.records("--state", "answered") {
		if r.CallID == c.d.callID {
			first = r
		} else {
			second = r
		}
	}
	if second.Joined != first.ID || first.Joined != "" || first.Separate || second.Separate || second.Account != "1001" {
		t.Errorf("the call's two records are %+v and %+v", first, second)
	}
	c.bye()
	s.free(5 * time.Second)
	again := s.dial(103, fromAlice("INVITE"))
	again.is("200")
	again.bye()
	s.free(5 * time.Second)
}

// half is what a hand-driven back-to-back node does with a call: it carries some of what the INVITE
// brought into its own.
type half struct {
	name      string
	permitted int
	carry     func(invite message) string // header lines
	device    bool                        // it comes from a phone of the account instead, not from the node
	refused   bool                        // with 486
	separate  bool                        // it is recorded as a call of its own
}

func halves() []half {
	token := func(m message) string { return "Tandem-Call: " + strings.Join(m.header("Tandem-Call"), "") }
	identity := func(m message) string { return "Session-ID: " + strings.Join(m.header("Session-ID"), "") }
	return []half{
		{name: "keeps our token", permitted: 1, carry: token},
		{name: "keeps the Session-ID", permitted: 1, carry: identity},
		{name: "keeps both", permitted: 1, carry: func(m message) string { return token(m) + "\n" + identity(m) }},
		{name: "drops both", permitted: 1, carry: func(message) string { return "" }, refused: true, separate: true},
		{name: "drops both, with room for two", permitted: 2, carry: func(message) string { return "" }, separate: true},
		{name: "makes up a token", permitted: 1, refused: true, separate: true, carry: func(m message) string {
			value := token(m)
			return value[:len(value)-2] + "AA"
		}},
		{name: "the token in the hands of a phone", permitted: 1, carry: token, device: true, refused: true},
	}
}

// A call is known again by our token or its Session-ID, from a feature server only; else its second
// half counts as a call of its own, which its record says.
func TestHalvesOfACall(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	node := s.handsetAt(eastNode, 5060, "node")
	bob := s.handset(101, "bob")
	register := dialogue{method: "REGISTER", from: "bob@alpha.voice.example.net", to: "bob@alpha.voice.example.net", uri: "sip:alpha.voice.example.net"}
	if got := bob.login(register, "MD5", "bob-secret").uri(); got != "200" {
		t.Fatalf("REGISTER: %s", got)
	}
	for i, h := range halves() {
		s.edit("Group", "gold", map[string]any{"permitted": h.permitted})
		r := fromAlice("INVITE")
		r.header = fmt.Sprintf("Session-ID: %032x;remote=%032x", i+1, 0)
		caller := s.invite(110+i, r)
		invite := node.awaits("INVITE")
		if len(invite.header("Tandem-Call")) != 1 {
			t.Fatalf("%s: the node's INVITE has no token:\n%s", h.name, invite.text)
		}
		answer := s.playHalf(h, node, bob, h.carry(invite))
		if want := map[bool]string{true: "486", false: "603"}[h.refused]; answer.uri() != want {
			t.Errorf("%s: the second half got %q, want %s", h.name, answer.start(), want)
		}
		node.send(respond(invite, "603 Decline", "node"))
		if got := caller.settle(); got != "603" {
			t.Errorf("%s: the caller got %s", h.name, got)
		}
		s.free(5 * time.Second)
		if h.refused || h.device {
			continue
		}
		callID := strings.Join(answer.header("Call-ID"), "")
		got := s.record(callID, "its end", func(c tandem.Call) bool { return c.State == tandem.CallEnded })
		first := s.record(caller.d.callID, "its end", func(c tandem.Call) bool { return c.State == tandem.CallEnded })
		if got.Separate != h.separate || (got.Joined == first.ID) == h.separate {
			t.Errorf("%s: the second half's record says separate %v, joined %q; the first is %s", h.name, got.Separate, got.Joined, first.ID)
		}
	}
}

// playHalf makes the second half of a call, lets bob decline it if it reaches him, and returns the
// answer that it got.
func (s *server) playHalf(h half, node, bob *handset, header string) message {
	s.t.Helper()
	if h.device {
		r := fromAlice("INVITE")
		r.header = header
		c := s.dial(109, r)
		return c.answer
	}
	text := node.write(dialogue{method: "INVITE", from: alice, to: "202@alpha.voice.example.net", header: header})
	node.send(text)
	if !h.refused {
		invite := bob.awaits("INVITE")
		if got := s.stands("gold").Groups[0].Calls; got != h.permitted {
			s.t.Errorf("%s: the group has %d calls, want %d", h.name, got, h.permitted)
		}
		if len(invite.header("Tandem-Call")) != 0 {
			s.t.Errorf("%s: a phone was given the token", h.name)
		}
		bob.send(respond(invite, "603 Decline", "bob"))
	}
	m := node.final(patience)
	ack := strings.Replace(text, "INVITE ", "ACK ", 1)
	node.send(strings.Replace(ack, " INVITE\r\n", " ACK\r\n", 1))
	return m
}

// awaits returns the next request of a method and of a call that was not awaited before, for requests
// are repeated; what else comes is left unanswered.
func (h *handset) awaits(method string) message {
	h.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		m, ok := h.receive(time.Until(deadline))
		if !ok {
			h.t.Fatalf("%s got no %s", h.user, method)
		}
		if id := strings.Join(m.header("Call-ID"), ""); m.method() == method && !slices.Contains(h.awaited, id) {
			h.awaited = append(h.awaited, id)
			return m
		}
	}
}
