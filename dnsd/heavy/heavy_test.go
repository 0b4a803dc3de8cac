package heavy

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestSketchKeepsItsPromises holds random streams against exact counts: who has more than 1/k of all is
// found, no count is too low, none is too high by more than its error, and memory is fixed.
func TestSketchKeepsItsPromises(t *testing.T) {
	const k = 50
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		zipf := rand.NewZipf(r, 1.1, 1, 5000)
		s, exact := New(k), map[string]uint64{}
		for range 20_000 {
			key, weight := fmt.Sprint(zipf.Uint64()), 1+r.Uint64N(3)
			s.Add([]byte(key), weight)
			exact[key] += weight
		}
		var total uint64
		for _, n := range exact {
			total += n
		}
		if s.Total() != total {
			t.Fatalf("Total = %d, want %d", s.Total(), total)
		}
		found := map[string]Item{}
		for _, item := range s.Top(1 << 20) {
			found[item.Key] = item
			if n := exact[item.Key]; item.Count < n || item.Count-item.Error > n {
				t.Errorf("seed %d: %+v, counted %d", seed, item, n)
			}
		}
		if len(found) != k || len(s.byKey) != k {
			t.Errorf("seed %d: %d counters, %d keys, want %d", seed, len(found), len(s.byKey), k)
		}
		for key, n := range exact {
			if _, ok := found[key]; !ok && n > total/k {
				t.Errorf("seed %d: %s with %d of %d is not found", seed, key, n, total)
			}
		}
	}
}

// TestSketchWithRoomIsExact: with a counter for each key nothing is estimated; twin: with one less, something is.
func TestSketchWithRoomIsExact(t *testing.T) {
	for _, c := range []struct {
		name string
		most int
		want string
	}{
		{"room", 3, "[{a 3 0} {b 2 0} {c 1 0}]"},
		{"one too few", 2, "[{a 3 0} {c 3 2}]"},
		{"none", 0, "[{c 6 5}]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(c.most)
			for _, key := range []string{"a", "a", "a", "b", "b", "c"} {
				s.Add([]byte(key), 1)
			}
			if got := fmt.Sprint(s.Top(10)); got != c.want {
				t.Errorf("Top = %s, want %s", got, c.want)
			}
			if got := len(s.Top(1)); got != 1 {
				t.Errorf("Top(1) has %d", got)
			}
		})
	}
}
