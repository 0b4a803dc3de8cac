package control_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// callLog is a log of calls without a disk.
type callLog struct {
	mu     sync.Mutex
	events []tandem.CallEvent // numbered from 1
	floor  tandem.Revision
	moved  chan struct{}
}

func newCallLog(list ...tandem.Call) *callLog {
	l := &callLog{moved: make(chan struct{})}
	for _, c := range list {
		l.record(c)
	}
	return l
}

func (l *callLog) record(c tandem.Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, tandem.CallEvent{Seq: tandem.Revision(len(l.events) + 1), State: c.State, Time: began, Call: c})
	close(l.moved)
	l.moved = make(chan struct{})
}

func (l *callLog) Calls(_ context.Context, by tandem.Principal, f tandem.CallFilter) (tandem.CallPage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	latest := make(map[string]tandem.Call)
	for _, e := range l.events {
		latest[e.Call.ID] = e.Call
	}
	var page tandem.CallPage
	order := func(a, b string) int { return cmp.Compare(b, a) }
	if f.Oldest {
		order = cmp.Compare[string]
	}
	for _, c := range latest {
		if by.MaySee(c.Account) && f.Match(&c) && (f.After == "" || order(c.ID, f.After) > 0) {
			page.Items = append(page.Items, c)
		}
	}
	slices.SortFunc(page.Items, func(a, b tandem.Call) int { return order(a.ID, b.ID) })
	if len(page.Items) > f.Limit {
		page.Items = page.Items[:f.Limit]
		page.Next = page.Items[f.Limit-1].ID
	}
	return page, nil
}

func (l *callLog) Call(ctx context.Context, by tandem.Principal, id string) (tandem.Call, error) {
	page, err := l.Calls(ctx, by, tandem.CallFilter{Limit: 1000})
	for _, c := range page.Items {
		if c.ID == id {
			return c, err
		}
	}
	return tandem.Call{}, tandem.ErrNotFound
}

func (l *callLog) CallEvents() (first, last tandem.Revision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.floor, tandem.Revision(len(l.events))
}

func (l *callLog) FollowCalls(ctx context.Context, by tandem.Principal, after tandem.Revision, fn func([]tandem.CallEvent, tandem.Revision) error) error {
	for ctx.Err() == nil {
		l.mu.Lock()
		news, moved, floor := slices.Clone(l.events[after:]), l.moved, l.floor
		l.mu.Unlock()
		if after < floor {
			return fmt.Errorf("%w: call events after %d are no longer kept", tandem.ErrTrimmed, after)
		}
		if after += tandem.Revision(len(news)); len(news) > 0 {
			news = slices.DeleteFunc(news, func(e tandem.CallEvent) bool { return !by.MaySee(e.Call.Account) })
			if err := fn(news, after); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-moved:
		}
	}
	return nil
}

func callOf(n int, account string, state tandem.CallState) tandem.Call {
	return callAt(began, n, account, state)
}

// callAt makes a call that began n seconds after base.
func callAt(base time.Time, n int, account string, state tandem.CallState) tandem.Call {
	at := base.Add(time.Duration(n) * time.Second)
	c := tandem.Call{ID: tandem.FirstCallID(at), Account: account, From: fmt.Sprintf("%d@a", 100+n), To: "200@b", Type: "invite", Dialogs: []tandem.Dialog{{LocalTag: "secret-tag"}}}
	for _, s := range tandem.CallStates() {
		if s == state || s == tandem.CallTrying || state == tandem.CallEnded && s == tandem.CallAnswered {
			c.Enter(s, at)
		}
	}
	return c
}

// listed asks for a list and returns the ids, as the numbers that callAt had, with their states.
func (d *door) listed(base time.Time, by tandem.Principal, query string) (ids string, next string) {
	d.t.Helper()
	code, body := d.ask(by, "GET", "/v1/calls"+query, "")
	var page tandem.CallPage
	if err := json.Unmarshal([]byte(body), &page); code != 200 || err != nil {
		d.t.Errorf("GET /v1/calls%s = %d %s", query, code, body)
	}
	if strings.Contains(body, "secret-tag") {
		d.t.Error("a list shows dialogs")
	}
	for _, c := range page.Items {
		at, _ := tandem.CallTime(c.ID)
		ids += fmt.Sprintf("%d%c ", int(at.Sub(base).Seconds()), c.State[0])
	}
	return ids, page.Next
}

func TestCallsLiveAndRecorded(t *testing.T) {
	base := time.Now().UTC().Truncate(time.Second).Add(-time.Minute) // recent enough to be alive
	log := newCallLog(
		callAt(base, 1, "a1", tandem.CallEnded), callAt(base, 2, "b1", tandem.CallEnded), callAt(base, 3, "a1", tandem.CallRinging),
		callAt(base, 4, "a1", tandem.CallEnded), callAt(base, 5, "b1", tandem.CallTrying),
	)
	live := []tandem.Call{callAt(base, 3, "a1", tandem.CallAnswered), callAt(base, 4, "a1", tandem.CallAnswered), callAt(base, 6, "a1", tandem.CallRinging), callAt(base, 0, "b1", tandem.CallHeld)}
	d := newDoor(t, func(_ *control.Config, d *control.Deps) {
		d.CallLog, d.Calls = log, func(tandem.Principal) []tandem.Call { return live }
	})
	cases := []struct {
		name, query string
		by          tandem.Principal
		want        string
	}{
		{"everything, what lives as it lives", "", admin, "6r 5t 4e 3a 2e 1e 0h "},
		{"oldest first", "?order=oldest", admin, "0h 1e 2e 3a 4e 5t 6r "},
		{"an account's", "?account=b1", admin, "5t 2e 0h "},
		{"one's own", "", tenant, "6r 4e 3a 1e "},
		{"a state that is over", "?state=ringing", admin, "6r "},
		{"a state that the proxy knows otherwise than was recorded", "?state=answered", admin, "4a 3a "},
		{"since", "?from=" + base.Add(4*time.Second).Format(time.RFC3339), admin, "6r 5t 4e "},
		{"until", "?to=" + base.Add(2*time.Second).Format(time.RFC3339), admin, "1e 0h "},
		{"party", "?party=103", admin, "3a "},
		{"nobody", "?party=10", admin, ""},
		{"cause", "?cause=bye", admin, ""},
	}
	for _, c := range cases {
		if got, _ := d.listed(base, c.by, c.query); got != c.want {
			t.Errorf("%s: GET /v1/calls%s = %s, want %s", c.name, c.query, got, c.want)
		}
	}
	all := ""
	for after := ""; ; {
		got, next := d.listed(base, admin, "?limit=2&after="+after)
		if all += got; next == "" {
			break
		}
		after = next
	}
	if all != "6r 5t 4e 3a 2e 1e 0h " {
		t.Errorf("pages give %s, want each call once", all)
	}
}

// TestOldPagesAskNoProxy pages through calls that are too old to be alive.
func TestOldPagesAskNoProxy(t *testing.T) {
	asked := 0
	recent := tandem.Call{ID: tandem.NewCallID(time.Now()), Account: "a1", State: tandem.CallRinging, Started: time.Now()}
	d := newDoor(t, func(_ *control.Config, d *control.Deps) {
		d.CallLog = newCallLog(callOf(-9e6, "a1", tandem.CallEnded), callOf(-8e6, "a1", tandem.CallEnded), callOf(-7e6, "a1", tandem.CallEnded), recent)
		d.Calls = func(tandem.Principal) []tandem.Call { asked++; return nil }
	})
	after := ""
	for page, want := range []int{0, 0, 0, 1} {
		asked = 0
		if _, after = d.listed(began, admin, "?order=oldest&limit=1&after="+after); asked != want {
			t.Errorf("page %d of the oldest asks the proxy %d times, want %d", page, asked, want)
		}
	}
	for page, want := range []int{1, 1, 0, 0} {
		asked = 0
		if _, after = d.listed(began, admin, "?limit=1&after="+after); asked != want {
			t.Errorf("page %d of the newest asks the proxy %d times, want %d", page, asked, want)
		}
	}
}

func TestCallShow(t *testing.T) {
	log := newCallLog(callOf(1, "a1", tandem.CallEnded), callOf(2, "b1", tandem.CallRinging))
	d := newDoor(t, func(_ *control.Config, d *control.Deps) {
		d.CallLog, d.Calls = log, func(tandem.Principal) []tandem.Call { return []tandem.Call{callOf(2, "b1", tandem.CallAnswered)} }
		d.Ladder = func(_ context.Context, _ tandem.Principal, id string) ([]tandem.Arrow, error) {
			if id != callOf(2, "b1", "").ID {
				return nil, tandem.ErrNotFound
			}
			return []tandem.Arrow{{Time: began, From: "phone", To: "edge1", Text: "INVITE"}}, nil
		}
		d.Hangup = nil
	})
	cases := []struct {
		by               tandem.Principal
		method, path     string
		body             string
		code             int
		has, lacks, what string
	}{
		{admin, "GET", callOf(1, "", "").ID, "", 200, `"state":"ended"`, "ladder", "an ended call"},
		{admin, "GET", callOf(2, "", "").ID, "", 200, `"ladder":[{"time":"2026-11-20T08:00:00Z","from":"phone","to":"edge1","text":"INVITE"}]`, `"state":"ringing","started"`, "a live call"},
		{tenant, "GET", callOf(1, "", "").ID, "", 200, `"timeline":[{"state":"trying"`, "secret-tag", "one's own call"},
		{tenant, "GET", callOf(2, "", "").ID, "", 404, "not found", "account", "another's call"},
		{admin, "GET", "nosuch", "", 404, "Call nosuch: not found", "state", "no call"},
		{admin, "POST", callOf(2, "", "").ID + "/hangup", "{}", 501, "has no part that can end calls", "b1", "hanging up without a proxy"},
		{admin, "POST", "nosuch/hangup", "{}", 404, "not found", "501", "hanging up nothing"},
	}
	for _, c := range cases {
		code, body := d.ask(c.by, c.method, "/v1/calls/"+c.path, c.body)
		if code != c.code || !strings.Contains(body, c.has) || strings.Contains(body, c.lacks) {
			t.Errorf("%s: %d %s, want %d with %s and without %s", c.what, code, body, c.code, c.has, c.lacks)
		}
	}
	for query, says := range map[string]string{
		"state=dancing": "is not a state of a call", "after=7": "is not a call's id", "from=noon": "is not a time such as",
		"limit=0": "limit:", "order=random": "is not oldest", "from=2026-11-20T08:00:00Z&to=2026-11-20T08:00:00Z": "is not after from",
	} {
		if code, body := d.ask(admin, "GET", "/v1/calls?"+query, ""); code != 400 || !strings.Contains(body, says) {
			t.Errorf("GET /v1/calls?%s = %d %s, want 400 %s", query, code, body, says)
		}
	}
	d = newDoor(t, func(_ *control.Config, d *control.Deps) { d.Calls = nil })
	for _, path := range []string{"", "/1", "/events"} {
		if code, body := d.ask(admin, "GET", "/v1/calls"+path, ""); code != 501 {
			t.Errorf("GET /v1/calls%s without anything that knows calls = %d %s, want 501", path, code, body)
		}
	}
}

func TestCallHangup(t *testing.T) {
	log := newCallLog(callOf(1, "a1", tandem.CallAnswered), callOf(2, "b1", tandem.CallAnswered))
	var told []string
	d := newDoor(t, func(_ *control.Config, d *control.Deps) {
		d.CallLog, d.Calls = log, nil
		d.Hangup = func(_ context.Context, _ tandem.Principal, id, reason string) error {
			if reason == "stuck" {
				return errors.New("the node does not answer")
			}
			told = append(told, id+" "+reason)
			log.record(callOf(1, "a1", tandem.CallEnded))
			return nil
		}
	})
	id := callOf(1, "", "").ID
	cases := []struct {
		by   tandem.Principal
		id   string
		body string
		code int
		has  string
	}{
		{tenant, callOf(2, "", "").ID, `{}`, 404, "not found"},
		{tenant, id, `{"reason":"` + strings.Repeat("x", 129) + `"}`, 422, "at most 128"},
		{tenant, id, `{"reason":"a\r\nVia: x"}`, 422, "control character"},
		{tenant, id, `{"why":"x"}`, 400, "hangupCall"},
		{tenant, id, `{"reason":"stuck"}`, 500, "the node does not answer"},
		{tenant, id, `{"reason":"enough"}`, 200, `"state":"ended"`},
		{tenant, id, `{"reason":"enough"}`, 409, "has ended already"},
	}
	for _, c := range cases {
		if code, body := d.ask(c.by, "POST", "/v1/calls/"+c.id+"/hangup", c.body); code != c.code || !strings.Contains(body, c.has) {
			t.Errorf("hangup %s = %d %s, want %d %s", c.body, code, body, c.code, c.has)
		}
	}
	if want := []string{id + " enough"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestCallEventsPast(t *testing.T) {
	log := newCallLog(callOf(1, "a1", tandem.CallTrying), callOf(2, "b1", tandem.CallTrying), callOf(1, "a1", tandem.CallEnded))
	log.floor = 1
	d := newDoor(t, func(_ *control.Config, d *control.Deps) { d.CallLog = log })
	cases := []struct {
		by    tandem.Principal
		query string
		code  int
		want  string // numbers of events, or what is said
	}{
		{admin, "follow=0", 200, ""},
		{admin, "follow=0&after=1", 200, "2 3 "},
		{admin, "follow=0&last=1", 200, "3 "},
		{admin, "follow=0&last=1000", 200, "2 3 "},
		{admin, "follow=0&after=1&account=b1", 200, "2 "},
		{tenant, "follow=0&after=1", 200, "3 "},
		{tenant, "follow=0&after=1&account=b1", 404, "not found"},
		{admin, "follow=0&after=0", 410, "event 0 is not kept: 1 to 3 are"},
		{admin, "follow=0&after=4", 410, "event 4 is not kept"},
		{admin, "after=x", 400, "after:"},
		{admin, "last=x", 400, "last:"},
		{admin, "follow=maybe", 400, "is not 0 or 1"},
	}
	for _, c := range cases {
		code, body := d.ask(c.by, "GET", "/v1/calls/events?"+c.query, "")
		got := body
		if code == 200 {
			got = ""
			for line := range strings.Lines(strings.TrimSpace(body)) {
				var e tandem.CallEvent
				if err := json.Unmarshal([]byte(line), &e); err != nil && strings.TrimSpace(line) != "" {
					t.Errorf("%s: line %q: %v", c.query, line, err)
				}
				got += fmt.Sprintf("%d ", e.Seq)
			}
		}
		if code != c.code || code == 200 && got != c.want || !strings.Contains(got, c.want) || strings.Contains(body, "secret-tag") {
			t.Errorf("events?%s = %d %s, want %d %s", c.query, code, got, c.code, c.want)
		}
	}
}

func TestCallEventsAsServerSent(t *testing.T) {
	log := newCallLog(callOf(1, "a1", tandem.CallTrying), callOf(2, "b1", tandem.CallTrying))
	d := newDoor(t, func(_ *control.Config, d *control.Deps) { d.CallLog = log })
	ask := func(by tandem.Principal, id string) (int, string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/v1/calls/events?follow=0", nil)
		r.Header.Set("Accept", "text/event-stream")
		r.Header.Set("Last-Event-ID", id)
		control.Handler(d.server, func(*http.Request) (tandem.Principal, error) { return by, nil }).ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	if code, body := ask(admin, "1"); code != 200 || !strings.HasPrefix(body, "id: 2\nevent: call\ndata: {\"seq\":2,") || !strings.HasSuffix(body, "}\n\n") {
		t.Errorf("resumed = %d %q", code, body)
	}
	if code, body := ask(tenant, "1"); code != 200 || body != "id: 2\n\n" {
		t.Errorf("past another's event = %d %q, want only the number to come back with", code, body)
	}
	for id, want := range map[string]int{"x": 400, "9": 410} {
		if code, body := ask(admin, id); code != want {
			t.Errorf("Last-Event-ID %s = %d %s, want %d", id, code, body, want)
		}
	}
}

// TestCallEventsLive follows over a socket: events come as they happen, in order, from the last one
// seen, and the end of the server ends the stream at once.
func TestCallEventsLive(t *testing.T) {
	log := newCallLog(callOf(0, "a1", tandem.CallTrying))
	d := deps(newMemory())
	d.CallLog = log
	cfg := control.Config{Socket: filepath.Join(t.TempDir(), "s"), MaxRequests: 4}
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
	var last tandem.Revision
	enough := errors.New("enough")
	for round := range 3 {
		err := client.CallEvents(context.Background(), control.CallEvents{After: &last, Follow: true}, func(e tandem.CallEvent) error {
			if e.Seq != last+1 {
				t.Errorf("event %d after %d", e.Seq, last)
			}
			if last = e.Seq; int(last) >= 10*(round+1) {
				return enough
			}
			log.record(callOf(int(last), "a1", tandem.CallRinging))
			return nil
		})
		if !errors.Is(err, enough) {
			t.Fatalf("round %d: %v", round, err)
		}
		log.record(callOf(int(last), "a1", tandem.CallEnded))
	}
	started := make(chan struct{}, 1)
	broken := make(chan error, 1)
	go func() {
		broken <- client.CallEvents(context.Background(), control.CallEvents{Last: 1, Follow: true}, func(tandem.CallEvent) error {
			started <- struct{}{}
			return nil
		})
	}()
	<-started
	begun := time.Now()
	end()
	if err := <-ended; err != nil || time.Since(begun) > 4*time.Second {
		t.Errorf("Run = %v after %v, want an end without waiting for streams", err, time.Since(begun))
	}
	if err := <-broken; err == nil || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("the stream ended with %v, want that it broke off", err)
	}
}

func TestTooManyStreams(t *testing.T) {
	log := newCallLog()
	d := newDoor(t, func(c *control.Config, d *control.Deps) { c.MaxRequests, d.CallLog = 2, log })
	identify := func(*http.Request) (tandem.Principal, error) { return admin, nil }
	server := httptest.NewServer(control.Handler(d.server, identify))
	defer server.Close()
	open := func() *http.Response {
		answer, err := http.Get(server.URL + "/v1/calls/events")
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	first := open()
	if first.StatusCode != 200 {
		t.Errorf("the first stream = %d", first.StatusCode)
	}
	log.record(callOf(1, "a1", tandem.CallTrying))
	if line, err := bufio.NewReader(first.Body).ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"seq":1,`) {
		t.Errorf("the first stream gives %q, %v", line, err)
	}
	second := open()
	if second.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one stream too many = %d, want 503", second.StatusCode)
	}
	second.Body.Close()
	first.Body.Close()
}

func TestHangupAll(t *testing.T) {
	var told []control.HangupAllRequest
	d := newDoor(t, func(_ *control.Config, d *control.Deps) {
		d.HangupAll = func(_ context.Context, _ tandem.Principal, r control.HangupAllRequest) (int, error) {
			told = append(told, r)
			if r.Pending {
				return 2, errors.New("the caller did not answer its BYE")
			}
			return 3, nil
		}
	})
	cases := []struct {
		by   tandem.Principal
		body string
		code int
		has  string
	}{
		{admin, `{}`, 422, "account: is missing"},
		{admin, `{"account":"nosuch"}`, 404, "Account nosuch: not found"},
		{tenant, `{"account":"b1"}`, 404, "Account b1: not found"},
		{tenant, `{"device":"d2"}`, 404, "Device d2: not found"},
		{admin, `{"account":"a1","reason":"a\nb"}`, 422, "control character"},
		{tenant, `{"account":"a1"}`, 200, `"calls":3`},
		{admin, `{"device":"d2","pending":true}`, 200, "did not answer"},
	}
	for _, c := range cases {
		if code, body := d.ask(c.by, "POST", "/v1/calls/hangup", c.body); code != c.code || !strings.Contains(body, c.has) {
			t.Errorf("hangup %s = %d %s, want %d %s", c.body, code, body, c.code, c.has)
		}
	}
	if len(told) != 2 {
		t.Errorf("told %+v, want the last two", told)
	}
	if code, body := newDoor(t, nil).ask(admin, "POST", "/v1/calls/hangup", `{"account":"a1"}`); code != 501 {
		t.Errorf("without a proxy: %d %s", code, body)
	}
}
