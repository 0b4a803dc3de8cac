package sipproxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// restarted is a proxy that knows of r what the store does, and nothing else.
func (r *rig) restarted() *rig {
	again := newRig(r.t)
	again.s.tokens, again.w.tokens = r.s.tokens, r.s.tokens
	again.s.branches.ring = r.s.tokens
	return again
}

func TestAnswerAfterRestart(t *testing.T) {
	old := newRig(t)
	out := old.find(old.deliverRaw(pstn, carrierCall()), "INVITE")
	r := old.restarted()
	if got := r.answer(out, 180, "tt"); len(got) != 0 {
		t.Errorf("180 made %s", starts(got))
	}
	ok := r.one(r.answer(out, 200, "tt"))
	if ok.m.Status != 200 || ok.to.remote != pstn.remote || len(ok.m.Values(wire.NameVia)) != 1 {
		t.Errorf("to %v:\n%s", ok.to.remote, ok.b)
	}
	if ack := r.one(r.deliverRaw(pstn, fromCaller("ACK", ok).text(pstn))); ack.to.remote != node1.remote {
		t.Errorf("ACK to %v", ack.to.remote)
	}
	// Whoever answers names no other place in the Via below ours.
	vias := out.m.Values(wire.NameVia)
	aimed := strings.Replace(string(out.m.Response(200, "OK", "tt").Append(nil)), vias[1], "SIP/2.0/UDP 192.0.2.66:53;branch=z9hG4bKx", 1)
	if got := r.one(r.deliverRaw(node1, aimed)); got.to.remote != pstn.remote {
		t.Errorf("a 200 was led to %v", got.to.remote)
	}
	if got := newRig(t).answer(out, 200, "tt"); len(got) != 0 {
		t.Errorf("a proxy with other keys sent %s", starts(got))
	}
}

func TestCancelFromElsewhere(t *testing.T) {
	r := newRig(t)
	out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	r.answer(out, 180, "tt")
	cancel := strings.ReplaceAll(carrierCall(), "INVITE", "CANCEL")
	if got := r.one(r.deliverRaw(strange, cancel)); got.m.Status != 481 {
		t.Errorf("a stranger's CANCEL made %s", got.start())
	}
	if got := r.deliverRaw(pstn, cancel); len(got) != 2 || r.find(got, "CANCEL").to.remote != node1.remote {
		t.Errorf("the caller's CANCEL made %s", starts(got))
	}
}

func TestResponseToAnotherMethod(t *testing.T) {
	r := newRig(t)
	out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	text := strings.Replace(string(out.m.Response(200, "OK", "tt").Append(nil)), "CSeq: 1 INVITE", "CSeq: 1 BYE", 1)
	if got := r.deliverRaw(node1, text); len(got) != 0 || r.s.count.forged.Load() != 1 {
		t.Errorf("made %s", starts(got))
	}
}

func TestAnswerAfterTimeout(t *testing.T) {
	r := newRig(t)
	out := r.find(r.deliverRaw(pstn, carrierCall()), "INVITE")
	if s := statuses(r.advance(33*time.Second), pstn); !strings.HasPrefix(s, "408") {
		t.Fatalf("upstream %q, want 408", s)
	}
	if s := statuses(r.answer(out, 200, "tt"), pstn); s != "200" {
		t.Errorf("200 after 408 gave %q, want it upstream", s)
	}
	if s := statuses(r.answer(out, 486, "tt"), pstn); s != "" {
		t.Errorf("486 after 408 gave %q", s)
	}
}

func TestNoTargetReached(t *testing.T) {
	r := newRig(t)
	r.twoNodes()
	r.net.refuse[node1.remote], r.net.refuse[node2.remote] = true, true
	got := r.find(r.deliverRaw(pstn, carrierCall()), "SIP/2.0 503")
	if got.m.Get(wire.NameRetryAfter) == "" {
		t.Errorf("no Retry-After:\n%s", got.b)
	}
}

// A REGISTER that is being written when its device goes must not leave anything bound.
func TestDeviceGoesWhileItRegisters(t *testing.T) {
	renamed := &tandem.Device{Account: "1001", Username: "eve"}
	renamed.ID = "d-alice"
	for name, o := range map[string]tandem.Object{"deleted": nil, "renamed": renamed} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			applied := make(chan struct{})
			r.mem.writing = func(context.Context) error {
				if o == nil || r.s.dir.DeviceByID("d-alice").Username == "alice" {
					go func() {
						defer close(applied)
						r.s.Apply([]tandem.Change{{Revision: 99, Kind: tandem.KindDevice, ID: "d-alice", Object: o}})
					}()
				}
				for d := r.s.dir.DeviceByID("d-alice"); d != nil && d.Username == "alice"; d = r.s.dir.DeviceByID("d-alice") {
					time.Sleep(time.Millisecond)
				}
				return nil
			}
			r.register(phoneA, "alice", 1)
			<-applied
			if n := r.s.location.Len(); n != 0 || len(r.mem.bindings) != 0 {
				t.Errorf("%d bound, %d written", n, len(r.mem.bindings))
			}
		})
	}
	r := newRig(t)
	submit := r.s.submit
	r.s.submit = func(j bindJob) bool {
		r.s.Apply([]tandem.Change{{Revision: 99, Kind: tandem.KindDevice, ID: "d-alice"}})
		return submit(j)
	}
	if got := r.register(phoneA, "alice", 1); got.m.Status != 403 || r.s.location.Len() != 0 {
		t.Errorf("deleted before it was written: %s", got.start())
	}
}

func TestNoWriterHasRoom(t *testing.T) {
	r := newRig(t)
	r.s.submit = func(bindJob) bool { return false }
	if got := r.register(phoneA, "alice", 1); got.m.Status != 503 || !got.m.Has(wire.NameRetryAfter) {
		t.Errorf("answered %s, want 503 with Retry-After", got.b)
	}
	if r.s.count.persistErrors.Load() != 1 {
		t.Error("not counted")
	}
}

// A store that stalls holds up registrations, no calls.
func TestStoreStalls(t *testing.T) {
	l := startLive(t, func(c *Config) { c.Workers = 1 })
	l.mem.mu.Lock()
	l.mem.writing = func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	l.mem.mu.Unlock()
	phone, node := l.endpoint("127.0.0.1"), l.endpoint("127.0.0.11")
	l.invitesTo(targetAt("n1", node.hop(), 0))
	m := aliceMsg("REGISTER")
	m.branch = "z9hG4bKr1"
	phone.tell(l.udp, m.text(phone.hop()))
	p := alice()
	p.challenged(t, letter{m: phone.hear("SIP/2.0 401")})
	m.branch, m.cseq, m.extra = "z9hG4bKr2", 2, p.credentials("Authorization", "REGISTER", m.uri)
	asked := time.Now()
	phone.tell(l.udp, m.text(phone.hop()))

	carrier := l.endpoint("127.0.0.21")
	call := msg{uri: "sip:030100@127.0.0.1", from: "sip:+33123@pstn.example.org", callID: "meanwhile"}
	carrier.tell(l.udp, strings.ReplaceAll(call.text(carrier.hop()), pstn.remote.String(), carrier.hop().remote.String()))
	node.hear("INVITE")
	if d := time.Since(asked); d > storePatience/2 {
		t.Errorf("the call waited %v for the store", d)
	}
	got := phone.hear("SIP/2.0 503")
	if !got.Has(wire.NameRetryAfter) || time.Since(asked) > 2*storePatience {
		t.Errorf("after %v: %s", time.Since(asked), got.Append(nil))
	}
	if l.location.Len() != 0 {
		t.Error("bound without being written")
	}
}

func TestFromIsTheDevicesOwn(t *testing.T) {
	for from, ok := range map[string]bool{
		"sip:alice@acme.voice.example.net":            true,
		"sip:10@acme.voice.example.net":               true,
		"sip:+4930100@acme.voice.example.net":         true,
		"sip:anonymous@acme.voice.example.net":        true,
		"sip:bob@acme.voice.example.net":              false,
		"sip:11@acme.voice.example.net":               false,
		"sip:+4930200@acme.voice.example.net":         false,
		"sip:acme.voice.example.net":                  false,
		"sip:al%69ce@acme.voice.example.net":          true,
		"sip:alice%00@acme.voice.example.net":         false,
		"sip:+4930100;x=y@acme.voice.example.net":     true,
		"sip:alice@acme.voice.example.net;user=phone": true,
	} {
		r := newRig(t)
		got := r.ask(phoneA, alice(), msg{from: from,
			extra: "P-Asserted-Identity: <sip:+4930200@bolt.voice.example.net>\nremote-party-id: <sip:+4930200@bolt.voice.example.net>"})
		if ok == (statuses(got, phoneA) == "403") {
			t.Errorf("%s: made %s", from, starts(got))
		}
		if ok && strings.Contains(r.find(got, "INVITE").b, "bolt") {
			t.Errorf("%s: an identity that it asserts went on", from)
		}
	}
}

func TestUsernameWithHost(t *testing.T) {
	r := newRig(t)
	p := &phone{user: "alice@acme.voice.example.net", secret: "secret-alice"}
	if got := r.one(r.ask(phoneA, p, aliceMsg("REGISTER"))); got.m.Status != 403 || r.s.count.hostInUsername.Load() != 1 {
		t.Errorf("%s, counted %d", got.start(), r.s.count.hostInUsername.Load())
	}
}

// The carrier's Contact may name another address of the carrier's; nobody else's.
func TestCarrierDialogMovesWithinThePeer(t *testing.T) {
	r := newRig(t, func(o tandem.Object) {
		if p, ok := o.(*tandem.Peer); ok && p.Role == tandem.PeerCarrier {
			p.Networks = append(p.Networks, netip.MustParsePrefix("127.0.0.22/32"))
		}
	})
	invite, _ := r.setUp()
	for uri, want := range map[string]string{
		"sip:me@127.0.0.22:5070": "127.0.0.22:5070",
		"sip:me@127.0.0.22":      "127.0.0.22:5060",
		"sip:me@127.0.0.99:5070": "127.0.0.21:5060",
		"sip:me@127.0.0.11:5070": "127.0.0.21:5060",
		"sip:me@host.example":    "127.0.0.21:5060",
	} {
		m := fromCallee("INFO", invite)
		m.uri, m.branch = uri, "z9hG4bK"+strings.NewReplacer(":", "-", "@", "-").Replace(uri)
		if got := r.one(r.deliverRaw(node1, m.text(node1))); got.to.remote.String() != want || got.m.URI != uri {
			t.Errorf("%s: %s to %v, want %s", uri, got.start(), got.to.remote, want)
		}
	}
}

func TestCallWithoutTag(t *testing.T) {
	r := newRig(t)
	for _, text := range []string{
		strings.Replace(carrierCall(), ";tag=ft", "", 1),
		carrierCall(func(m *msg) { m.callID = strings.Repeat("x", 2000) }),
	} {
		if s := statuses(r.deliverRaw(pstn, text), pstn); s != "100 400" {
			t.Errorf("answered %q, want 400", s)
		}
		r.advance(time.Minute)
	}
}

func TestSIPSIsNotForwarded(t *testing.T) {
	r := newRig(t)
	if got := r.one(r.deliverRaw(phoneA, msg{uri: "sips:bob@acme.voice.example.net"}.text(phoneA))); got.m.Status != 416 {
		t.Errorf("%s, want 416", got.start())
	}
}

// What comes over TCP from somebody unproved leaves no transaction: a few connections could else fill
// the table for all.
func TestStreamProvesNobody(t *testing.T) {
	r := newRig(t)
	tcp := strange
	tcp.transport, tcp.conn = tandem.TCP, 7
	if got := r.one(r.deliverRaw(tcp, msg{}.text(tcp))); got.m.Status != 407 || got.to.conn != 7 {
		t.Errorf("answered %s", got.start())
	}
	r.empty()
}

func TestRemoteRegistrarGrantsLittle(t *testing.T) {
	r := newRig(t, withAccount(func(a *tandem.Account) { a.Registrar = tandem.RegistrarRemote }))
	out := r.one(r.ask(phoneA, alice(), aliceMsg("REGISTER")))
	r.answer(out, 200, "rt", wire.Header{Name: wire.NameContact, Raw: "Contact", Value: "<sip:me@127.0.0.1:5062>;expires=30"})
	bound := r.s.location.List(r.now, "1001")
	if len(bound) != 1 || bound[0].Expires.Sub(r.now) != 30*time.Second {
		t.Errorf("kept %+v", bound)
	}
}

// Credentials for us do not go on within a dialog either.
func TestCredentialsEndHere(t *testing.T) {
	r := newRig(t)
	invite := r.find(r.ask(phoneA, alice(), msg{}), "INVITE")
	if invite.m.Has(wire.NameProxyAuthorization) {
		t.Errorf("INVITE with credentials:\n%s", invite.b)
	}
	ok := r.find(r.answer(invite, 200, "tt"), "SIP/2.0 200")
	bye := msg{method: "BYE", uri: "sip:b2b@127.0.0.11:5060", to: "sip:bob@acme.voice.example.net", toTag: "tt", cseq: 3, branch: "z9hG4bKbye",
		extra: routes(ok.m, true) + "\nProxy-Authorization: Digest username=\"alice\", realm=\"tandem-1001\"\nProxy-Authorization: Digest realm=\"node\""}
	got := r.one(r.deliverRaw(phoneA, bye.text(phoneA)))
	if left := got.m.Values(wire.NameProxyAuthorization); len(left) != 1 || !strings.Contains(left[0], "node") {
		t.Errorf("BYE with %q", left)
	}
}

// Octets now and then keep no message and no connection open.
func TestTricklingSender(t *testing.T) {
	l := startLive(t, func(c *Config) { c.Streams = Streams{IdleTimeout: time.Second, ReadTimeout: 100 * time.Millisecond} })
	c := dialFrom(t, "127.0.0.1", l.tcp)
	start := time.Now()
	for i := 0; i < 100; i++ {
		if _, err := io.WriteString(c, "O"); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("a message could take %v", d)
	}
}

// An answer whose connection is gone goes over another one, to where the Via wants it.
func TestAnswerOverAnotherConnection(t *testing.T) {
	l := startLive(t, nil)
	node := l.endpoint("127.0.0.11")
	l.invitesTo(targetAt("n1", node.hop(), 0))
	home, err := net.Listen("tcp", "127.0.0.21:0")
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	c := dialFrom(t, "127.0.0.21", l.tcp)
	src := hop{transport: tandem.TCP, remote: netip.MustParseAddrPort(home.Addr().String())}
	call := msg{uri: "sip:030100@127.0.0.1", from: "sip:+33123@pstn.example.org", callID: "moved"}
	io.WriteString(c, call.text(src))
	invite := node.hear("INVITE")
	c.Close()
	for deadline := time.Now().Add(5 * time.Second); l.count.streams.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the connection does not end")
		}
	}
	node.tell(l.udp, string(invite.Response(200, "OK", "tt").Append(nil)))
	home.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	again, err := home.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if m := readMessage(t, bufio.NewReader(again)); m.Status != 200 {
		t.Errorf("over the new connection: %s", m.Append(nil))
	}
}

func TestStreamBacklog(t *testing.T) {
	l := startLive(t, nil)
	c := dialFrom(t, "127.0.0.1", l.tcp)
	io.WriteString(c, "\r\n\r\n")
	io.ReadFull(c, make([]byte, 2))
	to := hop{transport: tandem.TCP, remote: netip.MustParseAddrPort(c.LocalAddr().String()), flow: true}
	sent := 0
	for range 10_000 {
		if l.sockets.send(to, make([]byte, 60<<10), 0, 0) != nil {
			break
		}
		sent++
	}
	if sent == 10_000 {
		t.Error("whoever does not read is sent everything")
	}
	c.Close()
	for deadline := time.Now().Add(5 * time.Second); l.sockets.flows.waiting.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d octets count as waiting after the connection's end", l.sockets.flows.waiting.Load())
		}
	}
}
