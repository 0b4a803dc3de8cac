package tests

import (
	"testing"
	"time"
)

// TestUpgradeKeepsCopies: a secondary zone is answered through an upgrade, and after it, while its primary
// is gone.
func TestUpgradeKeepsCopies(t *testing.T) {
	primary, s := startShared(t), startShared(t)
	from, ours := primary.addr(1)+":5300", s.addr(1)+":5300"
	primary.apply("---\n{kind: Zone, id: copied.test, role: plain, secondaries: [{networks: [127.0.0.0/8]}], records: \"www A 192.0.2.80\\n\"}\n")
	s.apply("---\n{kind: Zone, id: copied.test, role: plain, primaries: [{address: \"" + from + "\"}], secondaries: [{networks: [127.0.0.0/8]}]}\n")
	eventually(t, 10*time.Second, "the zone's copy", func() bool {
		at := serialAt(ours, "copied.test")
		return at != 0 && at == serialAt(from, "copied.test")
	})
	want := axfrFrom(t, ours, "copied.test", false)
	primary.stop()
	u := &upgradable{server: s, pid: s.cmd.Process.Pid}
	t.Cleanup(u.endSuccessor)
	for range 2 {
		u.mustUpgrade()
		sameZone(t, "after an upgrade", axfrFrom(t, ours, "copied.test", false), want)
	}
}
