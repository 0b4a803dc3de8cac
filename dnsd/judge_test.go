package dnsd

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// fell is a node that went down so many seconds after some moment.
func fell(id string, after int) tandem.NodeHealth {
	h := down(id)
	h.Since = time.Unix(1_700_000_000+int64(after), 0)
	return h
}

// forced is a node of which an operator said so.
func forced(id string, state tandem.HealthState) tandem.NodeHealth {
	return tandem.NodeHealth{Node: id, State: state, Share: 1, Forced: &tandem.Force{State: state}}
}

// TestWhenAllDown has each policy beside the same health under the others.
func TestWhenAllDown(t *testing.T) {
	three := []*tandem.Node{feature("a", 1), feature("b", 2), feature("c", 3)}
	const all = "a 0/100, b 0/100, c 0/100"
	rack := []tandem.NodeHealth{fell("a", 0), fell("b", 100), fell("c", 104)}
	tests := []struct {
		name   string
		policy tandem.AllDown
		health []tandem.NodeHealth
		key    string
		want   string
	}{
		{"default", "", rack, "invite", all},
		{"open", tandem.FailOpen, rack, "invite", all},
		{"closed", tandem.FailClosed, rack, "invite", ""},
		{"closed, one stands", tandem.FailClosed, rack[:2], "invite", "c 0/100"},
		{"closed, one unknown", tandem.FailClosed, append(slices.Clone(rack[:2]), tandem.NodeHealth{Node: "c", State: tandem.HealthUnknown, Share: 1}), "invite", "c 0/100"},
		{"closed, emergency", tandem.FailClosed, rack, "emergency", all},
		{"closed, listed", tandem.FailClosed, rack, "listed", ""},
		{"last known", tandem.LastKnown, rack, "invite", "b 0/100, c 0/100"},
		{"last known, one by one", tandem.LastKnown, []tandem.NodeHealth{fell("a", 60), fell("b", 0), fell("c", 30)}, "invite", "a 0/100"},
		{"last known, at once", tandem.LastKnown, []tandem.NodeHealth{fell("a", 5), fell("b", 5), fell("c", 5)}, "invite", all},
		{"last known, nobody knows since when", tandem.LastKnown, []tandem.NodeHealth{down("a"), down("b"), down("c")}, "invite", all},
		{"last known, one stands", tandem.LastKnown, rack[:2], "invite", "c 0/100"},
		{"last known, of those listed", tandem.LastKnown, rack, "listed", "b 0/100"},

		{"forced down beside one that stands", "", []tandem.NodeHealth{forced("a", tandem.HealthDown), down("b")}, "invite", "c 0/100"},
		{"forced down when all are down", "", []tandem.NodeHealth{forced("a", tandem.HealthDown), down("b"), down("c")}, "invite", "b 0/100, c 0/100"},
		{"all forced down", "", []tandem.NodeHealth{forced("a", tandem.HealthDown), forced("b", tandem.HealthDown), forced("c", tandem.HealthDown)}, "invite", ""},
		{"all forced down, emergency", "", []tandem.NodeHealth{forced("a", tandem.HealthDown), forced("b", tandem.HealthDown), forced("c", tandem.HealthDown)}, "emergency", all},
		{"forced up among the down", "", []tandem.NodeHealth{forced("a", tandem.HealthUp), down("b"), down("c")}, "invite", "a 0/100"},
		{"last known does not count the forced", tandem.LastKnown, []tandem.NodeHealth{forced("a", tandem.HealthDown), fell("b", 0), fell("c", 60)}, "invite", "c 0/100"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := house(t, three...)
			s.places(t, test.key)
			s.Health(test.health)
			s.change(200, tandem.KindCluster, "c", &tandem.Cluster{Head: tandem.Head{ID: "c"}, Health: &tandem.ClusterHealth{AllDown: test.policy}})
			if got := s.places(t, test.key); got != test.want {
				t.Errorf("%s = %s, want %s", test.key, got, test.want)
			}
			if test.want == "" { // the name stays, whatever is asked
				s.wantRecords(t, test.key+".7.svc.test", dns.TypeSRV, "NOERROR")
				s.wantRecords(t, "_sip._udp."+test.key+".7.svc.test", dns.TypeSRV, "NOERROR")
				s.wantRecords(t, test.key+".7.svc.test", dns.TypeNAPTR, "NOERROR")
			}
			s.change(201, tandem.KindNode, "a", feature("a", 1)) // a node that is put again keeps the policy
			if got := s.places(t, test.key); got != test.want {
				t.Errorf("after a node was put again: %s = %s, want %s", test.key, got, test.want)
			}
			s.change(202, tandem.KindCluster, "c", &tandem.Cluster{Head: tandem.Head{ID: "c"}})
			twin := house(t, three...)
			twin.Health(test.health)
			if got, want := s.places(t, test.key), twin.places(t, test.key); got != want {
				t.Errorf("without the policy: %s = %s, want %s", test.key, got, want)
			}
		})
	}
}

// naptr returns the NAPTR records of a key of account 7, as "service order".
func (s *Server) naptr(t testing.TB, key string) string {
	t.Helper()
	var list []string
	for _, line := range strings.Split(s.records(t, key+".7.svc.test", dns.TypeNAPTR), ", ")[1:] {
		f := strings.Fields(line)
		list = append(list, strings.Trim(f[3], `"`)+" "+f[0])
	}
	return strings.Join(list, ", ")
}

// TestOrderFollowsHealth: a transport whose hosts are all degraded comes after one with a good host.
func TestOrderFollowsHealth(t *testing.T) {
	secure := func(n *tandem.Node) { n.Ports = tandem.Ports{TLS: 5061} }
	nodes := []*tandem.Node{feature("a", 1, secure), feature("b", 2, secure), feature("c", 3)}
	const usual = "SIPS+D2T 10, SIP+D2U 20"
	tests := []struct {
		name   string
		health []tandem.NodeHealth
		key    string
		want   string
	}{
		{"nothing known", nil, "invite", usual},
		{"one of two degraded", []tandem.NodeHealth{degraded("a")}, "invite", usual},
		{"both degraded", []tandem.NodeHealth{degraded("a"), degraded("b")}, "invite", "SIP+D2U 20, SIPS+D2T 110"},
		{"one degraded, one down", []tandem.NodeHealth{degraded("a"), down("b")}, "invite", "SIP+D2U 20, SIPS+D2T 110"},
		{"all degraded", []tandem.NodeHealth{degraded("a"), degraded("b"), degraded("c")}, "invite", usual},
		{"both down", []tandem.NodeHealth{down("a"), down("b")}, "invite", "SIP+D2U 20"},
		{"all down", []tandem.NodeHealth{down("a"), down("b"), down("c")}, "invite", usual},
		{"the other degraded", []tandem.NodeHealth{degraded("c")}, "invite", "SIPS+D2T 10, SIP+D2U 120"},
		{"both down, emergency", []tandem.NodeHealth{down("a"), down("b")}, "emergency", "SIP+D2U 20, SIPS+D2T 210"},
		{"one down, emergency", []tandem.NodeHealth{down("a")}, "emergency", usual},
		{"both down and the other degraded, emergency", []tandem.NodeHealth{down("a"), down("b"), degraded("c")}, "emergency", "SIP+D2U 20, SIPS+D2T 210"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := house(t, nodes...)
			s.naptr(t, test.key)
			s.Health(test.health)
			if got := s.naptr(t, test.key); got != test.want {
				t.Errorf("%s = %s, want %s", test.key, got, test.want)
			}
			targets, err := s.Targets(test.key + ".7.svc.test")
			if err != nil || len(targets) == 0 {
				t.Fatal(targets, err)
			}
			first := map[string]tandem.Transport{"SIPS": tandem.TLS, "SIP+": tandem.UDP}[test.want[:4]]
			if targets[0].Transport != first {
				t.Errorf("Targets begin with %s, want %s as NAPTR does", targets[0].Transport, first)
			}
			s.Health(nil)
			if got := s.naptr(t, test.key); got != usual {
				t.Errorf("once nothing is known: %s = %s, want %s", test.key, got, usual)
			}
		})
	}
}

// randomHosts returns hosts of one cluster in all states.
func randomHosts(r *rand.Rand) []*host {
	policies := []tandem.AllDown{"", tandem.FailOpen, tandem.FailClosed, tandem.LastKnown}
	policy := policies[r.IntN(len(policies))]
	hosts := make([]*host, r.IntN(6))
	for i := range hosts {
		if r.IntN(12) == 0 {
			continue // listed, and not there
		}
		n := feature(fmt.Sprint("n", i), byte(i), weighing(uint16(r.IntN(3)*10), uint16(1+r.IntN(200))))
		n.State = []tandem.NodeState{"", tandem.NodeActive, tandem.NodeActive, tandem.NodeDraining, tandem.NodeOut}[r.IntN(5)]
		if r.IntN(2) == 0 {
			n.Ports.TLS = 5061
		}
		h := newNode(n)
		told := randomOf(r, n.ID)
		h.health, h.allDown = health{}.after(&told), policy
		hosts[i] = h
	}
	return hosts
}

// TestJudgeProperties holds judge to what it promises, over random hosts.
func TestJudgeProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for range 50_000 {
		hosts := randomHosts(r)
		key := []string{"invite", "emergency", ""}[r.IntN(3)]
		effects := judge(hosts, key)
		if fault := judgeFault(hosts, effects, key); fault != "" {
			var text []string
			for i, h := range hosts {
				if h != nil {
					text = append(text, fmt.Sprintf("%s %s %+v -> %+v", h.id, h.state, h.health, effects[i]))
				}
			}
			t.Fatalf("%s: %s\n%s", key, fault, strings.Join(text, "\n"))
		}
	}
}

// judgeFault says which promise effects break, "" for none.
func judgeFault(hosts []*host, effects []effect, key string) string {
	works, stand, shown := 0, 0, 0
	policy := tandem.AllDown("")
	for _, h := range hosts {
		if h != nil && h.takes(key) {
			works, policy = works+1, h.allDown
			if !h.health.down {
				stand++
			}
		}
	}
	for i, e := range effects {
		h := hosts[i]
		switch {
		case !e.in:
			if h != nil && h.takes(key) && !h.health.down {
				return h.id + " stands and is left out"
			}
			continue
		case h == nil || !h.takes(key):
			return "somebody who takes no work is in the records"
		case h.health.down && stand > 0 && key != "emergency":
			return h.id + " is down, another is not, and it is in the records"
		case e.weight == 0 || e.weight > h.weight:
			return h.id + " has another weight than a part of its own"
		case e.priority < h.priority:
			return h.id + " stands before where it is configured"
		}
		shown++
	}
	switch {
	case key == "emergency" && shown != works:
		return "emergency calls do not have all that take work"
	case stand == 0 && policy == tandem.FailClosed && key != "emergency" && shown > 0:
		return "all are down, and fail-closed shows some"
	}
	return ranked(hosts, effects)
}

// ranked says which two hosts stand in the wrong order: of equal configuration, the better comes
// first; and of two services the one with the better host.
func ranked(hosts []*host, effects []effect) string {
	rank := func(h *host) int {
		switch {
		case h.health.down:
			return 2
		case h.health.degraded:
			return 1
		}
		return 0
	}
	for i, a := range hosts {
		for j, b := range hosts {
			if a == nil || b == nil || !effects[i].in || !effects[j].in || a.priority != b.priority {
				continue
			}
			if rank(a) < rank(b) && effects[i].priority > effects[j].priority {
				return a.id + " is better than " + b.id + " and comes after it"
			}
		}
	}
	order := orders(hosts, effects)
	best := func(t tandem.Transport) (found int) {
		found = -1
		for i, h := range hosts {
			if h != nil && effects[i].in && h.ports.Of(t) != 0 && (found < 0 || int(effects[i].standing) < found) {
				found = int(effects[i].standing)
			}
		}
		return found
	}
	if u, s := best(tandem.UDP), best(tandem.TLS); u >= 0 && s >= 0 && (s > u) != (order[0] > order[1]) {
		return fmt.Sprintf("TLS stands at %d and has order %d, UDP at %d and %d", s, order[0], u, order[1])
	}
	return ""
}
