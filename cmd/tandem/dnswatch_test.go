package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"tandem/internal/control"
)

// dnsStats is what a name server with XDP might have counted.
func dnsStats() control.DNSStats {
	var all control.DNSStats
	add := func(name, label, value string, total float64, rates ...float64) {
		s := control.DNSSeries{Name: "tandem_dnsd_" + name, Help: "Help.", Total: total}
		if label != "" {
			s.Labels = map[string]string{label: value}
		}
		if len(rates) == 3 {
			s.Last1, s.Last10, s.Last60 = &rates[0], &rates[1], &rates[2]
		}
		all.Series = append(all.Series, s)
	}
	add("queries_total", "transport", "udp", 12_345_678, 10_200, 10_000, 9_000)
	add("queries_total", "transport", "tcp", 120, 0, 0.1, 2)
	add("queries_total", "transport", "tls", 0, 0, 0, 0)
	add("path_total", "path", "fast", 12_000_000, 10_000, 9_000, 8_000)
	add("path_total", "path", "full", 345_678, 200, 1_000, 1_000)
	add("questions_total", "type", "NAPTR", 12_345_778, 10_200, 10_000.1, 9_002)
	add("answers_total", "rcode", "NOERROR", 12_345_000, 10_190, 9_990, 8_990)
	add("answers_total", "rcode", "NXDOMAIN", 798, 10, 10, 12)
	add("edns_total", "with", "cookie", 20, 0, 0, 0)
	add("limited_total", "what", "slipped", 0, 0, 0, 0)
	add("truncated_total", "", "", 3, 0, 0, 0.05)
	add("io_errors_total", "direction", "write", 0, 0, 0, 0)
	add("streams", "transport", "tcp", 2)
	add("zones", "", "", 4)
	add("accounts", "", "", 100_000)
	add("xdp_answers_total", "", "", 11_000_000, 9_000, 8_000, 7_000)
	add("padded_total", "", "", 5, 0, 0, 0)
	return all
}

// dnsTop is what might have been watched.
func dnsTop(_ context.Context, of control.DNSTopOf) (control.DNSTop, error) {
	top := control.DNSTop{By: of.By, Seconds: of.For.Seconds(), Queries: 1, Every: 1}
	if of.By == "rcode" {
		top.Items = []control.DNSTopItem{{Key: "NOERROR", Queries: 1}}
		return top, nil
	}
	top.Queries, top.Every, top.Missed, top.XDP = 30_000, 2, 12, 5_000
	top.Items = []control.DNSTopItem{
		{Key: strings.Repeat("a-very-long-label.", 5) + "voice.example.net.", Queries: 20_000},
		{Key: "k7.voice.example.net.", Queries: 4_000, Error: 10}, {Key: "invite.7.svc.voice.example.net.", Queries: 6, Error: 4},
	}
	top.Items = top.Items[:min(len(top.Items), of.Limit)]
	return top, nil
}

// TestDNSWatchFits: neither page is wider than a terminal of 80 columns.
func TestDNSWatchFits(t *testing.T) {
	var out bytes.Buffer
	s := &session{out: &out, columns: 80}
	for _, all := range []bool{false, true} {
		stats := statsTable(dnsStats(), all)
		stats.print(&out, 80)
	}
	for _, by := range control.DNSTopKeys() {
		top, _ := dnsTop(t.Context(), control.DNSTopOf{By: by, For: 10e9, Limit: 20})
		s.top(top)
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("%d letters: %s", n, line)
		}
	}
	if strings.Count(out.String(), "\n") < 40 {
		t.Errorf("too little:\n%s", out.String())
	}
}
