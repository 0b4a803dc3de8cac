package dnsd

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"tandem/dnsd/batch"
	dynamic "tandem/dnsd/update"
	"tandem/internal/tandem"
)

// Dynamic updates (RFC 2136). Each becomes RecordSets, in one batch of the store; it is answered when
// that is on the disk and served here. Updates are done one after the other, so that each sees what
// the ones before it did. Those over UDP wait in a queue of their own, so that no query waits for a
// disk; over TCP the connection itself waits.

const (
	updateQueue    = 64              // updates over UDP that wait; one more is dropped, and its client asks again
	updateAttempts = 5               // when somebody else changes the same sets meanwhile
	updatePatience = 5 * time.Second // for the store, and for the change to be served
)

// updates is the state of dynamic updates.
type updates struct {
	one     sync.Mutex // who holds it does an update
	queue   chan queuedUpdate
	changed atomic.Uint64 // updates that changed something
	refused atomic.Uint64 // with an rcode other than NOERROR
	dropped atomic.Uint64 // the queue was full
	sets    atomic.Int64  // RecordSets
}

// queuedUpdate is an update over UDP on its way.
type queuedUpdate struct {
	in   []byte
	c    client
	conn *batch.Conn
	back batch.Return
}

func newUpdates() *updates { return &updates{queue: make(chan queuedUpdate, updateQueue)} }

// isUpdate reports whether in is a request of opcode UPDATE.
func isUpdate(in []byte) bool { return len(in) >= headerSize && in[2]&0xf8 == dns.OpcodeUpdate<<3 }

// takeUpdate puts an update that came over UDP, whose octets are the caller's, into the queue, and
// reports whether it is one that a key of ours has signed: all others are refused on the spot, so
// that they cannot fill it.
func (s *Server) takeUpdate(q queuedUpdate) bool {
	if _, key, _ := s.model.parseUpdate(q.in, q.c); key == nil {
		return false
	}
	q.in = slices.Clone(q.in)
	select {
	case s.updates.queue <- q:
	default:
		s.updates.dropped.Add(1)
	}
	return true
}

// serveUpdates answers the updates that came over UDP until ctx ends.
func (s *Server) serveUpdates(ctx context.Context) {
	out := make([]byte, datagramSize)
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-s.updates.queue:
			count := s.counters[0]
			if n := s.handle(count, q.in, out, q.c); n == 0 {
				count.dropped.Add(1)
			} else if err := q.conn.SendLater(out[:n], q.back); err != nil {
				count.writeErrors.Add(1)
			}
		}
	}
}

// update answers an update. One that no key of ours has signed is refused.
func (s *Server) update(in, out []byte, c client) int {
	q, key, rcode := s.model.parseUpdate(in, c)
	c.key = key
	if rcode == dns.RcodeSuccess && key == nil {
		q.explain(edeProhibited)
		rcode = dns.RcodeRefused
	}
	if rcode == dns.RcodeSuccess {
		ctx, cancel := context.WithTimeout(context.Background(), updatePatience)
		rcode = s.runUpdate(ctx, in, q, c)
		cancel()
	}
	if rcode != dns.RcodeSuccess {
		s.updates.refused.Add(1)
	}
	return q.refuse(rcode, out)
}

// parseUpdate reads what every message has, and who signed it: nil for nobody that we know.
func (m *model) parseUpdate(in []byte, c client) (q *query, key *signer, rcode int) {
	q = newQuery(in, c)
	q.facts = &m.edns
	o, whole := outline(in)
	if !whole || o.questions != 1 {
		return q, nil, dns.RcodeFormatError
	}
	rcode = m.authenticate(q, in, q.takeRecords(in, o))
	return q, q.signature.by(), rcode
}

// unsignedForm returns a message without the signature that ends it.
func unsignedForm(in []byte) []byte {
	o, _ := outline(in)
	if len(o.records) == 0 || o.records[len(o.records)-1].rrtype != dns.TypeTSIG {
		return in
	}
	bare := slices.Clone(in[:o.records[len(o.records)-1].at])
	binary.BigEndian.PutUint16(bare[10:], binary.BigEndian.Uint16(bare[10:])-1)
	return bare
}

// runUpdate does an update and returns its rcode.
func (s *Server) runUpdate(ctx context.Context, in []byte, q *query, c client) int {
	r, rcode := dynamic.Parse(unsignedForm(in))
	if rcode != dns.RcodeSuccess {
		return rcode
	}
	q.question = r.Zone
	s.updates.one.Lock()
	defer s.updates.one.Unlock()
	for range updateAttempts {
		seen := s.served.at()
		edits, rcode := s.planUpdate(r, q, c)
		if rcode != dns.RcodeSuccess || len(edits) == 0 {
			return rcode
		}
		revision, err := s.deps.Store.Append(ctx, c.key.principal(), edits)
		switch {
		case errors.Is(err, tandem.ErrConflict):
			if s.served.wait(ctx, seen+1) != nil {
				return dns.RcodeServerFailure
			}
			continue
		case err != nil:
			return q.updateFailed(s, err)
		}
		s.updates.changed.Add(1)
		if err := s.served.wait(ctx, revision); err != nil {
			q.explain(edeNotReady)
			return dns.RcodeServerFailure
		}
		return dns.RcodeSuccess
	}
	return dns.RcodeServerFailure
}

// updateFailed returns the rcode for what the store said.
func (q *query) updateFailed(s *Server, err error) int {
	if errors.As(err, new(tandem.FieldError)) || errors.As(err, new(tandem.FieldErrors)) || errors.Is(err, tandem.ErrNotFound) {
		q.explain(edeProhibited)
		return dns.RcodeRefused
	}
	s.log.Error("dynamic update cannot be stored", "err", err)
	return dns.RcodeServerFailure
}

// principal is who changes things with k.
func (k *signer) principal() tandem.Principal {
	return tandem.Principal{Name: "tsig " + k.id, Account: k.account, Admin: k.account == ""}
}

// planUpdate works out which RecordSets an update changes.
func (s *Server) planUpdate(r *dynamic.Request, q *query, c client) ([]tandem.Edit, int) {
	s.applying.Lock()
	defer s.applying.Unlock()
	key, err := wireKey(r.Zone.Name)
	row, ok := s.model.zones.get([]byte(key))
	z := s.model.zoneAt.get(row.a)
	switch {
	case err != nil || !ok || z == nil || r.Zone.Qclass != dns.ClassINET:
		q.explain(edeNotAuthoritative)
		return nil, dns.RcodeNotAuth
	case z.secondary: // never forwarded (section 6)
		q.explain(edeNotAuthoritative)
		return nil, dns.RcodeNotAuth
	case !z.answers(c.addr) || s.deps.Store == nil || !z.isUpdatedBy(c.key):
		q.explain(edeProhibited)
		return nil, dns.RcodeRefused
	}
	u := &updatedZone{writer: s.writer, walk: walk{reply: &reply{}, m: s.model, zone: z, over: z.over(), asker: everybody()}, key: c.key}
	sets, rcode := r.Apply(u)
	if rcode != dns.RcodeSuccess {
		if rcode == dns.RcodeRefused {
			q.explain(edeProhibited)
		}
		return nil, rcode
	}
	edits := make([]tandem.Edit, 0, len(sets))
	for _, set := range sets {
		if e, ok := u.edit(set); ok {
			edits = append(edits, e)
		}
	}
	return edits, dns.RcodeSuccess
}

// updateMetrics hands the readings of dynamic updates, record sets and numbers to emit.
func (s *Server) updateMetrics(emit func(tandem.Sample)) {
	const outcomes, help = "tandem_dnsd_updates_total", "Dynamic updates, by what became of them."
	for outcome, n := range map[string]*atomic.Uint64{"changed": &s.updates.changed, "refused": &s.updates.refused, "dropped": &s.updates.dropped} {
		emit(tandem.Sample{Name: outcomes, Help: help, Labels: map[string]string{"outcome": outcome}, Value: float64(n.Load())})
	}
	emit(tandem.Sample{Name: "tandem_dnsd_updates_queued", Help: "Dynamic updates over UDP that wait.", Gauge: true, Value: float64(len(s.updates.queue))})
	emit(tandem.Sample{Name: "tandem_dnsd_record_sets", Help: "RecordSets served.", Gauge: true, Value: float64(s.updates.sets.Load())})
	emit(tandem.Sample{Name: "tandem_dnsd_numbers", Help: "Numbers that accounts and users list.", Gauge: true, Value: float64(s.model.numbers.held.rows.Load() + s.model.numbers.users.rows.Load())})
}

// progress is the revision of the last change that is served, and those who wait for one.
type progress struct {
	mu    sync.Mutex
	now   tandem.Revision
	grown chan struct{} // closed and replaced when now grows
}

func newProgress() *progress { return &progress{grown: make(chan struct{})} }

func (p *progress) advance(to tandem.Revision) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to > p.now {
		p.now = to
		close(p.grown)
		p.grown = make(chan struct{})
	}
}

func (p *progress) at() tandem.Revision {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// wait returns once the revision is served, or with ctx's error.
func (p *progress) wait(ctx context.Context, revision tandem.Revision) error {
	for {
		p.mu.Lock()
		now, grown := p.now, p.grown
		p.mu.Unlock()
		if now >= revision {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// full answers what the fast path does not.
func (s *Server) full(in, out []byte, c client) int {
	if isUpdate(in) {
		return s.update(in, out, c)
	}
	return s.model.full(in, out, c)
}
