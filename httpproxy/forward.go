package httpproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"tandem/internal/tandem"
)

// AccountHeader carries the account's id to its feature servers. A client's own is dropped.
const AccountHeader = "Tandem-Account"

// errNoTarget means that the account's names lead to no HTTP feature server at this time.
var errNoTarget = errors.New("no HTTP feature server is available for this account")

// ServeHTTP takes one request the whole way: host, account, admission, targets, forward.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.begin() {
		panic(http.ErrAbortHandler)
	}
	defer s.busy.Done()
	noted := &notedWriter{ResponseWriter: w, patience: patience{http.NewResponseController(w), s.cfg.StallTimeout}}
	if hasBody(r) {
		noted.patience.extendRead()
		r.Body = &patientBody{r.Body, noted.patience}
	}
	defer s.finish(noted, r, time.Now())
	a := s.table.find(hostName(r.Host))
	if a == nil {
		s.counters.misdirected.Add(1)
		// RFC 9110 section 15.5.20: this server answers for other names.
		refuse(noted, http.StatusMisdirectedRequest, "this host is not served here")
		return
	}
	if r.Method == http.MethodConnect {
		refuse(noted, http.StatusMethodNotAllowed, "CONNECT is not offered")
		return
	}
	if slices.ContainsFunc(r.Header.Values("Via"), func(v string) bool { return strings.Contains(v, s.pseudonym) }) {
		refuse(noted, http.StatusLoopDetected, "this request has been here before")
		return
	}
	if !s.admit(noted, a) {
		return
	}
	defer s.perAccount.leave(a.account())
	defer s.active.leave()
	s.forward(noted, r, a)
}

func hasBody(r *http.Request) bool { return r.Body != nil && r.Body != http.NoBody }

// admit takes the request's two places, or answers 503 and returns false.
func (s *Server) admit(w http.ResponseWriter, a *entry) bool {
	if !s.active.enter(s.cfg.MaxActive) {
		s.counters.busyAll.Add(1)
		refuseBusy(w, "the edge has too many requests in progress")
		return false
	}
	if !s.perAccount.enter(a.account(), s.cfg.MaxPerAccount) {
		s.active.leave()
		s.counters.busyAccount.Add(1)
		refuseBusy(w, "this account has too many requests in progress")
		return false
	}
	return true
}

// forward sends the request to the account's feature servers and relays the response.
func (s *Server) forward(w *notedWriter, r *http.Request, a *entry) {
	if r.ContentLength > s.cfg.MaxBody {
		s.fail(w, r, &http.MaxBytesError{Limit: s.cfg.MaxBody})
		return
	}
	targets, err := s.targets(a)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if hasBody(r) {
		r.Body = http.MaxBytesReader(w.ResponseWriter, r.Body, s.cfg.MaxBody)
	}
	proxy := httputil.ReverseProxy{
		Rewrite:   func(pr *httputil.ProxyRequest) { s.rewrite(pr, a.account()) },
		Transport: &failover{targets, s.transport, &s.counters.failovers},
		ModifyResponse: func(resp *http.Response) error {
			w.status = resp.StatusCode // an upgraded connection's is written past w
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) { s.fail(w, r, err) },
		ErrorLog:     s.netLog,
	}
	proxy.ServeHTTP(w, r)
}

// targets resolves the account's forwarding names in their order.
func (s *Server) targets(a *entry) ([]tandem.Target, error) {
	var all []tandem.Target
	var failed error
	for _, name := range a.forwardingNames() {
		found, err := s.deps.Resolver.Targets(name)
		if err != nil {
			failed = fmt.Errorf("%w: %w", errNoTarget, err)
			continue
		}
		all = append(all, order(slices.Clone(found))...)
	}
	if len(all) > 0 {
		return all, nil
	}
	if failed != nil {
		return nil, failed
	}
	return nil, errNoTarget
}

// rewrite makes the request that feature servers see: the client's Host, what we know of the
// client, and nothing that the client claims about itself. Hop-by-hop fields are gone already.
func (s *Server) rewrite(pr *httputil.ProxyRequest, account string) {
	for name := range pr.Out.Header {
		if strings.HasPrefix(name, "X-Forwarded-") || name == "X-Real-Ip" {
			pr.Out.Header.Del(name)
		}
	}
	pr.Out.Host = pr.In.Host
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it came, also where it is no list of pairs
	pr.SetXForwarded()
	pr.Out.Header.Add("Via", fmt.Sprintf("%d.%d %s", pr.In.ProtoMajor, pr.In.ProtoMinor, s.pseudonym))
	pr.Out.Header.Set("Forwarded", forwarded(pr.In))
	pr.Out.Header.Set(AccountHeader, account)
}

// forwarded returns the Forwarded field (RFC 7239 section 4). Node identifiers with colons are quoted.
func forwarded(r *http.Request) string {
	proto := "http"
	if r.TLS != nil {
		proto = "https"
	}
	client := "unknown"
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		client = from.Addr().Unmap().String()
		if strings.Contains(client, ":") {
			client = `"[` + client + `]"`
		}
	}
	return "for=" + client + `;host="` + r.Host + `";proto=` + proto
}

// fail answers a request that no feature server answered.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, text := statusOf(err)
	if status == http.StatusServiceUnavailable {
		s.counters.noTarget.Add(1)
		w.Header().Set("Retry-After", "5")
	}
	s.log.Debug("request not served", "host", r.Host, "status", status, "err", err)
	refuse(w, status, text)
}

// statusOf maps an error to a status and to what the client is told.
func statusOf(err error) (int, string) {
	var large *http.MaxBytesError
	var missed *connectError
	var slow net.Error
	switch {
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d octets", large.Limit)
	case errors.Is(err, errNoTarget):
		return http.StatusServiceUnavailable, errNoTarget.Error()
	case errors.As(err, &missed):
		return http.StatusBadGateway, "no HTTP feature server of this account can be reached"
	case errors.Is(err, context.Canceled):
		return http.StatusBadGateway, "the request was given up"
	case errors.As(err, &slow) && slow.Timeout():
		return http.StatusGatewayTimeout, "the feature server did not answer in time"
	}
	return http.StatusBadGateway, "the feature server broke off"
}

func refuseBusy(w http.ResponseWriter, text string) {
	w.Header().Set("Retry-After", "1")
	refuse(w, http.StatusServiceUnavailable, text)
}

func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}

// finish counts the request, logs it without path or query, and keeps a programmer's mistake from ending the process.
func (s *Server) finish(w *notedWriter, r *http.Request, begun time.Time) {
	fault := recover()
	if fault != nil && fault != http.ErrAbortHandler {
		s.counters.panics.Add(1)
		s.log.Error("request handler panicked", "fault", fault, "stack", string(debug.Stack()))
		fault = http.ErrAbortHandler
	}
	s.counters.count(w.status)
	s.log.Debug("request", "method", r.Method, "host", r.Host, "status", w.status, "took", time.Since(begun))
	if fault != nil {
		panic(fault) // net/http closes the connection and stays silent
	}
}
