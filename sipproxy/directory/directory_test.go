package directory

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
)

func put(o tandem.Object) tandem.Change {
	return tandem.Change{Kind: o.Kind(), ID: o.Header().ID, Object: o}
}

func gone(k tandem.Kind, id string) tandem.Change { return tandem.Change{Kind: k, ID: id} }

func head(id string) tandem.Head { return tandem.Head{ID: id} }

func account(id string, labels ...tandem.Label) *tandem.Account {
	return &tandem.Account{Head: head(id), Zone: "voice.example.net", Group: "g1", Realm: "tandem-" + id, Labels: labels}
}

func label(name string, role tandem.LabelRole) tandem.Label {
	return tandem.Label{Label: name, Role: role}
}

func example() *Directory {
	d := New()
	d.Apply([]tandem.Change{
		put(&tandem.Edge{Head: head("e1"), Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("2001:db8::5")}}),
		put(&tandem.Zone{Head: head("voice.example.net"), Role: tandem.RoleAccounts, ServiceZone: "svc.voice.example.net", Edges: []string{"e1"}}),
		put(&tandem.Zone{Head: head("svc.voice.example.net"), Role: tandem.RoleService}),
		put(&tandem.Zone{Head: head("example.net"), Role: tandem.RolePlain}),
		put(&tandem.Group{Head: head("g1"), Cluster: "c1"}),
		put(account("1001", label("abc", tandem.LabelCurrent), label("smith", tandem.LabelVanity),
			label("old", tandem.LabelRetired), label("trip", tandem.LabelTripwire))),
		put(account("1002", label("def", tandem.LabelCurrent))),
	})
	return d
}

func TestAccountByHost(t *testing.T) {
	d := example()
	cases := []struct {
		name, host, want string
		role             tandem.LabelRole
	}{
		{"current", "abc.voice.example.net", "1001", tandem.LabelCurrent},
		{"case and dot", "ABC.Voice.Example.NET.", "1001", tandem.LabelCurrent},
		{"vanity", "smith.voice.example.net", "1001", tandem.LabelVanity},
		{"tripwire", "trip.voice.example.net", "1001", tandem.LabelTripwire},
		{"another account", "def.voice.example.net", "1002", tandem.LabelCurrent},
		{"retired", "old.voice.example.net", "", ""},
		{"unknown label", "abd.voice.example.net", "", ""},
		{"other zone", "abc.example.net", "", ""},
		{"below the name", "x.abc.voice.example.net", "", ""},
		{"the zone", "voice.example.net", "", ""},
		{"empty", "", "", ""},
		{"dot", ".", "", ""},
		{"too long", strings.Repeat("a", 300) + ".voice.example.net", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a, role := d.AccountByHost(c.host)
			if got := accountID(a); got != c.want || role != c.role {
				t.Errorf("AccountByHost(%q) = %q, %q, want %q, %q", c.host, got, role, c.want, c.role)
			}
		})
	}
}

func accountID(a *Account) string {
	if a == nil {
		return ""
	}
	return a.ID
}

func TestAccountRecord(t *testing.T) {
	d := example()
	x := account("1003", label("xyz", tandem.LabelCurrent))
	x.Realm = "imported.example"
	x.Numbers = []string{"+493012345", "+12125550100"}
	x.Registrar = tandem.RegistrarRemote
	x.Digest = []tandem.DigestAlgorithm{tandem.MD5}
	x.Routes = map[tandem.RequestType][]string{"invite": {"pbx", "invite.1001.svc.voice.example.net"}}
	d.Apply([]tandem.Change{put(x)})
	a := d.Account("1003")
	if a == nil || a.Realm != "imported.example" || a.Group != "g1" || a.Zone != "voice.example.net" ||
		a.Registrar != tandem.RegistrarRemote || a.Name() != "xyz.voice.example.net" {
		t.Fatalf("Account = %+v", a)
	}
	if diff := cmp.Diff(x.Numbers, a.Numbers()); diff != "" {
		t.Error(diff)
	}
	if !a.HasNumber("+493012345") || a.HasNumber("+4930123456") || a.HasNumber("493012345") {
		t.Error("HasNumber is wrong")
	}
	for _, rt := range []tandem.RequestType{"invite", "message"} {
		if diff := cmp.Diff(x.Route(rt, "svc.voice.example.net"), a.Route(rt, "svc.voice.example.net")); diff != "" {
			t.Errorf("Route(%s): %s", rt, diff)
		}
	}
	if got := accountID(d.AccountByHash(HashOf("1003"))); got != "1003" || a.Hash() != HashOf("1003") {
		t.Errorf("AccountByHash = %q", got)
	}
	if d.AccountByHash(Hash{}) != nil {
		t.Error("AccountByHash of nobody's hash finds an account")
	}
	b := d.Account("1001")
	if b.Registrar != tandem.RegistrarLocal || b.Realm != "tandem-1001" || len(b.Emergency) != 2 ||
		!slices.Equal(b.Digest, []tandem.DigestAlgorithm{tandem.SHA256, tandem.MD5}) {
		t.Errorf("defaults = %+v", b.Profile)
	}
	if b.Profile != d.Account("1002").Profile {
		t.Error("equal profiles are not shared")
	}
	if b.Profile == a.Profile {
		t.Error("different profiles are shared")
	}
	if got := d.Edges(b); !slices.Equal(got, []string{"e1"}) {
		t.Errorf("Edges = %q, want the zone's", got)
	}
}

func TestAccountChanges(t *testing.T) {
	d := example()
	x := account("1001", label("new", tandem.LabelCurrent), label("abc", tandem.LabelRetired))
	x.Numbers = []string{"+4930111"}
	d.Apply([]tandem.Change{put(x)})
	for host, want := range map[string]string{"new.voice.example.net": "1001", "abc.voice.example.net": "", "smith.voice.example.net": ""} {
		if a, _ := d.AccountByHost(host); accountID(a) != want {
			t.Errorf("AccountByHost(%q) = %q, want %q", host, accountID(a), want)
		}
	}
	if got := accountID(d.AccountByNumber("+4930111")); got != "1001" {
		t.Errorf("AccountByNumber = %q, want 1001", got)
	}
	// The number moves to another account in one batch, the taker first.
	y := account("1002", label("def", tandem.LabelCurrent))
	y.Numbers = []string{"+4930111"}
	z := account("1001", label("new", tandem.LabelCurrent))
	d.Apply([]tandem.Change{put(y), put(z)})
	if got := accountID(d.AccountByNumber("+4930111")); got != "1002" {
		t.Errorf("AccountByNumber after the move = %q, want 1002", got)
	}
	d.Apply([]tandem.Change{gone(tandem.KindAccount, "1001"), gone(tandem.KindAccount, "1002"), gone(tandem.KindAccount, "none")})
	if d.Account("1001") != nil || d.AccountByNumber("+4930111") != nil {
		t.Error("a deleted account is found")
	}
	if a, _ := d.AccountByHost("new.voice.example.net"); a != nil {
		t.Error("a deleted account's name is found")
	}
	if n := len(d.profiles); n != 0 {
		t.Errorf("%d profiles are left, want 0", n)
	}
}

func TestDevices(t *testing.T) {
	d := example()
	ha1 := tandem.NewHA1("alice", "tandem-1001", "s3cret", []tandem.DigestAlgorithm{tandem.SHA256, tandem.MD5})
	alice := &tandem.Device{Head: head("d1"), Account: "1001", User: "u1", Username: "alice", HA1: ha1}
	desk := &tandem.Device{Head: head("d2"), Account: "1001", User: "u1", Username: "desk"}
	other := &tandem.Device{Head: head("d3"), Account: "1002", Username: "alice"}
	user := &tandem.User{Head: head("u1"), Account: "1001", Extension: "201", Numbers: []string{"+4930201"}}
	// Devices come before their user here, as a batch may have them.
	d.Apply([]tandem.Change{put(alice), put(desk), put(other), put(user)})

	ring := func(account, user string) []string {
		ids := []string{}
		for _, v := range d.Ring(account, user) {
			ids = append(ids, v.ID)
		}
		return ids
	}
	check := func(account, user string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(append([]string{}, want...), ring(account, user)); diff != "" {
			t.Errorf("Ring(%s, %s): %s", account, user, diff)
		}
	}
	check("1001", "alice", "d1")
	check("1002", "alice", "d3")
	check("1001", "201", "d1", "d2")
	check("1001", "+4930201", "d1", "d2")
	check("1002", "201")
	check("1002", "+4930201")
	check("1001", "4930201")
	check("1001", "")

	v := d.Device("1001", "alice")
	for _, alg := range []tandem.DigestAlgorithm{tandem.SHA512_256, tandem.SHA256, tandem.MD5, "none"} {
		if got := string(v.AppendHA1(nil, alg)); got != ha1.Of(alg) {
			t.Errorf("AppendHA1(%s) = %q, want %q", alg, got, ha1.Of(alg))
		}
	}

	moved := *desk
	moved.User, moved.Username = "", "lobby"
	d.Apply([]tandem.Change{put(&moved)})
	check("1001", "201", "d1")
	check("1001", "desk")
	check("1001", "lobby", "d2")
	if u := d.User("u1"); u == nil || u.Extension != "201" || !slices.Equal(u.Numbers(), []string{"+4930201"}) {
		t.Errorf("User = %+v", u)
	}
	renamed := *user
	renamed.Extension, renamed.Numbers = "202", nil
	d.Apply([]tandem.Change{put(&renamed)})
	check("1001", "201")
	check("1001", "202", "d1")
	check("1001", "+4930201")
	d.Apply([]tandem.Change{gone(tandem.KindUser, "u1"), gone(tandem.KindDevice, "d1"), gone(tandem.KindDevice, "d1")})
	check("1001", "202")
	if d.DeviceByID("d1") != nil || d.User("u1") != nil {
		t.Error("a deleted device or user is found")
	}
	if n := d.Counts()[tandem.KindUser]; n != 0 {
		t.Errorf("%d users are left, want 0", n)
	}
}

func TestPeer(t *testing.T) {
	d := example()
	prefix := netip.MustParsePrefix
	peer := func(id, listener string, ports []uint16, networks ...netip.Prefix) *tandem.Peer {
		return &tandem.Peer{Head: head(id), Role: tandem.PeerCore, Listener: listener, Ports: ports, Networks: networks}
	}
	wide := peer("wide", "core", nil, prefix("10.0.0.0/8"), prefix("2001:db8::/32"))
	d.Apply([]tandem.Change{
		put(wide),
		put(peer("narrow", "core", nil, prefix("10.1.0.0/16"))),
		put(peer("p5070", "core", []uint16{5070}, prefix("10.1.0.0/16"))),
		put(peer("only5080", "core", []uint16{5080}, prefix("10.1.2.3/32"))),
		put(peer("access", "access", nil, prefix("10.9.0.0/16"))),
	})
	cases := []struct{ name, listener, source, want string }{
		{"wide", "core", "10.2.0.1:5060", "wide"},
		{"IPv6", "core", "[2001:db8::1]:5060", "wide"},
		{"mapped IPv4", "core", "[::ffff:10.2.0.1]:5060", "wide"},
		{"longest first", "core", "10.1.0.1:5060", "narrow"},
		{"its port first", "core", "10.1.0.1:5070", "p5070"},
		{"port of the longest", "core", "10.1.2.3:5080", "only5080"},
		{"other port falls to the next", "core", "10.1.2.3:5060", "narrow"},
		{"outside", "core", "11.0.0.1:5060", ""},
		{"not on this listener", "access", "10.1.0.1:5060", ""},
		{"its own listener", "access", "10.9.0.1:5060", "access"},
		{"no such listener", "", "10.1.0.1:5060", ""},
	}
	check := func(listener, source, want string) {
		t.Helper()
		got := ""
		if p := d.Peer(listener, netip.MustParseAddrPort(source)); p != nil {
			got = p.ID
		}
		if got != want {
			t.Errorf("Peer(%s, %s) = %q, want %q", listener, source, got, want)
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { check(c.listener, c.source, c.want) })
	}
	if d.Peer("core", netip.AddrPort{}) != nil {
		t.Error("no address is a peer")
	}
	moved := *wide
	moved.Networks = []netip.Prefix{prefix("11.0.0.0/8")}
	d.Apply([]tandem.Change{put(&moved), gone(tandem.KindPeer, "p5070")})
	check("core", "10.2.0.1:5060", "")
	check("core", "11.0.0.1:5060", "wide")
	check("core", "10.1.0.1:5070", "narrow")
	moved.Listener = "access"
	again := moved
	again.Listener = "core2"
	d.Apply([]tandem.Change{put(&again)})
	check("core2", "11.0.0.1:5060", "wide")
}

func TestAccountByCarrier(t *testing.T) {
	d := example()
	owner := account("1001", label("abc", tandem.LabelCurrent))
	owner.Numbers = []string{"+4930111", "+4930222"}
	carrier := &tandem.Peer{Head: head("c1"), Role: tandem.PeerCarrier, Listener: "core", Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Numbers: []tandem.NumberRule{{Prefix: "+49", Account: "1001"}, {Prefix: "+4930", Account: "1002"}, {Prefix: "+4930222", Account: "1002"}}}
	d.Apply([]tandem.Change{put(owner), put(carrier)})
	cases := []struct{ number, want string }{
		{"+4989", "1001"},
		{"+49301", "1002"},
		{"+4930", "1002"},
		{"+4930111", "1001"}, // its holder before a shorter rule
		{"+4930222", "1002"}, // a rule for the whole number before its holder
		{"+33", ""},
		{"", ""},
	}
	for _, c := range cases {
		if got := accountID(d.AccountByCarrier(carrier, c.number)); got != c.want {
			t.Errorf("AccountByCarrier(%s) = %q, want %q", c.number, got, c.want)
		}
	}
	plain := &tandem.Peer{Head: head("c2")}
	if got := accountID(d.AccountByCarrier(plain, "+4930111")); got != "1001" {
		t.Errorf("a carrier without rules: %q, want 1001", got)
	}
}

func TestHosts(t *testing.T) {
	d := example()
	ip := netip.MustParseAddr("127.0.0.11")
	n1 := &tandem.Node{Head: head("n1"), Cluster: "c1", Addresses: []netip.Addr{ip}, Ports: tandem.Ports{UDP: 5060}}
	n2 := &tandem.Node{Head: head("n2"), Cluster: "c1", Addresses: []netip.Addr{ip}, Ports: tandem.Ports{UDP: 5070}}
	d.Apply([]tandem.Change{put(n1)})
	check := func(addr, want string) {
		t.Helper()
		got := ""
		if n := d.NodeAt(netip.MustParseAddrPort(addr)); n != nil {
			got = n.ID
		}
		if got != want {
			t.Errorf("NodeAt(%s) = %q, want %q", addr, got, want)
		}
	}
	check("127.0.0.11:39999", "n1")
	d.Apply([]tandem.Change{put(n2)})
	check("127.0.0.11:5060", "n1")
	check("127.0.0.11:5070", "n2")
	check("[::ffff:127.0.0.11]:5070", "n2")
	check("127.0.0.11:39999", "")
	check("127.0.0.12:5060", "")
	if n := d.NodeByHash(HashOf("n2")); n == nil || n.ID != "n2" {
		t.Errorf("NodeByHash = %v", n)
	}
	d.Apply([]tandem.Change{gone(tandem.KindNode, "n1")})
	check("127.0.0.11:39999", "n2")
	if d.Node("n1") != nil {
		t.Error("a deleted node is found")
	}
	if g := d.Group("g1"); g == nil || g.Cluster != "c1" || d.Group("g2") != nil {
		t.Errorf("Group = %v", g)
	}
	if got := d.ServiceZone("voice.example.net"); got != "svc.voice.example.net" {
		t.Errorf("ServiceZone = %q", got)
	}
}

func TestIsOurs(t *testing.T) {
	d := example()
	for host, want := range map[string]bool{
		"voice.example.net":               true,
		"nobody.VOICE.example.net.":       true,
		"a.b.voice.example.net":           true,
		"invite.1.svc.voice.example.net":  true,
		"192.0.2.5":                       true,
		"[2001:db8::5]":                   true,
		"2001:db8::5":                     true,
		"::ffff:192.0.2.5":                true,
		"192.0.2.6":                       false,
		"www.example.net":                 false,
		"example.net":                     false,
		"othervoice.example.net":          false,
		"voice.example.net.evil.example":  false,
		"":                                false,
		"999.999.999.999":                 false,
		strings.Repeat("a.", 200) + "net": false,
	} {
		if got := d.IsOurs(host); got != want {
			t.Errorf("IsOurs(%q) = %v, want %v", host, got, want)
		}
	}
	d.Apply([]tandem.Change{gone(tandem.KindEdge, "e1")})
	if d.IsOurs("192.0.2.5") || d.Edge("e1") != nil {
		t.Error("a deleted edge's address is ours")
	}
}

// TestReaders looks up while one goroutine applies; run it with -race.
func TestReaders(t *testing.T) {
	d := example()
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if a, _ := d.AccountByHost("def.voice.example.net"); a == nil {
					t.Error("an unchanged account was lost")
					return
				}
				d.AccountByHost("flip.voice.example.net")
				d.Ring("1001", "201")
				d.Peer("core", netip.MustParseAddrPort("10.0.0.1:5060"))
			}
		})
	}
	flip := account("1001", label("flip", tandem.LabelCurrent))
	flop := account("1001", label("flop", tandem.LabelCurrent))
	user := &tandem.User{Head: head("u1"), Account: "1001", Extension: "201"}
	device := &tandem.Device{Head: head("d1"), Account: "1001", User: "u1", Username: "x"}
	peer := &tandem.Peer{Head: head("p1"), Listener: "core", Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for range 300 {
		d.Apply([]tandem.Change{put(flip), put(user), put(device), put(peer)})
		d.Apply([]tandem.Change{gone(tandem.KindDevice, "d1"), gone(tandem.KindUser, "u1"), gone(tandem.KindPeer, "p1"), put(flop)})
	}
	close(done)
	readers.Wait()
}

// FuzzHost holds that case and a trailing dot never matter, whatever the host.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"abc.voice.example.net", "ABC.voice.example.NET.", "..", "[::1]", "1.2.3.4", strings.Repeat("a", 254)} {
		f.Add(s)
	}
	d := example()
	f.Fuzz(func(t *testing.T, host string) {
		a, role := d.AccountByHost(host)
		if a != nil {
			if name := strings.TrimSuffix(strings.ToLower(host), "."); !strings.HasSuffix(name, ".voice.example.net") {
				t.Errorf("AccountByHost(%q) = %s, %s", host, a.ID, role)
			}
			if !d.IsOurs(host) {
				t.Errorf("IsOurs(%q) = false for an account's name", host)
			}
		}
		if !strings.HasSuffix(host, ".") && isASCII(host) {
			b, _ := d.AccountByHost(strings.ToUpper(host) + ".")
			if a != b {
				t.Errorf("AccountByHost(%q) depends on case or dot", host)
			}
		}
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 127 }) < 0
}
