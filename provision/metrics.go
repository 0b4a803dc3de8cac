package provision

import (
	"errors"
	"sync/atomic"

	"tandem/internal/tandem"
)

// counters are what the part has done since its start.
type counters struct {
	permits, served, panics, misdirected                             atomic.Uint64
	plain, request, blocked, unknown, used, expired, noProfile, fail atomic.Uint64
}

// refuse counts a refusal by its reason.
func (c *counters) refuse(err error) {
	for _, x := range []struct {
		reason error
		n      *atomic.Uint64
	}{
		{errPlain, &c.plain}, {errRequest, &c.request}, {errBlocked, &c.blocked}, {errUnknown, &c.unknown},
		{errUsed, &c.used}, {errExpired, &c.expired}, {errNoProfile, &c.noProfile},
	} {
		if errors.Is(err, x.reason) {
			x.n.Add(1)
			return
		}
	}
	c.fail.Add(1)
}

// Metrics emits the part's readings.
func (s *Server) Metrics(emit func(tandem.Sample)) {
	c := &s.counters
	count := func(name, help string, n *atomic.Uint64) {
		emit(tandem.Sample{Name: name, Help: help, Value: float64(n.Load())})
	}
	count("tandem_provision_permits_total", "Permits made.", &c.permits)
	count("tandem_provision_profiles_total", "Profiles given.", &c.served)
	count("tandem_provision_misdirected_total", "Requests for another host (421).", &c.misdirected)
	count("tandem_provision_panics_total", "Requests ended by a programmer's mistake.", &c.panics)
	for _, x := range []struct {
		reason string
		n      *atomic.Uint64
	}{
		{"plain", &c.plain}, {"request", &c.request}, {"blocked", &c.blocked}, {"unknown", &c.unknown},
		{"used", &c.used}, {"expired", &c.expired}, {"device", &c.noProfile}, {"failure", &c.fail},
	} {
		emit(tandem.Sample{Name: "tandem_provision_refused_total", Help: "Requests that got no profile, by reason.",
			Labels: map[string]string{"reason": x.reason}, Value: float64(x.n.Load())})
	}
	emit(tandem.Sample{Name: "tandem_provision_permits", Help: "Permits kept, used ones included until they expire.",
		Gauge: true, Value: float64(s.open.count())})
}
