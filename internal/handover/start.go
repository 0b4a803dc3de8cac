package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Successor is a process that was started to take this one's place.
type Successor struct {
	*Line
	process *os.Process
	ended   chan struct{} // closed once it has ended
	state   *os.ProcessState
}

// Start runs the program at path with these arguments, this process's environment, folder and streams, and
// all its sockets.
func (s *Sockets) Start(path string, args []string) (*Successor, error) {
	fds, names, err := s.duplicate()
	if err != nil {
		return nil, err
	}
	defer func() { closeAll(fds) }()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("line between processes: %w", err)
	}
	fds = append(fds, ends[1])
	line, err := newLine(ends[0])
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(bequest{names})
	if err != nil {
		return nil, err
	}
	files := []uintptr{0, 1, 2, uintptr(ends[1])}
	for _, fd := range fds[:len(names)] {
		files = append(files, uintptr(fd))
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, variable+"=") })
	// Not os.StartProcess: it would make the sockets blocking, for this process as well.
	pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{Env: append(env, variable+"="+string(text)), Files: files})
	if err != nil {
		line.Close()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	next := &Successor{Line: line, ended: make(chan struct{})}
	if next.process, err = os.FindProcess(pid); err != nil { // it never fails for a child that was not waited for
		return nil, fmt.Errorf("find process %d: %w", pid, err)
	}
	go func() {
		next.state, _ = next.process.Wait()
		close(next.ended)
	}()
	return next, nil
}

// PID returns its number.
func (n *Successor) PID() int { return n.process.Pid }

// Kill ends the process, and returns once it has.
func (n *Successor) Kill() {
	n.process.Kill()
	<-n.ended
	n.Close()
}

// Explain adds to an error that it has ended how it did, if it has.
func (n *Successor) Explain(err error) error {
	if !errors.Is(err, ErrEnded) {
		return err
	}
	select {
	case <-n.ended:
	case <-time.After(time.Second): // it has closed the line, and does not end
		return err
	}
	if n.state == nil {
		return err
	}
	return fmt.Errorf("it ended with %s; its log says why", n.state)
}
