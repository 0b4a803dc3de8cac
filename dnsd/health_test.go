package dnsd

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

func down(id string) tandem.NodeHealth {
	return tandem.NodeHealth{Node: id, State: tandem.HealthDown, Why: "no answer"}
}
func degraded(id string) tandem.NodeHealth {
	return tandem.NodeHealth{Node: id, State: tandem.HealthDegraded, Share: 1, Why: "R 50"}
}
func sharing(id string, share float64) tandem.NodeHealth {
	return tandem.NodeHealth{Node: id, Share: share}
}

// places asks for a forwarding name of account 7 and returns "node priority/weight" for each SRV
// record, having checked that Targets says the same, that A has just these nodes, and HTTPS their order.
func (s *Server) places(t testing.TB, key string) string {
	t.Helper()
	name := key + ".7.svc.test"
	var list, hosts []string
	for _, line := range strings.Split(s.records(t, "_sip._udp."+name, dns.TypeSRV), ", ")[1:] {
		f := strings.Fields(line)
		node := strings.TrimSuffix(f[3], ".node.svc.test.")
		list, hosts = append(list, node+" "+f[0]+"/"+f[1]), append(hosts, node)
	}
	targets, err := s.Targets(name)
	if err != nil {
		t.Fatal(err)
	}
	var said, addresses []string
	for _, x := range targets {
		if x.Transport == tandem.UDP {
			said = append(said, fmt.Sprintf("%s %d/%d", x.Node, x.Priority, x.Weight))
			addresses = append(addresses, x.Addr.Addr().String())
		}
	}
	same := func(what string, a, b []string) {
		if !slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))) {
			t.Errorf("%s: SRV %q, %s %q", name, a, what, b)
		}
	}
	same("Targets", list, said)
	same("A", addresses, strings.Split(s.records(t, name, dns.TypeA), ", ")[1:])
	var https []string
	for _, line := range strings.Split(s.records(t, name, dns.TypeHTTPS), ", ")[1:] {
		https = append(https, strings.TrimSuffix(strings.Fields(line)[1], ".node.svc.test."))
	}
	same("HTTPS", hosts, https)
	return strings.Join(list, ", ")
}

// TestHealthShows has a twin for each rule: the same health where the rule does not hold.
func TestHealthShows(t *testing.T) {
	pair := []*tandem.Node{feature("a", 1), feature("b", 2)}
	drained := []*tandem.Node{feature("a", 1), feature("b", 2, in(tandem.NodeDraining))}
	tests := []struct {
		name   string
		nodes  []*tandem.Node
		health []tandem.NodeHealth
		key    string
		want   string
	}{
		{"nothing known", pair, nil, "invite", "a 0/100, b 0/100"},
		{"all well", pair, []tandem.NodeHealth{sharing("a", 1), sharing("b", 1)}, "invite", "a 0/100, b 0/100"},
		{"one down", pair, []tandem.NodeHealth{down("a")}, "invite", "b 0/100"},
		{"all down", pair, []tandem.NodeHealth{down("a"), down("b")}, "invite", "a 0/100, b 0/100"},
		{"all down that do not drain", drained, []tandem.NodeHealth{down("a"), sharing("b", 1)}, "invite", "a 0/100"},
		{"down and draining", drained, []tandem.NodeHealth{down("b")}, "invite", "a 0/100"},
		{"a stranger down", pair, []tandem.NodeHealth{down("x")}, "invite", "a 0/100, b 0/100"},
		{"listed, one down", pair, []tandem.NodeHealth{down("a")}, "listed", "b 0/100"},
		{"listed, all down", append(pair, feature("c", 3)), []tandem.NodeHealth{down("a"), down("b")}, "listed", "a 0/100, b 0/100"},
		{"the one that serves down", []*tandem.Node{feature("a", 1, serving("message")), feature("b", 2, serving("invite"))},
			[]tandem.NodeHealth{down("a")}, "message", "a 0/100"},
		{"one of two that serve down", []*tandem.Node{feature("a", 1, serving("message")), feature("b", 2)},
			[]tandem.NodeHealth{down("a")}, "message", "b 0/100"},

		{"emergency, one down", pair, []tandem.NodeHealth{down("a")}, "emergency", "a 65535/100, b 0/100"},
		{"emergency, all down", pair, []tandem.NodeHealth{down("a"), down("b")}, "emergency", "a 0/100, b 0/100"},
		{"emergency, draining up", drained, []tandem.NodeHealth{down("a")}, "emergency", "a 65535/100, b 0/100"},
		{"emergency, draining down", drained, []tandem.NodeHealth{down("b")}, "emergency", "a 0/100, b 65535/100"},
		{"emergency, one degraded", pair, []tandem.NodeHealth{degraded("a")}, "emergency", "a 1000/100, b 0/100"},
		{"emergency, one down and one degraded", pair, []tandem.NodeHealth{down("a"), degraded("b")}, "emergency", "a 65535/100, b 0/100"},
		{"emergency, out", []*tandem.Node{feature("a", 1), feature("b", 2, in(tandem.NodeOut))}, []tandem.NodeHealth{down("a")}, "emergency", "a 0/100"},

		{"one degraded", pair, []tandem.NodeHealth{degraded("a")}, "invite", "a 1000/100, b 0/100"},
		{"all degraded", pair, []tandem.NodeHealth{degraded("a"), degraded("b")}, "invite", "a 0/100, b 0/100"},
		{"all that stand degraded", pair, []tandem.NodeHealth{down("a"), degraded("b")}, "invite", "b 0/100"},
		{"one degraded, the other draining", drained, []tandem.NodeHealth{degraded("a")}, "invite", "a 0/100"},
		{"degraded with a priority", []*tandem.Node{feature("a", 1, weighing(10, 5)), feature("b", 2)},
			[]tandem.NodeHealth{degraded("a")}, "invite", "a 1010/5, b 0/100"},
		{"degraded with nearly the worst", []*tandem.Node{feature("a", 1, weighing(65000, 5)), feature("b", 2)},
			[]tandem.NodeHealth{degraded("a")}, "invite", "a 65535/5, b 0/100"},

		{"less share", pair, []tandem.NodeHealth{sharing("a", 0.38), sharing("b", 1)}, "invite", "a 0/38, b 0/100"},
		{"less share, the other not listed", pair, []tandem.NodeHealth{sharing("a", 0.38)}, "invite", "a 0/38, b 0/100"},
		{"less share for all alike", pair, []tandem.NodeHealth{sharing("a", 0.38), sharing("b", 0.38)}, "invite", "a 0/100, b 0/100"},
		{"less share for all that stand", pair, []tandem.NodeHealth{sharing("a", 0.38), down("b")}, "invite", "a 0/100"},
		{"less share, one draining", drained, []tandem.NodeHealth{sharing("a", 0.38), sharing("b", 1)}, "invite", "a 0/100"},
		{"no share", pair, []tandem.NodeHealth{sharing("a", 0), sharing("b", 0.5)}, "invite", "a 0/1, b 0/50"},
		{"small weight", []*tandem.Node{feature("a", 1, weighing(0, 1)), feature("b", 2)},
			[]tandem.NodeHealth{sharing("a", 0.25)}, "invite", "a 0/1, b 0/100"},
		{"large weight", []*tandem.Node{feature("a", 1, weighing(0, 65535)), feature("b", 2)},
			[]tandem.NodeHealth{sharing("a", 0.875)}, "invite", "a 0/57343, b 0/100"},
		{"a breath less", pair, []tandem.NodeHealth{sharing("a", 0.92)}, "invite", "a 0/100, b 0/100"},
		{"more than all", pair, []tandem.NodeHealth{sharing("a", 7), sharing("b", -1)}, "invite", "a 0/100, b 0/1"},
		{"no number", pair, []tandem.NodeHealth{sharing("a", math.NaN())}, "invite", "a 0/100, b 0/100"},
		{"degraded and slow", pair, []tandem.NodeHealth{{Node: "a", State: tandem.HealthDegraded, Share: 0.5}}, "invite", "a 1000/50, b 0/100"},
		{"down and slow, emergency", pair, []tandem.NodeHealth{{Node: "a", State: tandem.HealthDown, Share: 0.5}}, "emergency", "a 65535/100, b 0/100"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := house(t, test.nodes...)
			s.places(t, test.key) // so that there are records to become stale
			s.Health(test.health)
			if got := s.places(t, test.key); got != test.want {
				t.Errorf("%s = %s, want %s", test.key, got, test.want)
			}
			late := house(t)
			late.Health(test.health)
			for i, n := range test.nodes {
				late.change(tandem.Revision(100+i), tandem.KindNode, n.ID, n)
			}
			if got := late.places(t, test.key); got != test.want {
				t.Errorf("told before the nodes were there: %s = %s, want %s", test.key, got, test.want)
			}
			s.Health(nil)
			if got, want := s.places(t, test.key), house(t, test.nodes...).places(t, test.key); got != want {
				t.Errorf("once it is told of nobody: %s = %s, want %s", test.key, got, want)
			}
		})
	}
}

// TestHealthLeavesOtherNamesAlone: hosts' own names, inbound names, edges of the same id, plain
// records, serials and which names exist.
func TestHealthLeavesOtherNamesAlone(t *testing.T) {
	s := house(t, feature("a", 1, func(n *tandem.Node) { n.Ports.TCP = 5060 }), feature("b", 2))
	s.change(100, tandem.KindZone, "plain.test", &tandem.Zone{Head: tandem.Head{ID: "plain.test"}, Role: tandem.RolePlain, Records: "_sip._udp SRV 0 100 5060 a\na A 127.0.0.1\n"})
	questions := []struct {
		name   string
		rrtype uint16
	}{
		{"a.node.svc.test", dns.TypeA}, {"svc.test", dns.TypeSOA}, {"voice.test", dns.TypeSOA}, {"plain.test", dns.TypeSOA},
		{"_sip._udp.seven.voice.test", dns.TypeSRV}, {"a.edge.voice.test", dns.TypeA}, {"_sip._udp.plain.test", dns.TypeSRV},
		{"_udp.invite.7.svc.test", dns.TypeA}, {"_ws.invite.7.svc.test", dns.TypeA},
	}
	ask := func() (answers []string) {
		for _, q := range questions {
			answers = append(answers, q.name+" "+s.records(t, q.name, q.rrtype))
		}
		return answers
	}
	before := ask()
	s.Health([]tandem.NodeHealth{down("a"), degraded("b")})
	if diff := cmp.Diff(before, ask()); diff != "" {
		t.Errorf("answers (-before +after):\n%s", diff)
	}
	// the only node with TCP is down: its SRV name is there, without records, and NAPTR leaves it out
	s.wantRecords(t, "_sip._tcp.invite.7.svc.test", dns.TypeSRV, "NOERROR")
	s.wantRecords(t, "invite.7.svc.test", dns.TypeNAPTR, `NOERROR, 20 10 "s" "SIP+D2U" "" _sip._udp.invite.7.svc.test.`)
	s.Health(nil)
	s.wantRecords(t, "_sip._tcp.invite.7.svc.test", dns.TypeSRV, "NOERROR, 0 100 5060 a.node.svc.test.")
}

// TestSharesAreSteady walks a share up and down: what shows moves only well beyond the border.
func TestSharesAreSteady(t *testing.T) {
	tests := []struct {
		name   string
		shares []float64
		want   []uint8 // eighths that show after each
	}{
		{"noise about the whole", []float64{1, 0.95, 0.98, 0.91, 1}, []uint8{8, 8, 8, 8, 8}},
		{"noise about a border", []float64{0.55, 0.57, 0.55, 0.575, 0.55}, []uint8{4, 4, 4, 4, 4}},
		{"the same border from above", []float64{0.7, 0.57, 0.55, 0.575, 0.55}, []uint8{6, 5, 5, 5, 5}},
		{"a ramp", []float64{0.05, 0.2, 0.4, 0.6, 0.8, 1}, []uint8{0, 2, 3, 5, 6, 8}},
		{"a fall", []float64{1, 0.9, 0.7, 0.5, 0.1, 0}, []uint8{8, 7, 6, 4, 1, 0}},
		{"the ends are reached", []float64{0.12, 0, 0.88, 1}, []uint8{1, 0, 7, 8}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var h health
			var got []uint8
			for _, share := range test.shares {
				h = h.after(&tandem.NodeHealth{Share: share})
				got = append(got, eighths-h.withheld)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("shares %v show as %v, want %v", test.shares, got, test.want)
			}
			if h = h.after(&tandem.NodeHealth{State: tandem.HealthDown}); h != (health{down: true}) {
				t.Errorf("down shows as %+v, want nothing of its share", h)
			}
		})
	}
}

// TestHealthFollowsTheNode through changes of its configuration.
func TestHealthFollowsTheNode(t *testing.T) {
	s := house(t, feature("a", 1), feature("b", 2))
	want := func(want string) {
		t.Helper()
		if got := s.places(t, "invite"); got != want {
			t.Errorf("invite = %s, want %s", got, want)
		}
	}
	s.Health([]tandem.NodeHealth{sharing("a", 0.5)})
	s.change(100, tandem.KindNode, "a", feature("a", 1, weighing(3, 30)))
	want("a 3/15, b 0/100")
	s.change(101, tandem.KindNode, "a", nil)
	want("b 0/100")
	s.change(102, tandem.KindNode, "a", feature("a", 1))
	want("a 0/50, b 0/100")
	s.change(103, tandem.KindCluster, "c2", &tandem.Cluster{Head: tandem.Head{ID: "c2"}})
	s.change(104, tandem.KindNode, "a", feature("a", 1, func(n *tandem.Node) { n.Cluster = "c2" }))
	s.change(105, tandem.KindNode, "d", feature("d", 4, func(n *tandem.Node) { n.Cluster = "c2" }))
	want("b 0/100")
	s.change(106, tandem.KindGroup, "g", &tandem.Group{Head: tandem.Head{ID: "g"}, Cluster: "c2"})
	want("a 0/50, d 0/100")
	s.Health([]tandem.NodeHealth{sharing("a", 1), down("d")})
	want("a 0/100")
	s.change(107, tandem.KindCluster, "c2", nil)
	want("")
	s.Health([]tandem.NodeHealth{sharing("d", 1)}) // its cluster is gone
	want("")
}

// TestHealthCostsWhatItChanges: what did not change is the very same, and its records with it.
func TestHealthCostsWhatItChanges(t *testing.T) {
	s := loadWorld(t, "voice")
	cluster := func(id string) *cluster { return s.model.clusters.get(s.writer.clusterNumbers[id]) }
	node := func(id string) *host { return s.model.nodes.byID([]byte(id)) }
	changes := func() (n float64) {
		s.Metrics(func(m tandem.Sample) {
			if m.Name == "tandem_dnsd_health_changes_total" {
				n = m.Value
			}
		})
		return n
	}
	list := func(share float64) []tandem.NodeHealth {
		return []tandem.NodeHealth{sharing("n1", share), sharing("n2", 1), sharing("m1", 1), down("x")}
	}
	s.Health(list(1))
	c1, c2, n1, n2, made := cluster("c1"), cluster("c2"), node("n1"), node("n2"), s.records(t, "invite.1001.svc.voice.example.net", dns.TypeA)
	s.Health(list(0.95))
	if cluster("c1") != c1 || node("n1") != n1 || changes() != 0 {
		t.Errorf("a list that changes nothing made something anew, %v changes", changes())
	}
	s.Health(list(0.5))
	if cluster("c1") == c1 || node("n1") == n1 || changes() != 1 {
		t.Errorf("a node with half its share is the same as before, %v changes", changes())
	}
	if cluster("c2") != c2 || node("n2") != n2 {
		t.Error("neighbours were made anew")
	}
	if got := s.records(t, "invite.1001.svc.voice.example.net", dns.TypeA); got != made {
		t.Errorf("A = %s, want %s", got, made)
	}
	s.Health(nil)
	if changes() != 2 || len(s.writer.found) != 0 {
		t.Errorf("%v changes and %d findings after an empty list, want 2 and 0", changes(), len(s.writer.found))
	}
}

// randomOf returns some health of a node.
func randomOf(r *rand.Rand, id string) tandem.NodeHealth {
	states := []tandem.HealthState{"", tandem.HealthUnknown, tandem.HealthUp, tandem.HealthDegraded, tandem.HealthDown, tandem.HealthDown}
	h := tandem.NodeHealth{Node: id, State: states[r.IntN(len(states))], Share: float64(r.IntN(9)) / 8}
	if r.IntN(2) == 0 {
		h.Since = time.Unix(1e9+int64(r.IntN(40)), 0)
	}
	if r.IntN(6) == 0 {
		h.Forced = &tandem.Force{State: h.State}
	}
	return h
}

// randomHealth returns health for some of the nodes of the world "voice", in eighths.
func randomHealth(r *rand.Rand) []tandem.NodeHealth {
	var list []tandem.NodeHealth
	for _, id := range []string{"n1", "n2", "n3", "vm1", "web1", "m1", "m2"} {
		if r.IntN(4) > 0 {
			list = append(list, randomOf(r, id))
		}
	}
	return list
}

// TestPathsAgreeOnHealth asks both paths while health changes, and a server that never knew another.
func TestPathsAgreeOnHealth(t *testing.T) {
	s, g := loadWorld(t, "voice"), newGenerator("voice", 23)
	var bufs [2][65535]byte
	var other [65535]byte
	fast := 0
	rounds := 200
	if testing.Short() || raceEnabled {
		rounds = 30
	}
	for range rounds {
		list := randomHealth(g.Rand)
		fresh := loadWorld(t, "voice")
		fresh.Health(list)
		s.Health(list)
		for range 200 {
			query, from := g.question()
			if both(t, s.model, query, from, &bufs) > 0 {
				fast++
			}
			n, m := s.model.full(query, bufs[0][:], from), fresh.model.full(query, other[:], from)
			if string(bufs[0][:n]) != string(other[:m]) {
				diffAnswers(t, query, bufs[0][:n], other[:m])
			}
		}
	}
	if fast < rounds*50 {
		t.Errorf("the fast path answered %d of %d questions: too few to compare", fast, rounds*200)
	}
}

// TestHealthWhileReadersRead changes health, nodes and groups while others ask and resolve: each
// answer is right for one of the states. Run with -race, it shows that no reader needs a lock.
func TestHealthWhileReadersRead(t *testing.T) {
	s := house(t, feature("a", 1), feature("b", 2))
	answers := map[string]bool{"a 0/100, b 0/100": true, "a 0/100, b 0/50": true, "a 0/100": true, "a 1000/100, b 0/100": true}
	lists := [][]tandem.NodeHealth{nil, {sharing("b", 0.5)}, {down("b"), sharing("x", 1)}, {degraded("a")}}
	stop := make(chan struct{})
	var running sync.WaitGroup
	until := func(f func(i int)) {
		running.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					f(i)
				}
			}
		})
	}
	until(func(int) {
		targets, err := s.Targets("invite.7.svc.test")
		var list []string
		for _, x := range targets {
			if x.Transport == tandem.UDP {
				list = append(list, fmt.Sprintf("%s %d/%d", x.Node, x.Priority, x.Weight))
			}
		}
		slices.Sort(list)
		if got := strings.Join(list, ", "); err != nil || !answers[got] {
			t.Errorf("Targets = %s, %v", got, err)
		}
	})
	out := make([]byte, datagramSize)
	q := new(dns.Msg)
	q.SetQuestion("_sip._udp.listed.7.svc.test.", dns.TypeSRV)
	query, _ := q.Pack()
	until(func(int) {
		if n := s.handle(&counters{}, query, out, client{addr: netip.MustParseAddr("127.0.0.1")}); out[3]&15 != 0 || out[7] == 0 {
			t.Errorf("answer %x", out[:n])
		}
	})
	until(func(int) { s.Trace("invite.7.svc.test", netip.MustParsePrefix("127.0.0.1/32")) })
	until(func(i int) {
		s.change(tandem.Revision(100+i), tandem.KindNode, "b", feature("b", 2))
		s.change(tandem.Revision(100+i), tandem.KindNode, "d", feature("d", 4, func(n *tandem.Node) { n.Cluster = "c2" }))
		s.change(tandem.Revision(100+i), tandem.KindGroup, "g", &tandem.Group{Head: tandem.Head{ID: "g"}, Cluster: "c"})
	})
	for i := range 3000 {
		s.Health(lists[i%len(lists)])
	}
	close(stop)
	running.Wait()
}

// BenchmarkHealth tells of 1,000 nodes in ten clusters: nothing new, and one node slower or faster,
// with the first answer after it.
func BenchmarkHealth(b *testing.B) {
	s := house(b)
	s.log = slog.New(slog.DiscardHandler)
	list := make([]tandem.NodeHealth, 1000)
	for i := range list {
		id := fmt.Sprint("n", i)
		list[i] = sharing(id, 1)
		if i < 10 {
			cluster := fmt.Sprint("c", i)
			s.change(tandem.Revision(i+1), tandem.KindCluster, cluster, &tandem.Cluster{Head: tandem.Head{ID: cluster}})
		}
		s.change(tandem.Revision(i+1), tandem.KindNode, id, feature(id, byte(i), func(n *tandem.Node) { n.Cluster = fmt.Sprint("c", i%10) }))
	}
	s.change(1100, tandem.KindGroup, "g", &tandem.Group{Head: tandem.Head{ID: "g"}, Cluster: "c0"})
	s.Health(list)
	b.Run("Same", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Health(list)
		}
	})
	b.Run("OneChanged", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			list[10].Share = []float64{0.5, 1}[i%2]
			s.Health(list)
			if _, err := s.Targets("invite.7.svc.test"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
