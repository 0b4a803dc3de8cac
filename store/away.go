package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"tandem/internal/tandem"
)

// A store has one owner at a time, and an upgrade of the program has two processes: the old one
// suspends its store, the new one, which began with one that is away, resumes it. What takes long is
// done before: the new process reads a Copy.

// copyName is the folder within the store's directory that holds a Copy.
const copyName = "copy"

// Away returns the store in dir without opening it, as if it had been suspended: it seals and
// unseals, and all else waits for Resume. The directory must hold a whole store.
func (c Config) Away(dir string, log *slog.Logger) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	mark, err := readMarker(dir)
	if err != nil {
		return nil, err
	}
	if mark.Stage != markerReady {
		return nil, fmt.Errorf("%w: %s is not whole", ErrCorrupt, dir)
	}
	keys, err := openKeyring(dir, false)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, keys: keys}
	if err := c.prepare(s, dir, log); err != nil {
		return nil, err
	}
	s.health.away, s.health.gone = make(chan struct{}), true
	return s, nil
}

// Suspend closes the databases and gives up the directory, so that another process can have it. Calls in
// hand are waited for, and from then on all are ErrAway but Follow, FollowCalls, PutBindings, DeleteBindings
// and RecordCalls. These go on until settle has returned, which is told the last revision; then they wait
// for Resume, as long as their context allows. What was acknowledged is on disk when Suspend returns. After
// an error the store is away all the same.
func (s *Store) Suspend(settle func(last tandem.Revision)) error {
	if s.dir == "" {
		return errors.New("suspend: the store is in memory")
	}
	err := s.health.leave(func() {
		_, last := s.Info()
		settle(last)
	})
	if err != nil {
		return err
	}
	return s.letGo()
}

// Resume opens the databases again. After an error the store stays away.
func (s *Store) Resume() (err error) {
	if s.lock, err = lockDir(s.dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.lock.release()
		}
	}()
	if s.mark, err = openMarker(s.dir); err != nil {
		return err
	}
	if err := s.prepareCalls(); err != nil {
		return err
	}
	if err := s.openAll(vfs.Default, s.dir, false); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return errors.Join(err, s.halt())
	}
	s.health.arrive()
	return nil
}

// leave makes the store away, waits for calls in hand and settle, and then for late ones.
func (h *health) leave(settle func()) error {
	h.mu.Lock()
	switch {
	case h.closed:
		h.mu.Unlock()
		return ErrClosed
	case h.away != nil:
		h.mu.Unlock()
		return ErrAway
	}
	h.away = make(chan struct{})
	h.mu.Unlock()
	h.users.Wait()
	settle()
	h.mu.Lock()
	h.gone = true
	h.mu.Unlock()
	h.late.Wait()
	return nil
}

// arrive ends being away.
func (h *health) arrive() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.away)
	h.away, h.gone = nil, false
}

// back returns once the store is not away, at the latest when ctx or the store ends, with the reason.
func (h *health) back(ctx context.Context) error {
	h.mu.Lock()
	away := h.away
	h.mu.Unlock()
	if away == nil {
		return nil
	}
	select {
	case <-away:
		return nil
	case <-h.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enterWhenBack is enterLate for those who would rather wait than be refused.
func (h *health) enterWhenBack(ctx context.Context) (leave func(), err error) {
	for {
		if leave, err = h.enterLate(); !errors.Is(err, ErrAway) {
			return leave, err
		}
		if err := h.back(ctx); err != nil {
			return nil, err
		}
	}
}

// Copy makes a copy of the objects, and of nothing else, within the store's directory, for SnapshotCopy. On most
// file systems that is a matter of hard links. A copy that is there already is replaced.
func (s *Store) Copy() error {
	leave, err := s.health.enter()
	if err != nil {
		return err
	}
	defer leave()
	if s.dir == "" {
		return errors.New("copy: the store is in memory")
	}
	if err := s.RemoveCopy(); err != nil {
		return err
	}
	if err := s.db.Checkpoint(filepath.Join(s.dir, copyName), pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("copy store %s: %w", s.dir, err)
	}
	return nil
}

// RemoveCopy removes the copy, if there is one.
func (s *Store) RemoveCopy() error {
	if err := os.RemoveAll(filepath.Join(s.dir, copyName)); err != nil {
		return fmt.Errorf("remove the copy of store %s: %w", s.dir, err)
	}
	return nil
}

// SnapshotCopy is Snapshot of the copy that another process made of this store, which may be away. It first
// tells expect how many objects there are.
func (s *Store) SnapshotCopy(ctx context.Context, expect func(objects int), fn func([]tandem.Change) error) (tandem.Revision, error) {
	from := &Store{keys: s.keys}
	dir := filepath.Join(s.dir, copyName)
	if err := s.cfg.prepare(from, dir, s.health.log); err != nil {
		return 0, err
	}
	from.keep = pebble.NewCache(16 << 20)
	defer from.keep.Unref()
	opts := from.options(vfs.Default, false)
	opts.ReadOnly = true
	db, err := openDatabase(dir, opts)
	if err != nil {
		return 0, from.openError(err)
	}
	defer db.Close()
	from.db = db
	if from.state, err = from.loadState(); err != nil {
		return 0, err
	}
	from.stand(from.state.epoch, from.state.last)
	expect(from.Objects())
	return from.Snapshot(ctx, fn)
}
