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
	gauge("tandem_dnsd_journal_revision", "Revision up to which the journal in the store knows all changes to zones that are shared.", "", "", int(s.journaled.Load()))
	emit(tandem.Sample{Name: "tandem_dnsd_journal_resets_total", Help: "Zones whose differences were given up, so that secondaries take them whole.", Value: float64(resets)})
	c := s.copies
	const in, inHelp = "tandem_dnsd_transfers_in_total", "Looks at a secondary zone's primaries: it came whole, as differences, there was nothing newer, or nobody gave it."
	count(in, inHelp, "what", "whole", &c.whole)
	count(in, inHelp, "what", "differences", &c.differences)
	count(in, inHelp, "what", "current", &c.current)
	count(in, inHelp, "what", "failed", &c.failed)
	count("tandem_dnsd_notifies_in_total", "NOTIFY messages of primaries that told of a newer version.", "", "", &c.heard)
	const members, membersHelp = "tandem_dnsd_catalog_members_total", "Zones that catalogs of others added or removed here, and those that could not be."
	count(members, membersHelp, "what", "added", &s.catalogs.added)
	count(members, membersHelp, "what", "removed", &s.catalogs.removed)
	count(members, membersHelp, "what", "refused", &s.catalogs.refused)
	count("tandem_dnsd_catalogs_broken_total", "Versions of others' catalog zones that break RFC 9432.", "", "", &s.catalogs.broken)
	states := c.states()
	for _, state := range []string{"served", "absent", "expired"} {
		gauge("tandem_dnsd_secondary_zones", "Secondary zones: served, not transferred yet, or expired.", "state", state, states[state])
	}
}

// states counts the secondary zones by how they are answered.
func (c *copies) states() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := map[string]int{}
	for _, v := range c.zones {
		n[v.state()]++
	}
	return n
}

func (v *copied) state() string {
	switch {
	case v.content == nil:
		return "absent"
	case v.expired:
		return "expired"
	}
	return "served"
}
