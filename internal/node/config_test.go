package node

import (
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata")

// TestConfigFaults reads testdata/faults.txt: after "== name" the file's text, after "->" the fault.
func TestConfigFaults(t *testing.T) {
	const golden = "testdata/faults.txt"
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, block := range strings.Split(string(text), "== ")[1:] {
		name, rest, _ := strings.Cut(block, "\n")
		file, _, _ := strings.Cut(rest, "->")
		_, err := parse("tandem.yaml", []byte(file))
		if err == nil {
			t.Errorf("%s: no fault", name)
			continue
		}
		if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "tandem.yaml:") {
			t.Errorf("%s: %q is not one line that begins with the file", name, err)
		}
		out.WriteString("== " + name + "\n" + file + "-> " + err.Error() + "\n\n")
	}
	got := strings.TrimSuffix(out.String(), "\n")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

// The twin of the faults: a file that uses every section is read as it stands.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tandem.yaml")
	text := `
data: run/data
store: {calls: 5000, callAge: 720h}
log: {level: warn, format: json}
tls: {certificates: [{certificate: /etc/a.pem, key: keys/a.key}]}
control: {socket: run/tandem.sock}
dns:
  listen: ["127.0.0.1:5300", "[::1]:5300"]
  tcpIdle: 3s
sip:
  edge: edge1
  listeners: [{name: public, udp: 127.0.0.1:5060}]
http: {listen: 127.0.0.1:8080, maxBody: 1000}
provision: {listen: 127.0.0.1:8445, host: edge.test, port: 443, expires: 10m}
metrics: {listen: 127.0.0.1:9153}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	local := netip.MustParseAddrPort
	want := map[string]any{
		"data": filepath.Join(dir, "run/data"), "socket": filepath.Join(dir, "run/tandem.sock"),
		"certificate": "/etc/a.pem", "key": filepath.Join(dir, "keys/a.key"),
		"level": slog.LevelWarn, "calls": uint64(5000), "callAge": 720 * time.Hour, "format": "json", "dns": []netip.AddrPort{local("127.0.0.1:5300"), local("[::1]:5300")},
		"idle": 3 * time.Second, "listener": "public", "udp": local("127.0.0.1:5060"), "body": int64(1000),
		"provision": local("127.0.0.1:8445"), "host": "edge.test", "port": uint16(443), "expires": 10 * time.Minute,
	}
	got := map[string]any{
		"data": cfg.Data, "socket": cfg.Control.Socket,
		"certificate": cfg.TLS.Certificates[0].Certificate, "key": cfg.TLS.Certificates[0].Key,
		"level": slog.Level(cfg.Log.Level), "calls": cfg.Store.Calls, "callAge": cfg.Store.CallAge, "format": cfg.Log.Format, "dns": cfg.DNS.Listen,
		"idle": cfg.DNS.TCPIdle, "listener": cfg.SIP.Listeners[0].Name, "udp": cfg.SIP.Listeners[0].UDP, "body": cfg.HTTP.MaxBody,
		"provision": cfg.Provision.Listen, "host": cfg.Provision.Host, "port": cfg.Provision.Port, "expires": cfg.Provision.Expires,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("a file that is not there: %v, want so said with its name", err)
	}
	long := filepath.Join(dir, "long.yaml")
	if err := os.WriteFile(long, []byte(strings.Repeat("# x\n", mostConfig/4+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(long); err == nil || !strings.Contains(err.Error(), "1 MiB") {
		t.Errorf("a file that is too long: %v, want so said", err)
	}
}

// Whatever the text: a configuration that validates, or one line that begins with the file's name.
func FuzzConfig(f *testing.F) {
	text, err := os.ReadFile("testdata/faults.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, block := range strings.Split(string(text), "== ")[1:] {
		_, rest, _ := strings.Cut(block, "\n")
		file, _, _ := strings.Cut(rest, "->")
		f.Add([]byte(file))
	}
	f.Add([]byte("data: d\ndns: {listen: [127.0.0.1:53]}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := parse("f.yaml", text)
		if err == nil {
			if err := cfg.Validate(); err != nil {
				t.Errorf("parsed, but Validate = %v", err)
			}
			return
		}
		if !strings.HasPrefix(err.Error(), "f.yaml:") || strings.Contains(err.Error(), "\n") {
			t.Errorf("fault %q is not one line that begins with the file", err)
		}
	})
}
