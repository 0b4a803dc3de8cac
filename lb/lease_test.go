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
	used   int
	asks   []lb.Ask
	grants []lb.Grant
	cut    bool
	limit  int
}

func (i *instance) ask(starting, want int) lb.Ask {
	return i.holder.Ask(starting, want, func() int { return i.used }, func(n int) { i.limit = n })
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
	for seed := range uint64(300) {
		if !leaseRun(t, rand.New(rand.NewPCG(seed, 11)), true) {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestLeaseTwin: an instance that goes on with what it was granted without lowering its limit when it
// says so is caught by the same run.
func TestLeaseTwin(t *testing.T) {
	for seed := range uint64(300) {
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
	seq := uint64(0)
	all := make([]*instance, 2+r.IntN(3))
	for i := range all {
		name := string(rune('a' + i))
		all[i] = &instance{name: name, holder: lb.NewHolder(name, "g", 0, r.IntN(permitted/4+1))}
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
			i.asks = append(i.asks, i.ask(r.IntN(3), i.used+r.IntN(10)))
		case 5: // an ask arrives, perhaps not the first, perhaps twice
			if len(i.asks) > 0 && !i.cut {
				n := r.IntN(len(i.asks))
				i.grants = append(i.grants, g.Ask(now, i.asks[n]))
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
				seq += 1000
				i.holder, i.limit, i.grants = lb.NewHolder(i.name, "g", seq, r.IntN(permitted/4+1)), 0, nil
			case 3: // lost on the way
				i.asks, i.grants = nil, nil
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

// heals lets every instance end its calls and speak; one of them must then get everything.
func heals(t *testing.T, g *lb.Grantor, now time.Time, all []*instance, permitted int) bool {
	for _, i := range all {
		i.used = 0
		for range 2 { // the first says that nothing is up, the second what is left of the slack
			i.take(g.Ask(now, i.ask(0, 0)))
		}
	}
	g.Expire(now.Add(term + time.Second))
	g.Bury("b")
	for _, i := range all[1:] {
		g.Bury(i.name)
	}
	i := all[0]
	for range 2 * permitted { // through its slack, each answer allows more
		i.take(g.Ask(now, i.ask(1, permitted)))
		i.used = max(i.used, i.limit)
		if i.used < permitted && i.limit <= i.used {
			i.take(g.Ask(now, i.ask(1, permitted)))
		}
	}
	if grant := g.Ask(now, i.ask(1, permitted)); grant.Held != permitted {
		t.Errorf("the only one left holds %d of %d", grant.Held, permitted)
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
		a := g.Ask(now, lb.Ask{Instance: "a", Group: "g", Seq: 1, Used: 3, Want: 8})
		if b := g.Ask(now, lb.Ask{Instance: "b", Group: "g", Seq: 1, Want: 10}); a.Held != 8 || b.Held != 2 {
			t.Fatalf("a holds %d, b %d, want 8 and 2", a.Held, b.Held)
		}
		now = now.Add(term + time.Millisecond)
		want := 7
		if heard {
			g.Ask(now, lb.Ask{Instance: "a", Group: "g", Seq: 2, Used: 3, Want: 8})
			want = 2
		}
		silent := g.Expire(now)
		if b := g.Ask(now, lb.Ask{Instance: "b", Group: "g", Seq: 2, Want: 10}); b.Held != want || slices.Contains(silent, "a") == heard {
			t.Errorf("heard %v: b holds %d, silent %v; want %d", heard, b.Held, silent, want)
		}
		if heard {
			continue
		}
		if n := g.Adopt("g", "a", "b", 2); n != 2 {
			t.Errorf("adopted %d, want 2", n)
		}
		if b := g.Ask(now, lb.Ask{Instance: "b", Group: "g", Seq: 3, Used: 9, Want: 10}); b.Held != 9 || !b.All {
			t.Errorf("b holds %d (all used: %v), want 9", b.Held, b.All)
		}
		g.Expire(now.Add(maxAge))
		if b := g.Ask(now, lb.Ask{Instance: "b", Group: "g", Seq: 4, Used: 10, Want: 10}); b.Held != 10 || !b.All {
			t.Errorf("b holds %d (all used: %v) once a's last call is past its age, want 10", b.Held, b.All)
		}
	}
}

// fetch is Leases over a grantor in the same process.
type fetch struct {
	b *lb.Balancer
	g interface {
		Ask(time.Time, lb.Ask) lb.Grant
	}
	holder *lb.Holder
	cut    bool
}

func (f *fetch) Acquire(group string, used, permitted int) lb.Reason {
	ask := f.holder.Ask(1, used+1, func() int { return f.b.Used(group) }, func(n int) { f.b.Hold(group, n) })
	if f.cut {
		return lb.ReasonLease
	}
	grant := f.g.Ask(time.Now(), ask)
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
		two[i] = &fetch{g: g, holder: lb.NewHolder(name, "ga", 0, 0)}
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
		f := &fetch{g: g, holder: lb.NewHolder(name, "ga", 0, lb.DefaultSlack(50))}
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

func (l *locked) Ask(now time.Time, a lb.Ask) lb.Grant {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Grantor.Ask(now, a)
}
