package tests

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// Spec P2: a call is ended from outside, both sides get BYE, also when the process that set it up was killed.
func TestHangup(t *testing.T) {
	t.Parallel()
	for _, killed := range []bool{false, true} {
		name := "running"
		if killed {
			name = "killed and started again"
		}
		t.Run(name, func(t *testing.T) {
			s := startServer(t)
			east := s.feature(8, "uas_call")
			phone := s.phone(100, "uac_hungup", fromAlice("INVITE"))
			eventually(t, 10*time.Second, "the call is up", func() bool { return len(east.requests("ACK")) > 0 })
			if killed {
				time.Sleep(500 * time.Millisecond) // records are synced behind the call
				s.kill()
				s.start()
			}
			var up struct{ ID string }
			line, _, _ := strings.Cut(s.must("call", "export", "--state", "answered", "--format", "jsonl"), "\n")
			if err := json.Unmarshal([]byte(line), &up); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			s.must("call", "hangup", up.ID, "--reason", "enough")
			phone.succeed()
			for side, byes := range map[string][]message{"callee": east.requests("BYE"), "caller": phone.requests("BYE")} {
				if len(byes) != 1 || strings.Join(byes[0].header("Reason"), "") != `SIP;cause=200;text="enough"` {
					t.Errorf("the %s got BYEs %v", side, byes)
				}
			}
			if out := s.must("call", "show", up.ID); !strings.Contains(out, "hangup") || !strings.Contains(out, "appliance") {
				t.Errorf("the record is\n%s", out)
			}
			if out, code := s.run("", "call", "hangup", up.ID); code == 0 || !strings.Contains(out, "ended already") {
				t.Errorf("hung up again: %d %s", code, out)
			}
		})
	}
}
