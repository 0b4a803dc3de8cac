package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const transferConfig = `
data: DIR/data
control:
  socket: DIR/tandem.sock
dns:
  listen: [NET.1:5300]
metrics:
  listen: NET.1:9153
log:
  level: debug
`

const (
	transferKey    = "transfer.key"
	transferSecret = "dHJhbnNmZXJzIG9mIHRoZSB0ZXN0cywgc2lnbmVkLi4="
	wrongSecret    = "YW5vdGhlciBzZWNyZXQgdGhhdCBub2JvZHkgaGFzLi4="
)

// secondaryPeers are Debian's name servers as secondaries of tandem. KEY in a text is the key to sign
// with, SECRET its secret, PRIMARY tandem's address; SIGN is replaced by what makes a server sign, or by nothing.
func secondaryPeers(primary, secret string, signed bool) []dnsPeer {
	peers := dnsPeers()
	byName := map[string]*dnsPeer{}
	for i := range peers {
		byName[peers[i].name] = &peers[i]
	}
	key := map[string]string{}
	nsd, knot, named := byName["nsd"], byName["knot"], byName["named"]
	nsd.config += "key:\n name: \"" + transferKey + "\"\n algorithm: hmac-sha256\n secret: \"" + secret + "\"\n"
	nsd.zone = "zone:\n name: ID\n zonefile: DIR/ID.copy\n request-xfr: PRIMARY@5300 NSDKEY\n allow-notify: PRIMARY NSDKEY\n provide-xfr: 127.0.0.1 NOKEY\n"
	key["NSDKEY"] = "NOKEY"
	knot.config = strings.Replace(knot.config, "template:\n", "key:\n  - id: "+transferKey+"\n    algorithm: hmac-sha256\n    secret: "+secret+"\n"+
		"remote:\n  - id: tandem\n    address: PRIMARY@5300\nKNOTKEY"+
		"acl:\n  - id: told\n    address: PRIMARY\n    action: notify\nKNOTKEY  - id: given\n    address: 127.0.0.1\n    action: transfer\ntemplate:\n", 1)
	knot.zone = "  - domain: ID\n    master: tandem\n    acl: [told, given]\n    file: DIR/ID.copy\n    zonefile-load: none\n"
	key["KNOTKEY"] = ""
	named.config += "key \"" + transferKey + "\" { algorithm hmac-sha256; secret \"" + secret + "\"; };\n"
	named.zone = "zone \"ID\" { type secondary; primaries { PRIMARY port 5300 NAMEDKEY; }; file \"DIR/ID.copy\"; allow-transfer { any; }; masterfile-format text; };\n"
	key["NAMEDKEY"] = ""
	if signed {
		key = map[string]string{"NSDKEY": transferKey, "KNOTKEY": "    key: " + transferKey + "\n", "NAMEDKEY": "key \"" + transferKey + "\""}
	}
	for i := range peers {
		for from, to := range key {
			peers[i].zone, peers[i].config = strings.ReplaceAll(peers[i].zone, from, to), strings.ReplaceAll(peers[i].config, from, to)
		}
		peers[i].zone, peers[i].config = strings.ReplaceAll(peers[i].zone, "PRIMARY", primary), strings.ReplaceAll(peers[i].config, "PRIMARY", primary)
	}
	return peers
}

// sharedZone is a document with a zone of accounts that secondaries may have.
func sharedZone(id, secondary string) string {
	return fmt.Sprintf("---\n{kind: Zone, id: %s, role: accounts, serviceZone: svc.test, mode: transferable, edges: [e1], secondaries: [%s], records: \"www A 192.0.2.80\\nmx MX 10 www\\n\"}\n", id, secondary)
}

// accountsOf are documents with n accounts of a zone, each with the edge.
func accountsOf(zone string, n int, edge string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "---\n{kind: Account, id: \"%s-%d\", zone: %s, group: g1, labels: [{label: c%d}], edges: [%s]}\n", strings.ReplaceAll(zone, ".", "-"), i, zone, i, edge)
	}
	return b.String()
}

// startShared starts a tandem that has the edges and the key of these tests.
func startShared(t *testing.T) *server {
	t.Helper()
	s := newServer(t)
	s.writeConfig(transferConfig)
	s.start()
	s.apply("---\n{kind: Edge, id: e1, addresses: [192.0.2.1, \"2001:db8::1\"], ports: {udp: 5060, tls: 5061}}\n" +
		"---\n{kind: Edge, id: e2, addresses: [192.0.2.2], ports: {udp: 5060, tcp: 5060, https: 443}}\n" +
		"---\n{kind: Zone, id: svc.test, role: service}\n---\n{kind: Cluster, id: west}\n---\n{kind: Group, id: g1, cluster: west}\n---\n{kind: TSIGKey, id: " + transferKey + ", secret: " + transferSecret + "}\n")
	return s
}

// axfrFrom returns the records that a server gives, sorted, without the closing SOA.
func axfrFrom(t *testing.T, addr, zone string, signed bool) []string {
	t.Helper()
	m := new(dns.Msg)
	m.SetAxfr(zone + ".")
	transfer := &dns.Transfer{DialTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	if signed {
		transfer.TsigSecret = map[string]string{transferKey + ".": transferSecret}
		m.SetTsig(transferKey+".", dns.HmacSHA256, 300, time.Now().Unix())
	}
	envelopes, err := transfer.In(m, addr)
	if err != nil {
		t.Fatalf("AXFR of %s from %s: %v", zone, addr, err)
	}
	var lines []string
	for e := range envelopes {
		if e.Error != nil {
			t.Fatalf("AXFR of %s from %s: %v", zone, addr, e.Error)
		}
		for _, rr := range e.RR {
			lines = append(lines, strings.ToLower(rr.String()))
		}
	}
	if len(lines) < 2 {
		t.Fatalf("AXFR of %s from %s: %d records", zone, addr, len(lines))
	}
	lines = lines[:len(lines)-1]
	slices.Sort(lines)
	return lines
}

// serialAt returns a zone's serial as a server answers it, 0 for none.
func serialAt(addr, zone string) uint32 {
	m := new(dns.Msg)
	m.SetQuestion(zone+".", dns.TypeSOA)
	reply, err := dns.Exchange(m, addr)
	if err != nil || len(reply.Answer) != 1 {
		return 0
	}
	soa, ok := reply.Answer[0].(*dns.SOA)
	if !ok {
		return 0
	}
	return soa.Serial
}

// sameZone fails unless two servers give the same zone.
func sameZone(t *testing.T, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	missing, extra := lacking(want, got), lacking(got, want)
	t.Errorf("%s: %d records, want %d; missing %.2000v; extra %.2000v", what, len(got), len(want), missing, extra)
}

// lacking returns what a has and b has not.
func lacking(a, b []string) []string {
	have := map[string]bool{}
	for _, line := range b {
		have[line] = true
	}
	var out []string
	for _, line := range a {
		if !have[line] {
			out = append(out, line)
		}
	}
	return out
}

// TestSecondariesFollow: NSD, Knot and BIND take a zone with account names whole, then follow a thousand
// changed accounts as differences, told by NOTIFY, and end with the very zone that tandem has.
func TestSecondariesFollow(t *testing.T) {
	const accounts = 1200
	for _, signed := range []bool{false, true} {
		s := startShared(t)
		for _, p := range secondaryPeers(s.addr(1), transferSecret, signed) {
			t.Run(fmt.Sprintf("%s signed=%v", p.name, signed), func(t *testing.T) {
				zone := p.name + ".test"
				allow := "{networks: [127.0.0.0/8]"
				if signed {
					allow = "{key: " + transferKey
				}
				s.apply(sharedZone(zone, allow+"}") + accountsOf(zone, accounts, "e1"))
				addr := p.start(t, []*hardZone{{id: zone}})
				ours := s.addr(1) + ":5300"
				s.apply(sharedZone(zone, allow+", notify: [\""+addr+"\"]}"))
				follow := func(what string) {
					t.Helper()
					began := time.Now()
					want := serialAt(ours, zone)
					eventually(t, 10*time.Second, p.name+" follows "+what, func() bool { return serialAt(addr, zone) == want })
					t.Logf("%s: after %s", what, time.Since(began).Round(time.Millisecond))
				}
				follow("being told")
				before := s.metric("tandem_dnsd_transfers_out_total", `form="whole"`)
				s.apply(accountsOf(zone, 1000, "e2"))
				follow("1000 changed accounts")
				sameZone(t, "after 1000 changes", axfrFrom(t, addr, zone, false), axfrFrom(t, ours, zone, signed))
				if after := s.metric("tandem_dnsd_transfers_out_total", `form="whole"`); after != before+1 { // the test's own
					t.Errorf("%v transfers of the whole zone meanwhile, want none", after-before-1)
				}
				s.apply("---\n{kind: Account, id: \"" + p.name + "-test-7\", zone: " + zone + ", group: g1, labels: [{label: renamed}], edges: [e1]}\n")
				follow("one account")
				sameZone(t, "after one change", axfrFrom(t, addr, zone, false), axfrFrom(t, ours, zone, signed))
			})
		}
	}
}

// TestSecondariesWithAnotherKeyGetNothing is its negative twin.
func TestSecondariesWithAnotherKeyGetNothing(t *testing.T) {
	s := startShared(t)
	for _, p := range secondaryPeers(s.addr(1), wrongSecret, true) {
		t.Run(p.name, func(t *testing.T) {
			zone := p.name + ".test"
			s.apply(sharedZone(zone, "{key: "+transferKey+"}") + accountsOf(zone, 3, "e1"))
			before := s.metric("tandem_dnsd_path_total", `path="full"`)
			addr, _ := p.launch(t, []*hardZone{{id: zone}})
			eventually(t, 20*time.Second, p.name+" asks", func() bool { return s.metric("tandem_dnsd_path_total", `path="full"`) > before })
			if serial := serialAt(addr, zone); serial != 0 {
				t.Errorf("%s has serial %d", p.name, serial)
			}
		})
	}
	if n := s.metric("tandem_dnsd_transfers_out_total", `form="whole"`); n != 0 {
		t.Errorf("%v transfers", n)
	}
}
