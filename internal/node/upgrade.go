package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"tandem/internal/handover"
	"tandem/internal/tandem"
	"tandem/store"
)

// An upgrade, as the two processes see it:
//
//	old                                        new
//	copies the objects (hard links), starts →  binds nothing new: takes the sockets, reads the copy
//	                                        ←  loaded
//	pauses SIP, closes the store, says go   →  opens the store, takes the changes since the copy
//	answers DNS from memory                    runs every part but control
//	                                        ←  ready
//	reads nothing more, closes the line     →  runs control: what it acknowledges, every answer shows
//	answers what it has read, ends
//
// Until go nothing of the old one was disturbed, however long the new one takes. When the new one fails
// after that, the old one opens the store again.

// Bounds of an upgrade.
const (
	loadPatience = 10 * time.Minute // for a new process to read the objects
	openPatience = 20 * time.Second // and then to open the store and serve
	quitPatience = time.Second      // for the old one to read nothing more
)

// Succession is a process's place in a chain of upgrades: what the one before left to it, and how the
// next one is started.
type Succession struct {
	sockets *handover.Sockets
	line    *handover.Line // to the process before; nil: this one was not started by it
	program string
	args    []string
}

// Inherit takes what the process before this one, or the service manager, has left. Call it once, before
// anything else is opened.
func Inherit() (*Succession, error) {
	sockets, line, err := handover.Inherit()
	if err != nil {
		return nil, err
	}
	s := &Succession{sockets: sockets, line: line, args: os.Args}
	// Not os.Executable: it would be the file that runs, not what stands at its path by then.
	if s.program, err = exec.LookPath(os.Args[0]); err == nil {
		s.program, err = filepath.Abs(s.program)
	}
	if err != nil {
		return nil, s.Fail(fmt.Errorf("find the program's own file: %w", err))
	}
	return s, nil
}

// Fail tells the process before, if there is one, why this one cannot take its place. It returns err.
func (s *Succession) Fail(err error) error {
	if s.line != nil && err != nil {
		s.line.Fail(err)
	}
	return err
}

// Succeeds gives the node its place in a succession, and has it upgrade whenever asked has something. Call
// it before Run.
func (n *Node) Succeeds(s *Succession, asked <-chan os.Signal) { n.succession, n.asked = s, asked }

// openStore opens the store, or has it ready for when the process before gives it up.
func (n *Node) openStore() (*store.Store, error) {
	if n.succession.line != nil {
		return n.cfg.Store.Away(n.cfg.Data, n.log)
	}
	return n.cfg.Store.Open(n.cfg.Data, n.log)
}

// takeOver gives every part the whole store as restore does, from a copy while the process before
// serves, and then takes the store.
func (n *Node) takeOver(ctx context.Context, kept *store.Store, parts []part) (tandem.Revision, error) {
	last, err := restore(ctx, func(ctx context.Context, fn func([]tandem.Change) error) (tandem.Revision, error) {
		return kept.SnapshotCopy(ctx, func(objects int) { expect(parts, objects) }, fn)
	}, parts)
	if err == nil {
		err = kept.RemoveCopy()
	}
	if err != nil {
		return 0, err
	}
	line := n.succession.line
	if err := line.Say(handover.Loaded); err != nil {
		return 0, err
	}
	if err := line.Hear(ctx, handover.Go); err != nil {
		return 0, err
	}
	if err := kept.Resume(); err != nil {
		return 0, err
	}
	return catchUp(ctx, kept, parts, last)
}

// catchUp gives every part the changes since a revision, and returns the last one.
func catchUp(ctx context.Context, kept *store.Store, parts []part, after tandem.Revision) (tandem.Revision, error) {
	_, last := kept.Info()
	if after == last {
		return last, nil
	}
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	err := kept.Follow(ctx, after, func(changes []tandem.Change) error {
		apply(parts, changes)
		if after = changes[len(changes)-1].Revision; after >= last {
			enough()
		}
		return nil
	})
	if err == nil && after < last {
		err = ctx.Err()
	}
	return after, err
}

// serves tells the process before, and the service manager, that this one serves.
func (n *Node) serves() {
	n.succession.sockets.Own()
	if line := n.succession.line; line != nil {
		if err := line.Say(handover.Ready); err != nil {
			n.log.Warn("the process before has ended by itself", "err", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), quitPatience)
		_ = line.Hear(ctx, "") // its end
		cancel()
		line.Close()
	}
	close(n.alone)
	n.notify("READY=1")
}

func (n *Node) notify(state string) {
	if err := handover.Notify(state); err != nil {
		n.log.Warn("service manager not told", "state", state, "err", err)
	}
}

// upgradeWhenAsked upgrades at every signal until ctx ends. How it went is in the log.
func (n *Node) upgradeWhenAsked(ctx context.Context) error {
	for {
		select {
		case <-n.asked:
			_, _ = n.Upgrade(ctx, 0)
		case <-ctx.Done():
			return nil
		}
	}
}

// Upgrade starts the program anew and gives it the sockets and the store. It returns the new process's
// number once that serves; this one then ends. Patience bounds the new one's loading, zero: ten
// minutes. On an error the new one is gone and this one goes on as before; tandem.ErrConflict: an
// upgrade is under way.
func (n *Node) Upgrade(ctx context.Context, patience time.Duration) (pid int, err error) {
	if !n.upgrading.TryLock() {
		return 0, fmt.Errorf("%w: an upgrade is under way", tandem.ErrConflict)
	}
	defer n.upgrading.Unlock()
	if patience == 0 {
		patience = loadPatience
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it has not loaded after %s", patience))
	defer cancel()
	defer context.AfterFunc(n.life, cancel)()
	n.log.Info("upgrade begins", "program", n.succession.program)
	began := time.Now()
	next, err := n.raise(ctx)
	if err == nil {
		loaded := time.Now()
		if err = n.pass(next); err == nil {
			n.log.Info("upgrade done", "pid", next.PID(), "loading", loaded.Sub(began), "passing", time.Since(loaded))
			n.end()
			_ = n.store.Close() // it is away; who waits for it need not
			return next.PID(), nil
		}
	}
	err = fmt.Errorf("upgrade: %w", err)
	n.log.Error("upgrade failed; this process goes on", "err", err)
	return 0, err
}

// raise starts the successor and returns once it has loaded.
func (n *Node) raise(ctx context.Context) (*handover.Successor, error) {
	if err := n.store.Copy(); err != nil {
		return nil, err
	}
	next, err := n.succession.sockets.Start(n.succession.program, n.succession.args)
	if err != nil {
		return nil, errors.Join(err, n.store.RemoveCopy())
	}
	if err = next.Hear(ctx, handover.Loaded); err != nil {
		err = next.Explain(err)
		next.Kill()
		return nil, errors.Join(fmt.Errorf("the new process: %w", err), n.store.RemoveCopy())
	}
	return next, nil
}

// pass gives the successor the store and waits until it serves.
func (n *Node) pass(next *handover.Successor) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), openPatience, fmt.Errorf("it does not serve after %s", openPatience))
	defer cancel()
	for _, p := range n.parts {
		if p.pause != nil {
			p.pause()
		}
	}
	err := n.store.Suspend(func(last tandem.Revision) { _ = n.served.wait(ctx, last) }) // else the new one serves it first
	if err == nil {
		err = next.Say(handover.Go)
	}
	if err == nil {
		err = next.Hear(ctx, handover.Ready)
	}
	if err == nil {
		for _, p := range n.parts {
			if p.quit != nil {
				p.quit()
			}
		}
		next.Close()
		n.succession.sockets.Pass()
		n.notify(fmt.Sprintf("MAINPID=%d", next.PID()))
		return nil
	}
	err = fmt.Errorf("the new process: %w", next.Explain(err))
	next.Kill()
	err = errors.Join(err, n.store.Resume())
	for _, p := range n.parts {
		if p.resume != nil {
			p.resume()
		}
	}
	return err
}
