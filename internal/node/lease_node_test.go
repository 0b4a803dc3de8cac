package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// TestLeasesConfigured runs two nodes from their files: each says how leases stand; over a restart of
// the grantor the other finds it again, and what a third one held before, which does not come back,
// stays counted. Twin: a node whose certificate another authority made is not answered.
func TestLeasesConfigured(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	vouch(t, dir, "edge1.test", "edge2.test")
	vouch(t, other, "edge2.test")
	config := func(name, leases string) *Config {
		return configure(t, t.TempDir(), fmt.Sprintf("data: data\ncontrol: {socket: sock}\nlb:\n  leases: {%s, ca: %s/ca.crt, certificate: %s.crt, key: %[3]s.key}\n", leases, dir, name))
	}
	cfg := config(dir+"/edge1.test", `serve: "127.0.0.1:0"`)
	one := start(t, cfg)
	one.apply(`{"kind":"Cluster","id":"c1"}` + "\n" + `{"kind":"Group","id":"g","permitted":10}`)
	wire := newLink(t, one.Addrs()["leases"][0])
	two := start(t, config(dir+"/edge2.test", `from: "https://`+wire.at()+`"`))
	defer two.stop()
	stranger := start(t, config(other+"/edge2.test", `from: "https://`+wire.at()+`"`))
	defer stranger.stop()
	status := func(a *appliance) control.Balance {
		t.Helper()
		client := control.NewClient(a.cfg.Control.Socket)
		defer client.Close()
		found, err := client.Balance(t.Context(), control.BalanceOf{})
		if err != nil || found.Leases == nil {
			t.Fatalf("balance: %+v, %v", found, err)
		}
		return found
	}
	linked := func() bool { return status(two).Leases.Linked }
	within(t, 5*time.Second, "the second is answered", linked)
	if s := status(two).Leases; !strings.HasPrefix(s.Grantor, "https://127.0.0.1:") {
		t.Errorf("the second: %+v", s)
	}
	if s := status(stranger).Leases; s.Linked {
		t.Errorf("the stranger: %+v, want no answer", s)
	}
	lease := &tandem.Lease{Head: tandem.Head{ID: "edge3.test/g"}, Instance: "edge3.test", Group: "g", Held: 4}
	edit := tandem.Edit{Kind: tandem.KindLease, ID: lease.ID, Object: lease}
	if _, err := one.store.Append(t.Context(), tandem.Principal{Admin: true}, []tandem.Edit{edit}); err != nil {
		t.Fatal(err)
	}
	wire.cut()
	one.stop()
	one = start(t, cfg)
	defer one.stop()
	within(t, 5*time.Second, "the second sees that nobody answers", func() bool { return !linked() })
	wire.lead(one.Addrs()["leases"][0])
	wire.heal()
	within(t, 10*time.Second, "the second is answered again", linked)
	if s := status(one); len(s.Leases.Lent) != 1 || s.Leases.Lent[0].Held != 4 || len(s.Groups) != 1 || len(s.Groups[0].Lent) != 1 {
		t.Errorf("the grantor: %+v of %+v, want 4 slots for edge3", s.Leases, s.Groups)
	}
}
