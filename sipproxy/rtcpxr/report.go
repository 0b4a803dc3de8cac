package rtcpxr

// Kind is what a report is for.
type Kind uint8

// The kinds of reports.
const (
	Session  Kind = iota + 1 // a session, or a part of it with one codec
	Interval                 // the time since the report before
	Alert                    // a threshold was crossed
)

// Report is one report as its sender, the reporter, saw its session.
type Report struct {
	Kind Kind
	// Final: the session is over, and this covers its end.
	Final bool
	// CallID is never empty; the URIs are as they were written, without brackets, and may be.
	CallID            string
	LocalID, RemoteID string
	// ToTag and FromTag are of the dialog that the session belongs to, "" when it was not named.
	ToTag, FromTag string
	// Local is what the reporter measured of what it received; Remote what the other side told it.
	Local, Remote Metrics
}

// Measure is one metric. Its zero value is one that was not reported, or could not be measured.
type Measure struct {
	Value float64
	Known bool
}

// Metrics are the metrics that were reported of one direction.
type Metrics struct {
	MOSLQ, MOSCQ Measure // 0 to 4.9
	RLQ, RCQ     Measure // R factor (ITU-T G.107), 0 to 120
	NLR, JDR     Measure // packets lost in the network, and discarded by the jitter buffer, in percent
	// In milliseconds: round trip, delay within the reporter, one way, half of both ends' round trip,
	// jitter between arrivals (RFC 3550), and mean absolute jitter (ITU-T G.1020).
	RTD, ESD, OWD, SOWD, IAJ, MAJ Measure
}

// MOS returns the mean opinion score of what the reporter heard: the one for listening, else for
// conversation, else what the R factor for listening, else for conversation, stands for. It is false when
// none was reported. A score below 1 is on no scale, and an R factor of 0 beside it is not measured
// either: devices write 0 where they know nothing.
func (r *Report) MOS() (float64, bool) {
	for _, m := range [...]Measure{r.Local.MOSLQ, r.Local.MOSCQ} {
		if m.Known && m.Value >= 1 {
			return m.Value, true
		}
	}
	for _, m := range [...]Measure{r.Local.RLQ, r.Local.RCQ} {
		if m.Known && m.Value > 0 {
			return mosOf(m.Value), true
		}
	}
	return 0, false
}

// mosOf turns an R factor into a mean opinion score (ITU-T G.107 annex B).
func mosOf(r float64) float64 {
	if r >= 100 {
		return 4.5
	}
	return max(1, 1+0.035*r+r*(r-60)*(100-r)*7e-6)
}
