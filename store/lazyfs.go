package store

import (
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// syncDelay is how long lazily synced octets may wait before their sync begins; the sync itself
// has the rest of the promised 100 ms.
const syncDelay = 25 * time.Millisecond

// lazyFS is a file system whose write-ahead logs are synced a moment after they were asked to be.
// All other files are synced when they are asked to be, and a log is synced before it is closed,
// so that whatever the database derives from a log that it has left behind is as durable as ever.
type lazyFS struct {
	vfs.FS
	fail func(error)
	work sync.WaitGroup

	mu    sync.Mutex
	dirty map[*lazyFile]bool
	timer bool // a sync is due
}

func newLazyFS(inner vfs.FS, fail func(error)) *lazyFS {
	return &lazyFS{FS: inner, fail: fail, dirty: make(map[*lazyFile]bool)}
}

// Create makes a file; logs become lazy.
func (l *lazyFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := l.FS.Create(name, category)
	return l.wrap(name, file, err)
}

// ReuseForWrite takes an old file for a new one; logs become lazy.
func (l *lazyFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := l.FS.ReuseForWrite(oldname, newname, category)
	return l.wrap(newname, file, err)
}

// Unwrap returns the file system below.
func (l *lazyFS) Unwrap() vfs.FS { return l.FS }

func (l *lazyFS) wrap(name string, file vfs.File, err error) (vfs.File, error) {
	if err != nil || !strings.HasSuffix(name, ".log") {
		return file, err
	}
	return &lazyFile{File: file, fs: l}, nil
}

// later has file synced within syncDelay.
func (l *lazyFS) later(file *lazyFile) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirty[file] = true
	if l.timer {
		return
	}
	l.timer = true
	l.work.Add(1)
	time.AfterFunc(syncDelay, func() {
		defer l.work.Done()
		l.syncDirty()
	})
}

func (l *lazyFS) syncDirty() {
	l.mu.Lock()
	files := l.dirty
	l.dirty, l.timer = make(map[*lazyFile]bool), false
	l.mu.Unlock()
	for file := range files {
		if err := file.syncNow(); err != nil {
			l.fail(err)
		}
	}
}

// stop waits for the sync that is due. All files have been closed.
func (l *lazyFS) stop() { l.work.Wait() }

// lazyFile is a log of a lazyFS.
type lazyFile struct {
	vfs.File
	fs *lazyFS

	mu     sync.Mutex // makes Close wait for a sync under way
	closed bool
}

// Sync asks for a sync and does not wait for it; so do SyncData and SyncTo.
func (f *lazyFile) Sync() error { return f.SyncData() }

// SyncData is like Sync.
func (f *lazyFile) SyncData() error {
	f.fs.later(f)
	return nil
}

// SyncTo is like Sync.
func (f *lazyFile) SyncTo(int64) (bool, error) { return false, f.SyncData() }

func (f *lazyFile) syncNow() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	return f.File.SyncData()
}

// Close syncs and closes.
func (f *lazyFile) Close() error {
	err := f.syncNow()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return errors.Join(err, f.File.Close())
}
