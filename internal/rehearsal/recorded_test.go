package rehearsal_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/rehearsal"
	"tandem/internal/tandem"
)

// record is one line of a recording.
func record(t *testing.T, c tandem.Call) string {
	t.Helper()
	line, err := json.Marshal(&c)
	if err != nil {
		t.Fatal(err)
	}
	return string(line) + "\n"
}

func TestReadCalls(t *testing.T) {
	telco := little(10, 10)
	telco.Add(&tandem.Account{Head: tandem.Head{ID: "1001"}, Group: "group2"})
	monday := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	at := func(clock string) time.Time {
		d, err := rehearsal.ParseTime(clock)
		if err != nil {
			t.Fatal(err)
		}
		return monday.Add(d)
	}
	recording := record(t, tandem.Call{Started: at("10:00"), Answered: at("10:00:05"), Ended: at("10:02:05"), Groups: []string{"group1", "group2"}}) +
		record(t, tandem.Call{Started: at("09:00"), Ended: at("09:00:20"), Cause: "cancel", Account: "1001"}) +
		"\n" +
		record(t, tandem.Call{Started: at("11:00"), Ended: at("11:00"), Cause: "permitted", Groups: []string{"group1"}}) +
		record(t, tandem.Call{Started: at("12:00"), Answered: at("12:00:01"), Groups: []string{"group1"}}) +
		record(t, tandem.Call{Started: at("13:00"), Groups: []string{"group1"}, Joined: "x"}) +
		record(t, tandem.Call{Started: at("13:00"), Groups: []string{"gone"}}) +
		record(t, tandem.Call{Started: monday.Add(-time.Second), Groups: []string{"group1"}})
	want := &rehearsal.Recording{Day: monday, OffDay: 1, Unknown: 1, Joined: 1, Calls: []rehearsal.Call{
		{At: 9 * time.Hour, Ring: 20 * time.Second, Group: "group2"},
		{At: 10 * time.Hour, Ring: 5 * time.Second, Talk: 2 * time.Minute, Group: "group1", Other: "group2", Answered: true},
		{At: 11 * time.Hour, Talk: 2 * time.Minute, Group: "group1", Answered: true},
		{At: 12 * time.Hour, Ring: time.Second, Talk: 2 * time.Minute, Group: "group1", Answered: true},
	}}
	got, err := rehearsal.ReadCalls(strings.NewReader(recording), telco, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got, err = rehearsal.ReadCalls(strings.NewReader(recording), telco, monday.AddDate(0, 0, -1))
	if err != nil || len(got.Calls) != 1 || got.OffDay != 6 {
		t.Errorf("of the day before: %+v, %v", got, err)
	}

	for text, want := range map[string]string{
		"":                         "no call to play",
		"{\n":                      "line 1: ",
		"\n{\"id\":\"x\"}\n":       "line 2: started is missing",
		"id,account\nx,1001\n":     "line 1: ",
		strings.Repeat("x", 2<<20): "line 1: ",
		record(t, tandem.Call{Started: monday, Groups: []string{"gone"}}): "1 of groups that are not among the objects",
	} {
		if _, err := rehearsal.ReadCalls(strings.NewReader(text), telco, time.Time{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ReadCalls(%.20q) = %v, want %q", text, err, want)
		}
	}
}

// TestReplay plays a recording: what happened then happens again, and with a limit it does not.
func TestReplay(t *testing.T) {
	telco := little(10)
	start := time.Date(2026, 11, 23, 11, 45, 0, 0, time.UTC)
	var recording strings.Builder
	for i := range 20 {
		at := start.Add(time.Duration(i) * time.Second)
		recording.WriteString(record(t, tandem.Call{Started: at, Answered: at.Add(2 * time.Second), Ended: at.Add(5 * time.Minute), Groups: []string{"group1"}}))
	}
	recorded, err := rehearsal.ReadCalls(strings.NewReader(recording.String()), telco, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := around(telco, 1)
	cfg.Calls = recorded.Calls
	if r := play(t, cfg); r.Calls != 20 || r.Answered != 20 || len(r.Refused) != 0 {
		t.Errorf("played again: %d calls, %d answered, refused %v", r.Calls, r.Answered, r.Refused)
	}
	cfg = around(telco, 1, "permitted group1=5")
	cfg.Calls = recorded.Calls
	if r := play(t, cfg); r.Answered != 5 || r.Refused["permitted"] != 15 {
		t.Errorf("with five permitted: %d answered, refused %v", r.Answered, r.Refused)
	}
}

// FuzzReadCalls holds whatever is read to what can be played.
func FuzzReadCalls(f *testing.F) {
	f.Add(`{"started":"2026-11-23T10:00:00Z","answered":"2026-11-23T10:00:05Z","ended":"2026-11-23T10:02:05Z","groups":["group1","group2"]}`)
	f.Add(`{"started":"2026-11-23T10:00:00Z","ended":"0001-01-01T00:00:01Z","cause":"permitted","groups":["group1"]}` + "\n" + `{"started":"9999-11-23T10:00:00Z"}`)
	telco := little(10, 10)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := rehearsal.ReadCalls(strings.NewReader(text), telco, time.Time{})
		if err != nil {
			return
		}
		last := time.Duration(0)
		for _, c := range r.Calls {
			if c.At < last || c.At >= 24*time.Hour || c.Ring < 0 || c.Talk < 0 || c.Ring > 24*time.Hour || c.Talk > 24*time.Hour || c.Group == "" {
				t.Errorf("%q reads as %+v", text, c)
			}
			last = c.At
		}
	})
}

// TestTraffic holds a made-up day to its shape.
func TestTraffic(t *testing.T) {
	telco := little(300, 100)
	traffic := rehearsal.Traffic{PerHour: 2000, Talk: 3 * time.Minute, SameGroup: 0.25, CrossGroup: 0.15, To: 24 * time.Hour, Seed: 1}
	calls := traffic.Calls(telco.Groups)
	var hours [24]int
	var large, within, answered int
	var talked time.Duration
	for i, c := range calls {
		if i > 0 && c.At < calls[i-1].At {
			t.Fatal("not in order")
		}
		hours[int(c.At.Hours())]++
		if c.Group == "group1" {
			large++
		}
		if c.Other == c.Group {
			within++
		}
		if c.Answered {
			answered++
			talked += c.Talk
		}
	}
	share := func(n, of int) float64 { return float64(n) / float64(of) }
	if h := hours; h[10] < 1700 || h[10] > 2200 || h[12] > h[10]*8/10 || h[12] > h[15] || h[3] > 100 {
		t.Errorf("calls by hour %v, want about 2000 at ten, fewer at noon than at three, few at night", hours)
	}
	if s := share(large, len(calls)); s < 0.73 || s > 0.77 {
		t.Errorf("%.2f of calls are the larger group's, want three quarters", s)
	}
	// Those between groups lead back when the same group is drawn twice.
	if s := share(within, len(calls)); s < 0.32 || s > 0.37 {
		t.Errorf("%.2f of calls are within a group, want 0.25 and those of the 0.15 that lead back", s)
	}
	if mean := talked / time.Duration(answered); mean < 165*time.Second || mean > 195*time.Second {
		t.Errorf("people talk %v on average, want about 3 minutes", mean)
	}
	if rate := traffic.PerHourFor(traffic.Busiest()); rate < 1999.9 || rate > 2000.1 {
		t.Errorf("PerHourFor(Busiest()) = %v, want 2000", rate)
	}
}
