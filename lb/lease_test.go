package lb_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/lb"
)

const (
	term   = 5 * time.Second
	maxAge = time.Hour
)

// instance is one balancer that shares a group, with a wire that can be cut, lose and reorder.
type instance struct {
	name   string
	holder *lb.Holder
	seq    uint64
	used   int
	asks   []lb.Ask
	grants []lb.Grant
	cut    bool
	limit  int
}

func (i *instance) ask(starting, slack int) lb.Ask {
	i.seq++
	return i.holder.Ask(lb.Question{Seq: i.seq, Starting: starting, Slack: slack},
		func() int { return i.used }, func(n int) { i.limit = n })
}

func (i *instance) take(g lb.Grant) bool {
	ok := i.holder.Take(g)
	i.limit = i.holder.Limit()
	return ok
}

// TestLeaseProperty: whatever is cut, lost, late, repeated or killed, and however long nothing is
// heard, instances together never have more calls up than were ever permitted; healed and idle, all
// that is permitted can be had again.
func TestLeaseProperty(t *testing.T) {
	for seed := range uint64(500) {
		if !leaseRun(t, rand.New(rand.NewPCG(seed, 11)), true) {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestLeaseTwin: an instance that goes on with what it was granted without lowering its limit when it
// says so is caught by the same run.
func TestLeaseTwin(t *testing.T) {
	for seed := range uint64(500) {
		if !leaseRun(&testing.T{}, rand.New(rand.NewPCG(seed, 11)), false) {
			return
		}
	}
	t.Error("nothing found")
}

func leaseRun(t *testing.T, r *rand.Rand, honest bool) bool {
	now := time.Unix(0, 0)
	permitted := 1 + r.IntN(60)
	g := lb.NewGrantor(term, maxAge)
	g.Permit("g", permitted)
	all := make([]*instance, 2+r.IntN(3))
	for i := range all {
		all[i] = &instance{name: string(rune('a' + i)), holder: lb.NewHolder("g")}
	}
	for range 600 {
		i := all[r.IntN(len(all))]
		switch r.IntN(9) {
		case 0, 1: // a call starts
			if limit := i.limit; i.used < limit || (!honest && i.used < permitted/2) {
				i.used++
			}
		case 2: // some end
			i.used -= r.IntN(i.used + 1)
		case 3, 4:
			i.asks = append(i.asks, i.ask(r.IntN(3), r.IntN(permitted/4+1)))
		case 5: // an ask arrives, perhaps not the first, perhaps twice
			if len(i.asks) > 0 && !i.cut {
				n := r.IntN(len(i.asks))
				i.grants = append(i.grants, g.Ask(now, i.name, i.asks[n]))
				if r.IntN(4) > 0 {
					i.asks = slices.Delete(i.asks, n, n+1)
				}
			}
		case 6:
			if len(i.grants) > 0 && !i.cut {
				n := r.IntN(len(i.grants))
				i.take(i.grants[n])
				i.grants = slices.Delete(i.grants, n, n+1)
			}
		case 7:
			now = now.Add(time.Duration(r.IntN(4000)) * time.Millisecond)
			g.Expire(now)
		case 8:
			switch r.IntN(6) {
			case 0, 1:
				i.cut = !i.cut
			case 2: // killed and back with its records
				i.seq += 1000
				i.holder, i.limit, i.grants = lb.NewHolder("g"), 0, nil
				if i.used == 0 && !i.cut {
					g.Forget(now, i.name, i.seq)
				}
			case 3: // lost on the way
				i.asks, i.grants = nil, nil
			case 4: // the grantor starts again, and what is on the way to it is lost
				if r.IntN(4) == 0 {
					g = again(g, now, all, permitted)
				}
			}
		}
		total := 0
		for _, x := range all {
			total += x.used
		}
		if total > permitted {
			t.Errorf("%d calls up, %d permitted", total, permitted)
			return false
		}
	}
	if honest {
		return heals(t, g, now, all, permitted)
	}
	return true
}

// again returns the grantor after a restart, with what it kept: bounds, not the shares themselves.
func again(g *lb.Grantor, now time.Time, all []*instance, permitted int) *lb.Grantor {
	var kept []lb.Share
	for _, i := range all {
		i.asks = nil
		if held := g.Held(i.name, "g"); held > 0 {
			kept = append(kept, lb.Share{Instance: i.name, Group: "g", Held: held + held%3})
		}
	}
	next := lb.NewGrantor(term, maxAge)
	next.Restore(now, kept)
	next.Permit("g", permitted)
	return next
}

// heals lets every instance end its calls and speak; nothing is held then, and one may have all.
func heals(t *testing.T, g *lb.Grantor, now time.Time, all []*instance, permitted int) bool {
	for _, i := range all {
		i.used = 0
		i.take(g.Ask(now, i.name, i.ask(0, 0)))
		if held := g.Held(i.name, "g"); held != 0 || i.limit != 0 {
			t.Errorf("%s is idle and holds %d, its limit is %d", i.name, held, i.limit)
			return false
		}
	}
	i := all[0]
	if i.take(g.Ask(now, i.name, i.ask(permitted, 0))); i.limit != permitted {
		t.Errorf("the only one with calls has %d of %d", i.limit, permitted)
		return false
	}
	return true
}

// TestLeaseDeath: a dead instance's unused slots return after the term, its calls when they are
// adopted; the twin, heard in time, keeps them.
func TestLeaseDeath(t *testing.T) {
	for _, heard := range []bool{false, true} {
		now := time.Unix(0, 0)
		g := lb.NewGrantor(term, maxAge)
		g.Permit("g", 10)
		a := g.Ask(now, "a", lb.Ask{Group: "g", Seq: 1, Used: 3, Want: 8})
		if b := g.Ask(now, "b", lb.Ask{Group: "g", Seq: 1, Want: 10}); a.Held != 8 || b.Held != 2 {
			t.Fatalf("a holds %d, b %d, want 8 and 2", a.Held, b.Held)
		}
		now = now.Add(term + time.Millisecond)
		want := 7
		if heard {
			g.Ask(now, "a", lb.Ask{Group: "g", Seq: 2, Used: 3, Want: 8})
			want = 2
		}
		silent := g.Expire(now)
		if b := g.Ask(now, "b", lb.Ask{Group: "g", Seq: 2, Want: 10}); b.Held != want || slices.Contains(silent, "a") == heard {
			t.Errorf("heard %v: b holds %d, silent %v; want %d", heard, b.Held, silent, want)
		}
		if heard {
			continue
		}
		if n := g.Adopt("g", "a", "b", 2); n != 2 {
			t.Errorf("adopted %d, want 2", n)
		}
		if b := g.Ask(now, "b", lb.Ask{Group: "g", Seq: 3, Used: 9, Want: 10}); b.Held != 9 || !b.All {
			t.Errorf("b holds %d (all used: %v), want 9", b.Held, b.All)
		}
		g.Expire(now.Add(maxAge))
		if b := g.Ask(now, "b", lb.Ask{Group: "g", Seq: 4, Used: 10, Want: 10}); b.Held != 10 || !b.All {
			t.Errorf("b holds %d (all used: %v) once a's last call is past its age, want 10", b.Held, b.All)
		}
	}
}

// fetch is Leases over a grantor in the same process.
type fetch struct {
	name string
	b    *lb.Balancer
	g    interface {
		Ask(time.Time, string, lb.Ask) lb.Grant
	}
	holder *lb.Holder
	seq    uint64
	slack  int
	cut    bool
}

func (f *fetch) Acquire(group string, starting, permitted int) lb.Reason {
	f.seq++
	ask := f.holder.Ask(lb.Question{Seq: f.seq, Starting: starting, Slack: f.slack},
		func() int { return f.b.Used(group) }, func(n int) { f.b.Hold(group, n) })
	if f.cut {
		return lb.ReasonLease
	}
	grant := f.g.Ask(time.Now(), f.name, ask)
	f.holder.Take(grant)
	f.b.Hold(group, f.holder.Limit())
	if grant.All {
		return lb.ReasonPermitted
	}
	return lb.ReasonLease
}

// TestLeasedAdmission: two balancers share four slots: never more, and each refusal has its reason.
func TestLeasedAdmission(t *testing.T) {
	g := lb.NewGrantor(term, maxAge)
	g.Permit("ga", 4)
	var two [2]*fetch
	for i, name := range []string{"x", "y"} {
		two[i] = &fetch{name: name, g: g, holder: lb.NewHolder("ga")}
		two[i].b = newBalancer(t, lb.Config{}, two[i])
		two[i].b.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 4})
	}
	r := tandem.Admission{Group: "ga"}
	kept := admit(t, two[0].b, r)
	for range 3 {
		admit(t, two[1].b, r)
	}
	wantRefusal(t, two[0].b, r, 486, lb.ReasonPermitted, "ga")
	wantRefusal(t, two[1].b, r, 486, lb.ReasonPermitted, "ga")

	two[0].cut = true
	two[0].b.Release(kept.Slot)
	again := admit(t, two[0].b, r) // of its own share
	wantRefusal(t, two[0].b, r, 503, lb.ReasonLease, "ga")
	two[0].b.Release(again.Slot)
	wantRefusal(t, two[1].b, r, 486, lb.ReasonPermitted, "ga") // nobody can know that it ended
	two[0].cut = false
	admit(t, two[0].b, r)
	if n := two[0].b.Used("ga") + two[1].b.Used("ga"); n != 4 {
		t.Errorf("%d calls together, want 4", n)
	}
}

// TestLeasedBurst: of a burst at two balancers exactly as many get through as are permitted.
func TestLeasedBurst(t *testing.T) {
	g := &locked{Grantor: lb.NewGrantor(term, maxAge)}
	g.Permit("ga", 50)
	var two [2]*lb.Balancer
	for i, name := range []string{"x", "y"} {
		f := &fetch{name: name, g: g, holder: lb.NewHolder("ga"), slack: lb.DefaultSlack(50)}
		two[i] = newBalancer(t, lb.Config{}, f)
		f.b = two[i]
		two[i].PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 50})
	}
	var wg sync.WaitGroup
	for i := range 400 {
		wg.Go(func() { two[i%2].Admit(tandem.Admission{Group: "ga"}) })
	}
	wg.Wait()
	if n := two[0].Used("ga") + two[1].Used("ga"); n != 50 {
		t.Errorf("%d calls together, want 50", n)
	}
}

// locked is a Grantor that two balancers may ask at once.
type locked struct {
	mu sync.Mutex
	*lb.Grantor
}

func (l *locked) Ask(now time.Time, instance string, a lb.Ask) lb.Grant {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Grantor.Ask(now, instance, a)
}
