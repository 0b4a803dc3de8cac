package lab

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"tandem/internal/tandem"
)

// A name server of a test: "name type" to record data in zone-like text, over UDP.
type records map[string][]string

func startDNS(t *testing.T, have records) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	runs(t, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return nil
			}
			if answer := have.answer(t, buf[:n]); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	})
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func (have records) answer(t *testing.T, question []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil || len(m.Questions) != 1 {
		t.Errorf("bad question: %v", err)
		return nil
	}
	q := m.Questions[0]
	kind := map[dnsmessage.Type]string{1: "A", 28: "AAAA", 33: "SRV", 35: "NAPTR"}[q.Type]
	name := strings.TrimSuffix(q.Name.String(), ".")
	m.Additionals, m.Response, m.Authoritative = nil, true, true
	found := false
	for owner := range have {
		found = found || strings.HasPrefix(owner, name+" ")
	}
	if !found {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, text := range have[name+" "+kind] {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 30}, Body: body(kind, strings.Fields(text))})
	}
	packed, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return packed
}

func body(kind string, f []string) dnsmessage.ResourceBody {
	number := func(s string) uint16 {
		n := 0
		for _, c := range s {
			n = 10*n + int(c-'0')
		}
		return uint16(n)
	}
	switch kind {
	case "A":
		return &dnsmessage.AResource{A: netip.MustParseAddr(f[0]).As4()}
	case "SRV":
		return &dnsmessage.SRVResource{Priority: number(f[0]), Weight: number(f[1]), Port: number(f[2]), Target: dnsmessage.MustNewName(f[3] + ".")}
	}
	return &dnsmessage.UnknownResource{Type: typeNAPTR, Data: packNAPTR(naptr{number(f[0]), number(f[1]), f[2], f[3], f[4]})}
}

func packNAPTR(n naptr) []byte {
	data := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, n.order), n.preference)
	for _, text := range []string{n.flags, n.services, ""} {
		data = append(append(data, byte(len(text))), text...)
	}
	for _, label := range strings.Split(n.replacement, ".") {
		if label != "" {
			data = append(append(data, byte(len(label))), label...)
		}
	}
	return append(data, 0)
}

func TestTargets(t *testing.T) {
	server := startDNS(t, records{
		"acme.example NAPTR":           {"20 10 S SIP+D2U _sip._udp.acme.example", "10 10 S SIP+D2T _sip._tcp.acme.example", "5 1 U E2U+sip x.example", "5 2 S SIPS+D2T _sips._tcp.acme.example"},
		"_sip._udp.acme.example SRV":   {"10 0 5060 e1.example", "20 0 5062 e2.example"},
		"_sip._tcp.acme.example SRV":   {"10 0 5061 e1.example"},
		"srv.example SOA":              nil,
		"_sip._udp.srv.example SRV":    {"0 0 5080 e2.example"},
		"host.example A":               {"192.0.2.9"},
		"e1.example A":                 {"192.0.2.1", "192.0.2.2"},
		"e2.example A":                 {"192.0.2.3"},
		"hollow.example NAPTR":         {"10 10 S SIP+D2U _sip._udp.hollow.example"},
		"_sip._udp.hollow.example SRV": {"0 0 5060 gone.example"},
	})
	for _, tt := range []struct {
		uri  string
		only tandem.Transport
		want []string // transport address
		fail string
	}{
		{"sip:acme.example", 0, []string{"tcp 192.0.2.1:5061", "tcp 192.0.2.2:5061", "udp 192.0.2.1:5060", "udp 192.0.2.2:5060", "udp 192.0.2.3:5062"}, ""},
		{"sip:a@acme.example", tandem.UDP, []string{"udp 192.0.2.1:5060", "udp 192.0.2.2:5060", "udp 192.0.2.3:5062"}, ""},
		{"sip:acme.example;transport=tcp", 0, []string{"tcp 192.0.2.1:5061", "tcp 192.0.2.2:5061"}, ""},
		{"sip:acme.example:7000", 0, nil, "no such host"},
		{"sip:host.example:7000", 0, []string{"udp 192.0.2.9:7000"}, ""},
		{"sip:srv.example", 0, []string{"udp 192.0.2.3:5080"}, ""},
		{"sip:host.example", 0, []string{"udp 192.0.2.9:5060"}, ""},
		{"sip:192.0.2.7", 0, []string{"udp 192.0.2.7:5060"}, ""},
		{"sip:192.0.2.7", tandem.TCP, []string{"udp 192.0.2.7:5060"}, ""},
		{"sip:192.0.2.7:5070;transport=tcp", 0, []string{"tcp 192.0.2.7:5070"}, ""},
		{"sip:nobody.example", 0, nil, "no such host"},
		{"sip:hollow.example", 0, nil, "no such host"},
		{"sip:acme.example;transport=pigeon", 0, nil, "unknown transport"},
	} {
		got, err := Resolver{Server: server, Only: tt.only}.Targets(timeout(t), tt.uri)
		if tt.fail != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fail) {
				t.Errorf("Targets(%s) = %v, %v, want %s", tt.uri, got, err, tt.fail)
			}
			continue
		}
		var text []string
		for _, x := range got {
			text = append(text, x.Transport.String()+" "+x.Addr.String())
		}
		if diff := cmp.Diff(tt.want, text); diff != "" || err != nil {
			t.Errorf("Targets(%s) = %v (-want +got):\n%s", tt.uri, err, diff)
		}
	}
	if _, err := (Resolver{}).Targets(timeout(t), "sip:acme.example"); err == nil {
		t.Error("Targets without a server looked a name up")
	}
}

// A phone that knows a name only reaches its server through DNS, and a second place when the first
// does not serve.
func TestPhoneFindsItsServer(t *testing.T) {
	ctx := timeout(t)
	called := startPhone(t, PhoneConfig{User: "bob"})
	first := startNode(t, NodeConfig{ID: "e1", SIP: anyPort, Proxy: called.Addr()})
	second := startNode(t, NodeConfig{ID: "e2", SIP: anyPort, Proxy: called.Addr()})
	port := func(n *Node) string { _, p, _ := net.SplitHostPort(n.Addr().String()); return p }
	server := startDNS(t, records{
		"acme.example NAPTR":         {"10 10 S SIP+D2U _sip._udp.acme.example"},
		"_sip._udp.acme.example SRV": {"10 0 " + port(first) + " edge.example", "20 0 " + port(second) + " edge.example"},
		"edge.example A":             {"127.0.0.1"},
	})
	p := startPhone(t, PhoneConfig{User: "alice", Domain: "acme.example", Resolver: Resolver{Server: server}})
	for _, code := range []int{0, 503} {
		first.Script("REGISTER", Reply{Code: code})
		if _, err := p.Register(ctx, 60e9); err != nil {
			t.Fatalf("Register = %v, want nil", err)
		}
	}
	if got := []int{len(first.Seen()), len(second.Seen())}; got[0] != 2 || got[1] != 1 {
		t.Errorf("the nodes saw %v requests, want 2 and 1", got)
	}
	stranger := startPhone(t, PhoneConfig{User: "alice", Domain: "nobody.example", Resolver: Resolver{Server: server}})
	if _, err := stranger.Register(ctx, 60e9); err == nil {
		t.Error("Register at a name that does not exist succeeded")
	}
}

// FuzzParseNAPTR: what is accepted packs to the same octets, but for the regexp left out.
func FuzzParseNAPTR(f *testing.F) {
	f.Add(packNAPTR(naptr{10, 20, "S", "SIP+D2U", "_sip._udp.acme.example"}))
	f.Add(packNAPTR(naptr{0, 0, "", "", ""}))
	f.Add([]byte{0, 1, 0, 1, 1, 's', 3, 'x'})
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := parseNAPTR(data)
		if err != nil {
			return
		}
		again, err := parseNAPTR(packNAPTR(n))
		if strings.Contains(n.replacement, "..") || strings.ContainsRune(n.replacement, '.') && len(packNAPTR(n)) > len(data) {
			return // a label with a dot in it
		}
		if err != nil || len(n.flags) > 255 {
			t.Fatalf("%+v does not pack: %v", n, err)
		}
		if again.flags != n.flags || again.services != n.services || again.order != n.order {
			t.Fatalf("%+v reads as %+v after packing", n, again)
		}
	})
}

// FuzzReadNAPTR: no answer, however broken, does more than fail.
func FuzzReadNAPTR(f *testing.F) {
	have := records{"a.example NAPTR": {"10 10 S SIP+D2U _sip._udp.a.example"}}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName("a.example."), Type: typeNAPTR, Class: dnsmessage.ClassINET}}}
	question, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(have.answer(new(testing.T), question))
	f.Add(question)
	f.Add([]byte{0, 7, 0x80})
	f.Fuzz(func(t *testing.T, answer []byte) {
		found, err := readNAPTR(answer, 7, "a.example")
		if err != nil && found != nil {
			t.Fatalf("readNAPTR gave records and %v", err)
		}
	})
}
