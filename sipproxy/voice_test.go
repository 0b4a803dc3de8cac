package sipproxy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// clinic is an Observer that keeps what it is told.
type clinic struct {
	log   []string
	beats []time.Duration // intervals told by Checking
}

func (c *clinic) SetUp(node, account string, _ time.Duration, failed, timedOut bool) {
	c.log = append(c.log, fmt.Sprintf("set-up %s %s %v %v", node, account, failed, timedOut))
}
func (c *clinic) Waiting(node string, so time.Duration) {
	c.log = append(c.log, fmt.Sprint("waiting ", node, so))
}
func (c *clinic) Broken(node, _ string) { c.log = append(c.log, "broken "+node) }
func (c *clinic) Probed(node string, _ time.Duration, answered bool) bool {
	c.log = append(c.log, fmt.Sprint("probed ", node, answered))
	return false
}
func (c *clinic) Reported(node string, load float64) {
	c.log = append(c.log, fmt.Sprint("load ", node, load))
}
func (c *clinic) Heard(node, account string, mos float64) {
	c.log = append(c.log, fmt.Sprint("heard ", node, account, mos))
}

func (c *clinic) Checking(every time.Duration) { c.beats = append(c.beats, every) }

func watchedRig(t *testing.T) (*rig, *clinic) {
	r, c := newRig(t), new(clinic)
	r.s.deps.Observer = c
	r.twoNodes()
	return r, c
}

// What calls tell of their nodes: once each, by what came first.
func TestCallsTellOfTheirNodes(t *testing.T) {
	ring := func(r *rig) letter { return r.find(r.deliverRaw(pstn, carrierCall()), "INVITE") }
	for _, tt := range []struct {
		name string
		play func(r *rig)
		want string
	}{
		{"answered", func(r *rig) {
			out := ring(r)
			r.answer(out, 100, "")
			r.answer(out, 180, "tt")
			r.answer(out, 200, "tt")
		}, "set-up n1 1001 false false"},
		{"busy is no failure", func(r *rig) { r.answer(ring(r), 486, "tt") }, "set-up n1 1001 false false"},
		{"failed, and the next one", func(r *rig) { r.answer(r.find(r.answer(ring(r), 503, "tt"), "INVITE"), 200, "tt") },
			"set-up n1 1001 true false set-up n2 1001 false false"},
		{"silent", func(r *rig) {
			ring(r)
			r.advance(r.s.cfg.FailoverAfter)
		}, "waiting n11.5s set-up n1 1001 false true"},
		{"nothing listens", func(r *rig) {
			out := ring(r)
			r.w.handle(event{kind: targetFailed, from: out.to}, r.now)
		}, "broken n1"},
		{"too long for a datagram", func(r *rig) {
			r.net.tooLong = map[netip.AddrPort]bool{node1.remote: true, node2.remote: true}
			r.deliverRaw(pstn, carrierCall())
		}, ""},
		{"a request within the dialog to where nobody listens", func(r *rig) {
			_, ok := r.setUp()
			info := fromCaller("INFO", ok)
			info.uri = "sip:b2b@127.0.0.11:9"
			r.w.handle(event{kind: targetFailed, from: r.find(r.deliverRaw(pstn, info.text(pstn)), "INFO").to}, r.now)
		}, "set-up n1 1001 false false"},
		{"a re-INVITE out of order, and one to where nobody listens", func(r *rig) {
			_, ok := r.setUp()
			re := fromCaller("INVITE", ok)
			r.answer(r.find(r.deliverRaw(pstn, re.text(pstn)), "INVITE"), 500, "tt")
			re.uri, re.branch, re.cseq = "sip:b2b@127.0.0.11:9", "z9hG4bKastray", 3
			r.deliverRaw(pstn, re.text(pstn))
			r.advance(40 * time.Second)
		}, "set-up n1 1001 false false"},
		{"100 alone tells nothing", func(r *rig) { r.answer(ring(r), 100, "") }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := watchedRig(t)
			tt.play(r)
			if got := strings.Join(c.log, " "); got != tt.want {
				t.Errorf("told %q, want %q", got, tt.want)
			}
		})
	}
}

// L7: nodes are asked by OPTIONS; 503 is as good as no answer.
func TestProbes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		load   string
		want   string
	}{
		{"well", 200, "", "probed n1true"},
		{"loaded", 200, "0.75", "probed n1true load n10.75"},
		{"load that is no number", 200, "much", "probed n1true"},
		{"knows no OPTIONS", 405, "", "probed n1true"},
		{"serves nobody", 503, "", "probed n1false"},
		{"silent", 0, "", "probed n1false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := watchedRig(t)
			r.net.sent = nil
			r.w.handle(event{kind: workDone, then: func() { r.w.probe("n1", "probe-1") }}, r.now)
			out := r.one(r.net.sent)
			if out.m.Method != "OPTIONS" || out.to.remote != node1.remote {
				t.Fatalf("asked by %s to %v", out.start(), out.to.remote)
			}
			switch {
			case tt.status == 0:
				r.advance(r.s.cfg.Probes.Timeout)
			case tt.load != "":
				r.answer(out, tt.status, "tt", wire.Header{Raw: loadHeader, Value: tt.load})
			default:
				r.answer(out, tt.status, "tt")
			}
			if got := strings.Join(c.log, " "); got != tt.want {
				t.Errorf("told %q, want %q", got, tt.want)
			}
		})
	}
}

// An answer that this side dropped, or has not come to read, is not taken for a node's silence; nor for its word.
func TestProbeLostHere(t *testing.T) {
	for _, tt := range []struct {
		name string
		busy func(r *rig)
		want string
	}{
		{"all was read", func(*rig) {}, "probed n1false"},
		{"something was dropped", func(r *rig) { r.s.count.queueFull.Add(1) }, ""},
		{"much waits to be read", func(r *rig) {
			for range cap(r.w.inbox)/4 + 1 {
				r.w.inbox <- event{kind: workDone, then: func() {}}
			}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := watchedRig(t)
			r.s.probes.nodes["n1"].asking = 1
			r.w.handle(event{kind: workDone, then: func() { r.w.probe("n1", "probe-1") }}, r.now)
			tt.busy(r)
			r.advance(r.s.cfg.Probes.Timeout)
			if got := strings.Join(c.log, " "); got != tt.want {
				t.Errorf("told %q, want %q", got, tt.want)
			}
			if n := r.s.probes.nodes["n1"].asking; n != 0 {
				t.Errorf("%d probes still asking", n)
			}
		})
	}
}

// A node is asked at the first of its addresses that can be reached from here, over what both speak.
func TestProbeGoesWhereItCan(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ports tandem.Ports
		addrs []string
		want  string
	}{
		{"its first address is of the other family", tandem.Ports{UDP: 5060}, []string{"2001:db8::11", "127.0.0.11"}, "udp 127.0.0.11:5060"},
		{"TCP only", tandem.Ports{TCP: 5070}, []string{"127.0.0.11"}, "tcp 127.0.0.11:5070"},
		{"nowhere", tandem.Ports{UDP: 5060}, []string{"2001:db8::11"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := watchedRig(t)
			n := &tandem.Node{Head: tandem.Head{ID: "n1"}, Cluster: "east", Ports: tt.ports}
			for _, a := range tt.addrs {
				n.Addresses = append(n.Addresses, netip.MustParseAddr(a))
			}
			r.s.Apply([]tandem.Change{{Revision: 900, Kind: tandem.KindNode, ID: "n1", Object: n}})
			_, to, ok := r.w.question("n1", "probe-1")
			got := ""
			if ok {
				got = to.transport.String() + " " + to.remote.String()
			}
			if got != tt.want {
				t.Errorf("asked %q, want %q", got, tt.want)
			}
		})
	}
}

// Whose turn it is: new nodes at once and thrice, those that never answer more and more rarely, those
// set out never, all four in a row after a miss.
func TestProbeTurns(t *testing.T) {
	r, _ := watchedRig(t)
	p, now := r.s.probes, time.Now()
	count := func(d time.Duration, answered bool) (n int) {
		for end := now.Add(d); now.Before(end); now = now.Add(probeTick) {
			for _, node := range p.due(now) {
				if node == "n1" {
					n++
				}
				p.asked(node, time.Millisecond, answered)
			}
		}
		return n
	}
	if n := count(300*time.Millisecond, true); n != probeStarts+1 {
		t.Errorf("%d probes of a new node, want %d", n, probeStarts+1)
	}
	if n := count(10*time.Second, true); n < 17 || n > 21 {
		t.Errorf("%d probes in 10 s, want about 20", n)
	}
	out := tandem.Change{Kind: tandem.KindNode, ID: "n1", Object: &tandem.Node{Head: tandem.Head{ID: "n1"}, State: tandem.NodeOut}}
	p.apply([]tandem.Change{out})
	if n := count(5*time.Second, true); n != 0 {
		t.Errorf("%d probes of a node that is out", n)
	}
	mute, _ := watchedRig(t)
	p = mute.s.probes
	if n := count(5*time.Minute, false); n > 25 {
		t.Errorf("%d probes in five minutes of a node that never answers", n)
	}
}

// A node that never answered is asked often while its transport says no, so that it stays down and its return is
// noticed; probes of before that time out meanwhile change nothing.
func TestProbeTurnsOfTheRefused(t *testing.T) {
	for _, tt := range []struct {
		name        string
		refuses     bool
		least, most int
	}{
		{"refused", true, 8, 11},
		{"silent", false, 0, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := watchedRig(t)
			p, now := r.s.probes, time.Now()
			x := p.nodes["n1"]
			x.burst, x.missed, x.asking, x.next = 0, 6, 3, now.Add(20*time.Second)
			if tt.refuses {
				p.refused("n1", now)
			}
			for x.asking > 0 {
				p.noted("n1", false, false)
			}
			n := 0
			for end := now.Add(5 * time.Second); now.Before(end); now = now.Add(probeTick) {
				for _, node := range p.due(now) {
					if node == "n1" {
						n++
						if tt.refuses {
							p.refused(node, now)
						}
						p.noted(node, false, false)
					}
				}
			}
			if n < tt.least || n > tt.most {
				t.Errorf("%d probes in five seconds, want %d to %d", n, tt.least, tt.most)
			}
		})
	}
}

const voiceReport = "VQSessionReport: CallTerm\r\nCallID: call-1\r\nLocalID: <sip:alice@acme.voice.example.net>\r\nRemoteID: <sip:bob@acme.voice.example.net>\r\n" +
	"OrigID: <sip:alice@acme.voice.example.net>\r\nLocalMetrics:\r\nQualityEst:MOSLQ=3.5 MOSCQ=3.4\r\n"

// RFC 6035: a phone's report counts for its own call's node and record, and for nobody else's.
func TestVoiceReports(t *testing.T) {
	for _, tt := range []struct {
		name, user, body string
		status           string
		want             string
		mos              uint16
	}{
		{"of its call", "alice", voiceReport, "200", "heard n110013.5", 350},
		{"of another call", "alice", strings.Replace(voiceReport, "call-1", "call-2", 1), "200", "", 0},
		{"unavailable", "alice", strings.Replace(voiceReport, "MOSLQ=3.5 MOSCQ=3.4", "MOSLQ=127", 1), "200", "", 0},
		{"unreadable", "alice", "VQSessionReport", "400", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := watchedRig(t)
			r.setUp()
			c.log = nil
			got := r.ask(phoneA, alice(), msg{method: "PUBLISH", uri: "sip:alice@acme.voice.example.net", callID: "pub", extra: "Event: vq-rtcpxr\nContent-Type: application/vq-rtcpxr", body: tt.body})
			if s := statuses(got, phoneA); s != tt.status || len(got) != 1 {
				t.Errorf("answered %q by %s, want %s", s, starts(got), tt.status)
			}
			if got := strings.Join(c.log, " "); got != tt.want {
				t.Errorf("told %q, want %q", got, tt.want)
			}
			if q := r.s.Calls(tandem.Principal{Admin: true})[0].Quality; q.MOS != tt.mos {
				t.Errorf("the record has %+v, want %d", q, tt.mos)
			}
		})
	}
}
