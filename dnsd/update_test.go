package dnsd

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// shelf is a store of a test: it keeps RecordSets, and has a server serve them a little later.
type shelf struct {
	server *Server
	mu     sync.Mutex
	last   tandem.Revision
	kept   map[string]tandem.Change
	meddle func() // before an append is looked at
}

func (s *shelf) Append(_ context.Context, by tandem.Principal, edits []tandem.Edit) (tandem.Revision, error) {
	if s.meddle != nil {
		s.meddle()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range edits {
		old, ok := s.kept[e.ID]
		switch {
		case ok && !by.MaySee(old.Object.Owner()):
			return 0, &tandem.EditError{Err: tandem.ErrNotFound}
		case ok && e.Create, !ok && e.Expected != 0, ok && e.Expected != 0 && old.Revision != e.Expected:
			return 0, &tandem.EditError{Err: tandem.ErrConflict}
		}
	}
	var changes []tandem.Change
	for _, e := range edits {
		s.last++
		c := tandem.Change{Revision: s.last, Kind: e.Kind, ID: e.ID, Object: e.Object}
		delete(s.kept, e.ID)
		if e.Object != nil {
			if err := e.Object.Validate(); err != nil {
				return 0, &tandem.EditError{Err: err}
			}
			s.kept[e.ID] = c
		}
		changes = append(changes, c)
	}
	go s.server.Apply(changes)
	return s.last, nil
}

// plainSeal hides nothing.
type plainSeal struct{}

func (plainSeal) Seal(plain []byte, _ string) ([]byte, error)    { return plain, nil }
func (plainSeal) Unseal(sealed []byte, _ string) ([]byte, error) { return sealed, nil }

const plainSecret = "a secret of 16 octets or more"

// updatable returns a server whose zone z.test the keys ops and narrow may change, and whose zone
// voice.test has accounts 1 (label one, key tenant) and 2 (label two).
func updatable(t testing.TB) (*Server, *shelf) {
	t.Helper()
	kept := &shelf{last: 100, kept: map[string]tandem.Change{}}
	s, err := New(Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}, Deps{Store: kept, Seal: plainSeal{}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	kept.server = s
	key := func(id, account string) *tandem.TSIGKey {
		return &tandem.TSIGKey{Head: tandem.Head{ID: id}, Account: account, Sealed: []byte(plainSecret)}
	}
	for i, o := range []tandem.Object{
		&tandem.Edge{Head: tandem.Head{ID: "e1"}, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Ports: tandem.Ports{UDP: 5060}},
		&tandem.Zone{Head: tandem.Head{ID: "z.test"}, Role: tandem.RolePlain, Records: "a A 192.0.2.1\na A 192.0.2.2\nsub NS ns.sub\n",
			Updates: []tandem.UpdateRule{{Key: "ops"}, {Key: "narrow", Names: []string{"dyn"}, Types: []string{"TXT", "SRV"}}, {Key: "tenant"}}},
		&tandem.Zone{Head: tandem.Head{ID: "child.z.test"}, Role: tandem.RolePlain},
		&tandem.Zone{Head: tandem.Head{ID: "copy.test"}, Role: tandem.RolePlain, Primaries: []tandem.Primary{{Address: "192.0.2.53"}}, Updates: []tandem.UpdateRule{{Key: "ops"}}},
		&tandem.Zone{Head: tandem.Head{ID: "voice.test"}, Role: tandem.RoleAccounts, Edges: []string{"e1"}, Updates: []tandem.UpdateRule{{Key: "tenant"}, {Key: "ops"}}},
		testAccount("1", "voice.test", "g", "one"), testAccount("2", "voice.test", "g", "two"),
		key("ops", ""), key("narrow", ""), key("tenant", "1"), key("stranger", ""),
	} {
		s.change(tandem.Revision(i+1), o.Kind(), o.Header().ID, o)
	}
	return s, kept
}

// exchange signs m with a key, "" for none, and returns the answer.
func (s *Server) exchange(t testing.TB, m *dns.Msg, key string) *dns.Msg {
	t.Helper()
	query, err := m.Pack()
	mac, secret := "", base64.StdEncoding.EncodeToString([]byte(plainSecret))
	if key != "" {
		m.SetTsig(key+".", dns.HmacSHA256, 300, time.Now().Unix())
		query, mac, err = dns.TsigGenerate(m, secret, "", false)
	}
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 65535)
	n := s.handle(&counters{}, query, out, client{addr: netip.MustParseAddr("127.0.0.1"), stream: true})
	if key != "" && out[3]&15 != dns.RcodeNotAuth { // which the library takes for a failure of TSIG itself
		if err := dns.TsigVerify(out[:n], secret, mac, false); err != nil {
			t.Errorf("the answer's signature: %v", err)
		}
	}
	msg := new(dns.Msg)
	if err := msg.Unpack(out[:n]); err != nil {
		t.Fatal(err)
	}
	return msg
}

// updating returns an update of zone that adds records, given as zone text.
func updating(t testing.TB, zone string, add ...string) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetUpdate(zone + ".")
	for _, text := range add {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		m.Insert([]dns.RR{rr})
	}
	return m
}

func (s *Server) wantUpdate(t testing.TB, m *dns.Msg, key string, rcode int) {
	t.Helper()
	if got := s.exchange(t, m, key); got.Rcode != rcode || got.Opcode != dns.OpcodeUpdate || !got.Response {
		t.Errorf("update by %q: %s, want %s\n%v", key, dns.RcodeToString[got.Rcode], dns.RcodeToString[rcode], m)
	}
}

// TestUpdateIsServed: once an update is answered, what it did is answered, by every change of RFC 2136.
func TestUpdateIsServed(t *testing.T) {
	s, kept := updatable(t)
	s.wantUpdate(t, updating(t, "z.test", "n.z.test. 60 A 192.0.2.9", `n.z.test. 60 TXT "x;y" "\"z"`), "ops", dns.RcodeSuccess)
	s.wantRecords(t, "n.z.test", dns.TypeA, "NOERROR, 192.0.2.9")
	s.wantRecords(t, "n.z.test", dns.TypeTXT, `NOERROR, "x;y" "\"z"`)
	s.wantUpdate(t, updating(t, "z.test", "a.z.test. 60 A 192.0.2.3"), "ops", dns.RcodeSuccess)
	s.wantRecords(t, "a.z.test", dns.TypeA, "NOERROR, 192.0.2.1, 192.0.2.2, 192.0.2.3")
	gone := new(dns.Msg)
	gone.SetUpdate("z.test.")
	gone.RemoveName([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: "a.z.test."}}, &dns.ANY{Hdr: dns.RR_Header{Name: "n.z.test."}}})
	s.wantUpdate(t, gone, "ops", dns.RcodeSuccess)
	s.wantRecords(t, "a.z.test", dns.TypeA, "NXDOMAIN")
	s.wantRecords(t, "n.z.test", dns.TypeA, "NXDOMAIN")
	if len(kept.kept) != 1 {
		t.Errorf("%d record sets are left, want the one that hides zone text: %v", len(kept.kept), kept.kept)
	}
	before := kept.last
	s.wantUpdate(t, gone, "ops", dns.RcodeSuccess)
	if kept.last != before {
		t.Error("an update that changes nothing was stored")
	}
}

// TestUpdatePolicy asks who may change what.
func TestUpdatePolicy(t *testing.T) {
	s, kept := updatable(t)
	cases := []struct {
		name, key, zone, record string
		rcode                   int
	}{
		{"without a key", "", "z.test", "n.z.test. TXT x", dns.RcodeRefused},
		{"a key that no rule names", "stranger", "z.test", "n.z.test. TXT x", dns.RcodeRefused},
		{"within the rule", "narrow", "z.test", "x.dyn.z.test. TXT x", dns.RcodeSuccess},
		{"another name", "narrow", "z.test", "n.z.test. TXT x", dns.RcodeRefused},
		{"a name that ends alike", "narrow", "z.test", "xdyn.z.test. TXT x", dns.RcodeRefused},
		{"another type", "narrow", "z.test", "x.dyn.z.test. A 192.0.2.1", dns.RcodeRefused},
		{"an account's key in a zone without accounts", "tenant", "z.test", "one.z.test. TXT x", dns.RcodeRefused},
		{"an account at its label", "tenant", "voice.test", "one.voice.test. TXT x", dns.RcodeSuccess},
		{"an account below its label", "tenant", "voice.test", "_acme-challenge.one.voice.test. TXT x", dns.RcodeSuccess},
		{"an account at another's label", "tenant", "voice.test", "_acme-challenge.two.voice.test. TXT x", dns.RcodeRefused},
		{"an account at the apex", "tenant", "voice.test", "voice.test. TXT x", dns.RcodeRefused},
		{"an account at a free name", "tenant", "voice.test", "three.voice.test. TXT x", dns.RcodeRefused},
		{"composed records", "tenant", "voice.test", "one.voice.test. A 192.0.2.66", dns.RcodeRefused},
		{"composed records, by the operator", "ops", "voice.test", "one.voice.test. NAPTR 1 1 \"u\" \"x\" \"!a!b!\" .", dns.RcodeRefused},
		{"an alias at a composed name", "ops", "voice.test", "one.voice.test. CNAME x", dns.RcodeRefused},
		{"the operator at an account's name", "ops", "voice.test", "_x.one.voice.test. TXT x", dns.RcodeSuccess},
		{"the account at what the operator put", "tenant", "voice.test", "_x.one.voice.test. TXT y", dns.RcodeRefused},
		{"NS", "ops", "z.test", "n.z.test. NS x", dns.RcodeRefused},
		{"DNSKEY", "ops", "z.test", "z.test. DNSKEY 257 3 13 aaaa", dns.RcodeRefused},
		{"a zone below", "ops", "z.test", "n.child.z.test. TXT x", dns.RcodeNotZone},
		{"a zone above", "ops", "child.z.test", "n.z.test. TXT x", dns.RcodeRefused},
		{"not the apex of a zone", "ops", "n.z.test", "x.n.z.test. TXT x", dns.RcodeNotAuth},
		{"no zone of ours", "ops", "elsewhere.test", "x.elsewhere.test. TXT x", dns.RcodeNotAuth},
		{"a copy", "ops", "copy.test", "x.copy.test. TXT x", dns.RcodeNotAuth},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := kept.last
			s.wantUpdate(t, updating(t, c.zone, c.record), c.key, c.rcode)
			if (kept.last != before) != (c.rcode == dns.RcodeSuccess) {
				t.Errorf("revision %d before and %d after %s", before, kept.last, dns.RcodeToString[c.rcode])
			}
		})
	}
	if c := kept.kept["one.voice.test:TXT"]; c.Object == nil || c.Object.Owner() != "1" {
		t.Errorf("the account's record set is %v, want one that belongs to it", c.Object)
	}
	forged := updating(t, "z.test", "n.z.test. TXT x")
	forged.SetTsig("ops.", dns.HmacSHA256, 300, time.Now().Unix())
	b, _, _ := dns.TsigGenerate(forged, base64.StdEncoding.EncodeToString([]byte("another secret")), "", false)
	out := make([]byte, 65535)
	n := s.handle(&counters{}, b, out, client{addr: netip.MustParseAddr("127.0.0.1"), stream: true})
	if rcode := int(out[3] & 15); n == 0 || rcode != dns.RcodeRefused && rcode != dns.RcodeNotAuth {
		t.Errorf("a forged update: rcode %d", rcode)
	}
	s.wantRecords(t, "n.z.test", dns.TypeTXT, "NXDOMAIN")
}

// TestUpdateConflict: when somebody else changes the same set at the same time, neither change is lost.
func TestUpdateConflict(t *testing.T) {
	s, kept := updatable(t)
	s.wantUpdate(t, updating(t, "z.test", "n.z.test. TXT first"), "ops", dns.RcodeSuccess)
	once := sync.Once{}
	kept.meddle = func() {
		once.Do(func() {
			kept.mu.Lock()
			defer kept.mu.Unlock()
			kept.last++
			r := recordSet("z.test", "n.z.test", "TXT", `"second"`)
			c := tandem.Change{Revision: kept.last, Kind: tandem.KindRecordSet, ID: r.ID, Object: r}
			kept.kept[r.ID] = c
			go s.Apply([]tandem.Change{c})
		})
	}
	s.wantUpdate(t, updating(t, "z.test", "n.z.test. TXT third"), "ops", dns.RcodeSuccess)
	s.wantRecords(t, "n.z.test", dns.TypeTXT, `NOERROR, "second", "third"`)
}

// TestUpdatesAtOnce: a hundred clients that each add a record to one set lose none.
func TestUpdatesAtOnce(t *testing.T) {
	s, _ := updatable(t)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			s.wantUpdate(t, updating(t, "z.test", fmt.Sprintf("many.z.test. A 192.0.2.%d", i)), "ops", dns.RcodeSuccess)
		})
	}
	all.Wait()
	if got := strings.Count(s.records(t, "many.z.test", dns.TypeA), ","); got != 100 {
		t.Errorf("%d records, want 100", got)
	}
}

// TestUpdateThatIsNotServed: an update is not acknowledged before it is served.
func TestUpdateThatIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, kept := updatable(t)
		kept.server = newServer(t) // somebody else follows the store
		s.wantUpdate(t, updating(t, "z.test", "n.z.test. TXT x"), "ops", dns.RcodeServerFailure)
	})
}

// TestUpdateQueue: only signed updates wait, no more than the bound, and one more is counted.
func TestUpdateQueue(t *testing.T) {
	s, _ := updatable(t)
	octets := func(key string) []byte {
		m := updating(t, "z.test", "n.z.test. TXT x")
		m.SetEdns0(1232, false)
		if key == "" {
			b, _ := m.Pack()
			return b
		}
		m.SetTsig(key+".", dns.HmacSHA256, 300, time.Now().Unix())
		b, _, err := dns.TsigGenerate(m, base64.StdEncoding.EncodeToString([]byte(plainSecret)), "", false)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if s.takeUpdate(queuedUpdate{in: octets("")}) || s.takeUpdate(queuedUpdate{in: octets("unknown")}) {
		t.Error("an update that nobody we know has signed waits in the queue")
	}
	for range updateQueue + 3 {
		if !s.takeUpdate(queuedUpdate{in: octets("ops")}) {
			t.Fatal("a signed update is not taken")
		}
	}
	if len(s.updates.queue) != updateQueue || s.updates.dropped.Load() != 3 {
		t.Errorf("%d wait and %d were dropped, want %d and 3", len(s.updates.queue), s.updates.dropped.Load(), updateQueue)
	}
}
