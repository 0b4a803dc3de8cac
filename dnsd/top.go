package dnsd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/dnsd/heavy"
	"tandem/internal/tandem"
)

const (
	mostTops     = 8      // who watches at once
	mostTopItems = 1000   // that one may ask for
	topCounters  = 1000   // that each has at least, ten times as many as it asks for
	topPerSecond = 20_000 // looked at, about: above, every second, third ... one is
)

// ErrWatched says that so many watch already that nobody else can.
var ErrWatched = errors.New("8 watch already; wait until one has done")

// Top is who was heard of most.
type Top struct {
	Queries uint64 // that were seen, each standing for those beside it that were not
	Every   int    // one in so many was looked at
	Missed  uint64 // that were to be looked at and were not, for too many waited
	XDP     uint64 // answered by XDP, and not seen
	Items   []heavy.Item
}

// TopKeys returns what queries can be told apart by in Top.
func TopKeys() []string { return []string{"name", "client", "type", "zone", "rcode"} }

// tops are those who watch. Nothing is counted while there is none.
type tops struct {
	model *model

	mu       sync.Mutex
	watchers []*watcher
}

// watcher counts by one key.
type watcher struct {
	by     string
	sketch *heavy.Sketch
}

// Top watches the queries for a span and returns the n that were asked, or asked for, most, told apart by one of
// TopKeys, with at most 1000. What it cannot do is a tandem.FieldError, ErrWatched, or ctx's error.
func (s *Server) Top(ctx context.Context, by string, span time.Duration, n int) (Top, error) {
	switch {
	case !slices.Contains(TopKeys(), by):
		return Top{}, tandem.FieldError{Field: "by", Reason: fmt.Sprintf("%.20q is not %s", by, strings.Join(TopKeys(), ", "))}
	case n < 1 || n > mostTopItems:
		return Top{}, tandem.FieldError{Field: "limit", Reason: fmt.Sprintf("is not within 1 and %d", mostTopItems)}
	}
	o, kernel := s.observing, s.accelerator
	w := &watcher{by: by, sketch: heavy.New(max(topCounters, 10*n))}
	every := 1 + int(s.history.rate(s.Metrics, queriesMetric, time.Second))/topPerSecond
	if err := o.attach(w, every); err != nil {
		return Top{}, err
	}
	defer o.detach(w)
	missed, before := o.missed.Load(), kernel.answered()
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return Top{}, ctx.Err()
	}
	top := Top{Every: every, Missed: o.missed.Load() - missed, XDP: kernel.answered() - before}
	o.tops.mu.Lock()
	defer o.tops.mu.Unlock()
	top.Queries, top.Items = w.sketch.Total(), w.sketch.Top(n)
	return top, nil
}

// attach lets w see one in so many queries.
func (o *observation) attach(w *watcher, every int) error {
	o.tops.mu.Lock()
	defer o.tops.mu.Unlock()
	if len(o.tops.watchers) >= mostTops {
		return ErrWatched
	}
	o.tops.watchers = append(o.tops.watchers, w)
	o.watch(byTop, every)
	return nil
}

// detach ends that. The last one switches counting off.
func (o *observation) detach(w *watcher) {
	o.tops.mu.Lock()
	defer o.tops.mu.Unlock()
	o.tops.watchers = slices.DeleteFunc(o.tops.watchers, func(other *watcher) bool { return other == w })
	if len(o.tops.watchers) == 0 {
		o.watch(byTop, 0)
	}
}

// see counts g for all who watch.
func (t *tops) see(g *glimpse) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.watchers {
		w.sketch.Add([]byte(t.key(w.by, g)), uint64(g.topEvery))
	}
}

// key returns what g is counted as.
func (t *tops) key(by string, g *glimpse) string {
	if by == "client" {
		return g.client.Addr().String()
	}
	name, rrtype := questionText(g.query())
	if name == "" && by != "rcode" {
		return "(unreadable)"
	}
	switch by {
	case "name":
		return strings.ToLower(name)
	case "type":
		return rrtype
	case "zone":
		if key, err := wireKey(strings.ToLower(name)); err == nil {
			if z := t.model.zoneOf(key); z != nil {
				return z.name
			}
		}
		return "(none of ours)"
	}
	if text := rcodeText(answerRcode(g.answer())); text != "" {
		return text
	}
	return "(no answer)"
}

// answered returns how many queries XDP answered, 0 without it.
func (a *accelerator) answered() uint64 {
	c, _ := a.counters()
	return c.udp.Load()
}
