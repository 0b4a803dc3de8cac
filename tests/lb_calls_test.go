package tests

import (
	"testing"
	"time"

	"tandem/internal/lab"
	"tandem/internal/tandem"
)

// to is r to somebody else.
func (r request) called(to string) request {
	r.to = to
	return r
}

// L5: of a group that is permitted two calls the third is refused; one ends, the next succeeds.
func TestL5(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east := s.feature(8, "uas_node")
	s.edit("Group", "gold", map[string]any{"permitted": 2})
	r := fromAlice("INVITE")
	first, second := s.dial(100, r), s.dial(101, r)
	first.is("200")
	second.is("200")
	s.dial(102, r).is("486 permitted")
	if got := east.invites(); got != 2 {
		t.Errorf("the node got %d calls, want 2: a refused one goes nowhere", got)
	}
	if got := first.bye(); got != "200" {
		t.Errorf("BYE: %s", got)
	}
	third := s.dial(103, r)
	third.is("200")
	s.dial(104, r).is("486 permitted")
	// Twin: permitted more, live; and without the setting, any number.
	s.edit("Group", "gold", map[string]any{"permitted": 3})
	fourth := s.dial(105, r)
	fourth.is("200")
	s.dial(106, r).is("486 permitted")
	s.edit("Group", "gold", map[string]any{"permitted": nil})
	fifth := s.dial(107, r)
	fifth.is("200")
	// Lowered below what is up, it ends none and admits none.
	s.edit("Group", "gold", map[string]any{"permitted": 1})
	s.dial(108, r).is("486 permitted")
	for _, c := range []*talk{second, third, fourth} {
		if got := c.bye(); got != "200" {
			t.Errorf("BYE: %s", got)
		}
		s.dial(109, r).is("486 permitted")
	}
	if got := fifth.bye(); got != "200" {
		t.Errorf("BYE: %s", got)
	}
	s.free(2 * time.Second)
	if got := s.metric("tandem_lb_refused_total", `"permitted"`); got != 7 {
		t.Errorf("tandem_lb_refused_total says %.0f, want 7", got)
	}
	last := s.dial(110, r)
	last.is("200")
	last.bye()
}

const fromOutside = "+4930123@carrier.example.org"

// carrier makes host 30 of the block a carrier.
const carrier = "{kind: Peer, id: carrier, role: carrier, networks: [NET.30/32], listener: public}"

func (s *server) fromCarrier(number string) request {
	return request{from: fromOutside, to: number + "@" + s.addr(1)}
}

// L6: calls from a group and calls to it count alike; other groups are not affected. A call between
// two accounts of a group takes one slot, one between two groups one of each.
func TestL6(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(thirdAccount + "---\n" + carrier)
	s.clusters()
	s.edit("Group", "gold", map[string]any{"permitted": 2})
	s.edit("Group", "silver", map[string]any{"permitted": 1})
	out, in := s.dial(100, fromAlice("INVITE")), s.dial(30, s.fromCarrier("+15550101"))
	out.is("200")
	in.is("200")
	for name, r := range map[string]request{
		"out": fromAlice("INVITE"), "in": s.fromCarrier("+15550101"),
		"of its other account, out": fromDora(), "of its other account, in": s.fromCarrier("+15550103"),
	} {
		host := 30
		if r.password != "" {
			host = 101
		}
		s.dial(host, r).is("486 permitted")
		if t.Failed() {
			t.Fatalf("the call %s was not refused so", name)
		}
	}
	// The other group has its own limit.
	other := s.dial(102, fromCarol("INVITE"))
	other.is("200")
	s.dial(30, s.fromCarrier("+15550102")).is("486 permitted")
	other.bye()
	in.bye()
	// Within the group: one slot, though it touches two of its accounts.
	within := s.dial(103, fromAlice("INVITE").called("300@delta.voice.example.net"))
	within.is("200")
	s.dial(104, fromDora()).is("486 permitted")
	if got := s.record(within.d.callID, "its groups", func(c tandem.Call) bool { return c.State == tandem.CallAnswered }); len(got.Groups) != 1 {
		t.Errorf("a call within a group holds slots in %v", got.Groups)
	}
	out.bye()
	// Between two groups: one of each. Gold is full then, and so is silver.
	across := s.dial(105, fromAlice("INVITE").called("201@bravo.voice.example.net"))
	across.is("200")
	s.dial(106, fromAlice("INVITE")).is("486 permitted")
	s.dial(106, fromCarol("INVITE")).is("486 permitted")
	within.bye()
	// Gold has room again, silver has not: either that is full refuses, and takes nothing of the other.
	s.dial(107, fromAlice("INVITE").called("201@bravo.voice.example.net")).is("486 permitted")
	s.dial(107, fromCarol("INVITE").called("202@alpha.voice.example.net")).is("486 permitted")
	last := s.dial(108, fromAlice("INVITE"))
	last.is("200")
	across.bye()
	last.bye()
	s.free(2 * time.Second)
}

// L8: expected and permitted are two settings.
func TestL8(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.edit("Cluster", "east", map[string]any{"capacity": 1})
	s.clusters()
	s.edit("Group", "gold", map[string]any{"expected": 1, "permitted": 3})
	var calls []*talk
	for i := range 3 {
		c := s.dial(100+i, fromAlice("INVITE"))
		c.is("200")
		calls = append(calls, c)
	}
	s.dial(110, fromAlice("INVITE")).is("486 permitted")
	for _, c := range calls {
		c.bye()
	}
	// Twin: expected far above permitted.
	s.edit("Cluster", "east", map[string]any{"capacity": 1000})
	s.edit("Group", "gold", map[string]any{"expected": 1000, "permitted": 1})
	c := s.dial(100, fromAlice("INVITE"))
	c.is("200")
	s.dial(101, fromAlice("INVITE")).is("486 permitted")
	c.bye()
	s.free(2 * time.Second)
}

// L10: the called group's cluster takes the call, wherever the caller is; the caller's group counts
// it all the same.
func TestL10(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east, west := s.clusters()
	nodes := []*sipp{east, west}
	s.apply(carrier)
	const toGold = "202@alpha.voice.example.net"
	if got := s.landed(nodes, fromCarol("INVITE").called(toGold)); got[0] != 1 || got[1] != 0 {
		t.Errorf("carol of silver to gold: east1 and west1 got %v, want gold's east1", got)
	}
	if got := s.landed(nodes, fromCarol("INVITE"), fromAlice("INVITE").called("201@bravo.voice.example.net")); got[0] != 0 || got[1] != 2 {
		t.Errorf("carol, and alice of gold, to silver: east1 and west1 got %v, want silver's west1", got)
	}
	c := s.dial(30, s.fromCarrier("+15550101"))
	c.is("200")
	if got := s.record(c.d.callID, "its cluster", func(c tandem.Call) bool { return c.Cluster != "" }); got.Cluster != "east" {
		t.Errorf("a carrier's call to gold's number is on %q, want east", got.Cluster)
	}
	c.bye()
	// Where gold goes, calls to it go.
	s.must("lb", "pin", "gold", "west", "--wait")
	if got := s.landed(nodes, fromCarol("INVITE").called(toGold)); got[0] != 0 || got[1] != 1 {
		t.Errorf("with gold on west, carol to gold: east1 and west1 got %v, want west1", got)
	}
}

// only makes east a cluster of one node of the lab's, which answers all calls itself.
func (s *server) only() *lab.Node {
	s.t.Helper()
	s.must("delete", "Node", "east2")
	node := s.backToBack(eastNode)
	node.Script("INVITE", lab.Reply{Code: 200})
	s.found("east1", "good")
	return node
}

// An emergency call passes a full group, a group without a cluster, and nodes that are all degraded.
func TestEmergencyPassesLimits(t *testing.T) {
	t.Parallel()
	s := startWith(t, quickMind())
	node := s.only()
	s.edit("Group", "gold", map[string]any{"permitted": 1})
	sos, twin := fromAlice("INVITE").called("112@alpha.voice.example.net"), fromAlice("INVITE").called("1120@alpha.voice.example.net")
	check := func(what, refusal string) {
		t.Helper()
		c := s.dial(100, sos)
		c.is("200")
		s.dial(101, twin).is(refusal)
		if got := c.bye(); got != "200" {
			t.Errorf("%s: BYE of the emergency call: %s", what, got)
		}
	}
	ordinary := s.dial(102, twin)
	ordinary.is("200")
	check("full", "486 permitted")
	ordinary.bye()
	node.Script("OPTIONS", overloaded())
	s.found("east1", "degraded")
	check("degraded", "503 quality")
	node.Script("OPTIONS", idle())
	s.found("east1", "good")
	s.edit("Cluster", "east", map[string]any{"capacity": 1})
	s.edit("Group", "gold", map[string]any{"expected": 2})
	check("too large for its cluster", "503 no-cluster")
	s.free(2 * time.Second)
	if got := s.metric("tandem_lb_emergency_total"); got != 3 {
		t.Errorf("tandem_lb_emergency_total is %.0f, want 3", got)
	}
}

// P2: every call has its record, refused ones with the condition that was not met.
func TestP2Refused(t *testing.T) {
	t.Parallel()
	s := startWith(t, quickMind())
	node := s.only()
	s.edit("Group", "gold", map[string]any{"permitted": 1})
	ended := func(c *talk, cause string, status uint16, by tandem.CallEnder) {
		t.Helper()
		r := s.record(c.d.callID, "its end", func(r tandem.Call) bool { return r.State == tandem.CallEnded })
		if r.Cause != cause || r.Status != status || r.EndedBy != by || r.Account != "1001" || r.Device != "phone-a" || r.From != alice {
			t.Errorf("the record of a call that ended by %s is %+v", cause, r)
		}
		if r.WasAnswered() != (status == 200) || r.Ended.Before(r.Started) {
			t.Errorf("the times of a call that ended by %s are %+v", cause, r)
		}
	}
	up := s.dial(100, fromAlice("INVITE"))
	up.is("200")
	full := s.dial(101, fromAlice("INVITE"))
	ended(full, "permitted", 486, tandem.EndedByAppliance)
	up.bye()
	ended(up, "bye", 200, tandem.EndedByCaller)
	node.Script("INVITE", lab.Reply{Code: 404})
	ended(s.dial(102, fromAlice("INVITE")), "404", 404, tandem.EndedByCallee)
	node.Script("OPTIONS", overloaded())
	s.found("east1", "degraded")
	ended(s.dial(103, fromAlice("INVITE")), "quality", 503, tandem.EndedByAppliance)
	s.must("node", "drain", "east1")
	ended(s.dial(104, fromAlice("INVITE")), "no-node", 503, tandem.EndedByAppliance)
	s.edit("Cluster", "east", map[string]any{"capacity": 1})
	s.edit("Group", "gold", map[string]any{"expected": 2})
	ended(s.dial(105, fromAlice("INVITE")), "no-cluster", 503, tandem.EndedByAppliance)
	if got := len(s.records("--account", "1001")); got != 6 {
		t.Errorf("%d records, want 6", got)
	}
	// Twin: of a call by a stranger, who is not known, nothing is kept.
	stranger := s.handset(106, "mallory")
	if got := stranger.ask(dialogue{method: "INVITE", from: "mallory@nosuch.example.net", to: alice}).uri(); got < "400" {
		t.Errorf("a stranger's call got %s", got)
	}
	if got := len(s.records()); got != 6 {
		t.Errorf("%d records after a stranger's call, want 6", got)
	}
}
