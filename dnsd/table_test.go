package dnsd

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestTableIsAMap does the same to a table and to a map, many times.
func TestTableIsAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	table, want := newTable(), map[string]entry{}
	tails := map[string]string{}
	for i := range 200_000 {
		key := fmt.Sprint("key", r.IntN(3000))
		switch r.IntN(4) {
		case 0:
			table.delete([]byte(key))
			delete(want, key)
			delete(tails, key)
		case 1:
			row, ok := want[key]
			if ok {
				table.deleteOwned(table.hash([]byte(key)), row.b)
				delete(want, key)
				delete(tails, key)
			}
		default:
			e := entry{a: uint32(i), b: uint32(i) * 7, tag: uint8(i)}
			tail := fmt.Sprint(i)[:r.IntN(len(fmt.Sprint(i)))]
			table.put([]byte(key), []byte(tail), e)
			want[key], tails[key] = e, tail
		}
	}
	if int(table.rows.Load()) != len(want) {
		t.Errorf("%d rows, want %d", table.rows.Load(), len(want))
	}
	for i := range 3000 {
		key := fmt.Sprint("key", i)
		got, ok := table.get([]byte(key))
		expected, there := want[key]
		if ok != there || ok && (got.a != expected.a || got.b != expected.b || got.tag != expected.tag) {
			t.Fatalf("get(%s) = %+v, %v, want %+v, %v", key, got, ok, expected, there)
		}
		if _, tail, _ := table.getTail([]byte(key)); string(tail) != tails[key] {
			t.Fatalf("getTail(%s) = %q, want %q", key, tail, tails[key])
		}
	}
}

func TestDirectoryGrows(t *testing.T) {
	var d directory[int]
	if d.get(5) != nil || d.get(1_000_000) != nil {
		t.Error("an empty directory holds something")
	}
	for _, i := range []uint32{0, 255, 256, 100_000} {
		v := int(i)
		d.set(i, &v)
	}
	for _, i := range []uint32{0, 255, 256, 100_000} {
		if got := d.get(i); got == nil || *got != int(i) {
			t.Errorf("get(%d) = %v", i, got)
		}
	}
	d.set(256, nil)
	if d.get(256) != nil || d.get(257) != nil {
		t.Error("removed and never set numbers hold something")
	}
}
