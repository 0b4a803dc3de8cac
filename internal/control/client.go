package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"tandem/internal/tandem"
)

// ErrUnreachable says that no tandem answers at the socket.
var ErrUnreachable = errors.New("no tandem answers")

// Client is the door's outer side. It may be used by many goroutines at once. What the server
// refuses comes back as an *Error.
type Client struct {
	socket string
	http   *http.Client
	shrink bool
}

// NewClient returns a client of the tandem that listens at the unix socket. It connects when it is
// first used.
func NewClient(socket string) *Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableCompression: true,
	}
	return &Client{socket: socket, http: &http.Client{Transport: transport}}
}

// AllowShrink returns a client whose bodies of documents may take much of a zone away.
func (c *Client) AllowShrink() *Client {
	allowed := *c
	allowed.shrink = true
	return &allowed
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Page is one page of a list, each item as JSON with its kind.
type Page struct {
	Items []json.RawMessage `json:"items"`
	Next  string            `json:"next"` // what to list after for the next page, "" on the last
}

// Get returns one object as JSON, with its kind and without its secrets.
func (c *Client) Get(ctx context.Context, k tandem.Kind, id string) (json.RawMessage, error) {
	var out json.RawMessage
	return out, c.ask(ctx, http.MethodGet, objectPath(k, id), nil, nil, &out)
}

// List returns a page of at most limit objects with ids after the given one, of one account when
// owner is not "".
func (c *Client) List(ctx context.Context, k tandem.Kind, owner, after string, limit int) (Page, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if owner != "" {
		q.Set("account", owner)
	}
	if after != "" {
		q.Set("after", after)
	}
	var out Page
	return out, c.ask(ctx, http.MethodGet, "/v1/"+Plural(k), q, nil, &out)
}

// Delete deletes one object. Revision zero means whatever it has.
func (c *Client) Delete(ctx context.Context, k tandem.Kind, id string, expected tandem.Revision) (Result, error) {
	q := url.Values{}
	if expected != 0 {
		q.Set("revision", strconv.FormatUint(uint64(expected), 10))
	}
	var out Result
	return out, c.ask(ctx, http.MethodDelete, objectPath(k, id), q, nil, &out)
}

// Apply makes the store hold what the documents say. name stands in messages about them; each event
// is given to event as it comes.
func (c *Client) Apply(ctx context.Context, name string, documents io.Reader, event func(Event)) (Result, error) {
	return c.stream(ctx, "/v1/apply", name, documents, event)
}

// Diff tells what Apply would do, as events with a Difference.
func (c *Client) Diff(ctx context.Context, name string, documents io.Reader, event func(Event)) (Result, error) {
	return c.stream(ctx, "/v1/diff", name, documents, event)
}

// DeleteAll deletes the objects that the documents name.
func (c *Client) DeleteAll(ctx context.Context, name string, documents io.Reader, event func(Event)) (Result, error) {
	return c.stream(ctx, "/v1/delete", name, documents, event)
}

// Wait returns once every part serves the revision.
func (c *Client) Wait(ctx context.Context, rev tandem.Revision) error {
	q := url.Values{"revision": {strconv.FormatUint(uint64(rev), 10)}}
	return c.ask(ctx, http.MethodGet, "/v1/served", q, nil, nil)
}

// Status tells how the tandem is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var out Status
	return out, c.ask(ctx, http.MethodGet, "/v1/status", nil, nil, &out)
}

// Trace explains what DNS answers for a name to clients at from, an address or a network, "" for the
// server's machine.
func (c *Client) Trace(ctx context.Context, name, from string) ([]tandem.Step, error) {
	q := url.Values{"name": {name}}
	if from != "" {
		q.Set("from", from)
	}
	var out []tandem.Step
	return out, c.ask(ctx, http.MethodGet, "/v1/dns/trace", q, nil, &out)
}

// Registrations lists registered contacts, of one account when it is not "".
func (c *Client) Registrations(ctx context.Context, account string) ([]tandem.Binding, error) {
	var out []tandem.Binding
	return out, c.ask(ctx, http.MethodGet, "/v1/registrations", ofAccount(account), nil, &out)
}

func ofAccount(account string) url.Values {
	if account == "" {
		return nil
	}
	return url.Values{"account": {account}}
}

// Repoint points one forwarding name of an account elsewhere.
func (c *Client) Repoint(ctx context.Context, account string, to Repoint) (Result, error) {
	var out Result
	return out, c.ask(ctx, http.MethodPost, objectPath(tandem.KindAccount, account)+"/repoint", nil, to, &out)
}

// Move gives an account other connection points.
func (c *Client) Move(ctx context.Context, account string, to Move) (Moved, error) {
	var out Moved
	return out, c.ask(ctx, http.MethodPost, objectPath(tandem.KindAccount, account)+"/move", nil, to, &out)
}

// ProvisioningURL makes a secret URL for a device.
func (c *Client) ProvisioningURL(ctx context.Context, device string, request PermitRequest) (PermitURL, error) {
	var out PermitURL
	return out, c.ask(ctx, http.MethodPost, objectPath(tandem.KindDevice, device)+"/provisioning-url", nil, request, &out)
}

// Verify reads the whole store.
func (c *Client) Verify(ctx context.Context) (Verified, error) {
	var out Verified
	return out, c.ask(ctx, http.MethodPost, "/v1/store/verify", nil, nil, &out)
}

// Backup writes a copy of the store into a folder of the server's machine.
func (c *Client) Backup(ctx context.Context, dir string) error {
	return c.ask(ctx, http.MethodPost, "/v1/store/backup", nil, BackupRequest{Dir: dir}, nil)
}

func objectPath(k tandem.Kind, id string) string {
	return "/v1/" + Plural(k) + "/" + url.PathEscape(id)
}

// ask sends a request with in as JSON, if any, and decodes the answer into out, if any.
func (c *Client) ask(ctx context.Context, method, path string, q url.Values, in, out any) error {
	var sent io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		sent = bytes.NewReader(data)
	}
	answer, err := c.send(ctx, method, path, q, sent)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
		return fmt.Errorf("the answer of %s broke off: %w", c.socket, err)
	}
	return nil
}

// send sends a request and returns its answer when the status is 200.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, sent io.Reader) (*http.Response, error) {
	target := "http://tandem" + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, target, unclosed(sent))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.socket, err)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer func() { _ = answer.Body.Close() }()
	refused := &Error{Status: answer.StatusCode}
	if err := json.NewDecoder(answer.Body).Decode(refused); err != nil || refused.Message == "" {
		refused.Message = "the answer was " + answer.Status
	}
	return nil, refused
}

// unreachable tells a server that is not there from one that went away.
func (c *Client) unreachable(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%w at %s (%w); start it with tandem serve, or name its socket with --socket", ErrUnreachable, c.socket, op.Err)
	}
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	return fmt.Errorf("ask %s: %w", c.socket, err)
}

// stream sends documents and gives each line of the answer to event.
func (c *Client) stream(ctx context.Context, path, name string, documents io.Reader, event func(Event)) (Result, error) {
	q := url.Values{"stream": {"1"}, "name": {name}}
	if c.shrink {
		q.Set("allow-shrink", "1")
	}
	answer, err := c.send(ctx, http.MethodPost, path, q, documents)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	lines := json.NewDecoder(answer.Body)
	for {
		var e Event
		if err := lines.Decode(&e); err != nil {
			return Result{}, fmt.Errorf("the answer of %s broke off, part of the documents may be written, apply them again: %w", c.socket, err)
		}
		switch {
		case e.Error != nil:
			return Result{}, e.Error
		case e.Result != nil:
			return *e.Result, nil
		case event != nil:
			event(e)
		}
	}
}

// unclosed keeps the HTTP client from closing what its caller opened.
func unclosed(in io.Reader) io.Reader {
	switch in.(type) {
	case nil, *bytes.Reader:
		return in // its length can be told
	}
	return io.NopCloser(in)
}
