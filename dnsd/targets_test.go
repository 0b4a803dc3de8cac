package dnsd

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// listTargets writes targets in one line each.
func listTargets(targets []tandem.Target) []string {
	var lines []string
	for _, t := range targets {
		lines = append(lines, fmt.Sprintf("%s %s %s %q %d/%d", t.Transport, t.Addr, t.Host, t.Node, t.Priority, t.Weight))
	}
	return lines
}

func TestTargets(t *testing.T) {
	s := loadWorld(t, "voice")
	s.change(90, tandem.KindZone, "pbx.test", &tandem.Zone{Head: tandem.Head{ID: "pbx.test"}, Role: tandem.RolePlain, Records: `
@         NAPTR 20 1 "s" "SIP+D2U" "" _sip._udp
@         NAPTR 10 1 "s" "SIP+D2T" "" _sip._tcp
_sip._udp SRV 5 10 5080 b
_sip._udp SRV 1 10 5070 a
_sip._tcp SRV 0 0 5090 b
a         A 192.0.2.1
a         AAAA 2001:db8::1
b         A 192.0.2.2
srv       TXT "SRV only"
_sip._udp.srv SRV 1 2 5070 a
closed    TXT "says that there is no service"
_sip._udp.closed SRV 0 0 0 .
text      TXT "nothing to call"
alias     CNAME a
`})
	tests := []struct {
		name string
		want []string
		err  error
	}{
		{"invite.1001.svc.voice.example.net", []string{
			`udp 127.0.0.11:5060 n1.node.svc.voice.example.net "n1" 0/100`,
			`udp 127.0.0.12:5070 n2.node.svc.voice.example.net "n2" 10/50`,
			`udp [::12]:5070 n2.node.svc.voice.example.net "n2" 10/50`,
			`tcp 127.0.0.11:5060 n1.node.svc.voice.example.net "n1" 0/100`,
		}, nil},
		{"http.1001.svc.voice.example.net.", []string{
			`udp 127.0.0.11:5060 n1.node.svc.voice.example.net "n1" 0/100`,
			`udp 127.0.0.12:5070 n2.node.svc.voice.example.net "n2" 10/50`,
			`udp [::12]:5070 n2.node.svc.voice.example.net "n2" 10/50`,
			`tcp 127.0.0.11:5060 n1.node.svc.voice.example.net "n1" 0/100`,
			`http 127.0.0.15:8081 web1.node.svc.voice.example.net "web1" 0/100`,
		}, nil},
		{"B2.Voice.Example.Net", []string{`udp 192.0.2.20:5060 e2.edge.voice.example.net "e2" 10/5`}, nil},
		{"dark.1001.svc.voice.example.net", nil, nil},
		{"nokey.1001.svc.voice.example.net", nil, ErrNoName},
		{"nobody.voice.example.net", nil, ErrNoName},
		{"www.example.org", nil, ErrNotOurs},
		{"not..a.name", nil, ErrNoName},
		{"pbx.test", []string{
			`tcp 192.0.2.2:5090 b.pbx.test "" 0/0`,
			`udp 192.0.2.1:5070 a.pbx.test "" 1/10`,
			`udp [2001:db8::1]:5070 a.pbx.test "" 1/10`,
			`udp 192.0.2.2:5080 b.pbx.test "" 5/10`,
		}, nil},
		{"srv.pbx.test", []string{
			`udp 192.0.2.1:5070 a.pbx.test "" 1/2`,
			`udp [2001:db8::1]:5070 a.pbx.test "" 1/2`,
		}, nil},
		{"b.pbx.test", []string{
			`udp 192.0.2.2:5060 b.pbx.test "" 0/0`,
			`tcp 192.0.2.2:5060 b.pbx.test "" 0/0`,
			`http 192.0.2.2:80 b.pbx.test "" 0/0`,
		}, nil},
		{"text.pbx.test", nil, nil},
		{"closed.pbx.test", nil, nil},
		{"gone.pbx.test", nil, ErrNoName},
		{"e2.edge.voice.example.net", []string{
			`udp 192.0.2.20:5060 e2.edge.voice.example.net "e2" 0/0`,
			`tcp 192.0.2.20:5060 e2.edge.voice.example.net "e2" 0/0`,
			`http 192.0.2.20:80 e2.edge.voice.example.net "e2" 0/0`,
		}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := s.Targets(test.name)
			if !errors.Is(err, test.err) {
				t.Fatalf("Targets = %v, want %v", err, test.err)
			}
			if diff := cmp.Diff(test.want, listTargets(got)); diff != "" {
				t.Errorf("Targets (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTargetsAreWhatTheWireSays walks the records that clients get, for every name with records of
// its own, and compares.
func TestTargetsAreWhatTheWireSays(t *testing.T) {
	s := loadWorld(t, "voice")
	for _, name := range []string{
		"k7.voice.example.net", "b2.voice.example.net", "c3.mixed.example.net", "invite.1001.svc.voice.example.net",
		"http.1001.svc.voice.example.net", "pinned.1001.svc.voice.example.net", "dark.1001.svc.voice.example.net",
		"invite.1002.svc.voice.example.net",
	} {
		got, err := s.Targets(name)
		if err != nil {
			t.Errorf("Targets(%s) = %v", name, err)
		}
		walked, err := s.model.resolve(s.model.zoneOf(mustKey(t, name)), dns.Fqdn(name))
		if err != nil && len(got) > 0 {
			t.Errorf("resolve(%s) = %v", name, err)
		}
		if diff := cmp.Diff(listTargets(walked), listTargets(got)); diff != "" {
			t.Errorf("%s (-records +Targets):\n%s", name, diff)
		}
	}
}

func TestTrace(t *testing.T) {
	s := loadWorld(t, "voice")
	tests := []struct {
		name, from string
		want       []string
	}{
		{"acme.voice.example.net", "192.0.2.1", []string{
			"zone: voice.example.net, role accounts", "networks: everybody", "account: 1001", "label: acme is vanity",
			"edge: e1, priority 0", "ttl: NAPTR 3600", "answer NAPTR: acme.voice.example.net.", "answer SRV: no records",
		}},
		{"invite.1001.svc.voice.example.net", "127.0.0.1", []string{
			"account: 1001, in zone voice.example.net", "key: invite is a request type", "group: g1 is on cluster c1",
			"node: n3 is draining, serves every type, priority 0, weight 100\nhealth: nothing is known\nleft out: it is draining",
			"policy: 2 of 2 nodes", "NAPTR order: SIP+D2U 20",
			"node: vm1 does not serve invite", "answer A: invite.1001.svc.voice.example.net. 60 IN A 127.0.0.11",
		}},
		{"berlin.1001.svc.voice.example.net", "127.0.0.1", []string{"key: berlin is a target of the account: a cluster of its own", "cluster: c2, 2 nodes"}},
		{"pinned.1001.svc.voice.example.net", "127.0.0.1", []string{"key: pinned is a target of the account: listed nodes", "node: n2 is active"}},
		{"nokey.1001.svc.voice.example.net", "127.0.0.1", []string{"key: nokey is neither", "answer A: NXDOMAIN"}},
		{"invite.1001.svc.voice.example.net", "192.0.2.1", []string{"networks: 192.0.2.1 is not within [127.0.0.0/8 ::1/128]: REFUSED"}},
		{"nobody.voice.example.net", "192.0.2.1", []string{"label: nobody belongs to no account"}},
		{"n1.node.svc.voice.example.net", "127.0.0.1", []string{"node: n1 is active"}},
		{"www.example.org", "127.0.0.1", []string{"zone: www.example.org lies in no zone of ours: REFUSED"}},
		{"not..a.name", "127.0.0.1", []string{"name: \"not..a.name\" is not a domain name"}},
	}
	for _, test := range tests {
		t.Run(test.name+" from "+test.from, func(t *testing.T) {
			var lines []string
			for _, step := range s.Trace(test.name, hostOf(test.from)) {
				lines = append(lines, step.What+": "+step.Text)
			}
			for _, want := range test.want {
				if !strings.Contains("\n"+strings.Join(lines, "\n"), "\n"+want) {
					t.Errorf("no step %q in\n%s", want, strings.Join(lines, "\n"))
				}
			}
		})
	}
}

// An emergency call reaches a node that drains, when that is all there is; other calls do not, and
// a node that is out takes neither (spec E1).
func TestEmergencyPassesDrain(t *testing.T) {
	s := loadWorld(t, "voice")
	nodes := map[string]*tandem.Node{}
	for _, o := range readObjects(t, "voice") {
		if n, ok := o.(*tandem.Node); ok {
			nodes[n.ID] = n
		}
	}
	names := map[string]int{"emergency": 0, "invite": 0}
	count := func() map[string]int {
		for key := range names {
			targets, err := s.Targets(key + ".1001.svc.voice.example.net")
			if err != nil {
				t.Fatal(err)
			}
			names[key] = len(targets)
		}
		return names
	}
	whole := count()["emergency"]
	states := []struct {
		state             tandem.NodeState
		emergency, invite bool
	}{{tandem.NodeActive, true, true}, {tandem.NodeDraining, true, false}, {tandem.NodeOut, false, false}}
	for i, tt := range states {
		for j, id := range slices.Sorted(maps.Keys(nodes)) {
			node := *nodes[id]
			node.State = tt.state
			s.change(tandem.Revision(100+10*i+j), tandem.KindNode, id, &node)
		}
		got := count()
		if (got["emergency"] > 0) != tt.emergency || (got["invite"] > 0) != tt.invite {
			t.Errorf("nodes %s: %d targets for emergency and %d for invite, want some: %v and %v (all active: %d)",
				tt.state, got["emergency"], got["invite"], tt.emergency, tt.invite, whole)
		}
	}
}

// TestTargetsOfManyNodesAreSorted: transports one after another, each by priority.
func TestTargetsOfManyNodesAreSorted(t *testing.T) {
	var nodes []*tandem.Node
	for i := range byte(60) {
		n := feature(fmt.Sprintf("n%02d", i), i, weighing(uint16(i*7%5), 0), func(n *tandem.Node) { n.Ports.TCP = 5060 })
		nodes = append(nodes, n)
	}
	s := house(t, nodes...)
	targets, err := s.Targets("invite.7.svc.test")
	if err != nil || len(targets) != 180 {
		t.Fatalf("%d targets, %v, want 180", len(targets), err)
	}
	for i, x := range targets[1:] {
		if last := targets[i]; (i+1)%60 != 0 && (last.Transport != x.Transport || last.Priority > x.Priority) {
			t.Fatalf("%s %d before %s %d", last.Transport, last.Priority, x.Transport, x.Priority)
		}
	}
}
