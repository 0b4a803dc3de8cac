package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/lab"
)

// west and east are where the little telco's clusters have their nodes.
const (
	eastNode = 8
	westNode = 10
)

// cluster starts a sipp node in each cluster and waits until they are found good.
func (s *server) clusters() (east, west *sipp) {
	s.t.Helper()
	east, west = s.feature(eastNode, "uas_node"), s.feature(westNode, "uas_node")
	s.found("east1", "good")
	s.found("west1", "good")
	return east, west
}

// landed makes a call of each request, hangs up, and returns how many of them each node got.
func (s *server) landed(nodes []*sipp, calls ...request) []int {
	s.t.Helper()
	before := make([]int, len(nodes))
	for i, n := range nodes {
		before[i] = n.invites()
	}
	for _, r := range calls {
		c := s.dial(120, r)
		c.is("200")
		c.bye()
	}
	got := make([]int, len(nodes))
	for i, n := range nodes {
		got[i] = n.invites() - before[i]
	}
	return got
}

// thirdAccount is one more account in the group gold, with a phone.
const thirdAccount = `
{kind: Account, id: "1003", zone: voice.example.net, labels: [{label: delta}], group: gold, numbers: ["+15550103"], digest: [MD5]}
---
{kind: Device, id: phone-d, account: "1003", username: dora, secret: dora-secret}
`

func fromDora() request {
	return request{from: "dora@delta.voice.example.net", to: "300@delta.voice.example.net", password: "dora-secret"}
}

// L1: a group is the unit: calls of all its accounts land in its cluster, assigned or pinned, and
// follow it to another.
func TestL1(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(thirdAccount)
	east, west := s.clusters()
	nodes := []*sipp{east, west}
	both := []request{fromAlice("INVITE"), fromDora(), fromAlice("INVITE").called("5551234@alpha.voice.example.net"), fromDora()}
	s.unpin()
	gold, silver := s.clusterOf("gold"), s.clusterOf("silver")
	if gold == "" || silver == "" || gold == silver {
		t.Errorf("two groups that expect nothing are on %q and %q, want each on a cluster of its own", gold, silver)
	}
	want := []int{4, 0}
	if gold == "west" {
		want = []int{0, 4}
	}
	if got := s.landed(nodes, both...); got[0] != want[0] || got[1] != want[1] {
		t.Errorf("gold is on %s: east1 and west1 got %v of its accounts' calls, want %v", gold, got, want)
	}
	other := map[string]string{"east": "west", "west": "east"}[gold]
	s.must("lb", "pin", "gold", other, "--wait")
	if got := s.landed(nodes, both...); got[0] != want[1] || got[1] != want[0] {
		t.Errorf("pinned to %s: east1 and west1 got %v, want %v the other way round", other, got, want)
	}
	// Twin: an account that leaves the group leaves its cluster.
	s.must("lb", "pin", "silver", gold, "--wait")
	s.edit("Account", "1003", map[string]any{"group": "silver"})
	if got := s.landed(nodes, both...); got[0] != 2 || got[1] != 2 {
		t.Errorf("with 1003 in the other group east1 and west1 got %v, want 2 each", got)
	}
}

// L2: a group goes where what it expects has room; too large for all, its calls are refused and
// nobody else's cluster gets them.
func TestL2(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east, west := s.clusters()
	nodes := []*sipp{east, west}
	s.edit("Cluster", "east", map[string]any{"capacity": 10})
	s.edit("Cluster", "west", map[string]any{"capacity": 100})
	s.apply("{kind: Group, id: gold, expected: 40}\n---\n{kind: Group, id: silver, expected: 60}")
	for _, group := range []string{"gold", "silver"} {
		if got := s.clusterOf(group); got != "west" {
			t.Errorf("%s expects more than east can hold and is on %q, want west", group, got)
		}
	}
	if got := s.landed(nodes, fromAlice("INVITE"), fromCarol("INVITE")); got[1] != 2 {
		t.Errorf("east1 and west1 got %v calls, want 0 and 2", got)
	}
	// Lowered, and west filled by the other, it may go to east, and does.
	s.apply("{kind: Group, id: gold, expected: 10}\n---\n{kind: Group, id: silver, expected: 100}")
	if gold, silver := s.clusterOf("gold"), s.clusterOf("silver"); gold != "east" || silver != "west" {
		t.Errorf("gold expecting 10 is on %q and silver expecting 100 on %q, want east and west", gold, silver)
	}
	if got := s.landed(nodes, fromAlice("INVITE"), fromCarol("INVITE")); got[0] != 1 || got[1] != 1 {
		t.Errorf("east1 and west1 got %v calls, want 1 each", got)
	}
	// One more than east holds: there is no room at all now.
	before := s.landed(nodes)
	s.edit("Group", "gold", map[string]any{"expected": 11})
	s.dial(100, fromAlice("INVITE")).is("503 no-cluster")
	s.edit("Group", "gold", map[string]any{"expected": 101})
	s.dial(100, fromAlice("INVITE")).is("503 no-cluster")
	if got := s.landed(nodes); got[0] != before[0] || got[1] != before[1] {
		t.Errorf("a call of a group without a cluster reached a node: %v, before %v", got, before)
	}
	if b := s.stands("gold").Groups[0]; b.Cluster != "" || b.Reason != "too-large" || b.Refuse != "no-cluster" {
		t.Errorf("tandem lb status shows %+v, want it too large", b)
	}
	if log := s.log(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "group=gold reason=too-large") {
		t.Errorf("no warning in the log names the group:\n%s", tail(log, 30))
	}
	if got := s.landed(nodes, fromCarol("INVITE")); got[1] != 1 {
		t.Errorf("the other group's call landed %v, want west1", got)
	}
	// A call to a group without a cluster is refused as well, whoever makes it.
	s.dial(101, fromCarol("INVITE").called("202@alpha.voice.example.net")).is("503 no-cluster")
	// Room for it again, and its calls go there without more ado.
	s.edit("Cluster", "east", map[string]any{"capacity": 200})
	if got := s.landed(nodes, fromAlice("INVITE")); got[0] != 1 {
		t.Errorf("with room at east, east1 and west1 got %v, want 1 and 0", got)
	}
	s.free(2 * time.Second)
}

// L3 and L4: a cluster that lacks the minimum quality is not chosen, room or not; one that has it
// and no room is not chosen either; only both together will do.
func TestL3L4(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east, west := s.backToBack(eastNode), s.backToBack(westNode)
	for _, n := range []*lab.Node{east, west} {
		n.Script("INVITE", lab.Reply{Code: 200})
	}
	load := func(n *lab.Node, load string) {
		n.Script("OPTIONS", lab.Reply{Code: 200, Header: []string{"Tandem-Load: " + load}})
	}
	load(east, "0.9") // R is 72
	load(west, "0")
	s.found("east1", "good")
	s.found("west1", "good")
	s.edit("Cluster", "east", map[string]any{"capacity": 1000})
	s.edit("Cluster", "west", map[string]any{"capacity": 50})
	quality := func(cluster string) float64 {
		for _, c := range s.stands().Clusters {
			if c.ID == cluster && c.Quality != nil {
				return *c.Quality
			}
		}
		return -1
	}
	eventually(t, 10*time.Second, "east is measured at 72", func() bool { return quality("east") < 75 })
	s.apply("{kind: Group, id: gold, expected: 40, minQuality: 85}\n---\n{kind: Group, id: silver, expected: 40}")
	// East has by far more room; only silver does not care about quality.
	if gold, silver := s.clusterOf("gold"), s.clusterOf("silver"); gold != "west" || silver != "east" {
		t.Errorf("with the quality needed gold is on %q, without silver on %q, want west and east", gold, silver)
	}
	c := s.dial(100, fromAlice("INVITE"))
	c.is("200")
	if got := count(west, "INVITE"); got != 1 || count(east, "INVITE") != 0 {
		t.Errorf("west1 got %d INVITEs and east1 %d, want 1 and 0", got, count(east, "INVITE"))
	}
	c.bye()
	// No room where the quality is, no quality where the room is: neither will do.
	s.edit("Group", "gold", map[string]any{"expected": 60})
	if got := s.clusterOf("gold"); got != "" {
		t.Errorf("gold is on %q, which fails one of both conditions", got)
	}
	s.dial(100, fromAlice("INVITE")).is("503 " + s.stands("gold").Groups[0].Refuse)
	// Either condition met, the other one then holds as well.
	s.edit("Group", "gold", map[string]any{"minQuality": 60})
	if got := s.clusterOf("gold"); got != "east" {
		t.Errorf("needing less quality gold is on %q, want east", got)
	}
	s.edit("Group", "gold", map[string]any{"minQuality": 85})
	if got := s.clusterOf("gold"); got != "" {
		t.Errorf("needing the quality again gold is on %q, want none", got)
	}
	load(east, "0")
	eventually(t, 10*time.Second, "east, good now, has gold", func() bool { return s.clusterOf("gold") == "east" })
	c = s.dial(100, fromAlice("INVITE"))
	c.is("200")
	c.bye()
	s.free(2 * time.Second)
}

// L11: a group whose cluster is lost moves to another within seconds, without anybody's doing; its
// twin, whose cluster is not lost, stays.
func TestL11(t *testing.T) {
	t.Parallel()
	s := startWith(t, quickMind())
	s.unpin()
	east, west := s.clusters()
	second := s.feature(9, "uas_node")
	s.found("east2", "good")
	if gold, silver := s.clusterOf("gold"), s.clusterOf("silver"); gold != "east" || silver != "west" {
		t.Fatalf("gold is on %q and silver on %q, want them where they were pinned before", gold, silver)
	}
	up := s.dial(100, fromAlice("INVITE"))
	up.is("200")
	second.stop()
	s.found("east2", "down")
	if got := s.clusterOf("gold"); got != "east" {
		t.Errorf("with one of two nodes dead gold is on %q, want east", got)
	}
	begun := time.Now()
	east.stop()
	eventually(t, 5*time.Second, "gold's calls go to west", func() bool {
		c := s.dial(101, fromAlice("INVITE"))
		if c.answer.uri() == "200" {
			c.bye()
		}
		return c.answer.uri() == "200"
	})
	t.Logf("the first new call succeeded %s after the cluster was lost", time.Since(begun))
	if got := s.clusterOf("gold"); got != "west" || west.invites() == 0 {
		t.Errorf("gold is on %q and west1 got %d calls", got, west.invites())
	}
	if got := s.stands("gold").Groups[0]; got.Reason != "cluster-lost" || got.From != "east" {
		t.Errorf("tandem lb status shows %+v, want cluster-lost from east", got)
	}
	// A changed expectation moves as well.
	s.feature(8, "uas_node")
	s.found("east1", "good")
	s.edit("Cluster", "west", map[string]any{"capacity": 10})
	s.edit("Group", "gold", map[string]any{"expected": 11})
	if got := s.clusterOf("gold"); got != "east" {
		t.Errorf("expecting more than west can hold gold is on %q, want east", got)
	}
}

// L11, the twin: a pinned group does not leave a lost cluster; its calls are refused until it is back.
func TestL11Pinned(t *testing.T) {
	t.Parallel()
	s := startWith(t, quickMind())
	east, west := s.clusters()
	east.stop()
	s.found("east1", "down")
	eventually(t, 5*time.Second, "its calls are refused", func() bool {
		c := s.dial(101, fromAlice("INVITE"))
		return c.answer.uri() == "503" && strings.Join(c.answer.header("Reason"), "") == `SIP;cause=503;text="no-node"`
	})
	if got := s.clusterOf("gold"); got != "east" || west.invites() != 0 {
		t.Errorf("pinned gold is on %q, and west1 got %d calls", got, west.invites())
	}
	s.feature(8, "uas_node")
	eventually(t, 10*time.Second, "its calls come back", func() bool {
		c := s.dial(101, fromAlice("INVITE"))
		if c.answer.uri() == "200" {
			c.bye()
		}
		return c.answer.uri() == "200"
	})
}

// L12: what a drained cluster has goes on there: re-INVITE, BYE, and the CANCEL of a call that rings;
// what is new goes to the group's new cluster.
func TestL12Drained(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.unpin()
	east, west := s.clusters()
	r := fromAlice("INVITE")
	up, rings := s.dial(100, r), s.ringing(101, r.called("ring@alpha.voice.example.net"))
	up.is("200")
	if out := s.must("node", "drain", "east1", "--wait"); !strings.Contains(out, "2 calls") {
		t.Errorf("tandem node drain says %q, want the 2 calls that are left", out)
	}
	s.must("node", "drain", "east2", "--wait")
	eventually(t, 5*time.Second, "gold leaves the drained cluster", func() bool { return s.clusterOf("gold") == "west" })
	fresh := s.dial(102, r)
	fresh.is("200")
	if got := west.invites(); got != 1 {
		t.Errorf("west1 got %d calls, want the new one", got)
	}
	if got := up.within("INVITE", session).uri(); got != "200" {
		t.Errorf("re-INVITE of the call at the drained node: %s", got)
	}
	if got := rings.cancel(); got != "487" {
		t.Errorf("the call that rang at the drained node ends with %s, want 487", got)
	}
	if got := up.bye(); got != "200" {
		t.Errorf("BYE of the call at the drained node: %s", got)
	}
	for method, want := range map[string]int{"CANCEL": 1, "BYE": 1} {
		if a, b := len(east.requests(method)), len(west.requests(method)); a != want || b != 0 {
			t.Errorf("east1 got %d and west1 %d %ss, want %d and 0", a, b, method, want)
		}
	}
	fresh.bye()
	s.free(2 * time.Second)
}

// Limits that cannot be meant, and clusters that are not there, are refused at apply with their place;
// nothing of the file is applied.
func TestBadLimits(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, c := range []struct{ name, document, field, line string }{
		{"expected zero", "kind: Group\nid: gold\nexpected: 0\n", "expected", "3"},
		{"expected below zero", "kind: Group\nid: gold\nexpected: -1\n", "expected", "3"},
		{"permitted zero", "kind: Group\nid: gold\ncluster: east\npermitted: 0\n", "permitted", "4"},
		{"permitted below zero", "kind: Group\nid: gold\npermitted: -7\n", "permitted", "3"},
		{"permitted in words", "kind: Group\nid: gold\npermitted: many\n", "permitted", "3"},
		{"permitted beyond all numbers", "kind: Group\nid: gold\npermitted: 99999999999999999999\n", "permitted", "3"},
		{"quality beyond the scale", "kind: Group\nid: gold\nminQuality: 94\n", "minQuality", "3"},
		{"capacity zero", "kind: Cluster\nid: east\ncapacity: 0\n", "capacity", "3"},
		{"capacity below zero", "kind: Cluster\nid: east\ncapacity: -100\n", "capacity", "3"},
		{"unknown cluster of a group", "kind: Group\nid: gold\ncluster: nowhere\n", "cluster", "3"},
		{"unknown cluster of a node", "kind: Node\nid: east1\ncluster: nowhere\naddresses: [127.0.0.1]\nports: {udp: 5060}\n", "cluster", "3"},
		{"unknown state of a node", "kind: Node\nid: east1\ncluster: east\naddresses: [127.0.0.1]\nports: {udp: 5060}\nstate: asleep\n", "state", "6"},
		{"an assignment by hand", "kind: Assignment\nid: gold\ncluster: west\n", "Assignment", "1"},
	} {
		good := "---\nkind: Group\nid: fresh\n"
		file := s.path(strings.ReplaceAll(c.name, " ", "-") + ".yaml")
		if err := os.WriteFile(file, []byte(c.document+good), 0o600); err != nil {
			t.Fatal(err)
		}
		out, code := s.run("", "apply", "-f", file)
		if code == 0 || !strings.Contains(out, filepath.Base(file)+":"+c.line) || !strings.Contains(out, c.field) {
			t.Errorf("%s: exit %d, %q; want it refused at %s:%s, naming %s", c.name, code, out, filepath.Base(file), c.line, c.field)
		}
	}
	if _, code := s.run("", "get", "Group", "fresh"); code == 0 {
		t.Error("the rest of a file with a fault was applied")
	}
	// Twin: the least and the largest that can be meant.
	s.apply("kind: Group\nid: gold\nexpected: 1\npermitted: 1\nminQuality: 93\n---\nkind: Cluster\nid: east\ncapacity: 1\n---\nkind: Group\nid: fresh\n")
	for _, args := range [][]string{{"lb", "pin", "gold", "nowhere"}, {"lb", "pin", "nobody", "east"}, {"node", "drain", "nowhere"}, {"cluster", "show", "nowhere"}, {"lb", "status", "nobody"}} {
		if out, code := s.run("", args...); code == 0 || strings.TrimSpace(out) == "" {
			t.Errorf("tandem %s: exit %d, %q", strings.Join(args, " "), code, out)
		}
	}
}
