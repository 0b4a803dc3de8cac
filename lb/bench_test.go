package lb_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"tandem/internal/tandem"
	"tandem/lb"
)

// The figures of `make bench-lb` that need no other process; each benchmark logs them as lines.

// BenchmarkAssign is tier 1 for 100,000 groups of Zipf sizes on 100 clusters, from scratch and after
// the loss of a cluster.
func BenchmarkAssign(b *testing.B) {
	for _, exponent := range []float64{0.5, 0.8, 1} {
		demands, supplies := zipf(100_000, 100, exponent, rand.New(rand.NewPCG(9, 9)))
		plan := lb.Assign(demands, supplies, lb.Policy{})
		b.Run(fmt.Sprintf("scratch/zipf=%v", exponent), func(b *testing.B) {
			for b.Loop() {
				plan = lb.Assign(demands, supplies, lb.Policy{})
			}
			b.Logf("figure lb-assign-scratch-zipf%v %.4g s goal <= 1", exponent, perLoop(b))
			b.Logf("figure lb-fullest-over-bound-zipf%v %.4g x goal <= 1.05", exponent, plan.Fullest/plan.LeastFullest)
			b.Logf("figure lb-fullest-over-mean-zipf%v %.4g x goal - -", exponent, plan.Fullest/plan.Mean)
		})
		placed, lost := slices.Clone(demands), slices.Clone(supplies)
		take(placed, plan)
		lost[37].Open = false
		b.Run(fmt.Sprintf("lost/zipf=%v", exponent), func(b *testing.B) {
			for b.Loop() {
				plan = lb.Assign(placed, lost, lb.Policy{})
			}
			b.Logf("figure lb-assign-lost-zipf%v %.4g ms goal <= 100", exponent, 1000*perLoop(b))
			b.Logf("figure lb-moved-over-bound-zipf%v %.4g x goal <= 1.01", exponent, float64(plan.Moved())/float64(max(plan.LeastMoves, 1)))
		})
	}
}

// perLoop returns the seconds that one round of b took.
func perLoop(b *testing.B) float64 { return b.Elapsed().Seconds() / float64(b.N) }

// fixed holds what it was given, and gets no more.
type fixed struct{}

func (fixed) Acquire(string, int, int) lb.Reason { return lb.ReasonLease }

// newHeld returns a Balancer that holds leases of 40 of a group's 100 slots and of all of another's.
func newHeld(tb testing.TB) *lb.Balancer {
	tb.Helper()
	b := newBalancer(tb, lb.Config{}, fixed{})
	b.PutGroup(lb.Group{ID: "ga", Cluster: "a", Permitted: 100})
	b.PutGroup(lb.Group{ID: "gb", Cluster: "b", Permitted: 1000})
	b.Hold("ga", 40)
	b.Hold("gb", 1000)
	return b
}

// BenchmarkAdmit is a decision with its release, for calls between two groups, from held leases.
func BenchmarkAdmit(b *testing.B) {
	for _, goroutines := range []int{1, 64} {
		b.Run(fmt.Sprint("goroutines=", goroutines), func(b *testing.B) {
			balancer := newHeld(b)
			processors := min(runtime.GOMAXPROCS(0), goroutines)
			b.SetParallelism((goroutines + processors - 1) / processors)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if p, refused := balancer.Admit(tandem.Admission{Group: "ga", Other: "gb"}); refused.Code == 0 {
						balancer.Release(p.Slot)
					}
				}
			})
			b.StopTimer()
			runtime.ReadMemStats(&after)
			if b.N < 100_000 { // a try
				return
			}
			b.Logf("figure lb-admit-%d %.4g ns goal <= 1000", goroutines, 1e9*perLoop(b)*float64(processors))
			b.Logf("figure lb-admit-allocations-%d %d a-decision goal <= 0", goroutines, (after.Mallocs-before.Mallocs)/uint64(b.N))
			most, refused := crowd(newHeld(b), goroutines, 20_000)
			b.Logf("figure lb-admit-over-limit-%d %d calls goal <= 0", goroutines, max(most-40, 0))
			b.Logf("%d of %d refused, at most %d up at once of 40", refused, goroutines*20_000, most)
		})
	}
}

// crowd admits and releases calls of group ga from many goroutines, each keeping a few, and returns
// how many were up at once at most, and how many were refused.
func crowd(balancer *lb.Balancer, goroutines, tries int) (most, refusals int64) {
	var up, peak, refusedAll atomic.Int64
	var crowd sync.WaitGroup
	for range goroutines {
		crowd.Go(func() {
			var kept []tandem.Slot
			end := func() {
				up.Add(-1)
				balancer.Release(kept[0])
				kept = kept[1:]
			}
			for range tries {
				p, refused := balancer.Admit(tandem.Admission{Group: "ga", Other: "gb"})
				if refused.Code != 0 {
					refusedAll.Add(1)
				} else {
					kept = append(kept, p.Slot)
					for n, top := up.Add(1), peak.Load(); n > top && !peak.CompareAndSwap(top, n); top = peak.Load() {
					}
				}
				if len(kept) > 2 || refused.Code != 0 && len(kept) > 0 {
					end()
				}
				runtime.Gosched() // so that all of them have some
			}
			for len(kept) > 0 {
				end()
			}
		})
	}
	crowd.Wait()
	return peak.Load(), refusedAll.Load()
}

// TestCrowd: never over what is held, though more is wanted; all is given back.
func TestCrowd(t *testing.T) {
	b := newHeld(t)
	if most, refused := crowd(b, 64, 1000); most > 40 || refused == 0 || b.Used("ga")+b.Used("gb") != 0 {
		t.Errorf("at most %d of 40 at once, %d refused, %d and %d left; want some refused and none left", most, refused, b.Used("ga"), b.Used("gb"))
	}
	if most, refused := crowd(b, 10, 1000); most > 40 || refused != 0 {
		t.Errorf("30 wanted: at most %d at once, %d refused, want none", most, refused)
	}
}

// BenchmarkSlowNode compares the tail of set-up times in three scenarios: a node so slow that its even
// share drowns it; one that its even share merely strains; and the first again with an operator who
// knows, and gave weights so, both there and here.
func BenchmarkSlowNode(b *testing.B) {
	for _, s := range []struct {
		name   string
		slower float64
		first  int // our weight of the slow node
		others map[string]func(*simple) int
	}{
		{"drowned", 10, 100, contenders(unaware())}, {"strained", 2, 100, contenders(unaware())},
		{"told", 10, 10, map[string]func(*simple) int{"kamailio-weights": contenders(aware())["kamailio-weights"]}},
	} {
		b.Run(s.name, func(b *testing.B) {
			var own []float64
			ratios := make(map[string][]float64)
			for b.Loop() {
				own = nil
				clear(ratios)
				for seed := range uint64(5) {
					p99 := slowNode(newOurs(b, s.first), s.slower, seed)
					own = append(own, p99.Seconds()*1000)
					for name, by := range s.others {
						ratios[name] = append(ratios[name], p99.Seconds()/slowNode(&simple{by: by}, s.slower, seed).Seconds())
					}
				}
			}
			slices.Sort(own)
			b.Logf("figure lb-slow-node-%s-p99 %.4g ms goal - -", s.name, own[2])
			for _, name := range slices.Sorted(maps.Keys(ratios)) {
				slices.Sort(ratios[name])
				b.Logf("figure lb-slow-node-%s-over-%s %.4g x goal < 1", s.name, name, ratios[name][2])
			}
		})
	}
}

// contenders are the common choices; the last one's weights are those percentages.
func contenders(percent [simNodes]int) map[string]func(*simple) int {
	r := rand.New(rand.NewPCG(8, 8))
	return map[string]func(*simple) int{"round-robin": inTurns, "random": atRandom(r), "kamailio-weights": byWeights(r, percent)}
}
