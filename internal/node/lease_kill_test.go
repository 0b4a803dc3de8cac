package node

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tandem/lb"
	"tandem/store"
)

// TestLeaseProcess is no test: it is one instance in a process of its own, to be killed. It does what
// its standard input says and answers with a line each.
func TestLeaseProcess(t *testing.T) {
	if os.Getenv("LEASE_DIR") == "" {
		t.Skip("run by TestLeasesKill")
	}
	var permitted, calls int
	fmt.Sscan(os.Getenv("LEASE_NUMBERS"), &permitted, &calls)
	var s *shared
	if at := os.Getenv("LEASE_FROM"); at != "" {
		s = share(t, askLeases(os.Getenv("LEASE_DIR"), "edge2.test", at), nil, permitted, calls)
	} else {
		kept, err := store.Open(os.Getenv("LEASE_STORE"), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		s = share(t, serveLeases(os.Getenv("LEASE_DIR"), "edge1.test"), kept, permitted, calls)
	}
	fmt.Println("ready", s.at)
	slots := s.calls
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var word string
		var n int
		fmt.Sscan(in.Text(), &word, &n)
		switch word {
		case "admit":
			var last lb.Reason
			for range n {
				slot, why := s.admit()
				if last = why; why == "" {
					slots = append(slots, slot)
				}
			}
			fmt.Println("up", s.b.Used("g"), last)
		case "release":
			for _, slot := range slots[:n] {
				s.b.Release(slot)
			}
			slots = slots[n:]
			fmt.Println("up", s.b.Used("g"))
		}
	}
}

// process is a TestLeaseProcess.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
	at  string
}

func startProcess(t *testing.T, env ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], "-test.run=^TestLeaseProcess$", "-test.count=1")}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in, p.out = in, bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	p.at, _ = strings.CutPrefix(p.line("ready"), "ready ")
	return p
}

// line returns the next line that begins so.
func (p *process) line(begin string) string {
	p.t.Helper()
	for p.out.Scan() {
		if strings.HasPrefix(p.out.Text(), begin) {
			return p.out.Text()
		}
	}
	p.t.Fatalf("the process ended before it said %q", begin)
	return ""
}

// do has the process do something; it returns how many calls are up there, and why no more are.
func (p *process) do(what string, n int) (up int, why lb.Reason) {
	p.t.Helper()
	fmt.Fprintln(p.in, what, n)
	fmt.Sscan(strings.TrimPrefix(p.line("up"), "up"), &up, &why)
	return up, why
}

// kill ends the process as a crash would.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// TestLeasesKill: kill -9 of either end. Of the holder: what its calls do not use returns within the
// term, its calls' slots when it is back and says what it took up. Of the grantor: it starts from
// its store and grants nothing that the other may hold.
func TestLeasesKill(t *testing.T) {
	t.Parallel()
	const permitted = 12
	dir, data := t.TempDir(), t.TempDir()
	vouch(t, dir, "edge1.test", "edge2.test")
	numbers := func(calls int) string { return fmt.Sprintf("LEASE_NUMBERS=%d %d", permitted, calls) }
	grantor := []string{"LEASE_DIR=" + dir, "LEASE_STORE=" + data}
	one := startProcess(t, append(grantor, numbers(0))...)
	wire := newLink(t, one.at)
	holder := []string{"LEASE_DIR=" + dir, "LEASE_FROM=" + wire.at()}
	two := startProcess(t, append(holder, numbers(0))...)

	want := func(step string, p *process, n, up int, why lb.Reason) {
		t.Helper()
		if gotUp, gotWhy := p.do("admit", n); gotUp != up || gotWhy != why {
			t.Errorf("%s: %d calls up, then %q, want %d and %q", step, gotUp, gotWhy, up, why)
		}
	}
	want("the holder", two, 9, 9, "")
	want("the grantor", one, 5, 3, lb.ReasonPermitted)
	two.do("release", 4) // 5 are up, and it may have told so or not when it is killed
	two.kill()
	within(t, 5*time.Second, "the grantor has what the dead one does not use, or did at its last word", func() bool {
		up, _ := one.do("admit", 1)
		if up > 7 {
			t.Fatalf("%d calls at the grantor, 5 at the dead one, %d permitted", up, permitted)
		}
		return up >= 3
	})
	up, _ := one.do("admit", 0)
	two = startProcess(t, append(holder, numbers(5))...) // it took up its 5
	within(t, 5*time.Second, "the grantor has all that the other does not use", func() bool {
		up, _ = one.do("admit", 1)
		return up == 7
	})
	want("one more", one, 1, 7, lb.ReasonPermitted)

	one.do("release", 2) // 5 and 5 are up
	within(t, 5*time.Second, "the holder has a slot that came free", func() bool {
		up, _ := two.do("admit", 1)
		return up == 6
	})
	one.kill()
	want("the holder without grantor", two, 1, 6, lb.ReasonLease)
	two.do("release", 1)
	want("in the place of one that ended", two, 2, 6, lb.ReasonLease)
	one = startProcess(t, append(grantor, numbers(5))...) // it took up 5, 6 are at the other
	wire.lead(one.at)
	here, there := 5, 6
	within(t, 5*time.Second, "both together have what is permitted", func() bool {
		here, _ = one.do("admit", 1)
		there, _ = two.do("admit", 1)
		if here+there > permitted {
			t.Fatalf("%d calls at the grantor, %d at the holder, %d permitted", here, there, permitted)
		}
		return here+there == permitted
	})
	two.kill()
	one.kill() // both, and only the grantor returns: what the other had stays counted
	one = startProcess(t, append(grantor, numbers(here))...)
	want("alone", one, 5, here, lb.ReasonPermitted)
}
