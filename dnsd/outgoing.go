package dnsd

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"runtime/debug"
	"sync/atomic"

	"github.com/miekg/dns"

	"tandem/dnsd/journal"
	"tandem/dnsd/tsig"
)

// Zones given to secondaries: whole (AXFR, RFC 5936) or as differences (IXFR, RFC 1995), over streams.
// Whoever transfers gets one version: it is taken at the beginning, and what changes meanwhile is told by
// the next NOTIFY.

// mostTransfers bounds the transfers out that run at once; one more is answered SERVFAIL, and its secondary
// tries again.
const mostTransfers = 32

// batchSize is how many octets of records go into one message: as far as compression pointers reach.
const batchSize = 16 << 10

// transferCounts are what transfers count. See transferMetrics.
type transferCounts struct {
	whole, differences, current atomic.Uint64 // transfers out, by form
	refused, busy, broken       atomic.Uint64
	octets                      atomic.Uint64

	notified, unanswered, unheard, notifyDropped atomic.Uint64
}

// isTransfer reports whether in asks for a transfer. It looks at the question only.
func isTransfer(in []byte) bool {
	if len(in) < headerSize || in[2]&0xf8 != 0 || binary.BigEndian.Uint16(in[4:]) != 1 {
		return false
	}
	at := skipName(in, headerSize)
	if at < 0 || at+4 > len(in) {
		return false
	}
	t := binary.BigEndian.Uint16(in[at:])
	return t == dns.TypeAXFR || t == dns.TypeIXFR
}

// transfer answers one request for a transfer that came over a stream. write sends one message, without
// the length before it, and waits until the client takes it; the message is good until it
// returns. out has room for an answer of streamSize. The error is write's: the stream is of no more use.
func (s *Server) transfer(in, out []byte, c client, write func(msg []byte) error) error {
	q, z, rcode, ok := s.model.front(in, c)
	if !ok {
		return errors.New("not a query")
	}
	if rcode != dns.RcodeSuccess {
		return write(out[:q.refuse(rcode, out)])
	}
	if rcode = s.model.mayTransfer(q, z, c); rcode != dns.RcodeSuccess {
		s.transfers.refused.Add(1)
		return write(out[:q.refuse(rcode, out)])
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		s.transfers.busy.Add(1)
		q.explain(edeNotReady)
		return write(out[:q.refuse(dns.RcodeServerFailure, out)])
	}
	err := s.send(q, z, c, newBundle(q, out, s.deps.Now, write))
	if err != nil {
		s.transfers.broken.Add(1)
	}
	return err
}

// transferOver answers requests for transfers over streams; see conversation.
func (s *Server) transferOver(_ context.Context, in []byte, c client, write func(msg []byte) error) (taken bool, err error) {
	if !isTransfer(in) {
		return false, nil
	}
	count := s.counters[0]
	out := make([]byte, streamSize)
	err = s.shielded(count, func() error {
		return s.transfer(in, out, c, func(msg []byte) error {
			var t tally
			t.full++
			t.answer(msg, true)
			t.publish(count)
			return write(msg)
		})
	})
	return true, err
}

// mayTransfer says whether q, which asks for a transfer of z, is answered: NOERROR, or why not.
func (m *model) mayTransfer(q *query, z *zone, c client) int {
	switch {
	case z.apex != q.asked.key:
		return dns.RcodeNotAuth // RFC 5936 section 2.2.1
	case !z.transferable:
		q.explain(edeProhibited)
		return dns.RcodeRefused
	case !z.mayTransfer(q, c):
		q.explain(edeProhibited)
		return dns.RcodeRefused
	case z.absent != "":
		q.explain(edeNotReady)
		return dns.RcodeServerFailure
	case q.asked.rrtype == dns.TypeIXFR && !q.has:
		return dns.RcodeFormatError
	}
	return dns.RcodeSuccess
}

// version takes z as it is now, and for a client that has serial the differences that lead there.
func (s *Server) version(z *zone, serial uint32) (*snapshot, *journal.Diff) {
	snap, diffs := s.locked(z, serial)
	if diffs == nil {
		return snap, nil
	}
	all := journal.Condense(diffs)
	return snap, &all
}

func (s *Server) locked(z *zone, serial uint32) (*snapshot, []journal.Diff) {
	s.applying.Lock()
	defer s.applying.Unlock()
	if now := s.model.zoneAt.get(z.number); now != nil && now.absent == "" {
		z = now
	}
	snap := s.writer.snapshotOf(z)
	diffs, ok := s.writer.journal.Since(z.id, serial)
	if !ok || diffs[len(diffs)-1].To != snap.serial {
		return snap, nil
	}
	return snap, diffs
}

// send writes the transfer that q asks for.
func (s *Server) send(q *query, z *zone, c client, b *bundle) error {
	snap, diff := s.version(z, q.told)
	soa := snap.zone.soaRecord(snap.zone.soa.Hdr.Ttl, snap.serial)
	incremental := q.asked.rrtype == dns.TypeIXFR
	var err error
	switch {
	case incremental && later(snap.serial, q.told) == q.told:
		s.transfers.current.Add(1)
		err = b.add(soa) // RFC 1995 section 2: nothing newer
	case incremental && diff != nil:
		s.transfers.differences.Add(1)
		err = b.addAll(difference(soa, diff))
	default:
		s.transfers.whole.Add(1)
		err = b.addAll(whole(soa, snap))
	}
	if err == nil {
		err = b.flush()
	}
	s.transfers.octets.Add(b.octets)
	if err == nil {
		s.noteTransfer(z, c.addr, snap.serial)
	}
	return err
}

// whole gives the records of an AXFR: the SOA, all others, the SOA.
func whole(soa *dns.SOA, s *snapshot) iter.Seq[dns.RR] {
	return func(yield func(dns.RR) bool) {
		if !yield(soa) {
			return
		}
		for set := range s.sets() {
			if set[0].Header().Rrtype == dns.TypeSOA {
				continue
			}
			for _, rr := range set {
				if !yield(rr) {
					return
				}
			}
		}
		yield(soa)
	}
}

// difference gives the records of an IXFR: the new SOA, the old SOA with what goes, the new one with
// what comes, and the new SOA again (RFC 1995 section 4).
func difference(soa *dns.SOA, d *journal.Diff) iter.Seq[dns.RR] {
	return func(yield func(dns.RR) bool) {
		if !yield(soa) {
			return
		}
		for _, part := range [][]byte{d.Old, d.Removed, d.New, d.Added} {
			for rr := range unpacked(part) {
				if !yield(rr) {
					return
				}
			}
		}
		yield(soa)
	}
}

// unpacked gives the records in b, which are there one after the other. It ends at one that is not whole.
func unpacked(b []byte) iter.Seq[dns.RR] {
	return func(yield func(dns.RR) bool) {
		for at := 0; at < len(b); {
			rr, next, err := dns.UnpackRR(b, at)
			if err != nil || !yield(rr) {
				return
			}
			at = next
		}
	}
}

// batch packs records into messages and sends each when it is full.
type bundle struct {
	q      *query
	out    []byte
	limit  int // of a message, without signature
	write  func([]byte) error
	sign   *tsig.Stream // nil: not signed
	names  map[string]int
	at     int // octets in out, 0 before the message is begun
	count  int // records in it
	sent   int // messages
	octets uint64
}

func newBundle(q *query, out []byte, now nowFunc, write func([]byte) error) *bundle {
	b := &bundle{q: q, out: out, limit: min(len(out), streamSize) - q.signature.size(), write: write}
	if by := q.signature.by(); by != nil {
		b.sign = by.NewStream(q.signature.record.MAC, now)
	}
	return b
}

// begin writes the header and, in the first message, the question (RFC 5936 section 2.2).
func (b *bundle) begin() error {
	clear(b.out[:headerSize])
	binary.BigEndian.PutUint16(b.out, b.q.id)
	b.out[2] = flagQR | flagAA
	if b.q.recurse {
		b.out[2] |= flagRD
	}
	b.at, b.count, b.names = headerSize, 0, map[string]int{}
	if b.sent > 0 {
		return nil
	}
	b.out[5] = 1
	at, err := dns.PackDomainName(b.q.question.Name, b.out, b.at, b.names, true)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint16(b.out[at:], b.q.question.Qtype)
	binary.BigEndian.PutUint16(b.out[at+2:], b.q.question.Qclass)
	b.at = at + 4
	return nil
}

func (b *bundle) addAll(records iter.Seq[dns.RR]) error {
	for rr := range records {
		if err := b.add(rr); err != nil {
			return err
		}
	}
	return nil
}

// add packs rr, into a message of its own when it does not go with those before.
func (b *bundle) add(rr dns.RR) error {
	if b.at == 0 {
		if err := b.begin(); err != nil {
			return err
		}
	}
	end, err := dns.PackRR(rr, b.out[:b.limit], b.at, b.names, true)
	if (err != nil || end > batchSize) && b.count > 0 {
		if err := b.flush(); err != nil {
			return err
		}
		return b.add(rr)
	}
	if err != nil {
		return err
	}
	b.at = end
	b.count++
	return nil
}

// flush sends the message in the making.
func (b *bundle) flush() error {
	if b.at == 0 {
		return nil
	}
	binary.BigEndian.PutUint16(b.out[6:], uint16(b.count))
	msg := b.out[:b.at]
	if b.sign != nil {
		msg = b.sign.Sign(msg)
	}
	b.at = 0
	b.sent++
	b.octets += uint64(len(msg))
	return b.write(msg)
}

// datagram answers a request for a transfer that came over UDP into out: an IXFR when all differences
// fit, else the SOA alone, upon which the client asks again over TCP (RFC 1995 section 2). AXFR needs TCP
// (RFC 5936 section 4.2).
func (s *Server) datagram(q *query, z *zone, c client, out []byte) int {
	if rcode := s.model.mayTransfer(q, z, c); rcode != dns.RcodeSuccess {
		s.transfers.refused.Add(1)
		return q.refuse(rcode, out)
	}
	if q.asked.rrtype == dns.TypeAXFR {
		return q.refuse(dns.RcodeFormatError, out)
	}
	snap, diff := s.version(z, q.told)
	soa := snap.zone.soaRecord(snap.zone.soa.Hdr.Ttl, snap.serial)
	msg := q.message(dns.RcodeSuccess)
	msg.Authoritative = true
	if later(snap.serial, q.told) != q.told && diff != nil && diff.Size() < 4*q.limit { // who knows before it is compressed
		for rr := range difference(soa, diff) {
			msg.Answer = append(msg.Answer, rr)
		}
		if n := q.pack(msg, out); n > 0 {
			s.transfers.differences.Add(1)
			s.transfers.octets.Add(uint64(n))
			s.noteTransfer(z, c.addr, snap.serial)
			return n
		}
	}
	s.transfers.current.Add(1)
	msg.Answer = []dns.RR{soa}
	return q.pack(msg, out)
}

// shielded runs fn as handle answers: a panic is counted, logged, and an error.
func (s *Server) shielded(count *counters, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("panic")
			if total := count.panics.Add(1); total&(total-1) == 0 {
				s.log.Error("panic while answering", "panic", p, "stack", string(debug.Stack()))
			}
		}
	}()
	return fn()
}
