package node

import (
	"context"

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
	if b.keeper, err = lb.NewKeeper(b.balancer, b.store, b.log); err != nil {
		return err
	}
	b.teller = newTeller(b.balancer)
	b.mu.Lock()
	b.settled = b.planner.Settled
	b.mu.Unlock()
	b.parts = append(b.parts, part{
		name: "lb", run: b.runLB,
		apply: func(changes []tandem.Change) {
			b.planner.Apply(changes)
			b.keeper.Apply(changes)
		},
		restored: func(revision tandem.Revision) {
			b.planner.Restored(revision)
			b.teller.tell() // before the first answer
		},
		metrics: func(emit func(tandem.Sample)) {
			b.balancer.Metrics(emit)
			b.planner.Metrics(emit)
			b.keeper.Metrics(emit)
		},
	})
	return nil
}

// buildLeases makes the end of leases that is configured, as a part of its own.
func (b *builder) buildLeases(cfg Leases) (lb.Leases, error) {
	leases, whole, err := newLeases(cfg, b.store, b.log)
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
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return b.balancer.Run(ctx) })
	all.Go(func() error { return b.planner.Run(ctx) })
	all.Go(func() error { return b.keeper.Run(ctx) })
	all.Go(func() error { return b.teller.run(ctx) })
	return all.Wait()
}

// reportLoad takes a node's load so that the next look shows it.
func (b *builder) reportLoad(node string, load float64) {
	b.balancer.Reported(node, load)
	b.balancer.Look()
}
