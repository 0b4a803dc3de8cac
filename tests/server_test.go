package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leaseBlock takes a block of 256 loopback addresses for one test and returns its first three
// octets. A socket on its last address holds the lease against other runs on this machine.
func leaseBlock(t testing.TB) string {
	t.Helper()
	for range 100 {
		block := fmt.Sprintf("127.%d.%d", 64+rand.IntN(190), rand.IntN(256))
		held, err := net.Listen("tcp", block+".254:5999")
		if err != nil {
			continue
		}
		t.Cleanup(func() { held.Close() })
		return block
	}
	t.Fatal("no free block of loopback addresses in 100 tries")
	return ""
}

// server is a `tandem serve` process of one test, at the first address of a block of its own:
//
//	.1  tandem: DNS 5300, SIP 5060, HTTP 8080 and 8443, provisioning 8445; .2 its second SIP address
//	.8 to .15    feature servers, believed to be the core
//	.100 and up  phones
type server struct {
	t     testing.TB
	block string
	dir   string
	cmd   *exec.Cmd
	ended chan error

	program string // "": the one built for this run
}

const serveConfig = `
data: DIR/data
control:
  socket: DIR/tandem.sock
dns:
  listen: [NET.1:5300]
sip:
  edge: edge1
  listeners:
    - {name: public, udp: NET.1:5060, tcp: NET.1:5060}
    - {name: second, udp: NET.2:5060, tcp: NET.2:5060}
http:
  listen: NET.1:8080
  tls: NET.1:8443
provision:
  listen: NET.1:8445
  host: NET.1
  port: 8445
metrics:
  listen: NET.1:9153
log:
  level: debug
`

// newServer prepares a server without starting it.
func newServer(t testing.TB) *server {
	t.Helper()
	dir, err := os.MkdirTemp(workshop, "server-")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, block: leaseBlock(t), dir: dir}
	s.writeConfig(serveConfig)
	return s
}

// writeConfig writes text as the configuration file, with the test's own addresses and directory.
func (s *server) writeConfig(text string) {
	s.t.Helper()
	text = strings.ReplaceAll(s.local(text), "DIR", s.dir)
	if err := os.WriteFile(s.path("tandem.yaml"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// startServer starts a server with the little telco of testdata/telco.yaml in it.
func startServer(t testing.TB) *server {
	t.Helper()
	return startWith(t, serveConfig)
}

// startWith starts one with a configuration file of its own.
func startWith(t testing.TB, config string) *server {
	t.Helper()
	s := newServer(t)
	s.writeConfig(config)
	s.start()
	telco, err := os.ReadFile("testdata/telco.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.apply(string(telco))
	return s
}

// local puts the block's octets where text says NET.
func (s *server) local(text string) string { return strings.ReplaceAll(text, "NET.", s.block+".") }

// addr returns an address of the block.
func (s *server) addr(host int) string { return fmt.Sprintf("%s.%d", s.block, host) }

func (s *server) path(name string) string { return filepath.Join(s.dir, name) }

// start runs the process and waits until it serves.
func (s *server) start() {
	s.t.Helper()
	path, err := program()
	if err != nil {
		s.t.Fatal(err)
	}
	if s.program != "" {
		path = s.program
	}
	log, err := os.OpenFile(s.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(path, "serve", "-c", s.path("tandem.yaml"))
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.dir, log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan error) { ended <- cmd.Wait() }(s.cmd, s.ended)
	s.t.Cleanup(s.stopAtEnd)
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, code := s.run("", "status"); code == 0 {
			return
		}
		select {
		case err := <-s.ended:
			s.ended <- err
			s.t.Fatalf("tandem serve ended with %v\n%s", err, s.log())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("tandem serve does not answer tandem status after 20 s\n%s", s.log())
		}
	}
}

// stop asks the process to end and waits for it.
func (s *server) stop() {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.ended:
		s.ended <- nil
		if err != nil {
			s.t.Errorf("tandem serve ended with %v after SIGTERM\n%s", err, s.log())
		}
	case <-time.After(15 * time.Second):
		s.kill()
		s.t.Errorf("tandem serve runs on 15 s after SIGTERM\n%s", s.log())
	}
}

// kill ends the process as a crash would.
func (s *server) kill() {
	s.cmd.Process.Kill()
	<-s.ended
	s.ended <- nil
}

func (s *server) stopAtEnd() {
	if s.t.Failed() {
		s.t.Logf("the server's log:\n%s", tail(s.log(), 60))
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(10 * time.Second):
		s.cmd.Process.Kill()
		<-s.ended
	}
	s.ended <- nil
}

func (s *server) log() string {
	text, _ := os.ReadFile(s.path("log"))
	return string(text)
}

// tail returns the last n lines of text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// run calls the command line against the server and returns its output, both streams together, and
// exit code.
func (s *server) run(stdin string, args ...string) (string, int) {
	s.t.Helper()
	path, err := program()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"--socket", s.path("tandem.sock")}, args...)...)
	cmd.Dir = s.dir
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("tandem %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// must calls the command line and fails the test unless it succeeds.
func (s *server) must(args ...string) string {
	s.t.Helper()
	out, code := s.run("", args...)
	if code != 0 {
		s.t.Fatalf("tandem %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// apply commits documents, with the block's octets where they say NET, and waits until every part
// serves them.
func (s *server) apply(documents string) {
	s.t.Helper()
	if strings.HasPrefix(documents, "{kind:") {
		documents = "---\n" + documents // else it would be taken for JSON
	}
	if out, code := s.run(s.local(documents), "apply", "--wait", "-f", "-"); code != 0 {
		s.t.Fatalf("tandem apply: exit %d\n%s\nof\n%s", code, out, documents)
	}
}

// object returns one object as the API shows it.
func (s *server) object(kind, id string, into any) {
	s.t.Helper()
	out := s.must("get", kind, id, "-o", "json")
	if err := json.Unmarshal([]byte(out), into); err != nil {
		s.t.Fatalf("tandem get %s %s -o json printed %q: %v", kind, id, out, err)
	}
}

// eventually waits until ok is true, at most the given time, then fails the test with what. It looks
// several times, however long a look takes on a busy machine.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	const looks = 5
	deadline := time.Now().Add(within)
	for look := 1; !ok(); time.Sleep(20 * time.Millisecond) {
		if look++; look > looks && time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// edit changes fields of one object as a person would: get, change, apply. A nil value removes the
// field.
func (s *server) edit(kind, id string, fields map[string]any) {
	s.t.Helper()
	document := make(map[string]any)
	s.object(kind, id, &document)
	document["kind"] = kind
	for name, value := range fields {
		document[name] = value
		if value == nil {
			delete(document, name)
		}
	}
	text, err := json.Marshal(document)
	if err != nil {
		s.t.Fatal(err)
	}
	s.apply(string(text))
}
