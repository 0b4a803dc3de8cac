package lab

import (
	"context"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/tandem"
)

// cancelWait is how long a cancelled INVITE may take to its final response.
const cancelWait = 5 * time.Second

// outgoing is an INVITE of ours on its way to its final response.
type outgoing struct {
	e      *endpoint
	req    *sip.Request
	to     tandem.Target
	tx     sip.ClientTransaction
	acking *acker
}

// invite sends req towards one place.
func (e *endpoint) invite(ctx context.Context, req *sip.Request, to tandem.Target) (*outgoing, error) {
	o := &outgoing{e: e, req: req, to: to, acking: &acker{e: e}}
	tx, err := e.start(ctx, req, to)
	if err != nil {
		return nil, err
	}
	tx.OnRetransmission(func(*sip.Response) { o.acking.again() })
	o.tx = tx
	return o, nil
}

// final waits for the final response, passing provisional ones but 100 to ringing. When ctx ends
// first the call is cancelled, and its final response, often 487, is still returned: a 2xx may have
// crossed the CANCEL and must then be acknowledged and ended.
func (o *outgoing) final(ctx context.Context, ringing func(*sip.Response)) (*sip.Response, error) {
	stop := ctx.Done()
	proceeding, cancelled := false, false
	var giveUp <-chan time.Time
	for {
		select {
		case res := <-o.tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
			proceeding = true
			if res.StatusCode > 100 && !cancelled {
				ringing(res)
			}
		case <-o.tx.Done():
			return nil, o.tx.Err()
		case <-stop:
			stop = nil
			wait := cancelWait
			if !proceeding {
				wait = t1 // nobody has heard us yet
			}
			timer := time.NewTimer(wait)
			defer timer.Stop()
			giveUp = timer.C
		case <-giveUp:
			o.tx.Terminate()
			return nil, context.Cause(ctx)
		}
		if stop == nil && proceeding && !cancelled { // section 9.1: not before a provisional response
			cancelled = true
			o.cancel()
		}
	}
}

// cancel sends the CANCEL; its own answer says nothing, the INVITE's final response counts.
func (o *outgoing) cancel() {
	tx, err := o.e.client.TransactionRequest(context.Background(), newCancel(o.req), asItIs)
	if err != nil {
		return
	}
	ctx, work := o.e.begin()
	if work == nil {
		tx.Terminate()
		return
	}
	go func() {
		defer work.end()
		defer tx.Terminate()
		giveUp := time.NewTimer(cancelWait)
		defer giveUp.Stop()
		for {
			select {
			case res := <-tx.Responses():
				if !res.IsProvisional() {
					return
				}
			case <-tx.Done():
				return
			case <-giveUp.C:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
}

// ack acknowledges the 2xx of o within d, now and whenever the 2xx comes again.
func (o *outgoing) ack(ctx context.Context, d *dialog, find finder, body []byte, contentType string) error {
	to, err := find(ctx, d.hop())
	if err != nil {
		return err
	}
	return o.acking.first(d, o.req.CSeq().SeqNo, to, body, contentType)
}

// finder tells the place that a URI leads to, in the transport it asks for.
type finder func(ctx context.Context, uri sip.Uri) (tandem.Target, error)
