package dnsd

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/tandem"
)

// streams counts the open connections over TCP, TLS and QUIC together, and holds them so that they
// can be ended.
type streams struct {
	most, mostPerClient int
	idle, query         time.Duration
	counts              streamCounters
	shaking             atomic.Int32 // QUIC handshakes under way

	mu      sync.Mutex
	open    map[held]*stream
	clients map[netip.Prefix]int
	evicted uint64 // connections that had to make room
	closed  bool
	running sync.WaitGroup

	answers sync.Pool // of *batch: only connections with an answer in hand hold one
}

// held is what the table needs of a connection. Neither method blocks.
type held interface {
	Close() error
	SetReadDeadline(time.Time) error
}

// stream is one open connection.
type stream struct {
	who   netip.Prefix
	over  transport
	since time.Time // it waits for its next query to be there whole; zero while it is answered
}

// streamCounters are what connections count beside the counters of queries.
type streamCounters struct {
	queries    [transports]atomic.Uint64 // of tls and quic; the others are counted by worker
	handshakes [transports]atomic.Uint64 // of tls and quic that failed
	batches    atomic.Uint64             // writes, each with one answer or more
	keepalives atomic.Uint64             // answers that told the idle timeout
	padded     atomic.Uint64
	stalled    atomic.Uint64 // clients that did not take their answer in time
	violations atomic.Uint64 // QUIC connections closed for what their client did
	proxied    atomic.Uint64 // PROXY headers believed
	unproxied  atomic.Uint64 // connections and packets refused for their header, or for having none
}

// noClient is who asks behind a proxy whose header is still to come: nobody is limited by it.
func noClient() netip.Prefix { return netip.Prefix{} }

func newStreams(cfg Config) *streams {
	return &streams{
		most: cfg.TCPConnections, mostPerClient: cfg.TCPPerClient, idle: cfg.TCPIdle, query: cfg.TCPQuery,
		open: map[held]*stream{}, clients: map[netip.Prefix]int{},
		answers: sync.Pool{New: func() any { return new(gathered) }},
	}
}

// add takes conn in, or reports that there are too many. When it is not its client who has too
// many, the one that has waited longest makes room, so that idle connections shut nobody out
// (RFC 7766 section 6.2.3).
func (t *streams) add(conn held, who netip.Prefix, over transport) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.isFull(who) || len(t.open) >= t.most && !t.evict() {
		return false
	}
	t.open[conn] = &stream{who: who, over: over, since: time.Now()}
	t.clients[who]++
	t.running.Add(1)
	return true
}

// isFull reports whether a client has as many connections as one may have. mu is held.
func (t *streams) isFull(who netip.Prefix) bool {
	return who != noClient() && t.clients[who] >= t.mostPerClient
}

// rename counts conn as the client's that its proxy names, or reports that it has too many.
func (t *streams) rename(conn held, who netip.Prefix) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.open[conn]
	if s == nil || t.isFull(who) {
		return false
	}
	t.discount(s.who)
	s.who = who
	t.clients[who]++
	return true
}

// evict closes the connection that has waited longest for a query, if any waits. mu is held.
func (t *streams) evict() bool {
	var oldest held
	for conn, s := range t.open {
		if !s.since.IsZero() && (oldest == nil || s.since.Before(t.open[oldest].since)) {
			oldest = conn
		}
	}
	if oldest == nil {
		return false
	}
	t.evicted++
	t.forget(oldest)
	oldest.Close()
	return true
}

// forget takes conn out of the counts, if it is still there. mu is held.
func (t *streams) forget(conn held) {
	s := t.open[conn]
	if s == nil {
		return
	}
	delete(t.open, conn)
	t.discount(s.who)
}

// discount takes one connection from a client. mu is held.
func (t *streams) discount(who netip.Prefix) {
	if t.clients[who]--; t.clients[who] == 0 {
		delete(t.clients, who)
	}
}

// remove closes conn and lets it go.
func (t *streams) remove(conn held) {
	conn.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(conn)
	t.running.Done()
}

// await notes that conn waits for a query from now on and sets until when its first octet must
// come. It is an error once the server closes: else it would undo the deadline that ends the connection.
func (t *streams) await(conn held) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.open[conn]
	if t.closed || s == nil {
		return net.ErrClosed
	}
	s.since = time.Now()
	return conn.SetReadDeadline(s.since.Add(t.idle))
}

// hasten sets until when the rest of a query must come, under the same condition.
func (t *streams) hasten(conn held) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return net.ErrClosed
	}
	return conn.SetReadDeadline(time.Now().Add(t.query))
}

// settle notes that conn's query is there whole.
func (t *streams) settle(conn held) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.open[conn]; s != nil {
		s.since = time.Time{}
	}
}

// close ends the reading side of all connections: answers in hand still go out.
func (t *streams) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for conn := range t.open {
		conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (t *streams) wait() { t.running.Wait() }

// metrics hands the readings of connections to emit.
func (t *streams) metrics(emit func(tandem.Sample)) {
	t.mu.Lock()
	evicted := t.evicted
	var open [transports]int
	for _, s := range t.open {
		open[s.over]++
	}
	t.mu.Unlock()
	total := func(name, help string, value uint64) {
		emit(tandem.Sample{Name: name, Help: help, Value: float64(value)})
	}
	total("tandem_dnsd_streams_evicted_total", "Waiting connections closed to make room for new ones.", evicted)
	for over := overTCP; over < transports; over++ {
		emit(tandem.Sample{Name: "tandem_dnsd_streams", Help: "Connections open, by transport.", Gauge: true,
			Labels: map[string]string{"transport": over.String()}, Value: float64(open[over])})
	}
	for _, over := range []transport{overTLS, overQUIC} {
		emit(tandem.Sample{Name: "tandem_dnsd_handshakes_failed_total", Help: "Handshakes that failed or were refused, by transport.",
			Labels: map[string]string{"transport": over.String()}, Value: float64(t.counts.handshakes[over].Load())})
	}
	total("tandem_dnsd_stream_writes_total", "Writes to connections, each with one answer or more.", t.counts.batches.Load())
	total("tandem_dnsd_streams_stalled_total", "Connections closed because an answer was not taken in time.", t.counts.stalled.Load())
	total("tandem_dnsd_keepalives_total", "Answers that told the idle timeout.", t.counts.keepalives.Load())
	total("tandem_dnsd_padded_total", "Answers that were padded.", t.counts.padded.Load())
	total("tandem_dnsd_quic_violations_total", "QUIC connections closed for a protocol error of the client's.", t.counts.violations.Load())
	for _, p := range []struct {
		result string
		value  uint64
	}{{"believed", t.counts.proxied.Load()}, {"refused", t.counts.unproxied.Load()}} {
		emit(tandem.Sample{Name: "tandem_dnsd_proxy_headers_total", Help: "PROXY headers on the listeners for proxies, by what became of them.",
			Labels: map[string]string{"result": p.result}, Value: float64(p.value)})
	}
}
