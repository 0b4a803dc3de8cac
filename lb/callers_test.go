package lb_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/tandem"
	"tandem/lb"
)

// One account whose calls fail, by what it calls or what it sends, takes no node from the others; a node that fails
// others too is closed.
func TestOneCallersFailures(t *testing.T) {
	fail := func(b *lb.Balancer, account string) { b.SetUp("b1", account, 10*time.Millisecond, true, false) }
	silent := func(b *lb.Balancer, account string) { b.SetUp("b1", account, 4*time.Second, false, true) }
	well := func(b *lb.Balancer, account string) { b.SetUp("b1", account, 10*time.Millisecond, false, false) }
	for _, tt := range []struct {
		name string
		play func(b *lb.Balancer, n int) // every 10 ms
		want lb.State
	}{
		{"one of two fails", func(b *lb.Balancer, n int) {
			fail(b, "bad")
			if n%50 == 0 {
				well(b, "good")
			}
		}, lb.StateGood},
		{"one of two fails, the other called minutes ago", func(b *lb.Balancer, n int) {
			if n == 0 {
				well(b, "good")
				time.Sleep(5 * time.Minute)
			}
			fail(b, "bad")
		}, lb.StateGood},
		{"both fail", func(b *lb.Balancer, n int) {
			fail(b, "bad")
			if n%50 == 0 {
				fail(b, "good")
			}
		}, lb.StateDegraded},
		{"many fail now and then", func(b *lb.Balancer, n int) {
			if account := fmt.Sprint("a", n%40); n%3 == 0 {
				fail(b, account)
			} else {
				well(b, account)
			}
		}, lb.StateDegraded},
		{"the only one fails", func(b *lb.Balancer, _ int) { fail(b, "bad") }, lb.StateDegraded},
		{"one of two is not answered", func(b *lb.Balancer, n int) {
			if n == 0 {
				well(b, "good")
			}
			silent(b, "bad")
		}, lb.StateGood},
		{"both are not answered", func(b *lb.Balancer, n int) {
			silent(b, "bad")
			silent(b, "good")
		}, lb.StateDown},
		{"the only one is not answered", func(b *lb.Balancer, _ int) { silent(b, "bad") }, lb.StateDown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBalancer(t, lb.Config{}, nil)
				var s lb.NodeStatus
				for n := range 300 {
					tt.play(b, n)
					time.Sleep(10 * time.Millisecond)
					if n%10 == 0 {
						b.Look()
						s = (&patientNode{b: b}).status()
					}
				}
				if s.State != tt.want {
					t.Errorf("%s (%s), failed %v, want %s", s.State, s.Why, s.Failed, tt.want)
				}
			})
		})
	}
}

// However many accounts call, what is kept of them is bounded.
func TestCallersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBalancer(t, lb.Config{}, nil)
		for n := range 10_000 {
			b.SetUp("b1", fmt.Sprint("a", n), time.Millisecond, n%2 == 0, false)
			time.Sleep(time.Millisecond) // so that the oldest make room, and the last are kept
		}
		b.Look()
		if s := (&patientNode{b: b}).status(); s.Failed < 0.45 || s.Failed > 0.55 {
			t.Errorf("failed %v, want about a half", s.Failed)
		}
	})
}

// A leg that one of its groups refuses takes no slot in the other.
func TestRefusedLegTakesNothing(t *testing.T) {
	b := newBalancer(t, lb.Config{}, nil)
	b.PutGroup(lb.Group{ID: "full", Cluster: "a", Permitted: 0})
	b.PutGroup(lb.Group{ID: "gc", Cluster: "a", Permitted: 5})
	first := admit(t, b, tandem.Admission{Group: "ga"})
	wantRefusal(t, b, tandem.Admission{Group: "gb", Other: "full", Counted: true, Joined: first.Slot}, 486, lb.ReasonPermitted, "full")
	if n := b.Used("gb"); n != 0 {
		t.Errorf("%d slots of gb after a refusal", n)
	}
	admit(t, b, tandem.Admission{Group: "gb", Other: "gc", Counted: true, Joined: first.Slot})
	for group, want := range map[string]int{"ga": 1, "gb": 1, "gc": 1} {
		if n := b.Used(group); n != want {
			t.Errorf("%d slots of %s, want %d", n, group, want)
		}
	}
	b.Release(first.Slot)
	if n := b.Used("ga") + b.Used("gb") + b.Used("gc"); n != 0 {
		t.Errorf("%d slots after the end", n)
	}
}
