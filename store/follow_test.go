package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
)

// model is a plain map that does what a store does to objects.
type model map[objectKey]tandem.Object

func (m model) apply(changes []tandem.Change) {
	for _, ch := range changes {
		if ch.Object == nil {
			delete(m, objectKey{ch.Kind, ch.ID})
		} else {
			m[objectKey{ch.Kind, ch.ID}] = ch.Object
		}
	}
}

// commit does what an accepted edit does; the store leaves the caller's object as it is.
func (m model) commit(e tandem.Edit, rev tandem.Revision) {
	if e.Object != nil {
		e.Object.Header().Revision = rev
	}
	m.apply([]tandem.Change{{Kind: e.Kind, ID: e.ID, Object: e.Object}})
}

func snapshotOf(t *testing.T, s *Store) (model, tandem.Revision) {
	t.Helper()
	m := make(model)
	rev, err := s.Snapshot(context.Background(), func(c []tandem.Change) error { m.apply(c); return nil })
	if err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	return m, rev
}

// followTo applies to m what follows after a revision, up to another.
func followTo(t *testing.T, s *Store, m model, after, to tandem.Revision) {
	t.Helper()
	if after == to {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := s.Follow(ctx, after, func(changes []tandem.Change) error {
		for i, ch := range changes {
			if after == to {
				changes = changes[:i]
				break
			}
			if after++; ch.Revision != after {
				t.Errorf("Follow gave revision %d, want %d", ch.Revision, after)
			}
		}
		m.apply(changes)
		if after >= to {
			cancel()
		}
		return nil
	})
	if err != nil || after != to {
		t.Fatalf("Follow ended at %d, want %d: %v", after, to, err)
	}
}

// randomEdit changes or deletes one of a few accounts, users and devices.
func randomEdit(r *rand.Rand) tandem.Edit {
	acct := fmt.Sprintf("a%d", r.IntN(6))
	switch r.IntN(10) {
	case 0, 1, 2:
		a := account(acct)
		a.Name = fmt.Sprint(r.IntN(1000))
		for range r.IntN(3) {
			a.Numbers = append(a.Numbers, fmt.Sprintf("+49%d", r.IntN(8)))
		}
		return put(a)
	case 3, 4:
		return put(&tandem.User{Head: head(fmt.Sprintf("u%d", r.IntN(6))), Account: acct, Extension: fmt.Sprint(r.IntN(4))})
	case 5, 6:
		d := device(fmt.Sprintf("d%d", r.IntN(6)), acct)
		if r.IntN(2) == 0 {
			d.User = fmt.Sprintf("u%d", r.IntN(6))
		}
		return put(d)
	case 7:
		return remove(tandem.KindAccount, acct)
	case 8:
		return remove(tandem.KindUser, fmt.Sprintf("u%d", r.IntN(6)))
	}
	return remove(tandem.KindDevice, fmt.Sprintf("d%d", r.IntN(6)))
}

// TestModel gives random edits to a store in single batches, follows what it accepts with a plain
// map, and then gives the accepted ones to a second store in batches cut at random. Stores, map,
// snapshots, and followers from any revision must agree.
func TestModel(t *testing.T) {
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 7))
		one, other := openMemory(t), openMemory(t)
		want, accepted := make(model), ground()
		mustAppend(t, one, ground()...)
		for i, e := range ground() {
			want.commit(e, tandem.Revision(i+1))
		}
		states := []tandem.Revision{}
		var early model
		for range 400 {
			e := randomEdit(r)
			if _, err := one.Append(context.Background(), admin, []tandem.Edit{e}); err != nil {
				checkRefusal(t, want, e, err)
				continue
			}
			accepted = append(accepted, e)
			want.commit(e, tandem.Revision(len(accepted)))
			if len(accepted) == 60 {
				early, _ = snapshotOf(t, one)
			}
		}
		for rest := accepted; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN(40))
			states = append(states, mustAppend(t, other, rest[:n]...))
			rest = rest[n:]
		}
		got, last := snapshotOf(t, one)
		compareModels(t, "snapshot and model", got, want)
		a, b := verify(t, one), verify(t, other)
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("seed %d: single batches and batches cut at random differ:\n%s", seed, diff)
		}
		followTo(t, one, early, 60, last)
		compareModels(t, "an early snapshot followed to the end", early, got)
		for range 5 {
			from := states[r.IntN(len(states))]
			m := make(model)
			followTo(t, other, m, 0, from)
			followTo(t, other, m, from, last)
			compareModels(t, fmt.Sprintf("follow from 0 to %d and on", from), m, got)
		}
	}
}

// checkRefusal checks that the model would not have taken the edit either.
func checkRefusal(t *testing.T, m model, e tandem.Edit, err error) {
	t.Helper()
	_, exists := m[objectKey{e.Kind, e.ID}]
	if e.Object == nil && !exists && errors.Is(err, tandem.ErrNotFound) {
		return
	}
	next := maps.Clone(m)
	next.apply([]tandem.Change{{Kind: e.Kind, ID: e.ID, Object: e.Object}})
	claims := make(map[claimName]objectKey)
	for k, o := range next {
		for _, ref := range o.Refs() {
			to, ok := next[objectKey{ref.Kind, ref.ID}]
			if !ok || to.Owner() != "" && o.Owner() != "" && to.Owner() != o.Owner() {
				return
			}
		}
		for _, c := range o.Claims() {
			if h, taken := claims[claimName{c.Space, c.Name}]; taken && h != k {
				return
			}
			claims[claimName{c.Space, c.Name}] = k
		}
	}
	t.Errorf("refused without a reason that the model knows: %v", err)
}

func compareModels(t *testing.T, what string, got, want model) {
	t.Helper()
	keys := func(m model) []string {
		var k []string
		for key := range m {
			k = append(k, key.String())
		}
		slices.Sort(k)
		return k
	}
	if diff := cmp.Diff(keys(want), keys(got)); diff != "" {
		t.Fatalf("%s differ in what they hold:\n%s", what, diff)
	}
	addresses := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	for k, o := range want {
		if diff := cmp.Diff(o, got[k], addresses); diff != "" {
			t.Errorf("%s differ in %s:\n%s", what, k, diff)
		}
	}
}

func TestFollowIsWoken(t *testing.T) {
	s := openMemory(t)
	ctx, cancel := context.WithCancel(context.Background())
	got, done := make(chan tandem.Change, 100), make(chan error)
	go func() {
		done <- s.Follow(ctx, 0, func(c []tandem.Change) error {
			for _, ch := range c {
				got <- ch
			}
			return nil
		})
	}()
	last := mustAppend(t, s, ground()...)
	for r := tandem.Revision(1); r <= last; r++ {
		if ch := <-got; ch.Revision != r || ch.Actor != "test" || ch.Time.IsZero() || ch.Object.Header().Revision != r {
			t.Errorf("Follow gave %+v, want revision %d by test", ch, r)
		}
	}
	mustAppend(t, s, put(account("1001")))
	if ch := <-got; ch.ID != "1001" {
		t.Errorf("Follow gave %+v, want account 1001", ch)
	}
	mustAppend(t, s, remove(tandem.KindAccount, "1001"))
	if ch := <-got; ch.ID != "1001" || ch.Object != nil {
		t.Errorf("Follow gave %+v, want the deletion of 1001", ch)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Follow at the end of its context = %v, want nil", err)
	}
}

// TestFollowGivesWholeBatches checks that no call ends within a batch.
func TestFollowGivesWholeBatches(t *testing.T) {
	s := openMemory(t)
	fill(t, s, 2500)
	ends := map[tandem.Revision]bool{1000: true, 2000: true, 2506: true}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := s.Follow(ctx, 0, func(c []tandem.Change) error {
		if end := c[len(c)-1].Revision; !ends[end] {
			t.Errorf("a call ends at revision %d, within a batch", end)
		} else if end == 2506 {
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTrimmed(t *testing.T) {
	s, err := Config{Retain: 80}.OpenMemory(quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustAppend(t, s, ground()...)
	for i := range 200 {
		mustAppend(t, s, put(account(fmt.Sprintf("a%d", i))))
	}
	_, last := s.Info()
	if r := verify(t, s); r.Changes < 80 || r.Changes > 90 {
		t.Errorf("the log keeps %d changes, want 80 to 90", r.Changes)
	}
	ctx := context.Background()
	for _, after := range []tandem.Revision{0, 50, last - 91, last + 1} {
		err := s.Follow(ctx, after, func([]tandem.Change) error { return errors.New("called") })
		if !errors.Is(err, ErrTrimmed) || !strings.Contains(err.Error(), "take a snapshot") {
			t.Errorf("Follow after %d = %v, want ErrTrimmed", after, err)
		}
	}
	m := make(model)
	followTo(t, s, m, last-80, last)
}

// TestCloseLeavesNoGoroutine opens a store with everything under way, closes it, and counts.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	s, err := Open(t.TempDir(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, 10)
	done := make(chan error)
	_, last := s.Info()
	go func() { done <- s.Follow(context.Background(), last, func([]tandem.Change) error { return nil }) }()
	if err := s.PutBindings(context.Background(), []tandem.Binding{binding(1)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("Follow of a closed store = %v, want ErrClosed", err)
	}
	if _, err := s.Append(context.Background(), admin, ground()); !errors.Is(err, ErrClosed) {
		t.Errorf("Append to a closed store = %v, want ErrClosed", err)
	}
	if err := s.PutBindings(context.Background(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("PutBindings to a closed store = %v, want ErrClosed", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	stacks := make([]byte, 1<<16)
	t.Errorf("%d goroutines before Open, %d after Close:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
}
