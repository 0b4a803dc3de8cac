package control

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"tandem/internal/tandem"
)

// remove deletes the objects that the documents name, those that refer to others first. What does
// not exist is counted as absent, so that deleting twice is no error.
func (s *Server) remove(ctx context.Context, by tandem.Principal, b body, emit func(Event)) (Result, error) {
	r, err := s.start(ctx, by, b, true, emit)
	if err != nil {
		return Result{}, err
	}
	if err := r.guardRemoval(ctx); err != nil {
		return Result{}, err
	}
	order := make([]int32, len(r.docs))
	for i := range order {
		order[i] = int32(len(order) - 1 - i)
	}
	for docs := range slices.Chunk(order, batchSize) {
		if err := r.removeBatch(ctx, docs); err != nil {
			return r.result, err
		}
		done := int64(r.result.Deleted + r.result.Absent)
		emit(Event{Progress: &Progress{Phase: "write", Done: done, Total: int64(len(order))}})
	}
	return r.result, nil
}

func (r *run) removeBatch(ctx context.Context, docs []int32) error {
	edits := make([]tandem.Edit, 0, len(docs))
	for _, n := range docs {
		o, err := r.object(n)
		if err != nil {
			return err
		}
		head := o.Header()
		_, err = r.deps.Reader.Get(ctx, r.by, o.Kind(), head.ID)
		if errors.Is(err, tandem.ErrNotFound) {
			r.result.Absent++
			continue
		}
		if err != nil {
			return err
		}
		edits = append(edits, tandem.Edit{Kind: o.Kind(), ID: head.ID, Expected: head.Revision})
	}
	if len(edits) == 0 {
		return nil
	}
	rev, err := r.deps.Store.Append(ctx, r.by, edits)
	if err != nil {
		return deletion(err)
	}
	r.result.Deleted += len(edits)
	r.result.Revision = rev
	return nil
}

// deletion says no to a deletion: what others still refer to is in conflict with what is stored.
func deletion(err error) error {
	e := asError(err)
	if e.Status == http.StatusUnprocessableEntity {
		e.Status = http.StatusConflict
	}
	return e
}
