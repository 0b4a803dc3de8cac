package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tandem/internal/control"
)

// whole is a configuration with every part, each on a free port.
const whole = `
data: data
control: {socket: sock}
dns: {listen: ["127.0.0.1:0"]}
sip: {edge: edge1, listeners: [{name: public, udp: "127.0.0.1:0", tcp: "127.0.0.1:0"}]}
http: {listen: "127.0.0.1:0", tls: "127.0.0.1:0"}
provision: {listen: "127.0.0.1:0", host: 127.0.0.1}
metrics: {listen: "127.0.0.1:0"}
`

// telco is one account with one feature server, whose HTTP port is to be filled in.
const telco = `
{"kind":"Cluster","id":"c1"}
{"kind":"Node","id":"n1","cluster":"c1","addresses":["127.0.0.1"],"ports":{"udp":5070,"http":%d}}
{"kind":"Edge","id":"edge1","addresses":["127.0.0.1"],"ports":{"udp":5060,"http":8080}}
{"kind":"Zone","id":"svc.v.test","role":"service"}
{"kind":"Zone","id":"v.test","role":"accounts","serviceZone":"svc.v.test","edges":["edge1"]}
{"kind":"Group","id":"g1","cluster":"c1"}
{"kind":"Account","id":"1001","zone":"v.test","group":"g1","labels":[{"label":"alpha","role":"current"}]}
{"kind":"Device","id":"phone","account":"1001","username":"alice","secret":"correct horse"}
`

// configure writes a configuration into dir and loads it.
func configure(t *testing.T, dir, text string) *Config {
	t.Helper()
	path := filepath.Join(dir, "tandem.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// appliance is a running node.
type appliance struct {
	*Node
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
}

// start runs a node and returns when it serves.
func start(t *testing.T, cfg *Config) *appliance {
	t.Helper()
	n, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &appliance{n, t, cancel, make(chan error, 1)}
	go func() { a.ended <- n.Run(ctx) }()
	t.Cleanup(cancel)
	select {
	case <-n.Ready():
	case err := <-a.ended:
		t.Fatalf("Run = %v before it served", err)
	}
	return a
}

// stop ends the node and waits for its end.
func (a *appliance) stop() {
	a.t.Helper()
	a.cancel()
	if err := <-a.ended; err != nil {
		a.t.Errorf("Run = %v, want nil", err)
	}
}

// apply applies documents through the socket and waits until they are served.
func (a *appliance) apply(documents string) {
	a.t.Helper()
	client := control.NewClient(a.cfg.Control.Socket)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := client.Apply(ctx, "telco", strings.NewReader(documents), func(control.Event) {}); err != nil {
		a.t.Fatal(err)
	}
	status, err := client.Status(ctx)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := client.Wait(ctx, status.Revision); err != nil {
		a.t.Fatal(err)
	}
}

// look asks the node's DNS for a name's addresses.
func (a *appliance) look(name string) ([]string, error) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, a.Addrs()["dns"][0])
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return resolver.LookupHost(ctx, name)
}

// browser is a client that trusts the node's authority and sends the name wanted.
func (a *appliance) browser() *http.Client {
	a.t.Helper()
	text, err := os.ReadFile(filepath.Join(a.cfg.authorityDir(), "ca.crt"))
	if err != nil {
		a.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			listener := map[string]string{"80": "http", "443": "https"}
			_, port, _ := net.SplitHostPort(addr)
			if name := listener[port]; name != "" {
				addr = a.Addrs()[name][0]
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
}

func (a *appliance) get(url string) (int, string) {
	a.t.Helper()
	resp, err := a.browser().Get(url)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// One node, all its parts: what is applied is served by each, survives a restart, and nothing of
// the node is left when it has ended.
func TestNode(t *testing.T) {
	before := runtime.NumGoroutine()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "for ", r.Host) }))
	cfg := configure(t, t.TempDir(), whole)
	a := start(t, cfg)
	if _, err := a.look("alpha.v.test"); err == nil {
		t.Error("the name resolves before anything was applied")
	}
	a.apply(fmt.Sprintf(telco, server.Listener.Addr().(*net.TCPAddr).Port))
	checkServed(t, a)
	a.stop()

	a = start(t, cfg)
	checkServed(t, a)
	a.apply(`{"kind":"Account","id":"1001","zone":"v.test","group":"g1","labels":[{"label":"gamma","role":"current"}]}`)
	if _, err := a.look("alpha.v.test"); err == nil {
		t.Error("a retired label resolves, want no such name")
	}
	if code, _ := a.get("http://alpha.v.test/"); code != http.StatusMisdirectedRequest {
		t.Errorf("HTTP to a retired label: %d, want 421", code)
	}
	a.stop()
	server.Close()
	noMoreThan(t, before)
}

// noMoreThan waits a moment for goroutines to go; what stays is a leak.
func noMoreThan(t *testing.T, before int) {
	t.Helper()
	for range 300 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("goroutines left behind:\n%s", stacks[:runtime.Stack(stacks, true)])
}

// checkServed asks each part for what telco says.
func checkServed(t *testing.T, a *appliance) {
	t.Helper()
	if got, err := a.look("alpha.v.test"); err != nil || len(got) != 1 || got[0] != "127.0.0.1" {
		t.Errorf("alpha.v.test is %v, %v, want 127.0.0.1", got, err)
	}
	for _, scheme := range []string{"http", "https"} {
		if code, text := a.get(scheme + "://alpha.v.test/"); code != 200 || text != "for alpha.v.test" {
			t.Errorf("%s: %d %q, want the feature server's answer", scheme, code, text)
		}
	}
	client := control.NewClient(a.cfg.Control.Socket)
	defer client.Close()
	permit, err := client.ProvisioningURL(t.Context(), "phone", control.PermitRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var profile struct {
		SIP struct{ Server, Password string }
	}
	code, text := a.get(permit.URL)
	if err := json.Unmarshal([]byte(text), &profile); code != 200 || err != nil || profile.SIP.Server != "alpha.v.test" || profile.SIP.Password != "correct horse" {
		t.Errorf("profile: %d %s, %v, want the inbound name and the secret", code, text, err)
	}
	if code, _ := a.get(permit.URL); code != 404 {
		t.Errorf("profile, a second time: %d, want 404", code)
	}
	if code, text := a.get("http://" + a.Addrs()["metrics"][0] + "/metrics"); code != 200 || !strings.Contains(text, "tandem_node_served_revision ") || strings.Contains(text, "error") && strings.Contains(text, "collected before") {
		t.Errorf("metrics: %d", code)
	}
	status, err := client.Status(t.Context())
	if err != nil || status.Revision == 0 || len(status.Parts) != 7 {
		t.Errorf("status: %+v, %v, want seven parts and a revision", status, err)
	}
	if verified, err := client.Verify(t.Context()); err != nil || verified.Values == 0 || len(verified.Problems) > 0 {
		t.Errorf("verify: %+v, %v, want values and no problem", verified, err)
	}
	if steps, err := client.Trace(t.Context(), "http.1001.svc.v.test", ""); err != nil || len(steps) < 4 {
		t.Errorf("trace of a forwarding name: %v, %v, want the steps that this machine is answered by", steps, err)
	}
	for _, p := range status.Parts {
		if p.State != "ok" || (len(p.Addresses) == 0) != (p.Name == "lb") {
			t.Errorf("part %+v, want it ok and, all but lb, listening", p)
		}
	}
}

// Every reading of every part can be collected.
func TestMetricsAreConsistent(t *testing.T) {
	a := start(t, configure(t, t.TempDir(), whole))
	defer a.stop()
	code, text := a.get("http://" + a.Addrs()["metrics"][0] + "/metrics")
	if code != 200 {
		t.Fatalf("%d, want 200", code)
	}
	for _, room := range []string{"dnsd", "sipproxy", "httpproxy", "provision", "control", "node", "store", "lb"} {
		if !strings.Contains(text, "\ntandem_"+room+"_") {
			t.Errorf("no reading of %s", room)
		}
	}
}

// One part alone is the same program with a shorter file.
func TestPartAlone(t *testing.T) {
	for _, text := range []string{
		"data: data\ndns: {listen: [\"127.0.0.1:0\"]}\n",
		"data: data\nmetrics: {listen: \"127.0.0.1:0\"}\n",
		"data: data\ncontrol: {socket: sock}\n",
		"data: data\nprovision: {listen: \"127.0.0.1:0\", host: localhost}\n",
	} {
		a := start(t, configure(t, t.TempDir(), text))
		if got := len(a.Addrs()); got != 1 {
			t.Errorf("%q: %d listeners, want 1", text, got)
		}
		a.stop()
	}
}

// What stands in the way of a start is told in one line that says where, and leaves nothing behind.
func TestBadStart(t *testing.T) {
	before := runtime.NumGoroutine()
	running := start(t, configure(t, t.TempDir(), whole))
	addrs := running.Addrs()
	tests := []struct {
		name, text string
		want       []string
	}{
		{"data directory", strings.Replace(whole, "data: data", "data: "+running.cfg.Data, 1), []string{running.cfg.Data}},
		{"DNS port", strings.Replace(whole, `["127.0.0.1:0"]`, `["`+addrs["dns"][0]+`"]`, 1), []string{"dns: ", addrs["dns"][0], "in use"}},
		{"SIP port", strings.Replace(whole, `tcp: "127.0.0.1:0"`, `tcp: "`+addrs["sip/public/tcp"][0]+`"`, 1), []string{"sip: ", addrs["sip/public/tcp"][0], "in use"}},
		{"HTTP port", strings.Replace(whole, `http: {listen: "127.0.0.1:0"`, `http: {listen: "`+addrs["http"][0]+`"`, 1), []string{"http: ", addrs["http"][0], "in use"}},
		{"metrics port", strings.Replace(whole, `metrics: {listen: "127.0.0.1:0"`, `metrics: {listen: "`+addrs["metrics"][0]+`"`, 1), []string{"metrics: ", addrs["metrics"][0], "in use"}},
		{"control socket", strings.Replace(whole, "socket: sock", "socket: "+running.cfg.Control.Socket, 1), []string{"control: ", running.cfg.Control.Socket}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := configure(t, t.TempDir(), tt.text)
			n, err := New(cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			err = n.Run(t.Context())
			if err == nil || strings.Contains(err.Error(), "\n") {
				t.Fatalf("Run = %v, want an error of one line", err)
			}
			t.Log(err)
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Run = %v, want it to say %q", err, want)
				}
			}
		})
	}
	running.stop()
	noMoreThan(t, before)
}
