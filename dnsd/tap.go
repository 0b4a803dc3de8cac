package dnsd

import (
	"log/slog"
	"os"

	"tandem/dnsd/dnstap"
)

// tap shows exchanges to dnstap.
type tap struct {
	sink *dnstap.Sink
	buf  []byte // for one message
}

func newTap(cfg Dnstap, log *slog.Logger) *tap {
	if cfg.Identity == "" {
		cfg.Identity, _ = os.Hostname()
	}
	return &tap{sink: dnstap.New(cfg.target(), dnstap.Who{Identity: cfg.Identity, Version: cfg.Version}, log)}
}

// see sends the query, and the answer if there was one.
func (t *tap) see(g *glimpse) {
	m := dnstap.Message{
		Type: dnstap.AuthQuery, Protocol: protocolOf(g.over), Client: g.client, Server: g.local, Asked: g.asked, Query: g.query(),
	}
	t.buf = t.sink.Put(t.buf, &m)
	if g.size == 0 {
		return
	}
	m.Type, m.Query, m.Answer, m.Answered = dnstap.AuthResponse, nil, g.answer(), g.answered
	t.buf = t.sink.Put(t.buf, &m)
}

// protocolOf returns dnstap's word for a transport.
func protocolOf(over transport) dnstap.Protocol {
	switch over {
	case overTCP:
		return dnstap.TCP
	case overTLS:
		return dnstap.DOT
	case overQUIC:
		return dnstap.DOQ
	}
	return dnstap.UDP
}
