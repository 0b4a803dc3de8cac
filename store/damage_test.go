package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/internal/tandem"
)

// closedStore makes a store with tables on disk, a log with a tail, and bindings, and closes it.
func closedStore(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := openAt(t, dir)
	fill(t, s, 800)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, put(account("tail-1")), put(account("tail-2")))
	if err := s.PutBindings(context.Background(), []tandem.Binding{binding(1), binding(2)}); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		mustRecord(t, s, callOf(i, "1001"))
	}
	if err := s.calls.db.Flush(); err != nil {
		t.Fatal(err)
	}
	mustRecord(t, s, ended(callOf(1, "1001")), callOf(100, "1002"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// readAll opens a store, verifies it and closes it, and returns the first error.
func readAll(dir string) (err error) {
	s, err := Open(dir, quiet())
	if err != nil {
		return err
	}
	_, err = s.Verify(context.Background(), nil)
	if _, e := s.Append(context.Background(), admin, []tandem.Edit{put(account("after"))}); err == nil {
		err = e
	}
	return errors.Join(err, s.Close())
}

// sampled says whether the nth case of a long list is tried: each, under the race detector every fifth.
func sampled(n int) bool { return !raceEnabled || n%5 == 0 }

// TestFlippedOctets flips octets all over each file of a store. What is hurt must be ErrCorrupt (or
// ErrVersion), or cannot have mattered: then everything is there.
func TestFlippedOctets(t *testing.T) {
	t.Parallel()
	whole := closedStore(t)
	want := verify(t, openAt(t, copyDir(t, whole)))
	var files []string
	filepath.WalkDir(whole, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != lockName && d.Name() != "LOCK" {
			files = append(files, path)
		}
		return err
	})
	caught := make(map[string]int)
	for n, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			if len(data) == 0 {
				break
			}
			if !sampled(n + i) {
				continue
			}
			at := (len(data) - 1) * i / 3
			dir := copyDir(t, whole)
			rel, _ := filepath.Rel(whole, path)
			hurt := append([]byte(nil), data...)
			hurt[at] ^= 0x5a
			if err := os.WriteFile(filepath.Join(dir, rel), hurt, 0o600); err != nil {
				t.Fatal(err)
			}
			err := readAll(dir)
			if err != nil {
				if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
					t.Errorf("%s flipped at %d of %d: %v, want ErrCorrupt", rel, at, len(data), err)
				}
				caught[filepath.Ext(rel)]++
				continue
			}
			checkWhole(t, dir, fmt.Sprintf("%s flipped at %d of %d", rel, at, len(data)), want)
		}
	}
	t.Logf("noticed, by extension: %v", caught)
}

// checkWhole checks that a store that opens despite damage has everything, bindings excepted, whose
// log has no checksum after its last record.
func checkWhole(t *testing.T, dir, what string, want Report) {
	t.Helper()
	s := openAt(t, dir)
	defer s.Close()
	r := verify(t, s)
	if r.Calls != want.Calls || r.OpenCalls != want.OpenCalls || r.CallEvent != want.CallEvent {
		t.Errorf("%s: opened with %d calls and event %d, want %d and %d", what, r.Calls, r.CallEvent, want.Calls, want.CallEvent)
	}
	if r.Objects != want.Objects+1 || r.Revision != want.Revision+1 { // readAll added one
		t.Errorf("%s: opened with %d objects at revision %d, want %d at %d", what, r.Objects, r.Revision, want.Objects+1, want.Revision+1)
	}
}

// TestMissingFiles removes, or cuts short, each file in turn: that is ErrCorrupt, or everything is
// there all the same. Never may a new store take the old one's place, or changes be gone.
func TestMissingFiles(t *testing.T) {
	t.Parallel()
	whole := closedStore(t)
	want := verify(t, openAt(t, copyDir(t, whole)))
	noticed, n := 0, 0
	filepath.WalkDir(whole, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == whole {
			return err
		}
		rel, _ := filepath.Rel(whole, path)
		for _, act := range []string{"removed", "cut short"} {
			if act == "cut short" && d.IsDir() {
				continue
			}
			if n++; !sampled(n) {
				continue
			}
			dir := copyDir(t, whole)
			victim := filepath.Join(dir, rel)
			if act == "removed" {
				os.RemoveAll(victim)
			} else if info, err := os.Stat(victim); err == nil {
				os.Truncate(victim, info.Size()/3)
			}
			err := readAll(dir)
			if err == nil {
				checkWhole(t, dir, rel+" "+act, want)
				continue
			}
			noticed++
			if !errors.Is(err, ErrCorrupt) || strings.Contains(strings.TrimSpace(err.Error()), "\n") {
				t.Errorf("%s %s: %v, want ErrCorrupt in one line", rel, act, err)
			}
		}
		return nil
	})
	t.Logf("%d noticed", noticed)
}

func TestOpenRefuses(t *testing.T) {
	marked := func(m marker) string {
		dir := t.TempDir()
		if err := m.write(dir, m.Stage, 0); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	foreign := t.TempDir()
	os.WriteFile(filepath.Join(foreign, "letter.txt"), []byte("dear"), 0o600)
	file := filepath.Join(foreign, "letter.txt")
	otherKey := closedStore(t)
	if _, err := makeKey(filepath.Join(otherKey, keyName)); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, dir, want string
		is              error
	}{
		{"foreign directory", foreign, "holds letter.txt but no file STORE", ErrCorrupt},
		{"newer format", marked(marker{Format: 2, Stage: markerReady}), "has format 2, this program knows 1", ErrVersion},
		{"restore cut short", marked(marker{Format: 1, Stage: markerCopied}), "its restore was cut short", ErrCorrupt},
		{"marker alone", marked(marker{Format: 1, Stage: markerReady}), "node key node.key is missing", ErrCorrupt},
		{"another key", otherKey, "node.key is another store's key", ErrCorrupt},
		{"a file", file, "not a directory", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Open(tt.dir, quiet())
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.dir) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("Open = %v, want %q of %v", err, tt.want, tt.is)
			}
		})
	}
}

// TestStartCutShort checks that a store that never came to be ready is made anew.
func TestStartCutShort(t *testing.T) {
	dir := t.TempDir()
	m := marker{Format: 1, ID: "x"}
	if err := m.write(dir, markerMaking, 0); err != nil {
		t.Fatal(err)
	}
	os.MkdirAll(filepath.Join(dir, objectsName), 0o700)
	os.WriteFile(filepath.Join(dir, objectsName, "000002.log"), []byte("half"), 0o600)
	s := openAt(t, dir)
	mustAppend(t, s, ground()...)
}
