package handover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What the two processes say. Each waits for the other's word.
const (
	Loaded = "loaded" // the new one: it holds all that it needs, but for the last changes
	Go     = "go"     // the old one: it has stopped writing, and the store is free
	Ready  = "ready"  // the new one: it serves
)

// ErrEnded is what a process hears when the other one has ended.
var ErrEnded = errors.New("the other process has ended")

// Line is what two processes speak over. It has one user at a time.
type Line struct {
	conn  net.Conn
	lines *bufio.Reader
}

// newLine makes a line of a descriptor, which it takes.
func newLine(fd int) (*Line, error) {
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "handover")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("line between processes: %w", err)
	}
	return &Line{conn, bufio.NewReader(conn)}, nil
}

// Say says a word.
func (l *Line) Say(word string) error {
	if _, err := io.WriteString(l.conn, word+"\n"); err != nil {
		return fmt.Errorf("say %s: %w", word, ErrEnded)
	}
	return nil
}

// Fail says why this process gives up, in one line.
func (l *Line) Fail(err error) {
	_ = l.Say("failed " + strings.ReplaceAll(err.Error(), "\n", " ")) // who does not hear it sees the end
}

// Hear waits for a word. It returns ErrEnded when the other process is gone, what it gave as its
// reason for failing, or ctx's error.
func (l *Line) Hear(ctx context.Context, word string) error {
	stop := context.AfterFunc(ctx, func() { l.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	said, err := l.lines.ReadString('\n')
	said = strings.TrimSuffix(said, "\n")
	reason, failed := strings.CutPrefix(said, "failed ")
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return ErrEnded
	case failed:
		return errors.New(reason)
	case said != word:
		return fmt.Errorf("it said %.100q, not %q", said, word)
	}
	return nil
}

// Close ends the line.
func (l *Line) Close() { l.conn.Close() }
