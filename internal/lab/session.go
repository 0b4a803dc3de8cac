package lab

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/tandem"
)

// Session is one answered call of a phone.
type Session struct {
	phone *Phone
	d     *dialog
	acked chan *sip.Request
	done  chan struct{}
	once  sync.Once
	cause string // set before done is closed
}

func (p *Phone) newSession(d *dialog) *Session {
	s := &Session{phone: p, d: d, acked: make(chan *sip.Request, 1), done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions[d.key()] = s
	return s
}

// end marks the call as over; only the first cause counts.
func (s *Session) end(cause string) {
	s.once.Do(func() {
		s.cause = cause
		close(s.done)
		s.phone.mu.Lock()
		defer s.phone.mu.Unlock()
		delete(s.phone.sessions, s.d.key())
	})
}

// CallID returns the Call-ID of the call's dialog at this phone.
func (s *Session) CallID() string { return s.d.callID }

// Peer returns the other party as user@host.
func (s *Session) Peer() string { return s.d.to.Address.Endpoint() }

// Done is closed when the call is over.
func (s *Session) Done() <-chan struct{} { return s.done }

// Cause says how the call ended: "local" (Hangup), "remote" (their BYE), "no ACK". It waits for
// the end.
func (s *Session) Cause() string {
	<-s.done
	return s.cause
}

// Call rings to, a user of the own account, a user@host or any URI, and returns once the call is
// answered. When ctx ends before, the call is cancelled. A refusal is a *StatusError.
func (p *Phone) Call(ctx context.Context, to string) (*Session, error) {
	req, err := p.newRequest(sip.INVITE, to)
	if err != nil {
		return nil, err
	}
	setBody(req, sdp(p.Addr().Addr().String()), sdpType)
	var o *outgoing
	res, err := p.deliver(ctx, req, p.contacted(p.inviter(&o)))
	if err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	s := p.newSession(newCaller(o.req, res))
	if err := o.ack(ctx, s.d, p.find, nil, ""); err != nil {
		s.end("local")
		return nil, err
	}
	if err := ctx.Err(); err != nil { // the answer crossed our CANCEL
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWait)
		defer cancel()
		s.Hangup(late)
		return nil, err
	}
	return s, nil
}

// inviter is the sender of INVITE; it leaves its last call in last.
func (p *Phone) inviter(last **outgoing) sender {
	return func(ctx context.Context, req *sip.Request, to tandem.Target) (*sip.Response, error) {
		o, err := p.end.invite(ctx, req, to)
		if err != nil {
			return nil, err
		}
		*last = o
		return o.final(ctx, func(*sip.Response) {})
	}
}

// Hangup ends the call with a BYE; a second time it does nothing.
func (s *Session) Hangup(ctx context.Context) error {
	select {
	case <-s.done:
		return nil
	default:
	}
	s.end("local")
	to, err := s.phone.find(ctx, s.d.hop())
	if err != nil {
		return err
	}
	_, err = s.phone.converse(ctx, s.d.request(sip.BYE, nil, ""), to, s.phone.ask)
	return err
}

// Reinvite offers the same session again within the call (RFC 3261 section 14.1).
func (s *Session) Reinvite(ctx context.Context) error {
	to, err := s.phone.find(ctx, s.d.hop())
	if err != nil {
		return err
	}
	req := s.d.request(sip.INVITE, sdp(s.phone.Addr().Addr().String()), sdpType)
	var o *outgoing
	res, err := s.phone.converse(ctx, req, to, s.phone.inviter(&o))
	if err != nil {
		return err
	}
	s.d.refresh(res.Contact())
	return o.ack(ctx, s.d, s.phone.find, nil, "")
}

func (p *Phone) find(ctx context.Context, uri sip.Uri) (tandem.Target, error) {
	return p.cfg.Resolver.first(ctx, uri)
}

// take answers one request.
func (p *Phone) take(ctx context.Context, req *sip.Request, tx sip.ServerTransaction) {
	p.record.add(seenSIP(req, time.Now()))
	p.mu.Lock()
	s, answer := p.sessions[keyOf(req)], p.answer
	p.mu.Unlock()
	inside := req.To().Params.Has("tag")
	switch {
	case req.IsAck():
		if s != nil {
			select {
			case s.acked <- req:
			default:
			}
		}
	case req.IsInvite() && !inside:
		p.ring(ctx, req, tx, answer)
	case req.IsCancel(), inside && s == nil && req.Method != sip.NOTIFY:
		tx.Respond(respond(req, "", 481, ""))
	case req.IsInvite():
		s.d.refresh(req.Contact())
		p.confirm(ctx, req, tx, "", s)
	default:
		tx.Respond(respond(req, "", 200, ""))
		if req.Method == sip.BYE {
			s.end("remote")
		}
	}
}

// ring lets a new call ring and then answers or refuses it.
func (p *Phone) ring(ctx context.Context, req *sip.Request, tx sip.ServerTransaction, answer Reply) {
	tag := sip.GenerateTagN(10)
	if answer.Silent {
		return
	}
	own := p.end.contact(p.cfg.User, transportOf(req))
	if answer.Delay > 0 {
		ringing := respond(req, tag, 180, "")
		ringing.AppendHeader(&sip.ContactHeader{Address: own})
		tx.Respond(ringing)
		timer := time.NewTimer(answer.Delay)
		defer timer.Stop()
		cancelled := make(chan struct{}, 1)
		if !tx.OnCancel(func(*sip.Request) { cancelled <- struct{}{} }) {
			return
		}
		select {
		case <-timer.C:
		case <-cancelled:
			return
		case <-tx.Done():
			return
		case <-p.leaving:
			answer.Code, answer.Reason = 480, ""
		}
	}
	if answer.Code >= 300 {
		tx.Respond(respond(req, tag, answer.Code, answer.Reason))
		return
	}
	s := p.newSession(newCalled(req, tag, own))
	if !p.confirm(ctx, req, tx, tag, s) {
		s.end("no ACK")
		return
	}
	select {
	case p.incoming <- s:
	default:
	}
}

// confirm answers an INVITE with 200 and waits for its ACK.
func (p *Phone) confirm(ctx context.Context, req *sip.Request, tx sip.ServerTransaction, tag string, s *Session) bool {
	select { // an ACK that came twice is not the next one's
	case <-s.acked:
	default:
	}
	res := respond(req, tag, 200, "")
	res.AppendHeader(&sip.ContactHeader{Address: s.d.own})
	setBody(res, sdp(p.Addr().Addr().String()), sdpType)
	_, err := accept(ctx, tx, res, s.acked)
	if err != nil {
		p.log.Debug("call not confirmed", "err", err)
	}
	return err == nil
}
