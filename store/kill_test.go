package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"tandem/internal/tandem"
)

// TestMain makes the test binary a process of its own kind when it is asked to be one.
func TestMain(m *testing.M) {
	switch os.Getenv("STORE_CHILD") {
	case "write":
		childWrites(os.Getenv("STORE_DIR"), os.Getenv("STORE_ROUND"))
	case "calls":
		childCalls(os.Getenv("STORE_DIR"), os.Getenv("STORE_ROUND"))
	case "open":
		_, err := Open(os.Getenv("STORE_DIR"), quiet())
		fmt.Println(err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, kind, dir string, round int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_CHILD="+kind, "STORE_DIR="+dir, "STORE_ROUND="+strconv.Itoa(round))
	cmd.Stderr = os.Stderr
	return cmd
}

// childWrites writes objects and bindings until it is killed, and prints the name of each when it
// has been acknowledged, one write(2) a name.
func childWrites(dir, round string) {
	s, err := Open(dir, quiet())
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for w := range 12 {
		wg.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("r%s-w%d-%d", round, w, i)
				if err := childWrite(s, name, w); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				os.Stdout.WriteString(name + "\n")
			}
		})
	}
	wg.Wait()
}

// childWrite writes an account; writer 0 and 1 a binding before it, and writer 2 a batch of accounts.
func childWrite(s *Store, name string, writer int) error {
	ctx := context.Background()
	switch writer {
	case 0, 1:
		b := binding(1)
		b.AOR = name
		if err := s.PutBindings(ctx, []tandem.Binding{b}); err != nil {
			return err
		}
	case 2:
		edits := []tandem.Edit{put(account(name + "-0")), put(account(name + "-1")), put(account(name))}
		_, err := s.Append(ctx, admin, edits)
		return err
	}
	_, err := s.Append(ctx, admin, []tandem.Edit{put(account(name))})
	return err
}

// TestKill kills a writing process at random points until 10,000 changes have been acknowledged
// (1,000 under the race detector), and finds each of them again, as the next process does.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openAt(t, dir)
	mustAppend(t, s, ground()...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	acked := make(map[string]bool)
	rounds, enough := 0, 10_000
	if raceEnabled {
		enough = 1_000
	}
	for ; len(acked) < enough; rounds++ {
		for _, name := range killedAfter(t, dir, rounds, 1+rand.IntN(enough/5)) {
			acked[name] = true
		}
	}
	s = openAt(t, dir)
	found := make(map[string]bool)
	if err := s.Bindings(context.Background(), func(b tandem.Binding) error { found[b.AOR] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	for name := range acked {
		if isBinding(name) && !found[name] {
			t.Errorf("acknowledged binding %s is lost", name)
		}
		if _, err := s.Account(context.Background(), admin, name); err != nil {
			t.Errorf("acknowledged account %s: %v", name, err)
		}
		if batch := strings.Contains(name, "-w2-"); batch {
			if _, err := s.Account(context.Background(), admin, name+"-1"); err != nil {
				t.Errorf("part of an acknowledged batch, %s-1: %v", name, err)
			}
		}
	}
	verify(t, s)
	t.Logf("%d changes acknowledged, %d bindings, %d kills", len(acked), len(found), rounds)
}

func isBinding(name string) bool {
	return strings.Contains(name, "-w0-") || strings.Contains(name, "-w1-")
}

// killedAfter starts a writing process, kills it when it has acknowledged so many changes, and
// returns all that it acknowledged.
func killedAfter(t *testing.T, dir string, round, writes int) []string {
	t.Helper()
	return killedChild(t, child(t, "write", dir, round), writes)
}

// killedChild starts a child, kills it when it has printed so many lines, and returns all its lines.
func killedChild(t *testing.T, cmd *exec.Cmd, writes int) []string {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var names []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "error") {
			t.Error(lines.Text())
		}
		if names = append(names, lines.Text()); len(names) == writes {
			cmd.Process.Kill()
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the writing process ended by itself: %v", err)
	}
	return names
}

func TestSecondProcessIsLockedOut(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir)
	out, err := child(t, "open", dir, 0).Output()
	if want := fmt.Sprintf("store in use by another process: %s; stop that process or name another directory\n", dir); err != nil || string(out) != want {
		t.Errorf("second process: %q, %v, want %q", out, err, want)
	}
	if _, err := Open(dir, quiet()); !errors.Is(err, ErrLocked) {
		t.Errorf("second Open in this process = %v, want ErrLocked", err)
	}
	s.Close()
	if out, err := child(t, "open", dir, 0).Output(); err != nil || string(out) != "<nil>\n" {
		t.Errorf("after Close: %q, %v", out, err)
	}
}
