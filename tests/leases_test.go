package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// sharing starts a server with the little telco, whose gold group is permitted so many calls, at one end
// of leases.
func sharing(s *server, end, files string, permitted int) {
	s.t.Helper()
	s.writeConfig(serveConfig + "lb:\n  leases: {" + end + ", ca: " + filepath.Dir(files) + "/leases-ca.crt, certificate: " + files + ".crt, key: " + files + ".key}\n")
	s.start()
	telco, err := os.ReadFile("testdata/telco.yaml")
	if err != nil {
		s.t.Fatal(err)
	}
	s.apply(string(telco))
	s.edit("Group", "gold", map[string]any{"permitted": permitted})
	s.feature(8, "uas_call")
}

// callsAt counts a server's calls that are up, and those that were refused, by cause.
func callsAt(s *server) (up, refused map[string]int) {
	s.t.Helper()
	up, refused = make(map[string]int), make(map[string]int)
	for line := range strings.Lines(s.must("call", "export", "--format", "jsonl")) {
		var c struct{ State, Cause string }
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		switch {
		case c.State == "answered":
			up["up"]++
		case c.Cause == "permitted" || c.Cause == "lease":
			refused["all"]++
			refused[c.Cause]++
		}
	}
	return up, refused
}

// L14 from outside: phones burst at two processes that share a group's number, and exactly as many
// calls as are permitted come up together; none more after kill -9 of either, whose calls go on; a call
// that ends at one makes room at the other.
func TestLeasesOfCalls(t *testing.T) {
	t.Parallel()
	const permitted, callers = 6, 12
	one, two := newServer(t), newServer(t)
	leaseCertificates(one, "edge1", "edge2")
	sharing(one, "serve: \""+one.addr(1)+":8447\"", one.path("edge1"), permitted)
	sharing(two, "from: https://"+one.addr(1)+":8447", one.path("edge2"), permitted)
	eventually(t, 5*time.Second, "the second is answered", func() bool {
		return strings.Contains(two.must("lb", "status"), "granted by")
	})
	host := 100
	burst := func(n int, at ...*server) {
		for _, s := range at {
			s.phone(host, "uac_hungup", fromAlice("INVITE"), "-m", fmt.Sprint(n), "-l", fmt.Sprint(n), "-r", "200", "-timeout", "120s")
		}
		host++
	}
	// settled waits until every call that was tried is up or refused, and checks how many are up.
	tried := 0
	settled := func(step string, more, want int) {
		t.Helper()
		tried += more
		var ups, refusals [2]map[string]int
		eventually(t, 15*time.Second, step+": every call is up or refused", func() bool {
			n := 0
			for i, s := range []*server{one, two} {
				ups[i], refusals[i] = callsAt(s)
				n += ups[i]["up"] + refusals[i]["all"]
			}
			return n == tried
		})
		if n := ups[0]["up"] + ups[1]["up"]; n != want {
			t.Errorf("%s: %d calls are up at one, %d at the other, want %d together; refused %v", step, ups[0]["up"], ups[1]["up"], want, refusals)
		}
	}
	burst(callers, one, two)
	settled("a burst", 2*callers, permitted)
	one.kill()
	burst(2, two)
	eventually(t, 10*time.Second, "without grantor calls are refused, reason lease", func() bool {
		_, refused := callsAt(two)
		return refused["lease"] >= 2
	})
	one.start()
	burst(2, one, two)
	settled("after kill -9 of the grantor", 6, permitted)
	two.kill()
	two.start()
	burst(2, one, two)
	settled("after kill -9 of the other", 4, permitted)

	from, to := one, two
	if up, _ := callsAt(one); up["up"] == 0 {
		from, to = two, one
	}
	var up struct{ ID string }
	line, _, _ := strings.Cut(from.must("call", "export", "--state", "answered", "--format", "jsonl"), "\n")
	if err := json.Unmarshal([]byte(line), &up); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	from.must("call", "hangup", up.ID)
	before, _ := callsAt(to)
	eventually(t, 10*time.Second, "a call that ended at one makes room at the other", func() bool {
		burst(1, to)
		now, _ := callsAt(to)
		return now["up"] == before["up"]+1
	})
}
