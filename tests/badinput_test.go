package tests

import (
	"crypto/rand"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"
)

// rcodes of RFC 1035 and RFC 6891.
const (
	noError  = 0
	formErr  = 1
	notImp   = 4
	silence  = -1
	badVers  = 16
	anything = -2
)

// dnsPacket builds a query: header words, then the given rest.
func dnsPacket(flags, questions, answers, additional uint16, rest ...string) []byte {
	b := make([]byte, 12)
	rand.Read(b[:2])
	binary.BigEndian.PutUint16(b[2:], flags)
	binary.BigEndian.PutUint16(b[4:], questions)
	binary.BigEndian.PutUint16(b[6:], answers)
	binary.BigEndian.PutUint16(b[10:], additional)
	for _, part := range rest {
		b = append(b, part...)
	}
	return b
}

// A DNS packet that makes no sense gets FORMERR, NOTIMP or silence as the RFCs say, and the next
// good one is answered.
func TestBadDNS(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const (
		question = "\x05alpha\x05voice\x07example\x03net\x00\x00\x23\x00\x01"
		opt      = "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
		opt1     = "\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00"
	)
	cases := []struct {
		name   string
		packet []byte
		want   int
	}{
		{"good", dnsPacket(0, 1, 0, 0, question), noError},
		{"empty", nil, silence},
		{"three octets", []byte{1, 2, 3}, silence},
		{"eleven octets", make([]byte, 11), silence},
		{"a response", dnsPacket(0x8000, 1, 0, 0, question), silence},
		{"no question", dnsPacket(0, 0, 0, 0), formErr},
		{"two questions", dnsPacket(0, 2, 0, 0, question, question), formErr},
		{"question cut short", dnsPacket(0, 1, 0, 0, question[:9]), formErr},
		{"question without class", dnsPacket(0, 1, 0, 0, question[:len(question)-1]), formErr},
		{"pointer to itself", dnsPacket(0, 1, 0, 0, "\xc0\x0c\x00\x23\x00\x01"), formErr},
		{"pointer forward", dnsPacket(0, 1, 0, 0, "\xc0\x30\x00\x23\x00\x01"), formErr},
		{"pointer into the header", dnsPacket(0, 1, 0, 0, "\x01a\xc0\x04\x00\x23\x00\x01"), anything},
		{"reserved label type", dnsPacket(0, 1, 0, 0, "\x80abc\x00\x00\x23\x00\x01"), formErr},
		{"name of 256 octets", dnsPacket(0, 1, 0, 0, strings.Repeat("\x3f"+strings.Repeat("a", 63), 4), "\x00\x00\x23\x00\x01"), formErr},
		{"two OPT", dnsPacket(0, 1, 0, 2, question, opt, opt), formErr},
		{"OPT not at the root", dnsPacket(0, 1, 0, 1, question, "\x01a", opt), formErr},
		{"EDNS version 1", dnsPacket(0, 1, 0, 1, question, opt1), badVers},
		{"opcode IQUERY", dnsPacket(1<<11, 1, 0, 0, question), notImp},
		{"opcode STATUS", dnsPacket(2<<11, 1, 0, 0, question), notImp},
		{"opcode 15", dnsPacket(15<<11, 1, 0, 0, question), notImp},
		{"opcode 15, header only", dnsPacket(15<<11, 0, 0, 0), notImp},
		{"good at the end", dnsPacket(0, 1, 0, 1, question, opt), noError},
	}
	for _, c := range cases {
		for _, transport := range []string{"udp", "tcp"} {
			got := exchangeDNS(t, transport, s.addr(1)+":5300", c.packet)
			if c.want == anything && got != silence || got == c.want {
				continue
			}
			t.Errorf("%s over %s: rcode %d, want %d", c.name, transport, got, c.want)
		}
	}
}

// exchangeDNS sends a packet and returns the reply's extended rcode, silence when none comes.
func exchangeDNS(t testing.TB, transport, address string, packet []byte) int {
	t.Helper()
	conn, err := net.Dial(transport, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if transport == "tcp" {
		packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	}
	if _, err := conn.Write(packet); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, 4096)
	conn.SetReadDeadline(time.Now().Add(400 * time.Millisecond))
	n, err := conn.Read(reply)
	if err != nil || n == 0 {
		return silence
	}
	reply = reply[:n]
	if transport == "tcp" {
		reply, packet = reply[2:], packet[2:]
	}
	if len(reply) < 12 || string(reply[:2]) != string(packet[:2]) || reply[2]&0x80 == 0 {
		t.Errorf("reply %x to %x is no response to it", reply, packet)
		return silence
	}
	code := int(reply[3] & 15)
	if i := strings.LastIndex(string(reply), "\x00\x00\x29"); i > 0 && binary.BigEndian.Uint16(reply[10:]) > 0 && i+6 <= len(reply) {
		code |= int(reply[i+5]) << 4
	}
	return code
}

// A SIP message that makes no sense gets 400 where its Via allows an answer, and no answer else; it
// costs no state, and the next good one is served.
func TestBadSIP(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	h := s.handset(100, "alice")
	good := func() string {
		return h.write(dialogue{method: "OPTIONS", from: alice, to: "x@alpha.voice.example.net"})
	}
	change := func(old, put string) string {
		text := good()
		if !strings.Contains(text, old) {
			t.Fatalf("nothing to change: %q", old)
		}
		return strings.Replace(text, old, put, 1)
	}
	cases := []struct{ name, text, want string }{
		{"no To", change("To: <sip:x@alpha.voice.example.net>\r\n", ""), "400"},
		{"no From", change("From: <sip:"+alice, "X-From: <sip:"+alice), "400"},
		{"no Call-ID", change("Call-ID:", "X-Call-ID:"), "400"},
		{"no CSeq", change("CSeq:", "X-CSeq:"), "400"},
		{"CSeq of another method", change(" OPTIONS\r\n", " INVITE\r\n"), "400"},
		{"CSeq too large", change("CSeq: ", "CSeq: 4294967296"), "400"},
		{"Max-Forwards of letters", change("Max-Forwards: 70", "Max-Forwards: many"), "400"},
		{"Content-Length beyond the packet", change("Content-Length: 0", "Content-Length: 500"), "400"},
		{"Content-Length below zero", change("Content-Length: 0", "Content-Length: -1"), "400"},
		{"unclosed bracket", change("<sip:"+alice+">", "<sip:"+alice), "400"},
		{"another version", change("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), "505"},
		{"unknown scheme", change("OPTIONS sip:x@alpha", "OPTIONS xyz:x@alpha"), "416"},
		{"no more hops", change("Max-Forwards: 70", "Max-Forwards: 0"), "483"},
		{"unknown domain", h.write(dialogue{method: "OPTIONS", from: "a@nosuch.voice.example.net", to: "x@nosuch.voice.example.net"}), "404"},
		{"demands an extension", change("Max-Forwards: 70", "Proxy-Require: nosuch\r\nMax-Forwards: 70"), "420"},
	}
	for _, c := range cases {
		h.send(c.text)
		if got := h.final(time.Second); got.uri() != c.want {
			t.Errorf("%s: %q, want %s", c.name, got.start(), c.want)
		}
	}
	for _, text := range []string{"", "\x00\x01\x02", "hello", "GET / HTTP/1.1\n\n", "OPTIONS", "SIP/2.0 200 OK\n\n", strings.Repeat("A", 9000), "OPTIONS sip:x SIP/2.0\n\n"} {
		h.send(text)
		if got, ok := h.receive(150 * time.Millisecond); ok {
			t.Errorf("%.40q was answered %s, want silence: it has no Via", text, got.start())
		}
	}
	if got := h.login(dialogue{method: "REGISTER", from: alice, to: alice, uri: "sip:alpha.voice.example.net"}, "MD5", "alice-secret").uri(); got != "200" {
		t.Errorf("after all that REGISTER gets %s, want 200", got)
	}
}

// A request that comes round again is a loop: here a trunk's PBX is also the account's feature server
// and sends back what it gets.
func TestLoop(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(`{kind: Peer, id: core, role: core, networks: [NET.12/30], listener: public}`)
	s.apply(`{kind: Peer, id: pbx, role: trunk, account: "1001", networks: [NET.8/32], listener: public}`)
	s.edit("Account", "1001", map[string]any{"targets": map[string]any{"message": nodes("east1")}})
	looper := s.relay(8)
	h := s.handset(100, "alice")
	got := h.login(dialogue{method: "MESSAGE", from: alice, to: "777@alpha.voice.example.net"}, "MD5", "alice-secret")
	if got.uri() != "482" {
		t.Errorf("a message that comes round again: %s, want 482", got.start())
	}
	if n := looper.count("MESSAGE"); n > 3 {
		t.Errorf("it went round %d times before it was noticed", n)
	}
}

// A configuration file with an unknown key, a port in use, a data directory that another process
// holds: one line that says what and where, exit 1.
func TestBadStart(t *testing.T) {
	t.Parallel()
	running := startServer(t)
	cases := []struct {
		name, config string
		want         []string
	}{
		{"unknown key", strings.Replace(serveConfig, "log:\n", "colour: blue\nlog:\n", 1), []string{"tandem.yaml:21:1", "colour"}},
		{"unknown key below", strings.Replace(serveConfig, "  edge: edge1", "  edge: edge1\n  flavour: mint", 1), []string{"tandem.yaml", "flavour"}},
		{"not YAML", "dns: [", []string{"tandem.yaml"}},
		{"an address that is none", strings.Replace(serveConfig, "[NET.1:5300]", "[NET.1]", 1), []string{"tandem.yaml", "dns"}},
		{"DNS port in use", strings.ReplaceAll(serveConfig, "NET.1:5300", running.addr(1)+":5300"), []string{running.addr(1) + ":5300", "in use"}},
		{"SIP port in use", strings.ReplaceAll(serveConfig, "NET.1:5060", running.addr(1)+":5060"), []string{running.addr(1) + ":5060", "in use"}},
		{"data directory in use", strings.ReplaceAll(serveConfig, "DIR/data", running.dir+"/data"), []string{running.dir + "/data"}},
	}
	for _, c := range cases {
		s := newServer(t)
		s.writeConfig(c.config)
		out, code := s.run("", "serve", "-c", s.path("tandem.yaml"))
		lines := strings.Split(strings.TrimSpace(out), "\n")
		last := lines[len(lines)-1]
		if code != 1 {
			t.Errorf("%s: exit %d, want 1\n%s", c.name, code, out)
		}
		for _, want := range c.want {
			if !strings.Contains(last, want) {
				t.Errorf("%s: %q does not say %q", c.name, last, want)
			}
		}
		if strings.Contains(out, "goroutine ") || strings.Contains(out, "panic") {
			t.Errorf("%s: printed a trace\n%s", c.name, out)
		}
	}
	// Twin: none of it disturbed the one that runs.
	if reply := running.dig("alpha.voice.example.net", "NAPTR"); reply.status != "NOERROR" {
		t.Errorf("the running server answers %s", reply.status)
	}
	if _, code := running.run("", "serve", "-c", "/nonexistent.yaml"); code != 1 {
		t.Errorf("no configuration file: exit %d, want 1", code)
	}
	// And with nobody there, a client says so: exit 5.
	lonely := newServer(t)
	if out, code := lonely.run("", "status"); code != 5 || !strings.Contains(out, "tandem.sock") {
		t.Errorf("status without a server: exit %d %q, want 5 and the socket's path", code, out)
	}
}
