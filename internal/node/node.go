// Package node is where the rooms meet: it reads the configuration file, builds the parts that the
// file names, introduces them to one another, and runs and stops them as one.
//
// It promises: the store is opened before anything listens, every listener is bound before
// anything serves, and every part has the whole of the store before it takes its first packet. After
// that one goroutine follows the store and gives each batch to each part in turn, so that a
// revision counts as served when all of them have it. The first part that fails ends all; the store
// closes last; no goroutine is left behind.
//
// It leaves signals and the exit code to the command.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"tandem/internal/handover"
	"tandem/internal/tandem"
	"tandem/store"
)

// Node is a configured appliance.
type Node struct {
	cfg     *Config
	log     *slog.Logger
	started time.Time
	ready   chan struct{} // closed when everything serves

	mu     sync.Mutex
	store  *store.Store
	parts  []part
	served *progress
	// settled returns once what a revision causes is stored too, with the revision to wait for; nil
	// when nothing does that.
	settled func(context.Context, tandem.Revision) (tandem.Revision, error)

	succession *Succession
	asked      <-chan os.Signal // to upgrade; nil: never
	alone      chan struct{}    // closed once no process before this one answers anything new
	upgrading  sync.Mutex
	// life ends when the node is to end: it is Run's own, for an upgrade that is asked for from outside.
	life context.Context
	end  context.CancelFunc
}

// New checks cfg and returns a node that has opened and bound nothing yet.
func New(cfg *Config, log *slog.Logger) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Node{
		cfg: cfg, log: log, ready: make(chan struct{}), alone: make(chan struct{}), served: newProgress(),
		succession: &Succession{sockets: new(handover.Sockets)},
	}, nil
}

// Run opens the store, builds, binds, restores, serves until ctx ends or another process has taken this
// one's place, and closes. A node runs once.
func (n *Node) Run(ctx context.Context) error {
	n.life, n.end = context.WithCancel(ctx)
	defer n.end()
	return n.succession.Fail(n.live(n.life))
}

func (n *Node) live(ctx context.Context) (err error) {
	n.started = time.Now()
	kept, err := n.openStore()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	parts, err := n.build(kept)
	if err != nil {
		return err
	}
	undo := letGo
	if n.succession.line != nil {
		undo = func([]part) {} // what waits in the sockets is the other process's; this one ends
	}
	if err := listen(parts, undo); err != nil {
		return err
	}
	var last tandem.Revision
	if n.succession.line != nil {
		last, err = n.takeOver(ctx, kept, parts)
	} else {
		expect(parts, kept.Objects())
		last, err = restore(ctx, kept.Snapshot, parts)
	}
	if err != nil {
		undo(parts)
		return fmt.Errorf("restore from the store: %w", err)
	}
	n.served.advance(last)
	n.mu.Lock()
	n.store, n.parts = kept, parts
	n.mu.Unlock()
	return n.serve(ctx, kept, parts, last)
}

// listen binds all parts. When one cannot, those before it are given to undo.
func listen(parts []part, undo func([]part)) error {
	for i, p := range parts {
		if p.listen == nil {
			continue
		}
		if err := p.listen(); err != nil {
			undo(parts[:i])
			return fmt.Errorf("%s: %w", p.name, bindError(err))
		}
	}
	return nil
}

// letGo makes parts that have bound but not run close what they bound.
func letGo(parts []part) {
	over, end := context.WithCancel(context.Background())
	end()
	for _, p := range parts {
		if p.listen != nil {
			_ = p.run(over) // returns at once; why it could not run does not matter any more
		}
	}
}

// bindError says in few words which address could not be bound and why.
func bindError(err error) error {
	var op *net.OpError
	var code syscall.Errno
	if !errors.As(err, &op) || op.Addr == nil || !errors.As(err, &code) {
		return err
	}
	return fmt.Errorf("cannot listen on %s %s: %w", op.Net, op.Addr, code)
}

// snapshot gives all objects to a function and returns the revision that they are of.
type snapshot func(context.Context, func([]tandem.Change) error) (tandem.Revision, error)

// expect tells parts how many objects a snapshot will have.
func expect(parts []part, objects int) {
	for _, p := range parts {
		if p.expect != nil {
			p.expect(objects)
		}
	}
}

// restore gives every part a snapshot, and returns the revision that it is of. One processor reads while
// another applies.
func restore(ctx context.Context, from snapshot, parts []part) (last tandem.Revision, err error) {
	batches := make(chan []tandem.Change, 4)
	working, ctx := errgroup.WithContext(ctx)
	working.Go(func() (err error) {
		defer close(batches)
		last, err = from(ctx, func(changes []tandem.Change) error {
			batches <- changes // it is taken until the end, whatever happens
			return nil
		})
		return err
	})
	for changes := range batches {
		apply(parts, changes)
	}
	if err := working.Wait(); err != nil {
		return 0, err
	}
	apply(parts, nil) // an empty store gave no batch, and each part must know that it has seen it all
	for _, p := range parts {
		if p.restored != nil {
			p.restored(last)
		}
	}
	return last, nil
}

// serve runs all parts until ctx or one of them ends.
func (n *Node) serve(ctx context.Context, kept *store.Store, parts []part, last tandem.Revision) error {
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return n.follow(ctx, kept, parts, last) })
	for _, p := range parts {
		running.Go(func() error { return n.run(ctx, p) })
	}
	running.Go(func() error { return n.upgradeWhenAsked(ctx) })
	close(n.ready)
	n.serves()
	n.log.Info("serving", "revision", last, "listeners", listed(n.Addrs()))
	defer n.log.Info("stopped")
	return running.Wait()
}

// run runs one part and names it in its error.
func (n *Node) run(ctx context.Context, p part) error {
	if p.last {
		select {
		case <-n.alone:
		case <-ctx.Done(): // it lets go of what it has bound
		}
	}
	if err := p.run(ctx); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	if ctx.Err() == nil {
		return fmt.Errorf("%s: ended by itself", p.name)
	}
	return nil
}

// follow gives every committed batch to every part and notes the revision that all serve.
func (n *Node) follow(ctx context.Context, kept *store.Store, parts []part, after tandem.Revision) error {
	err := kept.Follow(ctx, after, func(changes []tandem.Change) error {
		apply(parts, changes)
		if len(changes) > 0 {
			n.served.advance(changes[len(changes)-1].Revision)
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("follow the store: %w", err)
}

func apply(parts []part, changes []tandem.Change) {
	for _, p := range parts {
		if p.apply != nil {
			p.apply(changes)
		}
	}
}

// Ready is closed once every part serves.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Addrs returns the bound addresses by listener, such as dns, sip/public/udp, https or control, once
// Ready is closed.
func (n *Node) Addrs() map[string][]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make(map[string][]string)
	for _, p := range n.parts {
		if p.addrs != nil {
			maps.Copy(all, p.addrs())
		}
	}
	return all
}

// Served returns once every part serves the revision and what balancing made of it, or ctx ends.
func (n *Node) Served(ctx context.Context, revision tandem.Revision) error {
	if err := n.served.wait(ctx, revision); err != nil {
		return err
	}
	n.mu.Lock()
	settled := n.settled
	n.mu.Unlock()
	if settled == nil {
		return nil
	}
	after, err := settled(ctx, revision)
	if err != nil {
		return err
	}
	return n.served.wait(ctx, after)
}

// Version returns the program's version as the Go tool recorded it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && info.Main.Version == "(devel)" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return info.Main.Version
}

// authorityDir is where the appliance's own authority is kept.
func (c *Config) authorityDir() string { return filepath.Join(c.Data, "tls") }
