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
// Dynamic updates (RFC 2136) become RecordSets, and views (overlay.go, views.go) and listed resolvers
// (RFC 7871, nearest.go) tell clients apart.
//
// Zones are shared with other name servers: given to secondaries (outgoing.go), who are told of changes
// (notify.go), and copied from primaries (secondary.go), one by one or by catalog (catalog.go). Messages may
// be signed (signed.go). What is transferred is one version, and health never shows in it.
//
// Zones are signed as they are asked (seal.go, dnsd/sign), absence by one record a name (RFC 9824). Zones that are
// given to secondaries are not signed yet.
package dnsd

import (
	"context"
	"fmt"
	"log/slog"
	"math"
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
	keeper   *keeper

	told          atomic.Pointer[[]tandem.NodeHealth] // the last list given to Health, for Trace
	healthChanges atomic.Uint64
	panics        atomic.Uint64 // for the log's sake

	updates *updates
	served  *progress

	counters    []*counters // the first for TCP, then one for each UDP worker
	listeners   []listener
	doors       doors         // all others
	workers     []*batch.Conn // while Run runs
	starting    sync.Mutex    // guards workers
	reading     sync.WaitGroup
	sockets     Sockets
	guard       *guard.Guard
	accelerator *accelerator // nil without XDP
	tcp         *streams
	observing   *observation
	history     history
	converse    conversation // answers what takes more than one message; nil: nothing does

	unread    bool          // the store was not ours when it was to be read
	journaled atomic.Uint64 // what the journal on disk has seen
	transfers transferCounts
	slots     chan struct{} // one of each transfer out
	notifier  *notifier
	copies    *copies
	catalogs  *catalogs
	takers    takers
	applied   chan struct{} // something was, to zones that are shared
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
	s := &Server{cfg: cfg, deps: deps, log: log, model: m, writer: newWriter(m, log), tcp: newStreams(cfg), sockets: freshSockets{}}
	s.keeper = newKeeper()
	s.writer.keys.open, s.writer.keys.shared, s.writer.keys.touch = deps.Seal, newSeals(cfg, deps.Now), s.keeper.touch
	m.resolvers = cfg.ECS.Resolvers
	s.updates, s.served, s.writer.seal = newUpdates(), newProgress(), deps.Seal
	m.edns.nsid = cfg.NSID
	cfg.Cookies.useSecrets(m.edns.jar)
	s.guard = newGuard(cfg, m.edns.jar)
	m.now = deps.Now
	m.transfer, s.slots = s.datagram, make(chan struct{}, mostTransfers)
	s.notifier, s.applied = newNotifier(s), make(chan struct{}, 1)
	s.writer.changed = s.notifier.changed
	s.copies, s.catalogs = newCopies(s), newCatalogs(s)
	s.writer.copies, m.heard = s.copies, func(z *zone) { s.copies.heard.Add(1); s.copies.due(z.number, false) }
	s.converse = s.transferOver
	s.load()
	s.observing = newObservation(cfg, m, log)
	for range 1 + len(cfg.Listen)*cfg.Workers + len(cfg.Proxy.Listen) {
		s.counters = append(s.counters, &counters{})
	}
	return s, nil
}

// Apply takes changes into what is answered. The first query after its return sees them. A call without
// changes ends the snapshot: keys of zones are made from then on.
func (s *Server) Apply(changes []tandem.Change) {
	if len(changes) == 0 {
		s.keeper.start()
	}
	for len(changes) > 0 {
		n := atOnce(changes)
		s.applySome(changes[:n])
		s.served.advance(changes[n-1].Revision)
		changes = changes[n:]
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.writer.live && len(s.writer.lists.stale) > 0 {
		s.writer.relist()
	}
}

// atOnce returns how many of changes, from the first on, are shown at once: one, which is whole by
// itself, so that health need not wait for a million of them, but RecordSets that follow one another,
// for a dynamic update may have made them.
func atOnce(changes []tandem.Change) int {
	n := 1
	for changes[0].Kind == tandem.KindRecordSet && n < len(changes) && changes[n].Kind == tandem.KindRecordSet {
		n++
	}
	return n
}

func (s *Server) applySome(changes []tandem.Change) {
	s.applying.Lock()
	defer s.applying.Unlock()
	for _, c := range changes {
		s.writer.apply(c)
	}
	s.writer.reveal()
	s.announce()
	s.updates.sets.Store(int64(len(s.writer.setOf)))
	for _, c := range changes {
		s.writer.accelerator.changed(c.Kind)
	}
}

// Expect says that a snapshot of about so many objects follows, so that there is room for them. Restored gives
// back what was too much.
func (s *Server) Expect(objects int) {
	s.applying.Lock()
	defer s.applying.Unlock()
	for _, t := range []*table{s.writer.inbound, s.writer.accounts} {
		// Shards are filled by chance: four standard deviations more make it unlikely that one overflows.
		each := objects / shards
		t.expect = each + int(4*math.Sqrt(float64(each)))
	}
}

// Restored says that the snapshot given to Apply is of this revision, so that no zone's serial is
// lower than before a restart although what was deleted is in no snapshot (RFC 1982).
func (s *Server) Restored(last tandem.Revision) {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.writer.restore(serialOfRevision(last))
	s.served.advance(last)
	s.writer.last = max(s.writer.last, last)
	s.writer.relist()
	s.writer.begin(s.journaled.Load() == uint64(last) && last != 0)
}

// Listen binds every address, those of TLS, QUIC and proxies too, and reads from none. The error names the one
// that failed; nothing stays bound then. Metrics is not to be called while it runs.
func (s *Server) Listen() error {
	for _, addr := range s.cfg.Listen {
		l, err := listen(s.sockets, addr, s.cfg.Workers)
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
	for len(s.counters) < 1+s.datagramSockets() { // the process before had more workers
		s.counters = append(s.counters, &counters{})
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

// Run serves until ctx ends. Then it reads no more packets, takes no more connections, answers what it
// has read, gives open connections until lastSilence and lastWait to end by themselves, and returns nil.
func (s *Server) Run(ctx context.Context) error {
	defer s.doors.closeQUIC()
	defer s.close()
	if ctx.Err() != nil {
		return nil // nothing is read: it may be another process's
	}
	var wg sync.WaitGroup
	s.loadLate()
	if err := s.read(); err != nil {
		return err
	}
	if s.accelerator != nil {
		wg.Go(func() { s.accelerator.run(ctx, s.Addrs()) })
	}
	for _, l := range s.listeners {
		wg.Go(func() { s.serveTCP(ctx, door{l: l.tcp}) })
	}
	wg.Go(func() { s.keep(ctx) })
	s.serveDoors(ctx, &wg)
	wg.Go(func() { s.serveUpdates(ctx) })
	wg.Go(func() { s.notifier.run(ctx) })
	wg.Go(func() { s.keepJournal(ctx) })
	wg.Go(func() { s.copies.run(ctx) })
	wg.Go(func() { s.catalogs.run(ctx) })
	wg.Go(func() { s.history.run(ctx, s.Metrics) })
	ended := s.watch(ctx)
	<-ctx.Done()
	s.quit()
	wg.Wait()
	s.tcp.drain()
	s.tcp.wait()
	ended()
	return nil
}

// datagramSockets returns how many UDP sockets workers read.
func (s *Server) datagramSockets() (n int) {
	for _, l := range append(slices.Clone(s.listeners), s.doors.proxied...) {
		n += len(l.udp)
	}
	return n
}

// read starts a worker for each UDP socket, and QUIC.
func (s *Server) read() error {
	s.starting.Lock()
	defer s.starting.Unlock()
	for _, d := range s.doors.quic {
		if err := s.openQUIC(d); err != nil {
			return fmt.Errorf("dns quic listener %s: %w", d.addr(), err)
		}
	}
	// With no more processors than workers they would shut everyone else out while they wait. There may be
	// more sockets, and so workers, than are configured: the process before had them.
	held := runtime.GOMAXPROCS(0) > s.datagramSockets()
	var workers []*worker
	for n, l := range append(slices.Clone(s.listeners), s.doors.proxied...) {
		for _, file := range l.udp {
			b, err := batch.New(file, held)
			if err != nil {
				return fmt.Errorf("dns: %w", err)
			}
			s.workers = append(s.workers, b)
			workers = append(workers, &worker{
				Server: s, conn: b, watch: s.guard.Watch(), seen: s.accelerator.sightings(), proxied: n >= len(s.listeners),
				at: addrPortOf(l.tcp.Addr()), count: s.counters[len(s.workers)],
			})
		}
	}
	for _, w := range workers {
		s.reading.Go(w.serve)
	}
	return nil
}

// Quit reads no more packets and takes no more connections, and returns once what was read is answered; open
// connections go on as Run says, but for those of QUIC, which end. It is for when another process reads the
// same sockets, and knows more.
func (s *Server) Quit() {
	s.quit()
	s.doors.closeQUIC()
}

func (s *Server) quit() {
	s.starting.Lock()
	defer s.starting.Unlock()
	s.accelerator.end()
	for _, b := range s.workers {
		b.End()
	}
	s.reading.Wait()
	for _, l := range s.listeners {
		l.tcp.Close()
	}
	s.doors.close()
}

// watch shows queries to who watches until the function that it returns is called, which waits until
// all is written.
func (s *Server) watch(ctx context.Context) (end func()) {
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
	return s.full(in, out, c)
}
