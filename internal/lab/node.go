package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// NodeConfig says what a simulated feature server is.
type NodeConfig struct {
	ID   string         // its name, shown in its answers and its log
	SIP  netip.AddrPort // where it listens, UDP and TCP; port 0 finds one
	HTTP netip.AddrPort // where it answers HTTP; port 0 finds one, the zero value means no HTTP
	// Proxy is where it sends the requests that it makes, over UDP; the zero value means back to
	// where the request that caused them came from.
	Proxy netip.AddrPort
	// Resolver finds the hosts that routes name; the zero value knows numeric addresses only.
	Resolver Resolver
}

// Reply is a scripted answer. The zero value means: do as a node does.
type Reply struct {
	Code   int           // final response; a 2xx to an INVITE is a call that ends at the node itself
	Reason string        // reason phrase; empty: the usual one
	Delay  time.Duration // before the final response; an INVITE gets 180 at once
	Silent bool          // no response at all
	Header []string      // header fields to add, "Name: value"
}

// Node is a simulated feature server: a SIP application that sends calls and messages back to the
// proxy as a core peer does, and an HTTP server. Its behaviour can be scripted, and it remembers
// what it was asked.
type Node struct {
	cfg    NodeConfig
	log    *slog.Logger
	end    *endpoint
	web    net.Listener
	record record

	mu      sync.Mutex // guards what follows
	replies map[string][]Reply
	legs    map[key]*leg
}

// legsMost bounds the dialogs that a node takes part in; further calls get 503.
const legsMost = 20_000

// NewNode checks cfg; it starts nothing.
func NewNode(cfg NodeConfig, log *slog.Logger) (*Node, error) {
	if cfg.ID == "" || !cfg.SIP.IsValid() {
		return nil, errors.New("a node needs an id and a SIP address")
	}
	return &Node{cfg: cfg, log: log.With("node", cfg.ID), replies: map[string][]Reply{}, legs: map[key]*leg{}}, nil
}

// Listen binds the node's sockets.
func (n *Node) Listen() error {
	end, err := listen(n.cfg.SIP, n.cfg.ID, n.take, n.log)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.cfg.ID, err)
	}
	n.end = end
	if !n.cfg.HTTP.IsValid() {
		return nil
	}
	n.web, err = net.Listen("tcp", n.cfg.HTTP.String())
	if err != nil {
		end.close()
		return fmt.Errorf("node %s: %w", n.cfg.ID, err)
	}
	return nil
}

// Addr returns the SIP address, the same for UDP and TCP; valid after Listen.
func (n *Node) Addr() netip.AddrPort { return n.end.addr }

// HTTPAddr returns the HTTP address, the zero value without HTTP; valid after Listen.
func (n *Node) HTTPAddr() netip.AddrPort {
	if n.web == nil {
		return netip.AddrPort{}
	}
	return n.web.Addr().(*net.TCPAddr).AddrPort()
}

// Run serves until ctx ends. It ends as a machine does that loses power: calls are not taken down.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	webDone := make(chan error, 1)
	if n.web == nil {
		webDone <- nil
	} else {
		go func() {
			defer cancel()
			webDone <- n.serveHTTP(ctx)
		}()
	}
	err := n.end.run(ctx)
	cancel()
	return errors.Join(err, <-webDone)
}

// Script sets how the node answers a method from now on: each reply once, in order, the last one
// for good. HTTP requests are the method "HTTP". Without replies the node does as nodes do again.
func (n *Node) Script(method string, replies ...Reply) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.replies[method] = replies
}

// Seen returns the last requests that reached the node, oldest first.
func (n *Node) Seen() []Seen { return n.record.all() }

// WaitFor returns the oldest remembered request that want accepts, waiting until ctx ends.
func (n *Node) WaitFor(ctx context.Context, want func(Seen) bool) (Seen, error) {
	return n.record.wait(ctx, want)
}

// Dialogs returns how many dialogs the node takes part in; a bridged call is two.
func (n *Node) Dialogs() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.legs)
}

// reply returns the scripted reply for this request of a method.
func (n *Node) reply(method string) Reply {
	n.mu.Lock()
	defer n.mu.Unlock()
	left := n.replies[method]
	if len(left) == 0 {
		return Reply{}
	}
	if len(left) > 1 {
		n.replies[method] = left[1:]
	}
	return left[0]
}

// take answers one SIP request.
func (n *Node) take(ctx context.Context, req *sip.Request, tx sip.ServerTransaction) {
	if req.Method != sip.OPTIONS || req.From().Address.User != "probe" { // twice a second, and nobody's
		n.record.add(seenSIP(req, time.Now()))
	}
	switch req.Method {
	case sip.ACK:
		n.takeAck(req)
		return
	case sip.CANCEL: // of no transaction that is known; sipgo answers the others
		tx.Respond(respond(req, "", 481, ""))
		return
	}
	if r := n.reply(string(req.Method)); r.Code != 0 || r.Silent {
		n.scripted(ctx, req, tx, r)
		return
	}
	if req.To().Params.Has("tag") {
		n.takeInDialog(ctx, req, tx)
		return
	}
	switch req.Method {
	case sip.INVITE:
		n.takeInvite(ctx, req, tx)
	case sip.MESSAGE:
		n.takeMessage(ctx, req, tx)
	case sip.REGISTER:
		tx.Respond(registered(req))
	case sip.SUBSCRIBE:
		n.takeSubscribe(ctx, req, tx)
	case sip.PUBLISH:
		res := respond(req, "", 200, "")
		res.AppendHeader(sip.NewHeader("SIP-ETag", sip.GenerateTagN(8)))
		tx.Respond(res)
	case sip.OPTIONS:
		tx.Respond(respond(req, "", 200, ""))
	default:
		tx.Respond(respond(req, "", 501, "Not Implemented"))
	}
}

// scripted answers as r says.
func (n *Node) scripted(ctx context.Context, req *sip.Request, tx sip.ServerTransaction, r Reply) {
	if r.Silent {
		n.swallow(ctx, req, tx)
		return
	}
	tag := sip.GenerateTagN(10)
	if r.Delay > 0 && !n.delay(ctx, req, tx, tag, r.Delay) {
		return
	}
	res := respond(req, tag, r.Code, r.Reason)
	for _, h := range r.Header {
		res.AppendHeader(parseField(h))
	}
	if req.Method == sip.INVITE && res.IsSuccess() {
		n.answerSelf(ctx, req, tx, tag, res)
		return
	}
	tx.Respond(res)
}

// swallow keeps the transaction, which absorbs what the sender repeats, until the sender gives up.
// Receiving the request once more stops the 100 that sipgo sends by itself after 200 ms.
func (n *Node) swallow(ctx context.Context, req *sip.Request, tx sip.ServerTransaction) {
	if own, ok := tx.(*sip.ServerTx); ok {
		own.Receive(req)
	}
	giveUp := time.NewTimer(64 * t1)
	defer giveUp.Stop()
	select {
	case <-ctx.Done():
	case <-tx.Done():
	case <-giveUp.C:
	}
}

// delay waits; false when the request was cancelled meanwhile, or all ends.
func (n *Node) delay(ctx context.Context, req *sip.Request, tx sip.ServerTransaction, tag string, d time.Duration) bool {
	if req.Method == sip.INVITE {
		tx.Respond(respond(req, tag, 180, ""))
	}
	cancelled := make(chan struct{})
	var once sync.Once
	tx.OnCancel(func(*sip.Request) { once.Do(func() { close(cancelled) }) })
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-cancelled:
	case <-tx.Done():
	case <-ctx.Done():
	}
	return false
}

// registered answers a REGISTER as a registrar does that takes every binding (RFC 3261 section
// 10.3): it lists the contacts with the time that was asked for.
func registered(req *sip.Request) *sip.Response {
	res := respond(req, "", 200, "")
	expires := "3600"
	if h := req.GetHeader("Expires"); h != nil {
		expires = h.Value()
	}
	for _, h := range req.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || c.Address.Wildcard {
			continue
		}
		c = c.Clone()
		if !c.Params.Has("expires") {
			c.Params.Add("expires", expires)
		}
		if given, _ := c.Params.Get("expires"); given != "0" {
			res.AppendHeader(c)
		}
	}
	return res
}
