package tests

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// dnsPeer is a name server that is asked what tandem is asked. In the texts DIR is its own
// directory, ADDR and PORT its address, and ID a zone's apex; its zone files are DIR/ID.zone. All are on
// 127.0.0.1, for named takes only addresses that an interface lists.
type dnsPeer struct {
	name, program string
	args          []string
	config        string
	zone          string // of each zone, appended to config
}

func dnsPeers() []dnsPeer {
	return []dnsPeer{
		{
			name: "nsd", program: "usr/sbin/nsd", args: []string{"-d", "-c", "DIR/conf"},
			config: "server:\n ip-address: ADDR@PORT\n server-count: 1\n username: \"\"\n database: \"\"\n zonesdir: DIR\n pidfile: DIR/pid\n" +
				" xfrdfile: DIR/xfrd\n zonelistfile: DIR/zones\n xfrdir: DIR\n rrl-ratelimit: 0\n minimal-responses: yes\nremote-control:\n control-enable: no\n",
			zone: "zone:\n name: ID\n zonefile: DIR/ID.zone\n",
		},
		{
			name: "knot", program: "usr/sbin/knotd", args: []string{"-c", "DIR/conf"},
			config: "server:\n  listen: ADDR@PORT\n  rundir: DIR\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n" +
				"log:\n  - target: stderr\n    any: warning\ndatabase:\n  storage: DIR\ntemplate:\n  - id: default\n    storage: DIR\n" +
				"    journal-content: none\n    zonefile-sync: -1\n    zonefile-load: whole\n    semantic-checks: off\nzone:\n",
			zone: "  - domain: ID\n    file: DIR/ID.zone\n",
		},
		{
			name: "named", program: "usr/sbin/named", args: []string{"-g", "-n", "1", "-c", "DIR/conf"},
			config: "options {\n directory \"DIR\"; listen-on port PORT { ADDR; }; listen-on-v6 { none; }; recursion no; pid-file none;\n" +
				" session-keyfile none; lock-file none; minimal-responses yes; dnssec-validation no; notify no; empty-zones-enable no;\n" +
				" check-names primary ignore; check-integrity no; check-wildcard no; check-spf ignore; check-mx ignore; check-mx-cname ignore;\n" +
				" check-srv-cname ignore; check-sibling no; managed-keys-directory \"DIR\";\n};\ncontrols { };\n",
			zone: "zone \"ID\" { type primary; file \"DIR/ID.zone\"; };\n",
		},
	}
}

// start runs p with zones, until the test ends, waits until it answers for them, and returns its address.
func (p dnsPeer) start(t *testing.T, zones []*hardZone) string {
	t.Helper()
	addr, log := p.launch(t, zones)
	p.await(t, addr, zones, log)
	return addr
}

// launch runs p with zones, until the test ends, and returns its address and its log.
func (p dnsPeer) launch(t *testing.T, zones []*hardZone) (address, logFile string) {
	t.Helper()
	dir, err := os.MkdirTemp(workshop, p.name+"-")
	if err != nil {
		t.Fatal(err)
	}
	addr := freePort(t)
	local := strings.NewReplacer("DIR", dir, "ADDR", addr.Addr().String(), "PORT", strconv.Itoa(int(addr.Port())))
	config := p.config
	for _, z := range zones {
		config += strings.ReplaceAll(p.zone, "ID", z.id)
		text := "$ORIGIN " + z.apex() + "\n" + strings.Join(z.text, "\n") + "\n"
		writeFile(t, filepath.Join(dir, z.id+".zone"), text)
	}
	writeFile(t, filepath.Join(dir, "conf"), local.Replace(config))
	root, libraries := debianPeers(t)
	args := make([]string, len(p.args))
	for i, a := range p.args {
		args[i] = local.Replace(a)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(root, p.program), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+libraries)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	return addr.String(), log.Name()
}

// await waits until p answers for zones.
func (p dnsPeer) await(t *testing.T, addr string, zones []*hardZone, log string) {
	t.Helper()
	for _, z := range zones {
		query := new(dns.Msg)
		query.SetQuestion(z.apex(), dns.TypeSOA)
		var reply *dns.Msg
		var err error
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if reply, err = dns.Exchange(query, addr); err == nil && reply.Authoritative && len(reply.Answer) == 1 {
				break
			}
		}
		if err != nil || !reply.Authoritative {
			text, _ := os.ReadFile(log)
			t.Fatalf("%s does not serve %s: %v\n%s", p.name, z.id, err, tail(string(text), 40))
		}
	}
}

// freePort returns an address on which neither UDP nor TCP is taken.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 100 {
		stream, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", stream.Addr().String())
		stream.Close()
		if err == nil {
			packets.Close()
			return netip.MustParseAddrPort(stream.Addr().String())
		}
	}
	t.Fatal("no port is free for UDP and TCP in 100 tries")
	return netip.AddrPort{}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// debianPeers returns where Debian's daemons are unpacked, and the library path they need.
func debianPeers(t *testing.T) (root, libraries string) {
	t.Helper()
	var lines [2]string
	for i, command := range []string{"peers", "libraries"} {
		cmd := exec.Command("./debian.sh", command)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("debian.sh %s: %v", command, err)
		}
		lines[i] = strings.TrimSpace(string(out))
	}
	return lines[0], lines[1]
}

// ask sends query to addr, over TCP when stream, and returns the reply's octets.
func askOctets(addr string, query []byte, stream bool) ([]byte, error) {
	network := "udp"
	if stream {
		network = "tcp"
	}
	conn, err := net.DialTimeout(network, addr, 2*time.Second)
	if err != nil {
		return nil, err
	}
	c := &dns.Conn{Conn: conn, UDPSize: 65535}
	defer c.Close()
	c.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, 65535)
	n, err := c.Read(buf)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", network, err)
	}
	return buf[:n], nil
}
