package tandem_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// good returns a valid object of each kind that people apply.
func good() map[tandem.Kind]tandem.Object {
	head := func(id string) tandem.Head { return tandem.Head{ID: id} }
	return map[tandem.Kind]tandem.Object{
		tandem.KindZone:    &tandem.Zone{Head: head("voice.example.net"), Role: tandem.RoleAccounts, ServiceZone: "svc.voice.example.net"},
		tandem.KindCluster: &tandem.Cluster{Head: head("east")},
		tandem.KindNode:    &tandem.Node{Head: head("n1"), Cluster: "east", Addresses: []netip.Addr{addr("192.0.2.1")}, Ports: tandem.Ports{UDP: 5060}},
		tandem.KindEdge:    &tandem.Edge{Head: head("e1"), Addresses: []netip.Addr{addr("2001:db8::1")}, Ports: tandem.Ports{TCP: 5060}},
		tandem.KindGroup:   &tandem.Group{Head: head("g1"), Cluster: "east"},
		tandem.KindAccount: &tandem.Account{Head: head("1001"), Zone: "voice.example.net", Group: "g1"},
		tandem.KindPeer:    &tandem.Peer{Head: head("core"), Role: tandem.PeerCore, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Listener: "public"},
		tandem.KindUser:    &tandem.User{Head: head("alice"), Account: "1001", Extension: "200"},
		tandem.KindDevice:  &tandem.Device{Head: head("d1"), Account: "1001", Username: "alice"},
		tandem.KindTSIGKey: &tandem.TSIGKey{Head: head("k1.example"), Secret: "c2VjcmV0LXNlY3JldA=="},
		tandem.KindView:    &tandem.View{Head: head("inside"), Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Keys: []string{"k1.example"}},
		tandem.KindRecordSet: &tandem.RecordSet{
			Head: head("www.voice.example.net:TXT:inside"), Zone: "voice.example.net", Name: "www.voice.example.net", Type: "TXT",
			Records: []string{`"hello"`}, View: "inside", Account: "1001",
		},
		tandem.KindNumberRange: &tandem.NumberRange{
			Head: head("berlin"), Prefix: "+4930123", Account: "1001", Least: 9, Most: 12,
			Service: []tandem.ENUMService{{Service: "E2U+sip", Regexp: `!^(.*)$!sip:\1@voice.example.net!`}},
		},
	}
}

func TestGoodObjectsAreValid(t *testing.T) {
	objects := good()
	for _, k := range tandem.Kinds() {
		o := objects[k]
		if o == nil {
			t.Fatalf("no example of %s", k)
		}
		if o.Kind() != k || tandem.New(k).Kind() != k {
			t.Errorf("%T says it is a %s, want %s", o, o.Kind(), k)
		}
		if err := o.Validate(); err != nil {
			t.Errorf("%s: %v, want valid", k, err)
		}
	}
	if tandem.New("Toaster") != nil {
		t.Error("New of an unknown kind is not nil")
	}
}

func TestKindsStandAfterWhatTheyReferTo(t *testing.T) {
	place := make(map[tandem.Kind]int)
	for i, k := range tandem.Kinds() {
		place[k] = i
	}
	for k, o := range good() {
		for _, r := range o.Refs() {
			if place[r.Kind] > place[k] {
				t.Errorf("%s refers to %s, which is applied later", k, r.Kind)
			}
		}
	}
}

func TestValidateNamesTheField(t *testing.T) {
	tests := []struct {
		name  string
		edit  func(o map[tandem.Kind]tandem.Object)
		kind  tandem.Kind
		field string // of the only fault
	}{
		{"zone with a trailing dot", func(o map[tandem.Kind]tandem.Object) { o["Zone"].(*tandem.Zone).ID = "example.net." }, "Zone", "id"},
		{"zone in capitals", func(o map[tandem.Kind]tandem.Object) { o["Zone"].(*tandem.Zone).ID = "Example.net" }, "Zone", "id"},
		{"zone without service zone", func(o map[tandem.Kind]tandem.Object) { o["Zone"].(*tandem.Zone).ServiceZone = "" }, "Zone", "serviceZone"},
		{"zone serving itself", func(o map[tandem.Kind]tandem.Object) { o["Zone"].(*tandem.Zone).ServiceZone = "voice.example.net" }, "Zone", "serviceZone"},
		{"zone with a strange role", func(o map[tandem.Kind]tandem.Object) { z := o["Zone"].(*tandem.Zone); z.Role = "x" }, "Zone", "role"},
		{"name server inside without address", func(o map[tandem.Kind]tandem.Object) {
			o["Zone"].(*tandem.Zone).NameServers = []tandem.NameServer{{Name: "ns.voice.example.net"}}
		}, "Zone", "nameServers[0].addresses"},
		{"network with host bits", func(o map[tandem.Kind]tandem.Object) {
			o["Zone"].(*tandem.Zone).Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}
		}, "Zone", "networks[0]"},
		{"TTL of a month", func(o map[tandem.Kind]tandem.Object) { o["Zone"].(*tandem.Zone).TTL.SRV = 30 * 86400 }, "Zone", "ttl"},
		{"node without cluster", func(o map[tandem.Kind]tandem.Object) { o["Node"].(*tandem.Node).Cluster = "" }, "Node", "cluster"},
		{"node at the multicast address", func(o map[tandem.Kind]tandem.Object) {
			o["Node"].(*tandem.Node).Addresses = []netip.Addr{addr("224.0.0.1")}
		}, "Node", "addresses[0]"},
		{"node without ports", func(o map[tandem.Kind]tandem.Object) { o["Node"].(*tandem.Node).Ports = tandem.Ports{} }, "Node", "ports"},
		{"node asleep", func(o map[tandem.Kind]tandem.Object) { o["Node"].(*tandem.Node).State = "asleep" }, "Node", "state"},
		{"edge nowhere", func(o map[tandem.Kind]tandem.Object) { o["Edge"].(*tandem.Edge).Addresses = nil }, "Edge", "addresses"},
		{"cluster that holds nothing", func(o map[tandem.Kind]tandem.Object) { o["Cluster"].(*tandem.Cluster).Capacity = new(int) }, "Cluster", "capacity"},
		{"group that expects nothing", func(o map[tandem.Kind]tandem.Object) { o["Group"].(*tandem.Group).Expected = new(int) }, "Group", "expected"},
		{"group that is permitted less than nothing", func(o map[tandem.Kind]tandem.Object) {
			less := -1
			o["Group"].(*tandem.Group).Permitted = &less
		}, "Group", "permitted"},
		{"group that wants more than perfect", func(o map[tandem.Kind]tandem.Object) { o["Group"].(*tandem.Group).MinQuality = 94 }, "Group", "minQuality"},
		{"account id with a dot", func(o map[tandem.Kind]tandem.Object) { o["Account"].(*tandem.Account).ID = "10.01" }, "Account", "id"},
		{"account id of the service zone's own", func(o map[tandem.Kind]tandem.Object) { o["Account"].(*tandem.Account).ID = "node" }, "Account", "id"},
		{"label with a hyphen first", func(o map[tandem.Kind]tandem.Object) {
			o["Account"].(*tandem.Account).Labels = []tandem.Label{{Label: "-x"}}
		}, "Account", "labels[0].label"},
		{"label of the zone's own", func(o map[tandem.Kind]tandem.Object) {
			o["Account"].(*tandem.Account).Labels = []tandem.Label{{Label: "edge"}}
		}, "Account", "labels[0].label"},
		{"two current labels", func(o map[tandem.Kind]tandem.Object) {
			o["Account"].(*tandem.Account).Labels = []tandem.Label{{"a", "current"}, {"b", "current"}}
		}, "Account", "labels"},
		{"realm with a quote", func(o map[tandem.Kind]tandem.Object) { o["Account"].(*tandem.Account).Realm = `a"b` }, "Account", "realm"},
		{"number without plus", func(o map[tandem.Kind]tandem.Object) { o["Account"].(*tandem.Account).Numbers = []string{"3312345"} }, "Account", "numbers[0]"},
		{"time zone that is a path", func(o map[tandem.Kind]tandem.Object) { o["Account"].(*tandem.Account).TimeZone = "../Moon" }, "Account", "timeZone"},
		{"route to an address", func(o map[tandem.Kind]tandem.Object) {
			o["Account"].(*tandem.Account).Routes = map[tandem.RequestType][]string{"invite": {"sip:x"}}
		}, "Account", "routes.invite[0]"},
		{"target of nothing", func(o map[tandem.Kind]tandem.Object) {
			o["Account"].(*tandem.Account).Targets = map[string]tandem.TargetSpec{"invite": {}}
		}, "Account", "targets.invite"},
		{"rule for everything", func(o map[tandem.Kind]tandem.Object) {
			o["Account"].(*tandem.Account).Rules = []tandem.Rule{{Type: "voicemail"}}
		}, "Account", "rules[0]"},
		{"rule that makes emergencies", func(o map[tandem.Kind]tandem.Object) {
			o["Account"].(*tandem.Account).Rules = []tandem.Rule{{User: "112*", Type: "emergency"}}
		}, "Account", "rules[0].type"},
		{"digest by ROT13", func(o map[tandem.Kind]tandem.Object) {
			o["Account"].(*tandem.Account).Digest = []tandem.DigestAlgorithm{"ROT13"}
		}, "Account", "digest[0]"},
		{"emergency number with a plus", func(o map[tandem.Kind]tandem.Object) {
			o["Account"].(*tandem.Account).Emergency = []tandem.EmergencyNumber{{Dial: "+112", URI: "urn:service:sos"}}
		}, "Account", "emergency[0].dial"},
		{"emergency to a web page", func(o map[tandem.Kind]tandem.Object) {
			o["Account"].(*tandem.Account).Emergency = []tandem.EmergencyNumber{{Dial: "112", URI: "https://x"}}
		}, "Account", "emergency[0].uri"},
		{"peer that is everybody", func(o map[tandem.Kind]tandem.Object) {
			o["Peer"].(*tandem.Peer).Networks = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
		}, "Peer", "networks[0]"},
		{"peer on no listener", func(o map[tandem.Kind]tandem.Object) { o["Peer"].(*tandem.Peer).Listener = "" }, "Peer", "listener"},
		{"trunk of nobody", func(o map[tandem.Kind]tandem.Object) { o["Peer"].(*tandem.Peer).Role = "trunk" }, "Peer", "account"},
		{"core of somebody", func(o map[tandem.Kind]tandem.Object) { o["Peer"].(*tandem.Peer).Account = "1001" }, "Peer", "account"},
		{"user of nobody", func(o map[tandem.Kind]tandem.Object) { o["User"].(*tandem.User).Account = "" }, "User", "account"},
		{"extension with a space", func(o map[tandem.Kind]tandem.Object) { o["User"].(*tandem.User).Extension = "2 0" }, "User", "extension"},
		{"device without user name", func(o map[tandem.Kind]tandem.Object) { o["Device"].(*tandem.Device).Username = "" }, "Device", "username"},
		{"MAC with colons", func(o map[tandem.Kind]tandem.Object) { o["Device"].(*tandem.Device).MAC = "00:15:65:aa:bb:cc" }, "Device", "mac"},
		{"short hash", func(o map[tandem.Kind]tandem.Object) { o["Device"].(*tandem.Device).HA1.MD5 = "abc" }, "Device", "ha1.md5"},
		{"secret with a line end", func(o map[tandem.Kind]tandem.Object) { o["Device"].(*tandem.Device).Secret = "a\nb" }, "Device", "secret"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			objects := good()
			tt.edit(objects)
			var faults tandem.FieldErrors
			if !errors.As(objects[tt.kind].Validate(), &faults) || len(faults) != 1 || faults[0].Field != tt.field {
				t.Errorf("Validate = %v, want one fault in %s", faults, tt.field)
			}
		})
	}
}

func TestAccountComplete(t *testing.T) {
	a := &tandem.Account{Head: tandem.Head{ID: "1001"}, Zone: "voice.example.net", Group: "g"}
	if err := a.Complete(nil); err != nil {
		t.Fatal(err)
	}
	if len(a.Current()) != 16 || a.Realm != "tandem-1001" {
		t.Errorf("a new account has label %q and realm %q, want 16 random letters and tandem-1001", a.Current(), a.Realm)
	}

	same := &tandem.Account{Head: a.Head, Zone: a.Zone, Group: "g"}
	if err := same.Complete(a); err != nil || !cmp.Equal(same, a) {
		t.Errorf("applying the same document again changes it (%v):\n%s", err, cmp.Diff(a, same))
	}

	renamed := &tandem.Account{Head: a.Head, Zone: a.Zone, Labels: []tandem.Label{{Label: "acme"}}}
	if err := renamed.Complete(a); err != nil {
		t.Fatal(err)
	}
	want := []tandem.Label{{"acme", tandem.LabelCurrent}, {a.Current(), tandem.LabelRetired}}
	if diff := cmp.Diff(want, renamed.Labels); diff != "" {
		t.Errorf("labels after a change of name (-want +got):\n%s", diff)
	}
	if renamed.Realm != a.Realm {
		t.Errorf("a change of name changed the realm to %q", renamed.Realm)
	}

	other := &tandem.Account{Head: a.Head, Realm: "else"}
	if err := other.Complete(a); err == nil || !strings.Contains(err.Error(), "realm") {
		t.Errorf("a change of realm gave %v, want a refusal", err)
	}
}

func TestRoute(t *testing.T) {
	a := &tandem.Account{Head: tandem.Head{ID: "1001"}, Routes: map[tandem.RequestType][]string{
		"invite": {"invite", "spare", "invite.2002.svc.example.net"},
	}}
	tests := []struct {
		t    tandem.RequestType
		want []string
	}{
		{"invite", []string{"invite.1001.svc.example.net", "spare.1001.svc.example.net", "invite.2002.svc.example.net"}},
		{"message", []string{"message.1001.svc.example.net"}},
	}
	for _, tt := range tests {
		if got := a.Route(tt.t, "svc.example.net"); !cmp.Equal(got, tt.want) {
			t.Errorf("Route(%s) = %v, want %v", tt.t, got, tt.want)
		}
	}
}

func TestHA1(t *testing.T) {
	// RFC 7616 section 3.9.1: user Mufasa, realm http-auth@example.org, password Circle of Life.
	got := tandem.NewHA1("Mufasa", "http-auth@example.org", "Circle of Life", []tandem.DigestAlgorithm{tandem.MD5})
	if want := "3d78807defe7de2157e2b0b6573a855f"; got.MD5 != want || got.SHA256 != "" {
		t.Errorf("NewHA1 = %+v, want MD5 %s and nothing else", got, want)
	}
	all := tandem.NewHA1("u", "r", "p", []tandem.DigestAlgorithm{tandem.SHA512_256, tandem.SHA256, tandem.MD5})
	d := good()[tandem.KindDevice].(*tandem.Device)
	d.HA1 = all
	if err := d.Validate(); err != nil {
		t.Errorf("a device with computed hashes: %v", err)
	}
	if shown := d.Redact(); shown.HA1 != (tandem.HA1{}) || d.HA1 != all {
		t.Error("Redact leaves the hashes in, or takes them from the original")
	}
}

func TestMaySee(t *testing.T) {
	tests := []struct {
		p     tandem.Principal
		owner string
		want  bool
	}{
		{tandem.Principal{Admin: true}, "", true},
		{tandem.Principal{Admin: true}, "1001", true},
		{tandem.Principal{Account: "1001"}, "1001", true},
		{tandem.Principal{Account: "1001"}, "1002", false},
		{tandem.Principal{Account: "1001"}, "", false},
		{tandem.Principal{}, "", false},
	}
	for _, tt := range tests {
		if got := tt.p.MaySee(tt.owner); got != tt.want {
			t.Errorf("%+v.MaySee(%q) = %v, want %v", tt.p, tt.owner, got, tt.want)
		}
	}
}

// A zone hides what an account of the zone above would have at its apex, so both claim the name.
func TestZoneAndLabelClaimTheSameName(t *testing.T) {
	zone := &tandem.Zone{Head: tandem.Head{ID: "svc.voice.example.net"}}
	account := &tandem.Account{Zone: "voice.example.net", Labels: []tandem.Label{{Label: "svc"}}}
	a, b := zone.Claims()[0], account.Claims()[0]
	if a.Space != b.Space || a.Name != b.Name {
		t.Errorf("zone claims %v, label %v, want the same name in the same space", a, b)
	}
}
