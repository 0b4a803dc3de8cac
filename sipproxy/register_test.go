package sipproxy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// phone answers digest challenges.
type phone struct {
	user, secret string
	nonce, realm string
	nc           int
}

// credentials writes the header field for a challenge; name is Authorization or Proxy-Authorization.
func (p *phone) credentials(name, method, uri string) string {
	p.nc++
	h := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return hex.EncodeToString(sum[:])
	}
	nc := fmt.Sprintf("%08x", p.nc)
	ha1 := h(p.user + ":" + p.realm + ":" + p.secret)
	response := h(ha1 + ":" + p.nonce + ":" + nc + ":cn:auth:" + h(method+":"+uri))
	return fmt.Sprintf(`%s: Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=SHA-256, cnonce="cn", qop=auth, nc=%s`,
		name, p.user, p.realm, p.nonce, uri, response, nc)
}

// challenged takes nonce and realm from a 401 or 407.
func (p *phone) challenged(t *testing.T, l letter) {
	t.Helper()
	field := wire.NameWWWAuthenticate
	if l.m.Status == 407 {
		field = wire.NameProxyAuthenticate
	} else if l.m.Status != 401 {
		t.Fatalf("%s, want a challenge", l.start())
	}
	for _, v := range l.m.Values(field) {
		if !strings.Contains(v, "SHA-256") {
			continue
		}
		p.nonce, p.realm, p.nc = param(v, "nonce"), param(v, "realm"), 0
		return
	}
	t.Fatalf("no SHA-256 challenge in %q", l.m.Values(field))
}

func param(v, name string) string {
	_, rest, _ := strings.Cut(v, name+`="`)
	text, _, _ := strings.Cut(rest, `"`)
	return text
}

// ask sends m, answers the challenge and returns what the second attempt made.
func (r *rig) ask(src hop, p *phone, m msg) []letter {
	r.t.Helper()
	t := r.t.(*testing.T)
	if m.method == "" {
		m.method = "INVITE"
	}
	if m.uri == "" {
		m.uri = "sip:bob@acme.voice.example.net"
	}
	if m.branch == "" {
		m.branch = "z9hG4bKfirst" + m.method
	}
	m.cseq = max(m.cseq, 1)
	p.challenged(t, r.one(r.deliverRaw(src, m.text(src))))
	name := "Proxy-Authorization"
	if m.method == "REGISTER" {
		name = "Authorization"
	}
	m.branch += "again"
	m.cseq++
	m.extra = strings.TrimPrefix(m.extra+"\n"+p.credentials(name, m.method, m.uri), "\n")
	return r.deliverRaw(src, m.text(src))
}

func aliceMsg(method string) msg {
	m := msg{method: method}
	if method == "REGISTER" {
		m.uri, m.to = "sip:acme.voice.example.net", "sip:alice@acme.voice.example.net"
	}
	return m
}

func alice() *phone { return &phone{user: "alice", secret: "secret-alice"} }

// register binds a user's contact at src.
func (r *rig) register(src hop, user string, cseq int) letter {
	r.t.Helper()
	m := aliceMsg("REGISTER")
	m.from, m.to = "sip:"+user+"@acme.voice.example.net", "sip:"+user+"@acme.voice.example.net"
	m.callID, m.cseq = "reg-"+user, cseq
	m.branch = "z9hG4bKreg" + user + itoa(cseq)
	return r.one(r.ask(src, &phone{user: user, secret: "secret-" + user}, m))
}

func TestRegister(t *testing.T) {
	r := newRig(t)
	got := r.register(phoneA, "alice", 1)
	if got.m.Status != 200 {
		t.Fatalf("answered %s", got.b)
	}
	if c := got.m.Get(wire.NameContact); !strings.HasPrefix(c, "<sip:me@127.0.0.1:5062>;expires=3600") || !got.m.Has(wire.NameDate) {
		t.Errorf("200:\n%s", got.b)
	}
	bound := r.s.location.List(r.now, "1001")
	if len(bound) != 1 || bound[0].AOR != "alice" || bound[0].Source != phoneA.remote || bound[0].Edge != "e1" || bound[0].Listener != "main" || bound[0].Device != "d-alice" {
		t.Errorf("bound %+v", bound)
	}
	if len(r.mem.bindings) != 1 {
		t.Errorf("%d bindings written", len(r.mem.bindings))
	}
	// A second proxy that starts from the store knows the binding (kill -9).
	again := newRig(t)
	for _, b := range r.mem.bindings {
		again.s.location.Load(again.now, b)
	}
	invite := again.deliverRaw(node1, msg{uri: "sip:alice@acme.voice.example.net"}.text(node1))
	if out := again.find(invite, "INVITE sip:me@127.0.0.1:5062 "); out.to.remote != phoneA.remote {
		t.Errorf("sent to %v", out.to.remote)
	}
}

func TestRegisterRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*msg)
		want   int
	}{
		{"too brief", func(m *msg) { m.extra = "Expires: 10" }, 423},
		{"another device's name", func(m *msg) { m.to = "sip:bob@acme.voice.example.net" }, 403},
		{"another account's", func(m *msg) { m.to = "sip:alice@bolt.voice.example.net" }, 403},
		{"an unknown domain", func(m *msg) { m.to = "sip:alice@elsewhere.example" }, 404},
		{"star with expiry", func(m *msg) { m.extra = "Contact: *\nExpires: 60" }, 400},
		{"contact with headers outside brackets", func(m *msg) { m.extra = "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E" }, 400},
		{"Require", func(m *msg) { m.extra = "Require: nothingSupportsThis" }, 420},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			m := aliceMsg("REGISTER")
			c.change(&m)
			var got letter
			if c.want == 420 { // is refused before it is challenged
				got = r.one(r.deliverRaw(phoneA, m.text(phoneA)))
			} else {
				got = r.one(r.ask(phoneA, alice(), m))
			}
			if got.m.Status != c.want {
				t.Errorf("answered %s, want %d", got.start(), c.want)
			}
			if len(r.mem.bindings) != 0 {
				t.Error("bound all the same")
			}
		})
	}
}

func TestRegisterByExtension(t *testing.T) {
	r := newRig(t)
	m := aliceMsg("REGISTER")
	m.to = "sip:10@acme.voice.example.net"
	if got := r.one(r.ask(phoneA, alice(), m)); got.m.Status != 200 {
		t.Errorf("answered %s", got.start())
	}
	// bob's user has no extension 10.
	if got := r.one(r.ask(phoneB, &phone{user: "bob", secret: "secret-bob"}, m)); got.m.Status != 403 {
		t.Errorf("answered %s, want 403", got.start())
	}
}

func TestRegisterNotWritten(t *testing.T) {
	r := newRig(t)
	r.mem.fail = errors.New("disk full")
	if got := r.register(phoneA, "alice", 1); got.m.Status != 500 {
		t.Errorf("answered %s, want 500", got.start())
	}
	if n := len(r.s.location.List(r.now, "1001")); n != 0 {
		t.Errorf("%d bindings that would not survive", n)
	}
}

func TestCredentials(t *testing.T) {
	for _, c := range []struct {
		name string
		p    phone
		m    msg
		want int
	}{
		{"right", phone{user: "alice", secret: "secret-alice"}, msg{}, 100},
		{"wrong secret", phone{user: "alice", secret: "x"}, msg{}, 403},
		{"unknown user", phone{user: "nobody", secret: "x"}, msg{}, 403},
		{"name of A, credentials of B", phone{user: "carol", secret: "secret-carol"}, msg{}, 403},
		{"to another account", phone{user: "alice", secret: "secret-alice"}, msg{uri: "sip:carol@bolt.voice.example.net"}, 100},
		{"to an unknown domain", phone{user: "alice", secret: "secret-alice"}, msg{uri: "sip:carol@nobody.voice.example.net"}, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			got := r.ask(phoneA, &c.p, c.m)
			if len(got) == 0 || got[0].m.Status != c.want {
				t.Fatalf("made %s, want %d", starts(got), c.want)
			}
			if c.want == 100 {
				out := r.find(got, "INVITE")
				if out.m.Has(wire.NameProxyAuthorization) {
					t.Error("credentials were passed on")
				}
			} else if c.want == 403 && len(r.w.servers) != 0 {
				t.Error("a stranger left state behind")
			}
		})
	}
}

// An unknown user is challenged and refused in the same words as a known one.
func TestUnknownUserLooksLikeAKnownOne(t *testing.T) {
	shape := func(user string) string {
		r := newRig(t)
		m := msg{from: "sip:" + user + "@acme.voice.example.net"}
		first := r.one(r.deliverRaw(phoneA, m.text(phoneA)))
		second := r.one(r.ask(phoneA, &phone{user: user, secret: "wrong"}, m))
		fields := func(l letter) (s string) {
			for _, h := range l.m.Headers {
				s += h.Raw + " "
			}
			return l.start() + " " + s
		}
		return fields(first) + fields(second)
	}
	if a, b := shape("alice"), shape("nobody"); a != b {
		t.Errorf("known: %s\nunknown: %s", a, b)
	}
}

func TestNonces(t *testing.T) {
	r := newRig(t)
	p := alice()
	m := aliceMsg("MESSAGE")
	m.callID = "m1"
	if got := r.ask(phoneA, p, m); got[0].m.Method != "MESSAGE" {
		t.Fatalf("made %s", starts(got))
	}
	// The same credentials again, in another transaction: a replay.
	p.nc--
	m.branch, m.cseq, m.callID = "z9hG4bKreplay", 5, "m2"
	m.uri = "sip:bob@acme.voice.example.net"
	m.extra = p.credentials("Proxy-Authorization", "MESSAGE", m.uri)
	got := r.one(r.deliverRaw(strange, m.text(strange)))
	if got.m.Status != 407 || !strings.Contains(got.m.Get(wire.NameProxyAuthenticate), "stale=true") {
		t.Errorf("a replay made %s, want 407 with stale", got.start())
	}
	r.now = r.now.Add(time.Hour)
	m.branch = "z9hG4bKold"
	m.extra = p.credentials("Proxy-Authorization", "MESSAGE", m.uri)
	if got := r.one(r.deliverRaw(phoneA, m.text(phoneA))); got.m.Status != 407 || !strings.Contains(got.m.Get(wire.NameProxyAuthenticate), "stale=true") {
		t.Errorf("an old nonce made %s", got.start())
	}
}

func TestRoutesByTypeAndAccount(t *testing.T) {
	r := newRig(t)
	for i, typ := range []string{"invite", "message", "subscribe"} {
		addr := hop{transport: tandem.UDP, remote: netip.AddrPortFrom(node2.remote.Addr(), uint16(6000+i))}
		r.dns[typ+".1001.svc.voice.example.net"] = []tandem.Target{targetAt("n2", addr, 0)}
		m := aliceMsg(strings.ToUpper(typ))
		m.callID = typ
		if out := r.find(r.ask(phoneA, alice(), m), strings.ToUpper(typ)); out.to.remote != addr.remote {
			t.Errorf("%s went to %v, want %v", typ, out.to.remote, addr.remote)
		}
	}
	m := msg{from: "sip:carol@bolt.voice.example.net", uri: "sip:x@bolt.voice.example.net", callID: "other"}
	if out := r.find(r.ask(phoneB, &phone{user: "carol", secret: "secret-carol"}, m), "INVITE"); out.to.remote != node1.remote {
		t.Errorf("account 2002's call went to %v", out.to.remote)
	}
}

// E1: exactly 112 is an emergency call; 112 and more digits is not.
func TestEmergency(t *testing.T) {
	emergency := udpFrom("127.0.0.12:5099")
	for _, c := range []struct {
		uri, sent string
		to        netip.AddrPort
	}{
		{"sip:112@acme.voice.example.net", "urn:service:sos", emergency.remote},
		{"sip:1123@acme.voice.example.net", "sip:1123@acme.voice.example.net", node1.remote},
		{"urn:service:sos", "urn:service:sos", emergency.remote},
	} {
		t.Run(c.uri, func(t *testing.T) {
			r := newRig(t)
			r.dns["emergency.1001.svc.voice.example.net"] = []tandem.Target{targetAt("n2", emergency, 0)}
			out := r.find(r.ask(phoneA, alice(), msg{uri: c.uri}), "INVITE")
			if out.m.URI != c.sent || out.to.remote != c.to {
				t.Errorf("sent %s to %v, want %s to %v", out.m.URI, out.to.remote, c.sent, c.to)
			}
		})
	}
}

func withAccount(fn func(*tandem.Account)) func(tandem.Object) {
	return func(o tandem.Object) {
		if a, ok := o.(*tandem.Account); ok && a.ID == "1001" {
			fn(a)
		}
	}
}

func TestRemoteRegistrar(t *testing.T) {
	r := newRig(t, withAccount(func(a *tandem.Account) { a.Registrar = tandem.RegistrarRemote }))
	m := aliceMsg("REGISTER")
	out := r.one(r.ask(phoneA, alice(), m))
	if out.m.Method != "REGISTER" || out.to.remote != node1.remote || out.m.Has(wire.NameAuthorization) {
		t.Fatalf("forwarded:\n%s", out.b)
	}
	path := out.m.Get(wire.NamePath)
	if path != "<sip:path.1001.alice@127.0.0.1:5060;lr>" {
		t.Errorf("Path = %q", path)
	}
	contact := wire.Header{Name: wire.NameContact, Raw: "Contact", Value: "<sip:me@127.0.0.1:5062>;expires=120"}
	if got := r.one(r.answer(out, 200, "rt", contact)); got.m.Status != 200 || got.m.Get(wire.NameContact) != contact.Value {
		t.Errorf("answered:\n%s", got.b)
	}
	bound := r.s.location.List(r.now, "1001")
	if len(bound) != 1 || bound[0].Expires.Sub(r.now) != 120*time.Second {
		t.Errorf("kept %+v", bound)
	}
	// The registrar reaches the phone along the Path.
	got := r.deliverRaw(node1, msg{uri: "sip:me@127.0.0.1:5062", extra: "Route: " + path}.text(node1))
	if in := r.find(got, "INVITE"); in.to.remote != phoneA.remote || in.m.Has(wire.NameRoute) {
		t.Errorf("to %v:\n%s", in.to.remote, in.b)
	}
	// Nobody else does, and no other contact is reached.
	stranger := msg{uri: "sip:me@127.0.0.1:5062", extra: "Route: " + path, callID: "s", branch: "z9hG4bKs"}
	if got := r.one(r.deliverRaw(strange, stranger.text(strange))); got.m.Status < 400 {
		t.Errorf("a stranger used the Path: %s", got.start())
	}
	other := msg{uri: "sip:me@192.0.2.66:5062", extra: "Route: " + path, callID: "o", branch: "z9hG4bKo"}
	if got := r.deliverRaw(node1, other.text(node1)); statuses(got, node1) != "430" {
		t.Errorf("an unbound contact made %s", starts(got))
	}
}

func TestLocalRegistrarWithRoute(t *testing.T) {
	for _, status := range []int{200, 403} {
		r := newRig(t, withAccount(func(a *tandem.Account) { a.Routes = map[tandem.RequestType][]string{"register": {"register"}} }))
		out := r.one(r.ask(phoneA, alice(), aliceMsg("REGISTER")))
		if !out.m.Has(wire.NamePath) {
			t.Errorf("no Path in\n%s", out.b)
		}
		if n := len(r.s.location.List(r.now, "1001")); n != 0 {
			t.Errorf("%d bound before the outcome", n)
		}
		got := r.one(r.answer(out, status, "rt"))
		if got.m.Status != status {
			t.Errorf("answered %s, want the outcome %d", got.start(), status)
		}
		if n := len(r.s.location.List(r.now, "1001")); (n == 1) != (status == 200) {
			t.Errorf("%d bound after %d", n, status)
		}
	}
}

func TestDeletedDeviceIsForgotten(t *testing.T) {
	r := newRig(t)
	r.register(phoneA, "alice", 1)
	r.s.Apply([]tandem.Change{{Revision: 99, Kind: tandem.KindDevice, ID: "d-alice"}})
	if n := len(r.s.Registrations(tandem.Principal{Admin: true}, "")); n != 0 || len(r.mem.bindings) != 0 {
		t.Errorf("%d bindings, %d written, after the device was deleted", n, len(r.mem.bindings))
	}
	p := alice()
	if got := r.one(r.ask(phoneA, p, msg{callID: "x"})); got.m.Status != 403 {
		t.Errorf("a deleted device got %s", got.start())
	}
}
