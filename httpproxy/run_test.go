package httpproxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"tandem/httpproxy"
	"tandem/internal/tandem"
)

// run listens and serves until the returned function is called, which waits for the end.
func (b *bench) run(t *testing.T) (stop func()) {
	t.Helper()
	if err := b.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	}
}

// upgrade opens a WebSocket-like connection through the server.
func upgrade(t *testing.T, at netip.AddrPort) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET /chat HTTP/1.1\r\nHost: alpha.v.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("upgrade: %v, %v, want 101", resp, err)
	}
	return conn, r
}

// echo accepts any upgrade and sends back what it gets.
func echo(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	io.Copy(conn, rw)
}

func TestWebSocketPassesAndEndsWithRun(t *testing.T) {
	before := runtime.NumGoroutine()
	b := newBench(t, httpproxy.Config{})
	server := httptest.NewServer(http.HandlerFunc(echo))
	b.names.set(name1, target(server.Listener.Addr()))
	stop := b.run(t)
	conn, r := upgrade(t, b.Addrs()["http"])
	fmt.Fprint(conn, "hello\n")
	if line, err := r.ReadString('\n'); line != "hello\n" {
		t.Errorf("echo = %q, %v, want hello", line, err)
	}
	stop()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after Run ended: read = %v, want EOF", err)
	}
	conn.Close()
	server.Close()
	noMoreThan(t, before)
}

// noMoreThan waits a moment for goroutines to go; what stays is a leak.
func noMoreThan(t *testing.T, before int) {
	t.Helper()
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("goroutines left behind:\n%s", stacks[:runtime.Stack(stacks, true)])
}

func TestRunFinishesWorkInHand(t *testing.T) {
	b := newBench(t, httpproxy.Config{})
	arrived, release := make(chan bool), make(chan bool)
	b.names.set(name1, feature(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- true
		<-release
		io.WriteString(w, "done")
	}))
	stop := b.run(t)
	got := make(chan string)
	go func() {
		r, _ := http.NewRequest("GET", "http://"+b.Addrs()["http"].String(), nil)
		r.Host = "alpha.v.test"
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		got <- string(text)
	}()
	<-arrived
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	stop()
	if text := <-got; text != "done" {
		t.Errorf("the request in hand got %q, want done", text)
	}
}

func TestListenInUse(t *testing.T) {
	b := newBench(t, httpproxy.Config{})
	defer b.run(t)()
	at := b.Addrs()["http"]
	second, err := httpproxy.New(httpproxy.Config{Listen: at}, httpproxy.Deps{Resolver: b.names}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Listen(); err == nil || !strings.Contains(err.Error(), at.String()) {
		t.Errorf("Listen on a taken port = %v, want an error that names %s", err, at)
	}
}

func TestStallingClient(t *testing.T) {
	b := newBench(t, httpproxy.Config{StallTimeout: 50 * time.Millisecond})
	b.names.set(name1, feature(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer b.run(t)()
	conn, err := net.Dial("tcp", b.Addrs()["http"].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: alpha.v.test\r\nContent-Length: 10\r\n\r\nhalf")
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode/100 == 2 {
		t.Errorf("a body that stalls: %v, %v, want a refusal", resp, err)
	}
}

func TestConnectionBound(t *testing.T) {
	b := newBench(t, httpproxy.Config{MaxConnections: 1})
	defer b.run(t)()
	at := b.Addrs()["http"].String()
	first, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	ask := func(conn net.Conn) error {
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n")
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err := http.ReadResponse(bufio.NewReader(conn), nil)
		return err
	}
	if err := ask(first); err != nil {
		t.Errorf("first connection: %v, want an answer", err)
	}
	second, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := ask(second); err == nil {
		t.Error("second connection was answered, want it closed")
	}
	if got := b.reading("tandem_httpproxy_busy_total"); got != 1 {
		t.Errorf("tandem_httpproxy_busy_total = %v, want 1", got)
	}
}

// certificates gives one certificate to all.
type certificates struct{ cert *tls.Certificate }

func (c certificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.cert, nil
}

func TestTLSOnBothSides(t *testing.T) {
	// httptest's certificate is for example.com.
	server := httptest.NewUnstartedServer(says("secure"))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	n := &names{list: make(map[string][]tandem.Target)}
	s, err := httpproxy.New(httpproxy.Config{TLS: loopback},
		httpproxy.Deps{Resolver: n, Certificates: certificates{&server.TLS.Certificates[0]}, Roots: roots}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	zone := &tandem.Zone{Head: tandem.Head{ID: "example.com"}, ServiceZone: "svc.test"}
	customer := account("1001", "www")
	customer.Zone = "example.com"
	s.Apply([]tandem.Change{change(zone), change(customer)})
	b := &bench{s, n}
	defer b.run(t)()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}}
	for _, tt := range []struct {
		name, host string
		code       int
	}{
		{"name of the certificate", "example.com", 200},
		{"another name", "n1.node.svc.test", 502},
	} {
		secure := target(server.Listener.Addr())
		secure.Transport, secure.Host = tandem.HTTPS, tt.host
		n.set("http.1001.svc.test", secure)
		r, _ := http.NewRequest("GET", "https://"+b.Addrs()["https"].String(), nil)
		r.Host = "www.example.com"
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.code || resp.ProtoMajor != 2 {
			t.Errorf("%s: %s %d, want HTTP/2 and %d", tt.name, resp.Proto, resp.StatusCode, tt.code)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	n := &names{}
	tests := []struct {
		name string
		cfg  httpproxy.Config
		deps httpproxy.Deps
	}{
		{"no listener", httpproxy.Config{}, httpproxy.Deps{Resolver: n}},
		{"no resolver", httpproxy.Config{Listen: loopback}, httpproxy.Deps{}},
		{"TLS without certificates", httpproxy.Config{TLS: loopback}, httpproxy.Deps{Resolver: n}},
		{"negative bound", httpproxy.Config{Listen: loopback, MaxBody: -1}, httpproxy.Deps{Resolver: n}},
	}
	for _, tt := range tests {
		if _, err := httpproxy.New(tt.cfg, tt.deps, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: New = nil error, want one", tt.name)
		}
	}
}
