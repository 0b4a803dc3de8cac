package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/tandem"
)

// events returns the events of calls after one.
func (s *server) events(after tandem.Revision) []tandem.CallEvent {
	s.t.Helper()
	return readEvents(s.t, s.must("events", "--after", fmt.Sprint(after), "-o", "json"))
}

// readEvents reads whole lines of JSON.
func readEvents(t testing.TB, text string) (all []tandem.CallEvent) {
	t.Helper()
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") || strings.TrimSpace(line) == "" {
			continue
		}
		var e tandem.CallEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, e)
	}
	return all
}

// follower is a running `tandem events -f`.
type follower struct {
	t   testing.TB
	cmd *exec.Cmd

	mu   sync.Mutex
	text bytes.Buffer
}

func (f *follower) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.Write(b)
}

func (f *follower) seen() []tandem.CallEvent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return readEvents(f.t, f.text.String())
}

func (s *server) follow(after tandem.Revision) *follower {
	s.t.Helper()
	path, err := program()
	if err != nil {
		s.t.Fatal(err)
	}
	f := &follower{t: s.t, cmd: exec.Command(path, "--socket", s.path("tandem.sock"), "events", "-f", "-o", "json", "--after", fmt.Sprint(after))}
	f.cmd.Stdout = f
	if err := f.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(f.stop)
	return f
}

func (f *follower) stop() {
	if f.cmd.ProcessState == nil {
		f.cmd.Process.Kill()
		f.cmd.Wait()
	}
}

// states returns the states of one call's events, in order.
func states(events []tandem.CallEvent, callID string) []tandem.CallState {
	var all []tandem.CallState
	for _, e := range events {
		if e.Call.CallID == callID {
			all = append(all, e.State)
		}
	}
	return all
}

// P8: a call's events arrive in order and within a second: ringing, answered, held, conferenced, forwarded, ended. A
// reader that is cut off goes on by number and misses nothing.
func TestP8(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.clusters()
	s.edit("Group", "gold", map[string]any{"permitted": 1})
	first := s.follow(0)
	c := s.dial(100, fromAlice("INVITE"))
	c.is("200")
	arrives := func(f *follower, state tandem.CallState) {
		t.Helper()
		begun := time.Now()
		eventually(t, 5*time.Second, fmt.Sprintf("the reader sees %s", state), func() bool {
			got := states(f.seen(), c.d.callID)
			return len(got) > 0 && got[len(got)-1] == state
		})
		if took := time.Since(begun); took > time.Second {
			t.Logf("%s was seen after %s", state, took) // this machine may be busy: no failure
		}
	}
	arrives(first, tandem.CallAnswered)
	change := func(body string, state tandem.CallState) {
		t.Helper()
		if got := c.within("INVITE", body).uri(); got != "200" {
			t.Errorf("re-INVITE: %s", got)
		}
		arrives(first, state)
	}
	change(session+"a=sendonly\r\n", tandem.CallHeld)
	change(session, tandem.CallAnswered)
	c.focus = true
	change(session, tandem.CallConferenced)
	c.focus = false
	refused := s.dial(101, fromAlice("INVITE"))
	refused.is("486 permitted")
	eventually(t, 5*time.Second, "the reader sees the refused call", func() bool {
		return len(states(first.seen(), refused.d.callID)) > 0
	})
	first.stop() // cut off
	last := first.seen()[len(first.seen())-1].Seq
	refer := c.inside("REFER")
	refer.header += "\nRefer-To: <sip:203@alpha.voice.example.net>"
	if got := c.converse(refer).uri(); got != "200" {
		t.Errorf("REFER: %s", got)
	}
	c.bye()
	second := s.follow(last)
	arrives(second, tandem.CallEnded)
	all := append(first.seen(), second.seen()...)
	want := []tandem.CallState{"trying", "ringing", "answered", "held", "answered", "conferenced", "forwarded", "ended"}
	if got := states(all, c.d.callID); !slices.Equal(got, want) {
		t.Errorf("the two readers together saw %v, want %v", got, want)
	}
	if got := states(all, refused.d.callID); !slices.Equal(got, []tandem.CallState{"ended"}) {
		t.Errorf("of the refused call they saw %v, want its end", got)
	}
	whole := s.events(0)
	same := func(x, y tandem.CallEvent) bool {
		return x.Seq == y.Seq && x.State == y.State && x.Call.ID == y.Call.ID
	}
	if !slices.EqualFunc(all, whole, same) {
		t.Errorf("the two readers saw %d events, one that read all saw %d", len(all), len(whole))
	}
	if !slices.IsSortedFunc(whole, func(x, y tandem.CallEvent) int { return int(x.Seq) - int(y.Seq) }) {
		t.Error("events are not in order of their numbers")
	}
	s.streamsOverHTTP(last, len(second.seen()))
	// Twin: a number that is not there yet is an error, not a silent gap.
	if out, code := s.run("", "events", "--after", "999999", "-o", "json"); code == 0 {
		t.Errorf("events after a number that does not exist: exit 0, %q", out)
	}
}

// streamsOverHTTP checks what a program gets that speaks to the API itself, as server-sent events.
func (s *server) streamsOverHTTP(after tandem.Revision, want int) {
	s.t.Helper()
	code, body := s.curl("--unix-socket", s.path("tandem.sock"), "-H", "Accept: text/event-stream",
		"-H", fmt.Sprintf("Last-Event-ID: %d", after), "http://tandem/v1/calls/events?follow=0")
	if got := strings.Count(body, "event: call\n"); code != "200" || got != want {
		s.t.Errorf("GET /v1/calls/events: %s with %d events, want %d:\n%s", code, got, want, body)
	}
}
