package store

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"tandem/internal/tandem"
)

var admin = tandem.Principal{Name: "test", Admin: true}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func put(o tandem.Object) tandem.Edit {
	return tandem.Edit{Kind: o.Kind(), ID: o.Header().ID, Object: o}
}

func remove(k tandem.Kind, id string) tandem.Edit { return tandem.Edit{Kind: k, ID: id} }

func head(id string) tandem.Head { return tandem.Head{ID: id} }

// ground is what accounts need: a cluster with a node, an edge, zones and a group.
func ground() []tandem.Edit {
	addr := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	return []tandem.Edit{
		put(&tandem.Cluster{Head: head("c1")}),
		put(&tandem.Node{Head: head("n1"), Cluster: "c1", Addresses: addr, Ports: tandem.Ports{UDP: 5060}}),
		put(&tandem.Edge{Head: head("e1"), Addresses: addr, Ports: tandem.Ports{UDP: 5060}}),
		put(&tandem.Zone{Head: head("svc.example.net"), Role: tandem.RoleService}),
		put(&tandem.Zone{Head: head("example.net"), Role: tandem.RoleAccounts, ServiceZone: "svc.example.net", Edges: []string{"e1"}}),
		put(&tandem.Group{Head: head("g1"), Cluster: "c1"}),
	}
}

func account(id string) *tandem.Account {
	return &tandem.Account{
		Head: head(id), Zone: "example.net", Group: "g1", Realm: "tandem-" + id,
		Labels: []tandem.Label{{Label: "label-" + id, Role: tandem.LabelCurrent}},
	}
}

func device(id, account string) *tandem.Device {
	return &tandem.Device{Head: head(id), Account: account, Username: "u-" + id}
}

func binding(n int) tandem.Binding {
	return tandem.Binding{
		Account: "1001", Device: fmt.Sprintf("d%d", n), AOR: "10", Contact: fmt.Sprintf("sip:10@192.0.2.7:%d", 1024+n%60000),
		Source: netip.MustParseAddrPort("192.0.2.7:5060"), Transport: tandem.UDP, Q: 500, CallID: "abc@phone", CSeq: uint32(n),
		Expires: time.Unix(1_800_000_000, 123).UTC(), Updated: time.Unix(1_700_000_000, 0).UTC(), Path: []string{"<sip:p;lr>"},
	}
}

func openAt(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, quiet())
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func openMemory(t testing.TB) *Store {
	t.Helper()
	s, err := OpenMemory(quiet())
	if err != nil {
		t.Fatalf("OpenMemory: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustAppend(t testing.TB, s *Store, edits ...tandem.Edit) tandem.Revision {
	t.Helper()
	last, err := s.Append(context.Background(), admin, edits)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return last
}

// fill lays the ground and n accounts on it.
func fill(t testing.TB, s *Store, n int) {
	t.Helper()
	edits := ground()
	for i := range n {
		if edits = append(edits, put(account(fmt.Sprintf("a%d", i)))); len(edits) >= 1000 || i == n-1 {
			mustAppend(t, s, edits...)
			edits = nil
		}
	}
}

func trunk(id, account string) *tandem.Peer {
	return &tandem.Peer{
		Head: head(id), Role: tandem.PeerTrunk, Account: account, Listener: "l",
		Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
	}
}
