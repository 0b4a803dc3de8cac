package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"tandem/internal/control"
)

// Run starts the nodes, applies the example objects to the server at cfg.Socket, starts the phones
// and lets them call one another until ctx ends; then the phones hang up and unregister, and the
// nodes end. The server must go on serving until Run has returned.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	log = log.With("part", "lab")
	nodes, err := startNodes(cfg, log)
	if err != nil {
		return err
	}
	defer nodes.stop()
	phones, err := startPhones(cfg, log)
	if err != nil {
		return err
	}
	defer phones.stop()
	client := control.NewClient(cfg.Socket)
	defer client.Close()
	if err := apply(ctx, client, cfg); err != nil {
		return ended(ctx, err)
	}
	x := newExchange(phones.all, cfg, log)
	if err := x.register(ctx); err != nil {
		return ended(ctx, err)
	}
	fmt.Fprint(cfg.Out, text(Tries(cfg)))
	x.run(ctx)
	return nil
}

// ended drops an error that only says that ctx has ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// readyWait bounds how long the server may take until its control socket answers.
const readyWait = 30 * time.Second

// apply waits until the server answers, gives it the example objects, and returns once every part
// serves them.
func apply(ctx context.Context, client *control.Client, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	documents, err := Objects(cfg)
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := client.Status(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, control.ErrUnreachable) {
			return fmt.Errorf("lab: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("lab: %w", err)
		}
	}
	done, err := client.Apply(ctx, "telco.yaml", bytes.NewReader(documents), func(control.Event) {})
	if err == nil {
		err = client.Wait(ctx, done.Revision)
	}
	if err != nil {
		return fmt.Errorf("lab: apply the example objects: %w", err)
	}
	return nil
}

// running is parts that run until stop.
type running struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// part is what a node and a phone have in common.
type part interface {
	Listen() error
	Run(ctx context.Context) error
}

// start binds p and runs it.
func (r *running) start(ctx context.Context, p part, log *slog.Logger) error {
	if err := p.Listen(); err != nil {
		return err
	}
	r.ended.Go(func() {
		if err := p.Run(ctx); err != nil {
			log.Error("a part of the lab ended", "err", err)
		}
	})
	return nil
}

func (r *running) stop() {
	r.cancel()
	r.ended.Wait()
}

// startNodes starts the feature servers of the example objects.
func startNodes(cfg Config, log *slog.Logger) (*running, error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel}
	for i, id := range nodeNames() {
		n, err := NewNode(NodeConfig{ID: id, SIP: netip.AddrPortFrom(cfg.Nodes[i], cfg.NodeSIP),
			HTTP: netip.AddrPortFrom(cfg.Nodes[i], cfg.NodeHTTP), Resolver: Resolver{Server: cfg.DNS}}, log)
		if err == nil {
			err = r.start(ctx, n, log)
		}
		if err != nil {
			r.stop()
			return nil, err
		}
	}
	return r, nil
}

// phones is the people's phones, which run.
type phones struct {
	running
	all []*phone
}

// phone is a person's phone.
type phone struct {
	*Phone
	Person
}

func startPhones(cfg Config, log *slog.Logger) (*phones, error) {
	ctx, cancel := context.WithCancel(context.Background())
	ps := &phones{running: running{cancel: cancel}}
	for _, who := range People() {
		p, err := NewPhone(PhoneConfig{User: who.ID, Secret: who.Secret, Domain: who.Domain,
			Listen: netip.AddrPortFrom(cfg.Phones, 0), Resolver: Resolver{Server: cfg.DNS, Only: who.Transport},
			Answer: Reply{Delay: 500 * time.Millisecond}}, log)
		if err == nil {
			err = ps.start(ctx, p, log)
		}
		if err != nil {
			ps.stop()
			return nil, err
		}
		ps.all = append(ps.all, &phone{p, who})
	}
	return ps, nil
}
