package dnsd

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"

	"tandem/dnsd/tsig"
)

// Secondaries are told of new versions (NOTIFY, RFC 1996): at once, then at most three times a second, each
// until it answers or has been told often enough. What is lost its refresh timer makes good.

const (
	notifyDelay   = 20 * time.Millisecond  // before the first, so that it tells of a whole batch
	notifyPause   = 300 * time.Millisecond // between two to one address about one zone
	notifyRetry   = time.Second            // before the second attempt; then twice as long each time
	notifyTries   = 6
	mostNotices   = 1 << 17 // zones and addresses to be told at a time
	notifyBurst   = 200     // sent at once; then the others' turn comes after
	notifyBetween = 10 * time.Millisecond
)

// addressee is who is told about what.
type addressee struct {
	zone uint32 // number
	at   netip.AddrPort
}

// notice is one addressee's state. It goes when there is nothing more to tell, and the pause is over.
type notice struct {
	key   string // TSIGKey to sign with
	dirty bool   // there is something to tell
	tries int
	sent  time.Time
	id    uint16 // of the message that is not answered yet; 0: none
	mac   []byte
}

// notifier tells secondaries. Its zero value waits for run.
type notifier struct {
	s    *Server
	kick chan struct{}

	mu      sync.Mutex
	notices map[addressee]*notice
	agenda  agenda[addressee]
	waiting map[waitingKey]addressee

	v4, v6 *net.UDPConn
}

// waitingKey is what an answer is recognised by.
type waitingKey struct {
	from netip.AddrPort
	id   uint16
}

func newNotifier(s *Server) *notifier {
	return &notifier{
		s: s, kick: make(chan struct{}, 1), notices: map[addressee]*notice{}, waiting: map[waitingKey]addressee{},
	}
}

// changed notes that there is a new version of z.
func (n *notifier) changed(z *zone) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range z.secondaries {
		for _, text := range z.secondaries[i].Notify {
			if at, ok := serverAddress(text, 53); ok {
				n.note(addressee{z.number, at}, z.secondaries[i].Key, now)
			}
		}
	}
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

func (n *notifier) note(to addressee, key string, now time.Time) {
	v := n.notices[to]
	if v == nil {
		if len(n.notices) >= mostNotices {
			n.s.transfers.notifyDropped.Add(1)
			return
		}
		v = &notice{}
		n.notices[to] = v
	}
	v.key, v.dirty, v.tries = key, true, 0
	at := v.sent.Add(notifyPause)
	if first := now.Add(notifyDelay); at.Before(first) {
		at = first
	}
	if due, ok := n.agenda.at(to); !ok || at.Before(due) || v.id != 0 {
		n.agenda.set(to, at)
	}
}

// run tells until ctx ends.
func (n *notifier) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	n.v4, n.v6 = n.open("udp4"), n.open("udp6")
	for _, conn := range []*net.UDPConn{n.v4, n.v6} {
		if conn != nil {
			defer conn.Close()
			wg.Go(func() { n.listen(conn) })
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.kick:
		case <-timer.C:
		}
		timer.Reset(n.tell(time.Now()))
	}
}

// open returns a socket for one family, from the address that DNS is served at, so that secondaries know
// who speaks; nil when there is none.
func (n *notifier) open(network string) *net.UDPConn {
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(n.s.source(network == "udp4")))
	if err != nil {
		n.s.log.Debug("no socket for NOTIFY", "network", network, "err", err)
		return nil
	}
	return conn
}

// source returns the first address served of a family, or any, with port 0.
func (s *Server) source(v4 bool) netip.AddrPort {
	for _, l := range s.cfg.Listen {
		if l.Addr().Is4() == v4 && !l.Addr().IsUnspecified() {
			return netip.AddrPortFrom(l.Addr(), 0)
		}
	}
	if v4 {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
}

// tell sends what is due, and returns how long it is until something is again.
func (n *notifier) tell(now time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range notifyBurst {
		to, ok := n.agenda.take(now)
		if !ok {
			return n.agenda.wait(now)
		}
		v := n.notices[to]
		n.forget(to, v)
		switch {
		case !v.dirty:
			delete(n.notices, to)
		case v.tries == notifyTries:
			n.s.transfers.unanswered.Add(1)
			delete(n.notices, to)
		default:
			n.send(to, v, now)
		}
	}
	return notifyBetween
}

// forget no longer waits for v's answer.
func (n *notifier) forget(to addressee, v *notice) {
	delete(n.waiting, waitingKey{to.at, v.id})
	v.id = 0
}

// send tells to of its zone as it is now, and comes back to it later.
func (n *notifier) send(to addressee, v *notice, now time.Time) {
	z := n.s.model.zoneAt.get(to.zone)
	if z == nil || !z.shared() || z.absent != "" {
		delete(n.notices, to)
		return
	}
	conn := n.v4
	if !to.at.Addr().Is4() {
		conn = n.v6
	}
	for v.id == 0 || n.waiting[waitingKey{to.at, v.id}] != (addressee{}) {
		v.id = uint16(rand.Uint32())
	}
	msg, err := n.s.notification(z, v, now)
	if err == nil && conn != nil {
		_, err = conn.WriteToUDPAddrPort(msg, to.at)
	}
	if err != nil {
		n.s.log.Debug("NOTIFY not sent", "zone", z.id, "to", to.at, "err", err)
	}
	n.waiting[waitingKey{to.at, v.id}] = to
	v.sent = now
	n.agenda.set(to, now.Add(notifyRetry<<v.tries))
	v.tries++
	n.s.transfers.notified.Add(1)
}

// errNoKey is a TSIGKey that an object names and that is not there.
var errNoKey = errors.New("no such key")

// notification returns the message, signed when v has a key.
func (s *Server) notification(z *zone, v *notice, now time.Time) ([]byte, error) {
	m := new(dns.Msg)
	m.SetNotify(z.name)
	m.Id = v.id
	m.Answer = []dns.RR{z.soaRecord(z.soa.Hdr.Ttl, s.model.serialOf(z))}
	msg, err := m.Pack()
	if err != nil || v.key == "" {
		return msg, err
	}
	key := s.model.signerOf(v.key)
	if key == nil {
		return nil, errNoKey
	}
	msg, v.mac = key.Append(msg, nil, now, tsig.NoError, 0)
	return msg, nil
}

// listen takes answers until conn is closed.
func (n *notifier) listen(conn *net.UDPConn) {
	buf := make([]byte, 4096)
	for {
		size, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || size < headerSize || buf[2]&flagQR == 0 {
			continue // an ICMP error of an earlier one, or nonsense
		}
		n.answered(buf[:size], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	}
}

// answered takes one answer. Whatever it says, the addressee has heard (RFC 1996 section 4.8).
func (n *notifier) answered(msg []byte, from netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	to, ok := n.waiting[waitingKey{from, uint16(msg[0])<<8 | uint16(msg[1])}]
	if !ok {
		return
	}
	v := n.notices[to]
	if rcode := int(msg[3] & 15); rcode != dns.RcodeSuccess {
		n.s.log.Debug("NOTIFY refused", "to", from, "rcode", dns.RcodeToString[rcode])
		n.s.transfers.unheard.Add(1)
	} else if key := n.s.model.signerOf(v.key); v.key != "" && (key == nil || key.NewStream(v.mac, time.Now).Check(msg) != nil) {
		return // not from whoever has the key: go on asking
	}
	n.forget(to, v)
	v.dirty = v.tries == 0 // changed since it was sent
	n.agenda.set(to, v.sent.Add(notifyPause))
}
