package sipproxy

import (
	"strings"

	"tandem/internal/tandem"
	"tandem/sipproxy/rtcpxr"
	"tandem/sipproxy/wire"
)

// Phones report how their calls sounded by PUBLISH (RFC 6035). A report counts for the node and the record of
// the call that it names, if that call is of the account that reports; it goes no further unless the
// account names somebody who is to have it: a route or a rule for its type.

// mostVoiced bounds the reports that count of one call.
const mostVoiced = 32

// isVoiceReport reports whether a request is a phone's voice quality report.
func isVoiceReport(m *wire.Message) bool {
	if m.Method != "PUBLISH" {
		return false
	}
	event, _, _ := strings.Cut(m.Get(wire.NameEvent), ";")
	return strings.EqualFold(strings.TrimSpace(event), "vq-rtcpxr")
}

// voiceReport takes a report of a.account; it returns the answer when it ends here.
func (w *worker) voiceReport(a *ask) *refusal {
	report, err := rtcpxr.Parse(a.m.Body)
	if err != nil {
		w.count.badReports.Add(1)
		return refuse(400, "Bad Request: voice quality report: "+err.Error())
	}
	w.count.voiceReports.Add(1)
	if mos, known := report.MOS(); known {
		account, of := a.account.ID, w.workerOf(report.CallID)
		ev := event{kind: workDone, then: func() { of.voiced(account, report.CallID, mos) }}
		select {
		case of.inbox <- ev:
		default: // a report less
			w.count.queueFull.Add(1)
		}
	}
	if len(a.account.Routes[tandem.TypePublish]) > 0 || w.typeOf(a, a.account) != tandem.TypePublish {
		return nil
	}
	return refuse(200, "OK")
}

// voiced notes how a call sounded.
func (w *worker) voiced(account, callID string, mos float64) {
	t := &w.calls
	note := func(s *tandem.Call) bool {
		if s.Account != account || s.CallID != callID || s.Quality.Reports >= mostVoiced {
			return false
		}
		// The mean of all reports, the hundredths rounded.
		n := float64(s.Quality.Reports)
		s.Quality.MOS = uint16((float64(s.Quality.MOS)*n+mos*100)/(n+1) + 0.5)
		s.Quality.Reports++
		if w.deps.Observer != nil && s.Node != "" {
			w.deps.Observer.Heard(s.Node, account, mos)
		}
		return true
	}
	if c := t.ids[callID]; c != nil {
		c.change(func(s *tandem.Call) { note(s) })
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.past {
		if note(&t.past[i]) {
			w.recorder.note(t.past[i])
			return
		}
	}
}
