package sipproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// rig is a proxy with one worker, a network in memory and a clock that a test moves. Nothing runs in
// the background: each step is done when it returns.
type rig struct {
	t    testing.TB
	s    *Server
	w    *worker
	net  *wireTap
	now  time.Time
	dns  zone
	mem  *memory
	keys int
}

// wireTap is a network that keeps what is sent.
type wireTap struct {
	sent []letter
	// refuse makes sending to an address fail at once.
	refuse map[netip.AddrPort]bool
	// tooLong makes it fail because of the message.
	tooLong map[netip.AddrPort]bool
	// loose takes what does not parse: an answer repeats what was wrong with its request.
	loose bool
}

// letter is one message on its way.
type letter struct {
	to hop
	m  *wire.Message
	b  string
}

func (n *wireTap) send(to hop, b []byte, _ int, _ uint64) error {
	if n.refuse[to.remote] {
		return syscall.ECONNREFUSED
	}
	if n.tooLong[to.remote] {
		return syscall.EMSGSIZE
	}
	m, fault := wire.Parse(string(b))
	if fault != nil && !n.loose {
		return fmt.Errorf("sent what does not parse: %v\n%s", fault, b)
	}
	n.sent = append(n.sent, letter{to, m, string(b)})
	return nil
}

// zone answers forwarding names.
type zone map[string][]tandem.Target

func (z zone) Targets(name string) ([]tandem.Target, error) {
	if ts, ok := z[name]; ok {
		return ts, nil
	}
	return nil, errors.New("no such name: " + name)
}

// memory is a store in memory, for bindings and keys.
type memory struct {
	mu       sync.Mutex
	bindings map[string]tandem.Binding
	fail     error
	// writing, when set, is called in the middle of PutBindings.
	writing func(context.Context) error
	append  func([]tandem.Edit)
}

func (m *memory) PutBindings(ctx context.Context, bs []tandem.Binding) error {
	m.mu.Lock()
	writing := m.writing
	m.mu.Unlock()
	if writing != nil {
		if err := writing(ctx); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	for _, b := range bs {
		m.bindings[b.Account+"/"+b.AOR+"/"+b.Contact] = b
	}
	return nil
}

func (m *memory) DeleteBindings(_ context.Context, bs []tandem.Binding) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range bs {
		delete(m.bindings, b.Account+"/"+b.AOR+"/"+b.Contact)
	}
	return m.fail
}

func (m *memory) Bindings(_ context.Context, fn func(tandem.Binding) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.bindings {
		if err := fn(b); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Append(_ context.Context, _ tandem.Principal, edits []tandem.Edit) (tandem.Revision, error) {
	m.append(edits)
	return 1, nil
}

// plainSeal seals nothing.
type plainSeal struct{}

func (plainSeal) Seal(b []byte, _ string) ([]byte, error)   { return b, nil }
func (plainSeal) Unseal(b []byte, _ string) ([]byte, error) { return b, nil }

// Addresses of the little world of the tests.
var (
	phoneA  = udpFrom("127.0.0.1:5062") // device of account 1001
	phoneB  = udpFrom("127.0.0.1:5064") // its second
	strange = udpFrom("127.0.0.1:6666")
	node1   = udpFrom("127.0.0.11:5060")
	node2   = udpFrom("127.0.0.12:5060")
	node3   = udpFrom("127.0.0.13:5060") // trunk gateway
	pstn    = udpFrom("127.0.0.21:5060") // carrier
)

func udpFrom(s string) hop { return hop{transport: tandem.UDP, remote: netip.MustParseAddrPort(s)} }

// world are the objects of the tests: account 1001 (alice, bob) and account 2002 (carol).
func world() []tandem.Object {
	addrs := func(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }
	algs := []tandem.DigestAlgorithm{tandem.SHA512_256, tandem.SHA256, tandem.MD5}
	device := func(id, account, user string) *tandem.Device {
		d := &tandem.Device{Account: account, Username: user, HA1: tandem.NewHA1(user, "tandem-"+account, "secret-"+user, algs)}
		d.ID = id
		if user == "alice" {
			d.User = "u-alice"
		}
		return d
	}
	node := func(id, addr string) *tandem.Node {
		return &tandem.Node{Head: tandem.Head{ID: id}, Cluster: "east", Addresses: addrs(addr), Ports: tandem.Ports{UDP: 5060, TCP: 5060}}
	}
	account := func(id, label string, numbers ...string) *tandem.Account {
		return &tandem.Account{Head: tandem.Head{ID: id}, Zone: "voice.example.net", Group: "g1", Realm: "tandem-" + id, Numbers: numbers,
			Labels: []tandem.Label{{Label: label, Role: tandem.LabelCurrent}}}
	}
	return []tandem.Object{
		&tandem.Cluster{Head: tandem.Head{ID: "east"}},
		node("n1", "127.0.0.11"), node("n2", "127.0.0.12"), node("n3", "127.0.0.13"),
		&tandem.Edge{Head: tandem.Head{ID: "e1"}, Addresses: addrs("127.0.0.1"), Ports: tandem.Ports{UDP: 5060, TCP: 5060}},
		&tandem.Zone{Head: tandem.Head{ID: "svc.voice.example.net"}, Role: tandem.RoleService},
		&tandem.Zone{Head: tandem.Head{ID: "voice.example.net"}, Role: tandem.RoleAccounts, ServiceZone: "svc.voice.example.net", Edges: []string{"e1"}},
		&tandem.Group{Head: tandem.Head{ID: "g1"}, Cluster: "east"},
		account("1001", "acme", "+4930100"), account("2002", "bolt", "+4930200"),
		&tandem.Peer{Head: tandem.Head{ID: "core"}, Role: tandem.PeerCore, Listener: "main", Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.8/29")}},
		&tandem.Peer{Head: tandem.Head{ID: "pstn"}, Role: tandem.PeerCarrier, Listener: "main", Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.21/32")},
			Rewrite: []tandem.Rewrite{{Prefix: "0", Put: "+49"}}},
		&tandem.User{Head: tandem.Head{ID: "u-alice"}, Account: "1001", Extension: "10", Numbers: []string{"+4930100"}},
		device("d-alice", "1001", "alice"), device("d-bob", "1001", "bob"), device("d-carol", "2002", "carol"),
	}
}

// newRig builds the world. change may alter objects before they are applied.
func newRig(t testing.TB, change ...func(tandem.Object)) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Date(2040, 1, 2, 12, 0, 0, 0, time.UTC), dns: zone{}, net: &wireTap{refuse: map[netip.AddrPort]bool{}}}
	r.mem = &memory{bindings: map[string]tandem.Binding{}}
	s, err := New(Config{
		Listeners: []Listener{{Name: "main", UDP: netip.MustParseAddrPort("127.0.0.1:5060"), TCP: netip.MustParseAddrPort("127.0.0.1:5060")}},
		Edge:      "e1", Workers: 1, Queue: 16, Nonces: 64,
	}, Deps{Resolver: r.dns, Bindings: r.mem, Seal: plainSeal{}, Store: r.mem}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.net = r.net
	r.s, r.w = s, s.workers[0]
	s.submit = func(j bindJob) bool {
		s.writeBinding(j)
		return true
	}
	var changes []tandem.Change
	for i, o := range world() {
		for _, fn := range change {
			fn(o)
		}
		changes = append(changes, tandem.Change{Revision: tandem.Revision(i + 1), Kind: o.Kind(), ID: o.Header().ID, Object: o})
	}
	s.Apply(changes)
	r.makeKeys()
	for _, account := range []string{"1001", "2002"} {
		for _, typ := range []string{"invite", "message", "subscribe", "register", "options", "emergency", "trunk"} {
			r.dns[typ+"."+account+".svc.voice.example.net"] = []tandem.Target{targetAt("n1", node1, 0)}
		}
	}
	r.dns["trunk.1001.svc.voice.example.net"] = []tandem.Target{targetAt("n3", node3, 0)}
	return r
}

func targetAt(node string, h hop, priority uint16) tandem.Target {
	return tandem.Target{Transport: h.transport, Addr: h.remote, Host: node + ".node.svc.voice.example.net", Node: node, Priority: priority, Weight: 100}
}

// makeKeys lets the proxy make its keys, as Run would.
func (r *rig) makeKeys() {
	r.mem.append = func(edits []tandem.Edit) {
		var changes []tandem.Change
		for _, e := range edits {
			r.keys++
			changes = append(changes, tandem.Change{Revision: tandem.Revision(1000 + r.keys), Kind: e.Kind, ID: e.ID, Object: e.Object})
		}
		r.s.Apply(changes)
	}
	for _, ring := range []interface {
		Due(time.Time) ([]tandem.Edit, error)
	}{r.s.tokens, r.s.nonces} {
		edits, err := ring.Due(r.now)
		if err != nil {
			r.t.Fatal(err)
		}
		r.mem.append(edits)
	}
}

// deliverRaw hands over a message and returns what was sent because of it.
func (r *rig) deliverRaw(from hop, text string) []letter {
	r.net.sent = nil
	r.w.handle(event{kind: messageIn, from: from, data: text}, r.now)
	for len(r.w.inbox) > 0 {
		r.w.handle(<-r.w.inbox, r.now)
	}
	if n := r.s.count.panics.Load(); n != 0 {
		r.t.Fatalf("%d panics", n)
	}
	return r.net.sent
}

// advance moves the clock, ringing each alarm at its time, and returns what was sent.
func (r *rig) advance(d time.Duration) []letter {
	r.net.sent = nil
	end := r.now.Add(d)
	for {
		at, ok := r.w.alarms.next()
		if !ok || at.After(end) {
			break
		}
		r.now = at
		r.w.tick(at)
	}
	r.now = end
	return r.net.sent
}

// one returns the only letter, or fails.
func (r *rig) one(got []letter) letter {
	r.t.Helper()
	if len(got) != 1 {
		r.t.Fatalf("%d messages sent, want 1: %s", len(got), starts(got))
	}
	return got[0]
}

// starts names letters by their first lines and destinations.
func starts(ls []letter) string {
	var out []string
	for _, l := range ls {
		out = append(out, l.start()+" → "+l.to.remote.String())
	}
	return strings.Join(out, "; ")
}

func (l letter) start() string {
	line, _, _ := strings.Cut(l.b, "\r\n")
	return line
}

// find returns the first letter whose first line begins so.
func (r *rig) find(ls []letter, start string) letter {
	r.t.Helper()
	for _, l := range ls {
		if strings.HasPrefix(l.b, start) {
			return l
		}
	}
	r.t.Fatalf("no %q among %s", start, starts(ls))
	return letter{}
}

// answer makes the response that a server would send to l.
func (r *rig) answer(l letter, status int, tag string, fields ...wire.Header) []letter {
	r.t.Helper()
	resp := l.m.Response(status, statusText(status), tag, fields...)
	for _, h := range l.m.Headers {
		if h.Name == wire.NameRecordRoute {
			resp.Headers = append(resp.Headers, h)
		}
	}
	return r.deliverRaw(l.to, string(resp.Append(nil)))
}

// statuses lists the status codes of the responses among letters to h.
func statuses(ls []letter, h hop) string {
	var out []string
	for _, l := range ls {
		if l.m.Status != 0 && l.to.remote == h.remote {
			out = append(out, itoa(l.m.Status))
		}
	}
	return strings.Join(out, " ")
}
