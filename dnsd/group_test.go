package dnsd

import (
	"math/rand/v2"
	"testing"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// twoClusters returns a server with account 7 of group g, which is not there, and the clusters c and
// d with one node each.
func twoClusters(t testing.TB) *Server {
	s := house(t, feature("a", 1), feature("b", 2, func(n *tandem.Node) { n.Cluster = "d" }))
	s.change(50, tandem.KindCluster, "d", &tandem.Cluster{Head: tandem.Head{ID: "d"}})
	s.change(51, tandem.KindGroup, "g", nil)
	return s
}

func pinned(cluster string) *tandem.Group {
	return &tandem.Group{Head: tandem.Head{ID: "g"}, Cluster: cluster}
}

func assigned(cluster, reason, text, refuse string) *tandem.Assignment {
	return &tandem.Assignment{Head: tandem.Head{ID: "g"}, Cluster: cluster, Reason: reason, Text: text, Refuse: refuse}
}

// put applies o as kind and id g, or deletes it.
func (s *Server) put(revision tandem.Revision, kind tandem.Kind, o tandem.Object, there bool) {
	if !there {
		o = nil
	}
	s.change(revision, kind, "g", o)
}

func TestGroupsArePlaced(t *testing.T) {
	const a, b = "NOERROR, 127.0.0.1", "NOERROR, 127.0.0.2"
	tests := []struct {
		name       string
		group      *tandem.Group
		assignment *tandem.Assignment
		want       string // A of invite
		trace      string
	}{
		{"pinned", pinned("d"), nil, b, "g is on cluster d: pinned"},
		{"neither", pinned(""), nil, "NOERROR", "g is on no cluster: not pinned, and tier 1 has not assigned one"},
		{"assigned", pinned(""), assigned("d", "new", "", ""), b, "g is on cluster d: assigned by tier 1 (new)"},
		{"assigned as pinned", pinned("c"), assigned("c", "pin", "", ""), a, "g is on cluster c: assigned by tier 1 (pin)"},
		{"the pin is newer", pinned("c"), assigned("d", "spread", "", ""), b, "g is on cluster d: assigned by tier 1 (spread)"},
		{"assigned none", pinned(""), assigned("", "no-room", "largest has 10", "no-cluster"), "NOERROR",
			"g is on no cluster: tier 1 has none for it (no-room: largest has 10), its calls are refused with no-cluster"},
		{"pinned, assigned none", pinned("c"), assigned("", "no-quality", "", "quality"), "NOERROR",
			"g is on no cluster: tier 1 has none for it (no-quality), its calls are refused with quality"},
		{"pinned to what is not there", pinned("x"), nil, "NOERROR", "g is on cluster x: pinned; there is no such cluster"},
		{"assigned what is not there", pinned("c"), assigned("x", "new", "", ""), "NOERROR", "g is on cluster x: assigned by tier 1 (new); there is no such cluster"},
		{"assigned without the group", nil, assigned("c", "new", "", ""), "NOERROR", "does not exist"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			group := func(s *Server) { s.put(60, tandem.KindGroup, test.group, test.group != nil) }
			assignment := func(s *Server) { s.put(60, tandem.KindAssignment, test.assignment, test.assignment != nil) }
			for order, steps := range map[string][]func(*Server){
				"group first": {group, assignment}, "assignment first": {assignment, group}, "group twice": {group, assignment, group},
			} {
				s := twoClusters(t)
				for _, step := range steps {
					step(s)
				}
				if got := s.records(t, "invite.7.svc.test", dns.TypeA); got != test.want {
					t.Errorf("%s: A = %s, want %s", order, got, test.want)
				}
				wantSteps(t, s, "invite.7.svc.test", "group", test.trace)
			}
		})
	}
}

// TestPlacingForgetsItsHistory: after any changes of a group, its assignment and the clusters, answers
// are those of a server that only saw what is left; the serial is that of the last change.
func TestPlacingForgetsItsHistory(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	groups := []*tandem.Group{nil, pinned(""), pinned("c"), pinned("d")}
	assignments := []*tandem.Assignment{nil, assigned("", "no-room", "", "no-cluster"), assigned("c", "new", "", ""), assigned("d", "new", "", "")}
	for range 200 {
		s, g, a, d := twoClusters(t), 0, 0, true
		for i := range 1 + r.IntN(12) {
			switch r.IntN(3) {
			case 0:
				g = r.IntN(len(groups))
				s.put(tandem.Revision(60+i), tandem.KindGroup, groups[g], g > 0)
			case 1:
				a = r.IntN(len(assignments))
				s.put(tandem.Revision(60+i), tandem.KindAssignment, assignments[a], a > 0)
			default:
				d = !d
				var o tandem.Object
				if d {
					o = &tandem.Cluster{Head: tandem.Head{ID: "d"}}
				}
				s.change(tandem.Revision(60+i), tandem.KindCluster, "d", o)
			}
			if serial := s.model.serialOf(s.model.zoneOf(mustKey(t, "svc.test"))); serial != uint32(60+i) {
				t.Fatalf("serial = %d after revision %d", serial, 60+i)
			}
		}
		fresh := twoClusters(t)
		fresh.put(60, tandem.KindAssignment, assignments[a], a > 0)
		fresh.put(61, tandem.KindGroup, groups[g], g > 0)
		if !d {
			fresh.change(62, tandem.KindCluster, "d", nil)
		}
		for _, name := range []string{"invite.7.svc.test", "_sip._udp.invite.7.svc.test", "listed.7.svc.test", "nokey.7.svc.test"} {
			if got, want := s.records(t, name, dns.TypeSRV)+s.records(t, name, dns.TypeA), fresh.records(t, name, dns.TypeSRV)+fresh.records(t, name, dns.TypeA); got != want {
				t.Fatalf("%s = %s, want %s: group %d, assignment %d, d %v", name, got, want, g, a, d)
			}
		}
	}
}

// TestNamesOutliveTheirCluster: a name that the account has is there wherever its group is, if
// anywhere; one that only a cluster lists, and one that nobody knows, are not.
func TestNamesOutliveTheirCluster(t *testing.T) {
	s := twoClusters(t)
	s.change(55, tandem.KindNode, "b", feature("b", 2, func(n *tandem.Node) { n.Cluster, n.Types = "d", []tandem.RequestType{"voicemail"} }))
	account := testAccount("7", "voice.test", "g", "seven")
	account.Routes = map[tandem.RequestType][]string{"fax": {"faxes"}}
	account.Rules = []tandem.Rule{{Method: "MESSAGE", Type: "sms"}}
	account.Targets = map[string]tandem.TargetSpec{"own": {Cluster: "nowhere"}}
	s.change(56, tandem.KindAccount, "7", account)
	everywhere := []string{"register", "invite", "message", "subscribe", "publish", "options", "http", "emergency", "trunk", "fax", "faxes", "sms", "own"}
	for i, cluster := range []string{"", "c", "d", "nowhere"} {
		s.change(tandem.Revision(60+i), tandem.KindGroup, "g", pinned(cluster))
		for _, key := range everywhere {
			for _, below := range []string{"", "_udp.", "_sip._udp."} {
				if got := s.records(t, below+key+".7.svc.test", dns.TypeTXT); got != "NOERROR" {
					t.Errorf("on cluster %q: %s%s is %s, want NODATA", cluster, below, key, got)
				}
			}
		}
		for key, want := range map[string]string{"voicemail": map[bool]string{true: "NOERROR", false: "NXDOMAIN"}[cluster == "d"], "nokey": "NXDOMAIN"} {
			if got := s.records(t, key+".7.svc.test", dns.TypeTXT); got != want {
				t.Errorf("on cluster %q: %s is %s, want %s", cluster, key, got, want)
			}
		}
	}
}
