package directory

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// TestTable compares a table with a map through random changes.
func TestTable(t *testing.T) {
	type entry struct{ key, value uint64 }
	table := newTable[entry]()
	model := make(map[uint64]*entry)
	rng := rand.New(rand.NewPCG(1, 2))
	// Few bits of hash, so that entries collide in slot, shard and hash.
	hash := func(key uint64) uint64 { return key%7<<32 | key%13<<28 }
	find := func(key uint64) *entry {
		return table.get(hash(key), func(e *entry) bool { return e.key == key })
	}
	for i := range 20000 {
		key := rng.Uint64N(300)
		var fresh *entry
		if rng.IntN(3) > 0 {
			fresh = &entry{key, uint64(i)}
		}
		if old := find(key); old != nil || fresh != nil {
			table.replace(hash(key), old, fresh)
		}
		if fresh == nil {
			delete(model, key)
		} else {
			model[key] = fresh
		}
		probe := rng.Uint64N(300)
		if got := find(probe); got != model[probe] {
			t.Fatalf("step %d: get(%d) = %v, want %v", i, probe, got, model[probe])
		}
	}
	if got := int(table.live.Load()); got != len(model) {
		t.Errorf("live = %d, want %d", got, len(model))
	}
}

// TestTableReaders looks up entries that never change while others come and go around them.
func TestTableReaders(t *testing.T) {
	table := newTable[uint64]()
	keys := make([]uint64, 2000)
	for i := range keys {
		keys[i] = uint64(i)
	}
	for i := range 500 {
		table.put(spread(keys[i]), &keys[i])
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for i := uint64(0); ; i = (i + 1) % 500 {
				if table.get(spread(i), func(p *uint64) bool { return *p == i }) == nil {
					t.Errorf("entry %d was lost", i)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for range 5 {
		for i := 500; i < len(keys); i++ {
			table.put(spread(keys[i]), &keys[i])
		}
		for i := 500; i < len(keys); i++ {
			table.replace(spread(keys[i]), &keys[i], nil)
		}
	}
	close(done)
	readers.Wait()
}

func FuzzPackNumber(f *testing.F) {
	for _, s := range []string{"+1", "+4930123456", "+000000000000001", "+999999999999999", "1", "+", "+12a", "+1234567890123456"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n := packNumber(s)
		if n == 0 {
			return
		}
		if got := unpackNumber(n); got != s {
			t.Errorf("unpackNumber(packNumber(%q)) = %q", s, got)
		}
	})
}
