package httpproxy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"tandem/httpproxy"
	"tandem/internal/tandem"
)

func TestApply(t *testing.T) {
	retired := account("1001", "gamma")
	retired.Labels = append(retired.Labels, tandem.Label{Label: "alpha", Role: tandem.LabelRetired})
	tests := []struct {
		name    string
		changes []tandem.Change
		serves  []string
		refuses []string
	}{
		{"as it begins", nil, []string{"alpha.v.test", "beta.v.test"}, []string{"v.test", "gamma.v.test", "alpha.w.test"}},
		{"label retired", []tandem.Change{change(retired)}, []string{"gamma.v.test", "beta.v.test"}, []string{"alpha.v.test"}},
		{"label added", []tandem.Change{change(account("1001", "alpha", "gamma"))}, []string{"alpha.v.test", "gamma.v.test"}, nil},
		{"account deleted", []tandem.Change{deletion(tandem.KindAccount, "1001")}, []string{"beta.v.test"}, []string{"alpha.v.test"}},
		{"unknown account deleted", []tandem.Change{deletion(tandem.KindAccount, "9")}, []string{"alpha.v.test"}, nil},
		{"label moves in one batch", []tandem.Change{change(account("1002", "alpha")), deletion(tandem.KindAccount, "1001")},
			[]string{"alpha.v.test"}, []string{"beta.v.test"}},
		{"other kinds", []tandem.Change{change(&tandem.Device{Head: tandem.Head{ID: "alpha"}})}, []string{"alpha.v.test"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, httpproxy.Config{})
			b.Apply(tt.changes)
			for _, host := range tt.serves {
				if !b.Serves(host) {
					t.Errorf("Serves(%q) = false, want true", host)
				}
			}
			for _, host := range tt.refuses {
				if b.Serves(host) {
					t.Errorf("Serves(%q) = true, want false", host)
				}
			}
		})
	}
}

func TestHostsGauge(t *testing.T) {
	b := newBench(t, httpproxy.Config{})
	for i := range 100 {
		b.Apply([]tandem.Change{change(account("1003", fmt.Sprint("l", i), "vanity"))})
	}
	if got := b.reading("tandem_httpproxy_hosts"); got != 4 {
		t.Errorf("tandem_httpproxy_hosts = %v after renaming, want 4", got)
	}
	b.Apply([]tandem.Change{deletion(tandem.KindAccount, "1003")})
	if got := b.reading("tandem_httpproxy_hosts"); got != 2 {
		t.Errorf("tandem_httpproxy_hosts = %v after deletion, want 2", got)
	}
}

// Whatever is applied, the table answers as a map would, also to those who look meanwhile.
func TestTableAgainstMap(t *testing.T) {
	b := newBench(t, httpproxy.Config{})
	b.Apply([]tandem.Change{deletion(tandem.KindAccount, "1001"), deletion(tandem.KindAccount, "1002"), change(account("steady", "steady"))})
	stop, looked := make(chan bool), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				looked <- n
				return
			default:
			}
			if !b.Serves("steady.v.test") {
				t.Error("a host that never changed was missing")
			}
			n++
			runtime.Gosched()
		}
	}()
	random := rand.New(rand.NewPCG(1, 2))
	want := map[string][]string{"steady": {"steady"}} // labels by account
	for range 5000 {
		id := fmt.Sprint(random.IntN(1000))
		if random.IntN(3) == 0 {
			delete(want, id)
			b.Apply([]tandem.Change{deletion(tandem.KindAccount, id)})
			continue
		}
		labels := []string{id + "-" + fmt.Sprint(random.IntN(3)), id + "-vanity"}[:1+random.IntN(2)]
		want[id] = labels
		b.Apply([]tandem.Change{change(account(id, labels...))})
	}
	close(stop)
	if <-looked == 0 {
		t.Error("nobody looked meanwhile")
	}
	hosts := make(map[string]bool)
	for _, labels := range want {
		for _, l := range labels {
			hosts[l+".v.test"] = true
		}
	}
	if got := b.reading("tandem_httpproxy_hosts"); int(got) != len(hosts) {
		t.Errorf("%v hosts, want %d", got, len(hosts))
	}
	for id := range 1000 {
		for _, end := range []string{"-0", "-1", "-2", "-vanity"} {
			host := fmt.Sprint(id, end, ".v.test")
			if got := b.Serves(host); got != hosts[host] {
				t.Fatalf("Serves(%q) = %v, want %v", host, got, hosts[host])
			}
		}
	}
}

// An account costs little, for there may be ten million.
func TestHostsAreCompact(t *testing.T) {
	const accounts, most = 30_000, 150
	b := newBench(t, httpproxy.Config{})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range accounts {
		id := fmt.Sprint("a", i)
		b.Apply([]tandem.Change{change(account(id, tandem.RandomLabel()))})
	}
	octets := (heap() - before) / accounts
	t.Logf("%d octets a host", octets)
	if octets > most {
		t.Errorf("%d octets a host, want at most %d", octets, most)
	}
	runtime.KeepAlive(b)
}

func TestHostName(t *testing.T) {
	tests := []struct{ in, want string }{
		{"alpha.v.test", "alpha.v.test"},
		{"Alpha.V.TEST:8080", "alpha.v.test"},
		{"alpha.v.test.", "alpha.v.test"},
		{"alpha.v.test.:80", "alpha.v.test"},
		{"alpha.v.test:", "alpha.v.test"},
		{"", ""},
		{":80", ""},
		{"127.0.0.1:80", ""},
		{"[::1]:80", ""},
		{"alpha.v.test:http", ""},
		{"alpha.v.test:80:80", ""},
		{"al pha.v.test", ""},
		{"user@alpha.v.test", ""},
		{strings.Repeat("a", 254), ""},
	}
	for _, tt := range tests {
		if got := httpproxy.HostName(tt.in); got != tt.want {
			t.Errorf("HostName(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// What comes out is a plain lower-case name, and comes out unchanged when it goes in again.
func FuzzHostName(f *testing.F) {
	for _, s := range []string{"alpha.v.test:80", "A.B.", "[::1]:8080", "127.0.0.1", "a..b", "-", "a:1:2", "\x00", "ä.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, authority string) {
		got := httpproxy.HostName(authority)
		if got == "" {
			return
		}
		if strings.Trim(got, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || len(got) > 253 {
			t.Errorf("HostName(%q) = %q, not a plain name", authority, got)
		}
		if !strings.HasPrefix(strings.ToLower(authority), got) {
			t.Errorf("HostName(%q) = %q, not its beginning", authority, got)
		}
		if !strings.HasSuffix(got, ".") && httpproxy.HostName(got+":443") != got {
			t.Errorf("HostName(%q) = %q, want it unchanged", got+":443", httpproxy.HostName(got+":443"))
		}
	})
}

func TestPoolKey(t *testing.T) {
	for _, addr := range []string{"127.0.0.11:8443", "[2001:db8::1]:443"} {
		want := tandem.Target{Transport: tandem.HTTPS, Addr: netip.MustParseAddrPort(addr), Host: "n1.node.svc.test"}
		key := httpproxy.PoolKey(want)
		got, host, err := httpproxy.ParsePoolKey(key)
		if err != nil || got != want.Addr || host != want.Host {
			t.Errorf("ParsePoolKey(%q) = %v, %q, %v, want %v, %q", key, got, host, err, want.Addr, want.Host)
		}
	}
	for _, bad := range []string{"", "x:1", "7f.n1:1", "n1.node.svc.test:8443", strings.Repeat("0", 32) + ".n1:99999", strings.Repeat("0", 32) + ".n1"} {
		if _, _, err := httpproxy.ParsePoolKey(bad); err == nil {
			t.Errorf("ParsePoolKey(%q) = nil error, want one", bad)
		}
	}
}

func TestOrder(t *testing.T) {
	at := func(transport tandem.Transport, node string, priority, weight uint16) tandem.Target {
		return tandem.Target{Transport: transport, Node: node, Priority: priority, Weight: weight}
	}
	first := make(map[string]int)
	for range 4000 {
		got := httpproxy.Order([]tandem.Target{
			at(tandem.HTTP, "backup", 1, 100), at(tandem.UDP, "sip", 0, 100),
			at(tandem.HTTP, "big", 0, 300), at(tandem.HTTPS, "small", 0, 100), at(tandem.TLS, "sips", 0, 1),
		})
		if len(got) != 3 || got[2].Node != "backup" {
			t.Fatalf("Order = %v, want big and small in some order, then backup", got)
		}
		first[got[0].Node]++
	}
	if n := first["big"]; n < 2800 || n > 3200 {
		t.Errorf("the target with three quarters of the weight came first %d times of 4000", n)
	}
	if got := httpproxy.Order([]tandem.Target{at(tandem.HTTP, "a", 0, 0), at(tandem.HTTP, "b", 0, 0)}); len(got) != 2 {
		t.Errorf("Order of weightless targets = %v, want both", got)
	}
}
