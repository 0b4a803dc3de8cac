package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// peer is how one of the other makers' servers is started on the same zone.
type peer struct {
	name    string
	addr    string
	files   map[string]string // configuration: path below its directory, text
	program string
	args    []string
}

// In the texts DIR is the peer's own directory, ADDR its address, ZONE the zone file.
func dnsPeers() []peer {
	port := fmt.Sprint(dnsPort)
	return []peer{
		{
			name: "nsd", addr: "127.53.0.2", program: "usr/sbin/nsd", args: []string{"-d", "-c", "DIR/nsd.conf"},
			files: map[string]string{"nsd.conf": "server:\n ip-address: ADDR@" + port + "\n server-count: 1\n username: \"\"\n database: \"\"\n zonesdir: DIR\n" +
				" pidfile: DIR/pid\n xfrdfile: DIR/xfrd\n zonelistfile: DIR/zones\n xfrdir: DIR\n rrl-ratelimit: 0\n minimal-responses: yes\n" +
				"remote-control:\n control-enable: no\nzone:\n name: " + apex + "\n zonefile: ZONE\n"},
		},
		{
			name: "knot", addr: "127.53.0.3", program: "usr/sbin/knotd", args: []string{"-c", "DIR/knot.conf"},
			files: map[string]string{"knot.conf": "server:\n  listen: ADDR@" + port + "\n  rundir: DIR\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n" +
				"log:\n  - target: stderr\n    any: warning\ndatabase:\n  storage: DIR\ntemplate:\n  - id: default\n    storage: DIR\n    journal-content: none\n    zonefile-sync: -1\n    zonefile-load: whole\n" +
				"zone:\n  - domain: " + apex + "\n    file: ZONE\n"},
		},
		{
			name: "gdnsd", addr: "127.53.0.4", program: "usr/sbin/gdnsd", args: []string{"-c", "DIR", "start"},
			files: map[string]string{
				"config":        "options => {\n listen => [ ADDR:" + port + " ]\n udp_threads => 1\n tcp_threads => 1\n run_dir => DIR/run\n state_dir => DIR/state\n chaos_response => none\n}\n",
				"zones/" + apex: "$INCLUDE ZONE\n", "run/.keep": "", "state/.keep": "",
			},
		},
	}
}

// startPeers writes the zone and starts every peer on it. Those that were started are returned with
// the error too, so that they can be stopped.
func startPeers(ctx context.Context, o options, dir string, tandem netip.AddrPort) ([]*contender, error) {
	perAccount, shared, err := learn(tandem)
	if err != nil {
		return nil, err
	}
	zone := filepath.Join(dir, "zone")
	if err := writeZone(zone, perAccount, shared, o.accounts); err != nil {
		return nil, err
	}
	var all []*contender
	for _, p := range dnsPeers() {
		c, err := p.start(o, dir, zone)
		if err != nil {
			return all, err
		}
		all = append(all, c)
		if err := c.firstAnswer(ctx, o); err != nil {
			return all, err
		}
	}
	return all, nil
}

// startPeer starts one peer on the same zone, alone.
func startPeer(ctx context.Context, o options, dir string, tandem netip.AddrPort, name string) (*contender, error) {
	perAccount, shared, err := learn(tandem)
	if err != nil {
		return nil, err
	}
	zone := filepath.Join(dir, "zone")
	if err := writeZone(zone, perAccount, shared, o.accounts); err != nil {
		return nil, err
	}
	for _, p := range dnsPeers() {
		if p.name != name {
			continue
		}
		c, err := p.start(o, dir, zone)
		if err == nil {
			err = c.firstAnswer(ctx, o)
		}
		return c, err
	}
	return nil, fmt.Errorf("no peer is called %s", name)
}

func (p peer) start(o options, dir, zone string) (*contender, error) {
	own := filepath.Join(dir, p.name)
	fill := strings.NewReplacer("DIR", own, "ADDR", p.addr, "ZONE", zone)
	for name, text := range p.files {
		path := filepath.Join(own, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(fill.Replace(text)), 0o644); err != nil {
			return nil, err
		}
	}
	var args []string
	for _, arg := range p.args {
		args = append(args, fill.Replace(arg))
	}
	program := filepath.Join(o.peers, p.program)
	condition(p.name, "%s, one worker", debianVersion(o.peers, p.name))
	process, err := start(p.name, libraryPath(o.peers), program, args...)
	return &contender{name: p.name, addr: addrPort(p.addr), process: process}, err
}

// debianVersion returns the version of an unpacked package.
func debianVersion(peers, name string) string {
	text, err := os.ReadFile(filepath.Join(peers, "have", name))
	if err != nil {
		return "unknown version"
	}
	return "Debian " + strings.TrimSpace(string(text))
}

// libraryPath is the environment with which unpacked programs find their libraries; the same that
// tests/debian.sh libraries prints.
func libraryPath(peers string) []string {
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]
	return []string{fmt.Sprintf("LD_LIBRARY_PATH=%[1]s/usr/lib/%[2]s:%[1]s/lib/%[2]s:%[1]s/usr/lib/%[2]s/kamailio", peers, triplet)}
}
