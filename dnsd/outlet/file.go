package outlet

import (
	"fmt"
	"os"
)

// File is a file that is turned over before it grows beyond Most octets: then it is renamed to Path.old, in
// place of the one before, and a new one begins. So at most twice Most octets are used. One goroutine uses it.
type File struct {
	Path string
	Most int64
	// Head and Tail stand at the beginning and the end of every file. With a Head a file cannot be
	// written on after a restart, so it is turned over then, too.
	Head, Tail []byte

	file *os.File
	size int64
}

// Open makes the file, readable by its owner's group, or goes on with the one that there is.
func (f *File) Open() error {
	if info, err := os.Stat(f.Path); len(f.Head) > 0 && err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		return f.begin()
	}
	return f.open()
}

// begin puts the present file aside and opens a new one.
func (f *File) begin() error {
	if err := os.Rename(f.Path, f.Path+".old"); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("turn over: %w", err)
	}
	return f.open()
}

func (f *File) open() error {
	file, err := os.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	f.file, f.size = file, info.Size()
	if f.size == 0 {
		return f.append(f.Head)
	}
	return nil
}

func (f *File) append(b []byte) error {
	n, err := f.file.Write(b)
	f.size += int64(n)
	return err
}

// Write writes whole records. After an error it may be called again; it then begins a new file.
func (f *File) Write(records []byte) (int, error) {
	if f.file == nil || f.size+int64(len(records)+len(f.Tail)) > f.Most && f.size > int64(len(f.Head)) {
		if err := f.Close(); err != nil {
			return 0, err
		}
		if err := f.begin(); err != nil {
			return 0, err
		}
	}
	before := f.size
	if err := f.append(records); err != nil {
		f.file.Truncate(before) // half a record would make the rest unreadable
		f.file.Close()
		f.file = nil
		return 0, err
	}
	return len(records), nil
}

// Close ends the file, if one is open.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	err := f.append(f.Tail)
	if closed := f.file.Close(); err == nil {
		err = closed
	}
	f.file = nil
	return err
}
