package sipproxy

import (
	"bufio"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// broken is a resolver with a fault.
type broken struct{}

func (broken) Targets(string) ([]tandem.Target, error) { panic("fault") }

func TestOneMessageDoesNotEndTheProcess(t *testing.T) {
	r := newRig(t)
	r.s.deps.Resolver = broken{}
	r.w.handle(event{kind: messageIn, from: pstn, data: carrierCall()}, r.now)
	if n := r.s.count.panics.Swap(0); n != 1 {
		t.Fatalf("%d panics counted, want 1", n)
	}
	r.s.deps.Resolver = r.dns
	r.find(r.deliverRaw(pstn, carrierCall(func(m *msg) { m.callID, m.branch = "c2", "z9hG4bKc2" })), "INVITE")
}

func TestTransactionTableFull(t *testing.T) {
	r := newRig(t)
	r.s.cfg.Transactions = 1
	r.deliverRaw(pstn, carrierCall())
	got := r.one(r.deliverRaw(pstn, carrierCall(func(m *msg) { m.callID, m.branch = "c2", "z9hG4bKc2" })))
	if got.m.Status != 503 || !got.m.Has(wire.NameRetryAfter) {
		t.Errorf("answered %s, want 503 with Retry-After", got.b)
	}
	if r.s.count.tableFull.Load() == 0 {
		t.Error("not counted")
	}
}

func TestWorkerQueueFull(t *testing.T) {
	r := newRig(t)
	for range r.s.cfg.Queue {
		if !r.w.offer(event{data: "x"}) {
			t.Fatal("refused with room left")
		}
	}
	if r.w.offer(event{data: "x"}) {
		t.Error("took more than its queue holds")
	}
	big := newRig(t)
	for n := 0; big.w.offer(event{data: strings.Repeat("x", 8<<20)}); n++ {
		if n > 3 {
			t.Fatal("took more octets than it may hold")
		}
	}
}

func TestCallTableFull(t *testing.T) {
	r := newRig(t)
	r.w.calls.limit = 1
	r.deliverRaw(pstn, carrierCall())
	r.find(r.deliverRaw(pstn, carrierCall(func(m *msg) { m.callID, m.branch = "c2", "z9hG4bKc2" })), "INVITE")
	if n := len(r.s.Calls(tandem.Principal{Admin: true})); n != 1 || r.s.count.callsUnseen.Load() != 1 {
		t.Errorf("%d calls listed, %d unseen, want 1 and 1", n, r.s.count.callsUnseen.Load())
	}
}

func TestEndedCallsAreARing(t *testing.T) {
	r := newRig(t)
	for i := range keptCalls + 5 {
		r.w.calls.remember(tandem.Call{ID: itoa(i), Account: "1001", Ended: r.now})
	}
	if n := len(r.s.Calls(tandem.Principal{Admin: true})); n != keptCalls {
		t.Errorf("%d ended calls kept, want %d", n, keptCalls)
	}
}

func TestMetrics(t *testing.T) {
	r := newRig(t)
	r.deliverRaw(pstn, carrierCall())
	seen := make(map[string]float64)
	r.s.Metrics(func(s tandem.Sample) {
		if _, twice := seen[s.Name]; twice || s.Help == "" || !strings.HasPrefix(s.Name, "tandem_sipproxy_") || s.Gauge == strings.HasSuffix(s.Name, "_total") {
			t.Errorf("sample %+v", s)
		}
		seen[s.Name] = s.Value
	})
	for _, name := range []string{"tandem_sipproxy_requests_total", "tandem_sipproxy_server_transactions", "tandem_sipproxy_calls"} {
		if seen[name] != 1 {
			t.Errorf("%s = %v, want 1", name, seen[name])
		}
	}
}

// A phone that registered over TCP is called over that connection, and not once it is gone.
func TestCallOverThePhonesConnection(t *testing.T) {
	l := startLive(t, nil)
	c := dialFrom(t, "127.0.0.1", l.tcp)
	src := hop{transport: tandem.TCP, remote: c.LocalAddr().(*net.TCPAddr).AddrPort()}
	in := bufio.NewReader(c)
	p := alice()
	m := aliceMsg("REGISTER")
	io.WriteString(c, m.text(src))
	p.challenged(t, letter{m: readMessage(t, in)})
	m.cseq, m.branch, m.extra = 2, "z9hG4bKsecond", p.credentials("Authorization", "REGISTER", m.uri)
	io.WriteString(c, m.text(src))
	if got := readMessage(t, in); got.Status != 200 {
		t.Fatalf("registration answered %d %s", got.Status, got.Reason)
	}
	node := l.endpoint("127.0.0.11")
	call := msg{uri: "sip:alice@acme.voice.example.net"}
	node.tell(l.udp, call.text(node.hop()))
	invite := readMessage(t, in)
	if invite.Method != "INVITE" || invite.Via.Transport != "TCP" {
		t.Errorf("over the connection came %s %s", invite.Method, invite.Via.Transport)
	}
	c.Write(invite.Response(486, "Busy Here", "tt").Append(nil))
	node.hear("SIP/2.0 486")
	c.Close()
	for l.count.streams.Load() > 0 {
		runtime.Gosched()
	}
	call.callID, call.branch = "c2", "z9hG4bKc2"
	node.tell(l.udp, call.text(node.hop()))
	node.hear("SIP/2.0 430")
}
