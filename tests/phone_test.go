package tests

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// handset is a phone without a mind of its own: it sends the octets it is given from one UDP socket
// and shows what comes back. It is for what no real phone would send.
type handset struct {
	t    testing.TB
	conn *net.UDPConn
	to   string
	user string
	cseq int
	sent string // what invited sent

	awaited []string // Call-IDs that awaits returned
}

// handset opens a socket at a host of the block, pointed at tandem.
func (s *server) handset(host int, user string) *handset {
	s.t.Helper()
	return s.handsetAt(host, 0, user)
}

// handsetAt opens it at a port.
func (s *server) handsetAt(host, port int, user string) *handset {
	s.t.Helper()
	return s.dialHandset(fmt.Sprintf("%s:%d", s.addr(host), port), s.addr(1)+":5060", user)
}

// handsetTo points it at another of tandem's addresses.
func (s *server) handsetTo(host, listener int, user string) *handset {
	s.t.Helper()
	return s.dialHandset(s.addr(host)+":0", s.addr(listener)+":5060", user)
}

func (s *server) dialHandset(from, to, user string) *handset {
	s.t.Helper()
	local, err := net.ResolveUDPAddr("udp", from)
	if err != nil {
		s.t.Fatal(err)
	}
	remote, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := net.DialUDP("udp", local, remote)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return &handset{t: s.t, conn: conn, to: remote.String(), user: user}
}

// send sends octets, line ends made CRLF.
func (h *handset) send(text string) {
	h.t.Helper()
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	if _, err := h.conn.Write([]byte(text)); err != nil {
		h.t.Fatal(err)
	}
}

// receive returns the next message, false when none comes in time.
func (h *handset) receive(within time.Duration) (message, bool) {
	buf := make([]byte, 65536)
	h.conn.SetReadDeadline(time.Now().Add(within))
	n, err := h.conn.Read(buf)
	if err != nil {
		return message{}, false
	}
	return message{received: true, text: string(buf[:n])}, true
}

// final returns the next final response, "" as its text when none comes in time.
func (h *handset) final(within time.Duration) message {
	for deadline := time.Now().Add(within); ; {
		m, ok := h.receive(time.Until(deadline))
		if !ok {
			return message{}
		}
		if strings.HasPrefix(m.start(), "SIP/2.0 ") && !strings.HasPrefix(m.uri(), "1") {
			return m
		}
	}
}

// dialogue is what a handset writes into a request.
type dialogue struct {
	method, uri   string
	from, to      string // user@host
	header        string // further lines
	hops          int    // Max-Forwards; zero means 70, below zero 0
	callID, toTag string
	body          string
}

// write composes a request with the next CSeq.
func (h *handset) write(d dialogue) string {
	h.cseq++
	if d.hops < 0 {
		d.hops = 0
	} else if d.hops == 0 {
		d.hops = 70
	}
	if d.callID == "" {
		d.callID = fmt.Sprintf("%016x@handset", rand.Uint64())
	}
	if d.uri == "" {
		d.uri = "sip:" + d.to
	}
	lines := []string{
		d.method + " " + d.uri + " SIP/2.0",
		fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bK%016x;rport", h.conn.LocalAddr(), rand.Uint64()),
		fmt.Sprintf("Max-Forwards: %d", d.hops),
		fmt.Sprintf("From: <sip:%s>;tag=%x", d.from, md5.Sum([]byte(d.callID))),
		"To: <sip:" + d.to + ">" + d.toTag,
		"Call-ID: " + d.callID,
		fmt.Sprintf("CSeq: %d %s", h.cseq, d.method),
		fmt.Sprintf("Contact: <sip:%s@%s>", h.user, h.conn.LocalAddr()),
	}
	if d.header != "" {
		lines = append(lines, strings.Split(strings.TrimSpace(d.header), "\n")...)
	}
	lines = append(lines, fmt.Sprintf("Content-Length: %d", len(d.body)), "", d.body)
	return strings.Join(lines, "\r\n")
}

// ask sends a request and returns its final response, with the ACK that a refused INVITE needs.
func (h *handset) ask(d dialogue) message {
	h.t.Helper()
	text := h.write(d)
	h.send(text)
	m := h.final(5 * time.Second)
	if m.text == "" {
		h.t.Errorf("no final response to %s", d.method)
	}
	if d.method == "INVITE" && m.uri() >= "300" {
		ack := strings.Replace(text, "INVITE ", "ACK ", 1)
		ack = strings.Replace(ack, fmt.Sprintf("CSeq: %d INVITE", h.cseq), fmt.Sprintf("CSeq: %d ACK", h.cseq), 1)
		ack = regexp.MustCompile(`(?m)^To: .*\r$`).ReplaceAllLiteralString(ack, "To: "+strings.Join(m.header("To"), "")+"\r")
		h.send(ack)
	}
	return m
}

// login sends a request, answers its challenge with the password by the named algorithm, and
// returns the final response.
func (h *handset) login(d dialogue, algorithm, password string) message {
	h.t.Helper()
	if d.callID == "" {
		d.callID = fmt.Sprintf("%016x@handset", rand.Uint64())
	}
	challenge := h.ask(d)
	header, answer := h.answerTo(challenge, d, algorithm, password)
	if answer == "" {
		h.t.Errorf("%s was not challenged with %s but answered %s", d.method, algorithm, challenge.start())
		return challenge
	}
	d.header = strings.TrimSpace(d.header + "\n" + header + ": " + answer)
	return h.ask(d)
}

// answerTo computes the credentials for a challenge (RFC 7616, RFC 8760).
func (h *handset) answerTo(challenge message, d dialogue, algorithm, password string) (header, answer string) {
	uri := d.uri
	if uri == "" {
		uri = "sip:" + d.to
	}
	for asked, given := range map[string]string{"WWW-Authenticate": "Authorization", "Proxy-Authenticate": "Proxy-Authorization"} {
		for _, value := range challenge.header(asked) {
			p := parameters(value)
			if p["algorithm"] == "" {
				p["algorithm"] = "MD5"
			}
			if !strings.EqualFold(p["algorithm"], algorithm) {
				continue
			}
			ha1 := digest(algorithm, h.user+":"+p["realm"]+":"+password)
			ha2 := digest(algorithm, d.method+":"+uri)
			response := digest(algorithm, ha1+":"+p["nonce"]+":00000001:c0ffee:auth:"+ha2)
			return given, fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=%s, qop=auth, nc=00000001, cnonce="c0ffee", opaque="%s"`,
				h.user, p["realm"], p["nonce"], uri, response, p["algorithm"], p["opaque"])
		}
	}
	return "", ""
}

// parameters reads the parameters of a challenge.
func parameters(challenge string) map[string]string {
	found := make(map[string]string)
	for _, m := range regexp.MustCompile(`(\w+)=(?:"([^"]*)"|([^\s,]+))`).FindAllStringSubmatch(challenge, -1) {
		found[strings.ToLower(m[1])] = m[2] + m[3]
	}
	return found
}

func digest(algorithm, text string) string {
	var sum hash.Hash = md5.New()
	if strings.EqualFold(algorithm, "SHA-256") {
		sum = sha256.New()
	}
	sum.Write([]byte(text))
	return hex.EncodeToString(sum.Sum(nil))
}

func TestDigestOfHandset(t *testing.T) {
	// RFC 7616 section 3.9.1
	h := &handset{user: "Mufasa"}
	challenge := message{text: "SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"http-auth@example.org\", qop=\"auth\", algorithm=SHA-256, nonce=\"n\"\r\n\r\n"}
	header, answer := h.answerTo(challenge, dialogue{method: "REGISTER", uri: "sip:x"}, "SHA-256", "Circle of Life")
	want := digest("SHA-256", digest("SHA-256", "Mufasa:http-auth@example.org:Circle of Life")+":n:00000001:c0ffee:auth:"+digest("SHA-256", "REGISTER:sip:x"))
	if header != "Authorization" || parameters(answer)["response"] != want {
		t.Errorf("answerTo = %s: %s, want response %s", header, answer, want)
	}
	if _, none := h.answerTo(challenge, dialogue{}, "MD5", "x"); none != "" {
		t.Errorf("answered %q to a challenge without MD5", none)
	}
}

// listenUDP takes packets at a host's SIP port and answers nothing; the function returned counts
// them.
func (s *server) listenUDP(host int) func() int {
	s.t.Helper()
	conn, err := net.ListenPacket("udp", s.addr(host)+":5060")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	var count atomic.Int64
	go func() {
		for buf := make([]byte, 65536); ; count.Add(1) {
			if _, _, err := conn.ReadFrom(buf); err != nil {
				return
			}
		}
	}()
	return func() int { return int(count.Load()) }
}
