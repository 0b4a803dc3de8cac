package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"tandem/internal/tandem"
)

// startOn opens a store on a file system, without the files that lie beside the databases.
func startOn(t *testing.T, fs vfs.FS, fresh bool) (*Store, error) {
	t.Helper()
	keys, err := keyringOf(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	s := &Store{keys: keys}
	if err := (Config{}).start(s, fs, "disk", fresh, quiet()); err != nil {
		return nil, err
	}
	t.Cleanup(func() { s.Close() })
	return s, nil
}

// afterPowerCut opens what a power cut now would leave; of what was not synced a share is left too.
func afterPowerCut(t *testing.T, disk *vfs.MemFS, unsynced int, seed uint64) *Store {
	t.Helper()
	cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced}
	if unsynced > 0 {
		cfg.RNG = rand.New(rand.NewPCG(seed, 1))
	}
	s, err := startOn(t, disk.CrashClone(cfg), false)
	if err != nil {
		t.Fatalf("after a power cut that left %d%% of what was not synced, seed %d: %v", unsynced, seed, err)
	}
	return s
}

func TestPowerCutLosesNoAppend(t *testing.T) {
	t.Parallel()
	disk := vfs.NewCrashableMem()
	s, err := startOn(t, disk, true)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, ground()...)
	for i := range 20 {
		last := mustAppend(t, s, put(account(fmt.Sprintf("a%d", i))))
		after := afterPowerCut(t, disk, 0, 0)
		if _, got := after.Info(); got != last {
			t.Fatalf("after a power cut the last revision is %d, %d was acknowledged", got, last)
		}
		verify(t, after)
		after.Close()
	}
}

func TestPowerCutLosesBindingsOfAMomentOnly(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s, err := startOn(t, disk, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutBindings(context.Background(), []tandem.Binding{binding(1)}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for {
		after := afterPowerCut(t, disk, 0, 0)
		n := countBindings(t, after)
		after.Close()
		if n == 1 {
			break
		}
		if time.Since(start) > 5*time.Second { // 100 ms on a machine with nothing else to do
			t.Fatal("the binding is not on disk after 5 s")
		}
	}
	t.Logf("on disk at most %v after PutBindings returned", time.Since(start))
}

// TestPowerCutWithTornWrites leaves random blocks of what was not synced. The bindings' log must
// then still open: its end is wherever the first damaged record is.
func TestPowerCutWithTornWrites(t *testing.T) {
	t.Parallel()
	disk := vfs.NewCrashableMem()
	s, err := startOn(t, disk, true)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, ground()...)
	for i := range 20 {
		for j := range 25 {
			if err := s.PutBindings(context.Background(), []tandem.Binding{binding(i*25 + j)}); err != nil {
				t.Fatal(err)
			}
		}
		mustAppend(t, s, put(account(fmt.Sprintf("a%d", i))))
		after := afterPowerCut(t, disk, 50, uint64(i))
		verify(t, after)
		after.Close()
	}
}

func countBindings(t *testing.T, s *Store) int {
	t.Helper()
	n := 0
	if err := s.Bindings(context.Background(), func(tandem.Binding) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFailingDisk lets every write fail from some moment on: appends and registrations get
// ErrFailed, what is there can be read, and nothing panics or ends the process.
func TestFailingDisk(t *testing.T) {
	var failing atomic.Bool
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if failing.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return errors.New("the disk is gone")
		}
		return nil
	}))
	s, err := startOn(t, disk, true)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, 10)
	mustRecord(t, s, callOf(1, "1001"))
	_, before := s.Info()
	failing.Store(true)
	for range 3 {
		if _, err := s.Append(context.Background(), admin, []tandem.Edit{put(account("late"))}); !errors.Is(err, ErrFailed) {
			t.Errorf("Append on a failing disk = %v, want ErrFailed", err)
		}
		if err := s.PutBindings(context.Background(), []tandem.Binding{binding(1)}); !errors.Is(err, ErrFailed) {
			t.Errorf("PutBindings on a failing disk = %v, want ErrFailed", err)
		}
		if err := s.RecordCalls(context.Background(), []tandem.Call{callOf(2, "1001")}); !errors.Is(err, ErrFailed) {
			t.Errorf("RecordCalls on a failing disk = %v, want ErrFailed", err)
		}
	}
	if _, err := s.Account(context.Background(), admin, "a1"); err != nil {
		t.Errorf("reading on a failing disk: %v", err)
	}
	if _, err := s.Call(context.Background(), admin, callID(1)); err != nil {
		t.Errorf("reading a call on a failing disk: %v", err)
	}
	if _, last := s.CallEvents(); last != 1 {
		t.Errorf("the last call event is %d on a failing disk, want 1", last)
	}
	if _, last := s.Info(); last != before {
		t.Errorf("the last revision went from %d to %d on a failing disk", before, last)
	}
	failing.Store(false)
}
