package rtcpxr

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lines joins lines as they go over the wire.
func lines(ls ...string) string { return strings.Join(ls, "\r\n") + "\r\n" }

// full is a report with every line of the grammar.
func full() string {
	return lines("VQSessionReport: CallTerm",
		"CallID: 7b1e-44@192.0.2.7",
		`LocalID: "Anna <Lab>" <sip:anna@acme.example>`,
		"RemoteID: <sip:+4930100@acme.example;user=phone>",
		"OrigID: <sip:anna@acme.example>",
		"LocalAddr: IP=192.0.2.7 PORT=40012 SSRC=0x1f3a9bcd",
		"RemoteAddr: IP=198.51.100.9 PORT=31000 SSRC=0x00ab12cd",
		"LocalGroup: floor-2", "RemoteGroup: none",
		"LocalMAC: 00:00:5e:00:53:01",
		"LocalMetrics:",
		"Timestamps: START=2026-11-20T08:00:00Z STOP=2026-11-20T08:02:10Z",
		"SessionDesc: PT=8 PD=PCMA SR=8000 FD=20 FO=160 FPP=1 PPS=50 PLC=3 SSUP=on",
		"JitterBuffer: JBA=3 JBR=2 JBN=40 JBM=80 JBX=120",
		"PacketLoss: NLR=1.25 JDR=0.5",
		"BurstGapLoss: BLD=0.0 BD=0 GLD=2.0 GD=500 GMIN=16",
		"Delay: RTD=200 ESD=140 OWD=110 SOWD=170 IAJ=2 MAJ=10",
		"Signal: SL=-18 NL=-50 RERL=55",
		"QualityEst: RLQ=88 RLQEstAlg=P.564 RCQ=85 EXTRI=90 MOSLQ=4.1 MOSLQEstAlg=P.564 MOSCQ=4.0 QoEEstAlg=P.564",
		"RemoteMetrics:",
		"PacketLoss: NLR=7.0 JDR=2.0",
		"Delay: RTD=198",
		"QualityEst: RLQ=60 MOSLQ=3.1 MOSCQ=3.0",
		"DialogID: 7b1e-44@192.0.2.7;to-tag=t-9;from-tag=f-3")
}

func known(v float64) Measure { return Measure{v, true} }

func TestParse(t *testing.T) {
	few := func(ls ...string) string {
		return lines(append([]string{"VQSessionReport: CallTerm", "CallID: c1"}, ls...)...)
	}
	cases := []struct {
		name, body string
		want       Report
	}{
		{"every line", full(), Report{
			Kind: Session, Final: true, CallID: "7b1e-44@192.0.2.7", LocalID: "sip:anna@acme.example",
			RemoteID: "sip:+4930100@acme.example;user=phone", ToTag: "t-9", FromTag: "f-3",
			Local: Metrics{MOSLQ: known(4.1), MOSCQ: known(4), RLQ: known(88), RCQ: known(85), NLR: known(1.25), JDR: known(0.5),
				RTD: known(200), ESD: known(140), OWD: known(110), SOWD: known(170), IAJ: known(2), MAJ: known(10)},
			Remote: Metrics{MOSLQ: known(3.1), MOSCQ: known(3), RLQ: known(60), NLR: known(7), JDR: known(2), RTD: known(198)},
		}},
		{"a session that goes on", lines("VQSessionReport", "CallID: c1"), Report{Kind: Session, CallID: "c1"}},
		{"the last interval", lines("VQIntervalReport : CallTerm", "CallID:c1"), Report{Kind: Interval, Final: true, CallID: "c1"}},
		{"an alert", lines("VQAlertReport: Type=NLR Severity=Critical Dir=local", "CallID: c1", "LocalMetrics:", "PacketLoss: NLR=12.0"),
			Report{Kind: Alert, CallID: "c1", Local: Metrics{NLR: known(12)}}},
		{"lines folded, ended by LF, names in any case", "\nvqsessionreport: callterm\ncallid : c1\nqualityest:\n moslq=3.9\n\trcq=80\n\n",
			Report{Kind: Session, Final: true, CallID: "c1", Local: Metrics{MOSLQ: known(3.9), RCQ: known(80)}}},
		{"the session's lines among the metrics, an address without brackets, an equals sign", lines("VQSessionReport:CallTerm", "LocalMetrics:",
			"PacketLoss:NLR=0.0 JDR=0.0", "CallID=c1", "LocalID: sip:a@b.example"),
			Report{Kind: Session, Final: true, CallID: "c1", LocalID: "sip:a@b.example", Local: Metrics{NLR: known(0), JDR: known(0)}}},
		{"only the dialog names the call", lines("VQIntervalReport", "DialogID: c9 ; from-tag=f ;to-tag=t;x"), Report{Kind: Interval, CallID: "c9", ToTag: "t", FromTag: "f"}},
		{"what could not be measured", few("QualityEst: RLQ=127 RCQ=127 MOSLQ=127 MOSCQ=12.7"), Report{Kind: Session, Final: true, CallID: "c1"}},
		{"127 is a time like any other", few("Delay: RTD=127"), Report{Kind: Session, Final: true, CallID: "c1", Local: Metrics{RTD: known(127)}}},
		{"unknown lines and metrics", few("X-Moon: full", "no colon at all", "QualityEst: MOSLQ=4.0 XMOS=-1e9 word"),
			Report{Kind: Session, Final: true, CallID: "c1", Local: Metrics{MOSLQ: known(4)}}},
		{"an id given twice alike", few("CallID: c1"), Report{Kind: Session, Final: true, CallID: "c1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.body)
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("Parse: %v, -want +got:\n%s", err, diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	metric := func(text string) string {
		return lines("VQSessionReport", "CallID: c1", "QualityEst: "+text)
	}
	cases := []struct{ name, body, says string }{
		{"nothing", "", "empty"},
		{"white space", " \r\n\t\r\n", "empty"},
		{"something else", "v=0\r\n", "begins"},
		{"no Call-ID", lines("VQSessionReport", "QualityEst: MOSLQ=4.0"), "no CallID"},
		{"two Call-IDs", lines("VQSessionReport", "CallID: c1", "CallID: c2"), "CallID stands twice"},
		{"a Call-ID of two words", lines("VQSessionReport", "CallID: c1 c2"), "white space"},
		{"a long Call-ID", lines("VQSessionReport", "CallID: "+strings.Repeat("c", maxText+1)), "513 octets"},
		{"a metric twice", metric("MOSLQ=4.0 MOSLQ=1.0"), "MOSLQ stands twice"},
		{"a metric twice, once unavailable", metric("MOSLQ=127 MOSLQ=1.0"), "MOSLQ stands twice"},
		{"no value", metric("MOSLQ="), "not a number"},
		{"a sign", metric("RLQ=-1"), "not a number"},
		{"an exponent", metric("RLQ=1e1"), "not a number"},
		{"infinity", metric("RLQ=Inf"), "not a number"},
		{"a point without digits", metric("MOSLQ=4."), "not a number"},
		{"a MOS off the scale", metric("MOSLQ=5.0"), "more than 4.9"},
		{"an R factor off the scale", metric("RCQ=121"), "more than 120"},
		{"a long number", metric("RLQ=0000000000001"), "not a number"},
		{"more loss than packets", lines("VQSessionReport", "CallID: c1", "PacketLoss: NLR=100.01"), "more than 100"},
		{"a long body", "VQSessionReport\r\n" + strings.Repeat("x", maxBody), "octets"},
		{"many lines", "VQSessionReport\nCallID: c\n" + strings.Repeat("\n", maxLines), "lines"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.body)
			if !errors.Is(err, ErrReport) || !strings.Contains(err.Error(), c.says) || got != (Report{}) {
				t.Errorf("Parse = %+v, %v, want nothing and %q", got, err, c.says)
			}
		})
	}
}

func TestMOS(t *testing.T) {
	cases := []struct {
		name  string
		m     Metrics
		want  float64
		known bool
	}{
		{"for listening", Metrics{MOSLQ: known(4.1), MOSCQ: known(3.0), RLQ: known(20)}, 4.1, true},
		{"for conversation", Metrics{MOSCQ: known(3), RLQ: known(20)}, 3, true},
		{"from R for listening", Metrics{RLQ: known(93), RCQ: known(50)}, 4.405, true},
		{"from R for conversation", Metrics{RCQ: known(50)}, 2.575, true},
		{"from an R of wide band", Metrics{RLQ: known(112)}, 4.5, true},
		{"from a little R", Metrics{RLQ: known(3)}, 1, true},
		{"nothing", Metrics{NLR: known(3)}, 0, false},
		{"zeros of who knows nothing", Metrics{MOSLQ: known(0), MOSCQ: known(0), RLQ: known(0), RCQ: known(0)}, 0, false},
		{"a zero beside a score", Metrics{MOSLQ: known(0), MOSCQ: known(3.5)}, 3.5, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := Report{Local: c.m, Remote: Metrics{MOSLQ: known(1.1)}}
			if got, ok := r.MOS(); math.Abs(got-c.want) > 0.01 || ok != c.known {
				t.Errorf("MOS() = %.3f, %v, want %.3f, %v", got, ok, c.want, c.known)
			}
		})
	}
}
