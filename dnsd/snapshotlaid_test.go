package dnsd

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// laidWorld draws changes to the zones of sharedWorld.
type laidWorld struct {
	*rand.Rand
	sets map[string]bool // RecordSets that exist
}

// laidNames are owners of every kind: of zone text, of accounts, beside them, below them, and of hosts.
func laidNames(zone string) []string {
	under := []string{"www.", "zulu.", "new.", "b.ent.", "label0.", "label1.", "label6.", "x.label0.", "_acme-challenge.label1.", "_sip._udp.label0.",
		"ns.", "x.ns.", "edge.", "e1.edge.", "x.edge.", "edgy.", "*.", "*.w.", ""}
	names := make([]string, len(under))
	for i, u := range under {
		names[i] = u + zone
	}
	return names
}

// change returns one or two RecordSets, or an account.
func (l *laidWorld) change(zone string) []tandem.Change {
	if l.IntN(6) == 0 {
		n := l.IntN(8)
		a := &tandem.Account{Head: tandem.Head{ID: fmt.Sprintf("10%02d", n)}, Zone: "voice.test", Labels: []tandem.Label{{Label: fmt.Sprintf("label%d", n), Role: tandem.LabelCurrent}}}
		switch l.IntN(4) {
		case 0:
			return []tandem.Change{{Kind: tandem.KindAccount, ID: a.ID}}
		case 1:
			a.Labels[0].Label = "new"
		case 2:
			a.Edges = []string{"e2"}
		}
		return []tandem.Change{{Kind: tandem.KindAccount, ID: a.ID, Object: a}}
	}
	var changes []tandem.Change
	for range 1 + l.IntN(3) {
		changes = append(changes, l.set(zone))
	}
	return changes
}

// set puts, tombstones or removes one RecordSet, sometimes of a view or of an account.
func (l *laidWorld) set(zone string) tandem.Change {
	names := laidNames(zone)
	r := &tandem.RecordSet{Zone: zone, Name: names[l.IntN(len(names))], TTL: uint32(1 + l.IntN(2)), Type: "TXT", Records: []string{fmt.Sprintf("%q", fmt.Sprint(l.IntN(3)))}}
	switch l.IntN(4) {
	case 0:
		r.Type, r.Records = "A", []string{fmt.Sprintf("192.0.2.%d", l.IntN(3)), "192.0.2.9"}
	case 1:
		r.Records, r.TTL = nil, 0
	}
	if l.IntN(5) == 0 {
		r.View = "inside"
	} else if l.IntN(3) == 0 {
		r.Account = "1000"
	}
	r.ID = tandem.RecordSetID(r.Name, r.Type, r.View)
	if l.sets[r.ID] && l.IntN(2) == 0 {
		delete(l.sets, r.ID)
		return tandem.Change{Kind: tandem.KindRecordSet, ID: r.ID}
	}
	l.sets[r.ID] = true
	return tandem.Change{Kind: tandem.KindRecordSet, ID: r.ID, Object: r}
}

// TestRecordSetsAreTransferred: after any change of RecordSets and accounts, several of them applied
// together, what a secondary has and an IXFR, or an AXFR instead, is what everybody is answered.
func TestRecordSetsAreTransferred(t *testing.T) {
	for _, zone := range []string{"voice.test", "plain.test"} {
		t.Run(zone, func(t *testing.T) {
			differences := 0
			for seed := range uint64(30) {
				differences += laidRun(t, zone, seed)
			}
			if differences < 300 {
				t.Errorf("%d differences only", differences)
			}
		})
	}
}

func laidRun(t *testing.T, zone string, seed uint64) (differences int) {
	s := sharedWorld(t)
	draw := &laidWorld{rand.New(rand.NewPCG(seed, 1)), map[string]bool{}}
	revision := tandem.Revision(100)
	key, _ := wireKey(zone)
	have := contents(t, recordsOf(s.transferred(t, axfr(t, zone), secondary())))
	serial := s.model.serialOf(s.model.zoneOf(key))
	for range 25 {
		changes := draw.change(zone)
		for i := range changes {
			revision++
			changes[i].Revision = revision
		}
		s.Apply(changes)
		records := recordsOf(s.transferred(t, ixfr(t, zone, serial), secondary()))
		whole := recordsOf(s.transferred(t, axfr(t, zone), secondary()))
		want := contents(t, whole)
		s.wantAnswered(t, zone, whole)
		switch {
		case len(records) == 1:
		case records[1].Header().Rrtype == dns.TypeSOA:
			differences++
			have = patch(t, have, records)
		default:
			have = contents(t, records)
		}
		if !slices.Equal(have, want) {
			t.Fatalf("seed %d, after %v: missing %v, too many %v", seed, changes, without(want, have), without(have, want))
		}
		serial = s.model.serialOf(s.model.zoneOf(key))
	}
	return differences
}

func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(x string) bool { return slices.Contains(b, x) })
}

// wantAnswered compares an AXFR with what a walk finds at each of its owners, and at all others that there
// could be.
func (s *Server) wantAnswered(t *testing.T, zone string, records []dns.RR) {
	t.Helper()
	apex, _ := wireKey(zone)
	z := s.model.zoneOf(apex)
	got, last := map[string][]string{}, ""
	for _, name := range laidNames(zone) {
		key, _ := wireKey(name)
		got[key] = nil
	}
	for _, rr := range records[:len(records)-1] {
		key, _ := wireKey(rr.Header().Name)
		if rank := canonical(key); rank < last {
			t.Errorf("%s comes after a name that it sorts before", rr.Header().Name)
		} else {
			last = rank
		}
		got[key] = append(got[key], recordLine(rr))
	}
	w := walk{reply: &reply{}, m: s.model, zone: z, over: z.over(), asker: everybody()}
	for key, lines := range got {
		var want []string
		if n, _ := w.at(key); n != nil {
			for _, set := range n.sets {
				for _, rr := range set {
					want = append(want, recordLine(rr))
				}
			}
		}
		slices.Sort(lines)
		slices.Sort(want)
		if !slices.Equal(lines, want) {
			t.Fatalf("%s: transferred\n%s\nanswered\n%s", present(key), strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
	}
}

// recordLine is a record without what composition leaves open, and without the serial.
func recordLine(rr dns.RR) string {
	if rr.Header().Rrtype == dns.TypeSOA {
		return "SOA"
	}
	return strings.TrimPrefix(rr.String(), rr.Header().Name)
}

// TestViewsAreNotTransferred: what a view alone sees is in no transfer, nor does its own secondary get it.
func TestViewsAreNotTransferred(t *testing.T) {
	s := sharedWorld(t)
	s.change(100, tandem.KindView, "inside", &tandem.View{Head: tandem.Head{ID: "inside"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Zones: []string{"plain.test"}})
	secret := &tandem.RecordSet{Head: tandem.Head{ID: tandem.RecordSetID("secret.plain.test", "TXT", "inside")}, Zone: "plain.test", Name: "secret.plain.test", Type: "TXT", View: "inside", Records: []string{`"x"`}}
	s.change(101, tandem.KindRecordSet, secret.ID, secret)
	open := *secret
	open.ID, open.View, open.Name = tandem.RecordSetID("open.plain.test", "TXT", ""), "", "open.plain.test"
	s.change(102, tandem.KindRecordSet, open.ID, &open)
	outside := secondary()
	outside.addr = netip.MustParseAddr("198.51.100.9")
	outside.transport = overTLS
	for _, from := range []client{secondary(), outside} {
		text := strings.Join(contents(t, recordsOf(s.transferred(t, axfr(t, "plain.test"), from))), "\n")
		if strings.Contains(text, "secret") || !strings.Contains(text, "open.plain.test.") {
			t.Errorf("%s gets\n%s", from.addr, text)
		}
	}
}
