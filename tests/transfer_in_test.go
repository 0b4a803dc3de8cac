package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// primaryPeers are Debian's name servers as primaries of tandem: they give their zones to whoever has the
// key, and tell tandem of changes.
func primaryPeers(secondary string) []dnsPeer {
	peers := dnsPeers()
	for i := range peers {
		p := &peers[i]
		switch p.name {
		case "nsd":
			p.config += "key:\n name: \"" + transferKey + "\"\n algorithm: hmac-sha256\n secret: \"" + transferSecret + "\"\n"
			p.zone += " provide-xfr: 127.0.0.0/8 " + transferKey + "\n notify: " + secondary + "@5300 " + transferKey + "\n"
		case "knot":
			p.config = strings.Replace(p.config, "template:\n", "key:\n  - id: "+transferKey+"\n    algorithm: hmac-sha256\n    secret: "+transferSecret+"\n"+
				"remote:\n  - id: tandem\n    address: "+secondary+"@5300\n    key: "+transferKey+"\nacl:\n  - id: given\n    key: "+transferKey+"\n    action: transfer\ntemplate:\n", 1)
			p.zone += "    notify: tandem\n    acl: given\n"
		case "named":
			p.config += "key \"" + transferKey + "\" { algorithm hmac-sha256; secret \"" + transferSecret + "\"; };\n"
			p.zone = strings.Replace(p.zone, "};", "allow-transfer { key \""+transferKey+"\"; }; };", 1)
		}
	}
	return peers
}

// TestPrimariesOfOthers: tandem takes zones of the hard kind from NSD, Knot and BIND, signed, has just what
// they have, and goes on answering after a kill while they are gone; with another key it gets nothing.
func TestPrimariesOfOthers(t *testing.T) {
	s := startShared(t)
	s.apply("---\n{kind: TSIGKey, id: wrong.key, secret: " + wrongSecret + "}\n")
	kept := map[string][]string{}
	ours := s.addr(1) + ":5300"
	for i, p := range primaryPeers(s.addr(1)) {
		z := newHardZone(7, 4*i+1)
		z.id, z.child = p.name+".test", ""
		z.text = []string{
			"@ 3600 SOA ns host 7 3600 600 1209600 60", "@ NS ns", "ns A 192.0.2.53", "*.wild TXT \"any\"", "sub NS ns.sub", "ns.sub A 192.0.2.54",
			"alias CNAME www", "www A 192.0.2.1", "dn DNAME elsewhere.test.", "c\\.d TXT \"a dot\"", "odd TYPE65400 \\# 3 010203",
			"_sip._udp SRV 1 2 5060 www", "n NAPTR 1 1 \"u\" \"E2U+sip\" \"!^.*$!sip:x@y.test!\" .",
		}
		addr := p.start(t, []*hardZone{z})
		document := "---\n{kind: Zone, id: %s, role: plain, primaries: [{address: \"%s\", key: %s}], secondaries: [{networks: [127.0.0.0/8]}]}\n"
		s.apply(fmt.Sprintf(document, z.id, addr, "wrong.key"))
		eventually(t, 10*time.Second, "a refusal by "+p.name, func() bool { return strings.Contains(s.must("zone", "status", z.id, "-o", "json"), `"error"`) })
		if serial := serialAt(ours, z.id); serial != 0 {
			t.Errorf("%s: serial %d came with another key", p.name, serial)
		}
		s.apply(fmt.Sprintf(document, z.id, addr, transferKey))
		eventually(t, 10*time.Second, "the zone from "+p.name, func() bool { return serialAt(ours, z.id) == 7 })
		kept[z.id] = axfrFrom(t, addr, z.id, true)
		sameZone(t, "from "+p.name, axfrFrom(t, ours, z.id, false), kept[z.id])
		s.must("zone", "retransfer", z.id)
	}
	s.kill()
	s.start()
	for id, want := range kept {
		sameZone(t, id+" after a kill", axfrFrom(t, ours, id, false), want)
	}
}

// TestJournalSurvives: after a restart, and soon after a kill, secondaries still get differences; serials
// never go back.
func TestJournalSurvives(t *testing.T) {
	s := startShared(t)
	ours := s.addr(1) + ":5300"
	s.apply(sharedZone("voice.test", "{networks: [127.0.0.0/8]}") + accountsOf("voice.test", 5, "e1"))
	first := serialAt(ours, "voice.test")
	incremental := func() bool {
		m := new(dns.Msg)
		m.SetIxfr("voice.test.", first, "ns.", "host.")
		envelopes, err := (&dns.Transfer{}).In(m, ours)
		if err != nil {
			t.Fatal(err)
		}
		var records []dns.RR
		for e := range envelopes {
			if e.Error != nil {
				t.Fatal(e.Error)
			}
			records = append(records, e.RR...)
		}
		if len(records) < 4 {
			return false
		}
		soa, ok := records[1].(*dns.SOA)
		return ok && soa.Serial == first
	}
	s.apply(accountsOf("voice.test", 3, "e2"))
	for name, end := range map[string]func(){"stop": s.stop, "kill": func() {
		eventually(t, 5*time.Second, "the journal is written", func() bool { return s.metric("tandem_dnsd_journal_revision") == s.metric("tandem_node_revision") })
		s.kill()
	}} {
		before := serialAt(ours, "voice.test")
		end()
		s.start()
		if after := serialAt(ours, "voice.test"); int32(after-before) < 0 {
			t.Errorf("serial %d after a %s, %d before", after, name, before)
		}
		if !incremental() {
			t.Errorf("no difference after a %s", name)
		}
		s.apply(accountsOf("voice.test", 4, map[string]string{"stop": "e1", "kill": "e2"}[name]))
		if !incremental() {
			t.Errorf("no difference over a %s and a change", name)
		}
	}
}

// TestCatalogWithOthers: Knot and BIND serve the zones that tandem's catalog lists, and tandem those that a
// catalog of theirs lists.
func TestCatalogWithOthers(t *testing.T) {
	s := startShared(t)
	ours := s.addr(1) + ":5300"
	s.apply("---\n{kind: Zone, id: list.test, role: catalog, secondaries: [{networks: [127.0.0.0/8]}]}\n" +
		"---\n{kind: Zone, id: m1.test, role: plain, catalog: list.test, secondaries: [{networks: [127.0.0.0/8]}], records: \"www A 192.0.2.1\\n\"}\n")
	for _, p := range secondaryPeers(s.addr(1), transferSecret, false) {
		switch p.name {
		case "knot":
			p.config = strings.Replace(p.config, "zone:\n", "  - id: member\n    storage: DIR\n    master: tandem\n    acl: [told, given]\nzone:\n", 1)
			p.zone += "    catalog-role: interpret\n    catalog-template: member\n"
		case "named":
			p.config = strings.Replace(p.config, "empty-zones-enable no;", "empty-zones-enable no; catalog-zones { zone \"list.test\" default-primaries { "+s.addr(1)+" port 5300; } in-memory yes min-update-interval 1; };", 1)
		default:
			continue // Debian's NSD knows no catalogs
		}
		t.Run(p.name+" consumes", func(t *testing.T) {
			addr, _ := p.launch(t, []*hardZone{{id: "list.test"}}) // Knot does not answer for the catalog itself
			eventually(t, 20*time.Second, "the member", func() bool { return serialAt(addr, "m1.test") != 0 })
			s.apply("---\n{kind: Zone, id: list.test, role: catalog, secondaries: [{networks: [127.0.0.0/8], notify: [\"" + addr + "\"]}]}\n")
			s.apply("---\n{kind: Zone, id: " + p.name + "2.test, role: plain, catalog: list.test, secondaries: [{networks: [127.0.0.0/8]}], records: \"www A 192.0.2.1\\n\"}\n")
			eventually(t, 20*time.Second, "one more member", func() bool { return serialAt(addr, p.name+"2.test") != 0 })
			s.must("delete", "zone", p.name+"2.test")
			eventually(t, 20*time.Second, "the member gone", func() bool { return serialAt(addr, p.name+"2.test") == 0 })
		})
	}
	for _, p := range primaryPeers(s.addr(1)) {
		t.Run(p.name+" produces", func(t *testing.T) {
			catalog, member := "cat-"+p.name+".test", "of-"+p.name+".test"
			addr := p.start(t, []*hardZone{
				{id: catalog, text: []string{"@ 0 SOA invalid. invalid. 1 60 60 1209600 0", "@ 0 NS invalid.", "version 0 TXT \"2\"", "u1.zones 0 PTR " + member + "."}},
				{id: member, text: []string{"@ 60 SOA ns host 5 60 60 1209600 60", "@ NS ns", "ns A 192.0.2.1"}},
			})
			s.apply(fmt.Sprintf("---\n{kind: Zone, id: %s, role: catalog, primaries: [{address: \"%s\", key: %s}]}\n", catalog, addr, transferKey))
			eventually(t, 20*time.Second, "the member", func() bool { return serialAt(ours, member) == 5 })
		})
	}
}
