package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/tandem"
)

// Server is the door's inner side. Make it with New.
type Server struct {
	cfg        Config
	deps       Deps
	log        *slog.Logger
	schema     *schema
	operations []operation
	openapi    []byte
	listener   *net.UnixListener
	busy       chan struct{} // one token for each request under way
	importing  chan struct{} // one token for each body of documents under way
	streams    chan struct{} // one token for each stream of events
	ending     chan struct{} // closed when Run begins to end
	requests   [6]atomic.Uint64
	objects    atomic.Uint64
	panics     atomic.Uint64
}

const (
	defaultDocuments = 8 << 30
	defaultRequests  = 64
	maxImports       = 4
	maxBody          = 1 << 20
	patience         = 30 * time.Second // for a client that neither reads nor writes
)

// New checks cfg and deps.
func New(cfg Config, deps Deps, log *slog.Logger) (*Server, error) {
	if err := errors.Join(cfg.Validate(), deps.validate()); err != nil {
		return nil, err
	}
	if cfg.MaxDocuments == 0 {
		cfg.MaxDocuments = defaultDocuments
	}
	if cfg.MaxRequests == 0 {
		cfg.MaxRequests = defaultRequests
	}
	s := &Server{
		cfg: cfg, deps: deps, log: log.With("part", "control"), schema: newSchema(),
		busy: make(chan struct{}, cfg.MaxRequests), importing: make(chan struct{}, maxImports),
		streams: make(chan struct{}, min(maxStreams, max(cfg.MaxRequests/2, 1))), ending: make(chan struct{}),
	}
	s.operations = operations()
	openapi, err := OpenAPI()
	if err != nil {
		return nil, err
	}
	s.openapi = openapi
	return s, nil
}

// Listen binds the socket, for its owner alone. A socket that nobody answers at is removed first.
func (s *Server) Listen() error {
	if err := os.MkdirAll(filepath.Dir(s.cfg.Socket), 0o750); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	listen, given := net.Listen, 0
	if s.deps.Sockets != nil {
		listen, given = s.deps.Sockets.Listen, s.deps.Sockets.Given("unix", s.cfg.Socket)
	}
	if given == 0 {
		if err := removeStale(s.cfg.Socket); err != nil {
			return err
		}
	}
	l, err := listen("unix", s.cfg.Socket)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	// Between these two calls others could connect; the peer's uid is asked in any case.
	if err := os.Chmod(s.cfg.Socket, 0o600); err != nil {
		return errors.Join(fmt.Errorf("control socket: %w", err), l.Close())
	}
	s.listener = l.(*net.UnixListener)
	return nil
}

// removeStale removes what an ended process left behind, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("control socket: %s exists and is not a socket; name another path or move it away", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close() // it was only a question
		return fmt.Errorf("control socket: another tandem answers at %s; stop it or name another path", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// Addrs returns where the server listens; empty before Listen.
func (s *Server) Addrs() []net.Addr {
	if s.listener == nil {
		return nil
	}
	return []net.Addr{s.listener.Addr()}
}

// Run serves until ctx ends, gives requests in hand a moment, and returns.
func (s *Server) Run(ctx context.Context) error {
	const grace = 5 * time.Second
	requests, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	h := &http.Server{
		Handler:           s.handler(identifyPeer),
		ConnContext:       withPeer,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: patience,
		IdleTimeout:       4 * patience,
		MaxHeaderBytes:    1 << 16,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("control: %w", err)
	case <-ctx.Done():
	}
	close(s.ending)
	last, cancel := context.WithTimeout(requests, grace)
	defer cancel()
	if h.Shutdown(last) != nil {
		stop() // what still runs stops between two batches
		_ = h.Close()
	}
	<-served
	for range cap(s.busy) { // the last handler has returned when every token can be had
		s.busy <- struct{}{}
	}
	return nil
}

// peerKey carries the peer's credentials, or the error of asking for them, in a connection's context.
type peerKey struct{}

type peer struct {
	uid uint32
	err error
}

// withPeer asks the kernel who is at the other end.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	var p peer
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			var cred *unix.Ucred
			if cred, p.err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); p.err == nil {
				p.uid = cred.Uid
			}
		})
	}
	p.err = errors.Join(p.err, err)
	return context.WithValue(ctx, peerKey{}, p)
}

// identifyPeer makes root and the server's own user administrators, and everybody else nobody.
func identifyPeer(r *http.Request) (tandem.Principal, error) {
	p, ok := r.Context().Value(peerKey{}).(peer)
	if !ok || p.err != nil {
		return tandem.Principal{}, refuse(http.StatusForbidden, "who is asking cannot be told")
	}
	if p.uid != 0 && p.uid != uint32(os.Geteuid()) {
		return tandem.Principal{}, refuse(http.StatusForbidden, "uid %d may not manage this tandem; be root or the user it runs as", p.uid)
	}
	return tandem.Principal{Name: fmt.Sprintf("uid %d", p.uid), Admin: true}, nil
}

// handler serves the API to whom identify finds asking.
func (s *Server) handler(identify func(*http.Request) (tandem.Principal, error)) http.Handler {
	mux := http.NewServeMux()
	for i := range s.operations {
		op := &s.operations[i]
		mux.HandleFunc(op.method+" "+op.path, func(w http.ResponseWriter, r *http.Request) {
			s.serve(op, identify, w, r)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			s.answerError(w, noRoute(mux, r))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// noRoute tells a path that does not exist from a method that it does not have.
func noRoute(mux *http.ServeMux, r *http.Request) error {
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" {
			return refuse(http.StatusMethodNotAllowed, "%.20s is not a method of %.200s", r.Method, r.URL.Path)
		}
	}
	return refuse(http.StatusNotFound, "%.200s: not found; /v1/openapi.json lists what there is", r.URL.Path)
}

// serve is the top of every request: its bounds, its one recover, its count and its line in the log.
func (s *Server) serve(op *operation, identify func(*http.Request) (tandem.Principal, error), w http.ResponseWriter, r *http.Request) {
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	default:
		s.answerError(w, refuse(http.StatusServiceUnavailable, "%d requests are under way already; try again", cap(s.busy)))
		return
	}
	began := time.Now()
	c := &call{server: s, op: op, w: w, r: r, http: http.NewResponseController(w)}
	defer func() {
		if p := recover(); p != nil {
			s.panics.Add(1)
			s.log.Error("panic in a request", "operation", op.id, "panic", p, "stack", string(debug.Stack()))
			c.fail(refuse(http.StatusInternalServerError, "an error of the program's own; its log says more"))
		}
		s.log.Debug("request", "operation", op.id, "by", c.by.Name, "took", time.Since(began))
	}()
	c.bodyRead()
	by, err := identify(r)
	if err == nil && op.admin && !by.Admin {
		err = refuse(http.StatusForbidden, "%s is for administrators", op.id)
	}
	if err == nil {
		c.by = by
		if !op.documents {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		err = op.handle(c)
	}
	if err != nil {
		c.fail(err)
		return
	}
	s.requests[2].Add(1)
}

// Metrics tells the server's counters.
func (s *Server) Metrics(emit func(tandem.Sample)) {
	for class := 2; class < len(s.requests); class++ {
		emit(tandem.Sample{
			Name: "tandem_control_requests_total", Help: "Requests to the management API, by class of status.",
			Labels: map[string]string{"class": fmt.Sprintf("%dxx", class)}, Value: float64(s.requests[class].Load()),
		})
	}
	emit(tandem.Sample{Name: "tandem_control_objects_total", Help: "Objects written through the management API.", Value: float64(s.objects.Load())})
	emit(tandem.Sample{Name: "tandem_control_streams", Help: "Streams of events that are open.", Gauge: true, Value: float64(len(s.streams))})
	emit(tandem.Sample{Name: "tandem_control_panics_total", Help: "Requests that ended in a panic.", Value: float64(s.panics.Load())})
}
