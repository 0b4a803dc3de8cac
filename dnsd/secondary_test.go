package dnsd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// memoryShelf is ZoneData in memory.
type memoryShelf struct {
	mu   sync.Mutex
	data map[string]tandem.ZoneDatum
}

func shelfKey(zone string, part byte, number uint64) string {
	return fmt.Sprintf("%s %c %020d", zone, part, number)
}

func (m *memoryShelf) WriteZoneData(_ context.Context, data []tandem.ZoneDatum) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range data {
		if d.Octets != nil {
			m.data[shelfKey(d.Zone, d.Part, d.Number)] = d
			continue
		}
		for key, have := range m.data {
			if have.Zone == d.Zone && have.Part == d.Part && have.Number >= d.Number && have.Number <= max(d.Last, d.Number) {
				delete(m.data, key)
			}
		}
	}
	return nil
}

func (m *memoryShelf) ZoneData(_ context.Context, fn func(tandem.ZoneDatum) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for key := range m.data {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := fn(m.data[key]); err != nil {
			return err
		}
	}
	return nil
}

// running starts a server with objects on a free port of loopback, until the test ends or end is called.
func running(t *testing.T, shelf ZoneData, objects ...tandem.Object) (s *Server, at string, end func()) {
	t.Helper()
	s, err := New(Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Workers: 1},
		Deps{Seal: openSeal{}, Zones: shelf}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range objects {
		s.change(tandem.Revision(i+1), o.Kind(), o.Header().ID, o)
	}
	s.Restored(tandem.Revision(len(objects)))
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	end = func() { cancel(); <-done }
	t.Cleanup(end)
	return s, s.Addrs()[0].String(), end
}

// until waits until ok is true; what is waited for is another server's doing.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func plainZone(records string, secondaries ...tandem.Secondary) *tandem.Zone {
	return &tandem.Zone{Head: tandem.Head{ID: "plain.test"}, Role: tandem.RolePlain, Records: records, Secondaries: secondaries}
}

func copyOf(primaries ...tandem.Primary) *tandem.Zone {
	return &tandem.Zone{Head: tandem.Head{ID: "plain.test"}, Role: tandem.RolePlain, Primaries: primaries,
		Secondaries: []tandem.Secondary{{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}}
}

func (s *Server) whole(t *testing.T) []string {
	t.Helper()
	return contents(t, recordsOf(s.transferred(t, axfr(t, "plain.test"), client{addr: netip.MustParseAddr("127.0.0.1"), stream: true})))
}

func (s *Server) plainSerial() uint32 {
	z := s.model.zoneOf("\x05plain\x04test\x00")
	if z.absent != "" {
		return 0
	}
	return s.model.serialOf(z)
}

// TestSecondaryZone: a copy follows its primary by NOTIFY, over IXFR, signed; gives on what it has; answers
// after a restart without its primary; and says SERVFAIL as long as it has nothing.
func TestSecondaryZone(t *testing.T) {
	shelf := &memoryShelf{data: map[string]tandem.ZoneDatum{}}
	key := testKey("good", "")
	primary, at, endPrimary := running(t, nil, key, plainZone("www A 192.0.2.1\na.ent TXT x\n", tandem.Secondary{Key: "good"}))
	second, secondAt, end := running(t, shelf, key, copyOf(tandem.Primary{Address: at, Key: "good"}))
	until(t, "the first transfer", func() bool { return second.plainSerial() == primary.plainSerial() })
	if rest := second.records(t, "www.plain.test", dns.TypeA); !strings.Contains(rest, "192.0.2.1") {
		t.Errorf("www = %s", rest)
	}
	tell := tandem.Secondary{Key: "good", Notify: []string{secondAt}}
	primary.change(50, tandem.KindZone, "plain.test", plainZone("www A 192.0.2.1\na.ent TXT x\n", tell, tandem.Secondary{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}))
	until(t, "the first NOTIFY", func() bool { return second.plainSerial() == 50 })
	primary.change(51, tandem.KindZone, "plain.test", plainZone("www A 192.0.2.2\nnew MX 10 www\n", tell, tandem.Secondary{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}))
	until(t, "a change", func() bool { return second.plainSerial() == 51 })
	if got := second.records(t, "ent.plain.test", dns.TypeA); !strings.HasPrefix(got, "NXDOMAIN") {
		t.Errorf("an empty non-terminal stays when nothing is below it: %s", got)
	}
	want := primary.whole(t)
	if got := second.whole(t); !slices.Equal(got, want) {
		t.Errorf("the copy is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := second.copies.differences.Load(); n < 1 {
		t.Errorf("%d transfers were of differences", n)
	}
	records := recordsOf(second.transferred(t, ixfr(t, "plain.test", 50), client{addr: netip.MustParseAddr("127.0.0.1"), stream: true}))
	if _, incremental := records[1].(*dns.SOA); !incremental {
		t.Errorf("the copy gives no difference: %v", records)
	}
	end()
	endPrimary()
	again, _, _ := running(t, shelf, key, copyOf(tandem.Primary{Address: at, Key: "good"}))
	if got := again.whole(t); !slices.Equal(got, want) {
		t.Errorf("after a restart it is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	empty, _, _ := running(t, nil, key, copyOf(tandem.Primary{Address: at, Key: "good"}))
	if got := empty.records(t, "www.plain.test", dns.TypeA); !strings.HasPrefix(got, "SERVFAIL") {
		t.Errorf("without its primary and anything kept: %s, want SERVFAIL", got)
	}
}

// TestSecondaryWithAnotherKey is its negative twin: nothing is taken from, and nothing heard of, a stranger.
func TestSecondaryWithAnotherKey(t *testing.T) {
	key := testKey("good", "")
	other := testKey("good", "")
	other.Sealed, _ = openSeal{}.Seal([]byte("another secret"), other.SealContext())
	_, at, _ := running(t, nil, key, plainZone("www A 192.0.2.1\n", tandem.Secondary{Key: "good"}))
	second, secondAt, _ := running(t, nil, other, copyOf(tandem.Primary{Address: at, Key: "good"}))
	until(t, "a transfer that fails", func() bool { return second.copies.failed.Load() > 0 })
	if second.plainSerial() != 0 {
		t.Error("it came all the same")
	}
	m := new(dns.Msg)
	m.SetNotify("plain.test.")
	for name, want := range map[string]int{"plain.test.": dns.RcodeRefused, "elsewhere.test.": dns.RcodeNotAuth} {
		m.Question[0].Name = name
		reply, err := dns.Exchange(m, secondAt)
		if err != nil || reply.Rcode != want {
			t.Errorf("NOTIFY of %s from a stranger: %v, %v, want %s", name, reply, err, dns.RcodeToString[want])
		}
	}
	if second.copies.heard.Load() != 0 {
		t.Error("a stranger was heard")
	}
}

// TestSecondaryExpires: a zone whose primaries are silent for longer than its SOA allows is answered no more.
func TestSecondaryExpires(t *testing.T) {
	shelf := &memoryShelf{data: map[string]tandem.ZoneDatum{}}
	soa := "@ SOA ns host 7 3600 600 %d 60\n@ NS ns\nns A 192.0.2.1\n"
	for name, c := range map[string]struct {
		age  time.Duration
		want string
	}{"fresh": {time.Second, "NOERROR"}, "old": {2 * time.Hour, "SERVFAIL"}} {
		t.Run(name, func(t *testing.T) {
			z := plainZone(fmt.Sprintf(soa, 3600))
			tree, err := plant(z)
			if err != nil {
				t.Fatal(err)
			}
			kept := &content{tree: tree, soa: tree["\x05plain\x04test\x00"].set(dns.TypeSOA)[0].(*dns.SOA), refreshed: time.Now().Add(-c.age)}
			shelf.WriteZoneData(t.Context(), kept.whole("plain.test"))
			s, _, _ := running(t, shelf, copyOf(tandem.Primary{Address: "127.0.0.1:1"}))
			if got := s.records(t, "ns.plain.test", dns.TypeA); !strings.HasPrefix(got, c.want) {
				t.Errorf("answered %s, want %s", got, c.want)
			}
		})
	}
}

// TestTransferOverTLS: a copy comes over TLS from a server with the right certificate, and from no other
// (RFC 9103 section 7).
func TestTransferOverTLS(t *testing.T) {
	allowed := tandem.Secondary{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, TLS: true}
	primary, plainAt, _ := running(t, nil, plainZone("www A 192.0.2.1\n", allowed))
	right, wrong := certificate(t, "ns.example"), certificate(t, "other.example")
	good := serveTLS(t, primary, right, "dot")
	cases := []struct {
		name    string
		primary tandem.Primary
		want    bool
	}{
		{"strict", tandem.Primary{Address: good, TLS: true, Name: "ns.example", CA: pemOf(right)}, true},
		{"opportunistic", tandem.Primary{Address: good, TLS: true}, true},
		{"by authority alone", tandem.Primary{Address: good, TLS: true, CA: pemOf(right)}, true},
		{"another name", tandem.Primary{Address: good, TLS: true, Name: "else.example", CA: pemOf(right)}, false},
		{"another authority", tandem.Primary{Address: good, TLS: true, Name: "ns.example", CA: pemOf(wrong)}, false},
		{"another authority, any name", tandem.Primary{Address: good, TLS: true, CA: pemOf(wrong)}, false},
		{"no ALPN", tandem.Primary{Address: serveTLS(t, primary, right, ""), TLS: true}, false},
		{"without TLS", tandem.Primary{Address: plainAt}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, _, _ := running(t, nil, copyOf(c.primary))
			until(t, "an outcome", func() bool { return s.copies.failed.Load() > 0 || s.plainSerial() != 0 })
			if got := s.plainSerial() != 0; got != c.want {
				t.Errorf("transferred: %v, want %v", got, c.want)
			}
		})
	}
}

func certificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func pemOf(c tls.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
}

// serveTLS answers for s over TLS, until the test ends, and returns where.
func serveTLS(t *testing.T, s *Server, cert tls.Certificate, alpn string) string {
	t.Helper()
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	if alpn != "" {
		cfg.NextProtos = []string{alpn}
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answerTLS(s, conn)
		}
	}()
	return l.Addr().String()
}

func answerTLS(s *Server, conn net.Conn) {
	defer conn.Close()
	c := client{addr: netip.MustParseAddr("127.0.0.1"), stream: true, transport: overTLS}
	write := func(msg []byte) error {
		_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
		return err
	}
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		in, out := make([]byte, binary.BigEndian.Uint16(size[:])), make([]byte, streamSize)
		if _, err := io.ReadFull(conn, in); err != nil {
			return
		}
		if isTransfer(in) {
			if s.transfer(in, out, c, write) != nil {
				return
			}
		} else if write(out[:s.handle(&counters{}, in, out, c)]) != nil {
			return
		}
	}
}

// TestZoneDigest: the examples of RFC 8976 appendix A.1, and one octet changed.
func TestZoneDigest(t *testing.T) {
	const simple = "example. 86400 IN SOA ns1 admin 2018031900 1800 900 604800 86400\n" +
		"example. 86400 IN NS ns1\nexample. 86400 IN NS ns2\n" +
		"example. 86400 IN ZONEMD 2018031900 1 1 c68090d90a7aed716bc459f9340e3d7c1370d4d24b7e2fc3a1ddc0b9a87153b9a9713b3c9ae5cc27777f98b8e730044c\n" +
		"ns1 3600 IN A 203.0.113.63\nns2 3600 IN AAAA 2001:db8::63\n"
	for text, good := range map[string]bool{simple: true, strings.Replace(simple, "113.63", "113.64", 1): false} {
		var records []dns.RR
		p := dns.NewZoneParser(strings.NewReader(text), "example.", "")
		for rr, ok := p.Next(); ok; rr, ok = p.Next() {
			records = append(records, rr)
		}
		c, err := newContent("\x07example\x00", records)
		if err != nil {
			t.Fatal(err)
		}
		if err := verifyDigest("\x07example\x00", c); (err == nil) != good {
			t.Errorf("verifyDigest = %v, want good %v", err, good)
		}
	}
}

// TestIntake: answers that are no transfer are refused, whatever they are.
func TestIntake(t *testing.T) {
	soa := func(n int) string { return fmt.Sprintf("plain.test. 60 IN SOA ns host %d 3600 600 86400 60", n) }
	const a, b = "a.plain.test. 60 IN A 192.0.2.1", "b.plain.test. 60 IN A 192.0.2.2"
	cases := []struct {
		name     string
		from     int // serial that is had; 0: none
		messages [][]string
		want     string
	}{
		{"whole", 0, [][]string{{soa(2), a, b, soa(2)}}, "a b"},
		{"whole, a record a message", 0, [][]string{{soa(2)}, {a}, {b}, {soa(2)}}, "a b"},
		{"difference", 1, [][]string{{soa(3), soa(1), a, soa(2), soa(2), soa(3), b, soa(3)}}, "b"},
		{"whole in place of a difference", 1, [][]string{{soa(3), b, soa(3)}}, "b"},
		{"current", 1, [][]string{{soa(1)}}, errCurrent.Error()},
		{"no SOA first", 0, [][]string{{a, soa(1)}}, "does not begin"},
		{"an empty answer", 0, [][]string{{}}, "empty"},
		{"records after the end", 0, [][]string{{soa(2), soa(2), a}}, "after the end"},
		{"outside the zone", 0, [][]string{{soa(2), "a.elsewhere. 60 IN A 192.0.2.1", soa(2)}}, "lies outside"},
		{"two SOA that differ", 0, [][]string{{soa(2), soa(3)}}, "another SOA"},
		{"a difference from another serial", 1, [][]string{{soa(3), soa(2), soa(3), soa(3)}}, "another serial"},
		{"a difference with a gap", 1, [][]string{{soa(9), soa(1), soa(2), soa(5), soa(9), soa(9)}}, "gap"},
		{"a difference that removes nothing", 1, [][]string{{soa(2), soa(1), b, soa(2), soa(2)}}, "is not there"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := outcome(t, c.from, c.messages, soa(c.from), a); !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// outcome plays messages to an intake, and returns the names of the zone that comes of it, or the error.
func outcome(t *testing.T, from int, messages [][]string, have ...string) string {
	t.Helper()
	parse := func(lines []string) (records []dns.RR) {
		for _, l := range lines {
			rr, err := dns.NewRR(l)
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, rr)
		}
		return records
	}
	const apex = "\x05plain\x04test\x00"
	in := &intake{}
	var old *content
	if from > 0 {
		var err error
		if old, err = newContent(apex, parse(have)); err != nil {
			t.Fatal(err)
		}
		in.asked = old.soa
	}
	for _, lines := range messages {
		done, err := in.take(&dns.Msg{Answer: parse(lines)})
		if err != nil {
			return err.Error()
		}
		if done {
			break
		}
	}
	next, err := (*content)(nil), error(nil)
	if in.changes == nil {
		next, err = newContent(apex, in.records)
	} else {
		next, err = old.patched(apex, in.changes)
	}
	if err != nil {
		return err.Error()
	}
	z := &zone{tree: next.tree}
	var names []string
	for _, key := range z.ordered() {
		if key != apex {
			names = append(names, string(key[1:2]))
		}
	}
	return strings.Join(names, " ")
}
