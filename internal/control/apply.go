package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"tandem/internal/tandem"
)

// batchSize is how many objects are checked or written together: one synced commit.
const batchSize = 1000

// Result is what became of a body of documents.
type Result struct {
	Total     int             `json:"total" explain:"Documents read."`
	Created   int             `json:"created" explain:"Objects that did not exist before."`
	Changed   int             `json:"changed" explain:"Objects that were changed."`
	Unchanged int             `json:"unchanged" explain:"Objects that the store had already like this."`
	Deleted   int             `json:"deleted,omitempty" explain:"Objects that were deleted."`
	Absent    int             `json:"absent,omitempty" explain:"Objects to delete that did not exist."`
	Line      int             `json:"line,omitempty" explain:"Line of the document committed last."`
	Revision  tandem.Revision `json:"revision,omitempty" explain:"Revision of the last commit; zero when nothing was written."`
}

// count adds one object.
func (r *Result) count(a Action) {
	switch a {
	case Created:
		r.Created++
	case Changed:
		r.Changed++
	case Unchanged:
		r.Unchanged++
	}
}

// Progress tells how far a body of documents has come.
type Progress struct {
	Phase string `json:"phase" explain:"read (octets), check (documents) or write (documents)."`
	Done  int64  `json:"done" explain:"How many are behind."`
	Total int64  `json:"total" explain:"How many there are."`
	Line  int    `json:"line,omitempty" explain:"While writing: line of the document committed last."`
}

// Event is one line of a streamed answer: exactly one of its fields is set, Result or Error last.
type Event struct {
	Progress   *Progress   `json:"progress,omitempty" explain:"How far it has come."`
	Difference *Difference `json:"difference,omitempty" explain:"What one document would change."`
	Result     *Result     `json:"result,omitempty" explain:"What became of it."`
	Error      *Error      `json:"error,omitempty" explain:"Why it ended early."`
}

// body is a request's documents, all received.
type body struct {
	name string
	in   io.ReaderAt
	size int64
	// shrink says that taking much of a zone away is meant.
	shrink bool
}

// run is one body of documents on its way: read, checked, then written.
type run struct {
	deps Deps
	by   tandem.Principal
	emit func(Event)
	body body
	*file
	faults faultList
	result Result
	mu     sync.Mutex
	bad    map[int32]bool // documents that have been refused
	found  []finding      // by document; written by one goroutine, between the stages
}

// start reads and checks each document by itself.
func (s *Server) start(ctx context.Context, by tandem.Principal, b body, bare bool, emit func(Event)) (*run, error) {
	r := &run{deps: s.deps, by: by, emit: emit, body: b, bad: make(map[int32]bool), faults: faultList{file: b.name}}
	p := parser{schema: s.schema, checkZone: s.deps.CheckZone, checkSet: s.deps.CheckRecordSet, bare: bare, timeZones: new(timeZones)}
	var err error
	r.file, err = openFile(ctx, b.name, b.in, b.size, p, &r.faults, func(done int64) {
		emit(Event{Progress: &Progress{Phase: "read", Done: done, Total: b.size}})
	})
	if err != nil {
		return nil, err
	}
	r.result.Total, r.found = len(r.docs), make([]finding, len(r.docs))
	return r, r.faults.err()
}

// apply makes the store hold what the documents say.
func (s *Server) apply(ctx context.Context, by tandem.Principal, b body, emit func(Event)) (Result, error) {
	r, err := s.start(ctx, by, b, false, emit)
	if err != nil {
		return Result{}, err
	}
	if err := r.check(ctx, nil); err != nil {
		return Result{}, err
	}
	return r.result, r.write(ctx)
}

// resolved is one batch on its way through a stage.
type resolved struct {
	docs    []int32
	intents []intent
	names   []string // of the objects, for messages about those with errors
	errs    []error  // by document, nil where there is none
	err     error    // trouble of ours
}

// resolve works out what a batch comes to. When it is written for the first time, what did not exist
// a moment ago is not looked for again: should it be there now, the commit is refused and resolved anew.
func (r *run) resolve(ctx context.Context, docs []int32, write, again bool) resolved {
	out := resolved{docs: docs, intents: make([]intent, len(docs)), errs: make([]error, len(docs)), names: make([]string, len(docs))}
	res := r.resolver(write)
	for i, n := range docs {
		o, err := r.object(n)
		if err == nil {
			out.intents[i], err = res.resolve(ctx, o, r.found[n] == foundNone && write && !again)
		}
		if err == nil && !write {
			err = r.guard(out.intents[i])
		}
		if fault := (documentError{}); errors.As(err, &fault) {
			out.errs[i], out.names[i] = fault.error, nameOf(o)
			continue
		}
		if err != nil {
			out.err = err
			return out
		}
	}
	return out
}

// finding is what the check found of a document's object in the store.
type finding uint8

const (
	foundOther finding = iota // there may be one
	foundNone                 // there was none
	foundSame                 // the store has it already like this
)

func find(a Action) finding {
	switch a {
	case Created:
		return foundNone
	case Unchanged:
		return foundSame
	}
	return foundOther
}

// batches yields the numbers from..to of the documents that the store does not hold already, so
// many at a time.
func (r *run) batches(from, to int) iter.Seq[[]int32] {
	return grouped(func(yield func(int32) bool) {
		for n := from; n < to; n++ {
			if r.found[n] != foundSame && !yield(int32(n)) {
				return
			}
		}
	}, batchSize)
}

// nameOf says which object it is.
func nameOf(o tandem.Object) string { return string(o.Kind()) + " " + o.Header().ID }

func (r *run) resolver(write bool) *resolver {
	return &resolver{
		reader: r.deps.Reader, seal: r.deps.Seal, by: r.by, write: write,
		accounts: make(map[string]*tandem.Account), sets: make(map[string]*tandem.RecordSet),
	}
}

// check holds every document against the store and the rest of the file, without writing. seen, if
// not nil, is told what each document comes to, in order.
func (r *run) check(ctx context.Context, seen func(n int32, it intent) error) error {
	work := func(docs []int32) resolved {
		batch := r.resolve(ctx, docs, false, false)
		if batch.err == nil {
			batch.err = r.checkStore(ctx, &batch)
		}
		return batch
	}
	var done int64
	err := inOrder(ctx, r.batches(0, len(r.docs)), work, func(batch resolved) error {
		if batch.err != nil {
			return batch.err
		}
		for i, n := range batch.docs {
			if batch.errs[i] != nil {
				r.fault(n, batch.names[i], batch.errs[i])
				continue
			}
			it := batch.intents[i]
			r.found[n] = find(it.action)
			if it.action == Unchanged {
				r.result.Unchanged++
			}
			if seen != nil {
				if err := seen(n, it); err != nil {
					return err
				}
			}
		}
		done += int64(len(batch.docs))
		r.emit(Event{Progress: &Progress{Phase: "check", Done: done, Total: int64(len(r.docs))}})
		return nil
	})
	if err != nil {
		return err
	}
	return r.faults.err()
}

// fault tells what is wrong with document n.
func (r *run) fault(n int32, name string, err error) {
	at := r.docs[n]
	line := int(at.line)
	var field tandem.FieldError
	errors.As(err, &field)
	if errors.Is(err, tandem.ErrConflict) {
		field.Field = "revision"
	}
	if field.Field != "" {
		line = r.lineOf(at, field.Field)
	}
	r.faults.addError(line, name, err)
}

// write commits every document that is not stored yet, batch after batch. Devices come in a second
// go, when the accounts whose realm their hashes need are all stored; a file of one batch needs no
// such care, and is one commit.
func (r *run) write(ctx context.Context) error {
	split := r.firstDevice()
	if len(r.docs) <= batchSize {
		split = 0
	}
	for _, part := range [][2]int{{0, split}, {split, len(r.docs)}} {
		work := func(docs []int32) resolved { return r.resolve(ctx, docs, true, false) }
		err := inOrder(ctx, r.batches(part[0], part[1]), work, func(batch resolved) error {
			return r.commit(ctx, batch)
		})
		if err != nil {
			return r.interrupted(err)
		}
	}
	return nil
}

// commit appends a batch; when something of it was changed by someone else since it was resolved,
// it is resolved anew.
func (r *run) commit(ctx context.Context, batch resolved) error {
	const attempts = 5
	var err error
	for range attempts {
		var rev tandem.Revision
		var edits []tandem.Edit
		if edits, err = r.changes(batch); err != nil {
			return err
		}
		if err = r.rehash(ctx, batch); err == nil && len(edits) > 0 {
			rev, err = r.deps.Store.Append(ctx, r.by, edits)
		}
		if err == nil {
			r.committed(batch, rev)
			return nil
		}
		if !errors.Is(err, tandem.ErrConflict) {
			return err
		}
		batch = r.resolve(ctx, batch.docs, true, true)
	}
	return err
}

// changes returns the edits of a batch that change something.
func (r *run) changes(batch resolved) ([]tandem.Edit, error) {
	if batch.err != nil {
		return nil, batch.err
	}
	edits := make([]tandem.Edit, 0, len(batch.docs))
	for i, it := range batch.intents {
		if batch.errs[i] != nil {
			return nil, fmt.Errorf("line %d: %w", r.docs[batch.docs[i]].line, batch.errs[i])
		}
		if it.action != Unchanged {
			edits = append(edits, it.edit)
		}
	}
	return edits, nil
}

func (r *run) committed(batch resolved, rev tandem.Revision) {
	for _, it := range batch.intents {
		r.result.count(it.action)
	}
	r.result.Line = int(r.docs[batch.docs[len(batch.docs)-1]].line)
	r.result.Revision = max(r.result.Revision, rev)
	done := r.result.Created + r.result.Changed + r.result.Unchanged
	r.emit(Event{Progress: &Progress{Phase: "write", Done: int64(done), Total: int64(len(r.docs)), Line: r.result.Line}})
}

// interrupted says how far the writing came. Applying the file again does the rest.
func (r *run) interrupted(err error) error {
	e := asError(err)
	written := r.result.Created + r.result.Changed
	if written == 0 {
		return refuse(e.Status, "%s: %s; nothing was written", r.name, e.Message)
	}
	return refuse(e.Status, "%s: %s; %d objects are written, the last one from line %d; apply the file again to do the rest",
		r.name, e.Message, written, r.result.Line)
}
