package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"tandem/internal/tandem"
)

// Sizes of the databases' write buffers, and how many each may have at a time.
const (
	objectsBuffer  = 32 << 20
	bindingsBuffer = 8 << 20
	callsBuffer    = 16 << 20
	writeBuffers   = 4
)

// What can be wrong with a store as a whole. Compare with errors.Is; each error is one line that
// names the directory and what to do.
var (
	ErrLocked  = errors.New("store in use by another process")
	ErrVersion = errors.New("store of an unknown format")
	ErrCorrupt = errors.New("store damaged")
	ErrTrimmed = tandem.ErrTrimmed
	ErrFailed  = errors.New("store failed")
	ErrClosed  = errors.New("store closed")
	// ErrAway is what a store answers while another process may have its directory; see Suspend.
	ErrAway = tandem.ErrAway
)

// Config says how a store is opened.
type Config struct {
	// Retain is how many changes the log keeps for followers, zero 1,000,000. An eighth more may
	// be kept, so that trimming is rare.
	Retain uint64 `yaml:"retain"`
	// Cache is the memory for blocks read from disk, in octets; zero 64 MiB.
	Cache int64 `yaml:"cache"`
	// Calls is how many call records are kept, zero 10 million; a thousand more may be. The oldest
	// go first, calls that have not ended never.
	Calls uint64 `yaml:"calls"`
	// CallAge is how long a call's record is kept, zero 400 days. What is older is not shown, and
	// deleted with the next calls.
	CallAge time.Duration `yaml:"callAge"`
	// CallEvents is how many call events are kept for those who resume, zero 1,000,000; an eighth
	// more may be.
	CallEvents uint64 `yaml:"callEvents"`
}

// Validate reports a value that makes no sense.
func (c Config) Validate() error {
	if c.Cache < 0 {
		return tandem.FieldError{Field: "cache", Reason: "is negative"}
	}
	if c.CallAge < 0 {
		return tandem.FieldError{Field: "callAge", Reason: "is negative"}
	}
	return nil
}

// Store is the durable memory of one appliance. Its methods may be called by many at once.
type Store struct {
	local
	cfg      Config
	bindings bindings
	calls    calls
	keys     keyring
	dir      string   // "" in memory
	lock     *dirLock // nil in memory
	mark     *marker  // nil in memory
	keep     *pebble.Cache
}

// Open opens the store in dir, making a new one when dir is absent or empty. It never makes a new
// store where there may have been one: a directory that holds anything else than a whole store is
// ErrCorrupt, ErrVersion or ErrLocked.
func Open(dir string, log *slog.Logger) (*Store, error) { return Config{}.Open(dir, log) }

// OpenMemory opens an empty store that is gone when it is closed, for tests and trials.
func OpenMemory(log *slog.Logger) (*Store, error) { return Config{}.OpenMemory(log) }

// Open is like the function, with a configuration.
func (c Config) Open(dir string, log *slog.Logger) (_ *Store, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.release()
		}
	}()
	mark, err := openMarker(dir)
	if err != nil {
		return nil, err
	}
	keys, err := openKeyring(dir, mark.fresh())
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, lock: lock, mark: mark, keys: keys}
	if err := errors.Join(s.RemoveCopy(), s.prepareCalls()); err != nil {
		return nil, err
	}
	if err := c.start(s, vfs.Default, dir, mark.fresh(), log); err != nil {
		return nil, err
	}
	if err := s.settle(); err != nil {
		s.halt()
		return nil, err
	}
	return s, nil
}

// OpenMemory is like the function, with a configuration.
func (c Config) OpenMemory(log *slog.Logger) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	rand.Read(key)
	keys, err := keyringOf(key)
	if err != nil {
		return nil, err
	}
	s := &Store{keys: keys}
	if err := c.start(s, vfs.NewMem(), "memory", true, log); err != nil {
		return nil, err
	}
	return s, nil
}

// start makes s ready and opens its databases.
func (c Config) start(s *Store, fs vfs.FS, dir string, fresh bool, log *slog.Logger) error {
	if err := c.prepare(s, dir, log); err != nil {
		return err
	}
	return s.openAll(fs, dir, fresh)
}

// prepare makes s all that it is before its databases are open.
func (c Config) prepare(s *Store, dir string, log *slog.Logger) error {
	codec, err := newCodec()
	if err != nil {
		return err
	}
	s.cfg = c
	s.health = newHealth(dir, log.With("part", "store"))
	s.tables = tables{codec: codec, name: dir}
	s.retain, s.now, s.moved = c.Retain, time.Now, make(chan struct{})
	if s.retain == 0 {
		s.retain = 1_000_000
	}
	return nil
}

// openAll opens the databases of s and reads where the logs stand.
func (s *Store) openAll(fs vfs.FS, dir string, fresh bool) (err error) {
	cache := s.cfg.Cache
	if cache == 0 {
		cache = 64 << 20
	}
	// Write buffers are counted against the block cache: without room for them of their own, a
	// bulk load leaves no block in it, and each lookup reads a whole bloom filter from disk.
	s.keep = pebble.NewCache(cache + writeBuffers*(objectsBuffer+bindingsBuffer+callsBuffer))
	defer func() {
		if r := recover(); r != nil { // the database's way of meeting files it cannot believe
			err = s.damaged(fmt.Errorf("%v", r))
		}
		if err != nil {
			s.halt()
		}
	}()
	if err := s.openTables(fs, dir, fresh); err != nil {
		return err
	}
	if s.state, err = s.loadState(); err != nil {
		return err
	}
	s.stand(s.state.epoch, s.state.last)
	if err := s.bindings.start(&s.tables, s.health, s.options(fs, fresh), filepath.Join(dir, bindingsName)); err != nil {
		return err
	}
	fresh = fresh || s.calls.fresh
	return s.calls.start(s.cfg, &s.local, s.options(fs, fresh), filepath.Join(dir, callsName))
}

// openTables opens the database of objects; a fresh one gets its first record of state.
func (s *Store) openTables(fs vfs.FS, dir string, fresh bool) error {
	db, err := openDatabase(filepath.Join(dir, objectsName), s.options(fs, fresh))
	if err == nil {
		s.db = db
		err = s.health.err()
	}
	if err != nil {
		return s.openError(err)
	}
	if !fresh {
		return s.checkKey(s.keys.sum)
	}
	batch := db.NewBatch()
	if err := s.setState(batch, &state{epoch: 1}); err != nil {
		return err
	}
	if err := batch.Set(keySumKey(), s.wrap(nil, keySumKey(), s.keys.sum[:]), nil); err != nil {
		return err
	}
	return batch.Commit(pebble.Sync)
}

// openDatabase is pebble.Open with its panics made errors.
func openDatabase(dir string, opts *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", pebble.ErrCorruption, r)
		}
	}()
	return pebble.Open(dir, opts)
}

// openError says what a failure to open the database means. A permission or a full disk is what it
// is; anything else that an existing database meets is damage.
func (s *Store) openError(err error) error {
	if isSystem(err) {
		return fmt.Errorf("open store %s: %w", s.name, err)
	}
	return s.damaged(err)
}

func (s *Store) options(fs vfs.FS, fresh bool) *pebble.Options {
	o := &pebble.Options{
		FS: fs, Cache: s.keep, Logger: s.health,
		FormatMajorVersion: pebble.FormatTableFormatV6,
		ErrorIfExists:      fresh, ErrorIfNotExists: !fresh,
		MemTableSize: objectsBuffer, MemTableStopWritesThreshold: writeBuffers,
		L0CompactionThreshold: 4, L0StopWritesThreshold: 24,
		EventListener: &pebble.EventListener{
			DataCorruption:  s.health.corrupt,
			BackgroundError: func(err error) { s.health.Errorf("background: %v", err) },
		},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// settle ends the making of a new store, or checks that an old one is as far as it once was.
func (s *Store) settle() error {
	if s.state.last < s.mark.AtLeast {
		return s.damaged(fmt.Errorf("its last revision is %d, and was %d when it was closed", s.state.last, s.mark.AtLeast))
	}
	if uint64(s.calls.state.last)+1 < s.mark.Calls {
		return s.damaged(fmt.Errorf("its last call event is %d, and was %d when it was closed", s.calls.state.last, s.mark.Calls-1))
	}
	if !s.mark.fresh() && s.mark.Calls != 0 {
		return nil
	}
	s.mark.Calls = uint64(s.calls.state.last) + 1
	return s.mark.write(s.dir, markerReady, s.state.last)
}

// Close ends the store: calls in hand are waited for, later ones get ErrClosed. Followers end with
// ErrClosed. Everything acknowledged is on disk before it returns.
func (s *Store) Close() error {
	first, away := s.health.close()
	if !first || away {
		return nil
	}
	return s.letGo()
}

// letGo closes the databases, notes how far they came, and drops the lock. Nobody uses s.
func (s *Store) letGo() error {
	last, calls := s.durable, s.calls.durable
	defer s.lock.release()
	err := s.halt()
	if s.dir == "" || err != nil || s.health.err() != nil {
		return err
	}
	s.mark.Calls = uint64(calls) + 1
	return s.mark.write(s.dir, markerReady, last)
}

// halt closes the databases, as far as they are open.
func (s *Store) halt() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.Join(err, fmt.Errorf("close store %s: %v", s.name, r))
		}
	}()
	err = errors.Join(s.bindings.close(), s.calls.close())
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
		s.db = nil
	}
	s.keep.Unref()
	return err
}

var _ Log = (*Store)(nil)
