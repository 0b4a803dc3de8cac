package lab

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Seen is one request as a node got it.
type Seen struct {
	Time      time.Time
	Method    string // SIP method, or HTTP and the method: "HTTP GET"
	URI       string // Request-URI, or the HTTP path
	Account   string // host that names the account: of the Request-URI, of To within a dialog, of From for urn:, or HTTP's Host
	From      string // user@host of From; an HTTP client's address
	To        string // user@host of To
	CallID    string
	InDialog  bool
	Transport string // udp, tcp or http
	Source    string // address and port that it came from
	Message   string // the whole SIP request as text
}

// String returns s as one line of GET /log.
func (s Seen) String() string {
	line := fmt.Sprintf("%s %-9s account=%s", s.Time.Format("15:04:05.000"), s.Method, s.Account)
	if s.From != "" {
		line += " from=" + s.From
	}
	if s.To != "" {
		line += " to=" + s.To
	}
	if s.InDialog {
		line += " in-dialog"
	}
	return line + " uri=" + s.URI + " via=" + s.Transport
}

func seenSIP(req *sip.Request, now time.Time) Seen {
	s := Seen{
		Time: now, Method: string(req.Method), URI: req.Recipient.String(), Account: req.Recipient.Host,
		From: req.From().Address.Endpoint(), To: req.To().Address.Endpoint(), CallID: string(*req.CallID()),
		InDialog:  req.To().Params.Has("tag"),
		Transport: strings.ToLower(req.Transport()), Source: req.Source(), Message: req.String(),
	}
	switch _, err := netip.ParseAddr(s.Account); {
	case s.Account == "":
		s.Account = req.From().Address.Host
	case err == nil && s.InDialog: // the Request-URI is a Contact
		s.Account = req.To().Address.Host
	}
	if raw := req.To().Address.Raw(); raw != "" {
		s.To = req.To().Address.String()
	}
	return s
}

func seenHTTP(r *http.Request, now time.Time) Seen {
	return Seen{Time: now, Method: "HTTP " + r.Method, URI: r.URL.Path, Account: hostOnly(r.Host),
		From: r.Header.Get("X-Forwarded-For"), Transport: "http", Source: r.RemoteAddr}
}

// seenMost is how many requests a node remembers; older ones are forgotten.
const seenMost = 512

// record remembers the last requests, for people and for tests that wait for one.
type record struct {
	mu    sync.Mutex // guards what follows
	last  []Seen     // oldest first
	total int
	more  chan struct{} // closed and replaced at each addition
}

func (r *record) add(s Seen) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.last) == seenMost {
		r.last = append(r.last[:0], r.last[1:]...)
	}
	r.last = append(r.last, s)
	r.total++
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
}

// all returns a copy of what is remembered, oldest first.
func (r *record) all() []Seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Seen(nil), r.last...)
}

// wait returns the oldest remembered request that want accepts, waiting for it until ctx ends.
func (r *record) wait(ctx context.Context, want func(Seen) bool) (Seen, error) {
	for {
		r.mu.Lock()
		for _, s := range r.last {
			if want(s) {
				r.mu.Unlock()
				return s, nil
			}
		}
		if r.more == nil {
			r.more = make(chan struct{})
		}
		more := r.more
		r.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return Seen{}, ctx.Err()
		}
	}
}
