// Command tandem is the appliance and its command line: one binary.
//
// tandem serve runs the parts that a configuration file names; every other command is a client of a
// running tandem over its unix socket. Each noun has a file of its own here. Flags go in, text or
// JSON comes out; what a command does is done by internal/control, on the other side of the socket.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage or bad documents, 3 not found, 4 conflict, 5 no
// tandem reachable.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // the appliance's root has no time zone files

	"tandem/internal/control"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes.
const (
	exitDone = iota
	exitFailed
	exitUsage
	exitNotFound
	exitConflict
	exitUnreachable
)

// run runs one command and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	s := &session{in: in, out: out, errs: errs}
	root := newRoot(s)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if s.client != nil {
		s.client.Close()
	}
	if err == nil {
		return exitDone
	}
	complain(errs, err)
	if !s.started {
		return exitUsage
	}
	return exitCode(err)
}

// complain writes an error: the faults of documents as lines that editors understand, all else as
// one line.
func complain(w io.Writer, err error) {
	var refused *control.Error
	if errors.As(err, &refused) && len(refused.Faults) > 0 {
		fmt.Fprintln(w, refused.Error())
		err = errors.New(refused.Message)
	}
	fmt.Fprintf(w, "tandem: %v\n", err)
}

// exitCode turns an error of a command that was used rightly into its exit code.
func exitCode(err error) int {
	if errors.Is(err, control.ErrUnreachable) {
		return exitUnreachable
	}
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	var refused *control.Error
	if !errors.As(err, &refused) {
		return exitFailed
	}
	switch refused.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return exitUsage
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusPreconditionFailed:
		return exitConflict
	}
	return exitFailed
}

// usageError is a command used wrongly in a way that its flags and arguments alone do not show.
type usageError struct{ error }

func misuse(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }
