package dnsd

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/dnsd/sign"
	"tandem/internal/tandem"
)

// signedServer returns a server that can open keys, with the objects of a world in which the zones
// named are steered and signed by one key each.
func signedServer(t testing.TB, world string, algorithm uint8, zones ...string) *Server {
	t.Helper()
	s, err := New(Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}, Deps{Seal: openSeal{}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var changes []tandem.Change
	for i, o := range readObjects(t, world) {
		if z, ok := o.(*tandem.Zone); ok {
			z.Mode = tandem.ModeSteered
		}
		changes = append(changes, tandem.Change{Revision: tandem.Revision(i + 1), Kind: o.Kind(), ID: o.Header().ID, Object: o})
	}
	s.Apply(changes)
	for i, zone := range zones {
		k := zoneKey(t, zone, 1, algorithm, sign.SignsBoth)
		s.change(tandem.Revision(1000+i), tandem.KindZoneKey, k.ID, k)
	}
	return s
}

// zoneKey returns a new key that is published, signs and has been submitted.
func zoneKey(t testing.TB, zone string, number int, algorithm uint8, signs string) *tandem.ZoneKey {
	t.Helper()
	public, private, err := sign.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	k := &tandem.ZoneKey{
		Head: tandem.Head{ID: fmt.Sprintf("%s/%d", zone, number)}, Zone: zone, Number: number, Algorithm: algorithm, Flags: sign.FlagsSEP,
		Signs: signs, Public: public, Created: now, Published: now, Active: now, Submitted: now,
	}
	if signs == sign.SignsZone {
		k.Flags = sign.FlagsZone
	}
	k.Sealed, _ = openSeal{}.Seal(private, k.SealContext())
	return k
}

// delv asks addr through delv, which trusts the keys of zone that s publishes, and returns what it printed.
func delv(t *testing.T, s *Server, addr netip.AddrPort, zone, name, rrtype string) string {
	t.Helper()
	z := s.model.zoneOf(mustKey(t, zone))
	anchors := "trust-anchors {\n"
	for _, rr := range z.signing.top.set(dns.TypeDNSKEY) {
		k := rr.(*dns.DNSKEY)
		if k.Flags == sign.FlagsSEP {
			anchors += fmt.Sprintf("%q static-key %d %d %d %q;\n", zone, k.Flags, k.Protocol, k.Algorithm, k.PublicKey)
		}
	}
	path := filepath.Join(t.TempDir(), "anchors")
	if err := os.WriteFile(path, []byte(anchors+"};\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command("delv", "@"+addr.Addr().String(), "-p", fmt.Sprint(addr.Port()), "-a", path, "+root="+zone, "+nosplit", name, rrtype).CombinedOutput()
	return string(out)
}

func TestDelvValidates(t *testing.T) {
	if _, err := exec.LookPath("delv"); err != nil {
		if _, err := exec.LookPath("apt-get"); err != nil {
			t.Skip("no delv here, and no apt-get")
		}
		t.Fatal("no delv here: make tools installs it")
	}
	for _, algorithm := range []uint8{dns.ECDSAP256SHA256, dns.ED25519} {
		t.Run(dns.AlgorithmToString[algorithm], func(t *testing.T) {
			s := signedServer(t, "rfc", algorithm, "rfc.test")
			addr := serve(t, s)
			for _, c := range []struct{ name, rrtype, want string }{
				{"www.rfc.test.", "A", "; fully validated\nwww.rfc.test."},
				{"rfc.test.", "SOA", "; fully validated\nrfc.test."},
				{"rfc.test.", "DNSKEY", "; fully validated\nrfc.test."},
				{"rfc.test.", "CDS", "; fully validated\nrfc.test."},
				{"www.rfc.test.", "TXT", "; negative response, fully validated"},
				{"nope.rfc.test.", "A", "; negative response, fully validated"},
				{"b.ent.rfc.test.", "A", "; negative response, fully validated"},
				{"any.wild.rfc.test.", "TXT", "; fully validated\nany.wild.rfc.test."},
				{"any.wild.rfc.test.", "A", "; negative response, fully validated"},
				{"h.dn.rfc.test.", "A", "; fully validated\nh.dn.rfc.test."},
				{"chain1.rfc.test.", "A", "; fully validated\nchain1.rfc.test."},
				{"sub.rfc.test.", "DS", "; fully validated\nsub.rfc.test."},
				{"www.rfc.test.", "NSEC", "; fully validated\nwww.rfc.test."},
			} {
				if out := delv(t, s, addr, "rfc.test", c.name, c.rrtype); !strings.Contains(out, c.want) {
					t.Errorf("delv %s %s printed\n%s, want %q", c.name, c.rrtype, out, c.want)
				}
			}
		})
	}
}
