package sipproxy

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/classify"
	"tandem/sipproxy/wire"
)

// Bounds of a trace: lines that may wait for its reader, and are given to it at once; and how often one
// that misses messages is told so when no more come.
const (
	traceWaiting = 1024
	traceAtOnce  = 64
	traceTold    = time.Second
)

// traces are those who watch. A worker reads them without a lock; nil means nobody does.
type traces struct {
	all atomic.Pointer[[]*tracer]
	raw atomic.Bool // somebody wants whole messages

	mu sync.Mutex // watchers come and go
}

// tracer is one who watches.
type tracer struct {
	by     tandem.Principal
	filter tandem.TraceFilter
	lines  chan tandem.TraceLine
	missed atomic.Uint64
}

// set makes list those who watch.
func (t *traces) set(list []*tracer) {
	t.raw.Store(slices.ContainsFunc(list, func(x *tracer) bool { return x.filter.Raw }))
	if len(list) == 0 {
		t.all.Store(nil)
		return
	}
	t.all.Store(&list)
}

func (t *traces) list() []*tracer {
	if all := t.all.Load(); all != nil {
		return slices.Clone(*all)
	}
	return nil
}

// Trace gives fn the SIP messages that f chooses, as they pass, until ctx ends or fn returns an error,
// which it then returns. It first calls fn without lines, once it sees what passes. It holds up no
// message: when fn is slow, lines are left out and counted, and the next one says how many. Administrators see every message; others those of their account's calls.
func (s *Server) Trace(ctx context.Context, by tandem.Principal, f tandem.TraceFilter, fn func([]tandem.TraceLine) error) error {
	if err := f.Validate(); err != nil {
		return err
	}
	t := &tracer{by: by, filter: f, lines: make(chan tandem.TraceLine, traceWaiting)}
	s.traces.mu.Lock()
	s.traces.set(append(s.traces.list(), t))
	s.traces.mu.Unlock()
	defer func() {
		s.traces.mu.Lock()
		s.traces.set(slices.DeleteFunc(s.traces.list(), func(x *tracer) bool { return x == t }))
		s.traces.mu.Unlock()
	}()
	if err := fn(nil); err != nil {
		return err
	}
	return t.read(ctx, fn)
}

// read gives fn what comes, some at once, and what was missed when nothing comes.
func (t *tracer) read(ctx context.Context, fn func([]tandem.TraceLine) error) error {
	tick := time.NewTicker(traceTold)
	defer tick.Stop()
	for {
		var lines []tandem.TraceLine
		select {
		case <-ctx.Done():
			return nil
		case l := <-t.lines:
			lines = append(lines, l)
		case now := <-tick.C:
			if len(t.lines) > 0 {
				continue
			}
			if n := t.missed.Swap(0); n > 0 {
				lines = append(lines, tandem.TraceLine{Arrow: tandem.Arrow{Time: now.UTC()}, Missed: n})
			}
		}
		for len(lines) < traceAtOnce && len(t.lines) > 0 {
			lines = append(lines, <-t.lines)
		}
		if len(lines) == 0 {
			continue
		}
		if err := fn(lines); err != nil {
			return err
		}
	}
}

// take gives a line to the reader if there is room, with how many were missed before it.
func (t *tracer) take(l tandem.TraceLine) {
	l.Missed = t.missed.Swap(0)
	if !t.filter.Raw {
		l.Raw = ""
	}
	select {
	case t.lines <- l:
	default:
		t.missed.Add(l.Missed + 1)
	}
}

// trace gives one message to those who watch for it. l is its call's ladder, nil when it has none.
func (w *worker) trace(list []*tracer, p *passage, l *ladder) {
	var line tandem.TraceLine
	for _, t := range list {
		switch {
		case p.probe && l == nil && !t.filter.Probes, // those within a call are its messages
			!t.by.Admin && (l == nil || !t.by.MaySee(l.account)):
			continue
		case line.Text == "":
			line = w.lineOf(p, l)
		}
		if t.filter.Match(&line) {
			t.take(line)
		}
	}
}

// lineOf writes a message out.
func (w *worker) lineOf(p *passage, l *ladder) tandem.TraceLine {
	line := tandem.TraceLine{Method: strings.Clone(p.method), CallID: strings.Clone(p.callID), Raw: w.rawOf(p)}
	line.Caller, line.Called = strings.Clone(party(p.fromURI)), strings.Clone(party(p.toURI))
	var other string
	if l != nil {
		line.Call, line.Account = l.id, l.account
		if c := w.calls.live[l.key]; c != nil && c.seen.ID == l.id {
			line.Joined = c.seen.Joined
		}
		other = l.parties[l.party(w, p.hop)].name
	} else {
		line.Account = w.accountOf(p)
		other = w.nameOf(p.hop)
	}
	line.Arrow = tandem.Arrow{Time: w.now.UTC(), From: own, To: other, Text: text(p.status, line.Method, p.marks)}
	if p.marks&incoming != 0 {
		line.From, line.To = other, own
	}
	if p.method == "" {
		line.Text = "message (malformed)"
	}
	return line
}

// rawOf returns the whole message without its secrets, when somebody wants it.
func (w *worker) rawOf(p *passage) string {
	if !w.traces.raw.Load() {
		return ""
	}
	return redact(p.raw)
}

// accountOf says which account a message claims to be about that belongs to no call: the one that From
// names, else To, else the one with the number in To. Nobody has proved it.
func (w *worker) accountOf(p *passage) string {
	for _, uri := range [...]string{p.fromURI, p.toURI} {
		u, err := wire.ParseURI(uri)
		if err != nil {
			continue
		}
		if acct, _ := w.dir.AccountByHost(u.Host); acct != nil {
			return acct.ID
		}
		if number, ok := classify.Number(nil, userOf(&u)); ok && uri == p.toURI {
			if acct := w.dir.AccountByNumber(number); acct != nil {
				return acct.ID
			}
		}
	}
	return ""
}
