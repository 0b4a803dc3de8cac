package dnsd

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// TestReadersBesideChanges asks by both paths while record sets, views, keys, numbers and the zone
// itself change; what does not change is answered the same all the time, and two sets that change
// together are never seen apart.
func TestReadersBesideChanges(t *testing.T) {
	s, _ := updatable(t)
	s.change(40, tandem.KindZone, "9.4.e164.test", &tandem.Zone{Head: tandem.Head{ID: "9.4.e164.test"}, Role: tandem.RoleENUM})
	steady := testAccount("3", "voice.test", "g", "three")
	steady.Numbers = []string{"+49301"}
	s.change(41, tandem.KindAccount, "3", steady)
	flip := func(round int) []tandem.Change {
		a, alias := recordSet("z.test", "flip.z.test", "A", "192.0.2.7"), recordSet("z.test", "flip.z.test", "CNAME", "a")
		if round%2 == 0 {
			a.Records = nil
		} else {
			alias.Records = nil
		}
		return []tandem.Change{
			{Revision: tandem.Revision(1000 + 2*round), Kind: tandem.KindRecordSet, ID: a.ID, Object: a},
			{Revision: tandem.Revision(1001 + 2*round), Kind: tandem.KindRecordSet, ID: alias.ID, Object: alias},
		}
	}
	s.Apply(flip(1))
	over := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			out := make([]byte, 65535)
			ask := func(name string, rrtype uint16) string {
				q := new(dns.Msg)
				q.SetQuestion(name+".", rrtype)
				query, _ := q.Pack()
				msg := new(dns.Msg)
				if err := msg.Unpack(out[:s.handle(&counters{}, query, out, client{addr: netip.MustParseAddr("127.0.0.1"), stream: true})]); err != nil {
					t.Error(err)
				}
				return brief1(msg)
			}
			for {
				select {
				case <-over:
					return
				default:
				}
				if got := ask("two.voice.test", dns.TypeA); got != "NOERROR, 192.0.2.1" {
					t.Errorf("two.voice.test: %s", got)
				}
				if got := ask("1.0.3.9.4.e164.test", dns.TypeNAPTR); len(got) < 20 {
					t.Errorf("a number: %s", got)
				}
				ask("x.one.voice.test", dns.TypeTXT)
				// CNAME to A, and back, in one change: never nothing.
				if got := ask("flip.z.test", dns.TypeA); got != "NOERROR, 192.0.2.7" && got != "NOERROR, a.z.test., 192.0.2.1, 192.0.2.2" {
					t.Errorf("flip.z.test: %s", got)
				}
			}
		})
	}
	for round := range 300 {
		s.Apply(flip(round))
		s.putSet(t, recordSet("voice.test", fmt.Sprintf("x%d.one.voice.test", round), "TXT", `"x"`))
		s.change(5000, tandem.KindView, "v", &tandem.View{Head: tandem.Head{ID: "v"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
		s.change(5000, tandem.KindTSIGKey, fmt.Sprint("k", round%5), &tandem.TSIGKey{Head: tandem.Head{ID: fmt.Sprint("k", round%5)}, Sealed: []byte("x")})
		one := testAccount("1", "voice.test", "g", "one")
		one.Numbers = []string{fmt.Sprintf("+4930%d", 200+round), fmt.Sprintf("+4930%d", 300+round)}
		s.change(5000, tandem.KindAccount, "1", one)
		if round%10 == 0 {
			s.change(5000, tandem.KindZone, "voice.test", &tandem.Zone{Head: tandem.Head{ID: "voice.test"}, Role: tandem.RoleAccounts, Edges: []string{"e1"}, Records: fmt.Sprintf("t%d A 192.0.2.1", round%20)})
		}
	}
	close(over)
	readers.Wait()
}
