package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// What a node does beside calls: messages, subscriptions, HTTP.

// takeMessage sends a message on through the proxy and relays the answer; one that a node has had
// before has reached the world outside.
func (n *Node) takeMessage(ctx context.Context, req *sip.Request, tx sip.ServerTransaction) {
	tag := sip.GenerateTagN(10)
	if req.GetHeader(marker) != nil {
		tx.Respond(respond(req, tag, 202, ""))
		return
	}
	if h := req.MaxForwards(); h != nil && h.Val() <= 1 {
		tx.Respond(respond(req, tag, 483, "Too Many Hops"))
		return
	}
	to := n.backTo(req)
	res, err := n.end.ask(ctx, n.onward(req, to.Transport), to)
	if err != nil {
		n.log.Debug("message not sent on", "to", to.Addr, "err", err)
		res = nil
	}
	tx.Respond(relayed(req, tag, res))
}

// takeSubscribe accepts a subscription and sends its first NOTIFY (RFC 6665 section 4.2.2).
func (n *Node) takeSubscribe(ctx context.Context, req *sip.Request, tx sip.ServerTransaction) {
	tag := sip.GenerateTagN(10)
	expires := "3600"
	if h := req.GetHeader("Expires"); h != nil {
		expires = h.Value()
	}
	own := n.contact(req)
	res := respond(req, tag, 200, "")
	res.AppendHeader(sip.NewHeader("Expires", expires))
	res.AppendHeader(&sip.ContactHeader{Address: own})
	if err := tx.Respond(res); err != nil {
		return
	}
	d := newCalled(req, tag, own)
	notify := d.request(sip.NOTIFY, nil, "")
	event := "presence"
	if h := req.GetHeader("Event"); h != nil {
		event = h.Value()
	}
	notify.AppendHeader(sip.NewHeader("Event", event))
	notify.AppendHeader(sip.NewHeader("Subscription-State", "active;expires="+expires))
	if _, err := n.end.ask(ctx, notify, n.hop(ctx, d)); err != nil {
		n.log.Debug("NOTIFY not answered", "err", err)
	}
}

// serveHTTP answers HTTP until ctx ends.
func (n *Node) serveHTTP(ctx context.Context) error {
	server := &http.Server{Handler: http.HandlerFunc(n.takeHTTP), ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout: 10 * time.Second, WriteTimeout: 40 * time.Second, IdleTimeout: 30 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		server.Close()
	}()
	err := server.Serve(n.web)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	if err == nil {
		<-done
	}
	return err
}

// takeHTTP answers with who the node is and for whom it was asked. What the node has seen stands
// at /log, but only under the node's own address: never through an account's name.
func (n *Node) takeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := netip.ParseAddr(hostOnly(r.Host)); err == nil && r.URL.Path == "/log" {
		n.writeLog(w, r.URL.Query().Get("method"))
		return
	}
	n.record.add(seenHTTP(r, time.Now()))
	reply := n.reply("HTTP")
	if reply.Silent {
		<-r.Context().Done()
		return
	}
	if reply.Delay > 0 {
		timer := time.NewTimer(reply.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	for _, h := range reply.Header {
		name, value, _ := strings.Cut(h, ":")
		w.Header().Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if reply.Code != 0 {
		w.WriteHeader(reply.Code)
	}
	fmt.Fprintf(w, "%s: %s %s for %s (type http)\n", n.cfg.ID, r.Method, r.URL.Path, hostOnly(r.Host))
}

func (n *Node) writeLog(w http.ResponseWriter, method string) {
	for _, s := range n.record.all() {
		if method == "" || strings.EqualFold(s.Method, method) {
			fmt.Fprintln(w, s)
		}
	}
}

// hostOnly returns a host without its port.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}
