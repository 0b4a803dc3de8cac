package lab

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/tandem"
)

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

// testLog discards, unless LAB_LOG asks for everything.
func testLog() *slog.Logger {
	if os.Getenv("LAB_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// runs starts run and returns the function that ends it and waits; it fails the test on an error.
func runs(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func startNode(t *testing.T, cfg NodeConfig) *Node {
	t.Helper()
	n, err := NewNode(cfg, testLog())
	if err == nil {
		err = n.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	runs(t, n.Run)
	return n
}

func startPhone(t *testing.T, cfg PhoneConfig) *Phone {
	t.Helper()
	if !cfg.Listen.IsValid() {
		cfg.Listen = anyPort
	}
	if cfg.Domain == "" {
		cfg.Domain = "acme.voice.example.net"
	}
	p, err := NewPhone(cfg, testLog())
	if err == nil {
		err = p.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	runs(t, p.Run)
	return p
}

// trio is a caller and a called phone with a node between them in the proxy's place.
func trio(t *testing.T, transport tandem.Transport) (caller, called *Phone, node *Node) {
	t.Helper()
	called = startPhone(t, PhoneConfig{User: "bob"})
	node = startNode(t, NodeConfig{ID: "east-1", SIP: anyPort, HTTP: anyPort, Proxy: called.Addr()})
	caller = startPhone(t, PhoneConfig{User: "alice", Proxy: tandem.Target{Transport: transport, Addr: node.Addr()}})
	return caller, called, node
}

func TestCallThroughNode(t *testing.T) {
	for _, transport := range []tandem.Transport{tandem.UDP, tandem.TCP} {
		for _, who := range []string{"caller", "called"} {
			t.Run(transport.String()+" ended by "+who, func(t *testing.T) { callThroughNode(t, transport, who) })
		}
	}
}

func callThroughNode(t *testing.T, transport tandem.Transport, who string) {
	ctx := timeout(t)
	caller, called, node := trio(t, transport)
	out, err := caller.Call(ctx, "201")
	if err != nil {
		t.Fatalf("Call = %v, want an answer", err)
	}
	in, err := called.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := in.Peer(), "alice@acme.voice.example.net"; got != want {
		t.Errorf("Peer() = %q, want %q", got, want)
	}
	if in.CallID() == out.CallID() {
		t.Error("both halves of a bridged call have one Call-ID")
	}
	if err := out.Reinvite(ctx); err != nil {
		t.Errorf("Reinvite = %v, want nil", err)
	}
	if _, err := called.WaitFor(ctx, func(s Seen) bool { return s.Method == "INVITE" && s.InDialog }); err != nil {
		t.Errorf("re-INVITE did not cross the node: %v", err)
	}
	near, far := out, in
	if who == "called" {
		near, far = in, out
	}
	if err := near.Hangup(ctx); err != nil {
		t.Errorf("Hangup = %v, want nil", err)
	}
	if got := far.Cause(); got != "remote" {
		t.Errorf("Cause() = %q, want remote", got)
	}
	if got := near.Cause(); got != "local" {
		t.Errorf("Cause() = %q, want local", got)
	}
	if got := node.Dialogs(); got != 0 {
		t.Errorf("Dialogs() = %d after the call, want 0", got)
	}
}

func TestRefusalIsRelayed(t *testing.T) {
	ctx := timeout(t)
	caller, called, _ := trio(t, tandem.UDP)
	called.SetAnswer(Reply{Code: 486})
	var refused *StatusError
	if _, err := caller.Call(ctx, "201"); !errors.As(err, &refused) || refused.Code != 486 {
		t.Errorf("Call = %v, want 486", err)
	}
	called.SetAnswer(Reply{})
	if _, err := caller.Call(ctx, "201"); err != nil {
		t.Errorf("Call = %v once the phone answers, want nil", err)
	}
}

func TestCancelCrossesNode(t *testing.T) {
	ctx := timeout(t)
	caller, called, node := trio(t, tandem.UDP)
	called.SetAnswer(Reply{Delay: time.Hour})
	calling, cancel := context.WithCancel(ctx)
	go func() {
		called.WaitFor(ctx, func(s Seen) bool { return s.Method == "INVITE" })
		cancel()
	}()
	var refused *StatusError
	_, err := caller.Call(calling, "201")
	if !errors.As(err, &refused) || refused.Code != 487 || !errors.Is(err, context.Canceled) {
		t.Errorf("Call = %v, want context canceled and 487", err)
	}
	if got := node.Dialogs(); got != 0 {
		t.Errorf("Dialogs() = %d after CANCEL, want 0", got)
	}
	if len(called.incoming) != 0 {
		t.Error("the called phone has an answered call after CANCEL")
	}
}

func TestMessageAndSubscribe(t *testing.T) {
	ctx := timeout(t)
	caller, called, node := trio(t, tandem.UDP)
	if err := caller.Message(ctx, "201", "hello"); err != nil {
		t.Errorf("Message = %v, want nil", err)
	}
	got, err := called.WaitFor(ctx, func(s Seen) bool { return s.Method == "MESSAGE" })
	if err != nil || !strings.HasSuffix(got.Message, "\r\n\r\nhello") {
		t.Errorf("the other phone got %q, %v, want the text", got.Message, err)
	}
	if err := caller.Send(ctx, "SUBSCRIBE", "201", "", "Event: presence", "Expires: 60"); err != nil {
		t.Errorf("SUBSCRIBE = %v, want nil", err)
	}
	if _, err := caller.WaitFor(ctx, func(s Seen) bool { return s.Method == "NOTIFY" }); err != nil {
		t.Errorf("no NOTIFY: %v", err)
	}
	for _, method := range []string{"MESSAGE", "SUBSCRIBE"} {
		if _, err := node.WaitFor(ctx, func(s Seen) bool { return s.Method == method }); err != nil {
			t.Errorf("the node has not seen %s", method)
		}
	}
	node.Script("MESSAGE", Reply{Code: 403})
	var refused *StatusError
	if err := caller.Message(ctx, "201", "again"); !errors.As(err, &refused) || refused.Code != 403 {
		t.Errorf("Message = %v, want the scripted 403", err)
	}
}

// Requests within a call cross the node too, and their answers come back.
func TestInfoCrossesNode(t *testing.T) {
	ctx := timeout(t)
	caller, called, _ := trio(t, tandem.UDP)
	s, err := caller.Call(ctx, "201")
	if err != nil {
		t.Fatal(err)
	}
	send := func() int {
		to, err := caller.find(ctx, s.d.hop())
		if err != nil {
			t.Fatal(err)
		}
		res, err := caller.end.ask(ctx, s.d.request(sip.INFO, []byte("Signal=5"), "application/dtmf-relay"), to)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode
	}
	if got := send(); got != 200 {
		t.Errorf("INFO = %d, want 200", got)
	}
	seen, err := called.WaitFor(ctx, func(s Seen) bool { return s.Method == "INFO" })
	if err != nil || !strings.HasSuffix(seen.Message, "Signal=5") {
		t.Errorf("the other phone got %q, %v", seen.Message, err)
	}
	called.open().end("remote") // it knows the call no more
	if got := send(); got != 481 {
		t.Errorf("INFO in a call that is over for the other phone = %d, want 481", got)
	}
}

func TestScript(t *testing.T) {
	ctx := timeout(t)
	caller, _, node := trio(t, tandem.UDP)
	node.Script("INVITE", Reply{Code: 503}, Reply{Code: 404}, Reply{Code: 200, Delay: time.Millisecond})
	for _, want := range []int{503, 404} {
		var refused *StatusError
		if _, err := caller.Call(ctx, "201"); !errors.As(err, &refused) || refused.Code != want {
			t.Errorf("Call = %v, want %d", err, want)
		}
	}
	for range 2 { // the last reply stays
		s, err := caller.Call(ctx, "201")
		if err != nil {
			t.Fatalf("Call = %v, want the node's own answer", err)
		}
		if got := node.Dialogs(); got != 1 {
			t.Errorf("Dialogs() = %d, want 1: the call ends at the node", got)
		}
		if err := s.Hangup(ctx); err != nil {
			t.Errorf("Hangup = %v, want nil", err)
		}
	}
	node.Script("INVITE", Reply{Silent: true})
	short, cancel := context.WithTimeout(ctx, 700*time.Millisecond)
	defer cancel()
	var refused *StatusError
	if _, err := caller.Call(short, "201"); err == nil || errors.As(err, &refused) {
		t.Errorf("Call = %v, want no response at all", err)
	}
	node.Script("INVITE")
	if _, err := caller.Call(ctx, "201"); err != nil {
		t.Errorf("Call = %v without a script, want nil", err)
	}
}

// A call that a node has had before is one for the world outside, and an emergency call ends at the
// node too; the twin, an ordinary call, goes on to the phone.
func TestCallsThatEndAtNode(t *testing.T) {
	for _, tt := range []struct {
		name, uri, field string
		dialogs          int
	}{
		{"outside", "sip:+15550100@acme.voice.example.net", marker + ": west-1", 1},
		{"emergency", "urn:service:sos", "Subject: help", 1},
		{"ordinary", "sip:201@acme.voice.example.net", "Subject: hello", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := timeout(t)
			caller, called, node := trio(t, tandem.UDP)
			req, err := caller.newRequest(sip.INVITE, tt.uri)
			if err != nil {
				t.Fatal(err)
			}
			req.AppendHeader(parseField(tt.field))
			setBody(req, sdp("127.0.0.1"), sdpType)
			var o *outgoing
			res, err := caller.deliver(ctx, req, caller.contacted(caller.inviter(&o)))
			if err != nil {
				t.Fatalf("INVITE %s = %v, want 200", tt.uri, err)
			}
			s := caller.newSession(newCaller(o.req, res))
			if err := o.ack(ctx, s.d, caller.find, nil, ""); err != nil {
				t.Fatal(err)
			}
			if got := node.Dialogs(); got != tt.dialogs {
				t.Errorf("Dialogs() = %d, want %d", got, tt.dialogs)
			}
			if err := s.Hangup(ctx); err != nil {
				t.Error(err)
			}
			if in := called.open(); in != nil {
				in.Cause()
			}
		})
	}
}

func TestHTTPNode(t *testing.T) {
	node := startNode(t, NodeConfig{ID: "east-1", SIP: anyPort, HTTP: anyPort})
	get := func(host, path string) (int, string) {
		t.Helper()
		req, _ := http.NewRequestWithContext(timeout(t), "GET", "http://"+node.HTTPAddr().String()+path, nil)
		if host != "" {
			req.Host = host
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	if code, body := get("acme.voice.example.net", "/hello"); code != 200 || body != "east-1: GET /hello for acme.voice.example.net (type http)\n" {
		t.Errorf("GET /hello = %d %q", code, body)
	}
	if _, body := get("", "/log"); !strings.Contains(body, "HTTP GET") || !strings.Contains(body, "account=acme.voice.example.net") {
		t.Errorf("GET /log = %q, want the request before", body)
	}
	if _, body := get("acme.voice.example.net", "/log"); strings.Contains(body, "account=") {
		t.Errorf("GET /log under an account's name = %q, want no log", body)
	}
	node.Script("HTTP", Reply{Code: 503, Delay: time.Millisecond, Header: []string{"Retry-After: 1"}})
	if code, _ := get("acme.voice.example.net", "/"); code != 503 {
		t.Errorf("scripted GET = %d, want 503", code)
	}
	http.DefaultClient.CloseIdleConnections()
}

// open returns a call that is up, nil when there is none.
func (p *Phone) open() *Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sessions {
		return s
	}
	return nil
}

// Nothing of sipgo's or ours may run on after Run.
func TestNoGoroutineLeft(t *testing.T) {
	before := stacks()
	ctx := timeout(t)
	p, err := NewPhone(PhoneConfig{User: "bob", Domain: "acme.voice.example.net", Listen: anyPort}, testLog())
	if err != nil || p.Listen() != nil {
		t.Fatal(err)
	}
	n, err := NewNode(NodeConfig{ID: "east-1", SIP: anyPort, HTTP: anyPort, Proxy: p.Addr()}, testLog())
	if err != nil || n.Listen() != nil {
		t.Fatal(err)
	}
	stopNode, stopPhone := runs(t, n.Run), runs(t, p.Run)
	q, err := NewPhone(PhoneConfig{User: "alice", Domain: "acme.voice.example.net", Listen: anyPort,
		Proxy: tandem.Target{Transport: tandem.TCP, Addr: n.Addr()}}, testLog())
	if err != nil || q.Listen() != nil {
		t.Fatal(err)
	}
	stopCaller := runs(t, q.Run)
	s, err := q.Call(ctx, "201")
	if err != nil {
		t.Fatal(err)
	}
	stopCaller() // hangs up
	if got := s.Cause(); got != "local" {
		t.Errorf("Cause() = %q, want local", got)
	}
	stopPhone()
	stopNode()
	for ctx.Err() == nil {
		if len(stacks()) <= len(before) {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("goroutines left:\n%s", strings.Join(stacks(), "\n\n"))
}

// stacks returns the stacks of goroutines that run code of this package or sipgo.
func stacks() []string {
	buf := make([]byte, 1<<20)
	var found []string
	for _, s := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if (strings.Contains(s, "tandem/internal/lab") || strings.Contains(s, "emiago/sipgo")) && !strings.Contains(s, "testing.tRunner") {
			found = append(found, s)
		}
	}
	return found
}

func TestMain(m *testing.M) {
	sip.SetDefaultLogger(slog.New(slog.DiscardHandler)) // sipgo's own, for what it logs past our loggers
	os.Exit(m.Run())
}
