package store

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tandem/internal/tandem"
)

// Names in a store's directory.
const (
	lockName     = "LOCK"
	markerName   = "STORE"
	keyName      = "node.key"
	objectsName  = "objects"
	bindingsName = "bindings"
	callsName    = "calls"
)

// dirLock is the exclusive lock on a store's directory; the operating system drops it with the process.
type dirLock struct{ file *os.File }

// lockPatience is how long a directory that somebody has locked is waited for.
const lockPatience = 250 * time.Millisecond

// lockDir makes the directory if needed and takes its lock.
func lockDir(dir string) (*dirLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	// A lock that was just given up may be held for a moment more: by a process that is ending, or by a
	// child between its fork and its exec.
	for patience := time.Now().Add(lockPatience); ; time.Sleep(5 * time.Millisecond) {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(patience) {
			break
		}
	}
	if err == nil {
		return &dirLock{file}, nil
	}
	file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w: %s; stop that process or name another directory", ErrLocked, dir)
	}
	return nil, fmt.Errorf("lock store %s: %w", dir, err)
}

func (l *dirLock) release() {
	if l != nil {
		l.file.Close()
	}
}

// Stages of a store's life, as its marker tells them.
const (
	markerMaking = "making" // nothing in it was ever acknowledged: it may be made anew
	markerReady  = "ready"
	markerCopied = "restoring" // a restore was begun, and it may hold anything
)

// marker is the small file that tells a new store from a damaged one.
type marker struct {
	Format  int             `json:"format"`
	ID      string          `json:"id"`
	Stage   string          `json:"stage"`
	AtLeast tandem.Revision `json:"atLeast"` // the last revision when it was last closed
	// Calls is one more than the last call event's number when it was last closed; zero in a store
	// that was made before there was a log of calls.
	Calls uint64 `json:"calls,omitempty"`
	Sum   uint32 `json:"sum"` // CRC-32C of the above
}

func (m *marker) fresh() bool { return m.Stage == markerMaking }

func (m *marker) sum() uint32 {
	text := fmt.Sprintf("%d %s %s %d", m.Format, m.ID, m.Stage, m.AtLeast)
	if m.Calls != 0 {
		text += fmt.Sprintf(" %d", m.Calls)
	}
	return crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli))
}

// openMarker reads the marker of the locked directory, or writes the first one into an empty one.
func openMarker(dir string) (*marker, error) {
	m, err := readMarker(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return newMarker(dir)
	}
	if err != nil {
		return nil, err
	}
	switch m.Stage {
	case markerReady:
		return m, nil
	case markerCopied:
		return nil, fmt.Errorf("%w: %s: its restore was cut short; empty it and restore again", ErrCorrupt, dir)
	}
	for _, name := range []string{objectsName, bindingsName, callsName, keyName} { // left by a start that was cut short
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("open store %s: %w", dir, err)
		}
	}
	return m, nil
}

func readMarker(dir string) (*marker, error) {
	text, err := os.ReadFile(filepath.Join(dir, markerName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	return parseMarker(dir, text)
}

func parseMarker(dir string, text []byte) (*marker, error) {
	m := new(marker)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%w: %s: its file %s cannot be read; restore it from a backup", ErrCorrupt, dir, markerName)
	}
	if m.Sum != m.sum() {
		return nil, fmt.Errorf("%w: %s: the checksum of its file %s differs; restore it from a backup", ErrCorrupt, dir, markerName)
	}
	if m.Format != int(formatVersion) {
		return nil, fmt.Errorf("%w: %s has format %d, this program knows %d; use the program that wrote it", ErrVersion, dir, m.Format, formatVersion)
	}
	return m, nil
}

// newMarker writes the first marker, if the directory holds nothing that could be a store's.
func newMarker(dir string) (*marker, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	for _, e := range entries {
		if name := e.Name(); name != lockName && name != "lost+found" && !strings.HasPrefix(name, markerName+".") {
			return nil, fmt.Errorf("%w: %s holds %s but no file %s; restore it from a backup, or name an empty directory", ErrCorrupt, dir, name, markerName)
		}
	}
	m := &marker{Format: int(formatVersion), ID: rand.Text()}
	return m, m.write(dir, markerMaking, 0)
}

// write puts the marker in place in one step.
func (m *marker) write(dir, stage string, atLeast tandem.Revision) error {
	next := *m
	next.Stage, next.AtLeast = stage, atLeast
	next.Sum = next.sum()
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, markerName), append(text, '\n')); err != nil {
		return fmt.Errorf("write store %s: %w", dir, err)
	}
	*m = next
	return nil
}

// writeFile replaces a file as a whole, readable by its owner alone, and syncs it.
func writeFile(name string, data []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// isSystem reports whether err is the operating system's refusal rather than damage: no permission,
// no room, no more files.
func isSystem(err error) bool {
	for _, e := range []error{fs.ErrPermission, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.EROFS, syscall.EIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
