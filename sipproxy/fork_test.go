package sipproxy

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// bindBoth registers two phones for alice and returns the branches of a call from the core to her.
func (r *rig) callBoth() (first, second letter) {
	r.t.Helper()
	r.register(phoneA, "alice", 1)
	r.register(phoneB, "alice", 3)
	got := r.deliverRaw(node1, msg{uri: "sip:10@acme.voice.example.net", from: "sip:bob@acme.voice.example.net"}.text(node1))
	for _, l := range got {
		switch {
		case l.m.Method == "INVITE" && l.to.remote == phoneA.remote:
			first = l
		case l.m.Method == "INVITE" && l.to.remote == phoneB.remote:
			second = l
		}
	}
	if first.m == nil || second.m == nil {
		r.t.Fatalf("not both phones ring: %s", starts(got))
	}
	return first, second
}

func TestForkBestResponse(t *testing.T) {
	for _, c := range []struct {
		first, second int
		want          string
	}{
		{486, 480, "486"},
		{486, 401, "401"},
		{408, 486, "486"},
		{503, 486, "486"},
		{500, 404, "404"},
		{302, 486, "302"},
		{603, 486, "603"},
		{503, 503, "500"},
	} {
		t.Run(itoa(c.first)+" and "+itoa(c.second), func(t *testing.T) {
			r := newRig(t)
			a, b := r.callBoth()
			if s := statuses(r.answer(a, c.first, "ta"), node1); s != "" {
				t.Errorf("after the first branch: %q", s)
			}
			if s := statuses(r.answer(b, c.second, "tb"), node1); s != c.want {
				t.Errorf("upstream %q, want %s", s, c.want)
			}
		})
	}
}

func TestForkAnswerCancelsTheOther(t *testing.T) {
	r := newRig(t)
	a, b := r.callBoth()
	r.answer(a, 180, "ta")
	r.answer(b, 180, "tb")
	got := r.answer(a, 200, "ta")
	if s := statuses(got, node1); s != "200" {
		t.Errorf("upstream %q", s)
	}
	if c := r.find(got, "CANCEL"); c.to.remote != phoneB.remote {
		t.Errorf("CANCEL went to %v", c.to.remote)
	}
	// Both answered at once: the second 200 goes up too, its caller ends it.
	if s := statuses(r.answer(b, 200, "tb"), node1); s != "200" {
		t.Errorf("the second 200 gave %q", s)
	}
	r.advance(2 * time.Minute)
	r.empty()
}

func TestFork6xxEndsTheSearch(t *testing.T) {
	r := newRig(t)
	a, b := r.callBoth()
	r.answer(b, 180, "tb")
	got := r.answer(a, 603, "ta")
	if c := r.find(got, "CANCEL"); c.to.remote != phoneB.remote {
		t.Errorf("CANCEL went to %v", c.to.remote)
	}
	if s := statuses(r.answer(b, 487, "tb"), node1); s != "603" {
		t.Errorf("upstream %q, want 603", s)
	}
}

func TestForkChallengesAreAggregated(t *testing.T) {
	r := newRig(t)
	a, b := r.callBoth()
	r.answer(a, 401, "ta", wire.Field(wire.NameWWWAuthenticate, `Digest realm="a", nonce="1"`))
	got := r.answer(b, 407, "tb", wire.Field(wire.NameProxyAuthenticate, `Digest realm="b", nonce="2"`))
	for _, l := range got {
		if l.m.Status == 401 && l.m.Has(wire.NameWWWAuthenticate) && l.m.Has(wire.NameProxyAuthenticate) {
			return
		}
	}
	t.Errorf("upstream %s", starts(got))
}

func TestForkOneUnreachable(t *testing.T) {
	r := newRig(t)
	r.register(phoneA, "alice", 1)
	r.register(phoneB, "alice", 3)
	r.net.refuse[phoneA.remote] = true
	got := r.deliverRaw(node1, msg{uri: "sip:alice@acme.voice.example.net"}.text(node1))
	out := r.find(got, "INVITE")
	if out.to.remote != phoneB.remote || strings.Contains(statuses(got, node1), "430") {
		t.Errorf("made %s", starts(got))
	}
	r.net.refuse[phoneB.remote] = true
	got = r.deliverRaw(node1, msg{uri: "sip:alice@acme.voice.example.net", callID: "c2", branch: "z9hG4bKc2"}.text(node1))
	if s := statuses(got, node1); s != "100 430" {
		t.Errorf("with no flow left: %q, want 430", s)
	}
}

func TestCoreRouting(t *testing.T) {
	for _, c := range []struct {
		name, uri, from string
		status          string // of the answer, or
		to              hop    // where it goes
	}{
		{"user name", "sip:alice@acme.voice.example.net", "", "", phoneA},
		{"extension", "sip:10@acme.voice.example.net", "", "", phoneA},
		{"number of a user", "sip:+4930100@acme.voice.example.net", "", "", phoneA},
		{"number of ours at any host", "sip:+4930100@192.0.2.77", "", "", phoneA},
		{"number that is not ours", "sip:+3312345@acme.voice.example.net", "", "", node3},
		{"number of an account that rings nobody", "sip:+4930200@bolt.voice.example.net", "", "404", hop{}},
		{"no such user", "sip:zoe@acme.voice.example.net", "", "404", hop{}},
		{"not registered", "sip:bob@acme.voice.example.net", "", "480", hop{}},
		{"number not ours, caller unknown", "sip:+3312345@192.0.2.77", "sip:x@192.0.2.77", "404", hop{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.register(phoneA, "alice", 1)
			got := r.deliverRaw(node1, msg{uri: c.uri, from: c.from, callID: "core"}.text(node1))
			if c.status != "" {
				if s := statuses(got, node1); s != c.status {
					t.Errorf("answered %q, want %s", s, c.status)
				}
				return
			}
			if out := r.find(got, "INVITE"); out.to.remote != c.to.remote {
				t.Errorf("went to %v, want %v", out.to.remote, c.to.remote)
			}
		})
	}
}

// What a phone's own dialog requests do, and what the node's do, when the phone was called.
func TestDialogWithPhone(t *testing.T) {
	r := newRig(t)
	r.register(phoneA, "alice", 1)
	invite := r.find(r.deliverRaw(node1, msg{uri: "sip:alice@acme.voice.example.net"}.text(node1)), "INVITE")
	ok := r.find(r.answer(invite, 200, "tt"), "SIP/2.0 200")
	ack := msg{method: "ACK", uri: "sip:me@127.0.0.1:5062", to: "sip:alice@acme.voice.example.net", toTag: "tt", branch: "z9hG4bKack", extra: routes(ok.m, true)}
	if got := r.one(r.deliverRaw(node1, ack.text(node1))); got.to.remote != phoneA.remote {
		t.Errorf("ACK to %v", got.to.remote)
	}
	bye := msg{method: "BYE", uri: "sip:me@127.0.0.11:5060", fromTag: "tt", toTag: "ft", cseq: 2, branch: "z9hG4bKbye", extra: routes(invite.m, false)}
	if got := r.one(r.deliverRaw(phoneA, bye.text(phoneA))); got.to.remote != node1.remote {
		t.Errorf("the phone's BYE to %v", got.to.remote)
	}
}

func TestWeightedLot(t *testing.T) {
	r := newRig(t)
	first := make(map[string]int)
	targets := []tandem.Target{targetAt("n1", node1, 0), targetAt("n2", node2, 0), targetAt("n3", node3, 1)}
	targets[0].Weight, targets[1].Weight = 300, 100
	tcp := targets[1]
	tcp.Transport = tandem.TCP
	for range 4000 {
		got := order(r.w.rand, append(targets, tcp), 500)
		if len(got) != 3 || got[2].Node != "n3" {
			t.Fatalf("order = %+v", got)
		}
		for _, g := range got {
			if g.Transport != tandem.UDP {
				t.Fatalf("a short request goes over %v", g.Transport)
			}
		}
		first[got[0].Node]++
	}
	if share := float64(first["n1"]) / 4000; share < 0.71 || share > 0.79 {
		t.Errorf("n1 is first in %.2f of the lots, want 0.75", share)
	}
	for _, g := range order(r.w.rand, append(targets[1:2:2], tcp), 3000) {
		if g.Transport != tandem.TCP {
			t.Errorf("a long request goes over %v", g.Transport)
		}
	}
	if got := order(r.w.rand, []tandem.Target{{Transport: tandem.WSS, Addr: netip.MustParseAddrPort("127.0.0.1:1")}}, 1); len(got) != 0 {
		t.Errorf("a transport that we do not speak: %+v", got)
	}
}
