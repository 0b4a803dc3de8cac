package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"tandem/internal/tandem"
)

// Sizes of a page of objects.
const (
	usualPage = 100
	mostPage  = 1000
)

// page is one answer of a list.
type page struct {
	Items []document `json:"items"`
	// Next is what to ask for after this page; empty on the last one.
	Next string        `json:"next,omitempty"`
	of   tandem.Object // for the description: the kind listed
}

func (c *call) list(k tandem.Kind) error {
	limit, err := c.query("limit", usualPage, mostPage)
	if err != nil {
		return err
	}
	if limit == 0 {
		return refuse(http.StatusBadRequest, "limit: 0 is not a number from 1 to %d", mostPage)
	}
	if _, err = c.account(); err != nil {
		return err
	}
	q := c.r.URL.Query()
	found, err := c.server.deps.Reader.List(c.r.Context(), c.by, k, q.Get("account"), q.Get("after"), int(limit))
	if err != nil {
		return fmt.Errorf("list %s: %w", Plural(k), err)
	}
	p := page{Items: make([]document, len(found))}
	for i, o := range found {
		p.Items[i] = document{o}
	}
	if len(found) == int(limit) {
		p.Next = found[len(found)-1].Header().ID
	}
	return c.answer(p)
}

// object gets one object, as the caller may see it.
func (c *call) object(k tandem.Kind) (tandem.Object, error) {
	id := c.r.PathValue("id")
	o, err := c.server.deps.Reader.Get(c.r.Context(), c.by, k, id)
	if errors.Is(err, tandem.ErrNotFound) || err == nil && !c.by.MaySee(o.Owner()) {
		return nil, refuse(http.StatusNotFound, "%s %.80s: not found", k, id)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s %.80s: %w", k, id, err)
	}
	return o, nil
}

func (c *call) get(k tandem.Kind) error {
	o, err := c.object(k)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", fmt.Sprintf(`"%d"`, o.Header().Revision))
	return c.answer(document{o})
}

func (c *call) delete(k tandem.Kind) error {
	expected, err := c.query("revision", 0, 1<<63)
	if err != nil {
		return err
	}
	o, err := c.object(k)
	if err != nil {
		return err
	}
	edit := tandem.Edit{Kind: k, ID: o.Header().ID, Expected: tandem.Revision(expected)}
	rev, err := c.server.deps.Store.Append(c.r.Context(), c.by, []tandem.Edit{edit})
	if err != nil {
		return deletion(err)
	}
	c.server.objects.Add(1)
	return c.answer(Result{Total: 1, Deleted: 1, Revision: rev})
}

// documents runs an operation over the request's documents, streaming what goes on when asked to.
func (c *call) documents(run func(context.Context, tandem.Principal, body, func(Event)) (Result, error)) error {
	select {
	case c.server.importing <- struct{}{}:
		defer func() { <-c.server.importing }()
	default:
		return refuse(http.StatusServiceUnavailable, "%d bodies of documents are under way already; try again", maxImports)
	}
	b, done, err := c.receive()
	if err != nil {
		return err
	}
	defer done()
	emit := func(Event) {}
	stream := c.r.URL.Query().Get("stream") == "1" || c.op.id == "diff"
	if stream {
		emit = c.event
	}
	result, err := run(c.r.Context(), c.by, b, emit)
	c.server.objects.Add(uint64(result.Created + result.Changed + result.Deleted))
	switch {
	case err != nil:
		return err
	case stream:
		c.event(Event{Result: &result})
		return nil
	}
	return c.answer(result)
}
