package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem/internal/tandem"
)

const (
	maxStreams = 32               // of events, at once; more get 503
	heartbeat  = 15 * time.Second // between signs of life while nothing happens
)

// errOver ends a stream of events that has done what it was asked for, or whose reader has gone.
var errOver = errors.New("over")

// callEvents streams the events of calls. It ends when its reader goes, or is too slow, or when the
// server ends; a reader comes back with the last number it saw and misses nothing.
func (c *call) callEvents() error {
	log := c.server.deps.CallLog
	if log == nil {
		return c.absent("a log of calls")
	}
	account, err := c.account()
	if err != nil {
		return err
	}
	by := c.by
	if account != "" {
		by = tandem.Principal{Name: by.Name, Account: account}
	}
	after, end, err := c.callRange()
	if err != nil {
		return err
	}
	return c.follow(func(ctx context.Context, s *callStream) error {
		if err := s.write(""); err != nil || end != nil && after >= *end {
			return errOver
		}
		return log.FollowCalls(ctx, by, after, func(events []tandem.CallEvent, reached tandem.Revision) error {
			if err := s.send(events, reached, end); err != nil {
				return err
			}
			if end != nil && reached >= *end {
				return errOver
			}
			return nil
		})
	})
}

// follow opens a stream, if there are not too many, and has run write it until it has done that, or its
// reader or the server has gone.
func (c *call) follow(run func(ctx context.Context, s *callStream) error) error {
	select {
	case c.server.streams <- struct{}{}:
		defer func() { <-c.server.streams }()
	default:
		return refuse(http.StatusServiceUnavailable, "%d streams of events are open already; close one", cap(c.server.streams))
	}
	s := c.newCallStream()
	ctx, stop := context.WithCancel(c.r.Context())
	var beating sync.WaitGroup
	defer beating.Wait()
	defer stop()
	beating.Go(func() { s.beat(ctx, stop) })
	err := run(ctx, s)
	if errors.Is(err, errOver) || ctx.Err() != nil {
		return nil
	}
	return s.fail(err)
}

// callRange reads after which event the stream begins and, if it is to end, with which.
func (c *call) callRange() (after tandem.Revision, end *tandem.Revision, err error) {
	q := c.r.URL.Query()
	first, last := c.server.deps.CallLog.CallEvents()
	from, err := c.query("after", uint64(last), 1<<63)
	if err != nil {
		return 0, nil, err
	}
	if id := c.r.Header.Get("Last-Event-ID"); id != "" && q.Get("after") == "" {
		if from, err = strconv.ParseUint(id, 10, 63); err != nil {
			return 0, nil, refuse(http.StatusBadRequest, "Last-Event-ID: %.40q is not the number of an event", id)
		}
	}
	if q.Get("last") != "" {
		n, err := c.query("last", 0, 1<<32)
		if err != nil {
			return 0, nil, err
		}
		from = uint64(max(last-min(last, tandem.Revision(n)), first))
	}
	if after = tandem.Revision(from); after < first || after > last {
		return 0, nil, refuse(http.StatusGone, "after: event %d is not kept: %d to %d are; list the calls and go on after %d", after, first, last, last)
	}
	switch q.Get("follow") {
	case "", "1":
		return after, nil, nil
	case "0":
		return after, &last, nil
	}
	return 0, nil, refuse(http.StatusBadRequest, "follow: %.40q is not 0 or 1", q.Get("follow"))
}

// callStream writes events in one of two forms.
type callStream struct {
	call *call
	sse  bool

	mu sync.Mutex // the follower and the heartbeat both write
}

func (c *call) newCallStream() *callStream {
	s := &callStream{call: c, sse: strings.Contains(c.r.Header.Get("Accept"), "text/event-stream")}
	form := "application/x-ndjson"
	if s.sse {
		form = "text/event-stream"
	}
	c.w.Header().Set("Content-Type", form)
	c.w.Header().Set("Cache-Control", "no-store")
	c.started = true
	return s
}

// write sends text, which may be nothing, at once.
func (s *callStream) write(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.call.awaitReader()
	if _, err := s.call.w.Write([]byte(text)); err != nil {
		return errOver
	}
	if err := s.call.http.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errOver
	}
	return nil
}

// send writes events, and to readers that keep it the number to come back with.
func (s *callStream) send(events []tandem.CallEvent, reached tandem.Revision, end *tandem.Revision) error {
	var b strings.Builder
	for i := range events {
		if end != nil && events[i].Seq > *end {
			break
		}
		data, err := json.Marshal(&events[i])
		if err != nil {
			return fmt.Errorf("encode an event: %w", err)
		}
		if s.sse {
			fmt.Fprintf(&b, "id: %d\nevent: call\ndata: %s\n\n", events[i].Seq, data)
		} else {
			b.Write(append(data, '\n'))
		}
	}
	if s.sse && len(events) == 0 {
		fmt.Fprintf(&b, "id: %d\n\n", reached)
	}
	return s.write(b.String())
}

// fail tells readers of server-sent events why their stream ends; others are told as ever.
func (s *callStream) fail(err error) error {
	if !s.sse {
		return err
	}
	data, e := json.Marshal(asError(err))
	if e != nil {
		return e
	}
	_ = s.write(fmt.Sprintf("event: error\ndata: %s\n\n", data)) // a reader that has gone needs no reason
	return nil
}

// beat gives signs of life, and stops the stream when its reader or the server has gone.
func (s *callStream) beat(ctx context.Context, stop func()) {
	sign := "\n"
	if s.sse {
		sign = ":\n\n"
	}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.call.server.ending:
			stop()
			return
		case <-tick.C:
			if s.write(sign) != nil {
				stop()
				return
			}
		}
	}
}

// CallEvents says which events of calls to give.
type CallEvents struct {
	Account string
	After   *tandem.Revision // begin after this one; nil with the next to come
	Last    int              // begin with the last so many instead
	Follow  bool             // go on with what happens
}

// CallEvents gives fn the events of calls, until ctx ends or, unless it is to follow, none is left.
func (c *Client) CallEvents(ctx context.Context, which CallEvents, fn func(tandem.CallEvent) error) error {
	q := url.Values{"follow": {"0"}}
	if which.Follow {
		q.Set("follow", "1")
	}
	if which.Account != "" {
		q.Set("account", which.Account)
	}
	if which.After != nil {
		q.Set("after", strconv.FormatUint(uint64(*which.After), 10))
	} else if which.Last > 0 {
		q.Set("last", strconv.Itoa(which.Last))
	}
	answer, err := c.send(ctx, http.MethodGet, "/v1/calls/events", q, nil)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	return c.readCallEvents(ctx, json.NewDecoder(answer.Body), which.Follow, fn)
}

func (c *Client) readCallEvents(ctx context.Context, lines *json.Decoder, follow bool, fn func(tandem.CallEvent) error) error {
	for {
		var line struct {
			tandem.CallEvent
			Error *Error `json:"error"`
		}
		err := lines.Decode(&line)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !follow && errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("the stream of %s broke off: %w", c.socket, err)
		case line.Error != nil:
			return line.Error
		}
		if err := fn(line.CallEvent); err != nil {
			return err
		}
	}
}
