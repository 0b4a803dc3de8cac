package tests

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// resident is the process's memory in octets.
func (s *server) resident() int {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		s.t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// honest makes a phone register and call: whatever else goes on, that works.
func (s *server) honest(node *handset) {
	s.t.Helper()
	phone := s.handset(126, "alice")
	register := dialogue{method: "REGISTER", from: alice, to: alice, uri: "sip:alpha.voice.example.net"}
	if got := phone.login(register, "MD5", "alice-secret").uri(); got != "200" {
		s.t.Errorf("an honest REGISTER: %s", got)
	}
	invite := phone.invited(s, node, "")
	node.send(respond(invite, "200 OK", "ok"))
	if got := phone.final(2 * time.Second); got.uri() != "200" {
		s.t.Errorf("an honest call: %q, want 200", got.start())
	}
	phone.conn.Close()
}

// invited lets a phone call bob with right credentials and returns the INVITE that the node got.
func (h *handset) invited(s *server, node *handset, header string) message {
	h.t.Helper()
	d := dialogue{method: "INVITE", from: alice, to: "bob@alpha.voice.example.net", callID: fmt.Sprintf("%016x@phone", rand.Uint64())}
	name, answer := h.answerTo(h.ask(d), d, "MD5", "alice-secret")
	d.header = strings.TrimSpace(header + "\n" + name + ": " + answer)
	h.sent = h.write(d)
	h.send(h.sent)
	for {
		m, ok := node.receive(5 * time.Second)
		if !ok {
			h.t.Fatal("the node got no INVITE")
		}
		if m.method() == "INVITE" && strings.Join(m.header("Call-ID"), "") == d.callID {
			return m
		}
	}
}

// seeds are the messages that mutants are made of: those of RFC 4475, and what phones send.
func seeds(t *testing.T, s *server) []string {
	t.Helper()
	files, err := filepath.Glob("../sipproxy/wire/testdata/torture/3.*.txt")
	if err != nil || len(files) != 49 {
		t.Fatalf("%d messages of RFC 4475, %v", len(files), err)
	}
	octet := regexp.MustCompile(`\\x[0-9A-F]{2}`)
	var out []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		_, msg, _ := strings.Cut(string(text), "\n---\n")
		msg = strings.ReplaceAll(strings.ReplaceAll(msg, "\n", "\r\n"), `\LF`, "\n")
		out = append(out, octet.ReplaceAllStringFunc(msg, func(x string) string {
			n, _ := strconv.ParseUint(x[2:], 16, 8)
			return string([]byte{byte(n)})
		}))
	}
	h := s.handset(125, "alice")
	for _, method := range []string{"INVITE", "REGISTER", "MESSAGE", "SUBSCRIBE", "CANCEL", "ACK", "BYE", "OPTIONS", "PRACK", "UPDATE", "REFER"} {
		for _, header := range []string{"", "Route: <sip:" + s.addr(1) + ";lr>\r\nAuthorization: Digest username=\"alice\", realm=\"x\"", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nRecord-Route: <sip:a;lr>"} {
			for _, tag := range []string{"", ";tag=x"} {
				out = append(out, h.write(dialogue{method: method, from: alice, to: "bob@alpha.voice.example.net", header: header, toTag: tag}))
			}
		}
	}
	return out
}

// bombs are what a mutant puts where it likes.
var bombs = []string{"%s%n%x", "\x00", "-1", "4294967296", "99999999999999999999", strings.Repeat("A", 3000), strings.Repeat("(", 500),
	"\r\n ", "\r\n\r\n", "\xff\xfe", "\"", "<", ">", ";", ",,,,", "sip:", "::::", "[::", "@", "%", "=", ";lr;lr", strings.Repeat(";a", 800), "\r\nVia: SIP/2.0/UDP h:0;branch=z9hG4bK"}

// mutant is a message with a few faults.
func mutant(rng *rand.Rand, text string) string {
	for range 1 + rng.IntN(3) {
		i, j := rng.IntN(len(text)+1), rng.IntN(len(text)+1)
		if i > j {
			i, j = j, i
		}
		lines := strings.SplitAfter(text, "\r\n")
		a, b := rng.IntN(len(lines)), rng.IntN(len(lines))
		switch rng.IntN(7) {
		case 0:
			text = text[:i] + bombs[rng.IntN(len(bombs))] + text[i:]
		case 1:
			text = text[:i] + bombs[rng.IntN(len(bombs))] + text[j:]
		case 2:
			text = text[:i] + text[min(j, i+8):]
		case 3:
			lines[a] = strings.Repeat(lines[a], 1+rng.IntN(40))
			text = strings.Join(lines, "")
		case 4:
			lines[a], lines[b] = lines[b], lines[a]
			text = strings.Join(lines, "")
		case 5:
			octets := []byte(text)
			for range 4 {
				if len(octets) > 0 {
					octets[rng.IntN(len(octets))] = byte(rng.IntN(256))
				}
			}
			text = string(octets)
		case 6:
			text = text[:i]
		}
	}
	return text[:min(len(text), 60_000)]
}

// 20,000 datagrams, each broken in its own way, from 10,000 sources: the process lives, its memory is
// what it was, none of them reaches a feature server, and an honest call goes through all the time.
func TestMutantsAndManySources(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	node := s.handsetAt(8, 5060, "node")
	s.honest(node)
	corpus := seeds(t, s)
	rng := rand.New(rand.NewPCG(4475, 3261))
	attack := func(sources int) {
		for i := range sources {
			local := &net.UDPAddr{IP: net.ParseIP(s.addr(128 + i%100))}
			conn, err := net.DialUDP("udp", local, &net.UDPAddr{IP: net.ParseIP(s.addr(1)), Port: 5060})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				conn.Write([]byte(mutant(rng, corpus[rng.IntN(len(corpus))])))
			}
			conn.Close()
			if i%100 == 99 {
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	// The first rounds bring the heap to the size that its collector lets it have; then it stays.
	var sizes []int
	for range 5 {
		attack(2000)
		s.honest(node)
		sizes = append(sizes, s.resident())
	}
	if before, after := sizes[2], sizes[4]; after > before+before/10+(4<<20) {
		t.Errorf("memory grows: %d octets", sizes)
	}
	if n := s.metric("tandem_sipproxy_panics_total"); n != 0 {
		t.Errorf("%v panics\n%s", n, tail(s.log(), 40))
	}
	if n := s.metric("tandem_sipproxy_requests_total") + s.metric("tandem_sipproxy_malformed_total"); n < 10_000 {
		t.Errorf("only %v messages were looked at", n)
	}
	eventually(t, time.Second, "nothing but honest requests hold transactions", func() bool {
		return s.metric("tandem_sipproxy_server_transactions") < 20
	})
	for m, ok := node.receive(200 * time.Millisecond); ok; m, ok = node.receive(200 * time.Millisecond) {
		if m.method() != "" && !strings.Contains(strings.Join(m.header("Call-ID"), ""), "@phone") {
			t.Errorf("a feature server got %s", m.text)
		}
	}
}

// Mutants of what only those can send who have got a message of ours: responses to a call, and requests
// with its tokens.
func TestMutantsWithinCalls(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	node := s.handsetAt(8, 5060, "node")
	rng := rand.New(rand.NewPCG(6026, 5393))
	for round := range 10 {
		phone := s.handset(100+round, "alice")
		invite := phone.invited(s, node, "")
		ok := respond(invite, "200 OK", "ok")
		bye := node.write(dialogue{method: "BYE", from: "bob@alpha.voice.example.net", to: alice, toTag: ";tag=x",
			header: "Route: " + strings.Join(invite.header("Record-Route"), ", "), callID: strings.Join(invite.header("Call-ID"), "")})
		for i := range 200 {
			for _, text := range []string{ok, strings.Replace(ok, "200 OK", []string{"180 Ringing", "100 Trying"}[i%2], 1), bye, phone.sent} {
				text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
				node.conn.Write([]byte(mutant(rng, text)))
			}
			if i%20 == 19 {
				time.Sleep(2 * time.Millisecond)
			}
		}
	}
	for _, ok := node.receive(300 * time.Millisecond); ok; _, ok = node.receive(300 * time.Millisecond) {
	}
	s.honest(node)
	if n := s.metric("tandem_sipproxy_panics_total"); n != 0 {
		t.Errorf("%v panics\n%s", n, tail(s.log(), 40))
	}
}

// stream opens a TCP connection from a host of the block.
func (s *server) stream(host int) net.Conn {
	s.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.addr(host))}, Timeout: 2 * time.Second}
	c, err := d.Dial("tcp", s.addr(1)+":5060")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// What a stream can do wrong ends that stream, with an answer where one is possible.
func TestHostileStreams(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	node := s.handsetAt(8, 5060, "node")
	head := "OPTIONS sip:alpha.voice.example.net SIP/2.0\r\nVia: SIP/2.0/TCP " + s.addr(101) + ";branch=z9hG4bKs\r\nFrom: <sip:" + alice + ">;tag=1\r\nTo: <sip:" + alice + ">\r\nCall-ID: s\r\nCSeq: 1 OPTIONS\r\n"
	for _, c := range []struct{ name, text, want string }{
		{"huge Content-Length", head + "Content-Length: 2147483647\r\n\r\n", "SIP/2.0 400"},
		{"negative Content-Length", head + "Content-Length: -1\r\n\r\n", "SIP/2.0 400"},
		{"two Content-Lengths", head + "Content-Length: 0\r\nContent-Length: 5\r\n\r\n", "SIP/2.0 400"},
		{"header bomb", head + strings.Repeat("X: y\r\n", 20_000), "SIP/2.0 "},
		{"one endless header", head + "X: " + strings.Repeat("y", 100_000), "SIP/2.0 "},
		{"no SIP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", ""},
	} {
		conn := s.stream(101)
		io.WriteString(conn, c.text)
		conn.SetReadDeadline(time.Now().Add(15 * time.Second))
		got, err := io.ReadAll(conn)
		if !strings.HasPrefix(string(got), c.want) || err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %.60q, %v, want %q and the end", c.name, got, err, c.want)
		}
	}
	many := s.stream(101)
	io.WriteString(many, head+strings.Repeat("Via: SIP/2.0/TCP h;branch=z9hG4bKv\r\n", 300)+"Content-Length: 0\r\n\r\n")
	if line, err := bufio.NewReader(many).ReadString('\n'); !strings.HasPrefix(line, "SIP/2.0 400") {
		t.Errorf("300 Vias: %q, %v", line, err)
	}
	before := s.resident()
	flood := s.stream(102)
	go io.Copy(io.Discard, flood)
	for range 100 {
		flood.Write([]byte(strings.Repeat("\r\n", 50_000)))
	}
	for range 300 { // beginnings of messages that never end
		io.WriteString(s.stream(103), head)
	}
	s.honest(node)
	if after := s.resident(); after > before+(48<<20) {
		t.Errorf("memory grew from %d to %d octets", before, after)
	}
	if n := s.metric("tandem_sipproxy_panics_total"); n != 0 {
		t.Errorf("%v panics\n%s", n, tail(s.log(), 40))
	}
}

// A registered TCP phone whose connection died costs its callers no wait.
func TestDeadConnection(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn := s.stream(104)
	r := bufio.NewReader(conn)
	register := func(cseq int, extra string) string {
		return fmt.Sprintf("REGISTER sip:alpha.voice.example.net SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.1:5060;branch=z9hG4bK%d;rport\r\nMax-Forwards: 70\r\n"+
			"From: <sip:%s>;tag=1\r\nTo: <sip:%s>\r\nCall-ID: behind-nat\r\nCSeq: %d REGISTER\r\nContact: <sip:alice@10.0.0.1:5060;transport=tcp>\r\n%sContent-Length: 0\r\n\r\n", cseq, alice, alice, cseq, extra)
	}
	read := func() message {
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		text := ""
		for !strings.HasSuffix(text, "\r\n\r\n") {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			text += line
		}
		return message{received: true, text: text}
	}
	io.WriteString(conn, register(1, ""))
	challenge := read()
	h := &handset{t: t, user: "alice"}
	name, answer := h.answerTo(challenge, dialogue{method: "REGISTER", uri: "sip:alpha.voice.example.net"}, "MD5", "alice-secret")
	io.WriteString(conn, register(2, name+": "+answer+"\r\n"))
	if got := read(); got.uri() != "200" || !strings.Contains(got.text, "received="+s.addr(104)) {
		t.Fatalf("REGISTER over TCP: %s", got.text)
	}
	node := s.handsetAt(8, 5060, "node")
	node.send(node.write(dialogue{method: "MESSAGE", from: "x@alpha.voice.example.net", to: alice}))
	if got := read(); got.method() != "MESSAGE" {
		t.Fatalf("over the phone's connection came %s", got.start())
	}
	conn.Close()
	eventually(t, 2*time.Second, "a dead connection answers 430 at once", func() bool {
		start := time.Now()
		return node.ask(dialogue{method: "MESSAGE", from: "x@alpha.voice.example.net", to: alice}).uri() == "430" && time.Since(start) < time.Second
	})
}

// The process is killed while a phone rings. The phone is answered, and the call goes on.
func TestKillWhileRinging(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	node, phone := s.handsetAt(8, 5060, "node"), s.handset(100, "alice")
	invite := phone.invited(s, node, "")
	node.send(respond(invite, "180 Ringing", "ok"))
	s.kill()
	s.start()
	node.send(respond(invite, "200 OK", "ok"))
	answer := phone.final(5 * time.Second)
	if answer.uri() != "200" {
		t.Fatalf("after the restart the phone heard %q, want 200", answer.start())
	}
	for _, method := range []string{"ACK", "BYE"} {
		routes := answer.header("Record-Route")
		header := ""
		for i := len(routes) - 1; i >= 0; i-- {
			header += "Route: " + routes[i] + "\n"
		}
		phone.send(phone.write(dialogue{method: method, from: alice, to: "bob@alpha.voice.example.net", toTag: ";tag=ok",
			uri: "sip:node@" + s.addr(8) + ":5060", header: header, callID: strings.Join(invite.header("Call-ID"), "")}))
		eventually(t, 5*time.Second, "the node gets "+method, func() bool {
			m, _ := node.receive(time.Second)
			return m.method() == method
		})
	}
}

// Every way to register what is not one's own, or too much of it.
func TestHostileRegisters(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const bob, carol = "bob@alpha.voice.example.net", "carol@bravo.voice.example.net"
	var eleven []string
	for i := range 10 { // beside the handset's own
		eleven = append(eleven, fmt.Sprintf("Contact: <sip:alice@192.0.2.%d>", i))
	}
	for i, c := range []struct {
		name, to, uri, header, want string
	}{
		{"another's address of record", bob, "", "", "403"},
		{"another account's", carol, "", "", "403"},
		{"unknown domain", "alice@gone.example", "", "", "404"},
		{"eleven contacts", alice, "", strings.Join(eleven, "\n"), "403"},
		{"star among others", alice, "", "Contact: *\nExpires: 0", "400"},
		{"brief", alice, "", "Expires: 5", "423"},
		{"Require", alice, "", "Require: nothing", "420"},
		{"sips", alice, "sips:alpha.voice.example.net", "", "416"},
		{"contact with a line feed", alice, "", "Contact: <sip:x@y%0d%0aVia:z>", "400"},
	} {
		if c.uri == "" {
			c.uri = "sip:alpha.voice.example.net"
		}
		h := s.handset(100+i, "alice")
		d := dialogue{method: "REGISTER", from: alice, to: c.to, uri: c.uri, header: c.header}
		challenge := h.ask(d)
		if name, answer := h.answerTo(challenge, d, "MD5", "alice-secret"); answer != "" {
			d.header = strings.TrimSpace(d.header + "\n" + name + ": " + answer)
			challenge = h.ask(d)
		}
		if got := challenge.uri(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, challenge.start(), c.want)
		}
	}
	if out := s.must("sip", "registrations"); strings.Contains(out, "bob") || strings.Contains(out, "carol") {
		t.Errorf("bound:\n%s", out)
	}
}

// All nodes dead: 503 with Retry-After, at once.
func TestAllNodesDead(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	h := s.handset(100, "alice")
	start := time.Now()
	got := h.login(fromAliceDialogue("INVITE"), "MD5", "alice-secret")
	if got.uri() != "503" || len(got.header("Retry-After")) != 1 || time.Since(start) > 2*time.Second {
		t.Errorf("after %v: %s", time.Since(start), got.text)
	}
}

func fromAliceDialogue(method string) dialogue {
	return dialogue{method: method, from: alice, to: "bob@alpha.voice.example.net"}
}
