package tests

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// message is one SIP message that a peer saw.
type message struct {
	received bool
	text     string
}

// start returns the message's first line.
func (m message) start() string {
	line, _, _ := strings.Cut(m.text, "\n")
	return strings.TrimSpace(line)
}

// method returns the method of a request, "" of a response.
func (m message) method() string {
	word, _, _ := strings.Cut(m.start(), " ")
	if strings.HasPrefix(word, "SIP/") {
		return ""
	}
	return word
}

// uri returns the Request-URI of a request, the status code of a response.
func (m message) uri() string {
	fields := strings.Fields(m.start())
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}

// header returns the values of a header's lines.
func (m message) header(name string) []string {
	var values []string
	head, _, _ := strings.Cut(strings.ReplaceAll(m.text, "\r", ""), "\n\n")
	for line := range strings.SplitSeq(head, "\n") {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(strings.TrimSpace(key), name) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

// body returns what follows the head.
func (m message) body() string {
	_, body, _ := strings.Cut(strings.ReplaceAll(m.text, "\r", ""), "\n\n")
	return body
}

// sipp is a running sipp process with the record of its messages.
type sipp struct {
	t        testing.TB
	name     string
	messages string // path of the trace
	cmd      *exec.Cmd
	output   *bytes.Buffer
	ended    chan struct{}
}

// sipp starts sipp at a host of the block. Of its scenario's words METHOD and HOLD, which sipp has
// no keywords for, r's take the place.
func (s *server) sipp(host int, scenario string, r request, args ...string) *sipp {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.dir, "sipp-")
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/sipp/" + scenario + ".xml")
	if err != nil {
		s.t.Fatal(err)
	}
	words := strings.NewReplacer("METHOD", r.method, "HOLD", fmt.Sprint(r.hold.Milliseconds()))
	file := filepath.Join(dir, scenario+".xml")
	if err := os.WriteFile(file, []byte(words.Replace(string(text))), 0o600); err != nil {
		s.t.Fatal(err)
	}
	p := &sipp{
		t: s.t, name: fmt.Sprintf("%s at .%d", scenario, host), messages: filepath.Join(dir, "messages"),
		output: new(bytes.Buffer), ended: make(chan struct{}),
	}
	own := s.addr(host)
	base := []string{
		"-sf", file, "-i", own, "-p", "5060", "-bind_local", "-mi", own, "-ci", own, "-nostdin",
		"-trace_msg", "-message_file", p.messages, "-skip_rlimit",
	}
	p.cmd = exec.Command("sipp", append(base, args...)...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.output, p.output
	p.cmd.Env = append(os.Environ(), "TERM=dumb")
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	s.t.Cleanup(func() {
		p.stop()
		if s.t.Failed() {
			s.t.Logf("%s saw:\n%s", p.name, tail(p.trace(), 200))
		}
	})
	return p
}

// feature starts sipp as a feature server and waits until it listens.
func (s *server) feature(host int, scenario string, args ...string) *sipp {
	s.t.Helper()
	p := s.sipp(host, scenario, request{}, args...)
	kind := "/proc/net/udp"
	if slices.Contains(args, "t1") {
		kind = "/proc/net/tcp"
	}
	var a, b, c, d int
	fmt.Sscanf(s.addr(host), "%d.%d.%d.%d", &a, &b, &c, &d)
	socket := fmt.Sprintf("%02X%02X%02X%02X:%04X", d, c, b, a, 5060)
	eventually(s.t, 5*time.Second, p.name+" listens", func() bool {
		table, _ := os.ReadFile(kind)
		return strings.Contains(string(table), socket)
	})
	return p
}

// request describes what a sipp caller sends.
type request struct {
	method   string
	from, to string // user@host
	uri      string // default sip:<to>
	user     string // of the credentials; default the user part of from
	password string
	header   string        // one more header line
	hold     time.Duration // of each half of a call
	server   bool          // the digest-uri is the server's, as sipp has it by itself
}

// phone starts sipp as a phone that plays scenario once.
func (s *server) phone(host int, scenario string, r request, args ...string) *sipp {
	s.t.Helper()
	if r.uri == "" {
		r.uri = "sip:" + r.to
	}
	if r.user == "" {
		r.user, _, _ = strings.Cut(r.from, "@")
	}
	if r.header == "" {
		r.header = "User-Agent: sipp"
	}
	base := []string{
		s.addr(1) + ":5060", "-m", "1", "-au", r.user, "-ap", r.password, "-timeout", "20s", "-timeout_error",
		"-key", "req_uri", r.uri, "-key", "req_from", "sip:" + r.from,
		"-key", "req_to", "sip:" + r.to, "-key", "req_header", r.header,
	}
	if !r.server {
		base = append(base, "-auth_uri", strings.TrimPrefix(r.uri, "sip:"))
	}
	return s.sipp(host, scenario, r, append(base, args...)...)
}

// wait waits until the process ends by itself and reports whether its scenario was played well.
func (p *sipp) wait() bool {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(40 * time.Second):
		p.t.Fatalf("%s does not end", p.name)
	}
	return p.cmd.ProcessState.ExitCode() == 0
}

// succeed fails the test unless the scenario was played to its end as written.
func (p *sipp) succeed() {
	p.t.Helper()
	if !p.wait() {
		p.t.Errorf("%s did not come to its end: %s", p.name, p.failure())
	}
}

// refused fails the test unless the scenario was broken by a response with this status.
func (p *sipp) refused(status string) {
	p.t.Helper()
	if p.wait() {
		p.t.Errorf("%s came to its end, want it refused with %s", p.name, status)
		return
	}
	seen := p.received()
	if len(seen) == 0 || seen[len(seen)-1].uri() != status {
		p.t.Errorf("%s was not refused with %s: %s", p.name, status, p.failure())
	}
}

// failure says in a line what a phone saw last.
func (p *sipp) failure() string {
	seen := p.received()
	if len(seen) == 0 {
		return "it received nothing\n" + tail(p.output.String(), 12)
	}
	return "the last message it received is " + seen[len(seen)-1].start()
}

// stop ends the process and waits for it.
func (p *sipp) stop() {
	p.cmd.Process.Kill()
	<-p.ended
}

func (p *sipp) trace() string {
	text, _ := os.ReadFile(p.messages)
	return string(text)
}

// received returns the messages that the process got so far, but for the server's questions how it is.
func (p *sipp) received() []message {
	var got []message
	for _, m := range readTrace(p.trace()) {
		if m.received && !(m.method() == "OPTIONS" && strings.Contains(m.text, "\nFrom: <sip:probe@")) {
			got = append(got, m)
		}
	}
	return got
}

// requests returns the received requests with a method, all of them for "".
func (p *sipp) requests(method string) []message {
	var got []message
	for _, m := range p.received() {
		if m.method() != "" && (method == "" || m.method() == method) {
			got = append(got, m)
		}
	}
	return got
}

// readTrace reads sipp's message trace.
func readTrace(text string) []message {
	var all []message
	for part := range strings.SplitSeq("\n"+text, "\n-----------------------------------------------") {
		_, rest, ok := strings.Cut(part, "\n")
		if !ok {
			continue
		}
		first, body, ok := strings.Cut(rest, "\n\n")
		if ok {
			all = append(all, message{received: strings.Contains(first, "received"), text: body})
		}
	}
	return all
}

func TestReadTrace(t *testing.T) {
	got := readTrace("----------------------------------------------- 2026-01-01 00:00:00\n" +
		"UDP message received [40] bytes :\n\nOPTIONS sip:a SIP/2.0\nVia: x\nVia: y\n\nbody\n" +
		"----------------------------------------------- 2026-01-01 00:00:01\n" +
		"UDP message sent (40 bytes):\n\nSIP/2.0 200 OK\nVia: x\n\n")
	if len(got) != 2 || got[0].method() != "OPTIONS" || !got[0].received || got[1].received ||
		len(got[0].header("via")) != 2 || got[1].uri() != "200" || strings.TrimSpace(got[0].body()) != "body" {
		t.Errorf("readTrace = %+v", got)
	}
}

// curl fetches with curl and returns the status code and the body.
func (s *server) curl(args ...string) (code, body string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "curl", append([]string{"-s", "-w", "\n%{http_code}"}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("curl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	i := bytes.LastIndexByte(out, '\n')
	return string(out[i+1:]), string(out[:i])
}
