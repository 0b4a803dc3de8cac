package lab

import (
	"context"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/tandem"
)

// marker is the header field by which a node knows a call that a node has had before: the proxy
// sends such a call to a node again only as one for the world outside (type trunk).
const marker = "X-Lab-Node"

// leg is one dialog of a node. Its peer is the other half of a bridged call, nil when the call
// ends at the node.
type leg struct {
	d     *dialog
	peer  *leg
	acked chan *sip.Request // the ACK to our 2xx
}

func newLeg(d *dialog) *leg { return &leg{d: d, acked: make(chan *sip.Request, 1)} }

// arrival is an INVITE that is being answered.
type arrival struct {
	req *sip.Request
	tx  sip.ServerTransaction
	tag string  // ours, for a new dialog
	own sip.Uri // our Contact
}

// respond answers the INVITE with code, and with what like, a response of the other half, brings.
func (in arrival) respond(code int, reason string, like *sip.Response) *sip.Response {
	res := respond(in.req, in.tag, code, reason)
	res.AppendHeader(&sip.ContactHeader{Address: in.own})
	setBody(res, like.Body(), contentType(like))
	return res
}

// takeInvite answers a new call: emergency calls and calls that a node has had before end here,
// as at a gateway; all others go back to the proxy, which knows where the called party is.
func (n *Node) takeInvite(ctx context.Context, req *sip.Request, tx sip.ServerTransaction) {
	tag := sip.GenerateTagN(10)
	switch {
	case n.Dialogs() >= legsMost:
		tx.Respond(respond(req, tag, 503, ""))
	case req.GetHeader(marker) != nil, req.Recipient.Scheme == "urn":
		n.answerSelf(ctx, req, tx, tag, respond(req, tag, 200, ""))
	default:
		n.bridge(ctx, req, tx, tag)
	}
}

// answerSelf answers a call that ends at the node with res, a 2xx.
func (n *Node) answerSelf(ctx context.Context, req *sip.Request, tx sip.ServerTransaction, tag string, res *sip.Response) {
	known := n.leg(keyOf(req))
	l := known
	if l == nil {
		l = newLeg(newCalled(req, tag, n.contact(req)))
		n.keep(l)
	}
	res.AppendHeader(&sip.ContactHeader{Address: l.d.own})
	setBody(res, sdp(n.end.addr.Addr().String()), sdpType)
	if _, err := accept(ctx, tx, res, l.acked); err != nil && known == nil {
		n.forget(l)
	}
}

// bridge makes a second call to the same Request-URI through the proxy and ties the two together.
func (n *Node) bridge(ctx context.Context, req *sip.Request, tx sip.ServerTransaction, tag string) {
	if h := req.MaxForwards(); h != nil && h.Val() <= 1 {
		tx.Respond(respond(req, tag, 483, "Too Many Hops"))
		return
	}
	in := arrival{req, tx, tag, n.contact(req)}
	to := n.backTo(req)
	out := n.onward(req, to.Transport)
	o, res := n.follow(ctx, in, out, to)
	if res == nil || !res.IsSuccess() {
		tx.Respond(relayed(req, tag, res))
		return
	}
	a, b := newLeg(newCalled(req, tag, in.own)), newLeg(newCaller(out, res))
	a.peer, b.peer = b, a
	n.keep(a)
	n.keep(b)
	n.join(ctx, in, a, o, res)
}

// onward copies what a call brought into the request that carries it on.
func (n *Node) onward(req *sip.Request, transport tandem.Transport) *sip.Request {
	out := newRequest(req.Method, *req.Recipient.Clone(), *req.From().Address.Clone(), *req.To().Address.Clone())
	hops := sip.MaxForwardsHeader(69)
	if h := req.MaxForwards(); h != nil {
		hops = sip.MaxForwardsHeader(h.Val() - 1)
	}
	out.ReplaceHeader(&hops)
	if req.From().DisplayName != "" {
		out.From().DisplayName = req.From().DisplayName
	}
	for _, name := range []string{"P-Asserted-Identity", "Privacy", "Geolocation", "Geolocation-Routing", "Session-ID", "Tandem-Call", "Subject"} {
		for _, h := range req.GetHeaders(name) {
			out.AppendHeader(sip.HeaderClone(h))
		}
	}
	out.AppendHeader(sip.NewHeader(marker, n.cfg.ID))
	if req.Method == sip.INVITE {
		out.AppendHeader(&sip.ContactHeader{Address: n.end.contact(n.cfg.ID, transport)})
	}
	setBody(out, req.Body(), contentType(req))
	return out
}

// follow sends out and relays what comes back before the final response, which it returns, nil when
// none comes; the caller's CANCEL is passed on.
func (n *Node) follow(ctx context.Context, in arrival, out *sip.Request, to tandem.Target) (*outgoing, *sip.Response) {
	calling, cancel := context.WithCancel(ctx)
	defer cancel()
	if !in.tx.OnCancel(func(*sip.Request) { cancel() }) {
		return nil, nil
	}
	o, err := n.end.invite(calling, out, to)
	if err != nil {
		n.log.Debug("call not sent on", "to", to.Addr, "err", err)
		return nil, respond(in.req, in.tag, 503, "")
	}
	res, err := o.final(calling, func(res *sip.Response) {
		in.tx.Respond(in.respond(res.StatusCode, res.Reason, res))
	})
	if err != nil {
		n.log.Debug("call sent on without a final response", "to", to.Addr, "err", err)
		return o, nil
	}
	return o, res
}

// join answers the caller of a with the 2xx of its other half and carries the ACK across; when the
// caller never acknowledges, both calls are ended.
func (n *Node) join(ctx context.Context, in arrival, a *leg, o *outgoing, res *sip.Response) {
	ack, err := accept(ctx, in.tx, in.respond(res.StatusCode, res.Reason, res), a.acked)
	var body []byte
	kind := ""
	if err == nil {
		body, kind = ack.Body(), contentType(ack)
	}
	if err := o.ack(ctx, a.peer.d, n.find, body, kind); err != nil {
		n.log.Debug("ACK not sent on", "err", err)
	}
	if err == nil {
		return
	}
	n.log.Debug("caller never acknowledged", "call", a.d.callID, "err", err)
	for _, l := range []*leg{a, a.peer} {
		n.forget(l)
		n.end.ask(ctx, l.d.request(sip.BYE, nil, ""), n.hop(ctx, l.d))
	}
}

// relayed is a response of the other half, without its body, as an answer to req; none at all is a
// timeout.
func relayed(req *sip.Request, tag string, res *sip.Response) *sip.Response {
	if res == nil {
		return respond(req, tag, 504, "")
	}
	out := respond(req, tag, res.StatusCode, res.Reason)
	for _, name := range []string{"Retry-After", "Reason", "Warning"} {
		for _, h := range res.GetHeaders(name) {
			out.AppendHeader(sip.HeaderClone(h))
		}
	}
	return out
}

// takeAck hands the ACK to whoever repeats the 2xx that it acknowledges.
func (n *Node) takeAck(req *sip.Request) {
	if l := n.leg(keyOf(req)); l != nil {
		select {
		case l.acked <- req:
		default:
		}
	}
}

// takeInDialog carries a request within a call over to the other half.
func (n *Node) takeInDialog(ctx context.Context, req *sip.Request, tx sip.ServerTransaction) {
	l := n.leg(keyOf(req))
	switch {
	case req.Method == sip.SUBSCRIBE:
		tx.Respond(respond(req, "", 200, ""))
	case l == nil:
		tx.Respond(respond(req, "", 481, ""))
	case req.Method == sip.BYE:
		n.takeBye(ctx, req, tx, l)
	case req.Method == sip.INVITE:
		n.takeReinvite(ctx, req, tx, l)
	case l.peer == nil:
		tx.Respond(respond(req, "", 200, ""))
	default:
		out := l.peer.d.request(req.Method, req.Body(), contentType(req))
		res, err := n.end.ask(ctx, out, n.hop(ctx, l.peer.d))
		if err != nil {
			res = nil
		}
		tx.Respond(relayed(req, "", res))
	}
}

func (n *Node) takeBye(ctx context.Context, req *sip.Request, tx sip.ServerTransaction, l *leg) {
	tx.Respond(respond(req, "", 200, ""))
	n.forget(l)
	if l.peer == nil {
		return
	}
	n.forget(l.peer)
	bye := l.peer.d.request(sip.BYE, nil, "")
	for _, h := range req.GetHeaders("Reason") {
		bye.AppendHeader(sip.HeaderClone(h))
	}
	n.end.ask(ctx, bye, n.hop(ctx, l.peer.d))
}

// takeReinvite carries a change of the session over to the other half (RFC 3261 section 14).
func (n *Node) takeReinvite(ctx context.Context, req *sip.Request, tx sip.ServerTransaction, l *leg) {
	l.d.refresh(req.Contact())
	l.drain()
	if l.peer == nil {
		n.answerSelf(ctx, req, tx, "", respond(req, "", 200, ""))
		return
	}
	b := l.peer
	out := b.d.request(sip.INVITE, req.Body(), contentType(req))
	in := arrival{req, tx, "", l.d.own}
	o, res := n.follow(ctx, in, out, n.hop(ctx, b.d))
	if res == nil || !res.IsSuccess() {
		tx.Respond(relayed(req, "", res))
		return
	}
	b.d.refresh(res.Contact())
	n.join(ctx, in, l, o, res)
}

// drain forgets an ACK that came twice, so that it is not taken for the next one.
func (l *leg) drain() {
	select {
	case <-l.acked:
	default:
	}
}

func (n *Node) leg(k key) *leg {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.legs[k]
}

func (n *Node) keep(l *leg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.legs[l.d.key()] = l
}

func (n *Node) forget(l *leg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.legs, l.d.key())
}

// contact is the node's own URI for the dialog that req opens, in the transport req came by.
func (n *Node) contact(req *sip.Request) sip.Uri {
	return n.end.contact(n.cfg.ID, transportOf(req))
}

// backTo is where the requests go that req causes.
func (n *Node) backTo(req *sip.Request) tandem.Target {
	if n.cfg.Proxy.IsValid() {
		return tandem.Target{Transport: tandem.UDP, Addr: n.cfg.Proxy}
	}
	addr, _ := netip.ParseAddrPort(req.Source())
	return tandem.Target{Transport: transportOf(req), Addr: addr}
}

// hop is where the next request of d goes; the zero Target, which nothing can be sent to, when its
// host is unknown.
func (n *Node) hop(ctx context.Context, d *dialog) tandem.Target {
	to, err := n.find(ctx, d.hop())
	if err != nil {
		n.log.Debug("next hop not found", "err", err)
	}
	return to
}

func (n *Node) find(ctx context.Context, uri sip.Uri) (tandem.Target, error) {
	return n.cfg.Resolver.first(ctx, uri)
}

func transportOf(m sip.Message) tandem.Transport {
	if strings.EqualFold(m.Transport(), "TCP") {
		return tandem.TCP
	}
	return tandem.UDP
}

func parseField(line string) sip.Header {
	name, value, _ := strings.Cut(line, ":")
	return sip.NewHeader(strings.TrimSpace(name), strings.TrimSpace(value))
}
