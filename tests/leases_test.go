package tests

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// leaseCertificates makes an authority and a certificate for each name as docs/operating.md says, in
// the directory of s; the first is also good for the address of s.
func leaseCertificates(s *server, names ...string) {
	s.t.Helper()
	const authority = `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj '/CN=leases' \
  -addext keyUsage=critical,keyCertSign,cRLSign -keyout leases-ca.key -out leases-ca.crt
for name; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=$name" \
    -CA leases-ca.crt -CAkey leases-ca.key -addext basicConstraints=critical,CA:FALSE \
    -addext "subjectAltName=DNS:$name,IP:$ADDRESS" -addext extendedKeyUsage=serverAuth,clientAuth \
    -keyout $name.key -out $name.crt
done`
	cmd := exec.Command("bash", append([]string{"-ec", authority, "bash"}, names...)...)
	cmd.Dir = s.dir
	cmd.Env = append(cmd.Environ(), "ADDRESS="+s.addr(1))
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("openssl: %v\n%s", err, out)
	}
}

// Two processes share what groups are permitted; kill -9 of either, and each finds the other again.
// The twin is a third, whose certificate another authority made: it is never answered.
func TestLeasesOfProcesses(t *testing.T) {
	t.Parallel()
	one, two, stranger := newServer(t), newServer(t), newServer(t)
	leaseCertificates(one, "edge1", "edge2")
	leaseCertificates(stranger, "edge2")
	const config = "data: DIR/data\ncontrol: {socket: DIR/tandem.sock}\nlb:\n  leases: {END, ca: ONE/leases-ca.crt, certificate: OWN.crt, key: OWN.key}\n"
	for _, x := range []struct {
		s        *server
		end, own string
	}{
		{one, "serve: \"" + one.addr(1) + ":8447\"", one.path("edge1")},
		{two, "from: https://" + one.addr(1) + ":8447", one.path("edge2")},
		{stranger, "from: https://" + one.addr(1) + ":8447", stranger.path("edge2")},
	} {
		x.s.writeConfig(strings.NewReplacer("END", x.end, "ONE", one.dir, "OWN", x.own).Replace(config))
		x.s.start()
	}
	says := func(s *server, text string) func() bool {
		return func() bool { return strings.Contains(s.must("lb", "status"), text) }
	}
	const granted, lost = "leases: granted by https://", "does not answer: calls are admitted only from what is held here"
	eventually(t, 5*time.Second, "the second is answered", says(two, granted))
	if out := one.must("lb", "status"); !strings.Contains(out, "leases: none at other instances") {
		t.Errorf("the grantor says\n%s", out)
	}
	two.kill()
	two.start()
	eventually(t, 5*time.Second, "the second is answered after its end", says(two, granted))
	one.kill()
	eventually(t, 5*time.Second, "the second sees that nobody answers", says(two, lost))
	one.start()
	eventually(t, 5*time.Second, "the second is answered after the other's end", says(two, granted))
	if !says(stranger, lost)() {
		t.Errorf("the stranger says\n%s", stranger.must("lb", "status"))
	}
}
