package dnsd

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// echoStore hands what is written to it back as changes, as the node does.
type echoStore struct {
	mu       sync.Mutex
	revision tandem.Revision
	refuse   error
	server   *Server
}

func (e *echoStore) Append(_ context.Context, _ tandem.Principal, edits []tandem.Edit) (tandem.Revision, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refuse != nil {
		return 0, e.refuse
	}
	var changes []tandem.Change
	for _, x := range edits {
		e.revision++
		if k, ok := x.Object.(*tandem.ZoneKey); ok {
			k.Revision = e.revision
		}
		changes = append(changes, tandem.Change{Revision: e.revision, Kind: x.Kind, ID: x.ID, Object: x.Object})
	}
	e.server.Apply(changes)
	return e.revision, nil
}

// kept returns a server whose keeper runs until the test ends.
func kept(t *testing.T) (*Server, *echoStore) {
	store := &echoStore{revision: 1000}
	s, err := New(Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Signatures: 1000}, Deps{Seal: openSeal{}, Store: store}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	store.server = s
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.keep(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return s, store
}

func putZone(s *Server, revision tandem.Revision, z *tandem.Zone) {
	s.change(revision, tandem.KindZone, z.ID, z)
}

// TestKeeperMakesKeysAndRollsThem plays a year of a zone whose parent is ours.
func TestKeeperMakesKeysAndRollsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := kept(t)
		putZone(s, 1, &tandem.Zone{Head: tandem.Head{ID: "test"}, Role: tandem.RolePlain, Mode: tandem.ModeSteered})
		child := &tandem.Zone{Head: tandem.Head{ID: "a.test"}, Role: tandem.RolePlain, Mode: tandem.ModeSteered, DNSSEC: &tandem.DNSSEC{Split: true, RollDays: 30, KSKDays: 90}}
		putZone(s, 2, child)
		time.Sleep(time.Minute)
		if n := len(s.charge(s.model.zoneOf(mustKey(t, "a.test")).number).keys); n != 0 {
			t.Fatalf("%d keys before the snapshot's end, want none", n)
		}
		s.Apply(nil)
		seen := map[int]bool{}
		rolled := func(d time.Duration) {
			for range int(d / (6 * time.Hour)) {
				time.Sleep(6 * time.Hour)
				z := s.model.zoneOf(mustKey(t, "a.test"))
				for _, k := range s.charge(z.number).keys {
					seen[k.Number] = true
				}
				answersVerify(t, s, "a.test")
			}
		}
		rolled(365 * 24 * time.Hour)
		if len(seen) < 12 {
			t.Errorf("%d keys in a year, want some 12 ZSK and 4 KSK", len(seen))
		}
		unsigned := *child
		unsigned.DNSSEC = nil
		putZone(s, 3, &unsigned)
		time.Sleep(time.Minute)
		if z := s.model.zoneOf(mustKey(t, "a.test")); z.signing == nil || len(z.signing.ring.DS(1)) != 0 || z.signing.top.set(dns.TypeCDS) == nil {
			t.Error("right after dnssec went, the zone must still be signed, with a CDS that asks for no DS")
		}
		time.Sleep(72 * time.Hour)
		if z := s.model.zoneOf(mustKey(t, "a.test")); z.signing != nil {
			t.Error("three days after dnssec went, the zone is still signed")
		}
	})
}

// answersVerify checks the signatures over the zone's SOA and keys with the keys that it publishes, and
// that the DS set answered for it names one that signs.
func answersVerify(t *testing.T, s *Server, zone string) {
	t.Helper()
	keys := askSigned(t, s, zone, dns.TypeDNSKEY)
	for _, rrtype := range []uint16{dns.TypeDNSKEY, dns.TypeSOA} {
		reply := askSigned(t, s, zone, rrtype)
		if !verified(reply.Answer, keys.Answer, time.Now()) {
			t.Fatalf("%s %s at %s does not verify:\n%v\nwith\n%v", zone, dns.Type(rrtype), time.Now(), reply, keys)
		}
	}
	for _, rr := range askSigned(t, s, zone, dns.TypeDS).Answer {
		if ds, ok := rr.(*dns.DS); ok {
			var trusted []dns.RR
			for _, k := range keys.Answer {
				if k, ok := k.(*dns.DNSKEY); ok && k.ToDS(dns.SHA256).Digest == ds.Digest {
					trusted = append(trusted, k)
				}
			}
			if !verified(keys.Answer, trusted, time.Now()) {
				t.Fatalf("%s at %s: DS %v leads to no key that signs", zone, time.Now(), ds)
			}
		}
	}
}

// askSigned asks s with DO, as over TCP.
func askSigned(t *testing.T, s *Server, name string, rrtype uint16) *dns.Msg {
	t.Helper()
	query := new(dns.Msg)
	query.SetQuestion(dns.Fqdn(name), rrtype)
	query.SetEdns0(4096, true)
	in, err := query.Pack()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 65535)
	reply := new(dns.Msg)
	if err := reply.Unpack(s.askBoth(t, in, client{addr: netip.MustParseAddr("127.0.0.1"), stream: true})); err != nil {
		t.Fatal(err, out)
	}
	return reply
}

// verified reports whether one signature among records, over the set before it, is by one of keys and
// good at now.
func verified(records, keys []dns.RR, now time.Time) bool {
	var set []dns.RR
	for _, rr := range records {
		sig, ok := rr.(*dns.RRSIG)
		if !ok {
			set = append(set, rr)
			continue
		}
		for _, k := range keys {
			if k, ok := k.(*dns.DNSKEY); ok && k.KeyTag() == sig.KeyTag && sig.Verify(k, set) == nil && sig.ValidityPeriod(now) {
				return true
			}
		}
	}
	return false
}

// TestKeeperTriesAgain: what could not be stored is made again.
func TestKeeperTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := kept(t)
		store.refuse = tandem.ErrConflict
		putZone(s, 1, &tandem.Zone{Head: tandem.Head{ID: "a.test"}, Role: tandem.RolePlain, Mode: tandem.ModeSteered, DNSSEC: &tandem.DNSSEC{}})
		s.Apply(nil)
		time.Sleep(time.Minute)
		if s.model.zoneOf(mustKey(t, "a.test")).signing != nil {
			t.Fatal("signed with a key that was not stored")
		}
		store.mu.Lock()
		store.refuse = nil
		store.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if s.model.zoneOf(mustKey(t, "a.test")).signing == nil {
			t.Error("still unsigned two minutes after the store takes keys again")
		}
	})
}
