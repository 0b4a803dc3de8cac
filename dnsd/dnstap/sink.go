package dnstap

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"tandem/dnsd/outlet"
)

const (
	mostWaiting = 1 << 20 // octets of frames that wait
	patience    = 5 * time.Second
	firstPause  = 100 * time.Millisecond // between two attempts to connect; it doubles
	longestWait = 10 * time.Second
)

// Target is where messages go: one of a unix socket, a TCP address and a file.
type Target struct {
	Socket  string // path
	Address string // host and port
	File    string // path; FileSize is after how many octets it is turned over
	// FileSize is at least a few kilobytes.
	FileSize int64
}

// Sink sends messages to a target. Make it with New, then Open and Run, each once. Put may be called by
// anyone at any time.
type Sink struct {
	target Target
	who    Who
	log    *slog.Logger
	queue  *outlet.Queue
	file   *outlet.File
	spare  []byte // the writer's
	down   bool   // the writer's: it was said that the target cannot be written

	sent, lost, connected atomic.Uint64
}

// New returns a sink that does nothing yet.
func New(target Target, who Who, log *slog.Logger) *Sink {
	s := &Sink{target: target, who: who, log: log, queue: outlet.NewQueue(mostWaiting)}
	if target.File != "" {
		s.file = &outlet.File{
			Path: target.File, Most: target.FileSize,
			Head: appendControl(nil, controlStart), Tail: appendControl(nil, controlStop),
		}
	}
	return s
}

// Open opens the file, if the target is one.
func (s *Sink) Open() error {
	if s.file == nil {
		return nil
	}
	if err := s.file.Open(); err != nil {
		return fmt.Errorf("dnstap: %w", err)
	}
	return nil
}

// Put queues m, encoded in the memory of buf, which it returns. Without room it counts m as lost.
func (s *Sink) Put(buf []byte, m *Message) []byte {
	buf = Append(buf[:0], &s.who, m)
	if !s.queue.Put(buf) {
		s.lost.Add(1)
	}
	return buf
}

// Counts returns how many messages were handed to the target's system, how many were lost, since the queue was
// full or the target failed, and how often it was connected to.
func (s *Sink) Counts() (sent, lost, connected uint64) {
	return s.sent.Load(), s.lost.Load(), s.connected.Load()
}

// Run writes until ctx ends, then what waits, for some seconds at most. Call it after Open.
func (s *Sink) Run(ctx context.Context) {
	if s.file != nil {
		s.runFile(ctx)
		return
	}
	pause := firstPause
	for ctx.Err() == nil {
		connected, err := s.converse(ctx)
		if ctx.Err() != nil {
			break
		}
		s.tell(err)
		if connected {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longestWait)
	}
	_, left := s.queue.Take(nil)
	s.lost.Add(uint64(left))
}

// tell logs that the target fails, or works again, once each.
func (s *Sink) tell(err error) {
	switch {
	case err != nil && !s.down:
		s.log.Warn("dnstap is interrupted", "to", s.target.name(), "err", err)
	case err == nil && s.down:
		s.log.Info("dnstap goes on", "to", s.target.name())
	}
	s.down = err != nil
}

func (t Target) name() string { return t.Socket + t.Address + t.File }

func (s *Sink) runFile(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			s.tell(s.write(s.file))
			s.tell(s.file.Close())
			return
		case <-s.queue.Ready():
			s.tell(s.write(s.file))
		}
	}
}

// write writes what waits. What could not be written is lost: part of it may have been.
func (s *Sink) write(to interface{ Write([]byte) (int, error) }) error {
	frames, n := s.queue.Take(s.spare)
	s.spare = frames
	if n == 0 {
		return nil
	}
	if _, err := to.Write(frames); err != nil {
		s.lost.Add(uint64(n))
		return err
	}
	s.sent.Add(uint64(n))
	return nil
}

// converse connects and writes until ctx ends or the connection fails. It reports whether the other end
// accepted.
func (s *Sink) converse(ctx context.Context) (connected bool, err error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if err := handshake(conn); err != nil {
		return false, err
	}
	s.connected.Add(1)
	s.tell(nil)
	finished := make(chan error, 1)
	go func() { finished <- readControl(conn, controlFinish) }() // it ends with the connection
	for {
		select {
		case <-ctx.Done():
			return true, s.finish(conn, finished)
		case err := <-finished:
			return true, fmt.Errorf("the other end closed: %w", gone(err))
		case <-s.queue.Ready():
			conn.SetWriteDeadline(time.Now().Add(patience))
			if err := s.write(conn); err != nil {
				return true, err
			}
		}
	}
}

// gone names the end of a connection at which the reader sent FINISH unasked.
func gone(err error) error {
	if err == nil {
		return net.ErrClosed
	}
	return err
}

func (s *Sink) dial(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{Timeout: patience}
	if s.target.Socket != "" {
		return dialer.DialContext(ctx, "unix", s.target.Socket)
	}
	return dialer.DialContext(ctx, "tcp", s.target.Address)
}

// handshake agrees on what the stream holds.
func handshake(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(appendControl(nil, controlReady)); err != nil {
		return err
	}
	if err := readControl(conn, controlAccept); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	if _, err := conn.Write(appendControl(nil, controlStart)); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// finish writes what waits, and waits until the other end has read it.
func (s *Sink) finish(conn net.Conn, finished <-chan error) error {
	conn.SetDeadline(time.Now().Add(patience))
	if err := s.write(conn); err != nil {
		return err
	}
	if _, err := conn.Write(appendControl(nil, controlStop)); err != nil {
		return err
	}
	return <-finished
}
