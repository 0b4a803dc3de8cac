package tests

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// watched is the output of a command that goes on until it is interrupted.
type watched struct {
	t    *testing.T
	cmd  *exec.Cmd
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// watch starts `tandem sip trace` and returns once it sees what passes.
func (s *server) watch(t *testing.T, args ...string) *watched {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{t: t, cmd: exec.Command(path, append([]string{"--socket", s.path("tandem.sock"), "sip", "trace"}, args...)...)}
	w.cmd.Stdout, w.cmd.Stderr = w, w
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if w.cmd.ProcessState == nil {
			w.cmd.Process.Kill()
			w.cmd.Wait()
		}
	})
	eventually(t, 5*time.Second, "the trace watches", func() bool { return strings.Contains(w.String(), "watching") })
	return w
}

// end interrupts it, which is a normal end, and returns its lines.
func (w *watched) end() []string {
	w.t.Helper()
	w.cmd.Process.Signal(os.Interrupt)
	if err := w.cmd.Wait(); err != nil {
		w.t.Errorf("%v ended with %v", w.cmd.Args, err)
	}
	return strings.Split(strings.TrimSpace(w.String()), "\n")[1:]
}

// arrowsIn reads "from -> to text" lines, whatever stands before them.
func arrowsIn(out string) []string {
	var found []string
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if i := slices.Index(words, "->"); i > 0 && i+2 < len(words) {
			found = append(found, strings.Join(words[i-1:], " "))
		}
	}
	return found
}

// Issue 3, items 9 and 10: a call has a ladder of its messages, and they can be watched as they pass.
func TestLadderAndTrace(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.feature(8, "uas_call")
	all, calls, others := s.watch(t, "-o", "json", "--raw"), s.watch(t, "--account", "1001"), s.watch(t, "--method", "MESSAGE")
	s.phone(100, "uac_call", fromAlice("INVITE")).succeed()
	eventually(t, 5*time.Second, "both traces have the end of the call", func() bool { // in, then out
		return strings.Count(all.String(), `"200 BYE"`) == 2 && strings.Count(calls.String(), "200 BYE") == 2
	})
	lines := all.end()

	var first, last struct{ From, To, Text, Call, Account, Raw string }
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatalf("%v: %s", err, lines[0])
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatalf("%v: %s", err, lines[len(lines)-1])
	}
	if first.Text != "INVITE" || first.To != "tandem" || !strings.HasPrefix(first.Raw, "INVITE sip:202@") {
		t.Errorf("the first message is %+v", first)
	}
	if last.Account != "1001" || last.Call == "" {
		t.Errorf("the last message is %+v", last)
	}
	for _, line := range lines {
		if strings.Contains(line, "nonce=") && (!strings.Contains(line, "nonce=...,") || strings.Contains(line, `response=\"`)) {
			t.Errorf("a secret is shown: %s", line)
		}
	}

	out := s.must("call", "show", last.Call)
	ladder := arrowsIn(out)
	want := []string{
		"alice -> tandem INVITE", "tandem -> alice 407 INVITE", "alice -> tandem ACK",
		"alice -> tandem INVITE", "tandem -> alice 100 INVITE", "tandem -> east1 INVITE",
	}
	if len(ladder) < len(want) || !slices.Equal(ladder[:len(want)], want) || !slices.Contains(ladder, "east1 -> tandem 200 INVITE") || ladder[len(ladder)-1] != "tandem -> alice 200 BYE" {
		t.Errorf("the call is shown as\n%s", out)
	}
	plain := strings.Join(calls.end(), "\n")
	if !strings.Contains(plain, "call "+last.Call+": ") || len(arrowsIn(plain)) != len(ladder) {
		t.Errorf("the trace of the account has other messages:\n%s\nthan\n%s", plain, out)
	}
	if got := others.end(); len(got) != 0 {
		t.Errorf("a trace of MESSAGE shows %q", got)
	}
	if err := s.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the server: %v", err)
	}
}
