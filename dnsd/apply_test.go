package dnsd

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// change applies one object to s under the next revision; a nil object deletes kind and id.
func (s *Server) change(revision tandem.Revision, kind tandem.Kind, id string, o tandem.Object) {
	c := tandem.Change{Revision: revision, Kind: kind, ID: id}
	if o != nil {
		c.Object = o
	}
	s.Apply([]tandem.Change{c})
}

// records asks s over both paths, as a TCP client on loopback, and returns rcode and answer, without owner and class.
func (s *Server) records(t testing.TB, name string, rrtype uint16) string {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name+".", rrtype)
	query, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	msg := new(dns.Msg)
	if err := msg.Unpack(s.askBoth(t, query, client{addr: netip.MustParseAddr("127.0.0.1"), stream: true})); err != nil {
		t.Fatal(err)
	}
	text := dns.RcodeToString[msg.Rcode]
	for _, rr := range msg.Answer {
		text += ", " + strings.Join(strings.Fields(rr.String())[4:], " ")
	}
	return text
}

func (s *Server) wantRecords(t testing.TB, name string, rrtype uint16, want string) {
	t.Helper()
	if got := s.records(t, name, rrtype); got != want {
		t.Errorf("%s %s = %q, want %q", name, dns.Type(rrtype), got, want)
	}
}

func testAccount(id, zone, group, label string) *tandem.Account {
	return &tandem.Account{
		Head: tandem.Head{ID: id}, Zone: zone, Group: group,
		Labels: []tandem.Label{{Label: label, Role: tandem.LabelCurrent}},
	}
}

// TestChangesShowAtOnce walks through the life of objects; each answer is asked right after its change.
func TestChangesShowAtOnce(t *testing.T) {
	s := loadWorld(t, "voice")
	const sip = "_sip._udp.invite.7.svc.voice.example.net"

	s.wantRecords(t, "new.voice.example.net", dns.TypeA, "NXDOMAIN")
	s.change(100, tandem.KindAccount, "7", testAccount("7", "voice.example.net", "g1", "new"))
	s.wantRecords(t, "new.voice.example.net", dns.TypeA, "NOERROR, 192.0.2.10, 192.0.2.20")
	s.wantRecords(t, sip, dns.TypeSRV, "NOERROR, 0 100 5060 n1.node.svc.voice.example.net., 10 50 5070 n2.node.svc.voice.example.net.")

	// another label: the old one stays as long as the account has it
	renamed := testAccount("7", "voice.example.net", "g1", "newer")
	renamed.Labels = append(renamed.Labels, tandem.Label{Label: "new", Role: tandem.LabelVanity})
	s.change(101, tandem.KindAccount, "7", renamed)
	s.wantRecords(t, "newer.voice.example.net", dns.TypeA, "NOERROR, 192.0.2.10, 192.0.2.20")
	s.wantRecords(t, "new.voice.example.net", dns.TypeA, "NOERROR, 192.0.2.10, 192.0.2.20")
	retired := testAccount("7", "voice.example.net", "g1", "newer")
	retired.Labels = append(retired.Labels, tandem.Label{Label: "new", Role: tandem.LabelRetired})
	s.change(102, tandem.KindAccount, "7", retired)
	s.wantRecords(t, "new.voice.example.net", dns.TypeA, "NXDOMAIN")

	// edges: of the account, then changed, then of the zone
	moved := testAccount("7", "voice.example.net", "g1", "newer")
	moved.Edges = []string{"e3"}
	s.change(103, tandem.KindAccount, "7", moved)
	s.wantRecords(t, "newer.voice.example.net", dns.TypeA, "NOERROR, 192.0.2.30")
	s.change(104, tandem.KindEdge, "e3", &tandem.Edge{Head: tandem.Head{ID: "e3"}, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.31")}, Ports: tandem.Ports{TCP: 5060}})
	s.wantRecords(t, "newer.voice.example.net", dns.TypeA, "NOERROR, 192.0.2.31")
	s.wantRecords(t, "e3.edge.voice.example.net", dns.TypeA, "NOERROR, 192.0.2.31")
	s.wantRecords(t, "voice.example.net", dns.TypeSOA, "NOERROR, ns.voice.example.net. hostmaster.voice.example.net. 104 3600 600 1209600 30")
	s.change(105, tandem.KindAccount, "7", testAccount("7", "voice.example.net", "g1", "newer"))

	// nodes drain, come back, move and go; the group moves
	n1 := &tandem.Node{Head: tandem.Head{ID: "n1"}, Cluster: "c1", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.11")}, Ports: tandem.Ports{UDP: 5060}, State: tandem.NodeDraining}
	s.change(106, tandem.KindNode, "n1", n1)
	s.wantRecords(t, sip, dns.TypeSRV, "NOERROR, 10 50 5070 n2.node.svc.voice.example.net.")
	s.wantRecords(t, "svc.voice.example.net", dns.TypeSOA, "NOERROR, ns.svc.voice.example.net. hostmaster.svc.voice.example.net. 106 3600 600 1209600 30")
	back := *n1
	back.State, back.Cluster = tandem.NodeActive, "c2"
	s.change(107, tandem.KindNode, "n1", &back)
	s.wantRecords(t, sip, dns.TypeSRV, "NOERROR, 10 50 5070 n2.node.svc.voice.example.net.")
	s.change(108, tandem.KindGroup, "g1", &tandem.Group{Head: tandem.Head{ID: "g1"}, Cluster: "c2"})
	s.wantRecords(t, sip, dns.TypeSRV, "NOERROR, 0 100 5060 m1.node.svc.voice.example.net., 0 100 5060 n1.node.svc.voice.example.net.")
	s.change(109, tandem.KindNode, "n1", nil)
	s.wantRecords(t, sip, dns.TypeSRV, "NOERROR, 0 100 5060 m1.node.svc.voice.example.net.")
	s.wantRecords(t, "n1.node.svc.voice.example.net", dns.TypeA, "NXDOMAIN")

	// repoint one name only (spec D7)
	pointed := testAccount("7", "voice.example.net", "g1", "newer")
	pointed.Targets = map[string]tandem.TargetSpec{"invite": {Nodes: []string{"n2"}}}
	s.change(110, tandem.KindAccount, "7", pointed)
	s.wantRecords(t, sip, dns.TypeSRV, "NOERROR, 10 50 5070 n2.node.svc.voice.example.net.")
	s.wantRecords(t, "_sip._udp.invite.1002.svc.voice.example.net", dns.TypeSRV, "NOERROR, 0 100 5060 m1.node.svc.voice.example.net.")

	// the account moves to another zone, then goes; its zone goes after it
	s.change(111, tandem.KindAccount, "7", testAccount("7", "mixed.example.net", "g1", "newer"))
	s.wantRecords(t, "newer.voice.example.net", dns.TypeA, "NXDOMAIN")
	s.wantRecords(t, "newer.mixed.example.net", dns.TypeA, "NOERROR, 192.0.2.31")
	s.wantRecords(t, sip, dns.TypeSRV, "NXDOMAIN")
	s.change(112, tandem.KindAccount, "7", nil)
	s.wantRecords(t, "newer.mixed.example.net", dns.TypeTXT, `NOERROR, "wildcard"`)
	s.change(113, tandem.KindZone, "mixed.example.net", nil)
	s.wantRecords(t, "www.mixed.example.net", dns.TypeA, "REFUSED")
}

func TestZoneChangesShowAtOnce(t *testing.T) {
	s := loadWorld(t, "voice")
	s.wantRecords(t, "k7.voice.example.net", dns.TypeA, "NOERROR, 192.0.2.10, 192.0.2.20")
	s.change(50, tandem.KindZone, "voice.example.net", &tandem.Zone{
		Head: tandem.Head{ID: "voice.example.net"}, Role: tandem.RoleAccounts, ServiceZone: "svc.voice.example.net",
		Edges: []string{"e3"}, Records: "www A 192.0.2.80\n", NameServers: []tandem.NameServer{{Name: "a.example.org"}},
	})
	s.wantRecords(t, "k7.voice.example.net", dns.TypeA, "NOERROR, 192.0.2.30")
	s.wantRecords(t, "www.voice.example.net", dns.TypeA, "NOERROR, 192.0.2.80")
	s.wantRecords(t, "ns.voice.example.net", dns.TypeA, "NXDOMAIN")
	s.wantRecords(t, "voice.example.net", dns.TypeSOA, "NOERROR, a.example.org. hostmaster.voice.example.net. 50 3600 600 1209600 30")
}

// TestBadZoneTextIsNotServed: the check before storing failed to hold; composed names go on.
func TestBadZoneTextIsNotServed(t *testing.T) {
	s := loadWorld(t, "voice")
	s.change(50, tandem.KindZone, "voice.example.net", &tandem.Zone{
		Head: tandem.Head{ID: "voice.example.net"}, Role: tandem.RoleAccounts, ServiceZone: "svc.voice.example.net",
		Edges: []string{"e3"}, Records: "www A nonsense\n",
	})
	s.wantRecords(t, "k7.voice.example.net", dns.TypeA, "NOERROR, 192.0.2.30")
	s.wantRecords(t, "www.voice.example.net", dns.TypeA, "NXDOMAIN")
}

// TestOrderOfChangesDoesNotMatter applies the world backwards and compares every answer.
func TestOrderOfChangesDoesNotMatter(t *testing.T) {
	forward, backward := loadWorld(t, "voice"), newServer(t)
	objects := readObjects(t, "voice")
	for i, o := range slices.Backward(objects) {
		backward.change(tandem.Revision(i+1), o.Kind(), o.Header().ID, o)
	}
	forward.Restored(1000) // serials do depend on the order
	backward.Restored(1000)
	g := newGenerator("voice", 3)
	var a, b [65535]byte
	for range 20_000 {
		query, from := g.question()
		n, m := forward.model.full(query, a[:], from), backward.model.full(query, b[:], from)
		if string(a[:n]) != string(b[:m]) {
			diffAnswers(t, query, a[:n], b[:m])
		}
	}
}

func TestSerialNeverFalls(t *testing.T) {
	s := loadWorld(t, "voice")
	serial := func() uint32 { return s.model.serialOf(s.model.zoneOf(mustKey(t, "voice.example.net"))) }
	last := serial()
	s.change(60, tandem.KindAccount, "1001", nil)
	if serial() != 60 {
		t.Errorf("serial = %d after revision 60", serial())
	}
	s.change(40, tandem.KindAccount, "1002", nil)
	if serial() != 60 || last > 60 {
		t.Errorf("serial = %d after an older revision, want 60", serial())
	}
	again := loadWorld(t, "voice")
	again.Restored(70) // the snapshot does not show what was deleted last
	if got := again.model.serialOf(again.model.zoneOf(mustKey(t, "voice.example.net"))); got != 70 {
		t.Errorf("serial = %d after a restart at revision 70", got)
	}
}

func mustKey(t testing.TB, name string) string {
	t.Helper()
	key, err := wireKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestProfilesAreSharedAndDropped: equal settings cost once, and go with their last account.
func TestProfilesAreSharedAndDropped(t *testing.T) {
	s := loadWorld(t, "voice")
	before := len(s.writer.profileUses)
	for i := range 100 {
		a := testAccount(fmt.Sprint("p", i), "voice.example.net", "g1", fmt.Sprint("p", i))
		a.TTL.SRV = 77
		s.change(tandem.Revision(100+i), tandem.KindAccount, a.ID, a)
	}
	if n := len(s.writer.profileUses); n != before+1 {
		t.Errorf("%d profiles for 100 equal accounts, want 1", n-before)
	}
	for i := range 100 {
		s.change(tandem.Revision(200+i), tandem.KindAccount, fmt.Sprint("p", i), nil)
	}
	if n := len(s.writer.profileUses); n != before || len(s.writer.profileNumbers) != before {
		t.Errorf("%d profiles left behind", n-before)
	}
}

// TestReadersSeeWholeAccounts asks while an account flips between two settings: each answer is
// right for one of them. Run with -race, it shows that no reader needs a lock.
func TestReadersSeeWholeAccounts(t *testing.T) {
	s := loadWorld(t, "voice")
	one, two := testAccount("7", "voice.example.net", "g1", "flip"), testAccount("7", "voice.example.net", "g2", "flip")
	one.Edges, two.Edges = []string{"e2"}, []string{"e3"}
	two.TTL.NAPTR = 5
	s.change(100, tandem.KindAccount, "7", one)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			q := new(dns.Msg)
			q.SetQuestion("flip.voice.example.net.", dns.TypeA)
			query, _ := q.Pack()
			out := make([]byte, datagramSize)
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := s.handle(&counters{}, query, out, client{addr: netip.MustParseAddr("127.0.0.1")})
				if last := out[n-1]; last != 20 && last != 30 {
					t.Errorf("answer ends in %d: %x", last, out[:n])
					return
				}
			}
		})
	}
	for i := range 5000 {
		s.change(tandem.Revision(101+i), tandem.KindAccount, "7", []*tandem.Account{one, two}[i%2])
		s.change(tandem.Revision(101+i), tandem.KindAccount, fmt.Sprint("x", i%50), testAccount(fmt.Sprint("x", i%50), "voice.example.net", "g1", fmt.Sprint("x", i)))
	}
	close(stop)
	readers.Wait()
}

// TestLongNames: what would be too long to be a name is left out, and both paths agree on it.
func TestLongNames(t *testing.T) {
	s := loadWorld(t, "voice")
	l := strings.Repeat("l", 63)
	apex := strings.Join([]string{l, l, strings.Repeat("m", 60)}, ".")
	s.change(50, tandem.KindZone, apex, &tandem.Zone{Head: tandem.Head{ID: apex}, Role: tandem.RoleAccounts, ServiceZone: "svc.voice.example.net", Edges: []string{"long", "e1"}})
	edge := tandem.Edge{Head: tandem.Head{ID: l}, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.66")}, Ports: tandem.Ports{UDP: 5060, HTTPS: 1}}
	long := edge
	long.ID = "long"
	s.change(51, tandem.KindEdge, l, &edge)
	s.change(52, tandem.KindEdge, "long", &long)
	a := testAccount("7", apex, "g1", l)
	a.Edges = []string{l, "long"}
	s.change(53, tandem.KindAccount, "7", a)
	s.change(54, tandem.KindAccount, "8", testAccount("8", apex, "g1", "short"))
	s.wantRecords(t, l+"."+apex, dns.TypeA, "NOERROR, 192.0.2.66")
	s.wantRecords(t, l+"."+apex, dns.TypeNAPTR, "NOERROR")
	s.wantRecords(t, l+"."+apex, dns.TypeHTTPS, "NOERROR, 1 long.edge."+apex+`. port="1"`)
	if got := s.records(t, "short."+apex, dns.TypeNAPTR); !strings.Contains(got, "_sip._udp.short."+apex) {
		t.Errorf("NAPTR = %s", got)
	}
	if targets, err := s.Targets(l + "." + apex); err != nil || len(targets) != 2 {
		t.Errorf("Targets = %v, %v, want UDP and HTTPS of the one host with a name", targets, err)
	}
}

// TestAccountInAPlainZone: nothing is composed there, and no service zone takes it in.
func TestAccountInAPlainZone(t *testing.T) {
	s := newServer(t)
	s.change(1, tandem.KindZone, "svc.test", &tandem.Zone{Head: tandem.Head{ID: "svc.test"}, Role: tandem.RoleService})
	s.change(2, tandem.KindZone, "plain.test", &tandem.Zone{Head: tandem.Head{ID: "plain.test"}, Role: tandem.RolePlain})
	s.change(3, tandem.KindAccount, "7", testAccount("7", "plain.test", "g1", "seven"))
	s.wantRecords(t, "seven.plain.test", dns.TypeA, "NXDOMAIN")
	s.wantRecords(t, "7.svc.test", dns.TypeA, "NXDOMAIN")
}

// TestNamesAboveZonesExist: a name exists as long as a zone of ours lies below it (RFC 8020), also
// where the zone around it has no delegation.
func TestNamesAboveZonesExist(t *testing.T) {
	s := loadWorld(t, "voice")
	plain := func(id string) *tandem.Zone {
		return &tandem.Zone{Head: tandem.Head{ID: id}, Role: tandem.RolePlain}
	}
	const above = "far.voice.example.net"
	s.wantRecords(t, above, dns.TypeA, "NXDOMAIN")
	s.change(100, tandem.KindZone, "a."+above, plain("a."+above))
	s.change(101, tandem.KindZone, "b.c."+above, plain("b.c."+above))
	s.change(102, tandem.KindZone, "a."+above, plain("a."+above)) // changed, not one more
	s.wantRecords(t, above, dns.TypeA, "NOERROR")
	s.wantRecords(t, "c."+above, dns.TypeA, "NOERROR")
	s.wantRecords(t, "d."+above, dns.TypeA, "NXDOMAIN")
	s.change(103, tandem.KindZone, "a."+above, nil)
	s.change(104, tandem.KindZone, "a."+above, nil) // not there any more
	s.wantRecords(t, above, dns.TypeA, "NOERROR")
	s.change(105, tandem.KindZone, "b.c."+above, nil)
	s.wantRecords(t, above, dns.TypeA, "NXDOMAIN")
	s.wantRecords(t, "c."+above, dns.TypeA, "NXDOMAIN")
}
