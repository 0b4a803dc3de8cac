package lab

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// dialog is one side's view of a SIP dialog (RFC 3261 section 12).
type dialog struct {
	callID string
	from   sip.FromHeader // ours, with our tag
	to     sip.ToHeader   // theirs, with their tag
	routes []sip.Uri      // route set, nearest first
	own    sip.Uri        // our Contact
	user   string         // the user part that was called, for people

	mu     sync.Mutex // guards what follows
	seq    uint32     // of our last request
	target sip.Uri    // their Contact
}

// key names a dialog among those of one endpoint.
type key struct{ callID, local, remote string }

// newCaller returns the dialog that res, a 2xx, makes of our INVITE req (section 12.1.2).
func newCaller(req *sip.Request, res *sip.Response) *dialog {
	d := &dialog{callID: string(*req.CallID()), from: *req.From(), to: *res.To(), seq: req.CSeq().SeqNo,
		own: req.Contact().Address, user: req.Recipient.User}
	rr := res.GetHeaders("Record-Route")
	for i := len(rr) - 1; i >= 0; i-- {
		d.addRoute(rr[i])
	}
	d.target = req.Recipient
	d.refresh(res.Contact())
	return d
}

// newCalled returns the dialog that their INVITE req opens, with tag as ours (section 12.1.1).
func newCalled(req *sip.Request, tag string, own sip.Uri) *dialog {
	d := &dialog{callID: string(*req.CallID()), from: req.To().AsFrom(), to: req.From().AsTo(),
		own: own, user: req.Recipient.User}
	d.from.Params = d.from.Params.Clone()
	d.from.Params.Add("tag", tag)
	for _, h := range req.GetHeaders("Record-Route") {
		d.addRoute(h)
	}
	d.target = req.From().Address
	d.refresh(req.Contact())
	return d
}

func (d *dialog) addRoute(h sip.Header) {
	if rr, ok := h.(*sip.RecordRouteHeader); ok {
		d.routes = append(d.routes, *rr.Address.Clone())
		return
	}
	var u sip.Uri
	if _, err := sip.ParseAddressValue(h.Value(), &u, &sip.HeaderParams{}); err == nil {
		d.routes = append(d.routes, u)
	}
}

// refresh takes over a new remote target (section 12.2).
func (d *dialog) refresh(contact *sip.ContactHeader) {
	if contact == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.target = *contact.Address.Clone()
}

// key returns the name under which incoming requests of d are found.
func (d *dialog) key() key {
	local, _ := d.from.Params.Get("tag")
	remote, _ := d.to.Params.Get("tag")
	return key{d.callID, local, remote}
}

// keyOf returns the name of the dialog that an incoming request belongs to; ours is its To tag.
func keyOf(req *sip.Request) key {
	local, _ := req.To().Params.Get("tag")
	remote, _ := req.From().Params.Get("tag")
	return key{string(*req.CallID()), local, remote}
}

// request makes a new request within d (section 12.2.1.1); an ACK takes the number of its INVITE.
func (d *dialog) request(method sip.RequestMethod, body []byte, contentType string) *sip.Request {
	d.mu.Lock()
	d.seq++
	seq, target := d.seq, *d.target.Clone()
	d.mu.Unlock()
	return d.build(method, seq, target, body, contentType)
}

// ack makes the ACK to the 2xx of our INVITE with number seq.
func (d *dialog) ack(seq uint32, body []byte, contentType string) *sip.Request {
	d.mu.Lock()
	target := *d.target.Clone()
	d.mu.Unlock()
	return d.build(sip.ACK, seq, target, body, contentType)
}

func (d *dialog) build(method sip.RequestMethod, seq uint32, target sip.Uri, body []byte, contentType string) *sip.Request {
	req := sip.NewRequest(method, target)
	for i := range d.routes {
		req.AppendHeader(&sip.RouteHeader{Address: *d.routes[i].Clone()})
	}
	callID, hops := sip.CallIDHeader(d.callID), sip.MaxForwardsHeader(70)
	req.AppendHeader(sip.HeaderClone(&d.from))
	req.AppendHeader(sip.HeaderClone(&d.to))
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	req.AppendHeader(&hops)
	if method != sip.BYE && method != sip.ACK {
		req.AppendHeader(&sip.ContactHeader{Address: d.own})
	}
	setBody(req, body, contentType)
	return req
}

// hop returns the URI that the next request of d goes to: the nearest route, else the target.
// Every proxy of the lab is a loose router (lr), so the Request-URI stays the target.
func (d *dialog) hop() sip.Uri {
	if len(d.routes) > 0 {
		return d.routes[0]
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return *d.target.Clone()
}

// newRequest makes a request outside a dialog; from gets a tag.
func newRequest(method sip.RequestMethod, uri sip.Uri, from sip.Uri, to sip.Uri) *sip.Request {
	req := sip.NewRequest(method, uri)
	f := &sip.FromHeader{Address: from}
	f.Params.Add("tag", sip.GenerateTagN(10))
	callID, hops := sip.CallIDHeader(sip.GenerateTagN(20)), sip.MaxForwardsHeader(70)
	req.AppendHeader(f)
	req.AppendHeader(&sip.ToHeader{Address: to})
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: method})
	req.AppendHeader(&hops)
	return req
}

// newCancel makes the CANCEL of an INVITE that has been sent (section 9.1). It is sent with
// everything of the INVITE's own, its Via too.
func newCancel(invite *sip.Request) *sip.Request {
	req := sip.NewRequest(sip.CANCEL, *invite.Recipient.Clone())
	req.AppendHeader(invite.Via().Clone())
	for _, h := range invite.GetHeaders("Route") {
		req.AppendHeader(sip.HeaderClone(h))
	}
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(sip.HeaderClone(invite.From()))
	req.AppendHeader(sip.HeaderClone(invite.To()))
	req.AppendHeader(sip.HeaderClone(invite.CallID()))
	req.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	req.AppendHeader(&hops)
	req.SetBody(nil)
	req.SetTransport(invite.Transport())
	req.SetDestination(invite.Destination())
	req.Laddr = invite.Laddr
	return req
}

func setBody(m sip.Message, body []byte, contentType string) {
	if len(body) > 0 && contentType != "" {
		ct := sip.ContentTypeHeader(contentType)
		m.AppendHeader(&ct)
	}
	m.SetBody(body)
}

// contentType returns m's Content-Type, "" when it has none.
func contentType(m interface{ ContentType() *sip.ContentTypeHeader }) string {
	if h := m.ContentType(); h != nil {
		return h.Value()
	}
	return ""
}

// respond answers req with code; tag, when given, is our To tag.
func respond(req *sip.Request, tag string, code int, reason string) *sip.Response {
	if reason == "" {
		reason = phrase(code)
	}
	res := sip.NewResponseFromRequest(req, code, reason, nil)
	if h := res.To(); tag != "" && code > 100 && !req.To().Params.Has("tag") {
		h.Params.Add("tag", tag)
	}
	return res
}

func phrase(code int) string {
	known := map[int]string{
		100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted",
		400: "Bad Request", 403: "Forbidden", 404: "Not Found", 480: "Temporarily Unavailable",
		481: "Call/Transaction Does Not Exist", 486: "Busy Here", 487: "Request Terminated",
		488: "Not Acceptable Here", 500: "Server Internal Error", 502: "Bad Gateway",
		503: "Service Unavailable", 504: "Server Time-out", 603: "Decline",
	}
	if p, ok := known[code]; ok {
		return p
	}
	return fmt.Sprintf("Status %d", code)
}

// accept sends res, a 2xx to an INVITE, and repeats it until acked is signalled
// (RFC 3261 section 13.3.1.4). It returns the ACK.
func accept(ctx context.Context, tx sip.ServerTransaction, res *sip.Response, acked <-chan *sip.Request) (*sip.Request, error) {
	if err := tx.Respond(res); err != nil {
		return nil, err
	}
	wait := t1
	repeat := time.NewTimer(wait)
	defer repeat.Stop()
	giveUp := time.NewTimer(64 * t1)
	defer giveUp.Stop()
	for {
		select {
		case ack := <-acked:
			return ack, nil
		case <-repeat.C:
			if err := tx.Respond(res); err != nil {
				return nil, err
			}
			wait = min(2*wait, t2)
			repeat.Reset(wait)
		case <-giveUp.C:
			return nil, fmt.Errorf("no ACK within %s", 64*t1)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Timers of RFC 3261 section 17.1.1.1.
const (
	t1 = 500 * time.Millisecond
	t2 = 4 * time.Second
)

// sdp is the plainest offer or answer there is: one audio stream towards the discard port of host.
func sdp(host string) []byte {
	return fmt.Appendf(nil, "v=0\r\no=- 1 1 IN IP4 %[1]s\r\ns=-\r\nc=IN IP4 %[1]s\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n", host)
}

const sdpType = "application/sdp"
