package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"tandem/internal/tandem"
)

// endpoint is one SIP user agent at one address, over UDP and TCP: sipgo's transports and
// transactions, with everything they start accounted for. Nodes and phones are built on it.
type endpoint struct {
	ua     *sipgo.UserAgent
	client *sipgo.Client
	server *sipgo.Server
	udp    net.PacketConn
	tcp    net.Listener
	addr   netip.AddrPort
	log    *slog.Logger

	mu      sync.Mutex // guards what follows, and that work is not added to once closing is set
	closing bool
	cancels map[*task]context.CancelFunc
	work    sync.WaitGroup
}

// task is one piece of work in hand.
type task struct{ e *endpoint }

// handler answers one request; it may block until the transaction has its final response.
type handler func(ctx context.Context, req *sip.Request, tx sip.ServerTransaction)

// listenTries is how many ports are tried until one is free for both UDP and TCP.
const listenTries = 20

// listen binds addr for UDP and TCP alike; port 0 finds one that is free for both. Requests go to h
// from when the endpoint runs.
func listen(addr netip.AddrPort, name string, h handler, log *slog.Logger) (*endpoint, error) {
	udp, tcp, err := listenBoth(addr)
	if err != nil {
		return nil, err
	}
	log = log.With("sip", name)
	e := &endpoint{udp: udp, tcp: tcp, log: log, cancels: map[*task]context.CancelFunc{}}
	e.addr = udp.LocalAddr().(*net.UDPAddr).AddrPort()
	quiet := slog.New(demoted{log.Handler()})
	ua, err := sipgo.NewUA(
		sipgo.WithUserAgent(name),
		sipgo.WithUserAgentTransportLayerOptions(
			sip.WithTransportLayerLogger(quiet),
			sip.WithTransportLayerReadFilter(e.read),
		),
		sipgo.WithUserAgentTransactionLayerOptions(
			sip.WithTransactionLayerLogger(quiet),
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {}),
		),
	)
	if err != nil {
		return nil, err
	}
	e.ua = ua
	if e.client, err = sipgo.NewClient(ua, sipgo.WithClientLogger(quiet)); err != nil {
		return nil, err
	}
	if e.server, err = sipgo.NewServer(ua, sipgo.WithServerLogger(quiet)); err != nil {
		return nil, err
	}
	e.server.OnNoRoute(func(req *sip.Request, tx sip.ServerTransaction) { e.take(h, req, tx) })
	// A request may leave before the reader has filed the socket; sipgo would bind a second one.
	ua.TransportLayer().Pool("udp").Add(e.addr.String(),
		&sip.UDPConnection{PacketConn: udp, PacketAddr: e.addr.String(), Listener: true})
	return e, nil
}

func listenBoth(addr netip.AddrPort) (net.PacketConn, net.Listener, error) {
	for try := 1; ; try++ {
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			return nil, nil, err
		}
		bound := udp.LocalAddr().(*net.UDPAddr).AddrPort()
		tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(bound))
		if err == nil {
			return udp, tcp, nil
		}
		udp.Close()
		if addr.Port() != 0 || try == listenTries {
			return nil, nil, err
		}
	}
}

// settle is how long the sockets stay open, deaf, once all is over: sipgo gives each message a
// goroutine that cannot be waited for, and one that finds its socket closed opens another.
const settle = 20 * time.Millisecond

// run takes requests until ctx ends, then hears no more, ends what is under way, waits for it and
// closes the sockets.
func (e *endpoint) run(ctx context.Context) error {
	defer e.close()
	served := make(chan error, 2)
	go func() { served <- e.server.ServeUDP(e.udp) }()
	go func() { served <- e.server.ServeTCP(e.tcp) }()
	var failure error
	left := 2
	select {
	case <-ctx.Done():
	case failure = <-served:
		left--
		failure = fmt.Errorf("%s stopped listening: %w", e.addr, errors.Join(failure, net.ErrClosed))
	}
	e.shut()
	e.work.Wait()
	time.Sleep(settle)
	e.close()
	for ; left > 0; left-- {
		<-served
	}
	return failure
}

// read passes on what comes in, until the endpoint is shut.
func (e *endpoint) read(_ sip.TransportReadProps, data []byte) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return nil, nil
	}
	return data, nil
}

// shut lets no message and no new work in, and tells work in hand to end.
func (e *endpoint) shut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closing = true
	for _, cancel := range e.cancels {
		cancel()
	}
}

// close ends sockets, connections and transactions. Also for an endpoint that never ran.
func (e *endpoint) close() {
	e.shut()
	e.udp.Close()
	e.tcp.Close()
	e.ua.Close()
}

// begin counts a piece of work that run waits for; nil when it is too late for it. Its context ends
// when the endpoint does.
func (e *endpoint) begin() (context.Context, *task) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return nil, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &task{e}
	e.cancels[t] = cancel
	e.work.Add(1)
	return ctx, t
}

// end says that the work is done.
func (t *task) end() {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	t.e.cancels[t]()
	delete(t.e.cancels, t)
	t.e.work.Done()
}

// take is the one door for requests: it refuses those that lack what every handler reads, and
// keeps a programmer's mistake from ending the process.
func (e *endpoint) take(h handler, req *sip.Request, tx sip.ServerTransaction) {
	ctx, work := e.begin()
	if work == nil {
		return
	}
	defer work.end()
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("request handler panicked", "method", string(req.Method), "panic", p)
		}
	}()
	if req.From() == nil || req.To() == nil || req.CallID() == nil || req.CSeq() == nil || req.Via() == nil {
		if !req.IsAck() {
			tx.Respond(sip.NewResponseFromRequest(req, 400, "Bad Request", nil))
		}
		return
	}
	h(ctx, req, tx)
}

// start opens a client transaction for req towards one place. The Via is made anew each time.
func (e *endpoint) start(ctx context.Context, req *sip.Request, to tandem.Target) (sip.ClientTransaction, error) {
	e.address(req, to)
	return e.client.TransactionRequest(ctx, req, asItIs)
}

// write sends req outside any transaction: an ACK to a 2xx (RFC 3261 section 13.2.2.4).
func (e *endpoint) write(req *sip.Request, to tandem.Target) error {
	e.address(req, to)
	return e.client.WriteRequest(req, asItIs)
}

func asItIs(*sipgo.Client, *sip.Request) error { return nil }

// address gives req its Via and its way out. Over TCP a connection to the place is reused, else
// one is dialled from this endpoint's own IP address, by which peers are known.
func (e *endpoint) address(req *sip.Request, to tandem.Target) {
	transport := strings.ToUpper(to.Transport.String())
	via := &sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: transport,
		Host: e.addr.Addr().String(), Port: int(e.addr.Port())}
	via.Params.Add("branch", sip.GenerateBranchN(16))
	via.Params.Add("rport", "")
	for req.RemoveHeader("Via") {
	}
	req.PrependHeader(via)
	req.SetTransport(transport)
	req.SetDestination(to.Addr.String())
	req.Laddr = sip.Addr{IP: e.addr.Addr().AsSlice()}
	if to.Transport == tandem.UDP {
		req.Laddr.Port = int(e.addr.Port())
	}
}

// ask sends a request that is no INVITE and returns its final response.
func (e *endpoint) ask(ctx context.Context, req *sip.Request, to tandem.Target) (*sip.Response, error) {
	tx, err := e.start(ctx, req, to)
	if err != nil {
		return nil, err
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			return nil, tx.Err()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// contact returns the URI at which this endpoint is reached.
func (e *endpoint) contact(user string, transport tandem.Transport) sip.Uri {
	u := sip.Uri{Scheme: "sip", User: user, Host: e.addr.Addr().String(), Port: int(e.addr.Port())}
	if transport != tandem.UDP {
		u.UriParams.Add("transport", transport.String())
	}
	return u
}

// demoted passes a library's log on at level Debug: what it calls an error is for a peer in a lab
// often the thing that is being tried out.
type demoted struct{ slog.Handler }

func (d demoted) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}

func (d demoted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

func (d demoted) WithAttrs(attrs []slog.Attr) slog.Handler {
	return demoted{d.Handler.WithAttrs(attrs)}
}
func (d demoted) WithGroup(name string) slog.Handler { return demoted{d.Handler.WithGroup(name)} }
