package journal

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"tandem/internal/tandem"
)

// shelf is a Store in memory, in the order of keys.
type shelf struct {
	data map[string]tandem.ZoneDatum
	fail bool
}

func (s *shelf) WriteZoneData(_ context.Context, data []tandem.ZoneDatum) error {
	if s.fail {
		return errors.New("no room")
	}
	for _, d := range data {
		key := func(n uint64) string { return fmt.Sprintf("%s %c %020d", d.Zone, d.Part, n) }
		if d.Octets != nil {
			s.data[key(d.Number)] = d
			continue
		}
		for n := d.Number; n <= max(d.Last, d.Number); n++ {
			delete(s.data, key(n))
		}
	}
	return nil
}

func (s *shelf) ZoneData(_ context.Context, fn func(tandem.ZoneDatum) error) error {
	for n := range uint64(100) { // few enough to look for
		for _, d := range s.data {
			if d.Number == n {
				if err := fn(d); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func load(t *testing.T, s *shelf) (*Journal, tandem.Revision) {
	t.Helper()
	j := New(Limits{})
	var last tandem.Revision
	s.ZoneData(t.Context(), func(d tandem.ZoneDatum) error {
		if mine, r := j.Load(d); mine {
			last = max(last, r)
		}
		return nil
	})
	return j, last
}

func diff(from, to uint32, octets int) Diff {
	return Diff{From: from, To: to, Old: []byte("old"), New: []byte("new"), Removed: make([]byte, octets)}
}

func TestSince(t *testing.T) {
	j := New(Limits{})
	j.Append("a", diff(1, 2, 0))
	j.Append("a", diff(2, 5, 0))
	j.Append("b", diff(7, 8, 0))
	cases := []struct {
		zone   string
		serial uint32
		want   int
		ok     bool
	}{{"a", 1, 2, true}, {"a", 2, 1, true}, {"a", 5, 0, false}, {"a", 3, 0, false}, {"b", 7, 1, true}, {"c", 1, 0, false}}
	for _, c := range cases {
		if got, ok := j.Since(c.zone, c.serial); len(got) != c.want || ok != c.ok {
			t.Errorf("Since(%s, %d) = %d, %v", c.zone, c.serial, len(got), ok)
		}
	}
	j.Append("a", diff(6, 7, 0)) // a gap
	if _, ok := j.Since("a", 2); ok {
		t.Error("differences before a gap still lead to the present")
	}
	if _, ok := j.Since("a", 6); !ok {
		t.Error("the difference after a gap is gone")
	}
}

func TestLimits(t *testing.T) {
	j := New(Limits{Zone: 1000, All: 2500})
	for i := range uint32(10) {
		j.Append("a", diff(i, i+1, 200))
		j.Append("b", diff(i, i+1, 200))
		j.Append("c", diff(i, i+1, 200))
	}
	if octets, _ := j.Stats(); octets > 2500 {
		t.Errorf("%d octets, want at most 2500", octets)
	}
	for _, z := range []string{"a", "b", "c"} {
		if n, octets := j.Size(z); octets > 1000 || n == 0 {
			t.Errorf("zone %s: %d differences, %d octets", z, n, octets)
		}
		if _, ok := j.Since(z, 9); !ok {
			t.Errorf("zone %s lost its last difference", z)
		}
	}
	j.Append("a", diff(10, 11, 2000)) // over the bound by itself
	if n, _ := j.Size("a"); n != 0 {
		t.Errorf("%d differences after one that is too large", n)
	}
}

// TestFlush: what was written is read again, bridges with what follows them; a failed write is made good.
func TestFlush(t *testing.T) {
	s := &shelf{data: map[string]tandem.ZoneDatum{}}
	j := New(Limits{})
	j.Append("a", diff(1, 2, 10))
	s.fail = true
	if err := j.Flush(t.Context(), s, 2); err == nil {
		t.Fatal("no error")
	}
	s.fail = false
	j.Append("a", diff(2, 3, 10))
	if err := j.Flush(t.Context(), s, 3); err != nil {
		t.Fatal(err)
	}
	again, revision := load(t, s)
	if got, ok := again.Since("a", 1); !ok || len(got) != 2 || revision != 3 || len(got[0].Removed) != 10 {
		t.Fatalf("read %d differences, %v, revision %d", len(got), ok, revision)
	}
	again.Bridge("a", diff(3, 9, 0))
	if err := again.Flush(t.Context(), s, 9); err != nil {
		t.Fatal(err)
	}
	third, _ := load(t, s)
	if end, _ := third.End("a"); end != 3 {
		t.Errorf("a bridge was written: end %d", end)
	}
	again.Append("a", diff(9, 10, 0))
	if err := again.Flush(t.Context(), s, 10); err != nil {
		t.Fatal(err)
	}
	third, _ = load(t, s)
	if got, ok := third.Since("a", 1); !ok || len(got) != 4 {
		t.Errorf("read %d differences, want 4", len(got))
	}
	third.Reset("a")
	if err := third.Flush(t.Context(), s, 11); err != nil {
		t.Fatal(err)
	}
	if fourth, _ := load(t, s); len(s.data) != 1 {
		t.Errorf("%d pieces after a reset, want the revision alone; %v", len(s.data), fourth)
	}
}

func FuzzParse(f *testing.F) {
	d := diff(1, 2, 5)
	f.Add(d.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parse(b)
		if err != nil {
			return
		}
		if again, err := parse(d.append(nil)); err != nil || again.To != d.To || string(again.Added) != string(d.Added) {
			t.Errorf("%x: %+v, then %+v, %v", b, d, again, err)
		}
	})
}
