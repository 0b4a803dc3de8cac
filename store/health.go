package store

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// health knows whether the store may be used: it is open, and its disk has not failed. It is also
// the database's logger, because that is where the database says that it cannot go on.
type health struct {
	log     *slog.Logger
	name    string        // directory, for messages
	closing chan struct{} // closed when Close begins
	failed  chan struct{} // closed when the disk has failed

	mu     sync.Mutex
	users  sync.WaitGroup // calls in hand; added to under mu, and only while not closing or away
	late   sync.WaitGroup // the same for calls that are admitted until the store is gone
	closed bool
	away   chan struct{} // not nil: another process may have the store, or soon will; closed when it is back
	gone   bool          // it may have it already
	cause  error         // why it failed
}

func newHealth(name string, log *slog.Logger) *health {
	return &health{log: log, name: name, closing: make(chan struct{}), failed: make(chan struct{})}
}

// enter counts a call in, so that Close waits for it. The caller calls leave when it is done.
func (h *health) enter() (leave func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if h.away != nil {
		return nil, ErrAway
	}
	h.users.Add(1)
	return h.users.Done, nil
}

// enterLate is enter for followers, and for what the rest of the process has yet to write down: it is
// refused only once the store is gone.
func (h *health) enterLate() (leave func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if h.gone {
		return nil, ErrAway
	}
	h.late.Add(1)
	return h.late.Done, nil
}

// close refuses further calls and waits for those in hand. It reports whether it was the first, and
// whether the store is away.
func (h *health) close() (first, away bool) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return false, false
	}
	h.closed, away = true, h.away != nil
	close(h.closing)
	h.mu.Unlock()
	h.users.Wait()
	h.late.Wait()
	return true, away
}

func (h *health) isClosing() bool {
	select {
	case <-h.closing:
		return true
	default:
		return false
	}
}

// fail notes that nothing can be written any more. The first cause is kept.
func (h *health) fail(cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause != nil {
		return
	}
	h.cause = fmt.Errorf("%w: %s: %w; check the disk, then restart", ErrFailed, h.name, cause)
	if pebble.IsCorruptionError(cause) {
		h.cause = fmt.Errorf("%w: %s: %w; restore it from a backup", ErrCorrupt, h.name, cause)
	}
	h.log.Error("the store takes no more changes", "err", h.cause)
	close(h.failed)
}

// err returns why nothing can be written, nil while it can.
func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cause
}

// recover turns a panic of the database, which is how it meets what it thinks impossible, into err.
func (h *health) recover(err *error) {
	if r := recover(); r != nil {
		h.fail(fmt.Errorf("%v", r))
		*err = h.err()
	}
}

// Infof drops the database's chatter; it is one of the methods of its logger.
func (h *health) Infof(format string, args ...any) {}

// Errorf logs what the database complains about.
func (h *health) Errorf(format string, args ...any) {
	h.log.Warn("database", "text", fmt.Sprintf(format, args...))
}

// Fatalf is called by the database when it cannot go on. It returns, unlike what the database does
// by default, which is to end the process: the operation at hand gets an error, every append after
// it too, and what is in memory goes on serving.
func (h *health) Fatalf(format string, args ...any) {
	cause := fmt.Errorf(format, args...)
	for _, a := range args {
		if err, ok := a.(error); ok && pebble.IsCorruptionError(err) {
			cause = errors.Join(err)
		}
	}
	h.fail(cause)
}

// corrupt notes damage that the database found while reading in the background.
func (h *health) corrupt(info pebble.DataCorruptionInfo) {
	h.fail(pebble.ErrCorruption)
	h.log.Error("damaged file", "path", info.Path, "err", info.Details)
}
