package dnsd

import (
	"strconv"
	"sync/atomic"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// rcodes is how many are counted apart: up to BADCOOKIE.
const rcodes = 24

// counters are what one worker counts. Each worker has its own, so that they do not wait for one
// another's cache lines.
type counters struct {
	udp, tcp                atomic.Uint64 // queries received
	fast, full              atomic.Uint64 // who answered
	dropped, truncated      atomic.Uint64
	panics                  atomic.Uint64
	readErrors, writeErrors atomic.Uint64
	refusedStreams          atomic.Uint64
	rcodes                  [rcodes]atomic.Uint64
	kinds                   [kinds]atomic.Uint64
	marks                   [marks]atomic.Uint64
	_                       [64]byte
}

// Metrics hands the present readings to emit.
func (s *Server) Metrics(emit func(tandem.Sample)) {
	kernel, stats := s.accelerator.counters()
	defer s.accelerator.metrics(stats, emit)
	sum := func(pick func(*counters) *atomic.Uint64) float64 {
		total := pick(kernel).Load()
		for _, c := range s.counters {
			total += pick(c).Load()
		}
		return float64(total)
	}
	count := func(name, help, label, value string, pick func(*counters) *atomic.Uint64) {
		sample := tandem.Sample{Name: name, Help: help, Value: sum(pick)}
		if label != "" {
			sample.Labels = map[string]string{label: value}
		}
		emit(sample)
	}
	const queries, answers = "tandem_dnsd_queries_total", "tandem_dnsd_answers_total"
	count(queries, "Queries received, by transport.", "transport", "udp", func(c *counters) *atomic.Uint64 { return &c.udp })
	count(queries, "Queries received, by transport.", "transport", "tcp", func(c *counters) *atomic.Uint64 { return &c.tcp })
	for _, over := range []transport{overTLS, overQUIC} {
		emit(tandem.Sample{Name: queries, Help: "Queries received, by transport.", Labels: map[string]string{"transport": over.String()}, Value: float64(s.tcp.counts.queries[over].Load())})
	}
	for rcode := range len(counters{}.rcodes) {
		text, known := dns.RcodeToString[rcode]
		if !known {
			text = strconv.Itoa(rcode)
		}
		if pick := func(c *counters) *atomic.Uint64 { return &c.rcodes[rcode] }; rcode <= dns.RcodeRefused || sum(pick) > 0 {
			count(answers, "Answers sent, by rcode.", "rcode", text, pick)
		}
	}
	const path = "tandem_dnsd_path_total"
	count(path, "Queries by the path that answered.", "path", "fast", func(c *counters) *atomic.Uint64 { return &c.fast })
	count(path, "Queries by the path that answered.", "path", "full", func(c *counters) *atomic.Uint64 { return &c.full })
	for kind, name := range kindNames() {
		count("tandem_dnsd_questions_total", "Queries by the type that they ask for.", "type", name, func(c *counters) *atomic.Uint64 { return &c.kinds[kind] })
	}
	for mark, m := range markNames() {
		count(m.name, m.help, m.label, m.value, func(c *counters) *atomic.Uint64 { return &c.marks[mark] })
	}
	count("tandem_dnsd_truncated_total", "UDP answers sent with TC.", "", "", func(c *counters) *atomic.Uint64 { return &c.truncated })
	count("tandem_dnsd_dropped_total", "Packets that got no answer.", "", "", func(c *counters) *atomic.Uint64 { return &c.dropped })
	count("tandem_dnsd_panics_total", "Queries whose answering panicked.", "", "", func(c *counters) *atomic.Uint64 { return &c.panics })
	const failures = "tandem_dnsd_io_errors_total"
	count(failures, "Failed reads and writes.", "direction", "read", func(c *counters) *atomic.Uint64 { return &c.readErrors })
	count(failures, "Failed reads and writes.", "direction", "write", func(c *counters) *atomic.Uint64 { return &c.writeErrors })
	count("tandem_dnsd_streams_refused_total", "Connections refused for there were too many.", "", "", func(c *counters) *atomic.Uint64 { return &c.refusedStreams })
	s.tcp.metrics(emit)
	s.updateMetrics(emit)
	emit(tandem.Sample{Name: "tandem_dnsd_health_changes_total", Help: "Nodes whose part in the answers was changed by their health.", Value: float64(s.healthChanges.Load())})
	emit(tandem.Sample{Name: "tandem_dnsd_zones", Help: "Zones served.", Gauge: true, Value: float64(s.model.zones.rows.Load())})
	emit(tandem.Sample{Name: "tandem_dnsd_accounts", Help: "Accounts known.", Gauge: true, Value: float64(s.model.accounts.rows.Load())})
	emit(tandem.Sample{Name: "tandem_dnsd_labels", Help: "Inbound labels that answer.", Gauge: true, Value: float64(s.model.inbound.rows.Load())})
	s.transferMetrics(emit)
}
