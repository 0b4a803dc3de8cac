package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tandem/internal/tandem"
)

// childCalls records calls until it is killed, each first answered and every second one then ended,
// and prints each with its state when it has been acknowledged.
func childCalls(dir, round string) {
	s, err := Open(dir, quiet())
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for w := range 12 {
		wg.Go(func() {
			for i := 0; ; i++ {
				c := callOf(1, "1001")
				c.ID, c.CallID = tandem.NewCallID(time.Now()), fmt.Sprintf("r%s-w%d-%d", round, w, i)
				childRecord(s, c)
				if i%2 == 1 {
					childRecord(s, ended(c))
				}
			}
		})
	}
	wg.Wait()
}

func childRecord(s *Store, c tandem.Call) {
	if err := s.RecordCalls(context.Background(), []tandem.Call{c}); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stdout, "%s %s\n", c.ID, c.State)
}

// TestKillLosesNoCall kills a process that records calls, again and again, and finds every record,
// marker and event that was acknowledged.
func TestKillLosesNoCall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acked := make(map[string]tandem.CallState)
	lines, rounds, enough := 0, 0, 5_000
	if raceEnabled {
		enough = 1_000
	}
	for ; lines < enough; rounds++ {
		for _, line := range killedChild(t, child(t, "calls", dir, rounds), 1+rand.IntN(enough*3/10)) {
			var id string
			var state tandem.CallState
			if n, _ := fmt.Sscan(line, &id, &state); n != 2 {
				continue // cut short by the kill
			}
			lines++
			if acked[id] != tandem.CallEnded {
				acked[id] = state
			}
		}
	}
	s := openAt(t, dir)
	r := verify(t, s)
	open := make(map[string]bool)
	for _, c := range openCalls(t, s) {
		if len(c.Dialogs) != 2 || c.Dialogs[1].CSeq != 7 {
			t.Errorf("open call %s has lost its dialogs: %+v", c.ID, c.Dialogs)
		}
		open[c.ID] = true
	}
	events := make(map[string]tandem.CallState)
	err := s.FollowCalls(context.Background(), admin, 0, func(list []tandem.CallEvent, reached tandem.Revision) error {
		for _, e := range list {
			events[e.Call.ID] = e.State
		}
		if reached == r.CallEvent {
			return errEnough
		}
		return nil
	})
	if err != errEnough {
		t.Fatal(err)
	}
	for id, state := range acked {
		c, err := s.Call(context.Background(), admin, id)
		if err != nil || c.State != state && c.State != tandem.CallEnded || open[id] == (c.State == tandem.CallEnded) || events[id] != c.State {
			t.Errorf("call %s, acknowledged as %s, is %s, %v; marked open %t, last event %s", id, state, c.State, err, open[id], events[id])
		}
	}
	t.Logf("%d records of %d calls acknowledged, %d kills", lines, len(acked), rounds)
}

func TestPowerCutLosesNoCall(t *testing.T) {
	t.Parallel()
	disk := vfs.NewCrashableMem()
	s, err := startOn(t, disk, true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		mustRecord(t, s, callOf(i, "1001"))
		if i%2 == 1 {
			mustRecord(t, s, ended(callOf(i, "1001")))
		}
		after := afterPowerCut(t, disk, 50*(i%2), uint64(i))
		if r := verify(t, after); r.Calls != uint64(i+1) {
			t.Fatalf("after a power cut there are %d calls, %d were acknowledged", r.Calls, i+1)
		}
		after.Close()
	}
}
