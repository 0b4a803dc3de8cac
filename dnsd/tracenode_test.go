package dnsd

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/internal/tandem"
)

func TestTraceShowsHealth(t *testing.T) {
	pair := []*tandem.Node{feature("a", 1), feature("b", 2)}
	const a = "a is active, serves every type, priority 0, weight 100\n"
	seen := down("a")
	seen.Since, seen.Recalled = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), true
	word := forced("a", tandem.HealthDown)
	word.Found, word.Forced.Reason = tandem.HealthUp, "smoke"
	tests := []struct {
		name   string
		policy tandem.AllDown
		health []tandem.NodeHealth
		asked  string
		want   []string
	}{
		{"nothing known", "", nil, "invite.7.svc.test", []string{a + "health: nothing is known\nin the answers: priority 0, weight 100"}},
		{"unknown", "", []tandem.NodeHealth{{Node: "a", State: tandem.HealthUnknown, Share: 1}}, "invite.7.svc.test",
			[]string{a + "health: unknown\nin the answers: priority 0, weight 100"}},
		{"down", "", []tandem.NodeHealth{down("a"), {Node: "b", State: tandem.HealthUp, Share: 1}}, "invite.7.svc.test", []string{
			a + "health: down (no answer)\nleft out: down", "health: up\nin the answers: priority 0, weight 100"}},
		{"down of before", "", []tandem.NodeHealth{seen}, "invite.7.svc.test",
			[]string{"health: down (no answer) since 2026-05-01T12:00:00Z, stored before the start\nleft out: down"}},
		{"all down", "", []tandem.NodeHealth{down("a"), down("b")}, "listed.7.svc.test", []string{"\nin the answers as configured: all are down, fail-open"}},
		{"all down, closed", tandem.FailClosed, []tandem.NodeHealth{down("a"), down("b")}, "listed.7.svc.test", []string{"\nleft out: all are down, fail-closed"}},
		{"all down, last known", tandem.LastKnown, []tandem.NodeHealth{fell("a", 0), fell("b", 60)}, "invite.7.svc.test", []string{
			"\nleft out: all are down, last-known", "\nin the answers as configured: all are down, last-known"}},
		{"forced down", "", []tandem.NodeHealth{word}, "invite.7.svc.test", []string{
			"health: up\noverride: forced down (smoke)\nleft out: forced down, which is not doubted"}},
		{"down, emergency", "", []tandem.NodeHealth{down("a")}, "emergency.7.svc.test", []string{"in the answers, last: priority 65535"}},
		{"degraded", "", []tandem.NodeHealth{degraded("a")}, "invite.7.svc.test", []string{
			"health: degraded (R 50)\nin the answers, behind others: degraded, priority 0 + 1000 = 1000, weight 100"}},
		{"all degraded", "", []tandem.NodeHealth{degraded("a"), degraded("b")}, "invite.7.svc.test", []string{
			"in the answers: degraded like all others, priority 0, weight 100"}},
		{"less share", "", []tandem.NodeHealth{sharing("a", 0.4)}, "invite.7.svc.test", []string{"in the answers: priority 0, weight 100 x 3/8 = 38"}},
		{"less share for all", "", []tandem.NodeHealth{sharing("a", 0.4), sharing("b", 0.4)}, "invite.7.svc.test", []string{"in the answers: priority 0, weight 100, for all get 3/8"}},
		{"its own name", "", []tandem.NodeHealth{down("a")}, "a.node.svc.test", []string{"health: down (no answer)\nits own name is answered whatever its state"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := house(t, pair...)
			s.change(200, tandem.KindCluster, "c", &tandem.Cluster{Head: tandem.Head{ID: "c"}, Health: &tandem.ClusterHealth{AllDown: test.policy}})
			s.Health(test.health)
			wantSteps(t, s, test.asked, "node", test.want...)
		})
	}
}

func TestTraceTellsPolicyAndOrder(t *testing.T) {
	s := house(t, feature("a", 1, func(n *tandem.Node) { n.Ports = tandem.Ports{TLS: 5061} }), feature("b", 2))
	s.Health([]tandem.NodeHealth{degraded("a")})
	wantSteps(t, s, "invite.7.svc.test", "policy", "2 of 2 nodes that take such work stand; when none does: all of them, as configured (fail-open)")
	wantSteps(t, s, "invite.7.svc.test", "NAPTR order", "SIP+D2U 20; SIPS+D2T 10 + 100 = 110, for its nodes stand lower")
	s.change(200, tandem.KindCluster, "c", &tandem.Cluster{Head: tandem.Head{ID: "c"}, Health: &tandem.ClusterHealth{AllDown: tandem.FailClosed}})
	s.Health([]tandem.NodeHealth{down("a")})
	wantSteps(t, s, "invite.7.svc.test", "policy", "1 of 2 nodes that take such work stand; when none does: no record (fail-closed)")
	wantSteps(t, s, "emergency.7.svc.test", "policy", "when none does: all of them, for emergency calls")
}

// Whole networks are explained: within, outside, and neither.
func TestTraceOfANetwork(t *testing.T) {
	s := loadWorld(t, "voice")
	for from, want := range map[string]string{
		"127.0.0.0/24": "127.0.0.0/24 is within", "127.0.0.1/32": "127.0.0.1 is within", "192.0.2.0/24": "is not within",
		"0.0.0.0/0": "is partly within", "::/0": "is partly within", "2001:db8::/32": "is not within",
	} {
		steps := s.Trace("invite.1001.svc.voice.example.net", netip.MustParsePrefix(from))
		if got := steps[1]; got.What != "networks" || !strings.Contains(got.Text, want) {
			t.Errorf("from %s: %+v, want %q", from, got, want)
		}
		if refused := strings.Contains(want, "not within"); refused != (len(steps) == 2) {
			t.Errorf("from %s: %d steps", from, len(steps))
		}
	}
}
