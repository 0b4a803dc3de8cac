package lab

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite examples/telco.yaml")

// The file that people read is what the lab applies.
func TestExampleObjects(t *testing.T) {
	const file = "../../examples/telco.yaml"
	got, err := Objects(Default())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("Objects(Default()) is not %s (-want +got), run with -update:\n%s", file, diff)
	}
}

// Every address of the objects comes from the configuration: one elsewhere leaves none of the
// default's behind.
func TestObjectsElsewhere(t *testing.T) {
	cfg := elsewhere()
	got, err := Objects(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, stale := range []string{"127.0.0.1:", "[127.0.0.1]", "127.0.0.1,", "127.0.0.11", "127.0.0.14", "127.0.0.8/", ": 5060", ": 8080", ": 8443"} {
		if strings.Contains(string(got), stale) {
			t.Errorf("Objects of a lab elsewhere hold %s", stale)
		}
	}
	for _, fresh := range []string{"127.9.9.14", "127.9.9.8/29", "udp: 15060", "http: 18080", "https: 18443"} {
		if !strings.Contains(string(got), fresh) {
			t.Errorf("Objects of a lab elsewhere lack %s", fresh)
		}
	}
}

func elsewhere() Config {
	cfg := Default()
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("127.9.9.1"), port) }
	cfg.DNS, cfg.SIP, cfg.HTTP, cfg.HTTPS, cfg.Provision, cfg.Metrics = at(15300), at(15060), at(18080), at(18443), at(18445), at(19153)
	cfg.DoT = at(18853)
	cfg.NodeSIP, cfg.NodeHTTP, cfg.Core = 15060, 18080, netip.MustParsePrefix("127.9.9.8/29")
	for i := range cfg.Nodes {
		cfg.Nodes[i] = netip.AddrFrom4([4]byte{127, 9, 9, byte(11 + i)})
	}
	cfg.Phones = at(0).Addr()
	return cfg
}

func TestConfigValidate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*Config)
		want  string // "": valid
	}{
		{"default", func(*Config) {}, ""},
		{"elsewhere", func(c *Config) { *c = elsewhere() }, ""},
		{"no socket", func(c *Config) { c.Socket = "" }, "control socket"},
		{"three nodes", func(c *Config) { c.Nodes = c.Nodes[:3] }, "3 node addresses"},
		{"node outside", func(c *Config) { c.Nodes[2] = netip.MustParseAddr("127.0.1.1") }, "127.0.1.1 lies outside"},
		{"phones inside", func(c *Config) { c.Phones = c.Nodes[0] }, "among the nodes'"},
		{"no DNS", func(c *Config) { c.DNS = netip.AddrPort{} }, "addresses of DNS"},
	} {
		cfg := Default()
		tt.spoil(&cfg)
		err := cfg.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Validate = %v, want %q", tt.name, err, tt.want)
		}
	}
}

// What is printed, what stands in the README and what tests run are one list.
func TestTries(t *testing.T) {
	tries := Tries(elsewhere())
	printed, page := text(tries), Markdown(tries)
	for _, try := range tries {
		if try.Title == "" || try.Command == "" {
			t.Errorf("%+v lacks a title or a command", try)
		}
		if !strings.Contains(printed, "\n  "+try.Command+"\n") {
			t.Errorf("text lacks %q", try.Command)
		}
		if !strings.Contains(page, "```sh run\n"+try.Command+"\n```\n") {
			t.Errorf("Markdown lacks %q", try.Command)
		}
	}
	for _, stale := range []string{"5300", " 127.0.0.1", "//127.0.0.1"} {
		if strings.Contains(strings.ReplaceAll(printed, "15300", ""), stale) {
			t.Errorf("the list of a lab elsewhere holds %q", stale)
		}
	}
}

// A lab whose server never comes says so, and leaves nothing running.
func TestRunWithoutServer(t *testing.T) {
	before := len(stacks())
	cfg := elsewhere()
	cfg.Socket = t.TempDir() + "/none.sock"
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := Run(ctx, cfg, testLog()); err != nil {
		t.Errorf("Run = %v once it is told to end, want nil", err)
	}
	for deadline := time.Now().Add(5 * time.Second); len(stacks()) > before && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	if now := stacks(); len(now) > before {
		t.Errorf("goroutines left:\n%s", strings.Join(now, "\n\n"))
	}
	cfg.Nodes = nil
	if err := Run(ctx, cfg, testLog()); err == nil {
		t.Error("Run with a configuration that is not valid = nil")
	}
}
