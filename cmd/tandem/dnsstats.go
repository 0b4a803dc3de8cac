package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tandem/internal/control"
)

const dnsStatsHelp = `Shows what the name server has counted since its start and, as so many a second, within the last
second, 10 seconds and minute. SHARE is that of the last 10 seconds, among the lines of its group.

What never happened is left out; --all shows it, with every other reading of the name server.`

func newDNSStats(s *session) *cobra.Command {
	var form string
	var live watching
	var all bool
	cmd := &cobra.Command{
		Use: "stats", Short: "Show what the name server has counted, and how fast", Long: dnsStatsHelp,
		Example: "  tandem dns stats\n  tandem dns stats --watch\n  tandem dns stats -o json", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return live.run(cmd.Context(), s, func(s *session) error {
				stats, err := s.door().DNSStats(cmd.Context())
				if err != nil {
					return err
				}
				return s.show(form, stats, func() table { return statsTable(stats, all) })
			})
		},
	}
	outputFlag(cmd, &form, "table")
	live.flag(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "show what never happened too")
	return cmd
}

// statsGroup is a group of lines: one metric, or several without labels.
type statsGroup struct {
	title   string
	metrics []string // without tandem_dnsd_ and _total
	alone   bool     // no parts of a whole: neither sum nor shares
}

// statsGroups are the groups, in the order of the page.
func statsGroups() []statsGroup {
	return []statsGroup{
		{"queries", []string{"queries"}, false},
		{"answered by", []string{"path"}, false},
		{"types", []string{"questions"}, false},
		{"rcodes", []string{"answers"}, false},
		{"edns", []string{"edns"}, true},
		{"limited", []string{"limited"}, true},
		{"trouble", []string{
			"truncated", "dropped", "io_errors", "panics", "streams_refused", "streams_evicted", "streams_stalled", "handshakes_failed", "quic_violations",
		}, true},
		{"connections", []string{"streams"}, true},
		{"served", []string{"zones", "accounts", "labels", "health_changes"}, true},
	}
}

// statsTable lays stats out.
func statsTable(stats control.DNSStats, all bool) table {
	t := table{header: []string{"WHAT", "TOTAL", "1 S", "10 S", "60 S", "SHARE"}}
	by := make(map[string][]control.DNSSeries)
	for _, s := range stats.Series {
		name := shortName(s.Name)
		by[name] = append(by[name], s)
	}
	by["path"] = withXDP(by["path"], by["xdp_answers"])
	groups := statsGroups()
	if all {
		rest := statsGroup{title: "other", alone: true}
		for _, name := range slices.Sorted(maps.Keys(by)) {
			if !slices.ContainsFunc(groups, func(g statsGroup) bool { return slices.Contains(g.metrics, name) }) {
				rest.metrics = append(rest.metrics, name)
			}
		}
		groups = append(groups, rest)
	}
	for _, g := range groups {
		g.add(&t, by, all)
	}
	return t
}

// shortName is a metric's name without what all have in common.
func shortName(name string) string {
	return strings.TrimSuffix(strings.TrimPrefix(name, "tandem_dnsd_"), "_total")
}

// add adds the group's lines.
func (g statsGroup) add(t *table, by map[string][]control.DNSSeries, all bool) {
	var sum control.DNSSeries
	var lines []control.DNSSeries
	for _, name := range g.metrics {
		for _, s := range by[name] {
			sum = plus(sum, s, 1)
			if s.Total != 0 || all {
				lines = append(lines, s)
			}
		}
	}
	if g.alone {
		if len(lines) > 0 {
			t.add(g.title, "", "", "", "", "")
		}
	} else {
		t.add(append([]string{g.title}, rates(sum, nil)...)...)
	}
	for _, s := range lines {
		whole := &sum
		if g.alone {
			whole = nil
		}
		t.add(append([]string{"  " + g.lineName(s)}, rates(s, whole)...)...)
	}
}

// lineName names a line within its group.
func (g statsGroup) lineName(s control.DNSSeries) string {
	var parts []string
	if len(g.metrics) > 1 {
		parts = append(parts, strings.ReplaceAll(shortName(s.Name), "_", " "))
	}
	for _, label := range slices.Sorted(maps.Keys(s.Labels)) {
		parts = append(parts, s.Labels[label])
	}
	return strings.Join(parts, " ")
}

// withXDP takes what XDP answered out of the fast path's number and puts it below.
func withXDP(paths, xdp []control.DNSSeries) []control.DNSSeries {
	if len(xdp) != 1 || len(paths) == 0 {
		return paths
	}
	paths = slices.Clone(paths)
	for i := range paths {
		if paths[i].Labels["path"] == "fast" {
			paths[i] = plus(paths[i], xdp[0], -1)
		}
	}
	mine := xdp[0]
	mine.Labels = map[string]string{"path": "xdp"}
	return append(paths, mine)
}

// plus adds b, so many times, to a.
func plus(a, b control.DNSSeries, times float64) control.DNSSeries {
	a.Total += times * b.Total
	a.Last1, a.Last10, a.Last60 = plusRate(a.Last1, b.Last1, times), plusRate(a.Last10, b.Last10, times), plusRate(a.Last60, b.Last60, times)
	return a
}

func plusRate(a, b *float64, times float64) *float64 {
	if b == nil {
		return a
	}
	sum := times * *b
	if a != nil {
		sum += *a
	}
	return &sum
}

// rates are the cells of a line behind its name; whole is what it has its share of, nil for none.
func rates(s control.DNSSeries, whole *control.DNSSeries) []string {
	cells := []string{thousands(int64(s.Total)), rate(s.Last1), rate(s.Last10), rate(s.Last60), ""}
	if whole != nil && s.Last10 != nil && whole.Last10 != nil && *whole.Last10 > 0 {
		cells[4] = fmt.Sprintf("%.1f%%", 100**s.Last10 / *whole.Last10)
	}
	return cells
}

// rate is so many a second, with a decimal where that says something.
func rate(r *float64) string {
	switch {
	case r == nil:
		return ""
	case *r > 0 && *r < 9.95:
		return fmt.Sprintf("%.1f", *r)
	}
	return thousands(int64(*r + 0.5))
}
