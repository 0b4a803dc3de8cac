package control

import (
	"context"
	"iter"
	"runtime"
	"slices"
	"sync"
)

// job is one value on its way through inOrder.
type job[I, O any] struct {
	in    I
	out   chan O
	panic chan any
}

// do works on the value; a panic is handed on like an outcome.
func (j job[I, O]) do(work func(I) O) {
	defer func() {
		if r := recover(); r != nil {
			j.panic <- r
		}
	}()
	j.out <- work(j.in)
}

// inOrder gives each value of in to work, on as many goroutines as there are processors, and the
// outcomes to consume in the order of in. At most a few values are under way at once. It returns
// when all has been consumed, consume has returned an error, or ctx has ended; by then its
// goroutines have too. A panic of work becomes one of the caller's.
func inOrder[I, O any](ctx context.Context, in iter.Seq[I], work func(I) O, consume func(O) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	jobs, queue := make(chan job[I, O]), make(chan job[I, O], 2*workers)
	for range workers {
		wait.Go(func() {
			for j := range jobs {
				j.do(work)
			}
		})
	}
	wait.Go(func() {
		defer close(jobs)
		defer close(queue)
		for v := range in {
			j := job[I, O]{in: v, out: make(chan O, 1), panic: make(chan any, 1)}
			for _, to := range []chan job[I, O]{queue, jobs} {
				select {
				case to <- j:
				case <-ctx.Done():
					return
				}
			}
		}
	})
	for j := range queue {
		select {
		case o := <-j.out:
			if err := consume(o); err != nil {
				return err
			}
		case r := <-j.panic:
			panic(r)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// grouped yields the values of in as slices of n, the last one shorter.
func grouped[V any](in iter.Seq[V], n int) iter.Seq[[]V] {
	return func(yield func([]V) bool) {
		group := make([]V, 0, n)
		for v := range in {
			if group = append(group, v); len(group) < n {
				continue
			}
			if !yield(group) {
				return
			}
			group = make([]V, 0, n)
		}
		if len(group) > 0 {
			yield(slices.Clip(group))
		}
	}
}
