package rtcpxr

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// FuzzParse: whatever comes, a report is within its bounds or there is none; and one that is written out
// as it was read, is read the same.
func FuzzParse(f *testing.F) {
	f.Add(full())
	f.Add("VQIntervalReport\nCallID=a\nQualityEst: MOSLQ=127\n RCQ=9.50\n")
	f.Add("VQAlertReport: Type=MOSLQ Severity=Warning Dir=remote\r\nDialogID:x;to-tag=1\r\nRemoteMetrics:\r\nDelay:RTD=65535\r\n")
	f.Fuzz(func(t *testing.T, body string) {
		r, err := Parse(body)
		if err != nil {
			if !errors.Is(err, ErrReport) || r != (Report{}) {
				t.Fatalf("Parse = %+v, %v", r, err)
			}
			return
		}
		for _, text := range []string{r.CallID, r.LocalID, r.RemoteID, r.ToTag, r.FromTag} {
			if len(text) > maxText || strings.ContainsAny(text, " \t\r\n\x00") {
				t.Errorf("text %q", text)
			}
		}
		if mos, ok := r.MOS(); ok && (mos < 1 || mos > 4.9) || !ok && mos != 0 {
			t.Errorf("MOS() = %v, %v", mos, ok)
		}
		if again, err := Parse(write(r)); err != nil || again != r {
			t.Errorf("read again: %+v, %v, want %+v", again, err, r)
		}
	})
}

// write writes what Parse keeps of a report.
func write(r Report) string {
	var b strings.Builder
	b.WriteString([...]string{Session: "VQSessionReport", Interval: "VQIntervalReport", Alert: "VQAlertReport"}[r.Kind])
	if r.Final {
		b.WriteString(": CallTerm")
	}
	fmt.Fprintf(&b, "\r\nCallID: %s\r\n", r.CallID)
	for _, id := range [][2]string{{"LocalID", r.LocalID}, {"RemoteID", r.RemoteID}} {
		if id[1] != "" {
			fmt.Fprintf(&b, "%s: <%s>\r\n", id[0], id[1])
		}
	}
	for name, m := range map[string]Metrics{"LocalMetrics": r.Local, "RemoteMetrics": r.Remote} {
		fmt.Fprintf(&b, "%s:\r\nPacketLoss:%s\r\nDelay:%s\r\nQualityEst:%s\r\n", name, fields("NLR", m.NLR, "JDR", m.JDR),
			fields("RTD", m.RTD, "ESD", m.ESD, "OWD", m.OWD, "SOWD", m.SOWD, "IAJ", m.IAJ, "MAJ", m.MAJ),
			fields("RLQ", m.RLQ, "RCQ", m.RCQ, "MOSLQ", m.MOSLQ, "MOSCQ", m.MOSCQ))
	}
	fmt.Fprintf(&b, "DialogID: %s", r.CallID)
	if r.ToTag != "" {
		b.WriteString(";to-tag=" + r.ToTag)
	}
	if r.FromTag != "" {
		b.WriteString(";from-tag=" + r.FromTag)
	}
	return b.String()
}

func fields(pairs ...any) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if m := pairs[i+1].(Measure); m.Known {
			fmt.Fprintf(&b, " %s=%s", pairs[i], strconv.FormatFloat(m.Value, 'f', -1, 64))
		}
	}
	return b.String()
}
