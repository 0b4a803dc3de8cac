package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tandem/internal/tandem"
)

func sipTraceQuery() []parameter {
	return []parameter{
		{"account", "Only messages of this account's calls, and those that name it."},
		{"call", "Only messages of the call with this id, and of those that continue it."},
		{"callId", "Only messages with this SIP Call-ID."},
		{"party", "Only messages with this caller or called party, with or without its host, or from or to this node, peer or user name."},
		{"method", "Only requests of this method, and their responses."},
		{"raw", "1: with the whole messages; credentials and keys are left out."},
		{"probes", "1: with our own OPTIONS to nodes, and their answers."},
	}
}

// sipTrace streams SIP messages as they pass.
func (c *call) sipTrace() error {
	if c.server.deps.SIPTrace == nil {
		return c.absent("sip")
	}
	f, err := c.traceFilter()
	if err != nil {
		return err
	}
	return c.follow(func(ctx context.Context, s *callStream) error {
		return c.server.deps.SIPTrace(ctx, c.by, f, func(lines []tandem.TraceLine) error { return s.sendTrace(lines) })
	})
}

// traceFilter reads what the query chooses.
func (c *call) traceFilter() (tandem.TraceFilter, error) {
	q := c.r.URL.Query()
	f := tandem.TraceFilter{Call: q.Get("call"), CallID: q.Get("callId"), Party: q.Get("party"), Method: q.Get("method")}
	var err error
	if f.Account, err = c.account(); err != nil {
		return f, err
	}
	for name, to := range map[string]*bool{"raw": &f.Raw, "probes": &f.Probes} {
		switch q.Get(name) {
		case "", "0":
		case "1":
			*to = true
		default:
			return f, refuse(http.StatusBadRequest, "%s: %.40q is not 0 or 1", name, q.Get(name))
		}
	}
	if err := f.Validate(); err != nil {
		return f, refuse(http.StatusBadRequest, "%v", err)
	}
	return f, nil
}

// sendTrace writes lines; without any it tells the reader that messages are seen from now on.
func (s *callStream) sendTrace(lines []tandem.TraceLine) error {
	var b strings.Builder
	for i := range lines {
		data, err := json.Marshal(&lines[i])
		if err != nil {
			return fmt.Errorf("encode a message: %w", err)
		}
		if s.sse {
			fmt.Fprintf(&b, "event: message\ndata: %s\n\n", data)
		} else {
			b.Write(append(data, '\n'))
		}
	}
	return s.write(b.String())
}

// SIPTrace gives fn the SIP messages that f chooses, as they pass, until ctx ends or fn returns an error. It
// first calls fn with nil, once messages are seen.
func (c *Client) SIPTrace(ctx context.Context, f tandem.TraceFilter, fn func(*tandem.TraceLine) error) error {
	q := url.Values{}
	for name, value := range map[string]string{"account": f.Account, "call": f.Call, "callId": f.CallID, "party": f.Party, "method": f.Method} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, wanted := range map[string]bool{"raw": f.Raw, "probes": f.Probes} {
		if wanted {
			q.Set(name, "1")
		}
	}
	answer, err := c.send(ctx, http.MethodGet, "/v1/sip/trace", q, nil)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if err := fn(nil); err != nil {
		return err
	}
	for lines := json.NewDecoder(answer.Body); ; {
		var line struct {
			tandem.TraceLine
			Error *Error `json:"error"`
		}
		err := lines.Decode(&line)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("the stream of %s broke off: %w", c.socket, err)
		case line.Error != nil:
			return line.Error
		}
		if err := fn(&line.TraceLine); err != nil {
			return err
		}
	}
}
