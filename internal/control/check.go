package control

import (
	"context"
	"errors"
	"slices"

	"tandem/internal/tandem"
)

// checkStore asks the store about a batch, again without each document that it refuses, and notes
// what it says about each.
func (r *run) checkStore(ctx context.Context, batch *resolved) error {
	for i, err := range batch.errs {
		if err != nil {
			r.refuse(batch.docs[i])
		}
	}
	for range maxFaults {
		c := closure{run: r, res: r.resolver(false), needed: make(map[int32]bool), inside: batch.docs}
		edits, numbers, err := c.edits(ctx, batch)
		if err != nil || len(edits) == 0 {
			return err
		}
		err = r.deps.Store.Check(ctx, r.by, edits)
		var refused *tandem.EditError
		if !errors.As(err, &refused) {
			return err
		}
		n := numbers[refused.Index]
		r.refuse(n)
		if i, inside := slices.BinarySearch(batch.docs, n); inside {
			batch.errs[i], batch.names[i] = refused.Err, nameOf(batch.intents[i].edit.Object)
		}
	}
	return nil
}

func (r *run) refuse(n int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad[n] = true
}

func (r *run) refused(n int32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bad[n]
}

// closure gathers, for a batch to check, those documents of the file outside of it that it refers
// to, so that the store finds every reference either in itself or among the edits.
type closure struct {
	*run
	res     *resolver
	needed  map[int32]bool // visited; true when it can be relied on
	inside  []int32        // documents of the batch
	before  []tandem.Edit
	numbers []int32
}

// edits returns the edits to check for batch, and each one's document. What depends on a refused
// document is left out: its reader has been told already.
func (c *closure) edits(ctx context.Context, batch *resolved) (edits []tandem.Edit, numbers []int32, err error) {
	for i := range batch.docs {
		if batch.errs[i] != nil || batch.intents[i].action == Unchanged {
			continue
		}
		fine, err := c.refs(ctx, batch.intents[i].edit.Object)
		if err != nil {
			return nil, nil, err
		}
		if fine {
			edits, numbers = append(edits, whatever(batch.intents[i].edit)), append(numbers, batch.docs[i])
		}
	}
	if len(edits) == 0 {
		return nil, nil, nil
	}
	return append(c.before, edits...), append(c.numbers, numbers...), nil
}

// refs adds what o refers to in the file, and reports whether all of it can be relied on.
func (c *closure) refs(ctx context.Context, o tandem.Object) (bool, error) {
	for _, ref := range o.Refs() {
		n, inFile := c.find(ref.Kind, ref.ID)
		if !inFile {
			continue
		}
		fine, err := c.doc(ctx, n)
		if !fine || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (c *closure) doc(ctx context.Context, n int32) (bool, error) {
	if fine, visited := c.needed[n]; visited {
		return fine, nil
	}
	c.needed[n] = true // also ends a circle
	fine, err := c.visit(ctx, n)
	c.needed[n] = fine
	return fine, err
}

func (c *closure) visit(ctx context.Context, n int32) (bool, error) {
	if c.refused(n) {
		return false, nil
	}
	o, err := c.object(n)
	if err != nil {
		return false, err
	}
	it, err := c.res.resolve(ctx, o, false)
	if errors.As(err, new(documentError)) {
		return false, nil
	}
	if err != nil || it.action == Unchanged {
		return true, err
	}
	fine, err := c.refs(ctx, o)
	if _, inside := slices.BinarySearch(c.inside, n); fine && err == nil && !inside {
		c.before, c.numbers = append(c.before, whatever(it.edit)), append(c.numbers, n)
	}
	return fine, err
}

// whatever is e without its expectations. A revision that the document states has been compared
// already; that someone else is changing the object just now matters to the commit only.
func whatever(e tandem.Edit) tandem.Edit {
	e.Expected, e.Create = 0, false
	return e
}
