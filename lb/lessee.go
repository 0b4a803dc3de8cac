package lb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"tandem/internal/tandem"
)

// Lessee is the Leases of an instance whose grantor is another one, reached over HTTP. Cut off from
// it, it admits calls from the share that it holds and refuses the others at once, reason lease.
//
// What it holds ends with the process: calls that are taken up again must be restored before Run,
// which tells the grantor of them first, and that nothing else is up.
type Lessee struct {
	to     string
	client *http.Client
	own    *borrower
}

// NewLessee returns a Lessee of the grantor at base, such as https://edge1.example.net:8447; client
// shows the certificate that names this instance.
func NewLessee(base string, client *http.Client, log *slog.Logger) (*Lessee, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("lb: grantor %q: is not an address such as https://edge1.example.net:8447", base)
	}
	if client == nil || log == nil {
		return nil, errors.New("lb: the lessee needs a client and a logger")
	}
	l := &Lessee{to: u.Scheme + "://" + u.Host + leasePath, client: client}
	l.own = newBorrower(l.say, log.With("part", "lb"))
	return l, nil
}

// Bind names the Balancer of this process, before Run.
func (l *Lessee) Bind(b *Balancer) { l.own.balancer = b }

// Acquire implements Leases.
func (l *Lessee) Acquire(group string, starting, permitted int) Reason {
	return l.own.acquire(group, starting, permitted)
}

// Run speaks to the grantor until ctx ends.
func (l *Lessee) Run(ctx context.Context) error {
	l.own.run(ctx)
	l.client.CloseIdleConnections()
	return nil
}

// Grantor returns the address of the grantor.
func (l *Lessee) Grantor() string { return strings.TrimSuffix(l.to, leasePath) }

// Linked reports whether the grantor answers.
func (l *Lessee) Linked() bool { return l.own.linked.Load() }

// Metrics emits the part's readings.
func (l *Lessee) Metrics(emit func(tandem.Sample)) { l.own.metrics(emit) }

// say sends a Batch and returns the Reply.
func (l *Lessee) say(ctx context.Context, q Batch) (Reply, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return Reply{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, l.to, bytes.NewReader(body))
	if err != nil {
		return Reply{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := l.client.Do(r)
	if err != nil {
		return Reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, mostBody))
	if err != nil {
		return Reply{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return Reply{}, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text[:min(len(text), 200)])))
	}
	return readReply(text)
}

// readReply reads the octets of a Reply.
func readReply(text []byte) (Reply, error) {
	var reply Reply
	if err := json.Unmarshal(text, &reply); err != nil {
		return Reply{}, fmt.Errorf("answer: %w", err)
	}
	for _, g := range reply.Grants {
		if g.Held < 0 || g.Held > mostPermitted {
			return Reply{}, fmt.Errorf("answer: %d slots of %q are held", g.Held, g.Group)
		}
	}
	return reply, nil
}

// readBatch reads a Batch.
func readBatch(from io.Reader) (Batch, error) {
	var q Batch
	decoder := json.NewDecoder(from)
	if err := decoder.Decode(&q); err != nil {
		return Batch{}, fmt.Errorf("batch: %w", err)
	}
	if decoder.More() {
		return Batch{}, errors.New("batch: more than one")
	}
	if len(q.Asks) > mostAsks {
		return Batch{}, fmt.Errorf("batch: %d questions, at most %d", len(q.Asks), mostAsks)
	}
	for _, a := range q.Asks {
		if a.Group == "" || len(a.Group) > 63 || a.Seq == 0 || min(a.Used, a.Starting, a.Want, a.Slack) < 0 {
			return Batch{}, fmt.Errorf("batch: question about %.63q is malformed", a.Group)
		}
	}
	return q, nil
}
