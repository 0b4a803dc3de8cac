package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// exchange keeps the phones registered and lets them call one another.
type exchange struct {
	phones []*phone
	cfg    Config
	log    *slog.Logger
	work   sync.WaitGroup

	registered, made, answered, failed, up atomic.Int64
}

const (
	registerFor  = 2 * time.Minute
	registerWait = 5 * time.Second  // between attempts that fail
	reportEvery  = 10 * time.Second // between two lines of figures
	callsMost    = 4                // at once
	callWait     = 15 * time.Second // until an answer
)

func newExchange(all []*phone, cfg Config, log *slog.Logger) *exchange {
	return &exchange{phones: all, cfg: cfg, log: log}
}

// register registers every phone once, so that what is printed next is true.
func (x *exchange) register(ctx context.Context) error {
	for _, p := range x.phones {
		if err := x.registerFirst(ctx, p); err != nil {
			return fmt.Errorf("lab: register %s at %s: %w", p.ID, p.Domain, err)
		}
		x.registered.Add(1)
	}
	return nil
}

// registerFirst registers p, again as long as the server is still starting. A refusal is an error:
// nothing of the lab would work.
func (x *exchange) registerFirst(ctx context.Context, p *phone) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	for {
		_, err := p.Register(ctx, registerFor)
		var refused *StatusError
		if err == nil || errors.As(err, &refused) && refused.Code != 503 {
			return err
		}
		x.log.Debug("not registered yet", "phone", p.ID, "err", err)
		if !pause(ctx, 100*time.Millisecond) {
			return err
		}
	}
}

// run refreshes registrations, makes calls and reports until ctx ends, and waits for what it began.
func (x *exchange) run(ctx context.Context) {
	for _, p := range x.phones {
		x.work.Go(func() { x.keepRegistered(ctx, p) })
	}
	if x.cfg.Pause > 0 {
		x.work.Go(func() { x.keepCalling(ctx) })
	}
	report := time.NewTicker(reportEvery)
	defer report.Stop()
	for ctx.Err() == nil {
		select {
		case now := <-report.C:
			fmt.Fprintln(x.cfg.Out, now.Format("15:04:05"), x)
		case <-ctx.Done():
		}
	}
	x.work.Wait()
}

// String is the line of figures.
func (x *exchange) String() string {
	return fmt.Sprintf("calls: %d made, %d answered, %d failed, %d up; phones registered: %d of %d",
		x.made.Load(), x.answered.Load(), x.failed.Load(), x.up.Load(), x.registered.Load(), len(x.phones))
}

// keepRegistered refreshes p's registration at half its time, sooner after a failure.
func (x *exchange) keepRegistered(ctx context.Context, p *phone) {
	bound, wait := true, registerFor/2
	for pause(ctx, wait) {
		trying, cancel := context.WithTimeout(ctx, registerWait)
		granted, err := p.Register(trying, registerFor)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if (err == nil) != bound {
			bound = err == nil
			x.registered.Add(map[bool]int64{true: 1, false: -1}[bound])
		}
		wait = granted / 2
		if err != nil {
			x.log.Debug("not registered", "phone", p.ID, "err", err)
			wait = registerWait
		}
	}
}

// keepCalling begins a call every now and then.
func (x *exchange) keepCalling(ctx context.Context) {
	for wait := x.cfg.Pause / 4; pause(ctx, wait); wait = jitter(x.cfg.Pause) {
		if x.up.Load() >= callsMost {
			continue
		}
		i := rand.IntN(len(x.phones))
		j := (i + 1 + rand.IntN(len(x.phones)-1)) % len(x.phones)
		x.up.Add(1)
		x.work.Go(func() {
			defer x.up.Add(-1)
			x.call(ctx, x.phones[i], x.phones[j])
		})
	}
}

// call makes one call, talks for two to four seconds, and hangs up.
func (x *exchange) call(ctx context.Context, from, to *phone) {
	x.made.Add(1)
	dial := to.Extension
	if from.Account != to.Account {
		dial += "@" + to.Dialled
	}
	ringing, cancel := context.WithTimeout(ctx, callWait)
	defer cancel()
	s, err := from.Call(ringing, dial)
	if err != nil {
		if ctx.Err() == nil {
			x.failed.Add(1)
			x.log.Debug("call failed", "from", from.ID, "to", dial, "err", err)
		}
		return
	}
	x.answered.Add(1)
	talk := time.NewTimer(2*time.Second + rand.N(2*time.Second))
	defer talk.Stop()
	select {
	case <-talk.C:
	case <-s.Done():
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWait)
	defer cancel()
	if err := s.Hangup(closing); err != nil {
		x.log.Debug("hang up", "from", from.ID, "to", dial, "err", err)
	}
}

// jitter spreads d by half of it either way.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
