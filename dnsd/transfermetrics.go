package dnsd

import (
	"sync/atomic"

	"tandem/internal/tandem"
)

// transferMetrics emits what is shared with other servers. No label names a zone or a customer: there
// may be a hundred thousand of them.
func (s *Server) transferMetrics(emit func(tandem.Sample)) {
	t := &s.transfers
	count := func(name, help, label, value string, c *atomic.Uint64) {
		sample := tandem.Sample{Name: name, Help: help, Value: float64(c.Load())}
		if label != "" {
			sample.Labels = map[string]string{label: value}
		}
		emit(sample)
	}
	gauge := func(name, help, label, value string, v int) {
		sample := tandem.Sample{Name: name, Help: help, Value: float64(v), Gauge: true}
		if label != "" {
			sample.Labels = map[string]string{label: value}
		}
		emit(sample)
	}
	const out, outHelp = "tandem_dnsd_transfers_out_total", "Zones given to secondaries: whole, as differences, or the SOA alone for there was nothing newer."
	count(out, outHelp, "form", "whole", &t.whole)
	count(out, outHelp, "form", "differences", &t.differences)
	count(out, outHelp, "form", "current", &t.current)
	const failed, failedHelp = "tandem_dnsd_transfers_out_failed_total", "Transfers out that came to nothing: not allowed, too many at once, or the client went."
	count(failed, failedHelp, "reason", "refused", &t.refused)
	count(failed, failedHelp, "reason", "busy", &t.busy)
	count(failed, failedHelp, "reason", "broken", &t.broken)
	count("tandem_dnsd_transfers_out_octets_total", "Octets of messages in transfers out.", "", "", &t.octets)
	gauge("tandem_dnsd_transfers_out", "Transfers out under way.", "", "", len(s.slots))
	const notify, notifyHelp = "tandem_dnsd_notifies_out_total", "NOTIFY messages sent, and those of them refused, never answered, or left out for there were too many."
	count(notify, notifyHelp, "what", "sent", &t.notified)
	count(notify, notifyHelp, "what", "refused", &t.unheard)
	count(notify, notifyHelp, "what", "unanswered", &t.unanswered)
	count(notify, notifyHelp, "what", "dropped", &t.notifyDropped)
	octets, resets := s.writer.journal.Stats()
	gauge("tandem_dnsd_journal_octets", "Memory that differences between zones' versions take.", "", "", octets)
	emit(tandem.Sample{Name: "tandem_dnsd_journal_resets_total", Help: "Zones whose differences were given up, so that secondaries take them whole.", Value: float64(resets)})
}
