package httpproxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/httpproxy"
	"tandem/internal/tandem"
)

const (
	name1 = "http.1001.svc.test"
	name2 = "http.1002.svc.test"
)

func TestAccountsReachTheirOwnServers(t *testing.T) {
	b := newBench(t, httpproxy.Config{})
	b.names.set(name1, feature(t, says("one")))
	b.names.set(name2, feature(t, says("two")))
	tests := []struct {
		host string
		code int
		body string
	}{
		{"alpha.v.test", 200, "one"},
		{"ALPHA.v.test.:8080", 200, "one"},
		{"beta.v.test", 200, "two"},
		{"gamma.v.test", 421, "this host is not served here"},
		{"v.test", 421, "this host is not served here"},
		{"127.0.0.1:8080", 421, "this host is not served here"},
	}
	for _, tt := range tests {
		if code, body := b.ask(get(tt.host)); code != tt.code || body != tt.body {
			t.Errorf("GET with Host %s = %d %q, want %d %q", tt.host, code, body, tt.code, tt.body)
		}
	}
	if got := b.reading("tandem_httpproxy_misdirected_total"); got != 3 {
		t.Errorf("tandem_httpproxy_misdirected_total = %v, want 3", got)
	}
}

func TestChangeMovesTheNextRequest(t *testing.T) {
	b := newBench(t, httpproxy.Config{})
	b.names.set(name1, feature(t, says("first")))
	b.names.set("other.1001.svc.test", feature(t, says("second")))
	step := func(what, want string) {
		t.Helper()
		if _, body := b.ask(get("alpha.v.test")); body != want {
			t.Errorf("%s: answered by %q, want %q", what, body, want)
		}
	}
	step("by default", "first")
	routed := account("1001", "alpha")
	routed.Routes = map[tandem.RequestType][]string{tandem.TypeHTTP: {"other"}, tandem.TypeInvite: {"http"}}
	b.Apply([]tandem.Change{change(routed)})
	step("route changed", "second")
	b.names.set("other.1001.svc.test", feature(t, says("third")))
	step("target repointed", "third")
	b.Apply([]tandem.Change{deletion(tandem.KindZone, "v.test")})
	step("zone without a service zone", "no HTTP feature server is available for this account")
}

func TestFailover(t *testing.T) {
	reset := func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
	}
	tests := []struct {
		name   string
		method string
		body   string
		first  func(t *testing.T) tandem.Target
		code   int
		want   string
	}{
		{"GET, nothing listens", "GET", "", dead, 200, ""},
		{"POST, nothing listens", "POST", "payload", dead, 200, "payload"},
		{"GET, broken off", "GET", "", func(t *testing.T) tandem.Target { return feature(t, reset) }, 200, ""},
		{"POST, broken off: never sent twice", "POST", "payload", func(t *testing.T) tandem.Target { return feature(t, reset) },
			502, "the feature server broke off"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, httpproxy.Config{})
			first := tt.first(t)
			second := feature(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
			second.Priority = 1
			b.names.set(name1, second, first)
			r := httptest.NewRequest(tt.method, "/", strings.NewReader(tt.body))
			if tt.body == "" {
				r = httptest.NewRequest(tt.method, "/", nil)
			}
			r.Host = "alpha.v.test"
			if code, body := b.ask(r); code != tt.code || body != tt.want {
				t.Errorf("%d %q, want %d %q", code, body, tt.code, tt.want)
			}
			want := 1.0
			if tt.code != 200 {
				want = 0
			}
			if got := b.reading("tandem_httpproxy_failovers_total"); got != want {
				t.Errorf("tandem_httpproxy_failovers_total = %v, want %v", got, want)
			}
		})
	}
}

func TestNoServer(t *testing.T) {
	sip := tandem.Target{Transport: tandem.UDP}
	tests := []struct {
		name  string
		setup func(b *bench)
		code  int
		retry string
		text  string
	}{
		{"unknown name", func(b *bench) {}, 503, "5", "no HTTP feature server is available for this account"},
		{"no target", func(b *bench) { b.names.set(name1) }, 503, "5", "no HTTP feature server is available for this account"},
		{"only SIP targets", func(b *bench) { b.names.set(name1, sip) }, 503, "5", "no HTTP feature server is available for this account"},
		{"none listens", func(b *bench) { b.names.set(name1, dead(t), dead(t)) }, 502, "", "no HTTP feature server of this account can be reached"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, httpproxy.Config{})
			tt.setup(b)
			w := httptest.NewRecorder()
			b.ServeHTTP(w, get("alpha.v.test"))
			text := strings.TrimSpace(w.Body.String())
			if w.Code != tt.code || w.Header().Get("Retry-After") != tt.retry || text != tt.text {
				t.Errorf("%d, Retry-After %q, %q; want %d, %q, %q", w.Code, w.Header().Get("Retry-After"), text, tt.code, tt.retry, tt.text)
			}
		})
	}
}

func TestRequestAsForwarded(t *testing.T) {
	b := newBench(t, httpproxy.Config{})
	var seen *http.Request
	b.names.set(name1, feature(t, func(w http.ResponseWriter, r *http.Request) { seen = r }))
	r := httptest.NewRequest("GET", "/a%2Fb?q=1;x&z", nil)
	r.Host = "alpha.v.test:8080"
	r.RemoteAddr = "[2001:db8::7]:1234"
	for name, value := range map[string]string{
		"X-Forwarded-For": "6.6.6.6", "X-Forwarded-User": "root", "X-Real-Ip": "6.6.6.6", "Forwarded": "for=6.6.6.6",
		httpproxy.AccountHeader: "1002", "Connection": "X-Hop", "X-Hop": "1", "Te": "trailers", "Keep-Alive": "1",
		"X-End": "kept", "Via": "1.0 before",
	} {
		r.Header.Set(name, value)
	}
	if code, body := b.ask(r); code != 200 {
		t.Fatalf("%d %q, want 200", code, body)
	}
	via := seen.Header.Values("Via")
	if len(via) != 2 || via[0] != "1.0 before" || !strings.HasPrefix(via[1], "1.1 tandem-") {
		t.Errorf("Via = %q, want the one before and ours", via)
	}
	got := seen.Header.Clone()
	for _, name := range []string{"Via", "Accept-Encoding"} {
		got.Del(name)
	}
	want := http.Header{
		"X-Forwarded-For": {"2001:db8::7"}, "X-Forwarded-Host": {"alpha.v.test:8080"}, "X-Forwarded-Proto": {"http"},
		"Forwarded":    {`for="[2001:db8::7]";host="alpha.v.test:8080";proto=http`},
		"X-End":        {"kept"},
		"Te":           {"trailers"},
		"Content-Type": nil,
	}
	want.Set(httpproxy.AccountHeader, "1001")
	delete(want, "Content-Type")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers at the feature server (-want +got):\n%s", diff)
	}
	if seen.Host != "alpha.v.test:8080" || seen.RequestURI != "/a%2Fb?q=1;x&z" {
		t.Errorf("Host %q, target %q; want as sent", seen.Host, seen.RequestURI)
	}
}

func TestLoopIsDetected(t *testing.T) {
	b := newBench(t, httpproxy.Config{})
	itself := httptest.NewServer(b)
	defer itself.Close()
	b.names.set(name1, target(itself.Listener.Addr()))
	if code, _ := b.ask(get("alpha.v.test")); code != http.StatusLoopDetected {
		t.Errorf("a node that is the edge itself: %d, want 508", code)
	}
}

func TestMethodConnectIsRefused(t *testing.T) {
	b := newBench(t, httpproxy.Config{})
	r := get("alpha.v.test")
	r.Method = http.MethodConnect
	if code, _ := b.ask(r); code != http.StatusMethodNotAllowed {
		t.Errorf("CONNECT: %d, want 405", code)
	}
}

func TestBodyLimit(t *testing.T) {
	tests := []struct {
		name   string
		octets int
		length int64 // stated; -1: chunked
		code   int
	}{
		{"at the limit", 100, 100, 200},
		{"over the limit, stated", 101, 101, 413},
		{"at the limit, chunked", 100, -1, 200},
		{"over the limit, chunked", 101, -1, 413},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, httpproxy.Config{MaxBody: 100})
			b.names.set(name1, feature(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
			r := httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("x", tt.octets)))
			r.Host, r.ContentLength = "alpha.v.test", tt.length
			if code, body := b.ask(r); code != tt.code {
				t.Errorf("%d %q, want %d", code, body, tt.code)
			}
		})
	}
}

// The bounds hold one account's requests and those in all, and one account's trouble stays its own.
func TestBounds(t *testing.T) {
	b := newBench(t, httpproxy.Config{MaxActive: 3, MaxPerAccount: 2})
	arrived, release := make(chan bool, 8), make(chan bool)
	slow := func(w http.ResponseWriter, r *http.Request) { arrived <- true; <-release }
	b.names.set(name1, feature(t, slow))
	b.names.set(name2, feature(t, slow))
	codes := make(chan int, 8)
	start := func(host string) {
		go func() { code, _ := b.ask(get(host)); codes <- code }()
		<-arrived
	}
	start("alpha.v.test")
	start("alpha.v.test")
	if code, body := b.ask(get("alpha.v.test")); code != 503 || !strings.HasPrefix(body, "this account") {
		t.Errorf("third request of an account = %d %q, want 503 for the account", code, body)
	}
	start("beta.v.test")
	w := httptest.NewRecorder()
	b.ServeHTTP(w, get("beta.v.test"))
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" || !strings.HasPrefix(w.Body.String(), "the edge") {
		t.Errorf("fourth request in all = %d %q, want 503 for the edge", w.Code, w.Body)
	}
	close(release)
	for range 3 {
		if code := <-codes; code != 200 {
			t.Errorf("request within the bounds = %d, want 200", code)
		}
	}
	if code, _ := b.ask(get("alpha.v.test")); code != 200 {
		t.Errorf("after the others ended = %d, want 200", code)
	}
	if got := b.reading("tandem_httpproxy_active"); got != 0 {
		t.Errorf("tandem_httpproxy_active = %v at the end, want 0", got)
	}
}

func TestSlowServer(t *testing.T) {
	b := newBench(t, httpproxy.Config{ResponseTimeout: 50 * time.Millisecond})
	done := make(chan bool)
	b.names.set(name1, feature(t, func(w http.ResponseWriter, r *http.Request) { <-done }))
	defer close(done)
	if code, body := b.ask(get("alpha.v.test")); code != http.StatusGatewayTimeout {
		t.Errorf("a silent feature server: %d %q, want 504", code, body)
	}
}

func TestPanicIsContained(t *testing.T) {
	b := newBench(t, httpproxy.Config{})
	b.names.set(name1, tandem.Target{Transport: tandem.HTTP})
	defer func() {
		if got := recover(); got != http.ErrAbortHandler {
			t.Errorf("recovered %v, want http.ErrAbortHandler", got)
		}
		if got := b.reading("tandem_httpproxy_panics_total"); got != 1 {
			t.Errorf("tandem_httpproxy_panics_total = %v, want 1", got)
		}
	}()
	b.ServeHTTP(exploding{httptest.NewRecorder()}, get("gamma.v.test"))
}

type exploding struct{ *httptest.ResponseRecorder }

func (exploding) Write([]byte) (int, error) { panic("a mistake") }
