package dnsd

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/dnsd/sign"
	"tandem/internal/tandem"
)

// debian returns the path of a program of a daemon's package, which tests/debian.sh unpacks if need be, and the
// libraries that it needs. Only a machine that is no Debian goes without.
func debian(t *testing.T, program string) (path, libraries string) {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("no apt-get here")
	}
	root, err := exec.Command("../tests/debian.sh", "peers").Output()
	if err != nil {
		t.Fatalf("tests/debian.sh peers: %v", err)
	}
	where, err := exec.Command("../tests/debian.sh", "libraries").Output()
	if err != nil {
		t.Fatalf("tests/debian.sh libraries: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "usr/sbin", program), strings.TrimSpace(string(where))
}

// unbound starts a validating resolver that asks addr for zones, whose keys it trusts, and returns its
// address.
func unbound(t *testing.T, s *Server, addr netip.AddrPort, trusted []string, zones ...string) string {
	t.Helper()
	path, libraries := debian(t, "unbound")
	l, err := listen(freshSockets{}, netip.MustParseAddrPort("127.0.0.1:0"), 1) // free for both UDP and TCP
	if err != nil {
		t.Fatal(err)
	}
	at := l.tcp.Addr().(*net.TCPAddr).AddrPort()
	l.close()
	for _, file := range l.udp {
		file.Close()
	}
	dir := t.TempDir()
	conf := fmt.Sprintf("server:\n chroot: \"\"\n username: \"\"\n directory: %q\n pidfile: \"\"\n interface: %s@%d\n use-syslog: no\n do-not-query-localhost: no\n"+
		" module-config: \"validator iterator\"\n val-log-level: 2\n num-threads: 1\n cache-max-ttl: 0\n cache-max-negative-ttl: 0\n qname-minimisation: no\n aggressive-nsec: no\n local-zone: \"test.\" nodefault\n", dir, at.Addr(), at.Port())
	for _, zone := range trusted {
		z := s.model.zoneOf(mustKey(t, zone))
		for _, rr := range z.signing.top.set(dns.TypeDNSKEY) {
			conf += fmt.Sprintf(" trust-anchor: %q\n", strings.ReplaceAll(rr.String(), "\t", " "))
		}
	}
	for _, zone := range zones {
		conf += fmt.Sprintf("stub-zone:\n name: %q\n stub-addr: %s@%d\n", zone, addr.Addr(), addr.Port())
	}
	conf += "remote-control:\n control-enable: no\n"
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cmd := exec.Command(path, "-d", "-c", file)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+libraries)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return at.String()
}

// resolve asks a validating resolver and returns rcode, whether it authenticated the answer, and the answer.
func resolve(t *testing.T, resolver, name string, rrtype uint16) (verdict string, reply *dns.Msg) {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), rrtype)
	q.SetEdns0(1232, true)
	var err error
	for range 100 { // it may not listen yet
		client := dns.Client{Timeout: 2 * time.Second}
		if reply, _, err = client.Exchange(q, resolver); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	verdict = dns.RcodeToString[reply.Rcode]
	if reply.AuthenticatedData {
		verdict += " ad"
	}
	return verdict, reply
}

// healthStates are what balancing may say of the nodes of cluster c1 in the voice world.
func healthStates() map[string][]tandem.NodeHealth {
	return map[string][]tandem.NodeHealth{
		"up":       {{Node: "n1", Share: 1}, {Node: "n2", Share: 1}},
		"degraded": {{Node: "n1", Share: 0.5, State: tandem.HealthDegraded}, {Node: "n2", Share: 1}},
		"one down": {{Node: "n1", State: tandem.HealthDown}, {Node: "n2", Share: 1}},
		"all down": {{Node: "n1", State: tandem.HealthDown}, {Node: "n2", State: tandem.HealthDown}, {Node: "vm1", State: tandem.HealthDown}},
	}
}

// TestUnboundValidatesEveryState: what depends on health is authentic in each state, and so is what is
// not there.
func TestUnboundValidatesEveryState(t *testing.T) {
	s := signedServer(t, "voice", dns.ECDSAP256SHA256, "voice.example.net", "svc.voice.example.net")
	addr := serve(t, s)
	resolver := unbound(t, s, addr, []string{"voice.example.net"}, "voice.example.net", "svc.voice.example.net")
	for state, nodes := range healthStates() {
		t.Run(state, func(t *testing.T) {
			s.Health(nodes)
			for _, c := range []struct {
				name   string
				rrtype uint16
				want   string
			}{
				{"k7.voice.example.net", dns.TypeNAPTR, "NOERROR ad"},
				{"k7.voice.example.net", dns.TypeTXT, "NOERROR ad"},
				{"_sip._udp.k7.voice.example.net", dns.TypeSRV, "NOERROR ad"},
				{"_udp.k7.voice.example.net", dns.TypeSRV, "NOERROR ad"},
				{"e1.edge.voice.example.net", dns.TypeAAAA, "NOERROR ad"},
				{"nobody.voice.example.net", dns.TypeA, "NOERROR ad"},
				{"_sip._udp.invite.1001.svc.voice.example.net", dns.TypeSRV, "NOERROR ad"},
				{"invite.1001.svc.voice.example.net", dns.TypeNAPTR, "NOERROR ad"},
				{"fax.1001.svc.voice.example.net", dns.TypeNAPTR, "NOERROR ad"},
				{"nokey.1001.svc.voice.example.net", dns.TypeNAPTR, "NOERROR ad"},
				{"svc.voice.example.net", dns.TypeDS, "NOERROR ad"},
				{"voice.example.net", dns.TypeSOA, "NOERROR ad"},
			} {
				for range 2 { // made, and then warm
					if got, reply := resolve(t, resolver, c.name, c.rrtype); got != c.want {
						t.Errorf("%s %s: %s, want %s\n%v", c.name, dns.Type(c.rrtype), got, c.want, reply)
					}
				}
			}
		})
	}
}

// TestUnboundValidatesPlainRecords: wildcards, aliases, empty non-terminals and delegations.
func TestUnboundValidatesPlainRecords(t *testing.T) {
	s := signedServer(t, "rfc", dns.ED25519, "rfc.test", "child.rfc.test")
	addr := serve(t, s)
	resolver := unbound(t, s, addr, []string{"rfc.test"}, "rfc.test")
	for _, c := range []struct {
		name   string
		rrtype uint16
		want   string
	}{
		{"www.rfc.test", dns.TypeA, "NOERROR ad"},
		{"any.wild.rfc.test", dns.TypeTXT, "NOERROR ad"},
		{"any.wild.rfc.test", dns.TypeA, "NOERROR ad"},
		{"chain1.rfc.test", dns.TypeA, "NOERROR ad"},
		{"h.dn.rfc.test", dns.TypeA, "NOERROR ad"},
		{"nothere.dn.rfc.test", dns.TypeA, "NOERROR ad"},
		{"b.ent.rfc.test", dns.TypeA, "NOERROR ad"},
		{"ent.rfc.test", dns.TypeTXT, "NOERROR ad"},
		{"nope.rfc.test", dns.TypeA, "NOERROR ad"},
		{"*.wild.rfc.test", dns.TypeTXT, "NOERROR ad"},
		{"sub.rfc.test", dns.TypeDS, "NOERROR ad"},
		{"child.rfc.test", dns.TypeSOA, "NOERROR ad"},
		{"typ.rfc.test", 65400, "NOERROR ad"},
		{"rfc.test", dns.TypeCDS, "NOERROR ad"},
		{"dotted\\.label.rfc.test", dns.TypeA, "NOERROR ad"},
	} {
		if got, reply := resolve(t, resolver, c.name, c.rrtype); got != c.want {
			t.Errorf("%s %s: %s, want %s\n%v", c.name, dns.Type(c.rrtype), got, c.want, reply)
		}
	}
}

// TestUnboundRefusesTwins: another key than the one trusted, a clock that is a month off, and a signature
// with one bit changed are bogus.
func TestUnboundRefusesTwins(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, s *Server, off *atomic.Int64){
		"another key": func(t *testing.T, s *Server, _ *atomic.Int64) {
			k := zoneKey(t, "rfc.test", 1, dns.ED25519, sign.SignsBoth)
			s.change(5000, tandem.KindZoneKey, k.ID, k)
		},
		"expired": func(_ *testing.T, s *Server, off *atomic.Int64) {
			off.Store(int64(-30 * 24 * time.Hour))
			s.writer.keys.shared.floor.Store(0)
		},
		"not yet": func(_ *testing.T, _ *Server, off *atomic.Int64) { off.Store(int64(30 * 24 * time.Hour)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := signedServer(t, "rfc", dns.ED25519, "rfc.test")
			debian(t, "unbound")
			var off atomic.Int64
			s.writer.keys.shared.clock = func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
			addr := serve(t, s)
			trusted := slices.Clone(s.model.zoneOf(mustKey(t, "rfc.test")).signing.top.set(dns.TypeDNSKEY))
			resolver := unbound(t, s, addr, []string{"rfc.test"}, "rfc.test")
			spoil(t, s, &off)
			if got, reply := resolve(t, resolver, "www.rfc.test", dns.TypeA); got != "SERVFAIL" {
				t.Errorf("%s, want SERVFAIL; trusted %v\n%v", got, trusted, reply)
			}
		})
	}
}
