package tests

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// D1: two accounts' names are both answered authoritatively, differently, as the management API
// lists them. The names' connection points differ because the accounts' edges do.
func TestD1(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.edit("Account", "1002", map[string]any{"edges": []string{"edge2"}})
	var account struct {
		Labels []struct{ Label, Role string }
		Zone   string
		Edges  []string
	}
	targets := make(map[string]string)
	for id, edge := range map[string]int{"1001": 1, "1002": 2} {
		s.object("Account", id, &account)
		name := account.Labels[0].Label + "." + account.Zone
		reply := s.dig(name, "NAPTR")
		if reply.status != "NOERROR" || !reply.hasFlag("aa") || len(reply.data("NAPTR")) == 0 {
			t.Errorf("dig %s NAPTR: %s, flags %v, want records with aa", name, reply.status, reply.flags)
		}
		target, passed := s.chain(name, "SIP+D2U")
		if want := s.addr(edge) + ":5060"; target != want {
			t.Errorf("%s leads to %q by %v, want its edge's %s", name, target, passed, want)
		}
		if len(passed) > 0 && !strings.Contains(passed[0], account.Labels[0].Label) {
			t.Errorf("%s passes %q, want the account's own SRV name", name, passed[0])
		}
		targets[id] = target
	}
	if targets["1001"] == targets["1002"] {
		t.Errorf("both accounts lead to %s, want different answers", targets["1001"])
	}
	// Twin: a label that no account has does not exist.
	if reply := s.dig("charlie.voice.example.net", "NAPTR"); reply.status != "NXDOMAIN" {
		t.Errorf("dig of a label nobody has: %s, want NXDOMAIN", reply.status)
	}
}

// D2: a new account's name answers without a restart; once deleted it is NXDOMAIN with SOA.
func TestD2(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const name = "delta.voice.example.net"
	if reply := s.dig(name, "NAPTR"); reply.status != "NXDOMAIN" {
		t.Fatalf("before it is created: %s, want NXDOMAIN", reply.status)
	}
	s.apply(`{kind: Account, id: "1004", zone: voice.example.net, labels: [{label: delta}], group: gold}`)
	if target, _ := s.chain(name, "SIP+D2U"); target != s.addr(1)+":5060" {
		t.Errorf("created, it leads to %q, want %s", target, s.addr(1)+":5060")
	}
	s.must("delete", "Account", "1004", "--wait")
	reply := s.dig(name, "NAPTR")
	if reply.status != "NXDOMAIN" || !reply.hasFlag("aa") || len(reply.authority) != 1 || !strings.Contains(reply.authority[0], " SOA ") {
		t.Errorf("deleted: %s with authority %q, want NXDOMAIN with the SOA", reply.status, reply.authority)
	}
	// RFC 8020: nothing lies below a name that does not exist; RFC 2308: its SOA has the negative TTL.
	if below := s.dig("_sip._udp."+name, "SRV"); below.status != "NXDOMAIN" {
		t.Errorf("below it: %s, want NXDOMAIN", below.status)
	}
	if len(reply.authority) == 1 && !strings.HasPrefix(reply.authority[0], "voice.example.net. 30 IN SOA") {
		t.Errorf("authority %q, want the zone's SOA with TTL 30", reply.authority[0])
	}
	// Twin: the neighbour is untouched.
	if reply := s.dig("alpha.voice.example.net", "NAPTR"); reply.status != "NOERROR" {
		t.Errorf("another account's name: %s, want NOERROR", reply.status)
	}
}

// D7: the forwarding target is itself an account-based name, seen in dig and in a trace; repointing
// that record alone moves the next request.
func TestD7(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east, west := s.feature(8, "uas_any"), s.feature(10, "uas_any")
	const name = "message.1001.svc.voice.example.net"
	if target, passed := s.chain(name, "SIP+D2U"); target != s.addr(8)+":5060" {
		t.Errorf("%s leads to %q by %q, want the group's cluster at %s", name, target, passed, s.addr(8))
	}
	send := func() {
		t.Helper()
		s.phone(100, "uac_request", request{
			method: "MESSAGE", from: "alice@alpha.voice.example.net", to: "202@alpha.voice.example.net", password: "alice-secret",
		}).succeed()
	}
	send()
	if got := len(east.requests("MESSAGE")); got != 1 {
		t.Errorf("east1 got %d messages, want 1", got)
	}
	trace := s.must("dns", "trace", name)
	if !strings.Contains(trace, "east") {
		t.Errorf("tandem dns trace %s does not name the cluster:\n%s", name, trace)
	}
	routes := s.accountField("1001", "routes")
	s.must("account", "repoint", "1001", "message", "--cluster", "west")
	if target, _ := s.chain(name, "SIP+D2U"); target != s.addr(10)+":5060" {
		t.Errorf("repointed, %s leads to %q, want %s", name, target, s.addr(10))
	}
	send()
	if got := len(west.requests("MESSAGE")); got != 1 {
		t.Errorf("after the repointing west1 got %d messages, want 1", got)
	}
	// Twins: the server database and the inbound name are as before; another type did not move.
	if diff := cmp.Diff(routes, s.accountField("1001", "routes")); diff != "" {
		t.Errorf("routes changed with the target:\n%s", diff)
	}
	if target, _ := s.chain("invite.1001.svc.voice.example.net", "SIP+D2U"); target != s.addr(8)+":5060" {
		t.Errorf("the invite name moved too, to %q", target)
	}
	if target, _ := s.chain("message.1002.svc.voice.example.net", "SIP+D2U"); target != s.addr(10)+":5060" {
		t.Errorf("account 1002's name leads to %q, want %s as before", target, s.addr(10))
	}
	s.must("account", "repoint", "1001", "message", "--group")
	if target, _ := s.chain(name, "SIP+D2U"); target != s.addr(8)+":5060" {
		t.Errorf("its group's again, %s leads to %q, want %s", name, target, s.addr(8))
	}
}

// accountField returns one field of an account.
func (s *server) accountField(id, field string) any {
	s.t.Helper()
	document := make(map[string]any)
	s.object("Account", id, &document)
	return document[field]
}

// D13: the chain is the same over UDP, TCP and EDNS, by dig and by kdig; outside the zones REFUSED;
// times to live are short.
func TestD13(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	questions := [][2]string{
		{"alpha.voice.example.net", "NAPTR"},
		{"_sip._udp.alpha.voice.example.net", "SRV"},
		{"_sip._tcp.alpha.voice.example.net", "SRV"},
		{"edge1.edge.voice.example.net", "A"},
		{"alpha.voice.example.net", "A"},
		{"edge1.edge.voice.example.net", "AAAA"},
		{"invite.1001.svc.voice.example.net", "NAPTR"},
		{"_sip._udp.invite.1001.svc.voice.example.net", "SRV"},
		{"nobody.voice.example.net", "A"},
		{"voice.example.net", "SOA"},
		{"voice.example.net", "NS"},
	}
	for _, q := range questions {
		want := s.dig(q[0], q[1], "+noedns")
		slices.Sort(want.answer)
		if !want.hasFlag("aa") || want.hasFlag("ra") || want.hasFlag("tc") {
			t.Errorf("dig %s %s: flags %v, want aa and neither ra nor tc", q[0], q[1], want.flags)
		}
		for _, how := range [][]string{{"+tcp"}, {"+bufsize=1232"}, {"+bufsize=4096", "+nsid"}, {"+tcp", "+noedns"}} {
			got := s.dig(append([]string{q[0], q[1]}, how...)...)
			slices.Sort(got.answer)
			if diff := cmp.Diff([]any{want.status, want.answer}, []any{got.status, got.answer}); diff != "" {
				t.Errorf("dig %s %s %v differs from plain UDP:\n%s", q[0], q[1], how, diff)
			}
		}
		got := s.kdig(q[0], q[1])
		slices.Sort(got.answer)
		if diff := cmp.Diff([]any{want.status, want.answer}, []any{got.status, got.answer}); diff != "" {
			t.Errorf("kdig %s %s differs from dig:\n%s", q[0], q[1], diff)
		}
	}
	for kind, ttl := range map[string]string{"NAPTR": " 3600 ", "SRV": " 30 ", "A": " 60 "} {
		name := map[string]string{"NAPTR": "alpha.voice.example.net", "SRV": "_sip._udp.alpha.voice.example.net", "A": "edge1.edge.voice.example.net"}[kind]
		if reply := s.dig(name, kind); len(reply.answer) == 0 || !strings.Contains(reply.answer[0], ttl) {
			t.Errorf("dig %s %s = %q, want TTL%s", name, kind, reply.answer, ttl)
		}
	}
	s.edit("Account", "1001", map[string]any{"ttl": map[string]any{"srv": 7}})
	if reply := s.dig("_sip._udp.alpha.voice.example.net", "SRV"); len(reply.answer) == 0 || !strings.Contains(reply.answer[0], " 7 ") {
		t.Errorf("with its own TTL: %q, want 7", reply.answer)
	}
	for _, outside := range []string{"www.example.com", "example.net", "voice.example.net.evil.test"} {
		if reply := s.dig(outside, "A"); reply.status != "REFUSED" || reply.hasFlag("aa") || len(reply.authority) > 0 {
			t.Errorf("dig %s: %s, flags %v, authority %q, want REFUSED and nothing else", outside, reply.status, reply.flags, reply.authority)
		}
	}
	// The question comes back in the case it was asked in, and an existing name without the type is NODATA.
	if reply := s.dig("AlPhA.voice.example.NET", "NAPTR"); reply.status != "NOERROR" || !strings.Contains(reply.text, ";AlPhA.voice.example.NET.") {
		t.Errorf("mixed case: %s\n%s", reply.status, reply.text)
	}
	if reply := s.dig("alpha.voice.example.net", "MX"); reply.status != "NOERROR" || len(reply.answer) > 0 || len(reply.authority) != 1 {
		t.Errorf("MX of an account's name: %s, answer %q, authority %q, want NODATA with SOA", reply.status, reply.answer, reply.authority)
	}
	if reply := s.dig("alpha.voice.example.net", "ANY"); len(reply.answer) > 3 {
		t.Errorf("ANY over UDP has %d records, want it minimal (RFC 8482)", len(reply.answer))
	}
}

// The service zone is for the networks it lists.
func TestD13ServiceZoneIsPrivate(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const name = "invite.1001.svc.voice.example.net"
	if reply := s.dig("-b", s.addr(20), name, "NAPTR"); reply.status != "NOERROR" {
		t.Errorf("from a listed network: %s, want NOERROR", reply.status)
	}
	s.edit("Zone", "svc.voice.example.net", map[string]any{"networks": []string{s.addr(8) + "/29"}})
	if reply := s.dig("-b", s.addr(8), name, "NAPTR"); reply.status != "NOERROR" {
		t.Errorf("from the network left in the list: %s, want NOERROR", reply.status)
	}
	if reply := s.dig("-b", s.addr(20), name, "NAPTR"); reply.status != "REFUSED" || len(reply.answer)+len(reply.authority) > 0 {
		t.Errorf("from a network that is not listed: %s %q %q, want REFUSED", reply.status, reply.answer, reply.authority)
	}
}

// Plain zone text is answered as RFC 1034, 4592 and 8482 say.
func TestPlainZone(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(`
kind: Zone
id: rfc.test
role: plain
nameServers: [{name: ns.rfc.test, addresses: [NET.1]}]
records: |
  www      300 IN A     192.0.2.1
  www          IN AAAA  2001:db8::1
  alias        IN CNAME www
  chain        IN CNAME alias
  loop1        IN CNAME loop2
  loop2        IN CNAME loop1
  out          IN CNAME www.elsewhere.example.
  *.wild       IN TXT   "any"
  host.wild    IN A     192.0.2.2
  a.b.ent      IN A     192.0.2.3
  sub          IN NS    ns.sub
  ns.sub       IN A     192.0.2.4
  mail         IN MX    10 www
  typ          IN TYPE65400 \# 4 0a000001
`)
	cases := []struct {
		name, kind, status string
		answer             []string // data of all records, sorted, any type
		aa                 bool
	}{
		{"www.rfc.test", "A", "NOERROR", []string{"192.0.2.1"}, true},
		{"WwW.rFc.TeSt", "AAAA", "NOERROR", []string{"2001:db8::1"}, true},
		{"www.rfc.test", "MX", "NOERROR", nil, true},
		{"nope.rfc.test", "A", "NXDOMAIN", nil, true},
		{"ent.rfc.test", "A", "NOERROR", nil, true},
		{"b.ent.rfc.test", "A", "NOERROR", nil, true},
		{"chain.rfc.test", "A", "NOERROR", []string{"192.0.2.1", "alias.rfc.test.", "www.rfc.test."}, true},
		{"chain.rfc.test", "CNAME", "NOERROR", []string{"alias.rfc.test."}, true},
		{"loop1.rfc.test", "A", "NOERROR", []string{"loop1.rfc.test.", "loop2.rfc.test."}, true},
		{"out.rfc.test", "A", "NOERROR", []string{"www.elsewhere.example."}, true},
		{"x.wild.rfc.test", "TXT", "NOERROR", []string{`"any"`}, true},
		{"x.y.wild.rfc.test", "TXT", "NOERROR", []string{`"any"`}, true},
		{"x.wild.rfc.test", "A", "NOERROR", nil, true},
		{"host.wild.rfc.test", "TXT", "NOERROR", nil, true},
		{"x.host.wild.rfc.test", "TXT", "NXDOMAIN", nil, true},
		{"x.sub.rfc.test", "A", "NOERROR", nil, false},
		{"ns.sub.rfc.test", "A", "NOERROR", nil, false},
		{"sub.rfc.test", "NS", "NOERROR", nil, false},
		{"typ.rfc.test", "TYPE65400", "NOERROR", []string{`\# 4 0A000001`}, true},
		{"rfc.test", "NS", "NOERROR", []string{"ns.rfc.test."}, true},
	}
	for _, c := range cases {
		got := s.dig(c.name, c.kind)
		var data []string
		for _, record := range got.answer {
			data = append(data, strings.Join(strings.Fields(record)[4:], " "))
		}
		slices.Sort(data)
		if got.status != c.status || got.hasFlag("aa") != c.aa || !slices.Equal(data, c.answer) {
			t.Errorf("dig %s %s: %s, aa %v, %q, want %s, aa %v, %q", c.name, c.kind, got.status, got.hasFlag("aa"), data, c.status, c.aa, c.answer)
		}
		negative := len(c.answer) == 0 && c.aa
		if hasSOA := len(got.authority) == 1 && strings.Contains(got.authority[0], " SOA "); hasSOA != negative {
			t.Errorf("dig %s %s: authority %q, want an SOA: %v", c.name, c.kind, got.authority, negative)
		}
	}
	if got := s.dig("x.sub.rfc.test", "A"); len(got.authority) != 1 || !strings.Contains(got.authority[0], " NS ns.sub.rfc.test.") || len(got.additional) == 0 {
		t.Errorf("referral: authority %q, additional %q, want the NS and its glue", got.authority, got.additional)
	}
}
