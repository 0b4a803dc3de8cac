package lab

import (
	"sync"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/tandem"
)

// acker repeats the ACK to a 2xx for as long as the 2xx is repeated (RFC 3261 section 13.2.2.4).
type acker struct {
	e *endpoint

	mu  sync.Mutex   // guards what follows
	ack *sip.Request // nil until the call's owner has acknowledged
	to  tandem.Target
}

func (a *acker) first(d *dialog, seq uint32, to tandem.Target, body []byte, contentType string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ack, a.to = d.ack(seq, body, contentType), to
	return a.e.write(a.ack, to)
}

func (a *acker) again() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ack != nil {
		a.e.write(a.ack.Clone(), a.to)
	}
}
