package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
)

// dawn is when the calls of these tests began, a second apart; it must be within their age.
var dawn = sync.OnceValue(func() time.Time { return time.Now().UTC().Truncate(24 * time.Hour).Add(-24 * time.Hour) })

func callID(n int) string { return tandem.FirstCallID(dawn().Add(time.Duration(n) * time.Second)) }

// callOf makes an answered call with both dialogs.
func callOf(n int, account string) tandem.Call {
	start := dawn().Add(time.Duration(n) * time.Second)
	c := tandem.Call{
		ID: callID(n), CallID: fmt.Sprintf("call-%d@phone", n), Account: account, Groups: []string{"g1"},
		From: "alice@a.example", To: fmt.Sprintf("+49%d@b.example", n), Type: "invite", Node: "n1", Cluster: "c1",
		Route: "invite." + account + ".svc.example.net", Quality: tandem.CallQuality{Trying: 3, Answer: 900},
		Dialogs: []tandem.Dialog{side("caller"), side("callee")}, Expires: start.Add(time.Hour),
	}
	c.Enter(tandem.CallTrying, start)
	c.Enter(tandem.CallAnswered, start.Add(time.Second))
	return c
}

func side(name string) tandem.Dialog {
	return tandem.Dialog{
		CallID: "x@phone", Local: "sip:us@example.net", LocalTag: "l", Remote: "sip:" + name + "@example.net", RemoteTag: "r", CSeq: 7,
		Routes: []string{"<sip:192.0.2.9;lr>"}, Target: "sip:" + name + "@192.0.2.7:5062", Hop: netip.MustParseAddrPort("192.0.2.7:5062"), Transport: tandem.UDP,
	}
}

func ended(c tandem.Call) tandem.Call {
	c.Enter(tandem.CallEnded, c.Answered.Add(time.Minute))
	c.Cause, c.EndedBy = "bye", tandem.EndedByCaller
	return c
}

func mustRecord(t testing.TB, s *Store, list ...tandem.Call) {
	t.Helper()
	if err := s.RecordCalls(context.Background(), list); err != nil {
		t.Fatalf("RecordCalls: %v", err)
	}
}

// shown is a call as readers get it.
func shown(c tandem.Call) tandem.Call {
	c.Dialogs = nil
	return c
}

func openCalls(t *testing.T, s *Store) (found []tandem.Call) {
	t.Helper()
	if err := s.OpenCalls(context.Background(), func(c tandem.Call) error { found = append(found, c); return nil }); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestRecordCalls(t *testing.T) {
	s := openMemory(t)
	live, over := callOf(1, "1001"), ended(callOf(2, "1001"))
	mustRecord(t, s, live, callOf(2, "1001"))
	mustRecord(t, s, over)
	got, err := s.Call(context.Background(), admin, live.ID)
	if diff := cmp.Diff(shown(live), got); err != nil || diff != "" {
		t.Errorf("Call = %v\n%s", err, diff)
	}
	if got, err := s.Call(context.Background(), admin, over.ID); err != nil || !cmp.Equal(got, over) {
		t.Errorf("the ended call is %+v, %v", got, err)
	}
	if diff := cmp.Diff([]tandem.Call{live}, openCalls(t, s), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("open calls, with their dialogs:\n%s", diff)
	}
	for _, id := range []string{"", "x", callID(3), over.ID + "0"} {
		if _, err := s.Call(context.Background(), admin, id); !errors.Is(err, tandem.ErrNotFound) {
			t.Errorf("Call(%q) = %v, want not found", id, err)
		}
	}
	if r := verify(t, s); r.Calls != 2 || r.OpenCalls != 1 || r.CallEvents != 3 {
		t.Errorf("verified %+v", r)
	}
}

func TestEndedCallStaysEnded(t *testing.T) {
	s := openMemory(t)
	over := ended(callOf(1, "1001"))
	mustRecord(t, s, callOf(1, "1001"), over, callOf(1, "1001"))
	mustRecord(t, s, callOf(1, "1001"))
	late := over
	late.Quality.Answer = 1234
	mustRecord(t, s, late)
	if got, err := s.Call(context.Background(), admin, over.ID); err != nil || got.State != tandem.CallEnded || got.Quality.Answer != 1234 {
		t.Errorf("after late records the call is %+v, %v", got, err)
	}
	if r := verify(t, s); r.Calls != 1 || r.OpenCalls != 0 || r.CallEvent != 3 || s.calls.late.Load() != 2 {
		t.Errorf("verified %+v, %d late", r, s.calls.late.Load())
	}
}

func TestCallFindsItsAccount(t *testing.T) {
	s := openMemory(t)
	c := callOf(1, "")
	mustRecord(t, s, c)
	c.Account = "1001"
	mustRecord(t, s, c)
	for account, want := range map[string]int{"1001": 1, "1002": 0} {
		page, err := s.Calls(context.Background(), tandem.Principal{Account: account}, tandem.CallFilter{})
		if err != nil || len(page.Items) != want {
			t.Errorf("%s has %d calls, %v, want %d", account, len(page.Items), err, want)
		}
	}
	verify(t, s)
}

func TestRecordCallsRefuses(t *testing.T) {
	s := openMemory(t)
	bad := callOf(1, "1001")
	bad.ID = "17"
	var field tandem.FieldError
	if err := s.RecordCalls(context.Background(), []tandem.Call{callOf(2, "1001"), bad}); !errors.As(err, &field) || field.Field != "id" {
		t.Errorf("RecordCalls = %v, want a refusal of the id", err)
	}
	if err := s.RecordCalls(context.Background(), nil); err != nil {
		t.Errorf("RecordCalls of nothing = %v", err)
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.RecordCalls(gone, []tandem.Call{callOf(2, "1001")}); !errors.Is(err, context.Canceled) {
		t.Errorf("RecordCalls of one who has gone = %v", err)
	}
	if r := verify(t, s); r.Calls != 0 || r.CallEvent != 0 {
		t.Errorf("something was written: %+v", r)
	}
	s.Close()
	if err := s.RecordCalls(context.Background(), []tandem.Call{callOf(2, "1001")}); !errors.Is(err, ErrClosed) {
		t.Errorf("RecordCalls of a closed store = %v", err)
	}
}

func TestDialogsAreBounded(t *testing.T) {
	s := openMemory(t)
	fits, long := callOf(1, "1001"), callOf(2, "1001")
	fits.Dialogs[0].Routes = []string{strings.Repeat("r", 1200)}
	long.Dialogs[0].Routes = []string{strings.Repeat("r", 2100)}
	long.From = strings.Repeat("f", 70_000)
	mustRecord(t, s, fits, long)
	got := openCalls(t, s)
	if len(got) != 2 || len(got[0].Dialogs) != 2 || len(got[1].Dialogs) != 0 || len(got[1].From) != 256 {
		t.Errorf("open calls: %+v", got)
	}
	if n := s.calls.dialogless.Load(); n != 1 {
		t.Errorf("%d calls without dialogs, want 1", n)
	}
}

func TestCallsChooses(t *testing.T) {
	s := openMemory(t)
	for i := range 20 {
		c := callOf(i, []string{"1001", "1002"}[i%2])
		if i < 10 {
			c = ended(c)
		}
		mustRecord(t, s, c)
	}
	at := func(n int) time.Time { return dawn().Add(time.Duration(n) * time.Second) }
	cases := []struct {
		name string
		by   tandem.Principal
		f    tandem.CallFilter
		want []int
	}{
		{"newest", admin, tandem.CallFilter{Limit: 3}, []int{19, 18, 17}},
		{"oldest", admin, tandem.CallFilter{Limit: 3, Oldest: true}, []int{0, 1, 2}},
		{"an account's", admin, tandem.CallFilter{Account: "1002", Limit: 2}, []int{19, 17}},
		{"one's own", tandem.Principal{Account: "1001"}, tandem.CallFilter{Limit: 2}, []int{18, 16}},
		{"nobody's", admin, tandem.CallFilter{Account: "100"}, nil},
		{"since", admin, tandem.CallFilter{From: at(18)}, []int{19, 18}},
		{"until", admin, tandem.CallFilter{To: at(2)}, []int{1, 0}},
		{"between, oldest", admin, tandem.CallFilter{From: at(5), To: at(8), Oldest: true}, []int{5, 6, 7}},
		{"party", admin, tandem.CallFilter{Party: "+497"}, []int{7}},
		{"state", admin, tandem.CallFilter{State: tandem.CallEnded, Limit: 2}, []int{9, 8}},
		{"cause", tandem.Principal{Account: "1002"}, tandem.CallFilter{Cause: "bye", Limit: 1}, []int{9}},
		{"another cause", admin, tandem.CallFilter{Cause: "486"}, nil},
		{"after", admin, tandem.CallFilter{After: callID(3)}, []int{2, 1, 0}},
		{"after, oldest, account", admin, tandem.CallFilter{After: callID(15), Account: "1001", Oldest: true}, []int{16, 18}},
		{"after the last", admin, tandem.CallFilter{After: callID(19), Oldest: true}, nil},
		{"after, before its range", admin, tandem.CallFilter{After: callID(1), From: at(10)}, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			page, err := s.Calls(context.Background(), tc.by, tc.f)
			var want, got []string
			for _, n := range tc.want {
				want = append(want, callID(n))
			}
			for _, c := range page.Items {
				got = append(got, c.ID)
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("Calls = %v, %v, want %v", got, err, want)
			}
			if more := page.Next != ""; more != (tc.f.Limit > 0) {
				t.Errorf("next page %q of %d calls", page.Next, len(got))
			}
		})
	}
	if _, err := s.Calls(context.Background(), admin, tandem.CallFilter{State: "x"}); err == nil {
		t.Error("a state that is none is not refused")
	}
}

func TestCallPagesGoOn(t *testing.T) {
	s := openMemory(t)
	var batch []tandem.Call
	for i := range 25 {
		batch = append(batch, callOf(i, "1001"))
	}
	mustRecord(t, s, batch...)
	for _, oldest := range []bool{false, true} {
		f := tandem.CallFilter{Limit: 7, Oldest: oldest}
		var got []string
		for {
			page, err := s.Calls(context.Background(), admin, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range page.Items {
				got = append(got, c.ID)
			}
			if f.After = page.Next; f.After == "" {
				break
			}
		}
		if !oldest {
			slices.Reverse(got)
		}
		if len(got) != 25 || !slices.IsSorted(got) || len(slices.Compact(got)) != 25 {
			t.Errorf("oldest first %t: pages give %v", oldest, got)
		}
	}
}

// TestOtherTenantsEvents follows as another account, and as nobody.
func TestOtherTenantsEvents(t *testing.T) {
	s := openMemory(t)
	mustRecord(t, s, callOf(1, "1001"), callOf(2, "1002"), ended(callOf(1, "1001")))
	for account, want := range map[string][]tandem.Revision{"1001": {1, 3}, "1002": {2}, "1003": nil} {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		var got []tandem.Revision
		var passed tandem.Revision
		err := s.FollowCalls(ctx, tandem.Principal{Account: account}, 0, func(events []tandem.CallEvent, reached tandem.Revision) error {
			passed = reached
			for _, e := range events {
				got = append(got, e.Seq)
				if e.Call.Dialogs != nil {
					t.Error("an event shows dialogs")
				}
			}
			return nil
		})
		cancel()
		if err != nil || passed != 3 || !slices.Equal(got, want) {
			t.Errorf("%s sees events %v, %v, want %v", account, got, err, want)
		}
	}
	if err := s.FollowCalls(context.Background(), tandem.Principal{}, 0, nil); !errors.Is(err, tandem.ErrNotFound) {
		t.Errorf("nobody follows: %v", err)
	}
}

var errEnough = errors.New("enough")

// TestFollowCalls has a follower leave and come back while many write, and miss nothing.
func TestFollowCalls(t *testing.T) {
	s := openMemory(t)
	const writers, each = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				mustRecord(t, s, callOf(w*each+i, "1001"), ended(callOf(w*each+i, "1001")))
			}
		})
	}
	defer wg.Wait()
	var after tandem.Revision
	began := make(map[string]tandem.CallState)
	for after < 2*writers*each {
		err := s.FollowCalls(context.Background(), admin, after, func(events []tandem.CallEvent, _ tandem.Revision) error {
			for _, e := range events[:min(len(events), 30)] {
				if e.Seq != after+1 || e.State != e.Call.State {
					t.Errorf("event %d in state %s after %d", e.Seq, e.State, after)
				}
				if was := began[e.Call.ID]; (e.State == tandem.CallEnded) != (was == tandem.CallAnswered) {
					t.Errorf("call %s goes from %q to %q", e.Call.ID, was, e.State)
				}
				began[e.Call.ID] = e.State
				after = e.Seq
			}
			return errEnough
		})
		if !errors.Is(err, errEnough) {
			t.Fatal(err)
		}
	}
	if err := s.FollowCalls(context.Background(), admin, after+1, nil); !errors.Is(err, ErrTrimmed) {
		t.Errorf("following what is yet to come = %v, want ErrTrimmed", err)
	}
}

func TestFollowCallsEndsWithTheStore(t *testing.T) {
	s := openMemory(t)
	done := make(chan error)
	go func() { done <- s.FollowCalls(context.Background(), admin, 0, nil) }()
	s.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("FollowCalls = %v, want ErrClosed", err)
	}
}

func TestCallsAreTrimmed(t *testing.T) {
	s, err := Config{Calls: 100, CallEvents: 80}.OpenMemory(quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustRecord(t, s, callOf(0, "1001")) // stays open
	for i := range 4000 {
		mustRecord(t, s, ended(callOf(i+1, "1001")))
	}
	r := verify(t, s)
	if r.Calls < 100 || r.Calls > 100+trimRound+1 || r.OpenCalls != 1 || r.CallEvents < 80 || r.CallEvents > 90 {
		t.Errorf("kept %d calls, %d open, and %d events", r.Calls, r.OpenCalls, r.CallEvents)
	}
	if n := s.calls.trimmed.Load(); n != 4001-r.Calls {
		t.Errorf("%d are counted as trimmed, %d are gone", n, 4001-r.Calls)
	}
	if first, last := s.CallEvents(); last != 4001 || uint64(last-first) != r.CallEvents {
		t.Errorf("events %d to %d", first, last)
	}
	if err := s.FollowCalls(context.Background(), admin, 10, nil); !errors.Is(err, ErrTrimmed) {
		t.Errorf("following trimmed events = %v, want ErrTrimmed", err)
	}
	if _, err := s.Call(context.Background(), admin, callID(1)); !errors.Is(err, tandem.ErrNotFound) {
		t.Errorf("a trimmed call = %v", err)
	}
	if _, err := s.Call(context.Background(), admin, callID(0)); err != nil {
		t.Errorf("an open call was trimmed: %v", err)
	}
}

func TestOldCallsGo(t *testing.T) {
	s, err := Config{CallAge: 100 * time.Hour}.OpenMemory(quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Now()
	s.calls.now = func() time.Time { return now }
	for i := range 1500 {
		mustRecord(t, s, ended(callOf(i, "1001")))
	}
	now = dawn().Add(100*time.Hour + 1400*time.Second)
	page, err := s.Calls(context.Background(), admin, tandem.CallFilter{})
	if err != nil || len(page.Items) != 100 {
		t.Errorf("%d calls are shown, %v, want the last 100", len(page.Items), err)
	}
	if _, err := s.Call(context.Background(), admin, callID(1399)); !errors.Is(err, tandem.ErrNotFound) {
		t.Errorf("a call that is too old = %v", err)
	}
	if r := verify(t, s); r.Calls != 1500 {
		t.Errorf("%d calls are kept before the next is recorded", r.Calls)
	}
	mustRecord(t, s, callOf(2000, "1001"))
	mustRecord(t, s, callOf(2001, "1001"))
	if r := verify(t, s); r.Calls != 102 {
		t.Errorf("%d calls are kept, want 102", r.Calls)
	}
	if err := (Config{CallAge: -1}).Validate(); err == nil {
		t.Error("a negative age is not refused")
	}
}

// TestStoreFromBeforeCalls opens a store that has no log of calls yet, and one whose log has gone.
func TestStoreFromBeforeCalls(t *testing.T) {
	dir := closedStore(t)
	os.RemoveAll(filepath.Join(dir, callsName))
	if _, err := Open(dir, quiet()); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("a store whose calls are gone = %v, want ErrCorrupt", err)
	}
	m, err := readMarker(dir)
	if err != nil {
		t.Fatal(err)
	}
	m.Calls = 0
	if err := m.write(dir, markerReady, m.AtLeast); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, dir)
	mustRecord(t, s, callOf(1, "1001"))
	s.Close()
	s = openAt(t, dir)
	if r := verify(t, s); r.Calls != 1 {
		t.Errorf("%d calls, want 1", r.Calls)
	}
}

func TestCallReadings(t *testing.T) {
	s := openMemory(t)
	mustRecord(t, s, callOf(1, "1001"), ended(callOf(2, "1001")))
	mustRecord(t, s, callOf(2, "1001")) // late
	got := make(map[string]float64)
	s.Metrics(func(x tandem.Sample) { got[strings.TrimPrefix(x.Name, "tandem_store_calls")] = x.Value })
	want := map[string]float64{"": 2, "_open": 1, "_recorded_total": 2, "_trimmed_total": 0, "_late_total": 1, "_dialogless_total": 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
