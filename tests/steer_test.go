package tests

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/tandem"
)

// silentProbes is a configuration whose nodes are never asked, so that what is known of them is what
// was stored.
func silentProbes() string {
	return strings.Replace(serveConfig, "  listeners:", "  probes: {off: true}\n  listeners:", 1)
}

// twoNodes has account 1001's names lead to two nodes of one priority that answer OPTIONS.
func (s *server) twoNodes() (first, second *sipp) {
	s.t.Helper()
	first, second = s.twins()
	s.shows("both good", "east1 0", "east2 0")
	return first, second
}

// places are "node priority" of the SRV records where account 1001's calls go.
func (s *server) places() []string {
	s.t.Helper()
	var all []string
	for node, priority := range s.forwarding() {
		all = append(all, node+" "+priority)
	}
	slices.Sort(all)
	return all
}

// shows waits until DNS shows places.
func (s *server) shows(what string, want ...string) {
	s.t.Helper()
	eventually(s.t, 15*time.Second, fmt.Sprintf("%s: DNS shows %q", what, want), func() bool { return slices.Equal(s.places(), want) })
}

// The first DNS answer after kill -9, before any check, leaves out the node that was down; twin: one
// that was never found down is in it.
func TestFirstAnswerAfterCrash(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, second := s.twoNodes()
	second.stop()
	s.shows("east2 killed", "east1 0")
	time.Sleep(2 * time.Second) // a second at most until that is stored
	s.kill()

	s.writeConfig(silentProbes())
	query := exec.Command("dig", "@"+s.addr(1), "-p", "5300", "+norec", "+time=20", "+tries=1", "_sip._udp.invite.1001.svc.voice.example.net", "SRV")
	first := make(chan string, 1)
	go func() { // it waits where the server is to come
		for {
			out, err := exec.Command(query.Path, query.Args[1:]...).CombinedOutput()
			if err == nil || strings.Contains(string(out), "status:") {
				first <- string(out)
				return
			}
		}
	}()
	s.start()
	got := parseDig(<-first).data("SRV")
	if len(got) != 1 || !strings.Contains(got[0], "east1.") {
		t.Errorf("the first answer is %q, want east1 alone", got)
	}
	if trace := s.must("dns", "trace", "invite.1001.svc.voice.example.net"); !strings.Contains(trace, "stored before the start") {
		t.Errorf("the trace does not say whence it knows:\n%s", trace)
	}
	// Who is asked again is found anew.
	s.kill()
	s.writeConfig(serveConfig)
	s.feature(9, "uas_node")
	s.start()
	s.shows("east2 back", "east1 0", "east2 0")
}

// An operator's word beats checks in both directions, outlives kill -9, is seen everywhere and in the
// log of changes, and ends by itself.
func TestForcedHealth(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, second := s.twoNodes()
	s.must("node", "force", "east1", "down", "--reason", "smoke in the rack", "--wait")
	if got := s.places(); !slices.Equal(got, []string{"east2 0"}) {
		t.Errorf("with east1 forced down DNS shows %q", got)
	}
	if got := gained([]*sipp{second}, func() { s.dial(100, fromAlice("INVITE")).bye() }); got[0] != 1 {
		t.Errorf("east2 got %d calls, want the one", got[0])
	}
	for _, command := range [][]string{
		{"get", "node", "east1", "-o", "yaml"}, {"cluster", "show", "east"}, {"lb", "status"},
		{"dns", "trace", "invite.1001.svc.voice.example.net"},
	} {
		if out := s.must(command...); !strings.Contains(out, "smoke in the rack") {
			t.Errorf("tandem %s does not tell why:\n%s", strings.Join(command, " "), out)
		}
	}
	s.kill()
	s.start()
	if got := s.places(); !slices.Equal(got, []string{"east2 0"}) {
		t.Errorf("after kill -9 DNS shows %q", got)
	}
	// Nobody doubts it, also when there is nobody else: twin of the same by checks.
	second.stop()
	s.found("east2", "down")
	s.shows("the other is down too, by checks", "east2 0")
	s.must("node", "force", "east2", "up", "--for", "3s", "--wait")
	s.shows("and forced up", "east2 0")
	if trace := s.must("dns", "trace", "invite.1001.svc.voice.example.net"); !strings.Contains(trace, "override: forced up until") {
		t.Errorf("the trace does not show the override:\n%s", trace)
	}
	eventually(t, 10*time.Second, "the word ends", func() bool {
		return !strings.Contains(s.must("dns", "trace", "invite.1001.svc.voice.example.net"), "forced up")
	})
	s.must("node", "force", "east1", "auto", "--wait")
	s.shows("taken back", "east1 0")
}

// What is answered when all nodes are down is the cluster's policy: no record, but a name; those up
// last; or as configured.
func TestAllDownPolicies(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	first, second := s.twoNodes()
	policy := func(p tandem.AllDown) {
		t.Helper()
		s.edit("Cluster", "east", map[string]any{"health": map[string]any{"allDown": p}})
	}
	policy(tandem.FailClosed)
	s.shows("closed, both stand", "east1 0", "east2 0")
	second.stop()
	s.shows("closed, one stands", "east1 0")
	time.Sleep(11 * time.Second) // longer than what goes down together
	first.stop()
	s.shows("closed, none stands")
	for _, question := range [][]string{
		{"invite.1001.svc.voice.example.net", "A"}, {"_sip._udp.invite.1001.svc.voice.example.net", "SRV"}, {"invite.1001.svc.voice.example.net", "NAPTR"},
	} {
		if a := s.dig(question...); a.status != "NOERROR" || len(a.answer) != 0 || len(a.authority) != 1 {
			t.Errorf("dig %s: %s", strings.Join(question, " "), a.text)
		}
	}
	if got := s.dig("_sip._udp.emergency.1001.svc.voice.example.net", "SRV").data("SRV"); len(got) != 2 {
		t.Errorf("emergency calls have %q, want both", got)
	}
	policy(tandem.LastKnown)
	s.shows("last known", "east1 0")
	policy(tandem.FailOpen)
	s.shows("open", "east1 0", "east2 0")
	if out, code := s.run("---\n{kind: Cluster, id: east, health: {allDown: perhaps, downAfter: 101}}\n", "apply", "-f", "-"); code != 2 ||
		!strings.Contains(out, "fail-open, fail-closed or last-known") || !strings.Contains(out, "must be 1 to 100") {
		t.Errorf("a policy that there is not: exit %d\n%s", code, out)
	}
}

// A process that is stopped and goes on takes its own absence for nobody's fault: no node is down or
// unknown for it. Twin: a node that stops is.
func TestStoppedProcessBlamesNobody(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, second := s.twoNodes()
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(7 * time.Second)
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		for _, node := range []string{"east1", "east2"} {
			if got := s.stateOf(node); got != "good" {
				t.Fatalf("after the process was stopped %s is %s", node, got)
			}
		}
	}
	eventually(t, 5*time.Second, "that it stood still is counted", func() bool { return s.metric("tandem_lb_checker_stalls_total") >= 1 })
	if got := s.metric("tandem_lb_checker_stalled"); got != 0 {
		t.Errorf("tandem_lb_checker_stalled is %v when all is well again", got)
	}
	second.stop()
	s.found("east2", "down")
}

// NAPTR order and SRV priority of a transport whose nodes are all degraded come after another's.
func TestNAPTRFollowsHealth(t *testing.T) {
	t.Parallel()
	s := startWith(t, quickMind())
	s.edit("Node", "east1", map[string]any{"ports": map[string]any{"tcp": 5060, "udp": 5060}})
	s.edit("Node", "east2", map[string]any{"priority": 0, "ports": map[string]any{"tcp": 5060}})
	node := s.backToBack(8)
	s.feature(9, "uas_node", "-t", "t1")
	s.found("east1", "good")
	s.found("east2", "good")
	order := func() string {
		var all []string
		for _, record := range s.dig("invite.1001.svc.voice.example.net", "NAPTR").data("NAPTR") {
			f := strings.Fields(record)
			all = append(all, strings.Trim(f[3], `"`)+" "+f[0])
		}
		slices.Sort(all)
		return strings.Join(all, ", ")
	}
	const usual = "SIP+D2T 30, SIP+D2U 20"
	eventually(t, 10*time.Second, "both good: "+usual, func() bool { return order() == usual })
	node.Script("OPTIONS", overloaded()) // the only one with UDP
	const moved = "SIP+D2T 30, SIP+D2U 120"
	eventually(t, 15*time.Second, "UDP's node degraded: "+moved, func() bool { return order() == moved })
	node.Script("OPTIONS", idle())
	eventually(t, 15*time.Second, "well again: "+usual, func() bool { return order() == usual })
}

// A trace is asked for a network as for an address, and as JSON for scripts.
func TestTraceFromNetwork(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const name = "invite.1001.svc.voice.example.net"
	for from, want := range map[string]string{
		"127.0.0.0/24": "127.0.0.0/24 is within [127.0.0.0/8]", "127.0.0.9": "127.0.0.9 is within",
		"0.0.0.0/0": "is partly within", "192.0.2.0/24": "192.0.2.0/24 is not within [127.0.0.0/8]: REFUSED",
	} {
		var steps []tandem.Step
		if err := json.Unmarshal([]byte(s.must("dns", "trace", name, "--from", from, "-o", "json")), &steps); err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(steps, func(x tandem.Step) bool { return x.What == "networks" }); i < 0 || !strings.Contains(steps[i].Text, want) {
			t.Errorf("--from %s: %+v, want %q", from, steps, want)
		}
	}
	if out, code := s.run("", "dns", "trace", name, "--from", "localhost"); code != 2 || !strings.Contains(out, "neither an IP address nor a network") {
		t.Errorf("--from localhost: exit %d\n%s", code, out)
	}
}
