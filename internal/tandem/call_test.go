package tandem_test

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tandem/internal/tandem"
)

var callTime = time.Date(2026, 11, 20, 8, 0, 0, 123456789, time.UTC)

func TestCallIDsSortByTime(t *testing.T) {
	seen := make(map[string]bool)
	var last string
	for i := range 1000 {
		now := callTime.Add(time.Duration(i) * time.Microsecond)
		id := tandem.NewCallID(now)
		if id <= last || seen[id] || len(id) != 20 {
			t.Fatalf("id %q after %q: want 20 letters that sort by time", id, last)
		}
		if first := tandem.FirstCallID(now); first > id || first <= last {
			t.Errorf("FirstCallID = %q, want it between %q and %q", first, last, id)
		}
		if at, err := tandem.CallTime(id); err != nil || !at.Equal(now.Truncate(time.Microsecond)) {
			t.Errorf("CallTime(%q) = %v, %v, want %v", id, at, err, now)
		}
		seen[id], last = true, id
	}
	if same := tandem.NewCallID(callTime); seen[same] {
		t.Errorf("two calls of one microsecond are both %q", same)
	}
}

func TestCallTimeRefuses(t *testing.T) {
	for _, id := range []string{"", "1", strings.Repeat("z", 20), strings.Repeat("0", 21), strings.Repeat("A", 20), "0000000000000000000\n", strings.Repeat("0", 19) + "1"} {
		if at, err := tandem.CallTime(id); err == nil {
			t.Errorf("CallTime(%q) = %v, want a refusal", id, at)
		}
	}
}

func TestCallEnters(t *testing.T) {
	c := tandem.Call{ID: tandem.NewCallID(callTime), Dialogs: []tandem.Dialog{{CallID: "x"}}}
	c.Enter(tandem.CallTrying, callTime)
	c.Enter(tandem.CallRinging, callTime.Add(time.Second))
	before := c
	c.Enter(tandem.CallRinging, callTime.Add(2*time.Second))
	c.Enter(tandem.CallAnswered, callTime.Add(3*time.Second))
	for i := range 100 {
		c.Enter(tandem.CallHeld, callTime.Add(time.Duration(4+2*i)*time.Second))
		c.Enter(tandem.CallAnswered, callTime.Add(time.Duration(5+2*i)*time.Second))
	}
	middle := c
	c.Enter(tandem.CallEnded, callTime.Add(time.Hour))
	c.Enter(tandem.CallAnswered, callTime.Add(2*time.Hour))
	if c.State != tandem.CallEnded || !c.Ended.Equal(callTime.Add(time.Hour)) || c.Dialogs != nil {
		t.Errorf("an ended call is %+v", c)
	}
	if !c.Ringing.Equal(callTime.Add(time.Second)) || !c.Answered.Equal(callTime.Add(3*time.Second)) {
		t.Errorf("ringing %v, answered %v: want the first time of each", c.Ringing, c.Answered)
	}
	if n := len(c.Moments); n != 32 || c.Moments[n-1].State != tandem.CallEnded || c.Moments[0].State != tandem.CallTrying {
		t.Errorf("%d moments, the last %v; want 32, first and last among them", n, c.Moments[n-1])
	}
	if len(before.Moments) != 2 || middle.Moments[31].State == tandem.CallEnded {
		t.Error("a copy made before changed with the call")
	}
	if err := c.Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
}

func TestCallTimeline(t *testing.T) {
	c := tandem.Call{Started: callTime, Ended: callTime.Add(time.Second), State: tandem.CallEnded}
	want := []tandem.CallMoment{{State: tandem.CallTrying, Time: c.Started}, {State: tandem.CallEnded, Time: c.Ended}}
	if got := c.Timeline(); !slices.Equal(got, want) {
		t.Errorf("Timeline = %v, want %v", got, want)
	}
}

func TestCallBound(t *testing.T) {
	long := strings.Repeat("ü", 300)
	c := tandem.Call{From: long, Reason: "short", Groups: slices.Repeat([]string{long}, 100), Moments: make([]tandem.CallMoment, 50)}
	given := c.Groups
	c.Moments[49].State = tandem.CallEnded
	c.Bound()
	if len(c.From) != 256 || !utf8.ValidString(c.From) || c.Reason != "short" {
		t.Errorf("texts are cut to %d octets, %q", len(c.From), c.Reason)
	}
	if len(c.Groups) != 8 || len(c.Groups[0]) != 256 || len(given[0]) != 600 {
		t.Errorf("%d groups of %d octets, the caller's %d", len(c.Groups), len(c.Groups[0]), len(given[0]))
	}
	if len(c.Moments) != 32 || c.Moments[31].State != tandem.CallEnded {
		t.Errorf("%d moments, the last %v", len(c.Moments), c.Moments[31])
	}
	c = tandem.Call{Reason: strings.Repeat("\x80", 300)}
	if c.Bound(); len(c.Reason) < 250 {
		t.Errorf("what is no text is cut to %d octets", len(c.Reason))
	}
}

func TestCallFilterMatch(t *testing.T) {
	c := tandem.Call{Account: "1001", From: "alice@a.example", To: "+4930@b.example", User: "u1", Device: "d1", State: tandem.CallEnded, Cause: "486", Started: callTime}
	cases := []struct {
		name string
		f    tandem.CallFilter
		want bool
	}{
		{"anything", tandem.CallFilter{}, true},
		{"its account", tandem.CallFilter{Account: "1001"}, true},
		{"another account", tandem.CallFilter{Account: "1002"}, false},
		{"since then", tandem.CallFilter{From: callTime}, true},
		{"since later", tandem.CallFilter{From: callTime.Add(1)}, false},
		{"until then", tandem.CallFilter{To: callTime}, false},
		{"until later", tandem.CallFilter{To: callTime.Add(1)}, true},
		{"caller", tandem.CallFilter{Party: "alice"}, true},
		{"caller with host", tandem.CallFilter{Party: "alice@a.example"}, true},
		{"part of a caller", tandem.CallFilter{Party: "ali"}, false},
		{"called number", tandem.CallFilter{Party: "+4930"}, true},
		{"user", tandem.CallFilter{Party: "u1"}, true},
		{"device", tandem.CallFilter{Party: "d1"}, true},
		{"state", tandem.CallFilter{State: tandem.CallEnded}, true},
		{"another state", tandem.CallFilter{State: tandem.CallRinging}, false},
		{"cause", tandem.CallFilter{Cause: "486"}, true},
		{"another cause", tandem.CallFilter{Cause: "48"}, false},
	}
	for _, tc := range cases {
		if got := tc.f.Match(&c); got != tc.want {
			t.Errorf("%s: Match = %t, want %t", tc.name, got, tc.want)
		}
		if err := tc.f.Validate(); err != nil {
			t.Errorf("%s: Validate = %v", tc.name, err)
		}
	}
	for _, bad := range []tandem.CallFilter{{State: "dancing"}, {After: "1"}, {From: callTime, To: callTime}, {Limit: -1}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is not refused", bad)
		}
	}
}

func TestCallValidate(t *testing.T) {
	good := tandem.Call{ID: tandem.NewCallID(callTime), State: tandem.CallTrying, Started: callTime}
	if err := good.Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
	for name, spoil := range map[string]func(*tandem.Call){
		"id": func(c *tandem.Call) { c.ID = "1" }, "state": func(c *tandem.Call) { c.State = "" },
		"started": func(c *tandem.Call) { c.Started = time.Time{} }, "ended": func(c *tandem.Call) { c.State = tandem.CallEnded },
	} {
		bad := good
		spoil(&bad)
		if err := bad.Validate(); err == nil || !strings.HasPrefix(err.Error(), name+":") {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// FuzzCallTime checks that what is taken for a call's id has its own time in it, and is the only
// spelling of itself.
func FuzzCallTime(f *testing.F) {
	for _, id := range []string{tandem.NewCallID(callTime), tandem.FirstCallID(callTime), tandem.FirstCallID(time.Time{}), "", "7", strings.Repeat("v", 20), strings.Repeat("0", 19) + "\n"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		at, err := tandem.CallTime(id)
		if err != nil {
			return
		}
		if first := tandem.FirstCallID(at); len(id) != 20 || first > id || first[:10] != id[:10] {
			t.Errorf("CallTime(%q) = %v, of which the first id is %q", id, at, first)
		}
		if next := tandem.FirstCallID(at.Add(time.Microsecond)); next <= id && at.Year() < 4000 {
			t.Errorf("id %q of %v comes after the first of the next microsecond, %q", id, at, next)
		}
	})
}
