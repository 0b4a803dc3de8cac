package httpproxy

import (
	"sync/atomic"

	"tandem/internal/tandem"
)

// counters are what the part has done since its start.
type counters struct {
	byClass     [6]atomic.Uint64 // responses by status class; [0]: broken off without one
	misdirected atomic.Uint64
	busyAll     atomic.Uint64
	busyAccount atomic.Uint64
	noTarget    atomic.Uint64
	failovers   atomic.Uint64
	crowded     atomic.Uint64
	panics      atomic.Uint64
}

func (c *counters) count(status int) {
	class := status / 100
	if class < 0 || class >= len(c.byClass) {
		class = 0
	}
	c.byClass[class].Add(1)
}

// Metrics emits the part's readings.
func (s *Server) Metrics(emit func(tandem.Sample)) {
	c := &s.counters
	for i, class := range [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		emit(tandem.Sample{Name: "tandem_httpproxy_requests_total", Help: "Requests finished, by class of the answer.",
			Labels: map[string]string{"class": class}, Value: float64(c.byClass[i].Load())})
	}
	for bound, n := range map[string]*atomic.Uint64{"all": &c.busyAll, "account": &c.busyAccount, "connections": &c.crowded} {
		emit(tandem.Sample{Name: "tandem_httpproxy_busy_total", Help: "Requests or connections refused because a bound was reached.",
			Labels: map[string]string{"bound": bound}, Value: float64(n.Load())})
	}
	for _, x := range []struct {
		name, help string
		value      uint64
	}{
		{"tandem_httpproxy_misdirected_total", "Requests for a host that no account has (421).", c.misdirected.Load()},
		{"tandem_httpproxy_no_target_total", "Requests without an available feature server (503).", c.noTarget.Load()},
		{"tandem_httpproxy_failovers_total", "Further feature servers tried after one failed.", c.failovers.Load()},
		{"tandem_httpproxy_panics_total", "Requests ended by a programmer's mistake.", c.panics.Load()},
	} {
		emit(tandem.Sample{Name: x.name, Help: x.help, Value: float64(x.value)})
	}
	emit(tandem.Sample{Name: "tandem_httpproxy_active", Help: "Requests in progress.", Gauge: true, Value: float64(s.active.active.Load())})
	emit(tandem.Sample{Name: "tandem_httpproxy_connections", Help: "Clients' connections.", Gauge: true, Value: float64(s.connections.active.Load())})
	emit(tandem.Sample{Name: "tandem_httpproxy_hosts", Help: "Inbound names served.", Gauge: true, Value: float64(s.table.hosts.count.Load())})
}
