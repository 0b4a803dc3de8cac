package directory

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"tandem/internal/tandem"
)

const benchAccounts = 100_000

// many fills a directory with accounts of one label and one number each.
func many(n int) *Directory {
	d := New()
	d.Apply([]tandem.Change{put(&tandem.Zone{Head: head("voice.example.net"), Role: tandem.RoleAccounts, ServiceZone: "svc.voice.example.net"})})
	for i := range n {
		x := account(fmt.Sprint(1_000_000+i), label(fmt.Sprintf("%016x", i), tandem.LabelCurrent))
		x.Numbers = []string{fmt.Sprintf("+4930%07d", i)}
		d.Apply([]tandem.Change{put(x)})
	}
	return d
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkAccountOctets reports what one account costs in memory, its label and number included.
func BenchmarkAccountOctets(b *testing.B) {
	for range b.N {
		before := heap()
		d := many(benchAccounts)
		b.ReportMetric(float64(heap()-before)/benchAccounts, "octets/account")
		runtime.KeepAlive(d)
	}
}

// BenchmarkDeviceOctets reports what one device costs in memory, with its user.
func BenchmarkDeviceOctets(b *testing.B) {
	for range b.N {
		d := example()
		before := heap()
		for i := range benchAccounts {
			user := fmt.Sprintf("u%d", i)
			v := &tandem.Device{Head: head(fmt.Sprintf("d%d", i)), Account: "1001", User: user, Username: fmt.Sprintf("phone%d", i)}
			v.HA1 = tandem.NewHA1(v.Username, "tandem-1001", "secret", []tandem.DigestAlgorithm{tandem.SHA512_256, tandem.SHA256})
			d.Apply([]tandem.Change{put(&tandem.User{Head: head(user), Account: "1001", Extension: fmt.Sprint(i)}), put(v)})
		}
		b.ReportMetric(float64(heap()-before)/benchAccounts, "octets/device")
		runtime.KeepAlive(d)
	}
}

func BenchmarkAccountByHost(b *testing.B) {
	d := many(benchAccounts)
	hosts := make([]string, 1024)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("%016x.voice.example.net", i*97)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if a, _ := d.AccountByHost(hosts[i%len(hosts)]); a == nil {
			b.Fatal("not found")
		}
	}
}

func BenchmarkAccountByNumber(b *testing.B) {
	d := many(benchAccounts)
	b.ReportAllocs()
	for b.Loop() {
		if d.AccountByNumber("+49300012345") == nil {
			b.Fatal("not found")
		}
	}
}

func BenchmarkDevice(b *testing.B) {
	d := example()
	d.Apply([]tandem.Change{put(&tandem.Device{Head: head("d1"), Account: "1001", Username: "alice"})})
	b.ReportAllocs()
	for b.Loop() {
		if d.Device("1001", "alice") == nil {
			b.Fatal("not found")
		}
	}
}

func BenchmarkPeer(b *testing.B) {
	d := example()
	for i := range 1000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
		d.Apply([]tandem.Change{put(&tandem.Peer{Head: head(fmt.Sprintf("p%d", i)), Listener: "core", Networks: []netip.Prefix{p}})})
	}
	source := netip.MustParseAddrPort("10.1.1.7:5060")
	b.ReportAllocs()
	for b.Loop() {
		if d.Peer("core", source) == nil {
			b.Fatal("not found")
		}
	}
}

// BenchmarkChange shows that a change costs what it changes: the same with few and many accounts.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{1_000, benchAccounts} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := many(n)
			flip := []tandem.Change{put(account("1000005", label("flip", tandem.LabelCurrent)))}
			flop := []tandem.Change{put(account("1000005", label("flop", tandem.LabelCurrent)))}
			b.ReportAllocs()
			for b.Loop() {
				d.Apply(flip)
				d.Apply(flop)
			}
		})
	}
}
