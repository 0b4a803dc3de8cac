package main

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestMedianAndRatios(t *testing.T) {
	if got := median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("median of three = %v, want 2", got)
	}
	if got := median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("median of four = %v, want 2.5", got)
	}
	if got := median(nil); got != 0 {
		t.Errorf("median of none = %v, want 0", got)
	}
	if got := ratios([]float64{1, 6, 9}, []float64{2, 0, 3}); len(got) != 2 || got[0] != 0.5 || got[1] != 3 {
		t.Errorf("ratios = %v, want 0.5 and 3, the round without a value left out", got)
	}
}

func TestQuestions(t *testing.T) {
	asked, again := questions(1000), questions(1000)
	kinds := make(map[uint16]int)
	names := make(map[string]int)
	for i, packet := range asked {
		question := new(dns.Msg)
		if err := question.Unpack(packet); err != nil {
			t.Fatal(err)
		}
		kinds[question.Question[0].Qtype]++
		names[question.Question[0].Name]++
		if string(packet[2:]) != string(again[i][2:]) {
			t.Fatalf("question %d is another one the second time", i)
		}
	}
	for kind, share := range map[uint16]float64{dns.TypeNAPTR: 0.45, dns.TypeSRV: 0.30, dns.TypeA: 0.20, dns.TypeAAAA: 0.05} {
		if got := float64(kinds[kind]) / mixSize; got < share-0.01 || got > share+0.01 {
			t.Errorf("%s is %.3f of the mix, want %.2f", dns.TypeToString[kind], got, share)
		}
	}
	if len(names) < 1000 {
		t.Errorf("%d different names, want most accounts asked for", len(names))
	}
}

func TestBlast(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		buf := make([]byte, 1500)
		for n := 0; ; n++ {
			size, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if n%1000 != 999 { // one in a thousand is lost
				conn.WriteToUDPAddrPort(buf[:size], from)
			}
		}
	}()
	to := netip.MustParseAddrPort(conn.LocalAddr().String())
	asked := questions(100)
	for _, l := range []load{
		{questions: asked, outstanding: 64, length: 300 * time.Millisecond},
		{questions: asked, rate: 1000, length: 500 * time.Millisecond},
	} {
		r, err := blast(t.Context(), to, l)
		if err != nil {
			t.Fatal(err)
		}
		if r.answers < 100 || r.p99 < r.p50 || r.octets == 0 {
			t.Errorf("blast = %+v", r)
		}
		if l.rate > 0 && (r.answers > 520 || r.answers < 300) {
			t.Errorf("at 1,000 a second %d answers in half a second", r.answers)
		}
	}
	conn.Close()
	if _, err := blast(t.Context(), to, load{questions: asked, outstanding: 8, length: 100 * time.Millisecond}); err == nil {
		t.Error("blast at nobody succeeded")
	}
}

func TestCPU(t *testing.T) {
	p, err := start("busy", nil, "sh", "-c", "while :; do :; done")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	eventually := time.Now().Add(10 * time.Second)
	for p.cpu() < 50*time.Millisecond {
		if time.Now().After(eventually) {
			t.Fatalf("a busy process used %s", p.cpu())
		}
		time.Sleep(10 * time.Millisecond)
	}
	if p.memory() == 0 {
		t.Error("a process without memory")
	}
	if err := p.ready(t.Context(), 50*time.Millisecond, func() bool { return false }); err == nil {
		t.Error("never ready, and no error")
	}
	gone, err := start("gone", nil, "sh", "-c", "echo cannot bind; exit 1")
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.ready(context.Background(), 5*time.Second, func() bool { return false }); err == nil || err.Error() != "gone ended at once: cannot bind" {
		t.Errorf("a process that ends: %v", err)
	}
}

func TestReadStatistics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stat.csv")
	text := "StartTime;SuccessfulCall(P);SuccessfulCall(C);FailedCall(C);\nx;1;10;2;\nx;0;11;3;\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if succeeded, failed := readStatistics(path); succeeded != 11 || failed != 3 {
		t.Errorf("readStatistics = %d, %d, want 11, 3", succeeded, failed)
	}
	if succeeded, failed := readStatistics(path + ".none"); succeeded != 0 || failed != 0 {
		t.Errorf("of no file: %d, %d", succeeded, failed)
	}
}
