package tests

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// TestUpdateReachesSecondaries: a dynamic update of a zone that secondaries hold, at its own names and beside
// an account's, reaches NSD, Knot and BIND as a difference; they end with the very zone that tandem has.
func TestUpdateReachesSecondaries(t *testing.T) {
	s := startShared(t)
	s.apply("{kind: TSIGKey, id: ops, secret: " + updateSecret() + "}")
	ours := s.addr(1) + ":5300"
	for _, p := range secondaryPeers(s.addr(1), transferSecret, true) {
		t.Run(p.name, func(t *testing.T) {
			zone := p.name + ".test"
			document := func(notify string) string {
				text := sharedZone(zone, "{key: "+transferKey+notify+"}")
				return strings.Replace(text, "role: accounts,", "role: accounts, updates: [{key: ops}],", 1)
			}
			s.apply(document("") + accountsOf(zone, 30, "e1"))
			addr := p.start(t, []*hardZone{{id: zone}})
			s.apply(document(", notify: [\"" + addr + "\"]"))
			follow := func(what string) {
				t.Helper()
				want := serialAt(ours, zone)
				eventually(t, 10*time.Second, p.name+" follows "+what, func() bool { return serialAt(addr, zone) == want })
			}
			follow("being told")
			before := s.metric("tandem_dnsd_transfers_out_total", `form="whole"`)
			for _, c := range []struct{ script, name, rrtype, want string }{
				{"update add new.ZONE 60 TXT x\nupdate add new.ZONE 60 A 192.0.2.9\nupdate add deep.er.ZONE 60 TXT y", "new.ZONE", "A", "192.0.2.9"},
				{"update delete www.ZONE A", "www.ZONE", "A", ""},
				{"update add _acme-challenge.c3.ZONE 60 TXT token", "_acme-challenge.c3.ZONE", "TXT", `"token"`},
				{"update delete new.ZONE\nupdate add www.ZONE 60 AAAA 2001:db8::9", "www.ZONE", "AAAA", "2001:db8::9"},
			} {
				in := func(text string) string { return strings.ReplaceAll(text, "ZONE", zone) }
				if got := s.nsupdate("knsupdate", "ops", fmt.Sprintf("zone %s\n%s", zone, in(c.script))); got != "NOERROR" {
					t.Fatalf("%s: %s", c.script, got)
				}
				follow(c.script)
				if got := strings.Join(datas(digAt(t, addr, in(c.name), c.rrtype).answer), ","); got != c.want {
					t.Errorf("after %s: %s answers %s %s with %q, want %q", c.script, p.name, c.name, c.rrtype, got, c.want)
				}
			}
			if after := s.metric("tandem_dnsd_transfers_out_total", `form="whole"`); after != before {
				t.Errorf("%v transfers of the whole zone meanwhile, want none", after-before)
			}
			sameZone(t, "after updates", axfrFrom(t, addr, zone, false), axfrFrom(t, ours, zone, true))
			if got := s.nsupdate("knsupdate", "", "zone "+zone+"\nupdate add no."+zone+" 60 TXT x"); got != "REFUSED" {
				t.Errorf("an update that nobody signed: %s", got)
			}
		})
	}
}

// digAt asks the server at addr.
func digAt(t *testing.T, addr, name, rrtype string) answer {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return readDig(t, "dig", []string{"@" + host, "-p", port, "+norec", "+time=2", "+tries=1", name, rrtype})
}
