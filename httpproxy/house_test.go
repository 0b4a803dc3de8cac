package httpproxy_test

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"tandem/httpproxy"
	"tandem/internal/tandem"
)

// names is a Resolver by table. It may change while requests run.
type names struct {
	mu   sync.Mutex
	list map[string][]tandem.Target
}

var errNoName = errors.New("no such name")

func (n *names) Targets(name string) ([]tandem.Target, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	found, ok := n.list[name]
	if !ok {
		return nil, errNoName
	}
	return found, nil
}

func (n *names) set(name string, targets ...tandem.Target) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list[name] = targets
}

// bench is a server with one zone and the accounts 1001 (labels alpha, and old, retired) and 1002
// (label beta).
type bench struct {
	*httpproxy.Server
	names *names
}

func newBench(t *testing.T, cfg httpproxy.Config) *bench {
	t.Helper()
	if !cfg.Listen.IsValid() {
		cfg.Listen = loopback
	}
	n := &names{list: make(map[string][]tandem.Target)}
	s, err := httpproxy.New(cfg, httpproxy.Deps{Resolver: n}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Apply([]tandem.Change{
		change(&tandem.Zone{Head: tandem.Head{ID: "v.test"}, Role: tandem.RoleAccounts, ServiceZone: "svc.test"}),
		change(account("1001", "alpha")), change(account("1002", "beta")),
	})
	return &bench{s, n}
}

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func account(id string, labels ...string) *tandem.Account {
	a := &tandem.Account{Head: tandem.Head{ID: id}, Zone: "v.test"}
	for i, l := range labels {
		role := tandem.LabelVanity
		if i == 0 {
			role = tandem.LabelCurrent
		}
		a.Labels = append(a.Labels, tandem.Label{Label: l, Role: role})
	}
	return a
}

func change(o tandem.Object) tandem.Change {
	return tandem.Change{Kind: o.Kind(), ID: o.Header().ID, Object: o}
}

func deletion(k tandem.Kind, id string) tandem.Change { return tandem.Change{Kind: k, ID: id} }

// feature starts a feature server and returns where it is.
func feature(t *testing.T, h http.HandlerFunc) tandem.Target {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return target(server.Listener.Addr())
}

func target(at net.Addr) tandem.Target {
	return tandem.Target{Transport: tandem.HTTP, Addr: at.(*net.TCPAddr).AddrPort(), Host: "n1.node.svc.test", Weight: 100}
}

// dead returns a target where nothing listens.
func dead(t *testing.T) tandem.Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return target(l.Addr())
}

// says is a feature server that answers with its name.
func says(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(name)) }
}

// ask sends one request to the handler and returns status and body.
func (b *bench) ask(r *http.Request) (int, string) {
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func get(host string) *http.Request {
	r := httptest.NewRequest("GET", "/x?y=1", nil)
	r.Host = host
	return r
}

// reading returns the sum of a metric over its labels.
func (b *bench) reading(name string) (sum float64) {
	b.Metrics(func(s tandem.Sample) {
		if s.Name == name {
			sum += s.Value
		}
	})
	return sum
}
