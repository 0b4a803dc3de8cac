package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/tandem"
)

// PhoneConfig says what a simulated phone is.
type PhoneConfig struct {
	User   string         // SIP user name, for From, Contact and digest
	Secret string         // SIP password
	Domain string         // the account's inbound name: all that a provisioned phone knows of its server
	Listen netip.AddrPort // UDP and TCP; port 0 finds one
	// Resolver finds Domain by NAPTR, SRV and addresses.
	Resolver Resolver
	// Proxy, when set, is used instead of what DNS says about Domain.
	Proxy tandem.Target
	// Algorithms are the digest algorithms it knows, best first. Default SHA-512-256, SHA-256, MD5.
	Algorithms []tandem.DigestAlgorithm
	// Answer is what it does with a call: the zero value answers at once, a Delay lets it ring
	// first, a Code refuses. The other methods get 200.
	Answer Reply
}

// Phone is a simulated phone: it finds its server by DNS, registers with digest authentication,
// calls and is called.
type Phone struct {
	cfg      PhoneConfig
	log      *slog.Logger
	end      *endpoint
	record   record
	incoming chan *Session
	leaving  chan struct{}

	mu       sync.Mutex // guards what follows
	answer   Reply
	callID   string // of registrations
	seq      uint32
	bound    bool // it has a registration to take back
	sessions map[key]*Session
}

// incomingMost is how many answered calls wait for Next; more are kept up all the same.
const incomingMost = 64

// StatusError is a final response that refuses.
type StatusError struct {
	Code   int
	Reason string
}

func (e *StatusError) Error() string { return strconv.Itoa(e.Code) + " " + e.Reason }

// NewPhone checks cfg; it starts nothing.
func NewPhone(cfg PhoneConfig, log *slog.Logger) (*Phone, error) {
	if cfg.User == "" || cfg.Domain == "" || !cfg.Listen.IsValid() {
		return nil, errors.New("a phone needs a user, a domain and an address to listen on")
	}
	if len(cfg.Algorithms) == 0 {
		cfg.Algorithms = []tandem.DigestAlgorithm{tandem.SHA512_256, tandem.SHA256, tandem.MD5}
	}
	return &Phone{cfg: cfg, log: log.With("phone", cfg.User), answer: cfg.Answer, callID: sip.GenerateTagN(20),
		incoming: make(chan *Session, incomingMost), leaving: make(chan struct{}), sessions: map[key]*Session{}}, nil
}

// Listen binds the phone's sockets.
func (p *Phone) Listen() error {
	end, err := listen(p.cfg.Listen, p.cfg.User, p.take, p.log)
	if err != nil {
		return fmt.Errorf("phone %s: %w", p.cfg.User, err)
	}
	p.end = end
	return nil
}

// Addr returns the SIP address; valid after Listen.
func (p *Phone) Addr() netip.AddrPort { return p.end.addr }

// leaveWait bounds how long a phone takes to hang up and to take its registration back.
const leaveWait = 2 * time.Second

// Run serves until ctx ends, then hangs up and unregisters. The other methods work while it runs.
func (p *Phone) Run(ctx context.Context) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	left := make(chan struct{})
	go func() {
		defer close(left)
		defer stop()
		select {
		case <-ctx.Done():
			p.leave(serving)
		case <-serving.Done():
		}
	}()
	err := p.end.run(serving)
	stop()
	<-left
	return err
}

func (p *Phone) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveWait)
	defer cancel()
	close(p.leaving)
	p.mu.Lock()
	bound := p.bound
	var open []*Session
	for _, s := range p.sessions {
		open = append(open, s)
	}
	p.mu.Unlock()
	for _, s := range open {
		s.Hangup(ctx)
	}
	if bound {
		p.Register(ctx, 0)
	}
}

// SetAnswer changes what the phone does with calls from now on.
func (p *Phone) SetAnswer(r Reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = r
}

// Next returns the next call that the phone has answered, waiting until ctx ends.
func (p *Phone) Next(ctx context.Context) (*Session, error) {
	select {
	case s := <-p.incoming:
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Seen returns the last requests that reached the phone, oldest first.
func (p *Phone) Seen() []Seen { return p.record.all() }

// WaitFor returns the oldest remembered request that want accepts, waiting until ctx ends.
func (p *Phone) WaitFor(ctx context.Context, want func(Seen) bool) (Seen, error) {
	return p.record.wait(ctx, want)
}

// Register binds the phone's address to its user name for a time, 0 takes the binding back. It
// returns the time granted; a refusal is a *StatusError, and a success that lists no binding of this
// phone is an error too.
func (p *Phone) Register(ctx context.Context, expires time.Duration) (time.Duration, error) {
	aor := sip.Uri{Scheme: "sip", User: p.cfg.User, Host: p.cfg.Domain}
	req := newRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: p.cfg.Domain}, aor, aor)
	id := sip.CallIDHeader(p.callID)
	req.ReplaceHeader(&id)
	p.mu.Lock()
	p.seq += 2 // room for the answer to a challenge
	req.CSeq().SeqNo = p.seq
	p.mu.Unlock()
	req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(int(expires/time.Second))))
	req.SetBody(nil)
	res, err := p.deliver(ctx, req, p.contacted(p.ask))
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	p.seq = max(p.seq, res.CSeq().SeqNo)
	p.bound = expires > 0
	p.mu.Unlock()
	if expires == 0 {
		return 0, nil
	}
	return p.granted(res)
}

// errNotBound says that a registrar accepted a registration and yet does not list it.
var errNotBound = errors.New("accepted, but not among the bindings that the registrar lists")

// granted reads how long the registrar keeps our binding (RFC 3261 section 10.2.4).
func (p *Phone) granted(res *sip.Response) (time.Duration, error) {
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || c.Address.Host != p.Addr().Addr().String() || c.Address.Port != int(p.Addr().Port()) {
			continue
		}
		text, ok := c.Params.Get("expires")
		if h := res.GetHeader("Expires"); !ok && h != nil {
			text = h.Value()
		}
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			return 0, fmt.Errorf("%w: expires %q", errNotBound, text)
		}
		return time.Duration(n) * time.Second, nil
	}
	return 0, errNotBound
}

// Message sends a text; to is a user of the own account or user@host.
func (p *Phone) Message(ctx context.Context, to, text string) error {
	return p.Send(ctx, "MESSAGE", to, text, "Content-Type: text/plain")
}

// Send sends a request outside any dialog, with header fields "Name: value" added. A refusal is a
// *StatusError.
func (p *Phone) Send(ctx context.Context, method, to, body string, header ...string) error {
	req, err := p.newRequest(sip.RequestMethod(method), to)
	if err != nil {
		return err
	}
	for _, h := range header {
		req.AppendHeader(parseField(h))
	}
	req.SetBody([]byte(body))
	_, err = p.deliver(ctx, req, p.contacted(p.ask))
	return err
}

// newRequest makes a request to a user of the own account, a user@host, or any URI.
func (p *Phone) newRequest(method sip.RequestMethod, to string) (*sip.Request, error) {
	if !strings.Contains(to, ":") {
		if !strings.Contains(to, "@") {
			to += "@" + p.cfg.Domain
		}
		to = "sip:" + to
	}
	var uri sip.Uri
	if err := sip.ParseUri(to, &uri); err != nil {
		return nil, fmt.Errorf("%s is no URI: %w", to, err)
	}
	return newRequest(method, uri, sip.Uri{Scheme: "sip", User: p.cfg.User, Host: p.cfg.Domain}, uri), nil
}

// sender sends a request to one place and returns its final response.
type sender func(ctx context.Context, req *sip.Request, to tandem.Target) (*sip.Response, error)

// tryWait is how long a request waits for one place when there is another to try.
const tryWait = 4 * time.Second

// ask is the sender of all requests but INVITE.
func (p *Phone) ask(ctx context.Context, req *sip.Request, to tandem.Target) (*sip.Response, error) {
	return p.end.ask(ctx, req, to)
}

// contacted puts a Contact into what send sends, in the transport that it goes by.
func (p *Phone) contacted(send sender) sender {
	return func(ctx context.Context, req *sip.Request, to tandem.Target) (*sip.Response, error) {
		for req.RemoveHeader("Contact") {
		}
		req.AppendHeaderAfter(&sip.ContactHeader{Address: p.end.contact(p.cfg.User, to.Transport)}, "CSeq")
		return send(ctx, req, to)
	}
}

// deliver sends a request to the phone's server: to each place that it resolves to until one
// answers with anything but 503 (RFC 3263 section 4.3).
func (p *Phone) deliver(ctx context.Context, req *sip.Request, send sender) (*sip.Response, error) {
	places := []tandem.Target{p.cfg.Proxy}
	if !p.cfg.Proxy.Addr.IsValid() {
		var err error
		places, err = p.cfg.Resolver.targets(ctx, sip.Uri{Scheme: "sip", Host: p.cfg.Domain})
		if err != nil {
			return nil, err
		}
	}
	var last error
	for i, to := range places {
		trying, cancel := ctx, context.CancelFunc(func() {})
		if i < len(places)-1 && !req.IsInvite() {
			trying, cancel = context.WithTimeout(ctx, tryWait)
		}
		res, err := p.converse(trying, req, to, send)
		cancel()
		var refused *StatusError
		if err == nil || ctx.Err() != nil || errors.As(err, &refused) && refused.Code != 503 {
			return res, err
		}
		p.log.Debug("no answer from one place", "addr", to.Addr, "transport", to.Transport, "err", err)
		last = err
	}
	return nil, last
}

// converse sends a request to one place and answers its challenge, once, and once more when only
// the nonce was too old.
func (p *Phone) converse(ctx context.Context, req *sip.Request, to tandem.Target, send sender) (*sip.Response, error) {
	for try := 0; ; try++ {
		sent := req.Clone() // sipgo keeps what it sends
		res, err := send(ctx, sent, to)
		if err != nil {
			return nil, err
		}
		if res.IsSuccess() {
			return res, nil
		}
		refused := &StatusError{Code: res.StatusCode, Reason: res.Reason}
		if res.StatusCode != 401 && res.StatusCode != 407 || p.cfg.Secret == "" {
			return nil, refused
		}
		c, field, err := challengeOf(res, p.cfg.Algorithms)
		if err != nil {
			return nil, err
		}
		if try > 0 && !(try == 1 && c.stale) {
			return nil, refused
		}
		for req.RemoveHeader(field) {
		}
		req.AppendHeader(sip.NewHeader(field, c.answer(string(req.Method), req.Recipient.String(), p.cfg.User, p.cfg.Secret)))
		req.CSeq().SeqNo++
	}
}
