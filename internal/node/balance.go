package node

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"tandem/internal/tandem"
	"tandem/lb"
)

// buildLB makes both tiers of balancing, as one part. It comes before those that ask it, so that it
// has each change first.
func (b *builder) buildLB() (err error) {
	cfg, deps := lb.Config{}, lb.Deps{}
	if b.cfg.LB != nil {
		cfg = b.cfg.LB.Config
		if b.cfg.LB.Leases != nil {
			if deps.Leases, err = b.buildLeases(*b.cfg.LB.Leases); err != nil {
				return err
			}
		}
	}
	if b.balancer, err = lb.New(cfg, deps, b.log); err != nil {
		return err
	}
	if b.leases != nil {
		b.leases.Bind(b.balancer)
	}
	if b.planner, err = lb.NewPlanner(cfg, lb.PlannerDeps{Balancer: b.balancer, Store: b.store}, b.log); err != nil {
		return err
	}
	b.mu.Lock()
	b.settled = b.planner.Settled
	b.mu.Unlock()
	b.parts = append(b.parts, part{
		name: "lb", run: b.runLB, apply: b.planner.Apply, restored: b.planner.Restored,
		metrics: func(emit func(tandem.Sample)) {
			b.balancer.Metrics(emit)
			b.planner.Metrics(emit)
		},
	})
	return nil
}

// buildLeases makes the end of leases that is configured, as a part of its own.
func (b *builder) buildLeases(cfg Leases) (lb.Leases, error) {
	leases, whole, err := newLeases(cfg, b.store, b.succession.sockets, b.log)
	if err != nil {
		return nil, err
	}
	run := whole.run
	whole.run = func(ctx context.Context) error { return afterTakeUp(b.sip, run)(ctx) } // sip is built later
	b.leases = leases
	b.parts = append(b.parts, whole)
	return leases, nil
}

func (b *builder) runLB(ctx context.Context) error {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return b.balancer.Run(ctx) })
	both.Go(func() error { return b.planner.Run(ctx) })
	if b.health != nil {
		both.Go(func() error { return tellHealth(ctx, b.balancer, b.health) })
	}
	return both.Wait()
}

// tellHealth tells how the nodes stand whenever that has changed, until ctx ends.
func tellHealth(ctx context.Context, balancer *lb.Balancer, tell func([]tandem.NodeHealth)) error {
	const often = 250 * time.Millisecond
	ticker := time.NewTicker(often)
	defer ticker.Stop()
	var told []tandem.NodeHealth
	for {
		now := balancer.Table().Health()
		slices.SortFunc(now, func(x, y tandem.NodeHealth) int { return cmp.Compare(x.Node, y.Node) })
		if !slices.Equal(now, told) {
			tell(now)
			told = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// reportLoad takes a node's load so that the next look shows it.
func (b *builder) reportLoad(node string, load float64) {
	b.balancer.Reported(node, load)
	b.balancer.Look()
}
