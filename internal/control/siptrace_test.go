package control_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// traced is a proxy that sees one message of each account's and then no more.
func traced(asked *[]tandem.TraceFilter) func(context.Context, tandem.Principal, tandem.TraceFilter, func([]tandem.TraceLine) error) error {
	return func(_ context.Context, by tandem.Principal, f tandem.TraceFilter, fn func([]tandem.TraceLine) error) error {
		*asked = append(*asked, f)
		if err := fn(nil); err != nil {
			return err
		}
		var lines []tandem.TraceLine
		for _, account := range []string{"a1", "b1"} {
			if l := (tandem.TraceLine{Arrow: tandem.Arrow{Time: began, From: "phone", To: "tandem", Text: "INVITE"}, Account: account}); by.MaySee(account) && f.Match(&l) {
				lines = append(lines, l)
			}
		}
		if err := fn(lines); err != nil {
			return err
		}
		return errors.New("the proxy ends")
	}
}

func TestSIPTrace(t *testing.T) {
	var asked []tandem.TraceFilter
	d := newDoor(t, func(_ *control.Config, d *control.Deps) { d.SIPTrace = traced(&asked) })
	call := tandem.FirstCallID(began)
	cases := []struct {
		name  string
		by    tandem.Principal
		query string
		code  int
		has   string // "," between what must be there
		lacks string
		f     tandem.TraceFilter
	}{
		{"everything", admin, "", 200, `"account":"a1","account":"b1"`, "raw", tandem.TraceFilter{}},
		{"all that can be asked", admin, "?account=a1&call=" + call + "&callId=c&party=p&method=BYE&raw=1&probes=1", 200, "", "INVITE",
			tandem.TraceFilter{Account: "a1", Call: call, CallID: "c", Party: "p", Method: "BYE", Raw: true, Probes: true}},
		{"one's own", tenant, "", 200, `"account":"a1"`, "b1", tandem.TraceFilter{Account: "a1"}},
		{"another's", tenant, "?account=b1", 404, "not found", "INVITE", tandem.TraceFilter{}},
		{"no call's id", admin, "?call=x", 400, "call: is not a call's id", "INVITE", tandem.TraceFilter{}},
		{"neither yes nor no", admin, "?raw=maybe", 400, "raw:", "INVITE", tandem.TraceFilter{}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			asked = nil
			code, body := d.ask(c.by, "GET", "/v1/sip/trace"+c.query, "")
			for part := range strings.SplitSeq(c.has, ",") {
				if !strings.Contains(body, part) {
					t.Errorf("%q is not in %s", part, body)
				}
			}
			if code != c.code || strings.Contains(body, c.lacks) {
				t.Errorf("answer = %d %s", code, body)
			}
			if code == 200 && (len(asked) != 1 || asked[0] != c.f) {
				t.Errorf("asked for %+v, want %+v", asked, c.f)
			}
		})
	}
	if code, _ := newDoor(t, nil).ask(admin, "GET", "/v1/sip/trace", ""); code != http.StatusNotImplemented {
		t.Errorf("without a proxy: %d", code)
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/v1/sip/trace?account=a1", nil)
	r.Header.Set("Accept", "text/event-stream")
	control.Handler(d.server, func(*http.Request) (tandem.Principal, error) { return admin, nil }).ServeHTTP(w, r)
	if body := w.Body.String(); !strings.HasPrefix(body, "event: message\ndata: {") || !strings.Contains(body, "event: error\ndata: ") {
		t.Errorf("as server-sent events: %q", body)
	}
}

// TestSIPTraceClient reads over a socket: it is told when messages are seen, and why the stream ends.
func TestSIPTraceClient(t *testing.T) {
	var asked []tandem.TraceFilter
	d := deps(newMemory())
	d.SIPTrace = traced(&asked)
	cfg := control.Config{Socket: filepath.Join(t.TempDir(), "s")}
	server, err := control.New(cfg, d, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	client := control.NewClient(cfg.Socket)
	defer client.Close()
	var got []string
	err = client.SIPTrace(t.Context(), tandem.TraceFilter{Party: "phone", Raw: true}, func(l *tandem.TraceLine) error {
		if l == nil {
			got = append(got, "watching")
		} else {
			got = append(got, l.Text+" "+l.Account)
		}
		return nil
	})
	if all := strings.Join(got, ", "); all != "watching, INVITE a1, INVITE b1" || err == nil {
		t.Errorf("got %s, %v", all, err)
	}
	if want := (tandem.TraceFilter{Party: "phone", Raw: true}); len(asked) != 1 || asked[0] != want {
		t.Errorf("asked for %+v, want %+v", asked, want)
	}
	enough := errors.New("enough")
	if err := client.SIPTrace(t.Context(), tandem.TraceFilter{}, func(*tandem.TraceLine) error { return enough }); err != enough {
		t.Errorf("the reader has enough: %v", err)
	}
	end()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
}
