package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/tandem"
)

// callLog is a log of calls that does not change: its events are those of one call after the other.
type callLog []tandem.Call

func callID(n int) string { return tandem.FirstCallID(began.Add(time.Duration(n) * time.Second)) }

// someCalls are a call that was ended by the callee, one that was cancelled, one that was refused,
// and one that goes on.
func someCalls() callLog {
	calls := make(callLog, 4)
	for i := range calls {
		c := &calls[i]
		at := began.Add(time.Duration(i+1) * time.Second)
		c.ID, c.CallID, c.Account, c.Type = callID(i+1), "x@phone", "1001", "invite"
		c.From, c.To, c.Node = "alice@voice.example.net", "+12025550123@voice.example.net", "east1"
		c.Enter(tandem.CallTrying, at)
		if i == 0 || i == 3 {
			c.Groups, c.Cluster, c.Route, c.Device = []string{"gold"}, "east", "invite.1001.svc.voice.example.net", "phone-a"
			c.Enter(tandem.CallRinging, at.Add(120*time.Millisecond))
			c.Enter(tandem.CallAnswered, at.Add(3*time.Second))
			c.Quality = tandem.CallQuality{Trying: 4, Ringing: 120, Answer: 3000, Attempts: 1}
		}
		if i < 3 {
			c.Enter(tandem.CallEnded, at.Add(65*time.Second))
		}
	}
	calls[0].Cause, calls[0].EndedBy, calls[0].Status = "bye", tandem.EndedByCallee, 200
	calls[1].Cause, calls[1].EndedBy, calls[1].Account, calls[1].From = "cancel", tandem.EndedByCaller, "1002", "=HYPERLINK(1)@x"
	calls[2].Cause, calls[2].EndedBy, calls[2].Status, calls[2].Reason = "permitted", tandem.EndedByAppliance, 486, "permitted"
	return calls
}

func (l callLog) Calls(_ context.Context, _ tandem.Principal, f tandem.CallFilter) (page tandem.CallPage, err error) {
	for _, c := range l {
		if f.Match(&c) && (f.After == "" || f.Oldest == (c.ID > f.After)) {
			page.Items = append(page.Items, c)
		}
	}
	slices.SortFunc(page.Items, func(a, b tandem.Call) int {
		if f.Oldest {
			return cmp.Compare(a.ID, b.ID)
		}
		return cmp.Compare(b.ID, a.ID)
	})
	return page, nil
}

func (l callLog) Call(_ context.Context, _ tandem.Principal, id string) (tandem.Call, error) {
	for _, c := range l {
		if c.ID == id {
			return c, nil
		}
	}
	return tandem.Call{}, tandem.ErrNotFound
}

func (l callLog) CallEvents() (first, last tandem.Revision) { return 4, 4 + tandem.Revision(len(l)) }

func (l callLog) FollowCalls(ctx context.Context, by tandem.Principal, after tandem.Revision, fn func([]tandem.CallEvent, tandem.Revision) error) error {
	var events []tandem.CallEvent
	for i, c := range l {
		if seq := tandem.Revision(5 + i); seq > after && by.MaySee(c.Account) {
			events = append(events, tandem.CallEvent{Seq: seq, State: c.State, Time: began, Call: c})
		}
	}
	if err := fn(events, 8); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func TestMoment(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.FixedZone("east", 3600))
	cases := []struct {
		text string
		want time.Time
	}{
		{"", time.Time{}}, {"2h", now.Add(-2 * time.Hour)}, {"90m", now.Add(-90 * time.Minute)}, {"3d", now.AddDate(0, 0, -3)},
		{"2026-11-01", time.Date(2026, 11, 1, 0, 0, 0, 0, now.Location())},
		{"2026-11-01T08:30", time.Date(2026, 11, 1, 8, 30, 0, 0, now.Location())},
		{"2026-11-01 08:30:01", time.Date(2026, 11, 1, 8, 30, 1, 0, now.Location())},
		{"2026-11-01T08:30:01Z", time.Date(2026, 11, 1, 8, 30, 1, 0, time.UTC)},
	}
	for _, c := range cases {
		if got, err := moment("--since", c.text, now); err != nil || !got.Equal(c.want) {
			t.Errorf("moment(%q) = %v, %v, want %v", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{"noon", "-2h", "-3d", "3days", "2026-13-01", "20261101", "2026-11-01T25:00"} {
		if got, err := moment("--since", text, now); !errors.As(err, new(usageError)) {
			t.Errorf("moment(%q) = %v, %v, want a refusal", text, got, err)
		}
	}
}

func TestExportIsHarmless(t *testing.T) {
	cases := map[string]string{
		"": "", "alice@x": "alice@x", "+4930": "+4930", "+4930@b.example": "+4930@b.example", "49-30": "49-30",
		"=1+1": "'=1+1", "@SUM(A1)": "'@SUM(A1)", "-1": "'-1", "+1+cmd|x": "'+1+cmd|x", "+1@x(A1)": "'+1@x(A1)", "\tx": "'\tx",
	}
	for cell, want := range cases {
		if got := harmless(cell); got != want {
			t.Errorf("harmless(%q) = %q, want %q", cell, got, want)
		}
	}
	var out bytes.Buffer
	write, flush := (&session{out: &out}).exporter("csv")
	nasty := tandem.Call{ID: "1", From: "a,\"b\"\nc@x", Reason: "=x", Started: began}
	if err := errors.Join(write(&nasty), flush()); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 2 || len(rows[1]) != len(csvHeader()) || rows[1][2] != nasty.From || rows[1][20] != "'=x" {
		t.Errorf("read back %q, %v", rows, err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestExportToAFullDisk(t *testing.T) {
	socket := serve(t)
	for _, form := range []string{"csv", "jsonl"} {
		var errs bytes.Buffer
		code := run(t.Context(), []string{"--socket", socket, "call", "export", "--format", form}, strings.NewReader(""), fullDisk{}, &errs)
		if code != exitFailed || errs.String() != "tandem: write the records: no space left on device\n" {
			t.Errorf("export as %s = %d, %q", form, code, errs.String())
		}
	}
}

// TestEventsFollow watches until it is interrupted, which is a normal end.
func TestEventsFollow(t *testing.T) {
	socket := serve(t)
	ctx, interrupt := context.WithCancel(t.Context())
	out, in := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"--socket", socket, "events", "-f", "--last", "1", "-o", "json"}, strings.NewReader(""), in, io.Discard)
		in.Close()
	}()
	line := make([]byte, 9)
	if _, err := io.ReadFull(out, line); err != nil || string(line) != `{"seq":8,` {
		t.Errorf("the first event begins %q, %v", line, err)
	}
	go interrupt()
	rest, err := io.ReadAll(out)
	if got := <-code; got != exitDone || err != nil || strings.Count(string(rest), "\n") != 1 {
		t.Errorf("interrupted: exit %d, %v, %q", got, err, rest)
	}
}
