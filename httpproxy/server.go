// Package httpproxy takes the HTTP requests that come to accounts' inbound names and forwards each
// to a feature server of its account.
//
// A request is decided in this order: its Host names the account (an unknown or retired name gets
// 421); bounds on requests in progress, in all and per account (503 with Retry-After); the account's
// http route gives forwarding names, the resolver their targets, of which those that carry HTTP
// are tried by priority and weight until one takes the request (503 when there is none, 502 when
// none can be reached). A change of account, zone or target moves the very next request.
//
// It promises that a body is sent to one feature server only, that hop-by-hop fields end here, that
// Forwarded, X-Forwarded-* and Tandem-Account say what this edge saw and never what a client
// claims, and that WebSocket and streamed answers pass. RFC 9110, RFC 9112, RFC 7239.
//
// It leaves names to the resolver, certificates to its caller, and what is said to the two ends.
package httpproxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"tandem/internal/tandem"
)

// grace is how long requests in progress may take after the end was asked for.
const grace = 5 * time.Second

// Resolver finds where a name leads (RFC 3263, RFC 2782).
type Resolver interface {
	Targets(name string) ([]tandem.Target, error)
}

// Certificates chooses the certificate for a TLS client.
type Certificates interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Deps are the server's collaborators. Certificates may be nil without a TLS listener. Roots
// verify HTTPS feature servers; nil means the system's. Bind opens listening sockets; nil means net.Listen.
type Deps struct {
	Resolver     Resolver
	Certificates Certificates
	Roots        *x509.CertPool
	Bind         func(network, address string) (net.Listener, error)
}

// Server forwards accounts' HTTP requests.
type Server struct {
	cfg       Config
	deps      Deps
	log       *slog.Logger
	netLog    *log.Logger // what net/http has to say, at Debug
	table     *table
	transport *http.Transport

	active      gate // requests in progress
	perAccount  *gates
	connections gate
	counters    counters
	ending      sync.RWMutex
	ended       bool           // no handler may begin any more
	busy        sync.WaitGroup // handlers, upgraded connections included
	open        sync.WaitGroup // connections that net/http serves
	pseudonym   string         // in Via, to know a request that comes round again

	plain, secure net.Listener // nil when not configured
}

// New checks cfg and returns a server that serves nothing yet.
func New(cfg Config, deps Deps, logger *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Resolver == nil || (cfg.TLS.IsValid() && deps.Certificates == nil) {
		return nil, errors.New("httpproxy: a collaborator is missing")
	}
	cfg = cfg.withDefaults()
	if deps.Bind == nil {
		deps.Bind = net.Listen
	}
	logger = logger.With("part", "httpproxy")
	return &Server{
		cfg: cfg, deps: deps, log: logger,
		netLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		table:  newTable(), perAccount: newGates(),
		transport: newTransport(cfg, deps.Roots),
		pseudonym: "tandem-" + strings.ToLower(rand.Text()[:12]),
	}, nil
}

// Apply follows the store's changes. Calls must not overlap; the next request sees what it did.
func (s *Server) Apply(changes []tandem.Change) { s.table.apply(changes) }

// Serves reports whether host is an inbound name of an account.
func (s *Server) Serves(host string) bool { return s.table.find(host) != nil }

// Listen binds the configured listeners.
func (s *Server) Listen() error {
	var err error
	if s.plain, err = s.bind(s.cfg.Listen); err != nil {
		return err
	}
	if s.secure, err = s.bind(s.cfg.TLS); err != nil {
		if s.plain != nil {
			s.plain.Close()
		}
		return err
	}
	return nil
}

func (s *Server) bind(at netip.AddrPort) (net.Listener, error) {
	if !at.IsValid() {
		return nil, nil
	}
	l, err := s.deps.Bind("tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("bind %s: %w", at, err)
	}
	return l, nil
}

// Addrs returns the bound addresses by listener, http and https, after Listen.
func (s *Server) Addrs() map[string]netip.AddrPort {
	addrs := make(map[string]netip.AddrPort)
	for name, l := range map[string]net.Listener{"http": s.plain, "https": s.secure} {
		if l != nil {
			addrs[name] = l.Addr().(*net.TCPAddr).AddrPort()
		}
	}
	return addrs
}

// Run serves until ctx ends, gives requests in progress a few seconds, ends what is left and
// returns. Listen must have succeeded.
func (s *Server) Run(ctx context.Context) error {
	work, cutOff := context.WithCancel(context.WithoutCancel(ctx))
	defer cutOff()
	server := s.httpServer(work)
	ended := make(chan error, 2)
	running := 0
	if s.plain != nil {
		running++
		go func() { ended <- server.Serve(s.plain) }()
	}
	if s.secure != nil {
		running++
		go func() { ended <- server.ServeTLS(s.secure, "", "") }()
	}
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-ended:
		running--
	}
	s.stop(server, cutOff)
	for ; running > 0; running-- {
		<-ended
	}
	s.open.Wait()
	s.end()
	s.transport.CloseIdleConnections()
	return failed
}

// begin notes a handler's start; false when the server has ended.
func (s *Server) begin() bool {
	s.ending.RLock()
	defer s.ending.RUnlock()
	if !s.ended {
		s.busy.Add(1)
	}
	return !s.ended
}

// end lets no handler begin and waits for those that have.
func (s *Server) end() {
	s.ending.Lock()
	s.ended = true
	s.ending.Unlock()
	s.busy.Wait()
}

// stop ends the listeners, then the requests in progress, in time or by force, and then upgraded
// connections.
func (s *Server) stop(server *http.Server, cutOff func()) {
	patient, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := server.Shutdown(patient); err != nil {
		s.log.Info("requests cut off at the end", "active", s.active.active.Load())
	}
	cutOff()
	server.Close()
}

func (s *Server) httpServer(work context.Context) *http.Server {
	server := &http.Server{
		Handler:           s,
		BaseContext:       func(net.Listener) context.Context { return work },
		MaxHeaderBytes:    s.cfg.MaxHeader,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          s.netLog,
		ConnState:         s.countConnection,
	}
	if s.deps.Certificates != nil {
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.deps.Certificates.GetCertificate}
	}
	return server
}

// countConnection keeps the number of connections within its bound: one too many is closed unread.
func (s *Server) countConnection(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
		if s.connections.active.Add(1) > int64(s.cfg.MaxConnections) {
			s.counters.crowded.Add(1)
			conn.Close()
		}
	case http.StateClosed, http.StateHijacked:
		s.connections.active.Add(-1)
		s.open.Done()
	}
}
