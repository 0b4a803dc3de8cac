package rehearsal_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/rehearsal"
)

func TestParseEvent(t *testing.T) {
	noon := 12 * time.Hour
	cases := []struct {
		name, text string
		want       rehearsal.Event
		fault      string // what the error says; empty: there is none
	}{
		{"lose", "12:00 lose cluster3", rehearsal.Event{At: noon, Verb: rehearsal.Lose, Target: "cluster3"}, ""},
		{"seconds", "12:00:30 restore cluster3", rehearsal.Event{At: noon + 30*time.Second, Verb: rehearsal.Restore, Target: "cluster3"}, ""},
		{"span", "09:30-10:15 slow node2 x2.5", rehearsal.Event{At: 9*time.Hour + 30*time.Minute, Until: 10*time.Hour + 15*time.Minute, Verb: rehearsal.Slow, Target: "node2", Factor: 2.5}, ""},
		{"to midnight", "23:59-24:00 fail node:a 30%", rehearsal.Event{At: 24*time.Hour - time.Minute, Until: 24 * time.Hour, Verb: rehearsal.Fail, Target: "node:a", Share: 0.3}, ""},
		{"expected", " 12:00  expected g=800 ", rehearsal.Event{At: noon, Verb: rehearsal.Expected, Target: "g", Number: 800}, ""},
		{"unlimited", "12:00 permitted g=unlimited", rehearsal.Event{At: noon, Verb: rehearsal.Permitted, Target: "g", Number: -1}, ""},
		{"pin", "12:00 pin g=c", rehearsal.Event{At: noon, Verb: rehearsal.Pin, Target: "g", Name: "c"}, ""},
		{"unpin", "12:00 pin g=none", rehearsal.Event{At: noon, Verb: rehearsal.Pin, Target: "g"}, ""},

		{"nothing", "", rehearsal.Event{}, "a time and what happens"},
		{"no time", "lose cluster3", rehearsal.Event{}, "what happens to whom is missing"},
		{"no verb", "12:00 cluster3 lose", rehearsal.Event{}, "lose NODE|CLUSTER, restore NODE|CLUSTER"},
		{"no such hour", "25:00 lose c", rehearsal.Event{}, `"25:00" is not a time of day: HH:MM`},
		{"no such minute", "12:60 lose c", rehearsal.Event{}, "is not a time of day"},
		{"over midnight", "24:01 lose c", rehearsal.Event{}, "is not a time of day"},
		{"one digit", "9:00 lose c", rehearsal.Event{}, "is not a time of day"},
		{"backwards", "12:00-11:00 lose c", rehearsal.Event{}, "11:00 is not after 12:00"},
		{"restore in a span", "12:00-13:00 restore c", rehearsal.Event{}, "restore has one time"},
		{"slow without x", "12:00 slow c 5", rehearsal.Event{}, "it is written slow NODE|CLUSTER xN"},
		{"faster", "12:00 slow c x0.5", rehearsal.Event{}, "it is written slow"},
		{"over all", "12:00 fail c 101%", rehearsal.Event{}, "it is written fail NODE|CLUSTER N%"},
		{"none expected", "12:00 expected g=0", rehearsal.Event{}, "it is written expected GROUP=N"},
		{"unlimited expected", "12:00 expected g=unlimited", rehearsal.Event{}, "it is written expected"},
		{"too good", "12:00 quality g=94", rehearsal.Event{}, "it is written quality"},
		{"no group", "12:00 permitted =5", rehearsal.Event{}, "it is written permitted"},
		{"more words", "12:00 lose c now", rehearsal.Event{}, "it is written lose NODE|CLUSTER"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := rehearsal.ParseEvent(c.text)
			if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("ParseEvent(%q) = %v, want %q", c.text, err, c.fault)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("ParseEvent(%q):\n%s", c.text, diff)
			}
		})
	}
	if e, err := rehearsal.ParseSetting("permitted g=5"); err != nil || e.String() != "permitted g=5" {
		t.Errorf("ParseSetting = %v, %v", e, err)
	}
	if _, err := rehearsal.ParseSetting("12:00 permitted g=5"); err == nil {
		t.Error("a setting took a time")
	}
}

// FuzzParseEvent holds what is read to what is written: it reads the same again.
func FuzzParseEvent(f *testing.F) {
	for _, text := range []string{
		"12:00 lose cluster3", "09:30-10:15 slow node2 x5", "14:00-14:10:01 fail node3 30%", "13:00 expected group5=800",
		"13:00 capacity cluster2=unlimited", "00:00 pin g=none", "24:00 drain n", "12:00 quality g=0", "12:00 fail n .5%",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := rehearsal.ParseEvent(text)
		if err != nil {
			return
		}
		again, err := rehearsal.ParseEvent(e.String())
		if err != nil || again.String() != e.String() || again.At != e.At || again.Until != e.Until {
			t.Errorf("%q reads as %+v, written %q, which reads as %+v, %v", text, e, e, again, err)
		}
	})
}
