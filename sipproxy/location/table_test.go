package location

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/tandem"
)

func TestSweep(t *testing.T) {
	table, store := New(Config{}), newShelf()
	for i := range 1000 {
		r := register("x", 1, contact("sip:a@b", int64(60+i)))
		r.Account = fmt.Sprint("acct", i)
		if _, err := table.Update(start, r, store.persist); err != nil {
			t.Fatal(err)
		}
	}
	sweep := func(at time.Duration) int {
		total := 0
		for range shardCount / sweepShards {
			n, err := table.Sweep(start.Add(at), 1_000_000, store.remove)
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
		store.agrees(t, table)
		return total
	}
	if n := sweep(59 * time.Second); n != 0 {
		t.Errorf("%d were swept before their end", n)
	}
	if n := sweep(69 * time.Second); n != 10 {
		t.Errorf("%d were swept, want 10", n)
	}
	store.fail = errors.New("disk full")
	if _, err := table.Sweep(start.Add(time.Hour), 1_000_000, store.remove); !errors.Is(err, store.fail) {
		t.Errorf("Sweep = %v, want the store's error", err)
	}
	store.fail = nil
	store.agrees(t, table)
	if n := sweep(time.Hour); n != 990 || table.Len() != 0 {
		t.Errorf("%d were swept, %d left, want 990 and 0", n, table.Len())
	}
}

// TestSweepLimit holds that a call ends near its limit and the next goes on behind it.
func TestSweepLimit(t *testing.T) {
	table := New(Config{})
	for i := range 3000 {
		table.Load(start, tandem.Binding{Account: fmt.Sprint("acct", i), AOR: "a", Contact: "sip:a", Expires: start})
	}
	most, calls := 0, 0
	for ; table.Len() > 0 && calls < 100; calls++ {
		n, err := table.Sweep(start.Add(time.Second), 100, func([]tandem.Binding) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, n)
	}
	if table.Len() > 0 || most > 200 || calls < 15 {
		t.Errorf("%d calls, at most %d a call, %d left", calls, most, table.Len())
	}
}

func TestLoad(t *testing.T) {
	table, store := New(Config{}), newShelf()
	r := register("x", 1, contact("sip:a@b", 600), contact("sip:c@d", 60))
	if _, err := table.Update(start, r, store.persist); err != nil {
		t.Fatal(err)
	}
	again := New(Config{})
	later := start.Add(100 * time.Second)
	for _, b := range store.kept {
		again.Load(later, b)
	}
	store.agrees(t, again)
	if got := show(later, again.Lookup(later, "1001", "alice")); got != "sip:a@b=500" {
		t.Errorf("Lookup after a restart = %q", got)
	}
	if _, err := again.Update(later, register("x", 1, contact("sip:a@b", 600)), store.persist); !errors.Is(err, ErrOrder) {
		t.Errorf("an old CSeq after a restart: %v, want ErrOrder", err)
	}
	if n, err := again.Sweep(later, 10, store.remove); n != 1 || err != nil {
		t.Errorf("Sweep = %d, %v, want what ended while the process was away", n, err)
	}
	store.agrees(t, again)
}

// TestHashCollision puts addresses of record under one hash.
func TestHashCollision(t *testing.T) {
	s := &shard{entries: make(map[uint64]*entry)}
	names := []string{"a", "b", "c"}
	for _, n := range names {
		s.entries[1] = &entry{account: "x", aor: n, next: s.entries[1]}
	}
	for i, n := range []string{"b", "c", "a"} {
		s.remove(1, s.find(1, "x", n))
		if s.find(1, "x", n) != nil {
			t.Errorf("%s is found after its removal", n)
		}
		left := 0
		for _, other := range names {
			if s.find(1, "x", other) != nil {
				left++
			}
		}
		if left != 2-i {
			t.Errorf("%d are left, want %d", left, 2-i)
		}
	}
	if len(s.entries) != 0 {
		t.Error("an empty chain is kept")
	}
}

// TestAtOnce registers, looks up and sweeps from several goroutines; store and table must agree in the
// end, and no address of record may ever have more than its number of contacts.
func TestAtOnce(t *testing.T) {
	table, store := New(Config{PerAOR: 3, Min: time.Second}), newShelf()
	var all sync.WaitGroup
	var clock atomic.Int64
	now := func() time.Time { return start.Add(time.Duration(clock.Add(1)) * 10 * time.Millisecond) }
	for g := range 4 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 3))
			for i := range 1500 {
				r := register(fmt.Sprint("call", g), uint32(i), contact(fmt.Sprintf("sip:a@%d", rng.IntN(6)), int64(rng.IntN(4))))
				r.AOR = fmt.Sprint("aor", rng.IntN(5))
				r.Star = rng.IntN(20) == 0
				if r.Star {
					r.Contacts = nil
				}
				got, err := table.Update(now(), r, store.persist)
				if err != nil && !errors.Is(err, ErrOrder) {
					t.Error(err)
				}
				if len(got) > 3 || len(table.Lookup(now(), "1001", r.AOR)) > 3 {
					t.Errorf("%d contacts for one address of record", len(got))
				}
				if i%10 == 0 {
					if _, err := table.Sweep(now(), 1000, store.remove); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	store.agrees(t, table)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkBindingOctets reports what one binding costs in memory, its texts included.
func BenchmarkBindingOctets(b *testing.B) {
	const n = 100_000
	for range b.N {
		before := heap()
		table := New(Config{})
		for i := range n {
			table.Load(start, tandem.Binding{
				Account: fmt.Sprint("acct", i/10), Device: fmt.Sprint("device", i), AOR: fmt.Sprint("phone", i),
				Contact:   fmt.Sprintf("sip:phone%d@10.%d.%d.1:5060;transport=udp", i, i/256%256, i%256),
				Source:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 5060),
				Transport: tandem.UDP, Listener: "access", CallID: fmt.Sprintf("%016x@10.0.0.1", i), CSeq: 1,
				UserAgent: "phone/1.0", Edge: "e1", Q: 1000, Expires: start.Add(time.Hour), Updated: start,
			})
		}
		b.ReportMetric(float64(heap()-before)/n, "octets/binding")
		runtime.KeepAlive(table)
	}
}

func BenchmarkRefresh(b *testing.B) {
	table := New(Config{})
	none := func(_, _ []tandem.Binding) error { return nil }
	r := register("x", 0, contact("sip:alice@10.0.0.1:5060;transport=udp", 600))
	b.ReportAllocs()
	for b.Loop() {
		r.CSeq++
		if _, err := table.Update(start, r, none); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	table := New(Config{})
	none := func(_, _ []tandem.Binding) error { return nil }
	if _, err := table.Update(start, register("x", 1, contact("sip:alice@10.0.0.1", 600)), none); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(table.Lookup(start, "1001", "alice")) != 1 {
			b.Fatal("not found")
		}
	}
}

// BenchmarkSweep shows what a second costs when nothing ends among 100,000 bindings.
func BenchmarkSweep(b *testing.B) {
	table := New(Config{})
	for i := range 100_000 {
		table.Load(start, tandem.Binding{Account: fmt.Sprint(i), AOR: "a", Contact: "sip:a", Expires: start.Add(time.Hour)})
	}
	for b.Loop() {
		table.Sweep(start, 1000, func([]tandem.Binding) error { return nil })
	}
}
