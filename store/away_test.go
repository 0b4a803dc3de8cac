package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"tandem/internal/tandem"
)

// followed gives every revision that a follower sees to the channel it returns.
func followed(t *testing.T, s *Store, after tandem.Revision) <-chan tandem.Revision {
	t.Helper()
	seen := make(chan tandem.Revision, 100)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Follow(ctx, after, func(changes []tandem.Change) error {
			for _, c := range changes {
				seen <- c.Revision
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Follow ended with %v", err)
		}
	})
	return seen
}

// TestSuspend hands a store to a second owner and back, as a failed upgrade does.
func TestSuspend(t *testing.T) {
	dir := t.TempDir()
	old := openAt(t, dir)
	fill(t, old, 3)
	_, last := old.Info()
	seen := followed(t, old, last)
	next, err := Config{}.Away(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.Close() })
	if err := next.Resume(); !errors.Is(err, ErrLocked) {
		t.Fatalf("Resume while another has it = %v, want ErrLocked", err)
	}
	if err := old.Suspend(func(tandem.Revision) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Append(context.Background(), admin, []tandem.Edit{put(account("x"))}); !errors.Is(err, ErrAway) {
		t.Errorf("Append while away = %v, want ErrAway", err)
	}
	if _, err := old.Get(context.Background(), admin, tandem.KindAccount, "a1"); !errors.Is(err, ErrAway) {
		t.Errorf("Get while away = %v, want ErrAway", err)
	}
	waits := make(chan error, 1)
	go func() { waits <- old.PutBindings(context.Background(), []tandem.Binding{binding(1)}) }()
	if err := next.Resume(); err != nil {
		t.Fatal(err)
	}
	if got := mustAppend(t, next, put(account("y"))); got != last+1 {
		t.Errorf("the second owner appends revision %d, want %d", got, last+1)
	}
	if err := next.Suspend(func(tandem.Revision) {}); err != nil {
		t.Fatal(err)
	}
	if err := old.Resume(); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got != last+1 {
		t.Errorf("the follower saw revision %d after the return, want %d", got, last+1)
	}
	mustAppend(t, old, put(account("z")))
	if got := <-seen; got != last+2 {
		t.Errorf("the follower saw revision %d, want %d", got, last+2)
	}
	if err := <-waits; err != nil {
		t.Errorf("PutBindings that waited for the return = %v", err)
	}
	if list := bindingsOf(t, old); len(list) != 1 {
		t.Errorf("%d bindings after the return, want 1", len(list))
	}
}

// TestCloseAway ends a store that another process has: its lock and files are left alone.
func TestCloseAway(t *testing.T) {
	dir := t.TempDir()
	old := openAt(t, dir)
	fill(t, old, 1)
	seen := make(chan error, 1)
	_, last := old.Info()
	if err := old.Suspend(func(tandem.Revision) {}); err != nil {
		t.Fatal(err)
	}
	next := openAt(t, dir)
	go func() { seen <- old.PutBindings(context.Background(), []tandem.Binding{binding(1)}) }()
	if err := old.Close(); err != nil {
		t.Errorf("Close while away = %v", err)
	}
	if err := <-seen; !errors.Is(err, ErrClosed) {
		t.Errorf("PutBindings that waited = %v, want ErrClosed", err)
	}
	if got := mustAppend(t, next, put(account("y"))); got != last+1 {
		t.Errorf("the owner appends revision %d, want %d", got, last+1)
	}
}

// TestSnapshotCopy reads a copy while its store goes on, and is caught up by following.
func TestSnapshotCopy(t *testing.T) {
	dir := t.TempDir()
	old := openAt(t, dir)
	fill(t, old, 2500)
	next, err := Config{}.Away(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.Close() })
	discard := func([]tandem.Change) error { return nil }
	if _, err := next.SnapshotCopy(context.Background(), func(int) {}, discard); err == nil {
		t.Error("SnapshotCopy without a copy succeeds")
	}
	for _, n := range []int{2500, 2501} { // a second copy replaces the first
		if n > 2500 {
			mustAppend(t, old, put(account(fmt.Sprint("b", n))))
		}
		if err := old.Copy(); err != nil {
			t.Fatal(err)
		}
		_, want := old.Info()
		mustAppend(t, old, put(account("a0")))
		accounts := 0
		expected := 0
		last, err := next.SnapshotCopy(context.Background(), func(n int) { expected = n }, func(changes []tandem.Change) error {
			for _, c := range changes {
				if c.Kind == tandem.KindAccount {
					accounts++
				}
			}
			return nil
		})
		if err != nil || last != want || accounts != n || expected != n+len(ground()) {
			t.Errorf("SnapshotCopy = %d, %v with %d accounts, %d objects expected; want %d with %d", last, err, accounts, expected, want, n)
		}
	}
	if err := next.RemoveCopy(); err != nil {
		t.Error(err)
	}
}
