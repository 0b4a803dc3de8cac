package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tandem/dnsd"
	"tandem/internal/tandem"
	"tandem/store"
)

// BenchmarkRestore reads a store of many accounts into dnsd, as a start does. TANDEM_ACCOUNTS says how many;
// TANDEM_SCALE_DIR keeps the store between runs.
func BenchmarkRestore(b *testing.B) {
	accounts := 100_000
	if n, err := strconv.Atoi(os.Getenv("TANDEM_ACCOUNTS")); err == nil {
		accounts = n
	}
	dir := b.TempDir()
	if kept := os.Getenv("TANDEM_SCALE_DIR"); kept != "" {
		dir = filepath.Join(kept, fmt.Sprint(accounts))
	}
	log := slog.New(slog.DiscardHandler)
	fillStore(b, dir, accounts, log)
	for b.Loop() {
		began, cpu := time.Now(), processorTime()
		kept, err := store.Open(dir, log)
		if err != nil {
			b.Fatal(err)
		}
		dns, err := dnsd.New(dnsd.Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}, dnsd.Deps{}, log)
		if err != nil {
			b.Fatal(err)
		}
		parts := []part{{name: "dns", apply: dns.Apply, expect: dns.Expect, restored: dns.Restored}}
		expect(parts, kept.Objects())
		if _, err := restore(context.Background(), kept.Snapshot, parts); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/start")
		b.ReportMetric((processorTime() - cpu).Seconds(), "cpu-s/start")
		b.StopTimer()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/float64(accounts), "heap-octets/account")
		runtime.KeepAlive(dns)
		kept.Close()
		b.StartTimer()
	}
}

func processorTime() time.Duration {
	var use unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &use)
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

func fillStore(b *testing.B, dir string, accounts int, log *slog.Logger) {
	kept, err := store.Open(dir, log)
	if err != nil {
		b.Fatal(err)
	}
	defer kept.Close()
	if _, last := kept.Info(); last >= tandem.Revision(accounts) {
		return
	}
	put := func(o tandem.Object) tandem.Edit {
		return tandem.Edit{Kind: o.Kind(), ID: o.Header().ID, Object: o}
	}
	addr := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	edits := []tandem.Edit{
		put(&tandem.Cluster{Head: tandem.Head{ID: "c1"}}),
		put(&tandem.Edge{Head: tandem.Head{ID: "e1"}, Addresses: addr, Ports: tandem.Ports{UDP: 5060}}),
		put(&tandem.Zone{Head: tandem.Head{ID: "svc.example.net"}, Role: tandem.RoleService}),
		put(&tandem.Zone{Head: tandem.Head{ID: "example.net"}, Role: tandem.RoleAccounts, ServiceZone: "svc.example.net", Edges: []string{"e1"}}),
		put(&tandem.Group{Head: tandem.Head{ID: "g1"}, Cluster: "c1"}),
	}
	by := tandem.Principal{Name: "bench", Admin: true}
	for i := range accounts {
		id := fmt.Sprintf("a%07d", i)
		edits = append(edits, put(&tandem.Account{
			Head: tandem.Head{ID: id}, Zone: "example.net", Group: "g1", Realm: "tandem-" + id,
			Labels: []tandem.Label{{Label: fmt.Sprintf("c%07d", i), Role: tandem.LabelCurrent}},
		}))
		if len(edits) >= 1000 || i == accounts-1 {
			if _, err := kept.Append(context.Background(), by, edits); err != nil {
				b.Fatal(err)
			}
			edits = edits[:0]
		}
	}
}
