package tests

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/control"
)

const watchConfig = `
data: DIR/data
control:
  socket: DIR/tandem.sock
dns:
  listen: [NET.1:5300]
  tls: {listen: [NET.1:8853]}
  rateLimit: {off: true}
`

// TestDnstapWithReaders has BIND's and Knot's readers read what was asked and answered over UDP, TCP and TLS. Twin:
// without a target there is no file.
func TestDnstapWithReaders(t *testing.T) {
	t.Parallel()
	s := startWith(t, watchConfig+"  dnstap: {file: DIR/queries.tap, identity: edge-one, version: tandem-test}\n")
	s.dig("-b", s.addr(9), "alpha.voice.example.net", "NAPTR")
	s.dig("+tcp", "-b", s.addr(9), "nobody.voice.example.net", "A")
	s.kdig("+tls", "-p", "8853", "-b", s.addr(9), "alpha.voice.example.net", "A")
	s.stop()
	short := s.read("dnstap-read", s.path("queries.tap"))
	for _, want := range []string{
		fmt.Sprintf("AQ %s:", s.addr(9)), fmt.Sprintf("-> %s:5300 UDP", s.addr(1)), fmt.Sprintf("<- %s:5300 UDP", s.addr(1)),
		fmt.Sprintf("-> %s:5300 TCP", s.addr(1)), "alpha.voice.example.net/IN/NAPTR", "nobody.voice.example.net/IN/A",
	} {
		if !strings.Contains(short, want) {
			t.Errorf("dnstap-read does not say %q:\n%s", want, short)
		}
	}
	if n := strings.Count(short, "\n"); n != 6 {
		t.Errorf("dnstap-read has %d lines, want 6:\n%s", n, short)
	}
	if whole := s.read("dnstap-read", "-y", s.path("queries.tap")); strings.Count(whole, "identity: edge-one") != 6 ||
		!strings.Contains(whole, "type: AUTH_RESPONSE") || !strings.Contains(whole, "version: tandem-test") || !strings.Contains(whole, "status: NXDOMAIN") {
		t.Errorf("dnstap-read -y:\n%s", whole)
	}
	if whole := s.read("kdig", "-G", s.path("queries.tap")); strings.Count(whole, "status: NOERROR") < 2 || !strings.Contains(whole, "alpha.voice.example.net.") {
		t.Errorf("kdig -G:\n%s", whole)
	}
}

// read runs a program and returns what it prints.
func (s *server) read(program string, args ...string) string {
	s.t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(out)
}

// TestDnstapWithCollector has Farsight's collector take messages over a unix socket and over TCP, be killed, and
// come back, and BIND's reader read what it took.
func TestDnstapWithCollector(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, target, listen string }{
		{"unix", "socket: DIR/tap.sock", "-u DIR/tap.sock"},
		{"tcp", `address: "NET.3:6000"`, "-a NET.3 -p 6000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startWith(t, watchConfig+"  dnstap: {"+c.target+"}\n")
			listen := strings.Fields(strings.ReplaceAll(s.local(c.listen), "DIR", s.dir))
			for i, name := range []string{"alpha", "bravo"} {
				file := s.path(fmt.Sprintf("%d.tap", i))
				end := s.capture(listen, file)
				eventually(t, 20*time.Second, "a message at the collector", func() bool {
					s.dig(name+".voice.example.net", "A")
					info, err := os.Stat(file)
					return err == nil && info.Size() > 500
				})
				end()
				if text := s.read("dnstap-read", file); !strings.Contains(text, name+".voice.example.net/IN/A") {
					t.Errorf("collector %d:\n%s", i, text)
				}
			}
		})
	}
}

// capture starts a collector that writes to file, and returns what ends it.
func (s *server) capture(listen []string, file string) (end func()) {
	s.t.Helper()
	args := append([]string{"-t", "protobuf:dnstap.Dnstap", "-w", file, "-b", "1024"}, listen...)
	cmd := exec.Command("fstrm_capture", args...)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	end = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}
	s.t.Cleanup(end)
	return end
}

// TestQueryLogOfServer finds a line for each query, with what dig saw; twin: without the section no file is made.
func TestQueryLogOfServer(t *testing.T) {
	t.Parallel()
	s := startWith(t, watchConfig+"  queryLog: {file: DIR/queries.log, sample: 1}\n")
	a := s.dig("-b", s.addr(9), "+tcp", "nobody.voice.example.net", "NAPTR")
	if a.status != "NXDOMAIN" {
		t.Fatalf("dig: %s", a.text)
	}
	var line struct{ Client, Name, Type, Rcode, Transport, Path, Flags string }
	eventually(t, 10*time.Second, "a line in the query log", func() bool {
		text, _ := os.ReadFile(s.path("queries.log"))
		return json.Unmarshal(text, &line) == nil
	})
	host, _, _ := net.SplitHostPort(line.Client)
	if host != s.addr(9) || line.Name != "nobody.voice.example.net." || line.Type != "NAPTR" || line.Rcode != "NXDOMAIN" ||
		line.Transport != "tcp" || line.Path != "fast" || !strings.Contains(line.Flags, "aa edns cookie") {
		t.Errorf("line %+v", line)
	}
}

// TestDNSTopAndStats: what dig asks is what top and stats show.
func TestDNSTopAndStats(t *testing.T) {
	t.Parallel()
	s := startWith(t, watchConfig)
	found := make(chan string)
	go func() {
		out, _ := s.run("", "dns", "top", "--for", "3s", "-o", "json")
		found <- out
	}()
	var out string
	for asked := 0; out == ""; asked++ {
		s.dig([]string{"alpha", "alpha", "bravo"}[asked%3]+".voice.example.net", "NAPTR")
		select {
		case out = <-found:
		default:
		}
	}
	var top control.DNSTop
	if err := json.Unmarshal([]byte(out), &top); err != nil {
		t.Fatalf("top: %v\n%s", err, out)
	}
	if len(top.Items) != 2 || top.Items[0].Key != "alpha.voice.example.net." || top.Items[1].Key != "bravo.voice.example.net." || top.Every != 1 {
		t.Errorf("top = %+v", top)
	}
	var stats control.DNSStats
	if err := json.Unmarshal([]byte(s.must("dns", "stats", "-o", "json")), &stats); err != nil {
		t.Fatal(err)
	}
	seen := false
	for _, x := range stats.Series {
		if x.Name == "tandem_dnsd_queries_total" && x.Labels["transport"] == "udp" {
			seen = uint64(x.Total) >= top.Queries && *x.Last60 > 0
		}
	}
	if !seen {
		t.Errorf("stats do not tell the %d queries of top", top.Queries)
	}
	if text := s.must("dns", "stats"); !strings.Contains(text, "  NAPTR") || strings.Contains(text, "voice.example") {
		t.Errorf("stats:\n%s", text)
	}
}
