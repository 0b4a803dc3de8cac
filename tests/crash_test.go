package tests

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// kill -9 and start again: objects and registrations are as they were acknowledged, and a BYE inside
// a dialog from before reaches the node that owns it.
func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	east := s.feature(8, "uas_call")
	s.phone(101, "uac_request", fromAlice("REGISTER")).succeed()
	before := s.must("sip", "registrations", "--account", "1001", "-o", "json")
	if !strings.Contains(before, s.addr(101)) {
		t.Fatalf("no registration to lose:\n%s", before)
	}
	r := fromAlice("INVITE")
	r.hold = 2500 * time.Millisecond
	call := s.phone(100, "uac_call", r)
	eventually(t, 10*time.Second, "the call is up", func() bool { return len(east.requests("ACK")) > 0 })
	s.kill()
	s.start()
	if after := s.must("sip", "registrations", "--account", "1001", "-o", "json"); !strings.Contains(after, s.addr(101)) {
		t.Errorf("the registration is gone:\n%s\nbefore it was\n%s", after, before)
	}
	call.succeed()
	if a, b := len(east.requests("INVITE")), len(east.requests("BYE")); a != 2 || b != 1 {
		t.Errorf("east1 got %d INVITEs and %d BYEs of the call over the restart, want 2 and 1", a, b)
	}
	if reply := s.dig("alpha.voice.example.net", "NAPTR"); reply.status != "NOERROR" {
		t.Errorf("after the restart: %s", reply.status)
	}
	// A registration removed before the crash does not come back.
	gone := fromAlice("REGISTER")
	gone.header = "Expires: 0"
	s.phone(101, "uac_request", gone).succeed()
	s.kill()
	s.start()
	if after := s.must("sip", "registrations", "--account", "1001", "-o", "json"); strings.Contains(after, s.addr(101)) {
		t.Errorf("a removed registration is back:\n%s", after)
	}
}

// What apply acknowledged survives kill -9 in the middle of the next one.
func TestKillDuringApply(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := -1
	stop := time.After(2 * time.Second)
	var running *exec.Cmd
loop:
	for i := 0; ; i++ {
		document := fmt.Sprintf(`{"kind":"Account","id":"k%d","zone":"voice.example.net","labels":[{"label":"k%d"}],"group":"gold"}`, i, i)
		running = exec.Command(path, "--socket", s.path("tandem.sock"), "apply", "-f", "-")
		running.Stdin = strings.NewReader(document)
		select {
		case <-stop:
			running.Start()
			break loop
		default:
			if err := running.Run(); err != nil {
				t.Fatal(err)
			}
			acknowledged = i
		}
	}
	s.kill()
	running.Wait()
	s.start()
	if acknowledged < 3 {
		t.Fatalf("only %d changes in 2 s", acknowledged+1)
	}
	for i := range acknowledged + 1 {
		if _, code := s.run("", "get", "Account", fmt.Sprintf("k%d", i)); code != 0 {
			t.Errorf("k%d was acknowledged and is gone: exit %d", i, code)
		}
	}
	s.must("store", "verify")
}

// SIGTERM ends the process cleanly, with exit code 0, and it starts again on the same ports at once.
func TestEnd(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.feature(8, "uas_any")
	s.phone(100, "uac_request", fromAlice("MESSAGE")).succeed()
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil { // its twin is stop's SIGTERM
		t.Fatal(err)
	}
	s.phone(100, "uac_request", fromAlice("MESSAGE")).succeed()
	s.stop()
	if _, code := s.run("", "status"); code != 5 {
		t.Errorf("status of a server that ended: exit %d, want 5", code)
	}
	if log := s.log(); strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
		t.Errorf("the end was not clean:\n%s", tail(log, 40))
	}
	s.start()
	s.phone(100, "uac_request", fromAlice("MESSAGE")).succeed()
}
