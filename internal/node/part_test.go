package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
	"tandem/store"
)

// pipe returns two ends of a connection over loopback.
func pipe(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProgress()
		reached := make(chan tandem.Revision, 2)
		for _, revision := range []tandem.Revision{5, 7} {
			go func() {
				if p.wait(context.Background(), revision) == nil {
					reached <- revision
				}
			}()
		}
		p.advance(4)
		synctest.Wait()
		if len(reached) != 0 {
			t.Errorf("%d returned before its revision", <-reached)
		}
		p.advance(6)
		synctest.Wait()
		if got := <-reached; got != 5 {
			t.Errorf("%d returned, want 5", got)
		}
		p.advance(7)
		if got := <-reached; got != 7 {
			t.Errorf("%d returned, want 7", got)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := p.wait(ctx, 8); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a revision that never comes: %v, want the deadline", err)
		}
	})
}

// The first part that fails ends all the others, and is named.
func TestFirstFailureEndsAll(t *testing.T) {
	boom := errors.New("boom")
	tests := []struct {
		name string
		run  func(context.Context) error
		want string
	}{
		{"fails", func(context.Context) error { return boom }, "second: boom"},
		{"ends by itself", func(context.Context) error { return nil }, "second: ended by itself"},
		{"fails at the end only", func(ctx context.Context) error { <-ctx.Done(); return nil }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log := slog.New(slog.DiscardHandler)
			kept, err := store.OpenMemory(log)
			if err != nil {
				t.Fatal(err)
			}
			defer kept.Close()
			n, err := New(&Config{Data: t.TempDir(), Metrics: &Metrics{Listen: netip.MustParseAddrPort("127.0.0.1:0")}}, log)
			if err != nil {
				t.Fatal(err)
			}
			ended := false
			first := func(ctx context.Context) error { <-ctx.Done(); ended = true; return nil }
			ctx, cancel := context.WithCancel(t.Context())
			if tt.want == "" {
				time.AfterFunc(10*time.Millisecond, cancel)
			}
			defer cancel()
			err = n.serve(ctx, kept, []part{{name: "first", run: first}, {name: "second", run: tt.run}}, 0)
			if got := fmt.Sprint(err); got != tt.want && !(err == nil && tt.want == "") {
				t.Errorf("serve = %v, want %q", err, tt.want)
			}
			if !ended {
				t.Error("the other part did not end")
			}
		})
	}
}

// When a listener cannot be bound, those before it let go and never run.
func TestListenFailureLetsGo(t *testing.T) {
	var did []string
	making := func(name string, err error) part {
		return part{name: name,
			listen: func() error { did = append(did, "listen "+name); return err },
			run: func(ctx context.Context) error {
				if ctx.Err() == nil {
					t.Errorf("%s serves", name)
				}
				did = append(did, "end "+name)
				return nil
			}}
	}
	silent := part{name: "silent", run: func(context.Context) error { t.Error("a part without listener ran"); return nil }}
	refused := &net.OpError{Op: "listen", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53}, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	err := listen([]part{making("a", nil), silent, making("b", refused), making("c", nil)}, letGo)
	if want := "b: cannot listen on tcp 127.0.0.1:53: address already in use"; err == nil || err.Error() != want {
		t.Errorf("listen = %v, want %q", err, want)
	}
	if diff := cmp.Diff([]string{"listen a", "listen b", "end a"}, did); diff != "" {
		t.Errorf("what was done (-want +got):\n%s", diff)
	}
}

// serveWeb runs a web until the test ends and returns its address.
func serveWeb(t *testing.T, w *web) string {
	t.Helper()
	w.at, w.log = netip.MustParseAddrPort("127.0.0.1:0"), slog.New(slog.DiscardHandler)
	if err := w.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	return w.Addrs()[0].String()
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestMetricsPage(t *testing.T) {
	read := func(emit func(tandem.Sample)) {
		emit(tandem.Sample{Name: "tandem_x_total", Help: "X.", Labels: map[string]string{"kind": "a", "by": "b"}, Value: 3})
		emit(tandem.Sample{Name: "tandem_y", Help: "Y.", Gauge: true, Value: 1.5})
	}
	log := slog.New(slog.DiscardHandler)
	at := serveWeb(t, &web{handler: metricsHandler(read, true, log)})
	code, text := fetch(t, "http://"+at+"/metrics")
	for _, want := range []string{
		"# HELP tandem_x_total X.\n# TYPE tandem_x_total counter\ntandem_x_total{by=\"b\",kind=\"a\"} 3\n",
		"# TYPE tandem_y gauge\ntandem_y 1.5\n", "go_goroutines ", "process_open_fds ", "go_build_info{",
	} {
		if code != 200 || !strings.Contains(text, want) {
			t.Errorf("/metrics: %d, without %q", code, want)
		}
	}
	if code, _ := fetch(t, "http://"+at+"/debug/pprof/goroutine?debug=1"); code != 200 {
		t.Errorf("a profile on loopback: %d, want 200", code)
	}
	w := httptest.NewRecorder()
	metricsHandler(read, true, log).ServeHTTP(w, httptest.NewRequest("GET", "http://evil.test/metrics", nil))
	if w.Code != 421 {
		t.Errorf("loopback asked under another name: %d, want 421", w.Code)
	}
	public := serveWeb(t, &web{handler: metricsHandler(read, false, log)})
	if code, _ := fetch(t, "http://"+public+"/debug/pprof/goroutine"); code != 404 {
		t.Errorf("a profile elsewhere: %d, want 404", code)
	}
}

// Readings that contradict each other cost themselves, not the page.
func TestMetricsThatClash(t *testing.T) {
	read := func(emit func(tandem.Sample)) {
		for range 2 {
			emit(tandem.Sample{Name: "tandem_twice_total", Help: "Twice.", Value: 1})
		}
		emit(tandem.Sample{Name: "not a name", Help: "None."})
		emit(tandem.Sample{Name: "tandem_good_total", Help: "Good.", Value: 7})
	}
	at := serveWeb(t, &web{handler: metricsHandler(read, true, slog.New(slog.DiscardHandler))})
	if code, text := fetch(t, "http://"+at+"/metrics"); code != 200 || !strings.Contains(text, "tandem_good_total 7\n") {
		t.Errorf("/metrics: %d, want 200 with the good reading", code)
	}
}

func TestLogger(t *testing.T) {
	var text strings.Builder
	Log{Format: "json", Level: level(slog.LevelWarn)}.Logger(&text).Warn("warned", "part", "x")
	if !strings.Contains(text.String(), `"msg":"warned","part":"x"`) {
		t.Errorf("json: %q", &text)
	}
	text.Reset()
	log := Log{}.Logger(&text)
	log.Debug("hidden")
	log.Info("shown")
	if got := text.String(); strings.Contains(got, "hidden") || !strings.Contains(got, "msg=shown") {
		t.Errorf("default: %q, want info and up as text", got)
	}
}
