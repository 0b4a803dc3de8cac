package outlet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestQueue: what is put comes out in order; twin: what has no room does not, and the next that has, does.
func TestQueue(t *testing.T) {
	q := NewQueue(10)
	for i, want := range []bool{true, true, false, true, false} {
		record := []byte("abcd")
		if i == 3 {
			record = []byte("xy")
		}
		if got := q.Put(record); got != want {
			t.Errorf("Put %d = %v, want %v", i, got, want)
		}
	}
	<-q.Ready()
	select {
	case <-q.Ready():
		t.Error("it is ready twice for what one Take takes")
	default:
	}
	octets, records := q.Take(nil)
	if string(octets) != "abcdabcdxy" || records != 3 {
		t.Errorf("Take = %q, %d records", octets, records)
	}
	if more, records := q.Take(octets); len(more) != 0 || records != 0 {
		t.Errorf("second Take = %q, %d", more, records)
	}
	if !q.Put([]byte("0123456789")) {
		t.Error("an empty queue has no room")
	}
}

// TestQueueAllocates: nothing, once its memory has grown.
func TestQueueAllocates(t *testing.T) {
	q := NewQueue(1 << 16)
	var spare []byte
	record := make([]byte, 100)
	turn := func() {
		for range 10 {
			q.Put(record)
		}
		spare, _ = q.Take(spare)
	}
	turn()
	turn()
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestFileTurnsOver: no file is longer than it may be, none is without head and tail, and what was
// written last is there; twin: without need it is written on.
func TestFileTurnsOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := File{Path: path, Most: 20, Head: []byte("<<"), Tail: []byte(">>")}
	if err := f.Open(); err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		if _, err := fmt.Fprintf(&f, "line%d.", i); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "<<line8.>>")
	wantFile(t, path+".old", "<<line6.line7.>>")
	again := File{Path: path, Most: 20, Head: []byte("<<"), Tail: []byte(">>")}
	if err := again.Open(); err != nil {
		t.Fatal(err)
	}
	again.Close()
	wantFile(t, path, "<<>>")
	wantFile(t, path+".old", "<<line8.>>")
	for _, text := range []string{"one\n", "two\n"} {
		plain := File{Path: path + ".txt", Most: 20}
		if err := plain.Open(); err != nil {
			t.Fatal(err)
		}
		plain.Write([]byte(text))
		plain.Close()
	}
	wantFile(t, path+".txt", "one\ntwo\n")
}

// TestFileThatCannotBe: the error names it; twin: once its folder is there, the same File works.
func TestFileThatCannotBe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	f := File{Path: filepath.Join(dir, "log"), Most: 20}
	if err := f.Open(); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("Open = %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("x")); err != nil {
		t.Errorf("Write = %v", err)
	}
	f.Close()
	wantFile(t, f.Path, "x")
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", filepath.Base(path), got, err, want)
	}
}
