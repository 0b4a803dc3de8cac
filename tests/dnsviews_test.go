package tests

import (
	"os/exec"
	"strings"
	"testing"
)

const viewsConfig = `
{kind: View, id: lab, networks: [NET.20/32]}
---
{kind: Zone, id: secret.example.net, role: plain, records: "www A 192.0.2.1"}
---
{kind: View, id: staff, networks: [NET.21/32], zones: [secret.example.net]}
---
{kind: Zone, id: dyn.example.net, role: plain, records: "a A 192.0.2.1"}
---
{kind: RecordSet, id: "a.dyn.example.net:A:lab", zone: dyn.example.net, name: a.dyn.example.net, type: A, records: [10.0.0.1], view: lab}
---
{kind: Zone, id: 5.1.e164.example, role: enum, networks: [127.0.0.0/8]}
---
{kind: NumberRange, id: desk, prefix: "+1556", account: "1002", least: 8, most: 9}
---
{kind: Edge, id: edge1, addresses: [NET.1], ports: {udp: 5060, tcp: 5060}, networks: [10.0.0.0/8]}
---
{kind: Edge, id: edge2, addresses: [NET.2], ports: {udp: 5060, tcp: 5060}, networks: [10.1.0.0/16]}
---
kind: Zone
id: voice.example.net
role: accounts
serviceZone: svc.voice.example.net
edges: [edge1, edge2]
`

// TestViewsNumbersAndEdges asks with dig and kdig for what depends on the client, and for numbers.
func TestViewsNumbersAndEdges(t *testing.T) {
	t.Parallel()
	s := startWith(t, strings.Replace(serveConfig, "listen: [NET.1:5300]", "listen: [NET.1:5300]\n  ecs: {resolvers: [127.0.0.0/8]}", 1))
	s.apply(viewsConfig)
	for _, c := range []struct {
		name string
		args []string
		want string // status, then the data of the answer
	}{
		{"everybody", []string{"a.dyn.example.net", "A"}, "NOERROR 192.0.2.1"},
		{"a view", []string{"-b", s.addr(20), "a.dyn.example.net", "A"}, "NOERROR 10.0.0.1"},
		{"a zone of a view", []string{"-b", s.addr(21), "www.secret.example.net", "A"}, "NOERROR 192.0.2.1"},
		{"a zone of a view, from outside", []string{"www.secret.example.net", "A"}, "REFUSED"},
		{"a number", []string{"1.0.1.0.5.5.5.1.e164.example", "NAPTR"}, `NOERROR 100 10 "u" "E2U+sip" "!^.*$!sip:+15550101@alpha.voice.example.net!" .`},
		{"the way to it", []string{"5.5.5.1.e164.example", "NAPTR"}, "NOERROR"},
		{"too long", []string{"9.1.0.1.0.5.5.5.1.e164.example", "NAPTR"}, "NXDOMAIN"},
		{"a range", []string{"1.2.3.4.6.5.5.1.e164.example", "NAPTR"}, `NOERROR 100 10 "u" "E2U+sip" "!^.*$!sip:+15564321@bravo.voice.example.net!" .`},
		{"a range, too short", []string{"3.4.6.5.5.1.e164.example", "NAPTR"}, "NOERROR"},
		{"far from edges", []string{"+subnet=192.168.0.0/24", "alpha.voice.example.net", "A"}, "NOERROR " + s.addr(1) + " " + s.addr(2)},
		{"near one", []string{"+subnet=10.1.2.0/24", "alpha.voice.example.net", "A"}, "NOERROR " + s.addr(2)},
		{"near the other", []string{"+subnet=10.2.0.0/16", "alpha.voice.example.net", "A"}, "NOERROR " + s.addr(1)},
	} {
		reply := s.dig(append([]string{"+nocookie"}, c.args...)...)
		if got := strings.TrimSpace(reply.status + " " + strings.Join(datas(reply.answer), " ")); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if text := s.dig("+subnet=10.2.0.0/16", "alpha.voice.example.net", "A").text; !strings.Contains(text, "CLIENT-SUBNET: 10.2.0.0/16/15") && !strings.Contains(text, "CLIENT-SUBNET: 10.2.0.0/16/16") {
		t.Errorf("no scope in\n%s", text)
	}
	if out, _ := exec.Command("kdig", "@"+s.addr(1), "-p", "5300", "+ednsopt=8:00032000", "alpha.voice.example.net", "A").CombinedOutput(); !strings.Contains(string(out), "FORMERR") {
		t.Errorf("an ill-formed client subnet:\n%s", out)
	}
	if text := s.kdig("+edns", "elsewhere.invalid", "A").text; !strings.Contains(text, "Not Authoritative") {
		t.Errorf("no extended error in\n%s", text)
	}
	chain := s.kdig("+tcp", "alpha.voice.example.net", "NAPTR")
	if got := len(chain.additional); got < 4 {
		t.Errorf("%d additional records beside NAPTR over TCP:\n%s", got, chain.text)
	}
	if out := s.must("dns", "trace", "a.dyn.example.net"); strings.Contains(out, "view") {
		t.Errorf("a trace without a view speaks of one:\n%s", out)
	}
	for _, kind := range []string{"numberranges", "NumberRange"} {
		if out := s.must("get", kind); !strings.Contains(out, "+1556") || !strings.Contains(out, "8-9") {
			t.Errorf("tandem get %s:\n%s", kind, out)
		}
	}
	if out := s.must("explain", "NumberRange.least"); !strings.Contains(out, "Digits") {
		t.Errorf("tandem explain:\n%s", out)
	}
}
