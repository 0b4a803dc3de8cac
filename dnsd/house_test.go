package dnsd

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tandem/internal/tandem"
)

// feature returns a node of cluster c at 127.0.0.<last>, changed by with.
func feature(id string, last byte, with ...func(*tandem.Node)) *tandem.Node {
	n := &tandem.Node{
		Head: tandem.Head{ID: id}, Cluster: "c", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, last})},
		Ports: tandem.Ports{UDP: 5060, HTTPS: 443},
	}
	for _, f := range with {
		f(n)
	}
	return n
}

func in(state tandem.NodeState) func(*tandem.Node) { return func(n *tandem.Node) { n.State = state } }
func serving(t tandem.RequestType) func(*tandem.Node) {
	return func(n *tandem.Node) { n.Types = []tandem.RequestType{t} }
}
func weighing(priority, weight uint16) func(*tandem.Node) {
	return func(n *tandem.Node) { n.Priority, n.Weight = priority, weight }
}

// house returns a server with account 7 on cluster c, which has nodes; "listed" is a target of the
// account that lists a and b.
func house(t testing.TB, nodes ...*tandem.Node) *Server {
	t.Helper()
	s := newServer(t)
	account := testAccount("7", "voice.test", "g", "seven")
	account.Targets = map[string]tandem.TargetSpec{"listed": {Nodes: []string{"a", "b"}}}
	objects := []tandem.Object{
		&tandem.Cluster{Head: tandem.Head{ID: "c"}}, &tandem.Group{Head: tandem.Head{ID: "g"}, Cluster: "c"},
		&tandem.Zone{Head: tandem.Head{ID: "svc.test"}, Role: tandem.RoleService},
		&tandem.Edge{Head: tandem.Head{ID: "a"}, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Ports: tandem.Ports{UDP: 5060}},
		&tandem.Zone{Head: tandem.Head{ID: "voice.test"}, Role: tandem.RoleAccounts, ServiceZone: "svc.test", Edges: []string{"a"}},
		account,
	}
	for _, n := range nodes {
		objects = append(objects, n)
	}
	for i, o := range objects {
		s.change(tandem.Revision(i+1), o.Kind(), o.Header().ID, o)
	}
	return s
}

// wantSteps looks in a trace for steps of a kind that end in each of texts.
func wantSteps(t *testing.T, s *Server, name, what string, texts ...string) {
	t.Helper()
	var found []string
	for _, step := range s.Trace(name, netip.MustParsePrefix("127.0.0.1/32")) {
		if step.What == what {
			found = append(found, step.Text)
		}
	}
	for _, want := range texts {
		if !slices.ContainsFunc(found, func(text string) bool { return strings.HasSuffix(text, want) }) {
			t.Errorf("no step %q in\n%s", want, strings.Join(found, "\n"))
		}
	}
}

// hostOf is the network of one address.
func hostOf(addr string) netip.Prefix {
	a := netip.MustParseAddr(addr)
	return netip.PrefixFrom(a, a.BitLen())
}
