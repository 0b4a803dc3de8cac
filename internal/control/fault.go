package control

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"tandem/internal/tandem"
)

// maxFaults is how many faults of a file are told one by one.
const maxFaults = 20

// Fault is one thing that is wrong with a document.
type Fault struct {
	File   string `json:"file,omitempty" explain:"Name of the file, as given in the request."`
	Line   int    `json:"line,omitempty" explain:"Line in the file, from 1."`
	Field  string `json:"field,omitempty" explain:"Path of the field, such as labels[0].label."`
	Reason string `json:"reason" explain:"What is wrong and what would be right."`
}

// String returns file:line: field: reason, without what is not known.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	b.WriteString(f.Reason)
	return b.String()
}

// Error is how the API says no, and what the Client returns. errors.Is finds tandem.ErrNotFound and
// tandem.ErrConflict in it.
type Error struct {
	Status  int     `json:"status" explain:"HTTP status."`
	Message string  `json:"error" explain:"What went wrong, in one line."`
	Faults  []Fault `json:"faults,omitempty" explain:"What is wrong with the documents sent, at most 20."`
	More    int     `json:"more,omitempty" explain:"How many further faults there are."`
}

// Error returns the message and each fault on a line of its own.
func (e *Error) Error() string {
	if len(e.Faults) == 0 {
		return e.Message
	}
	lines := make([]string, 0, len(e.Faults)+1)
	for _, f := range e.Faults {
		lines = append(lines, f.String())
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", e.More))
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the vocabulary's word for the status, when there is one.
func (e *Error) Unwrap() error {
	switch e.Status {
	case http.StatusNotFound:
		return tandem.ErrNotFound
	case http.StatusPreconditionFailed:
		return tandem.ErrConflict
	}
	return nil
}

// refuse makes an Error.
func refuse(status int, format string, args ...any) *Error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// asError turns any error into what the API answers. It is the one place where an error becomes an
// HTTP status. What is not known to be the caller's affair becomes a 500 with its text, for callers
// are administrators of this machine; texts of errors never hold secrets.
func asError(err error) *Error {
	var already *Error
	if errors.As(err, &already) {
		return already
	}
	var edit *tandem.EditError
	if errors.As(err, &edit) {
		return editError(edit)
	}
	var field tandem.FieldError
	var fields tandem.FieldErrors
	var tooLong *http.MaxBytesError
	switch {
	case errors.Is(err, tandem.ErrNotFound):
		return refuse(http.StatusNotFound, "%v", err)
	case errors.Is(err, tandem.ErrConflict):
		return refuse(http.StatusPreconditionFailed, "%v", err)
	case errors.Is(err, tandem.ErrTrimmed):
		return refuse(http.StatusGone, "%v", err)
	case errors.Is(err, tandem.ErrAway):
		return refuse(http.StatusServiceUnavailable, "%v", err)
	case errors.As(err, &field), errors.As(err, &fields):
		return refuse(http.StatusUnprocessableEntity, "%v", err)
	case errors.As(err, &tooLong):
		return refuse(http.StatusRequestEntityTooLarge, "the body is over the limit of %d octets", tooLong.Limit)
	}
	return refuse(http.StatusInternalServerError, "%v", err)
}

// editError is asError for a refused edit. A deletion that others stand in the way of is a conflict
// with what is stored, any other bad field is the document's fault.
func editError(e *tandem.EditError) *Error {
	switch {
	case errors.Is(e.Err, tandem.ErrNotFound):
		return refuse(http.StatusNotFound, "%s %s: not found", e.Kind, e.ID)
	case errors.Is(e.Err, tandem.ErrConflict):
		return refuse(http.StatusPreconditionFailed, "%s %s: changed meanwhile; get it again and repeat the change", e.Kind, e.ID)
	}
	return refuse(http.StatusUnprocessableEntity, "%s %s: %v", e.Kind, e.ID, e.Err)
}

// faultList collects faults in order, bounded.
type faultList struct {
	file     string
	faults   []Fault
	more     int
	conflict int // how many of them are conflicts of revision
	missing  int // how many of them are objects that cannot be seen
}

// add notes a fault.
func (l *faultList) add(f Fault) {
	f.File = l.file
	if len(l.faults) >= maxFaults {
		l.more++
		return
	}
	l.faults = append(l.faults, f)
}

// addError notes what was found wrong with an object, called name, as a fault at line.
func (l *faultList) addError(line int, name string, err error) {
	var field tandem.FieldError
	switch {
	case errors.Is(err, tandem.ErrConflict):
		l.conflict++
		l.add(Fault{Line: line, Field: "revision", Reason: "is not the current one: " + name + " was changed meanwhile"})
	case errors.Is(err, tandem.ErrNotFound):
		l.missing++
		l.add(Fault{Line: line, Reason: name + ": not found"})
	case errors.As(err, &field):
		l.add(Fault{Line: line, Field: field.Field, Reason: field.Reason})
	default:
		l.add(Fault{Line: line, Reason: err.Error()})
	}
}

func (l *faultList) count() int { return len(l.faults) + l.more }

// err returns nil when nothing was added.
func (l *faultList) err() error {
	n := l.count()
	if n == 0 {
		return nil
	}
	status := http.StatusUnprocessableEntity
	if n == l.conflict {
		status = http.StatusPreconditionFailed
	} else if n == l.missing {
		status = http.StatusNotFound
	}
	plural := "s"
	if n == 1 {
		plural = ""
	}
	return &Error{
		Status: status, Faults: l.faults, More: l.more,
		Message: fmt.Sprintf("%s: %d fault%s, nothing was written", l.file, n, plural),
	}
}
