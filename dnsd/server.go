// Package dnsd answers DNS with authority: for zones of plain records, for the inbound names of
// accounts (<label>.<zone>) and for the forwarding names that the proxy resolves
// (<key>.<account id>.<service zone>).
//
// It promises that a change, or what Health says, is visible to the first query after the call has
// returned; that a change costs what it changes, whatever the number of accounts; that no packet makes it panic, wait or
// grow; that it never recurses, never answers an answer, and never sends a UDP client more than
// 1232 octets. Within a zone an account's name wins over plain records at or below it.
//
// A query is decided in this order: header and counts (RFC 9619, 6891), the zone with the longest
// apex, the zone's networks, the type, then the name: hosts and ns.<apex>, accounts, plain records
// (RFC 1034 section 4.3.2, 2181, 2308, 4592, 6672, 8020, 8482). Common questions take a fast path
// from octets to octets (fast.go); it and the full path share their data and nothing else.
//
// It is no reflector: before the question and after the answer dnsd/guard decides whether a UDP client
// that has not proved its address, by a cookie (RFC 7873, 9018), gets an answer in full, a short one with TC or BADCOOKIE, or none.
// ADDITIONAL holds what the type needs (addresses of SRV targets) and stays as long as the client's octet
// budget holds it; TC is never set for its size alone.
//
// It leaves transfers, TSIG and DNSSEC to later; AXFR, IXFR, NOTIFY and UPDATE are refused.
package dnsd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/dnsd/batch"
	"tandem/dnsd/guard"
	"tandem/internal/tandem"
)

// Server answers DNS. New makes one; then Listen and Run, each once. Apply has one caller at a
// time; everything else may be called by anyone at any time.
type Server struct {
	cfg   Config
	deps  Deps
	log   *slog.Logger
	model *model

	applying sync.Mutex
	writer   *writer

	told          atomic.Pointer[[]tandem.NodeHealth] // the last list given to Health, for Trace
	healthChanges atomic.Uint64
	panics        atomic.Uint64 // for the log's sake

	counters    []*counters // the first for TCP, then one for each UDP worker
	listeners   []listener
	doors       doors         // all others
	workers     []*batch.Conn // while Run runs
	guard       *guard.Guard
	accelerator *accelerator // nil without XDP
	tcp         *streams
	observing   *observation
	history     history
	converse    conversation // answers what takes more than one message; nil: nothing does
}

// listener is one address: as many UDP sockets as there are workers, and one for TCP.
type listener struct {
	udp []*os.File
	tcp *net.TCPListener
}

// New returns a server that holds no zone yet.
func New(cfg Config, deps Deps, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	m := newModel()
	log = log.With("part", "dnsd")
	cfg = cfg.withDefaults(runtime.GOMAXPROCS(0))
	if deps.Now == nil {
		deps.Now = time.Now
	}
	s := &Server{cfg: cfg, deps: deps, log: log, model: m, writer: newWriter(m, log), tcp: newStreams(cfg)}
	m.edns.nsid = cfg.NSID
	cfg.Cookies.useSecrets(m.edns.jar)
	s.guard = newGuard(cfg, m.edns.jar)
	s.observing = newObservation(cfg, m, log)
	for range 1 + len(cfg.Listen)*cfg.Workers + len(cfg.Proxy.Listen) {
		s.counters = append(s.counters, &counters{})
	}
	return s, nil
}

// Apply takes changes into what is answered. The first query after its return sees them.
func (s *Server) Apply(changes []tandem.Change) {
	for _, c := range changes {
		s.applyOne(c)
	}
}

// applyOne takes one change. Each is whole by itself, and health need not wait for a million of them.
func (s *Server) applyOne(c tandem.Change) {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.writer.apply(c)
	s.writer.accelerator.changed(c.Kind)
}

// Restored says that the snapshot given to Apply is of this revision, so that no zone's serial is
// lower than before a restart although what was deleted is in no snapshot (RFC 1982).
func (s *Server) Restored(last tandem.Revision) {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.writer.restore(serialOfRevision(last))
}

// Listen binds every address, those of TLS, QUIC and proxies too. The error names the one that failed; nothing stays bound then.
func (s *Server) Listen() error {
	for _, addr := range s.cfg.Listen {
		l, err := listen(addr, s.cfg.Workers)
		if err != nil {
			s.close()
			return fmt.Errorf("dns listener %s: %w", addr, err)
		}
		s.listeners = append(s.listeners, l)
	}
	if err := s.listenDoors(); err != nil {
		s.close()
		s.doors.closeQUIC()
		return err
	}
	if err := s.observing.open(); err != nil {
		s.close()
		s.doors.closeQUIC()
		return fmt.Errorf("dns %w", err)
	}
	s.accelerate()
	return nil
}

// Addrs returns the bound addresses, in the order of Config.Listen. Call it after Listen.
func (s *Server) Addrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, l := range s.listeners {
		addrs = append(addrs, l.tcp.Addr().(*net.TCPAddr).AddrPort())
	}
	return addrs
}

// Run serves until ctx ends, then closes the sockets, lets answers in hand go out, and returns nil.
func (s *Server) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	// With no more processors than workers they would shut everyone else out while they wait.
	held := runtime.GOMAXPROCS(0) > len(s.cfg.Listen)*s.cfg.Workers
	var at []netip.AddrPort // of each worker
	for _, l := range append(slices.Clone(s.listeners), s.doors.proxied...) {
		for _, file := range l.udp {
			b, err := batch.New(file, held)
			if err != nil {
				s.close()
				return fmt.Errorf("dns: %w", err)
			}
			s.workers, at = append(s.workers, b), append(at, addrPortOf(l.tcp.Addr()))
		}
	}
	if s.accelerator != nil {
		wg.Go(func() { s.accelerator.run(ctx, s.Addrs()) })
	}
	proxied := len(s.workers) - len(s.doors.proxied)
	for i, b := range s.workers {
		wg.Go((&worker{Server: s, conn: b, watch: s.guard.Watch(), seen: s.accelerator.sightings(), proxied: i >= proxied, at: at[i], count: s.counters[1+i]}).serve)
	}
	for _, l := range s.listeners {
		wg.Go(func() { s.serveTCP(ctx, door{l: l.tcp}) })
	}
	s.serveDoors(ctx, &wg)
	wg.Go(func() { s.history.run(ctx, s.Metrics) })
	ended := s.observe(ctx)
	<-ctx.Done()
	s.close()
	wg.Wait()
	s.tcp.wait()
	s.doors.closeQUIC()
	ended()
	return nil
}

// observe shows queries to who watches until the function that it returns is called, which waits until
// all is written.
func (s *Server) observe(ctx context.Context) (end func()) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.observing.run(ctx)
	}()
	return func() {
		stop()
		<-done
	}
}

// close closes every socket, which ends their goroutines.
func (s *Server) close() {
	for _, b := range s.workers {
		b.Close()
	}
	for _, l := range s.listeners {
		l.close()
	}
	s.doors.close()
	s.tcp.close()
}

// handle answers one query of a stream into out, with the options that its transport owes it, and returns
// the answer's length, 0 for none. Whatever the octets, it returns.
func (s *Server) handle(count *counters, in, out []byte, c client) int {
	var t tally
	now := time.Now()
	c.now = uint32(now.Unix())
	f := guard.Read(in)
	t.ask(&f)
	n := s.answer(&t, in, out, c)
	t.answer(out[:n], c.stream)
	by := t.by
	t.publish(count)
	if c.stream {
		s.guard.Vouch(c.addr, now)
		if n > 0 {
			n = s.tcp.addOptions(in, out, n, c)
		}
	}
	if o := s.observing.on.Load(); o != nil {
		s.observing.takeStream(o, in, out[:n], c, by, now)
	}
	return n
}

// answer answers one query into out and returns the answer's length, 0 for none. Whatever the
// octets, it returns: a panic is counted, logged and costs the client its answer.
func (s *Server) answer(t *tally, in, out []byte, c client) (n int) {
	defer func() {
		if p := recover(); p != nil {
			n = 0
			t.panics++
			if total := s.panics.Add(1); total&(total-1) != 0 {
				return // whoever found such a packet shall not fill the log with it
			}
			s.log.Error("panic while answering", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if n = s.model.fast(in, out, c); n > 0 {
		t.fast++
		t.by = byFast
		return n
	}
	t.full++
	t.by = byFull
	return s.model.full(in, out, c)
}
