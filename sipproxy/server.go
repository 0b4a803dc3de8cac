package sipproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/digest"
	"tandem/sipproxy/directory"
	"tandem/sipproxy/location"
	"tandem/sipproxy/token"
)

// Resolver turns a forwarding name into the places it stands for: the answer that dnsd gives.
type Resolver interface {
	Targets(name string) ([]tandem.Target, error)
}

// Bindings keeps registrations. What PutBindings returned for survives the process.
type Bindings interface {
	PutBindings(context.Context, []tandem.Binding) error
	DeleteBindings(context.Context, []tandem.Binding) error
	Bindings(context.Context, func(tandem.Binding) error) error
}

// Sealer seals secrets at rest.
type Sealer interface {
	Seal(plain []byte, context string) ([]byte, error)
	Unseal(sealed []byte, context string) ([]byte, error)
}

// Store takes the keys that the proxy makes for itself, one a day.
type Store interface {
	Append(ctx context.Context, by tandem.Principal, edits []tandem.Edit) (tandem.Revision, error)
}

// Deps is what the proxy needs from others.
type Deps struct {
	Resolver Resolver
	Bindings Bindings
	Seal     Sealer
	Store    Store
	Calls    CallLog // nil: calls are only in memory
	// Balancer admits calls and Observer is told how nodes fare; both may be nil: every call is
	// admitted then, and its targets are tried by weighted lot.
	Balancer Balancer
	Observer Observer
	// Waits: Admit may ask others, and so wait for them.
	Waits bool
	// Sockets opens listening sockets; nil: new ones.
	Sockets Sockets
}

// Sockets opens listening sockets, or has some that the process before this one left.
type Sockets interface {
	// Listen is like net.Listen.
	Listen(network, address string) (net.Listener, error)
	// ListenPacket is like net.ListenPacket.
	ListenPacket(network, address string) (net.PacketConn, error)
}

// Server is the SIP proxy and registrar. Build it with New.
type Server struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	workers []*worker
	locals  []local // one a listener, in the configuration's order
	net     network
	sockets *sockets
	count   counters

	dir      *directory.Directory
	location *location.Table
	digest   *digest.Verifier
	branches branchKey
	// submit hands a registration to who writes it: queueBinding.
	submit  func(bindJob) bool
	writing [writers]chan bindJob
	// recorder writes the calls' records.
	recorder *recorder
	taken    chan struct{} // closed once the calls of before are taken up
	joins    *joins
	probes   *probes
	// asking holds one for each call that waits for the balancer; over ends their waiting.
	asking    chan struct{}
	petitions sync.WaitGroup
	over      chan struct{}
	traces    traces
	// tokens and nonces are changed under keys by Apply and by the keeper.
	keys           sync.Mutex
	tokens, nonces *token.Ring
	applied        bool
	asked          time.Time // when keys were last appended
}

// New checks cfg and builds a server. It starts and binds nothing.
func New(cfg Config, deps Deps, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Resolver == nil || deps.Bindings == nil || deps.Seal == nil || deps.Store == nil {
		return nil, errors.New("sip proxy: a collaborator is missing")
	}
	cfg = cfg.withDefaults()
	r := cfg.Registrar
	s := &Server{
		cfg: cfg, deps: deps, log: log.With("part", "sipproxy"),
		dir:      directory.New(),
		taken:    make(chan struct{}),
		location: location.New(location.Config{PerAOR: r.PerAOR, Total: r.Bindings, Min: r.MinExpires, Max: r.MaxExpires, Default: r.DefaultExpires}),
		tokens:   token.NewRing(token.ForTokens, deps.Seal),
		nonces:   token.NewRing(token.ForNonces, deps.Seal),
		locals:   make([]local, len(cfg.Listeners)),
	}
	s.branches = newBranchKey(s.tokens)
	s.submit = s.queueBinding
	s.recorder = newRecorder(s)
	s.joins = newJoins(deps.Balancer)
	s.asking, s.over = make(chan struct{}, mostAsking), make(chan struct{})
	s.probes = newProbes(s)
	for i := range s.writing {
		s.writing[i] = make(chan bindJob, writerQueue)
	}
	s.digest = digest.New(digest.Config{Edge: cfg.Edge, Lifetime: cfg.NonceLifetime, Nonces: cfg.Nonces}, s.nonces, time.Now())
	for i, l := range cfg.Listeners {
		s.locals[i] = newLocal(l)
	}
	s.sockets = newSockets(s)
	s.net = s.sockets
	for i := range cfg.Workers {
		s.workers = append(s.workers, newWorker(s, i))
	}
	return s, nil
}

// Listen binds all listeners; on an error none stays bound.
func (s *Server) Listen() error { return s.sockets.listen() }

// Addrs returns the bound addresses of the listener with a name; the zero value for a transport that
// it does not have, or before Listen.
func (s *Server) Addrs(listener string) (udp, tcp netip.AddrPort) { return s.sockets.addrs(listener) }

// TakenUp is closed once Run has brought back the calls that were open when the process ended before.
func (s *Server) TakenUp() <-chan struct{} { return s.taken }

// Run serves until ctx ends: it loads the stored bindings and open calls, then takes messages. It returns once all
// that it started has ended.
func (s *Server) Run(ctx context.Context) error {
	defer s.sockets.close()
	err := s.deps.Bindings.Bindings(ctx, func(b tandem.Binding) error {
		s.location.Load(time.Now(), b)
		return nil
	})
	if err != nil {
		return fmt.Errorf("load registrations: %w", err)
	}
	if err := s.takeUp(ctx); err != nil {
		return fmt.Errorf("take up calls: %w", err)
	}
	close(s.taken)
	var running, recording sync.WaitGroup
	working, stop := context.WithCancel(context.Background())
	defer stop()
	recording.Go(s.recorder.run)
	for _, w := range s.workers {
		running.Go(func() { w.run(working) })
	}
	running.Go(func() { s.keep(ctx) })
	running.Go(func() { s.probes.run(ctx) })
	var writing sync.WaitGroup
	for _, queue := range s.writing {
		writing.Go(func() { s.writeBindings(ctx, queue) })
	}
	s.sockets.serve(ctx) // until ctx ends and every reader has
	writing.Wait()
	stop()
	running.Wait()
	close(s.over)
	s.petitions.Wait()
	close(s.recorder.waiting) // whoever notes has ended
	recording.Wait()
	return nil
}

// keep does what is due each second: expired bindings go, and keys of ours are made in time.
func (s *Server) keep(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		s.sweep(ctx)
		s.makeKeys(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Server) sweep(ctx context.Context) {
	remove := func(gone []tandem.Binding) error { return s.unbind(ctx, gone) }
	if _, err := s.location.Sweep(time.Now(), 10_000, remove); err != nil && ctx.Err() == nil {
		s.count.persistErrors.Add(1)
		s.log.Error("expired bindings not removed", "err", err)
	}
}

// makeKeys appends the keys that are due. They come back through Apply, like everybody's.
func (s *Server) makeKeys(ctx context.Context) {
	s.keys.Lock()
	var edits []tandem.Edit
	var errs error
	if s.applied && time.Since(s.asked) > 10*time.Second { // time enough for them to come back
		for _, ring := range [...]*token.Ring{s.tokens, s.nonces} {
			due, err := ring.Due(time.Now())
			edits, errs = append(edits, due...), errors.Join(errs, err)
		}
		if len(edits) > 0 {
			s.asked = time.Now()
		}
	}
	s.keys.Unlock()
	if errs != nil {
		s.log.Error("keys not made", "err", errs)
	}
	if len(edits) == 0 {
		return
	}
	by := tandem.Principal{Admin: true, Name: "sipproxy"}
	if _, err := s.deps.Store.Append(ctx, by, edits); err != nil && ctx.Err() == nil {
		s.log.Warn("keys not stored; trying again", "err", err)
	}
}

// Apply takes committed changes, the snapshot first. One goroutine calls it; after it has returned,
// every request sees what changed.
func (s *Server) Apply(changes []tandem.Change) {
	s.keys.Lock()
	s.applied = true
	err := errors.Join(s.tokens.Apply(changes), s.nonces.Apply(changes))
	s.keys.Unlock()
	if err != nil {
		s.log.Error("a key of ours cannot be opened; what was made with it is void", "err", err)
	}
	lost := s.namesLost(changes)
	s.dir.Apply(changes)
	s.probes.apply(changes)
	s.forget(lost) // after the directory: see update
}

// Registrations returns the live bindings of an account ("" for all) that by may see.
func (s *Server) Registrations(by tandem.Principal, account string) []tandem.Binding {
	if !by.Admin {
		if account != "" && account != by.Account || by.Account == "" {
			return nil
		}
		account = by.Account
	}
	return s.location.List(time.Now(), account)
}
