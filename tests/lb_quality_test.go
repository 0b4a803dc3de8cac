package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/lab"
	"tandem/internal/tandem"
)

// patientProbes is a configuration that gives nodes two seconds to answer OPTIONS, so that one can be
// slow and not dead.
func patientProbes() string {
	return strings.Replace(serveConfig, "  listeners:", "  probes: {timeout: 2s}\n  listeners:", 1)
}

// quickMind is a configuration that believes sooner that a node's quality has changed.
func quickMind() string {
	return serveConfig + "lb:\n  ramp: 100ms\n  quality: {closeAfter: 300ms, openAfter: 300ms}\n"
}

// overloaded and idle are what a node answers to OPTIONS.
func overloaded() lab.Reply { return lab.Reply{Code: 200, Header: []string{"Tandem-Load: 1.5"}} }
func idle() lab.Reply       { return lab.Reply{Code: 200, Header: []string{"Tandem-Load: 0"}} }

// hardship is one way in which a node gets worse, and the test of it.
type hardship struct {
	name    string
	config  string
	degrade func(*server, *lab.Node)
	restore func(*lab.Node)
	server  *server
	node    *lab.Node
	up      *talk
	since   time.Time
}

func hardships() []*hardship {
	losing := make([]lab.Reply, 400)
	for i := range losing {
		losing[i] = lab.Reply{Code: 200}
		if i%3 == 0 {
			losing[i] = lab.Reply{Silent: true}
		}
	}
	again := func(n *lab.Node) { n.Script("OPTIONS") }
	return []*hardship{
		{
			name: "overloaded", config: serveConfig,
			degrade: func(_ *server, n *lab.Node) { n.Script("OPTIONS", overloaded()) },
			restore: func(n *lab.Node) { n.Script("OPTIONS", idle()) },
		}, {
			name: "losing every third probe", config: serveConfig,
			degrade: func(_ *server, n *lab.Node) { n.Script("OPTIONS", losing...) }, restore: again,
		}, {
			name: "failing", config: serveConfig,
			degrade: func(s *server, n *lab.Node) {
				n.Script("INVITE", lab.Reply{Code: 500})
				for range 6 {
					s.dial(110, fromAlice("INVITE"))
				}
			},
			restore: func(n *lab.Node) { n.Script("INVITE", lab.Reply{Code: 200}) },
		}, {
			name: "slow", config: patientProbes(),
			degrade: func(_ *server, n *lab.Node) {
				n.Script("OPTIONS", lab.Reply{Code: 200, Delay: 1500 * time.Millisecond})
			},
			restore: again,
		},
	}
}

// L7: a cluster that degrades gets no new calls, what is up goes on; restored, calls come back
// without a restart. The hardships go on side by side, each at a server of its own.
func TestL7(t *testing.T) {
	t.Parallel()
	all := hardships()
	for _, h := range all {
		h.server = startWith(t, h.config)
		h.node = h.server.only()
		h.up = h.server.dial(100, fromAlice("INVITE"))
		h.up.is("200")
		h.since = time.Now()
		h.degrade(h.server, h.node)
	}
	for _, h := range all {
		h.closes(t)
		h.since = time.Now()
		h.restore(h.node)
	}
	for _, h := range all {
		h.opens(t)
	}
}

// closes waits until the node is degraded and checks what that means.
func (h *hardship) closes(t *testing.T) {
	t.Helper()
	s := h.server
	s.found("east1", "degraded")
	t.Logf("%s: closed after %s at most", h.name, time.Since(h.since))
	before := count(h.node, "INVITE")
	s.dial(101, fromAlice("INVITE")).is("503 quality")
	if got := count(h.node, "INVITE"); got != before {
		t.Errorf("%s: a degraded node got %d more INVITEs", h.name, got-before)
	}
	if got := h.up.within("INFO", "").uri(); got != "200" {
		t.Errorf("%s: INFO within the call that is up: %s", h.name, got)
	}
}

// opens waits until the node is good again and checks that calls come back.
func (h *hardship) opens(t *testing.T) {
	t.Helper()
	s := h.server
	s.found("east1", "good")
	t.Logf("%s: open again after %s at most", h.name, time.Since(h.since))
	again := s.dial(102, fromAlice("INVITE"))
	again.is("200")
	if a, b := h.up.bye(), again.bye(); a != "200" || b != "200" {
		t.Errorf("%s: BYEs: %s and %s", h.name, a, b)
	}
	s.free(2 * time.Second)
}

// L7: a group that nothing pins leaves a degraded cluster for a good one, and stays when that is
// all there is.
func TestL7Moves(t *testing.T) {
	t.Parallel()
	s := startWith(t, quickMind())
	east := s.only()
	s.must("delete", "Node", "west2")
	west := s.feature(westNode, "uas_node")
	s.found("west1", "good")
	s.apply("{kind: Group, id: gold}")
	if got := s.clusterOf("gold"); got != "east" {
		t.Fatalf("gold is on %q, want it to stay where it was", got)
	}
	east.Script("OPTIONS", overloaded())
	eventually(t, 10*time.Second, "gold has left the degraded cluster", func() bool { return s.clusterOf("gold") == "west" })
	c := s.dial(100, fromAlice("INVITE"))
	c.is("200")
	c.bye()
	if got := west.invites(); got != 1 {
		t.Errorf("west1 got %d calls, want 1", got)
	}
	// It stays though east recovers: nothing is gained by moving back.
	east.Script("OPTIONS", idle())
	s.found("east1", "good")
	if got := s.clusterOf("gold"); got != "west" {
		t.Errorf("gold went back to %q", got)
	}
}

// spread makes calls, all up at once, and returns how many each node got.
func (s *server) spread(calls int, nodes ...*sipp) []int {
	s.t.Helper()
	return gained(nodes, func() {
		var up []*talk
		for i := range calls {
			c := s.dial(100+i, fromAlice("INVITE"))
			c.is("200")
			up = append(up, c)
		}
		for _, c := range up {
			c.bye()
		}
	})
}

// twins starts two sipp nodes of one priority in east and waits until they are found good.
func (s *server) twins() (first, second *sipp) {
	s.t.Helper()
	s.edit("Node", "east2", map[string]any{"priority": 0})
	first, second = s.feature(8, "uas_node"), s.feature(9, "uas_node")
	s.found("east1", "good")
	s.found("east2", "good")
	return first, second
}

// gained counts the calls that each node gets while fn runs.
func gained(nodes []*sipp, fn func()) []int {
	got := make([]int, len(nodes))
	for i, n := range nodes {
		got[i] -= n.invites()
	}
	fn()
	for i, n := range nodes {
		got[i] += n.invites()
	}
	return got
}

// L9: calls spread over the available nodes by weight; a draining, a dead and an absent one get none.
func TestL9(t *testing.T) {
	t.Parallel()
	s := startWith(t, quickMind())
	first, second := s.twins()
	r := fromAlice("INVITE")
	r.hold = 400 * time.Millisecond
	got := gained([]*sipp{first, second}, func() {
		s.phone(100, "uac_call", r, "-m", "20", "-r", "50", "-l", "20").succeed()
	})
	if got[0]+got[1] != 20 || min(got[0], got[1]) < 8 {
		t.Errorf("of 20 calls the two nodes got %v, want 8 to 12 each", got)
	}
	s.edit("Node", "east2", map[string]any{"weight": 300})
	if got := s.spread(20, first, second); got[0]+got[1] != 20 || got[0] < 3 || got[0] > 7 {
		t.Errorf("weighing 100 and 300 the two nodes got %v of 20 calls, want about 5 and 15", got)
	}
	s.edit("Node", "east2", map[string]any{"weight": nil})
	if out := s.must("node", "drain", "east1"); !strings.Contains(out, "east1") {
		t.Errorf("tandem node drain says %q", out)
	}
	if got := s.spread(5, first, second); got[0] != 0 || got[1] != 5 {
		t.Errorf("with the first draining the nodes got %v of 5 calls", got)
	}
	s.must("node", "undrain", "east1")
	if got := s.spread(10, first, second); got[0] < 3 || got[1] < 3 {
		t.Errorf("undrained, the nodes got %v of 10 calls, want both used", got)
	}
	second.stop()
	s.found("east2", "down")
	if got := s.spread(5, first, second); got[0] != 5 || got[1] != 0 {
		t.Errorf("with the second dead the nodes got %v of 5 calls", got)
	}
	// Both out: none at all, and it says why.
	s.must("node", "out", "east1")
	s.dial(101, fromAlice("INVITE")).is("503 no-node")
	s.free(2 * time.Second)
}

// L9: calls that come while a node dies all succeed, and none is counted on the dead one afterwards.
func TestL9NodeDies(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	first, second := s.twins()
	second.stop() // nobody has noticed yet
	for i := range 6 {
		c := s.dial(100+i, fromAlice("INVITE"))
		c.is("200")
		c.bye()
	}
	if got := first.invites(); got != 6 {
		t.Errorf("the living node got %d of 6 calls", got)
	}
	s.free(2 * time.Second)
	for _, n := range s.stands().Clusters[0].Nodes {
		if n.Calls != 0 || n.InSetUp != 0 {
			t.Errorf("%s is left with %d calls, %d in set-up", n.ID, n.Calls, n.InSetUp)
		}
	}
}

// L16: with affinity all calls of a group share a node, also another one when that is gone; without,
// they spread.
func TestL16(t *testing.T) {
	t.Parallel()
	s := startWith(t, quickMind())
	s.apply(thirdAccount)
	first, second := s.twins()
	s.edit("Group", "gold", map[string]any{"affinity": true})
	got := s.spread(8, first, second)
	if slices.Min(got) != 0 || slices.Max(got) != 8 {
		t.Errorf("with affinity the nodes got %v of 8 calls, want all on one", got)
	}
	home, other := first, second
	if got[1] > 0 {
		home, other = second, first
	}
	if got := s.landed([]*sipp{home, other}, fromDora(), fromAlice("INVITE")); got[0] != 2 {
		t.Errorf("calls of both accounts of the group landed %v, want its node", got)
	}
	home.stop()
	if got := s.spread(4, other); got[0] != 4 {
		t.Errorf("with its node dead, the other got %v of 4 calls", got)
	}
	// Twin.
	if home == first {
		first = s.feature(8, "uas_node")
		s.found("east1", "good")
	} else {
		second = s.feature(9, "uas_node")
		s.found("east2", "good")
	}
	s.edit("Group", "gold", map[string]any{"affinity": false})
	eventually(t, 5*time.Second, "DNS has both nodes again", func() bool { return len(s.forwarding()) == 2 })
	if got := s.spread(20, first, second); slices.Min(got) < 2 {
		t.Errorf("without affinity the nodes got %v of 20 calls, want them spread", got)
	}
}

// forwarding is what DNS says of where account 1001's calls go: node to priority.
func (s *server) forwarding() map[string]string {
	s.t.Helper()
	found := make(map[string]string)
	for _, record := range s.dig("_sip._udp.invite.1001.svc.voice.example.net", "SRV").data("SRV") {
		fields := strings.Fields(record) // priority weight port target
		node, _, _ := strings.Cut(fields[3], ".")
		found[node] = fields[0]
	}
	return found
}

// DNS shows health: a dead and a draining node leave the forwarding name, a degraded one goes to the end of it,
// and all come back.
func TestHealthShowsInDNS(t *testing.T) {
	t.Parallel()
	s := startWith(t, quickMind())
	s.edit("Node", "east2", map[string]any{"priority": 0})
	first := s.backToBack(8)
	second := s.feature(9, "uas_node")
	s.found("east1", "good")
	s.found("east2", "good")
	shows := func(what string, want map[string]string) {
		t.Helper()
		eventually(t, 15*time.Second, what+fmt.Sprint(": DNS shows ", want), func() bool {
			got := s.forwarding()
			same := len(got) == len(want)
			for node, priority := range want {
				same = same && (got[node] == priority || priority == "more" && got[node] > "0")
			}
			return same
		})
	}
	both := map[string]string{"east1": "0", "east2": "0"}
	shows("both good", both)
	second.stop()
	shows("east2 killed", map[string]string{"east1": "0"})
	s.feature(9, "uas_node")
	shows("east2 back", both)
	s.must("node", "drain", "east2")
	shows("east2 draining", map[string]string{"east1": "0"})
	s.must("node", "undrain", "east2")
	shows("east2 undrained", both)
	first.Script("OPTIONS", overloaded())
	shows("east1 degraded", map[string]string{"east1": "more", "east2": "0"})
	first.Script("OPTIONS", idle())
	shows("east1 recovered", both)
	// A group that moves takes its forwarding name along.
	s.must("lb", "pin", "gold", "west", "--wait")
	if got := s.forwarding(); got["east1"] != "" || got["west1"] == "" {
		t.Errorf("with gold on west, DNS shows %v", got)
	}
}

// A phone's voice quality report (RFC 6035) gets 200 and is in the call's record; another account's
// report about that call is not, and one that makes no sense is refused.
func TestVoiceReports(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	node := s.feature(eastNode, "uas_node")
	c := s.dial(100, fromAlice("INVITE"))
	c.is("200")
	report := func(from request, body string) string {
		user, host, _ := strings.Cut(from.from, "@")
		h := s.handset(110, user)
		d := dialogue{method: "PUBLISH", from: from.from, to: from.from, uri: "sip:" + host,
			header: "Event: vq-rtcpxr\nContent-Type: application/vq-rtcpxr", body: body}
		return h.login(d, "MD5", from.password).uri()
	}
	text := func(mos string) string {
		return "VQSessionReport: CallTerm\r\nCallID: " + c.d.callID + "\r\nLocalMetrics:\r\n" +
			"QualityEst: RLQ=80 MOSLQ=" + mos + " MOSCQ=" + mos + "\r\n"
	}
	if got := report(fromAlice("PUBLISH"), text("4.1")); got != "200" {
		t.Errorf("PUBLISH of a report: %s, want 200", got)
	}
	if got := report(fromCarol("PUBLISH"), text("1.0")); got != "200" {
		t.Errorf("PUBLISH of another account's report: %s", got)
	}
	if got := report(fromAlice("PUBLISH"), "VQSessionReport: CallTerm\r\nMOSLQ=5\r\n"); got != "400" {
		t.Errorf("PUBLISH of nonsense: %s, want 400", got)
	}
	c.bye()
	if got := report(fromAlice("PUBLISH"), text("3.1")); got != "200" { // phones report when it is over
		t.Errorf("PUBLISH after the call: %s, want 200", got)
	}
	r := s.record(c.d.callID, "both reports", func(r tandem.Call) bool { return r.Quality.Reports == 2 })
	if r.Quality.MOS != 360 {
		t.Errorf("the mean of 4.1 and 3.1 is recorded as %d hundredths", r.Quality.MOS)
	}
	if shown := s.must("call", "show", r.ID, "-o", "json"); !strings.Contains(strings.ReplaceAll(shown, " ", ""), `"mosHundredths":360,`) {
		t.Errorf("tandem call show does not have the score:\n%s", shown)
	}
	if got := len(node.requests("PUBLISH")); got != 0 {
		t.Errorf("the node got %d reports", got)
	}
	if a, b := s.metric("tandem_sipproxy_voice_reports_total"), s.metric("tandem_sipproxy_bad_voice_reports_total"); a != 3 || b != 1 {
		t.Errorf("%.0f reports and %.0f bad ones are counted, want 3 and 1", a, b)
	}
}
