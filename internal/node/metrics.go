package node

import (
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tandem/internal/tandem"
)

// Metrics says where readings are given.
type Metrics struct {
	// Listen is the address of /metrics and, when it is a loopback one, of the profiles under
	// /debug/pprof/.
	Listen netip.AddrPort `yaml:"listen"`
}

// Validate reports a missing address.
func (m Metrics) Validate() error {
	if !m.Listen.IsValid() {
		return tandem.FieldError{Field: "listen", Reason: "is missing: an address and port such as 127.0.0.1:9153"}
	}
	return nil
}

// samples lets parts' readings be collected. It is an unchecked collector: which readings there
// are is the parts' business.
type samples struct {
	read func(emit func(tandem.Sample))
}

// Describe describes nothing, which is how a collector says that it is unchecked.
func (samples) Describe(chan<- *prometheus.Desc) {}

// Collect reads all parts.
func (s samples) Collect(out chan<- prometheus.Metric) {
	s.read(func(x tandem.Sample) {
		names := slices.Sorted(maps.Keys(x.Labels))
		values := make([]string, len(names))
		for i, name := range names {
			values[i] = x.Labels[name]
		}
		kind := prometheus.CounterValue
		if x.Gauge {
			kind = prometheus.GaugeValue
		}
		desc := prometheus.NewDesc(x.Name, x.Help, names, nil)
		metric, err := prometheus.NewConstMetric(desc, kind, x.Value, values...)
		if err != nil {
			metric = prometheus.NewInvalidMetric(desc, err)
		}
		out <- metric
	})
}

// metricsHandler serves /metrics, and, when local is true, the profiles too. A local one is asked for
// by address or as localhost only, so that no page in a browser can point a name of its own at it.
func metricsHandler(read func(emit func(tandem.Sample)), local bool, log *slog.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(samples{read}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4,
	}))
	if local {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		return askedLocally(mux)
	}
	return mux
}

func askedLocally(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
			http.Error(w, "this host is not served here", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
