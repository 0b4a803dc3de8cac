package httpproxy

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"

	"tandem/internal/tandem"
)

// failover is the round trip of one request: over its targets in order, until one takes it. The
// next target is tried when the one before was not reached, so that nothing was sent, or when it
// broke off before its response and the request is safe to repeat: GET, HEAD or OPTIONS without
// a body.
type failover struct {
	targets []tandem.Target
	next    http.RoundTripper
	again   *atomic.Uint64 // counts the further tries
}

// RoundTrip implements http.RoundTripper.
func (f *failover) RoundTrip(req *http.Request) (*http.Response, error) {
	repeatable := isRepeatable(req)
	var err error
	for i, t := range f.targets[:min(len(f.targets), maxTries)] {
		if i > 0 {
			f.again.Add(1)
		}
		var resp *http.Response
		resp, err = f.next.RoundTrip(aimed(req, t))
		if err == nil {
			return resp, nil
		}
		var missed *connectError
		if req.Context().Err() != nil || !(errors.As(err, &missed) || repeatable) {
			return nil, err
		}
	}
	return nil, err
}

// isRepeatable reports whether req does no harm when it is served twice (RFC 9110 section 9.2.1).
func isRepeatable(req *http.Request) bool {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return !hasBody(req)
	}
	return false
}

// aimed returns req as it is sent to t. Its body stays open when the transport gives up, for
// the next target; the proxy closes it in the end.
func aimed(req *http.Request, t tandem.Target) *http.Request {
	out := req.WithContext(req.Context())
	out.URL = &url.URL{
		Scheme: t.Transport.String(), Host: poolKey(t),
		Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery, ForceQuery: req.URL.ForceQuery,
	}
	if hasBody(req) {
		out.Body = io.NopCloser(req.Body)
	}
	return out
}
