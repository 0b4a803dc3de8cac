package dnsd

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// population returns the changes that make n accounts in 20 groups on two clusters of four nodes,
// with labels of 16 characters as the product draws them.
func population(t testing.TB, n int) []tandem.Change {
	var objects []tandem.Object
	for _, line := range strings.Split("c1 c2", " ") {
		objects = append(objects, &tandem.Cluster{Head: tandem.Head{ID: line}})
		for i := range 4 {
			objects = append(objects, &tandem.Node{
				Head: tandem.Head{ID: fmt.Sprintf("%s-n%d", line, i)}, Cluster: line,
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 1, byte(i)})}, Ports: tandem.Ports{UDP: 5060, TCP: 5060},
			})
		}
	}
	for i := range 2 {
		objects = append(objects, &tandem.Edge{
			Head: tandem.Head{ID: fmt.Sprintf("e%d", i)}, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})},
			Ports: tandem.Ports{UDP: 5060, TCP: 5060, TLS: 5061}, Priority: uint16(i),
		})
	}
	objects = append(objects,
		&tandem.Zone{Head: tandem.Head{ID: "svc.voice.example.net"}, Role: tandem.RoleService},
		&tandem.Zone{Head: tandem.Head{ID: "voice.example.net"}, Role: tandem.RoleAccounts, ServiceZone: "svc.voice.example.net", Edges: []string{"e0", "e1"}},
	)
	for i := range 20 {
		objects = append(objects, &tandem.Group{Head: tandem.Head{ID: fmt.Sprintf("g%d", i)}, Cluster: fmt.Sprintf("c%d", 1+i%2)})
	}
	for i := range n {
		objects = append(objects, account(i))
	}
	changes := make([]tandem.Change, len(objects))
	for i, o := range objects {
		changes[i] = tandem.Change{Revision: tandem.Revision(i + 1), Kind: o.Kind(), ID: o.Header().ID, Object: o}
	}
	return changes
}

func account(i int) *tandem.Account {
	return &tandem.Account{
		Head: tandem.Head{ID: fmt.Sprintf("%d", 100000+i)}, Zone: "voice.example.net", Group: fmt.Sprintf("g%d", i%20),
		Labels: []tandem.Label{{Label: label(i), Role: tandem.LabelCurrent}},
	}
}

func label(i int) string { return fmt.Sprintf("l%015d", i) }

func populated(t testing.TB, n int) *Server {
	s := newServer(t)
	s.Apply(population(t, n))
	return s
}

// common are questions of the common kind about account number 77.
func common() map[string]*dns.Msg {
	name := label(77) + ".voice.example.net."
	questions := map[string]*dns.Msg{}
	for _, q := range []struct {
		title, name string
		rrtype      uint16
	}{
		{"NAPTR", name, dns.TypeNAPTR}, {"SRV", "_sip._udp." + name, dns.TypeSRV}, {"A", name, dns.TypeA},
		{"NODATA", name, dns.TypeAAAA}, {"NXDOMAIN", "nobody.voice.example.net.", dns.TypeA},
		{"Forwarding", "_sip._udp.invite.100077.svc.voice.example.net.", dns.TypeSRV},
		{"Host", "e1.edge.voice.example.net.", dns.TypeA},
	} {
		m := new(dns.Msg)
		m.SetQuestion(q.name, q.rrtype)
		questions[q.title] = m
		withEDNS := m.Copy()
		withEDNS.SetEdns0(1232, true)
		withEDNS.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}}
		questions[q.title+"+EDNS"] = withEDNS
	}
	return questions
}

func TestFastAllocatesNothing(t *testing.T) {
	s := populated(t, 1000)
	var bufs [2][65535]byte
	c := client{addr: netip.MustParseAddr("127.0.0.1")}
	for title, q := range common() {
		query, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if both(t, s.model, query, c, &bufs) == 0 {
			t.Errorf("%s: not answered by the fast path", title)
		}
		out := bufs[1][:datagramSize]
		if n := testing.AllocsPerRun(200, func() { s.model.fast(query, out, c) }); n != 0 {
			t.Errorf("%s: %v allocations", title, n)
		}
		count := &counters{}
		if n := testing.AllocsPerRun(200, func() { s.handle(count, query, out, c) }); n != 0 {
			t.Errorf("%s: %v allocations in handle", title, n)
		}
	}
}

// accountOctets returns the octets that n accounts take beside their labels and ids, and with them.
//
// At a start they come in a snapshot, else one by one.
func accountOctets(t testing.TB, n int, start bool) (beside, all float64) {
	changes := population(t, n)
	empty := len(changes) - n
	s := newServer(t)
	s.Apply(changes[:empty])
	if start {
		s.Expect(len(changes))
	} else {
		s.Restored(1)
	}
	runtime.GC()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s.Apply(changes[empty:])
	if start {
		s.Restored(1)
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	text := 0
	for _, c := range changes[empty:] {
		a := c.Object.(*tandem.Account)
		text += len(a.ID) + len(a.Labels[0].Label)
	}
	all = float64(after.HeapAlloc) - float64(before.HeapAlloc)
	runtime.KeepAlive(changes)
	runtime.KeepAlive(s)
	return (all - float64(text)) / float64(n), all / float64(n)
}

// mostOctets is the goal for accountOctets.
const mostOctets = 64

func TestAccountIsSmall(t *testing.T) {
	for _, start := range []bool{true, false} {
		if beside, _ := accountOctets(t, 100_000, start); beside > mostOctets {
			t.Errorf("%.1f octets an account beside label and id, start %v, want at most %d", beside, start, mostOctets)
		}
	}
}

// BenchmarkAccountOctets prints the figure; its time means nothing.
func BenchmarkAccountOctets(b *testing.B) {
	accounts := 100_000
	if n, err := strconv.Atoi(os.Getenv("TANDEM_ACCOUNTS")); err == nil {
		accounts = n
	}
	var beside, all float64
	for b.Loop() {
		beside, all = accountOctets(b, accounts, true)
	}
	b.ReportMetric(beside, "octets/account")
	b.Logf("figure dns-octets-per-account %.1f octets goal <= %d", beside, mostOctets)
	b.Logf("%.1f octets with label and id, at %d accounts", all, accounts)
}

func BenchmarkFast(b *testing.B) {
	s := populated(b, 100_000)
	c := client{addr: netip.MustParseAddr("127.0.0.1")}
	var bufs [2][65535]byte
	for title, q := range common() {
		query, _ := q.Pack()
		both(b, s.model, query, c, &bufs)
		b.Run(title, func(b *testing.B) {
			b.ReportAllocs()
			out := bufs[1][:datagramSize]
			for b.Loop() {
				if s.model.fast(query, out, c) == 0 {
					b.Fatal("not answered")
				}
			}
		})
	}
}

// BenchmarkFastSpread asks for accounts all over the table, as clients do.
func BenchmarkFastSpread(b *testing.B) {
	const accounts = 100_000
	s := populated(b, accounts)
	c := client{addr: netip.MustParseAddr("127.0.0.1")}
	var bufs [2][65535]byte
	queries := make([][]byte, 1<<14)
	for i := range queries {
		q := new(dns.Msg)
		q.SetQuestion("_sip._udp."+label(i*7919%accounts)+".voice.example.net.", dns.TypeSRV)
		queries[i], _ = q.Pack()
	}
	both(b, s.model, queries[0], c, &bufs)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if s.model.fast(queries[i%len(queries)], bufs[1][:datagramSize], c) == 0 {
			b.Fatal("not answered")
		}
		i++
	}
}

func BenchmarkFull(b *testing.B) {
	s := populated(b, 1000)
	query, _ := common()["SRV+EDNS"].Pack()
	out := make([]byte, datagramSize)
	b.ReportAllocs()
	for b.Loop() {
		s.model.full(query, out, client{addr: netip.MustParseAddr("127.0.0.1")})
	}
}

func BenchmarkTargets(b *testing.B) {
	s := populated(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Targets("invite.100077.svc.voice.example.net"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkChange measures one change among a million accounts, and the first answer after it.
func BenchmarkChange(b *testing.B) {
	const accounts = 1_000_000
	began := time.Now()
	s := populated(b, accounts)
	b.Logf("%d accounts applied in %v", accounts, time.Since(began).Round(time.Millisecond))
	s.log = slog.New(slog.DiscardHandler)
	c := client{addr: netip.MustParseAddr("127.0.0.1")}
	out := make([]byte, datagramSize)
	query, _ := common()["Forwarding"].Pack()
	revision := tandem.Revision(accounts + 100)
	apply := func(o tandem.Object) {
		revision++
		s.Apply([]tandem.Change{{Revision: revision, Kind: o.Kind(), ID: o.Header().ID, Object: o}})
		s.handle(s.counters[0], query, out, c)
	}
	i := 0
	b.Run("Account", func(b *testing.B) {
		for b.Loop() {
			i++
			a := account(i * 7919 % accounts)
			a.Group = fmt.Sprintf("g%d", i%20)
			apply(a)
		}
	})
	b.Run("AccountLabel", func(b *testing.B) {
		for b.Loop() {
			i++
			a := account(i * 7919 % accounts)
			a.Labels[0].Label = fmt.Sprintf("n%015d", i)
			apply(a)
		}
	})
	b.Run("NodeState", func(b *testing.B) {
		for b.Loop() {
			i++
			apply(&tandem.Node{
				Head: tandem.Head{ID: "c2-n1"}, Cluster: "c2", Addresses: []netip.Addr{netip.MustParseAddr("127.0.1.1")},
				Ports: tandem.Ports{UDP: 5060}, State: []tandem.NodeState{tandem.NodeActive, tandem.NodeOut}[i%2],
			})
		}
	})
	b.Run("Group", func(b *testing.B) {
		for b.Loop() {
			i++
			apply(&tandem.Group{Head: tandem.Head{ID: "g17"}, Cluster: fmt.Sprintf("c%d", 1+i%2)})
		}
	})
}
