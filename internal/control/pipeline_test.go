package control_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"tandem/internal/control"
)

func TestInOrder(t *testing.T) {
	stop := errors.New("stop")
	double := func(i int) int { return 2 * i }
	numbers := func(yield func(int) bool) {
		for i := range 1000 {
			if !yield(i) {
				return
			}
		}
	}
	t.Run("order", func(t *testing.T) {
		var got []int
		err := control.InOrder(t.Context(), numbers, double, func(o int) error {
			got = append(got, o)
			return nil
		})
		if err != nil || len(got) != 1000 || !slices.IsSorted(got) {
			t.Errorf("inOrder = %v, %d outcomes, sorted %v", err, len(got), slices.IsSorted(got))
		}
	})
	t.Run("an error of consume ends it", func(t *testing.T) {
		n := 0
		err := control.InOrder(t.Context(), numbers, double, func(int) error {
			if n++; n == 3 {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) || n != 3 {
			t.Errorf("inOrder = %v after %d outcomes, want stop after 3", err, n)
		}
	})
	t.Run("the context ends it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		err := control.InOrder(ctx, numbers, double, func(int) error {
			if n++; n == 3 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || n > 100 {
			t.Errorf("inOrder = %v after %d outcomes, want it cancelled", err, n)
		}
	})
	t.Run("a panic of work is the caller's", func(t *testing.T) {
		defer func() {
			if r := recover(); r != "on purpose" {
				t.Errorf("recovered %v", r)
			}
		}()
		err := control.InOrder(t.Context(), numbers, func(i int) int {
			if i == 7 {
				panic("on purpose")
			}
			return i
		}, func(int) error { return nil })
		t.Errorf("inOrder = %v, want a panic", err)
	})
}
