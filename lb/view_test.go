package lb_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
	"tandem/lb"
)

// TestTry: what would be is told, and nothing of it is done; twin: as things are nothing moves.
func TestTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, lb.Config{})
		w.two(100)
		w.settle(w.put(groupOf("g", 60), groupOf("h", 30)))
		before := w.store.clusters()
		for _, c := range []struct {
			name     string
			what     lb.WhatIf
			moves    []lb.Move
			unplaced int
		}{
			{"nothing", lb.WhatIf{}, nil, 0},
			{"a is lost", lb.WhatIf{Lose: []string{"a"}}, []lb.Move{{Group: "g", From: "a", To: "b", Reason: lb.MoveLost}}, 0},
			{"both are", lb.WhatIf{Lose: []string{"a", "b"}}, nil, 2},
			{"a is smaller", lb.WhatIf{Capacity: map[string]int{"a": 50}}, []lb.Move{{Group: "g", From: "a", To: "b", Reason: lb.MoveRoom}}, 0},
			{"h grows too much", lb.WhatIf{Expected: map[string]int{"h": 101}}, nil, 1},
		} {
			trial, err := w.planner.Try(c.what)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.moves, trial.Moves); diff != "" || len(trial.Unplaced) != c.unplaced {
				t.Errorf("%s: %s, %+v left out, want %d", c.name, diff, trial.Unplaced, c.unplaced)
			}
		}
		if diff := cmp.Diff(before, w.store.clusters()); diff != "" {
			t.Errorf("trying changed something: %s", diff)
		}
		for field, what := range map[string]lb.WhatIf{
			"lose[0]":    {Lose: []string{"z"}},
			"capacity.z": {Capacity: map[string]int{"z": 1}}, "capacity.a": {Capacity: map[string]int{"a": -1}},
			"expected.z": {Expected: map[string]int{"z": 1}}, "expected.g": {Expected: map[string]int{"g": 1 << 40}},
		} {
			var bad tandem.FieldError
			if _, err := w.planner.Try(what); !errors.As(err, &bad) || bad.Field != field {
				t.Errorf("Try(%+v) = %v, want a fault of %s", what, err, field)
			}
		}
	})
}

// TestPolicy: a spread below one cannot be meant.
func TestPolicy(t *testing.T) {
	for spread, good := range map[float64]bool{0: true, 1.2: true, 1: true, 0.5: false, -1: false, 1e9: false} {
		if err := (lb.Config{Policy: lb.Policy{Spread: spread}}).Validate(); (err == nil) != good {
			t.Errorf("spread %v: %v, want good %v", spread, err, good)
		}
	}
}
