package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"tandem/internal/tandem"
)

const manifestName = "BACKUP.json"

// restoreJump is added to the revision by a restore, so that it is beyond whatever the lost store
// gave out after the backup. A revision stays below 2^53, which JSON readers need, for 8,000 restores.
const restoreJump tandem.Revision = 1 << 40

// manifest describes a backup. It is written last: a directory without one is no backup.
type manifest struct {
	Format  int             `json:"format"`
	Store   string          `json:"store"` // id
	Time    time.Time       `json:"time"`
	Epoch   uint64          `json:"epoch"`
	AtLeast tandem.Revision `json:"atLeast"` // last revision when the backup began
	Files   []manifestFile  `json:"files"`
}

type manifestFile struct {
	Name   string `json:"name"` // relative, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Backup writes the whole store into dir, which must be absent or empty, while it goes on working:
// objects, change log, bindings and the node key, so keep it as safe as the store itself. On the
// same file system the tables are hard links. A backup that was cut short has no manifest and
// cannot be restored.
func (s *Store) Backup(ctx context.Context, dir string) error {
	leave, err := s.health.enter()
	if err != nil {
		return err
	}
	defer leave()
	if s.dir == "" {
		return errors.New("back up: the store is in memory")
	}
	if err := emptyDir(dir); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	if err := s.backup(ctx, dir); err != nil {
		return fmt.Errorf("back up store %s to %s: %w", s.dir, dir, err)
	}
	return nil
}

func (s *Store) backup(ctx context.Context, dir string) error {
	epoch, last := s.Info()
	for name, db := range map[string]*pebble.DB{objectsName: s.db, bindingsName: s.bindings.db, callsName: s.calls.db} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := db.Checkpoint(filepath.Join(dir, name), pebble.WithFlushedWAL()); err != nil {
			return err
		}
	}
	key, err := os.ReadFile(filepath.Join(s.dir, keyName))
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, keyName), key); err != nil {
		return err
	}
	m := manifest{Format: int(formatVersion), Store: s.mark.ID, Time: s.now().UTC(), Epoch: epoch, AtLeast: last}
	if m.Files, err = listFiles(ctx, dir); err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, manifestName), append(text, '\n'))
}

// emptyDir makes dir, or finds it empty but for what a lock leaves.
func emptyDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != lockName && e.Name() != "lost+found" {
			return fmt.Errorf("%s is not empty: it holds %s; name another directory", dir, e.Name())
		}
	}
	return nil
}

// listFiles describes all files below dir, in the order of their names.
func listFiles(ctx context.Context, dir string) ([]manifestFile, error) {
	var files []manifestFile
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		size, sum, err := copySum(io.Discard, path)
		files = append(files, manifestFile{filepath.ToSlash(name), size, sum})
		return err
	})
	return files, err
}

// copySum copies a file's content to w and returns its size and SHA-256.
func copySum(w io.Writer, name string) (int64, string, error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, "", err
	}
	defer file.Close()
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(w, hash), file)
	return size, hex.EncodeToString(hash.Sum(nil)), err
}

// Restore makes a store in dataDir, which must be absent or empty, from a backup. Every file is
// compared with its digest. The new store is of a new epoch, its revision is beyond any that the old
// one can have given out, and its change log begins anew: followers take a snapshot.
func Restore(ctx context.Context, backupDir, dataDir string) error {
	m, err := readManifest(backupDir)
	if err != nil {
		return err
	}
	lock, err := lockDir(dataDir)
	if err != nil {
		return err
	}
	defer lock.release()
	if err := emptyDir(dataDir); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	mark := &marker{Format: int(formatVersion), ID: m.Store}
	if err := mark.write(dataDir, markerCopied, 0); err != nil {
		return err
	}
	for _, f := range m.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.restore(backupDir, dataDir); err != nil {
			return fmt.Errorf("restore %s: %w", f.Name, err)
		}
	}
	last, calls, err := renew(dataDir, m)
	if err != nil {
		return err
	}
	mark.Calls = uint64(calls) + 1
	return mark.write(dataDir, markerReady, last)
}

func readManifest(dir string) (*manifest, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, fmt.Errorf("restore: %s is no whole backup: %w", dir, err)
	}
	m := new(manifest)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%w: backup %s: its file %s cannot be read; use another backup", ErrCorrupt, dir, manifestName)
	}
	if m.Format != int(formatVersion) {
		return nil, fmt.Errorf("%w: backup %s has format %d, this program knows %d; use the program that wrote it", ErrVersion, dir, m.Format, formatVersion)
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Name)) {
			return nil, fmt.Errorf("%w: backup %s: it names a file outside itself, %q; use another backup", ErrCorrupt, dir, f.Name)
		}
	}
	return m, nil
}

// restore copies one file and compares it with its digest.
func (f manifestFile) restore(from, to string) error {
	name := filepath.Join(to, filepath.FromSlash(f.Name))
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	size, sum, err := copySum(file, filepath.Join(from, filepath.FromSlash(f.Name)))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if size != f.Size || sum != f.SHA256 {
		return fmt.Errorf("%w: the file differs from its digest; use another backup", ErrCorrupt)
	}
	return syncDir(filepath.Dir(name))
}

// renew makes the copied databases a store of a new epoch, and returns its revision and the number
// of its last call event.
func renew(dir string, m *manifest) (last, calls tandem.Revision, err error) {
	keys, err := openKeyring(dir, false)
	if err != nil {
		return 0, 0, err
	}
	s := &Store{keys: keys}
	s.calls.fresh = !m.holds(callsName)
	if err := (Config{}).start(s, vfs.Default, dir, false, slog.New(slog.DiscardHandler)); err != nil {
		return 0, 0, err
	}
	next := s.state
	next.epoch++
	next.last += restoreJump
	next.floor = next.last
	batch := s.db.NewBatch()
	err = errors.Join(
		batch.DeleteRange([]byte{tableLog}, []byte{tableLog + 1}, nil),
		s.setState(batch, &next),
	)
	if err == nil && s.state.last < m.AtLeast {
		err = s.damaged(fmt.Errorf("the backup ends at revision %d, before %d", s.state.last, m.AtLeast))
	}
	if err == nil {
		err = errors.Join(batch.Commit(pebble.Sync), s.calls.renew(), s.health.err())
	}
	return next.last, s.calls.state.last, errors.Join(err, s.halt())
}

// holds reports whether the backup has a folder of that name; those made before there was a log of
// calls have none for it.
func (m *manifest) holds(folder string) bool {
	return slices.ContainsFunc(m.Files, func(f manifestFile) bool { return strings.HasPrefix(f.Name, folder+"/") })
}
