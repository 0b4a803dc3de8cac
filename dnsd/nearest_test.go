package dnsd

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// spread returns a server whose account "near" has three edges with networks, and "far" one without;
// it believes 127.0.0.0/8.
func spread(t testing.TB) *Server {
	t.Helper()
	s := newServer(t)
	s.model.resolvers = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	edge := func(id, addr string, networks ...string) *tandem.Edge {
		e := &tandem.Edge{Head: tandem.Head{ID: id}, Addresses: []netip.Addr{netip.MustParseAddr(addr)}, Ports: tandem.Ports{UDP: 5060}}
		for _, n := range networks {
			e.Networks = append(e.Networks, netip.MustParsePrefix(n))
		}
		return e
	}
	west := edge("west", "192.0.2.1", "10.0.0.0/8", "2001:db8::/32")
	west.Addresses = append(west.Addresses, netip.MustParseAddr("2001:db8::1"))
	near, far := testAccount("1", "voice.test", "g", "near"), testAccount("2", "voice.test", "g", "far")
	far.Edges = []string{"plain"}
	for i, o := range []tandem.Object{
		west, edge("east", "192.0.2.2", "10.1.0.0/16"), edge("south", "192.0.2.3"), edge("plain", "192.0.2.4"),
		&tandem.Zone{Head: tandem.Head{ID: "voice.test"}, Role: tandem.RoleAccounts, Edges: []string{"west", "east", "south"}},
		near, far,
	} {
		s.change(tandem.Revision(i+1), o.Kind(), o.Header().ID, o)
	}
	return s
}

// subnetQuery returns a question with the option's octets in it, nil for none.
func subnetQuery(name string, rrtype uint16, option []byte) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(name+".", rrtype)
	q.SetEdns0(1232, false)
	if option != nil {
		q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: optionSubnet, Data: option}}
	}
	return q
}

// subnetOption returns the option for a network.
func subnetOption(text string) []byte {
	p := netip.MustParsePrefix(text)
	family := byte(2)
	if p.Addr().Is4() {
		family = 1
	}
	return append([]byte{0, family, byte(p.Bits()), 0}, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
}

// askNear returns rcode, answer and the option that came back.
func (s *Server) askNear(t testing.TB, from string, q *dns.Msg) string {
	t.Helper()
	query, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	msg := new(dns.Msg)
	if err := msg.Unpack(s.askBoth(t, query, client{addr: netip.MustParseAddr(from)})); err != nil {
		t.Fatal(err)
	}
	text := brief1(msg)
	for _, o := range msg.IsEdns0().Option {
		if e, ok := o.(*dns.EDNS0_SUBNET); ok {
			text += fmt.Sprintf("; %s/%d/%d", e.Address, e.SourceNetmask, e.SourceScope)
		}
	}
	return text
}

func TestNearestEdges(t *testing.T) {
	s := spread(t)
	const all = "NOERROR, 192.0.2.1, 192.0.2.2, 192.0.2.3"
	for _, c := range []struct {
		name, from, owner string
		rrtype            uint16
		option            []byte
		want              string
	}{
		{"near one", "127.0.0.1", "near", dns.TypeA, subnetOption("10.200.0.0/16"), "NOERROR, 192.0.2.1; 10.200.0.0/16/9"},
		{"near another", "127.0.0.1", "near", dns.TypeA, subnetOption("10.1.2.0/24"), "NOERROR, 192.0.2.2; 10.1.2.0/24/16"},
		{"beside it", "127.0.0.1", "near", dns.TypeA, subnetOption("10.0.2.0/24"), "NOERROR, 192.0.2.1; 10.0.2.0/24/16"},
		{"near none", "127.0.0.1", "near", dns.TypeA, subnetOption("192.168.1.0/24"), all + "; 192.168.1.0/24/1"},
		{"told too little", "127.0.0.1", "near", dns.TypeA, subnetOption("10.0.0.0/7"), "NOERROR, 192.0.2.1; 10.0.0.0/7/16"},
		{"IPv6", "127.0.0.1", "near", dns.TypeA, subnetOption("2001:db8:7::/48"), "NOERROR, 192.0.2.1; 2001:db8:7::/48/32"},
		{"IPv6, none near", "127.0.0.1", "near", dns.TypeA, subnetOption("2002::/48"), all + "; 2002::/48/15"},
		{"SRV", "127.0.0.1", "_sip._udp.near", dns.TypeSRV, subnetOption("10.1.2.0/24"), "NOERROR, 0 100 5060 east.edge.voice.test.; 10.1.2.0/24/16"},
		{"a type that the nearest has not", "127.0.0.1", "near", dns.TypeAAAA, subnetOption("10.1.2.0/24"), "NOERROR, 2001:db8::1; 10.1.2.0/24/16"},
		{"nothing is told", "127.0.0.1", "near", dns.TypeA, []byte{0, 1, 0, 0}, all + "; 0.0.0.0/0/0"},
		{"no option", "127.0.0.1", "near", dns.TypeA, nil, all},
		{"edges without networks", "127.0.0.1", "far", dns.TypeA, subnetOption("10.1.2.0/24"), "NOERROR, 192.0.2.4; 10.1.2.0/24/0"},
		{"an edge's own name", "127.0.0.1", "west.edge", dns.TypeA, subnetOption("10.1.2.0/24"), "NOERROR, 192.0.2.1; 10.1.2.0/24/0"},
		{"a denial", "127.0.0.1", "nobody", dns.TypeA, subnetOption("10.1.2.0/24"), "NXDOMAIN; 10.1.2.0/24/0"},
		{"no such type", "127.0.0.1", "near", dns.TypeTXT, subnetOption("10.1.2.0/24"), "NOERROR; 10.1.2.0/24/0"},
		{"who is not listed", "192.0.2.53", "near", dns.TypeA, subnetOption("10.1.2.0/24"), all},
		{"who is not listed, ill formed", "192.0.2.53", "near", dns.TypeA, []byte{9}, all},
		{"family 3", "127.0.0.1", "near", dns.TypeA, []byte{0, 3, 0, 0}, "FORMERR"},
		{"too many bits", "127.0.0.1", "near", dns.TypeA, []byte{0, 1, 33, 0, 1, 2, 3, 4, 5}, "FORMERR"},
		{"a scope in a question", "127.0.0.1", "near", dns.TypeA, []byte{0, 1, 8, 8, 10}, "FORMERR"},
		{"bits beyond its length", "127.0.0.1", "near", dns.TypeA, []byte{0, 1, 7, 0, 11}, "FORMERR"},
		{"too short", "127.0.0.1", "near", dns.TypeA, []byte{0, 1, 16, 0, 10}, "FORMERR"},
		{"too long", "127.0.0.1", "near", dns.TypeA, []byte{0, 1, 8, 0, 10, 0}, "FORMERR"},
		{"cut", "127.0.0.1", "near", dns.TypeA, []byte{0, 1, 0}, "FORMERR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := s.askNear(t, c.from, subnetQuery(c.owner+".voice.test", c.rrtype, c.option)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestNearestFollows: an edge's change shows at once, also where records were made before.
func TestNearestFollows(t *testing.T) {
	s := spread(t)
	q := subnetQuery("near.voice.test", dns.TypeA, subnetOption("10.1.2.0/24"))
	for _, addr := range []string{"192.0.2.2", "192.0.2.7", "192.0.2.8"} {
		s.change(50, tandem.KindEdge, "east", &tandem.Edge{Head: tandem.Head{ID: "east"}, Addresses: []netip.Addr{netip.MustParseAddr(addr)},
			Ports: tandem.Ports{UDP: 5060}, Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}})
		for range 2 {
			if got, want := s.askNear(t, "127.0.0.1", q), "NOERROR, "+addr+"; 10.1.2.0/24/16"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
	}
}

// TestNearestGrantsNoSight: a zone's networks go by who asks.
func TestNearestGrantsNoSight(t *testing.T) {
	s := spread(t)
	s.change(50, tandem.KindZone, "closed.test", &tandem.Zone{Head: tandem.Head{ID: "closed.test"}, Role: tandem.RolePlain, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	if got := s.askNear(t, "127.0.0.1", subnetQuery("closed.test", dns.TypeSOA, subnetOption("10.0.0.0/8"))); got != "REFUSED" {
		t.Errorf("%s, want REFUSED", got)
	}
}

// TestScope compares with every address: all within the scope get the same edges, and of one bit less
// some get others, unless all do.
func TestScope(t *testing.T) {
	g := rand.New(rand.NewPCG(8, 9))
	for round := range 3000 {
		var hosts []*host
		for range 1 + g.IntN(3) {
			h := &host{}
			for range g.IntN(4) {
				h.networks = append(h.networks, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(g.IntN(256))}), 24+g.IntN(9)).Masked())
			}
			hosts = append(hosts, h)
		}
		addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(g.IntN(256))})
		chosen, scope := nearestHosts(hosts, addr)
		same := func(bits int) bool {
			within := netip.PrefixFrom(addr, bits).Masked()
			for last := range 256 {
				other := netip.AddrFrom4([4]byte{10, 0, 0, byte(last)})
				if got, _ := nearestHosts(hosts, other); within.Contains(other) && fmt.Sprint(got) != fmt.Sprint(chosen) {
					return false
				}
			}
			return true
		}
		if !same(scope) {
			t.Fatalf("round %d: %s/%d is not of one answer", round, addr, scope)
		}
		if want := longest(hosts, addr); fmt.Sprint(want) != fmt.Sprint(chosen) {
			t.Fatalf("round %d: %v, want %v", round, chosen, want)
		}
	}
}

// longest finds the nearest hosts by trying every length.
func longest(hosts []*host, addr netip.Addr) (chosen []*host) {
	for bits := 32; bits >= 0 && chosen == nil; bits-- {
		for _, h := range hosts {
			for _, n := range h.networks {
				if n.Bits() == bits && n.Contains(addr) {
					chosen = append(chosen, h)
					break
				}
			}
		}
	}
	return chosen
}
