package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// Where the benchmark of balancing has its parties.
const (
	balanceHost   = "127.55.0.1"
	balanceCaller = "127.55.0.64"
	balanceNodes  = "127.55.0.8 127.55.0.9"
)

// benchBalance measures what a tandem that balances calls does when something happens to it, to its
// nodes or to its calls. Tier 1, admission and placing are measured by lb's own benchmarks.
func benchBalance(ctx context.Context, o options, dir string) error {
	machine()
	condition("tandem", "%s", versionOf(o.tandem, "version"))
	if err := benchCalls(ctx, o, filepath.Join(dir, "calls")); err != nil {
		return err
	}
	return benchHealth(ctx, o, filepath.Join(dir, "health"))
}

// balanceObjects are what every such tandem begins with: zones, the edge, and the addresses of nodes.
func balanceObjects(host, nodes string) []string {
	return []string{
		`{"kind":"Edge","id":"edge1","addresses":["` + host + `"],"ports":{"udp":5060}}`,
		`{"kind":"Zone","id":"svc.` + apex + `","role":"service"}`,
		`{"kind":"Zone","id":"` + apex + `","role":"accounts","serviceZone":"svc.` + apex + `","edges":["edge1"]}`,
		`{"kind":"Peer","id":"core","role":"core","networks":["` + nodes + `"],"listener":"public"}`,
	}
}

// accountObjects are a group on a cluster, and an account of it whose trunk calls from an address.
func accountObjects(name, cluster, caller string) []string {
	return []string{
		`{"kind":"Group","id":"` + name + `","cluster":"` + cluster + `","expected":2000,"permitted":2000}`,
		`{"kind":"Account","id":"` + name + `","zone":"` + apex + `","labels":[{"label":"` + name + `"}],"group":"` + name + `"}`,
		`{"kind":"Peer","id":"pbx-` + name + `","role":"trunk","account":"` + name + `","networks":["` + caller + `/32"],"listener":"public"}`,
	}
}

// nodeObject is one node of a cluster.
func nodeObject(id, cluster, addr string) string {
	return fmt.Sprintf(`{"kind":"Node","id":"%s","cluster":"%s","addresses":["%s"],"ports":{"udp":%d}}`, id, cluster, addr, sipPort)
}
