package sipproxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strings"

	"tandem/internal/tandem"
	"tandem/sipproxy/directory"
	"tandem/sipproxy/token"
	"tandem/sipproxy/wire"
)

// inDialog takes a request of a dialog: the token in the Route that we gave its sender, and nothing else,
// says where it goes. So it reaches the server that owns the dialog after a restart and after a
// change of routes, and a request without one goes nowhere.
func (w *worker) inDialog(a *ask) (*plan, *refusal) {
	p, err := token.Open(a.route.User, w.tokens, w.now, token.Dialog{CallID: a.m.CallID, FromTag: a.m.From.Tag, ToTag: a.m.To.Tag})
	if err != nil {
		w.count.badTokens.Add(1)
		w.log.Debug("in-dialog request refused", "from", a.from.remote, "err", err)
		return nil, refuse(403, "Forbidden: no valid dialog route")
	}
	a.proved = true
	if a.peer == nil {
		a.account = w.dir.AccountByHash(p.Account) // whose credentials end here
	}
	if r := w.calls.gone(a.m); r != nil {
		return nil, r
	}
	t, ok := w.pinned(a, &p)
	if !ok {
		w.bereaved(a.m, &p)
		return nil, refuse(481, "Call/Transaction Does Not Exist: its server is gone")
	}
	w.calls.passing(a.m)
	failure := 408
	if t.hop.flow {
		failure = 430
	}
	out := &plan{legs: []legPlan{{uri: a.m.URI, targets: []target{t}, failure: failure}}, typ: "dialog", strip: w.stripFor(a)}
	if a.m.Method == "BYE" {
		if over := w.calls.byeSent(w, a.m, t.hop.flow); over != nil {
			out.finish = func(m *wire.Message, reply func(*wire.Message)) {
				over(m.Status)
				reply(m)
			}
		}
	}
	return out, nil
}

// bereaved ends a call by a BYE that goes nowhere, because the node that its token names was deleted meanwhile. A
// flow that does not open proves nothing.
func (w *worker) bereaved(m *wire.Message, p *token.Payload) {
	if m.Method != "BYE" || p.Node == ([12]byte{}) {
		return
	}
	if over := w.calls.byeSent(w, m, false); over != nil {
		over(481)
	}
}

// isToken reports whether a Route's user part has the form of a token.
func isToken(user string) bool { return len(user) == token.Size }

// pinned finds the other side of the dialog: the node that the token names, or the flow beside it.
func (w *worker) pinned(a *ask, p *token.Payload) (target, bool) {
	if p.Node == ([12]byte{}) {
		h, ok := w.openFlow(&a.route, a.m.CallID)
		return target{hop: w.withinPeer(a, h)}, ok
	}
	n := w.dir.NodeByHash(directory.Hash(p.Node))
	if n == nil {
		return target{}, false
	}
	t, addr := w.addressOf(a, n)
	if !addr.IsValid() {
		return target{}, false
	}
	h := hop{transport: t, listener: p.Listener, remote: addr}
	if int(p.Listener) >= len(w.locals) || w.locals[p.Listener].port(t) == 0 {
		var ok bool
		if h, ok = w.hopTo(t, addr); !ok {
			return target{}, false
		}
	}
	return target{hop: h, node: n.ID}, true
}

// withinPeer follows what a request names, in its next Route or its Request-URI, when that is
// another place of the peer that the dialog is with: a carrier may take calls at one address and
// want what follows at another.
func (w *worker) withinPeer(a *ask, h hop) hop {
	listener := w.locals[h.listener].name
	peer := w.dir.Peer(listener, h.remote)
	if peer == nil {
		return h
	}
	h.flow = false
	u := next(a)
	addr, err := netip.ParseAddr(strings.Trim(u.Host, "[]"))
	if err != nil {
		return h
	}
	port := u.Port
	if port == 0 {
		port = 5060
	}
	if named := netip.AddrPortFrom(addr.Unmap(), port); w.dir.Peer(listener, named) == peer {
		h.remote = named
	}
	return h
}

// next is where a request of a dialog wants to go: its next Route, else its Request-URI.
func next(a *ask) wire.URI {
	if next, err := wire.ParseAddress(a.m.Get(wire.NameRoute)); err == nil {
		if r, err := wire.ParseURI(next.URI); err == nil {
			return r
		}
	}
	return a.uri
}

// addressOf chooses among a node's addresses the one that the request itself names; else the node's
// first.
func (w *worker) addressOf(a *ask, n *tandem.Node) (tandem.Transport, netip.AddrPort) {
	u := next(a)
	t := tandem.UDP
	if name, _ := u.Param("transport"); strings.EqualFold(name, "tcp") && n.Ports.TCP != 0 || n.Ports.UDP == 0 {
		t = tandem.TCP
	}
	port := n.Ports.Of(t)
	if len(n.Addresses) == 0 || port == 0 {
		return t, netip.AddrPort{}
	}
	addr := n.Addresses[0]
	if named, err := netip.ParseAddr(strings.Trim(u.Host, "[]")); err == nil {
		for _, own := range n.Addresses {
			if own == named {
				addr = own
				if u.Port != 0 {
					port = u.Port
				}
			}
		}
	}
	return t, netip.AddrPortFrom(addr, port)
}

// recordRoute puts us into the dialog's way twice (RFC 5658): the upper value is for the callee, the
// lower for the caller, each with a token for its side that says how to reach the other.
func (w *worker) recordRoute(m *wire.Message, account string, caller, callee side) error {
	p := token.Payload{Account: directory.HashOf(account), Side: token.Callee}
	forCallee, err := w.routeValue(m, p, callee.hop, caller)
	if err != nil {
		return err
	}
	p.Side = token.Caller
	forCaller, err := w.routeValue(m, p, caller.hop, callee)
	if err != nil {
		return err
	}
	m.Prepend(wire.Field(wire.NameRecordRoute, forCallee), wire.Field(wire.NameRecordRoute, forCaller))
	return nil
}

// routeValue writes the Record-Route value for the side that reaches us at holder; it leads to other.
func (w *worker) routeValue(m *wire.Message, p token.Payload, holder hop, other side) (string, error) {
	p.Listener = other.hop.listener
	if other.node != "" {
		p.Node = directory.HashOf(other.node)
	}
	var room [256]byte
	b := append(room[:0], "<sip:"...)
	b, err := token.Mint(b, w.tokens, w.now, m.CallID, m.From.Tag, p)
	if err != nil {
		return "", err
	}
	l := &w.locals[holder.listener]
	b = append(append(append(b, '@'), l.host...), ':')
	b = append(b, itoa(int(l.port(holder.transport)))...)
	if holder.transport == tandem.TCP {
		b = append(b, ";transport=tcp"...)
	}
	b = append(b, ";lr"...)
	if other.node == "" {
		b = w.appendFlow(append(b, ";fl="...), other.hop, m.CallID)
	}
	return string(append(b, '>')), nil
}

// appendFlow writes a hop as a URI parameter, sealed to one Call-ID with the key of the tokens, so
// that nobody can aim us elsewhere:
//
//	key number, transport, listener (1 octet each), address (4 or 16), port (2), MAC (8); base64url
func (w *worker) appendFlow(dst []byte, h hop, callID string) []byte {
	number, secret := w.tokens.Signing(w.now)
	var room [40]byte
	b := append(room[:0], number, byte(h.transport), h.listener)
	b = append(b, h.remote.Addr().Unmap().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, h.remote.Port())
	b = append(b, flowMAC(secret, b, callID)...)
	return base64.RawURLEncoding.AppendEncode(dst, b)
}

func (w *worker) openFlow(route *wire.URI, callID string) (hop, bool) {
	text, _ := route.Param("fl")
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != 3+4+2+8 && len(b) != 3+16+2+8 {
		return hop{}, false
	}
	head, mac := b[:len(b)-8], b[len(b)-8:]
	secret := w.tokens.Lookup(head[0], w.now)
	if secret == nil || !hmac.Equal(mac, flowMAC(secret, head, callID)) || int(head[2]) >= len(w.locals) {
		return hop{}, false
	}
	addr, _ := netip.AddrFromSlice(head[3 : len(head)-2])
	port := binary.BigEndian.Uint16(head[len(head)-2:])
	return hop{transport: tandem.Transport(head[1]), listener: head[2], remote: netip.AddrPortFrom(addr, port), flow: true}, true
}

func flowMAC(secret, head []byte, callID string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("flow\x00"))
	mac.Write(head)
	mac.Write([]byte(callID))
	return mac.Sum(nil)[:8]
}
