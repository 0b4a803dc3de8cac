package provision_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
	"tandem/provision"
)

var update = flag.Bool("update", false, "rewrite testdata")

func TestProfile(t *testing.T) {
	d := newDesk(t, provision.Config{})
	url := d.permit(t, "phone")
	w := d.ask(request("GET", url))
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v, want 200, JSON, not stored", w.Code, w.Header())
	}
	const golden = "testdata/profile.json"
	if *update {
		if err := os.WriteFile(golden, w.Body.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), w.Body.String()); diff != "" {
		t.Errorf("profile (-want +got):\n%s", diff)
	}
	again := d.ask(request("GET", d.permit(t, "phone")))
	if !bytes.Equal(again.Body.Bytes(), want) {
		t.Errorf("a second profile differs:\n%s", again.Body)
	}
}

func TestURL(t *testing.T) {
	for _, tt := range []struct {
		cfg  provision.Config
		want string
	}{
		{provision.Config{Host: "edge.test"}, "https://edge.test:8445/p/"},
		{provision.Config{Host: "edge.test", Port: 443}, "https://edge.test:443/p/"},
		{provision.Config{Host: "2001:db8::1"}, "https://[2001:db8::1]:8445/p/"},
	} {
		d := newDesk(t, tt.cfg)
		first, second := d.permit(t, "phone"), d.permit(t, "phone")
		token, ok := strings.CutPrefix(first, tt.want)
		if !ok || len(token) != 26 || first == second {
			t.Errorf("URLs %s and %s, want %s and 26 characters, each other ones", first, second, tt.want)
		}
		for _, objects := range d.store.objects {
			for id := range objects {
				if strings.Contains(id, token) {
					t.Error("the token stands in the store")
				}
			}
		}
	}
}

// Every refusal is the same answer, whatever its reason.
func TestRefusals(t *testing.T) {
	tests := []struct {
		name   string
		reason string
		do     func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder
	}{
		{"unknown token", "unknown", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			return d.ask(request("GET", url[:len(url)-1]+"!"))
		}},
		{"empty token", "unknown", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			return d.ask(request("GET", "/p/"))
		}},
		{"token in lower case", "unknown", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			return d.ask(request("GET", strings.ToLower(url)))
		}},
		{"used token", "used", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			d.ask(request("GET", url))
			return d.ask(request("GET", url))
		}},
		{"id of the permit", "unknown", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			for id := range d.store.objects[tandem.KindPermit] {
				return d.ask(request("GET", "/p/"+id))
			}
			return nil
		}},
		{"another path", "request", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder { return d.ask(request("GET", "/")) }},
		{"MAC as a path", "request", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			return d.ask(request("GET", "/001565aabbcc.cfg"))
		}},
		{"MAC as a token", "unknown", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			return d.ask(request("GET", "/p/001565aabbcc"))
		}},
		{"path below", "unknown", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			return d.ask(request("GET", url+"/x"))
		}},
		{"very long token", "request", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			return d.ask(request("GET", url+strings.Repeat("A", 4096)))
		}},
		{"HEAD", "request", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder { return d.ask(request("HEAD", url)) }},
		{"POST", "request", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder { return d.ask(request("POST", url)) }},
		{"without TLS", "plain", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			r := request("GET", url)
			r.TLS = nil
			return d.ask(r)
		}},
		{"after a newer permit", "unknown", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			d.permit(t, "phone")
			return d.ask(request("GET", url))
		}},
		{"device deleted", "device", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			d.edit(t, tandem.Edit{Kind: tandem.KindDevice, ID: "phone"})
			return d.ask(request("GET", url))
		}},
		{"device deleted and made again", "device", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			same := d.store.objects[tandem.KindDevice]["phone"]
			d.edit(t, tandem.Edit{Kind: tandem.KindDevice, ID: "phone"})
			d.edit(t, tandem.Edit{Kind: tandem.KindDevice, ID: "phone", Object: same})
			return d.ask(request("GET", url))
		}},
		{"device moved to another account", "device", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			moved := *d.store.objects[tandem.KindDevice]["phone"].(*tandem.Device)
			moved.Account = "1002"
			d.edit(t, tandem.Edit{Kind: tandem.KindDevice, ID: "phone", Object: &moved})
			return d.ask(request("GET", url))
		}},
		{"secret no longer kept", "device", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			bare := *d.store.objects[tandem.KindDevice]["phone"].(*tandem.Device)
			bare.Sealed = nil
			d.edit(t, tandem.Edit{Kind: tandem.KindDevice, ID: "phone", Object: &bare})
			return d.ask(request("GET", url))
		}},
		{"secret sealed for another", "device", func(t *testing.T, d *desk, _ string) *httptest.ResponseRecorder {
			return d.ask(request("GET", d.permit(t, "broken")))
		}},
		{"store fails", "failure", func(t *testing.T, d *desk, url string) *httptest.ResponseRecorder {
			d.store.fail = errors.New("disk full")
			return d.ask(request("GET", url))
		}},
	}
	want := newDesk(t, provision.Config{}).ask(request("GET", "/p/nothing"))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, provision.Config{})
			got := tt.do(t, d, d.permit(t, "phone"))
			if got.Code != 404 {
				t.Errorf("%d, want 404", got.Code)
			}
			if diff := cmp.Diff(want.Body.String(), got.Body.String()); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want.Header(), got.Header()); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			if n := d.reading("tandem_provision_refused_total", tt.reason); n != 1 {
				t.Errorf("refusals for reason %q = %v, want 1", tt.reason, n)
			}
		})
	}
}

// edit commits one change.
func (d *desk) edit(t *testing.T, e tandem.Edit) {
	t.Helper()
	if _, err := d.store.Append(t.Context(), admin, []tandem.Edit{e}); err != nil {
		t.Fatal(err)
	}
}

func TestOtherHostIsMisdirected(t *testing.T) {
	for _, tt := range []struct {
		ours, host string
		code       int
	}{
		{"edge.test", "edge.test", 200},
		{"edge.test", "EDGE.test.:1", 200},
		{"edge.test", "alpha.v.test", 421},
		{"edge.test", "", 421},
		{"edge.test", "edge.test.evil", 421},
		{"2001:db8::1", "[2001:db8::1]:8445", 200},
		{"2001:db8::1", "[2001:db8::1]", 200},
		{"2001:db8::1", "[2001:db8::2]:8445", 421},
	} {
		d := newDesk(t, provision.Config{Host: tt.ours})
		url := d.permit(t, "phone")
		r := request("GET", url)
		r.Host = tt.host
		if w := d.ask(r); w.Code != tt.code {
			t.Errorf("%s asked as %q: %d, want %d", tt.ours, tt.host, w.Code, tt.code)
		}
	}
}

func TestRefusalKeepsPermitOpen(t *testing.T) {
	d := newDesk(t, provision.Config{})
	url := d.permit(t, "phone")
	for _, method := range []string{"HEAD", "POST"} {
		d.ask(request(method, url))
	}
	d.store.fail = errors.New("disk full")
	d.ask(request("GET", url))
	d.store.fail = nil
	if w := d.ask(request("GET", url)); w.Code != 200 {
		t.Errorf("after refusals that used nothing up: %d, want 200", w.Code)
	}
}

// Of many who hold one URL at once, exactly one gets the profile.
func TestOnceOnly(t *testing.T) {
	d := newDesk(t, provision.Config{})
	url := d.permit(t, "phone")
	codes := make(chan int, 16)
	var all sync.WaitGroup
	for range cap(codes) {
		all.Go(func() { codes <- d.ask(request("GET", url)).Code })
	}
	all.Wait()
	close(codes)
	served := 0
	for code := range codes {
		if code == 200 {
			served++
		}
	}
	if served != 1 {
		t.Errorf("%d of 16 got the profile, want 1", served)
	}
}

func TestGuessesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, provision.Config{})
		url, err := d.Permit(context.Background(), admin, "phone", 2*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		from := func(addr string) int {
			r := request("GET", url)
			r.RemoteAddr = addr
			return d.ask(r).Code
		}
		guess := func(addr string, n int) {
			for range n {
				r := request("GET", "/p/AAAAAAAAAAAAAAAAAAAAAAAAAA")
				r.RemoteAddr = addr
				d.ask(r)
			}
		}
		guess("192.0.2.7:1", 20)
		if code := from("192.0.2.7:2"); code != 404 {
			t.Errorf("the right URL after 20 guesses from its source: %d, want 404", code)
		}
		guess("[2001:db8::1]:1", 20)
		if code := from("[2001:db8::ffff]:1"); code != 404 {
			t.Errorf("the right URL from the guesser's /64: %d, want 404", code)
		}
		if n := d.reading("tandem_provision_refused_total", "blocked"); n != 2 {
			t.Errorf("blocked = %v, want 2", n)
		}
		guess("192.0.2.8:1", 19)
		if code := from("192.0.2.8:1"); code != 200 {
			t.Errorf("the right URL after 19 guesses: %d, want 200", code)
		}
		url, _ = d.Permit(context.Background(), admin, "phone", 2*time.Hour)
		time.Sleep(time.Minute)
		if code := from("192.0.2.7:3"); code != 200 {
			t.Errorf("the right URL a minute later: %d, want 200", code)
		}
	})
}

func TestPermitRefuses(t *testing.T) {
	tests := []struct {
		name   string
		by     tandem.Principal
		device string
		ttl    time.Duration
		want   error
	}{
		{"its own account", tandem.Principal{Account: "1001"}, "phone", time.Minute, nil},
		{"another account", tandem.Principal{Account: "1002"}, "phone", time.Minute, tandem.ErrNotFound},
		{"nobody", tandem.Principal{}, "phone", time.Minute, tandem.ErrNotFound},
		{"unknown device", admin, "none", time.Minute, tandem.ErrNotFound},
		{"secret not kept", admin, "hashed", time.Minute, provision.ErrNoSecret},
		{"a month", admin, "phone", 30 * 24 * time.Hour, nil},
		{"longer", admin, "phone", 30*24*time.Hour + 1, provision.ErrTTL},
		{"too short", admin, "phone", time.Millisecond, provision.ErrTTL},
		{"negative", admin, "phone", -time.Hour, provision.ErrTTL},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, provision.Config{})
			if _, err := d.Permit(t.Context(), tt.by, tt.device, tt.ttl); !errors.Is(err, tt.want) {
				t.Errorf("Permit = %v, want %v", err, tt.want)
			}
		})
	}
	d := newDesk(t, provision.Config{MaxOpen: 1})
	d.permit(t, "phone")
	if _, err := d.Permit(t.Context(), admin, "broken", 0); !errors.Is(err, provision.ErrFull) {
		t.Errorf("Permit beyond the bound = %v, want ErrFull", err)
	}
}

func TestExpiryAndSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, provision.Config{})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		short, err := d.Permit(ctx, admin, "phone", 30*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Permit(ctx, admin, "broken", time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if code := d.ask(request("GET", short)).Code; code != 404 || d.reading("tandem_provision_refused_total", "expired") != 1 {
			t.Errorf("at its expiry: %d, want 404 as expired", code)
		}
		time.Sleep(2 * time.Minute)
		if n := d.store.count(tandem.KindPermit); n != 1 {
			t.Errorf("%d permits are stored after the sweep, want the one that is open", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}

// A permit that somebody else deleted does not keep the sweep from deleting the others.
func TestSweepPastMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, provision.Config{})
		ctx, cancel := context.WithCancel(context.Background())
		d.store.follow = nil
		for _, id := range []string{"phone", "broken"} {
			if _, err := d.Permit(ctx, admin, id, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		for id := range d.store.objects[tandem.KindPermit] {
			delete(d.store.objects[tandem.KindPermit], id)
			break
		}
		time.Sleep(time.Minute)
		cancelled := make(chan error)
		go func() { cancelled <- d.Run(ctx) }()
		synctest.Wait()
		if n := d.store.count(tandem.KindPermit); n != 0 || d.reading("tandem_provision_permits", "") != 0 {
			t.Errorf("%d permits are stored, %v known after the sweep, want none", n, d.reading("tandem_provision_permits", ""))
		}
		cancel()
		<-cancelled
	})
}

// Neither the token nor the password is ever logged.
func TestLogHoldsNoSecret(t *testing.T) {
	var text bytes.Buffer
	d := newDesk(t, provision.Config{})
	s, err := provision.New(provision.Config{Host: "edge.test"}, d.store, caesar{},
		slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	logged := &desk{s, d.store}
	url := logged.permit(t, "phone")
	token := url[strings.LastIndexByte(url, '/')+1:]
	for range 2 {
		logged.ask(request("GET", url))
	}
	logged.ask(request("GET", url+"x"))
	if text.Len() == 0 || strings.Contains(text.String(), token) || strings.Contains(text.String(), "correct horse") {
		t.Errorf("the log is empty or holds a secret:\n%s", &text)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []provision.Config{
		{}, {Host: "edge.test:8445"}, {Host: "EDGE"}, {Host: ".edge"}, {Host: "edge..test"},
		{Host: "edge.test", Expires: time.Second}, {Host: "edge.test", MaxOpen: -1},
	} {
		if _, err := provision.New(cfg, newMemory(), caesar{}, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("New(%+v) = nil error, want one", cfg)
		}
	}
	if _, err := provision.New(provision.Config{Host: "edge.test"}, nil, nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("New without collaborators = nil error, want one")
	}
}

// Whatever path, method and source: an answer is the profile for the one right request, else the 404.
func FuzzRequest(f *testing.F) {
	for _, path := range []string{"/", "/p/", "/p/AAAAAAAAAAAAAAAAAAAAAAAAAA", "//p/x", "/p/../p/x", "/P/x", "/p/%00", "/001565aabbcc.cfg", "/p/x?y"} {
		f.Add("GET", path, "192.0.2.7:1")
	}
	f.Add("HEAD", "/p/x", "[2001:db8::1%eth0]:1")
	f.Add("PUT", "/p/x", "@")
	f.Fuzz(func(t *testing.T, method, path, source string) {
		d := newDesk(t, provision.Config{})
		url := d.permit(t, "phone")
		r := request("GET", "/")
		r.Method, r.URL.Path, r.RemoteAddr = method, path, source
		if w := d.ask(r); w.Code != http.StatusNotFound {
			t.Errorf("%s %s = %d, want 404", method, path, w.Code)
		}
		r = request("GET", url)
		if w := d.ask(r); w.Code != http.StatusOK {
			t.Errorf("the right request afterwards = %d, want 200", w.Code)
		}
	})
}
