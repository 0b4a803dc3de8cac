package lb_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/tandem"
	"tandem/lb"
)

// TestLessorProperty: whatever is cut, lost, repeated, late or killed, the grantor among them, the
// instances together never have more calls up than permitted; healed, all can be had by one.
func TestLessorProperty(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			w := newWorld(t, r, 1+r.IntN(70), 1+r.IntN(3), &disk{})
			for range 300 {
				if w.step(); w.up() > w.permitted {
					t.Fatalf("seed %d: %d calls up, %d permitted", seed, w.up(), w.permitted)
				}
			}
			for _, p := range w.places {
				w.release(p, len(p.calls))
			}
			w.calm()
			time.Sleep(5 * time.Second)
			last := w.places[len(w.places)-1]
			for range w.permitted {
				w.admit(last)
			}
			if why := w.admit(last); len(last.calls) != w.permitted || why != lb.ReasonPermitted {
				t.Errorf("seed %d: all is idle, and %s gets %d of %d, then %q", seed, last.name, len(last.calls), w.permitted, why)
			}
			w.end()
		})
	}
}

// TestLessorTwin: a grantor whose shares are not kept is caught by the same steps.
func TestLessorTwin(t *testing.T) {
	for seed := range uint64(60) {
		caught := false
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			w := newWorld(t, r, 1+r.IntN(70), 1+r.IntN(3), &disk{forgets: true})
			for range 300 {
				w.step()
				caught = caught || w.up() > w.permitted
			}
			w.end()
		})
		if caught {
			return
		}
	}
	t.Error("nothing found")
}

// TestLessorDisk: a grant that cannot be kept is not given; twin: one within what is kept is.
func TestLessorDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		w := newWorld(t, rand.New(rand.NewPCG(1, 1)), 8, 1, d)
		defer w.end()
		p := w.places[1]
		w.calm()
		for range 2 {
			w.admit(p)
		}
		w.release(p, 1)
		time.Sleep(2 * time.Second)
		d.set(true)
		if why := w.admit(p); why != "" || len(p.calls) != 2 {
			t.Errorf("a second call again: %q, want it admitted", why)
		}
		if why := w.admit(p); why != lb.ReasonLease || len(p.calls) != 2 {
			t.Errorf("a third call: %q, want %q", why, lb.ReasonLease)
		}
		d.set(false)
		time.Sleep(2 * time.Second)
		if why := w.admit(p); why != "" {
			t.Errorf("a third call on a disk that writes: %q", why)
		}
	})
}

// TestLessorQuiet: an instance keeps slots beyond its calls while it is busy, gives them back when it
// is quiet or slots get short, and what is kept on disk follows in time.
func TestLessorQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, rand.New(rand.NewPCG(1, 1)), 64, 1, &disk{})
		defer w.end()
		p := w.places[1]
		w.calm()
		held := func(step string, want ...int) {
			t.Helper()
			for _, x := range append(w.lessor.Load().Loans(), lb.Loan{Share: lb.Share{Group: "g"}})[:1] {
				if !slices.Contains(want, x.Held) {
					t.Errorf("%s: %d held for %d calls, want one of %d", step, x.Held, x.Used, want)
				}
			}
		}
		w.admit(p)
		held("one call", 5)
		for range 45 {
			w.admit(p)
		}
		time.Sleep(1500 * time.Millisecond)
		held("46 calls", 50)
		for range 8 {
			w.admit(p)
		}
		time.Sleep(1500 * time.Millisecond)
		held("54 calls, which leaves little", 54)
		w.release(p, len(p.calls))
		time.Sleep(3 * time.Second)
		held("quiet", 0)
		w.disk.mu.Lock()
		kept := len(w.disk.shares)
		w.disk.mu.Unlock()
		if kept != 1 {
			t.Errorf("%d shares on disk soon after, want the one still", kept)
		}
		time.Sleep(2 * time.Minute)
		w.disk.mu.Lock()
		defer w.disk.mu.Unlock()
		if len(w.disk.shares) != 0 {
			t.Errorf("on disk after a while: %v, want nothing", w.disk.shares)
		}
	})
}

// TestLessorForced: calls that no limit withheld count at the others; a group that had no limit before
// is not held without a lease.
func TestLessorForced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, rand.New(rand.NewPCG(1, 1)), 8, 1, &disk{})
		defer w.end()
		one, two := w.places[0], w.places[1]
		w.calm()
		for range 5 {
			if _, refused := two.b.Admit(tandem.Admission{Group: "g", Emergency: true}); refused.Code != 0 {
				t.Fatal(refused)
			}
		}
		time.Sleep(1500 * time.Millisecond)
		for range 8 {
			w.admit(one)
		}
		if len(one.calls) != 3 {
			t.Errorf("beside 5 emergency calls elsewhere %d of 8 are admitted, want 3", len(one.calls))
		}
		for _, p := range w.places {
			p.b.PutGroup(lb.Group{ID: "free", Cluster: "c", Permitted: lb.Unlimited})
			for range 4 {
				if _, refused := p.b.Admit(tandem.Admission{Group: "free", Counted: true}); refused.Code != 0 {
					t.Errorf("without a limit: %+v", refused)
				}
			}
			p.b.PutGroup(lb.Group{ID: "free", Cluster: "c", Permitted: 10})
		}
		w.lessor.Load().Permit("free", 10)
		time.Sleep(2500 * time.Millisecond)
		admitted := 0
		for range 10 {
			for _, p := range w.places {
				if _, refused := p.b.Admit(tandem.Admission{Group: "free", Counted: true}); refused.Code == 0 {
					admitted++
				}
			}
		}
		if admitted != 2 {
			t.Errorf("with 8 calls from before the limit of 10, %d more were admitted, want 2", admitted)
		}
	})
}

// TestLessorClock: an instance whose clock went back while it was down is heard again.
func TestLessorClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, rand.New(rand.NewPCG(1, 1)), 8, 1, &disk{})
		defer w.end()
		p := w.places[1]
		w.calm()
		w.admit(p)
		ahead := time.Now().Add(24 * time.Hour).UnixNano()
		p.wire.deliver(fmt.Appendf(nil, `{"epoch":%s,"asks":[{"group":"g","seq":%d,"used":1,"want":1}]}`, p.wire.epoch(), ahead)) // as from tomorrow
		if why := w.admit(p); why != lb.ReasonLease {
			t.Errorf("one who speaks from the past: %q, want %q", why, lb.ReasonLease)
		}
		w.kill(p)
		if why := w.admit(p); why != "" {
			t.Errorf("after its restart: %q", why)
		}
	})
}

// FuzzLeases: whatever is posted, the answer is a status, and what is granted together is never more
// than is permitted.
func FuzzLeases(f *testing.F) {
	f.Add([]byte(`{"epoch":0}`), uint16(1))
	f.Add([]byte(`{"epoch":E,"asks":[{"group":"g","seq":18446744073709551615,"used":3,"starting":2,"want":9,"slack":1}],"forget":4}`), uint16(7))
	f.Add([]byte(`{"epoch":E,"asks":[{"group":"h","seq":1,"used":1073741824,"want":99999999999}]}{}`), uint16(0))
	f.Fuzz(func(t *testing.T, body []byte, permitted uint16) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, rand.New(rand.NewPCG(1, 1)), int(permitted), 1, &disk{})
			defer w.end()
			wire := w.places[1].wire
			w.calm()
			reply := wire.deliver(bytes.ReplaceAll(body, []byte("E"), []byte(wire.epoch())))
			if reply.StatusCode != 200 && reply.StatusCode != 400 {
				t.Errorf("answered %s", reply.Status)
			}
			var got lb.Reply
			text, _ := io.ReadAll(reply.Body)
			if reply.StatusCode == 200 && json.Unmarshal(text, &got) != nil {
				t.Errorf("answered %s", text)
			}
			for _, g := range got.Grants {
				if g.Held > int(permitted) || g.Group != "g" && g.Held > 0 {
					t.Errorf("granted %+v of %d permitted", g, permitted)
				}
			}
		})
	})
}
