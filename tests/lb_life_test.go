package tests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/tandem"
)

// shortLived is a configuration that gives up calls soon, and silent nodes sooner, but does not take
// their silence for death.
func shortLived() string {
	config := strings.Replace(quickMind(), "  listeners:", "  maxAge: 3s\n  failoverAfter: 1s\n  listeners:", 1)
	return strings.Replace(config, "quality: {", "quality: {timeouts: 1000, low: 1, high: 1, ", 1)
}

// ending is one way in which a call ends; how plays it, and cause is what its record then says.
type ending struct {
	callee string
	how    func(*server, int, request)
	cause  string
}

func endings() map[string]ending {
	answered := func(then func(*talk)) func(*server, int, request) {
		return func(s *server, host int, r request) {
			c := s.dial(host, r)
			c.is("200")
			then(c)
		}
	}
	refused := func(status string) func(*server, int, request) {
		return func(s *server, host int, r request) { s.dial(host, r).is(status) }
	}
	return map[string]ending{
		"the caller's BYE": {"202", answered(func(c *talk) { c.bye() }), "bye"},
		"the callee's BYE": {"hangup", answered(func(c *talk) { c.told("BYE") }), "bye"},
		"CANCEL": {"ring", func(s *server, host int, r request) {
			if got := s.ringing(host, r).cancel(); got != "487" {
				s.t.Errorf("a cancelled call ended with %s", got)
			}
		}, "cancel"},
		"404":              {"404", refused("404"), "404"},
		"486":              {"486", refused("486"), "486"},
		"500":              {"500", refused("500"), "500"},
		"603":              {"603", refused("603"), "603"},
		"no answer":        {"silent", refused("408"), "408"},
		"a lost BYE":       {"202", answered(func(*talk) {}), "timeout"},
		"a session timer":  {"timer", answered(func(*talk) {}), "session-timer"},
		"gone at the 200":  {"202", func(s *server, host int, r request) { s.invite(host, r).conn.Close() }, "timeout"},
		"CANCEL too early": {"ring", func(s *server, host int, r request) { s.invite(host, r).cancel() }, "cancel"},
	}
}

// L13: whatever its end, a call's slot comes back: after many calls of all kinds, side by side, none
// is held, and as many as are permitted fit again.
func TestL13(t *testing.T) {
	t.Parallel()
	calls := 96
	if os.Getenv("TANDEM_LONG") != "" {
		calls = 1000
	}
	s := startWith(t, shortLived())
	s.twins()
	s.edit("Group", "gold", map[string]any{"permitted": calls})
	all := endings()
	want := make(map[string]int)
	var names []string
	for name := range all {
		names = append(names, name)
	}
	var playing sync.WaitGroup
	atOnce := make(chan struct{}, 24)
	for i := range calls {
		e := all[names[i%len(names)]]
		want[e.cause]++
		atOnce <- struct{}{}
		playing.Go(func() {
			defer func() { <-atOnce }()
			e.how(s, 100+rand.IntN(100), fromAlice("INVITE").called(e.callee+"@alpha.voice.example.net"))
		})
	}
	playing.Wait()
	s.free(8 * time.Second)
	got := make(map[string]int)
	eventually(t, 5*time.Second, "all records are written", func() bool {
		clear(got)
		for _, r := range s.records() {
			if r.State != tandem.CallEnded {
				return false
			}
			got[r.Cause]++
		}
		return true
	})
	for cause := range want {
		if got[cause] != want[cause] {
			t.Errorf("%d calls ended by %s, want %d; all: %v", got[cause], cause, want[cause], got)
		}
	}
	for _, n := range s.stands().Clusters[0].Nodes {
		if n.Calls != 0 || n.InSetUp != 0 {
			t.Errorf("%s is left with %d calls, %d in set-up", n.ID, n.Calls, n.InSetUp)
		}
	}
	s.fits(3)
}

// fits checks that the group gold, permitted n calls, takes n and no more, and leaves nothing.
func (s *server) fits(n int) {
	s.t.Helper()
	s.edit("Group", "gold", map[string]any{"permitted": n})
	var up []*talk
	for i := range n {
		c := s.dial(100+i, fromAlice("INVITE"))
		c.is("200")
		up = append(up, c)
	}
	s.dial(99, fromAlice("INVITE")).is("486 permitted")
	for _, c := range up {
		c.bye()
	}
	s.free(3 * time.Second)
}

// L13: a node that is killed during its calls frees their slots; those in set-up succeed elsewhere.
func TestL13NodeKilled(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	first := s.feature(8, "uas_node")
	s.found("east1", "good")
	second := s.feature(9, "uas_node") // behind the first
	s.found("east2", "good")
	s.edit("Group", "gold", map[string]any{"permitted": 3})
	up, rings := s.dial(100, fromAlice("INVITE")), s.ringing(101, fromAlice("INVITE").called("ring@alpha.voice.example.net"))
	up.is("200")
	if got := first.invites(); got != 2 {
		t.Fatalf("the first node has %d calls, want both", got)
	}
	first.stop()
	up.told("OPTIONS") // whether it is still up, since its node is gone
	if bye := up.told("BYE"); !strings.Contains(strings.Join(bye.header("Reason"), ""), "silent") {
		t.Errorf("the caller is told %q", bye.text)
	}
	if r := s.record(up.d.callID, "its end", func(r tandem.Call) bool { return r.State == tandem.CallEnded }); r.Cause != "silent" || r.EndedBy != tandem.EndedByReaper {
		t.Errorf("its record says %s by %s", r.Cause, r.EndedBy)
	}
	if got := rings.cancel(); got != "487" {
		t.Errorf("the call that rang at the dead node ends with %s, want 487", got)
	}
	s.free(3 * time.Second)
	next := s.dial(102, fromAlice("INVITE"))
	next.is("200")
	if got := second.invites(); got != 1 {
		t.Errorf("the second node got %d calls, want the next one", got)
	}
	next.bye()
	s.fits(3)
}

// L13: a node that dies with the INVITE in its hands: the call succeeds at another, and is counted once.
func TestL13NodeDiesInSetUp(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	node := s.handsetAt(8, 5060, "node")
	second := s.feature(9, "uas_node")
	s.found("east2", "good")
	s.edit("Group", "gold", map[string]any{"permitted": 1})
	c := s.invite(100, fromAlice("INVITE"))
	for {
		m, ok := node.receive(patience)
		if !ok {
			t.Fatal("the first node got no INVITE")
		}
		if m.method() == "INVITE" {
			break
		}
	}
	node.conn.Close()
	c.settle()
	c.is("200")
	if got := second.invites(); got != 1 {
		t.Errorf("the second node got %d calls, want 1", got)
	}
	s.dial(101, fromAlice("INVITE")).is("486 permitted")
	c.bye()
	s.fits(2)
}

// After a kill -9 with calls up all counts are right: the group is as full as it was, its calls' BYEs
// reach their node, and free their slots.
func TestKilledWithCallsUp(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(carrier)
	east, _ := s.clusters()
	s.edit("Group", "gold", map[string]any{"permitted": 3})
	r := fromAlice("INVITE")
	over := s.dial(99, r)
	over.bye()
	up := []*talk{s.dial(100, r), s.dial(30, s.fromCarrier("+15550101")), s.dial(101, fromCarol("INVITE").called("202@alpha.voice.example.net"))}
	for _, c := range up {
		c.is("200")
		s.recorded(c, tandem.CallAnswered)
	}
	s.recorded(over, tandem.CallEnded)
	s.kill()
	s.start()
	if got := s.metric("tandem_lb_slots"); got != 3 {
		t.Errorf("after the restart %.0f calls hold slots, want 3", got)
	}
	for _, g := range s.stands().Groups {
		if want := map[string]int{"gold": 3, "silver": 1}[g.ID]; g.Calls != want {
			t.Errorf("after the restart %s has %d calls, want %d", g.ID, g.Calls, want)
		}
	}
	s.dial(102, r).is("486 permitted")
	for i, c := range up {
		if got := c.bye(); got != "200" {
			t.Errorf("BYE: %s", got)
		}
		if got := len(east.requests("BYE")); got != i+2 {
			t.Errorf("east1 has got %d BYEs, want %d", got, i+2)
		}
		next := s.dial(103, r)
		next.is("200")
		defer next.bye()
	}
	s.dial(104, r).is("486 permitted")
}

// recorded waits until the store has a call's event, so that a crash cannot take it.
func (s *server) recorded(c *talk, state tandem.CallState) {
	s.t.Helper()
	eventually(s.t, 5*time.Second, fmt.Sprintf("the call is stored as %s", state), func() bool {
		for _, e := range s.events(0) {
			if e.Call.CallID == c.d.callID && e.State == state {
				return true
			}
		}
		return false
	})
}

// A call of which nothing is heard is asked for on both sides: it lives when they know it, and is over
// when one does not.
func TestSilentCalls(t *testing.T) {
	t.Parallel()
	s := startWith(t, strings.Replace(serveConfig, "  listeners:", "  silentAfter: 500ms\n  listeners:", 1))
	s.feature(eastNode, "uas_node")
	lives, forgotten := s.dial(100, fromAlice("INVITE")), s.dial(101, fromAlice("INVITE"))
	lives.is("200")
	forgotten.is("200")
	for {
		m, ok := forgotten.receive(patience)
		if !ok {
			t.Fatal("nobody asks for a silent call")
		}
		if m.method() == "OPTIONS" {
			forgotten.send(respond(m, "481 Call/Transaction Does Not Exist", "phone"))
			break
		}
	}
	for range 3 {
		lives.told("OPTIONS")
	}
	r := s.record(forgotten.d.callID, "its end", func(r tandem.Call) bool { return r.State == tandem.CallEnded })
	if r.Cause != "silent" || r.EndedBy != tandem.EndedByReaper {
		t.Errorf("the record of the call that a phone forgot says %s by %s", r.Cause, r.EndedBy)
	}
	if open := s.open(); len(open) != 1 || open[0].CallID != lives.d.callID {
		t.Errorf("open calls are %+v, want the one that answers", open)
	}
	if got := lives.bye(); got != "200" {
		t.Errorf("BYE: %s", got)
	}
	s.free(2 * time.Second)
}
