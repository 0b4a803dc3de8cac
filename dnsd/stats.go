package dnsd

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"tandem/internal/tandem"
)

// queriesMetric counts all queries, by transport.
const queriesMetric = "tandem_dnsd_queries_total"

// remembered is how many seconds readings are kept.
const remembered = 60

// RateSpans are the spans that Stats has rates over.
func RateSpans() [3]time.Duration {
	return [...]time.Duration{time.Second, 10 * time.Second, time.Minute}
}

// Series is one reading of Server.Metrics, and how it changed.
type Series struct {
	tandem.Sample
	Rates [3]float64 // a second, over RateSpans or since Run began; zero for gauges
}

// Stats returns what Metrics tells, with the rates of the last minute.
func (s *Server) Stats() []Series { return s.history.stats(s.Metrics) }

// history keeps the readings of the last minute. Their number is that of the series, which is fixed.
type history struct {
	mu    sync.Mutex
	index map[string]int // of a series in values
	past  []reading      // the oldest first
}

// reading is all series at one time.
type reading struct {
	at     time.Time
	values []float64 // by index; those at the end that it has not, were zero
}

// run reads once a second until ctx ends.
func (h *history) run(ctx context.Context, metrics func(func(tandem.Sample))) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		h.keep(metrics)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// keep takes a reading and forgets the oldest.
func (h *history) keep(metrics func(func(tandem.Sample))) {
	now, _ := h.read(metrics)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.past = append(h.past, now)
	if len(h.past) > remembered+1 {
		h.past = slices.Delete(h.past, 0, 1)
	}
}

// read takes a reading.
func (h *history) read(metrics func(func(tandem.Sample))) (reading, []tandem.Sample) {
	var samples []tandem.Sample
	metrics(func(s tandem.Sample) { samples = append(samples, s) })
	now := reading{at: time.Now()}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range samples {
		i := h.place(s)
		if missing := i + 1 - len(now.values); missing > 0 {
			now.values = append(now.values, make([]float64, missing)...)
		}
		now.values[i] = s.Value
	}
	return now, samples
}

// place returns the index of a series. mu is held.
func (h *history) place(s tandem.Sample) int {
	key := s.Name
	for _, label := range slices.Sorted(maps.Keys(s.Labels)) {
		key += " " + label + "=" + s.Labels[label]
	}
	i, known := h.index[key]
	if !known {
		if h.index == nil {
			h.index = make(map[string]int)
		}
		i = len(h.index)
		h.index[key] = i
	}
	return i
}

// stats returns all series as they are now.
func (h *history) stats(metrics func(func(tandem.Sample))) []Series {
	now, samples := h.read(metrics)
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Series, len(samples))
	for i, s := range samples {
		all[i] = Series{Sample: s}
		if s.Gauge {
			continue
		}
		at := h.place(s)
		for span, length := range RateSpans() {
			all[i].Rates[span] = h.since(now, length).rate(now, at)
		}
	}
	return all
}

// since returns the youngest reading that is at least so old, or the oldest. mu is held.
func (h *history) since(now reading, length time.Duration) reading {
	found := now
	for _, r := range slices.Backward(h.past) {
		if found = r; now.at.Sub(r.at) >= length {
			break
		}
	}
	return found
}

// rate returns by how much a series grew in a second between r and now.
func (r reading) rate(now reading, at int) float64 {
	var before float64
	if at < len(r.values) {
		before = r.values[at]
	}
	seconds := now.at.Sub(r.at).Seconds()
	if seconds <= 0 {
		return 0
	}
	return max(0, now.values[at]-before) / seconds
}

// rate returns by how much the series of one name grew together in a second, over a span.
func (h *history) rate(metrics func(func(tandem.Sample)), name string, span time.Duration) float64 {
	now, samples := h.read(metrics)
	h.mu.Lock()
	defer h.mu.Unlock()
	then, sum := h.since(now, span), 0.0
	for _, s := range samples {
		if s.Name == name {
			sum += then.rate(now, h.place(s))
		}
	}
	return sum
}
