package lab

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
)

func message(t *testing.T, text string) sip.Message {
	t.Helper()
	m, err := sip.ParseMessage([]byte(strings.ReplaceAll(strings.TrimLeft(text, "\n"), "\n", "\r\n") + "\r\n\r\n"))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return m
}

const inviteText = `
INVITE sip:201@acme.example SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bK1
From: "Alice" <sip:alice@acme.example>;tag=a
To: <sip:201@acme.example>
Call-ID: c1
CSeq: 7 INVITE
Contact: <sip:alice@192.0.2.1:5062>
Record-Route: <sip:192.0.2.11;lr>, <sip:192.0.2.12;lr;transport=tcp>
Record-Route: <sip:192.0.2.13;lr>
Content-Length: 0`

const okText = `
SIP/2.0 200 OK
Via: SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bK1
From: "Alice" <sip:alice@acme.example>;tag=a
To: <sip:201@acme.example>;tag=b
Call-ID: c1
CSeq: 7 INVITE
Contact: <sip:bob@192.0.2.2:5064>
Record-Route: <sip:192.0.2.11;lr>, <sip:192.0.2.12;lr;transport=tcp>
Record-Route: <sip:192.0.2.13;lr>
Content-Length: 0`

// RFC 3261 sections 12.1 and 12.2: the caller's route set is the response's Record-Route backwards,
// the called party's is the request's as it stands.
func TestDialog(t *testing.T) {
	req, res := message(t, inviteText).(*sip.Request), message(t, okText).(*sip.Response)
	for _, tt := range []struct {
		name             string
		d                *dialog
		key              key
		uri, hop, from   string
		to, seq          string
		routes           []string
		second, ackNamed string
	}{
		{"caller", newCaller(req, res), key{"c1", "a", "b"}, "sip:bob@192.0.2.2:5064", "sip:192.0.2.13;lr",
			`"Alice" <sip:alice@acme.example>;tag=a`, "<sip:201@acme.example>;tag=b", "8 BYE",
			[]string{"<sip:192.0.2.13;lr>", "<sip:192.0.2.12;lr;transport=tcp>", "<sip:192.0.2.11;lr>"}, "9 INFO", "7 ACK"},
		{"called", newCalled(req, "b", sip.Uri{Scheme: "sip", Host: "192.0.2.2"}), key{"c1", "b", "a"}, "sip:alice@192.0.2.1:5062", "sip:192.0.2.11;lr",
			"<sip:201@acme.example>;tag=b", `"Alice" <sip:alice@acme.example>;tag=a`, "1 BYE",
			[]string{"<sip:192.0.2.11;lr>", "<sip:192.0.2.12;lr;transport=tcp>", "<sip:192.0.2.13;lr>"}, "2 INFO", "7 ACK"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.d.key(); got != tt.key {
				t.Errorf("key() = %v, want %v", got, tt.key)
			}
			hop := tt.d.hop()
			if got := hop.String(); got != tt.hop {
				t.Errorf("hop() = %s, want %s", got, tt.hop)
			}
			bye := tt.d.request(sip.BYE, nil, "")
			got := []string{bye.Recipient.String(), bye.From().Value(), bye.To().Value(), bye.CSeq().Value()}
			if diff := cmp.Diff([]string{tt.uri, tt.from, tt.to, tt.seq}, got); diff != "" {
				t.Errorf("request(BYE) (-want +got):\n%s", diff)
			}
			var routes []string
			for _, h := range bye.GetHeaders("Route") {
				routes = append(routes, h.Value())
			}
			if diff := cmp.Diff(tt.routes, routes); diff != "" {
				t.Errorf("Route (-want +got):\n%s", diff)
			}
			if got := tt.d.request(sip.INFO, []byte("x"), "text/plain").CSeq().Value(); got != tt.second {
				t.Errorf("second request has CSeq %s, want %s", got, tt.second)
			}
			if got := tt.d.ack(7, nil, "").CSeq().Value(); got != tt.ackNamed {
				t.Errorf("ack(7) has CSeq %s, want %s", got, tt.ackNamed)
			}
			tt.d.refresh(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", Host: "192.0.2.99"}})
			if got := tt.d.request(sip.BYE, nil, "").Recipient.Host; got != "192.0.2.99" {
				t.Errorf("after a new Contact requests go to %s", got)
			}
		})
	}
	if _, tagged := req.To().Params.Get("tag"); tagged {
		t.Error("making a dialog changed the request that it came from")
	}
}

// An ACK is sent again whenever the 2xx comes again, and not for a failure of its own accord.
func TestAckIsRepeated(t *testing.T) {
	ctx := timeout(t)
	var acks atomic.Int32
	second := make(chan struct{})
	var end *endpoint
	answer := func(ctx context.Context, req *sip.Request, tx sip.ServerTransaction) {
		switch req.Method {
		case sip.INVITE:
			res := respond(req, "b", 200, "")
			res.AppendHeader(&sip.ContactHeader{Address: end.contact("bob", tandem.UDP)})
			again := time.NewTicker(10 * time.Millisecond)
			defer again.Stop()
			for tx.Respond(res) == nil {
				select {
				case <-second:
					return
				case <-ctx.Done():
					return
				case <-again.C:
				}
			}
		case sip.ACK:
			if acks.Add(1) == 2 {
				close(second)
			}
		default:
			tx.Respond(respond(req, "", 200, ""))
		}
	}
	end, err := listen(anyPort, "called", answer, testLog())
	if err != nil {
		t.Fatal(err)
	}
	runs(t, end.run)
	p := startPhone(t, PhoneConfig{User: "alice", Proxy: tandem.Target{Transport: tandem.UDP, Addr: end.addr}})
	s, err := p.Call(ctx, "201")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-second:
	case <-ctx.Done():
		t.Errorf("%d ACKs for a 2xx that comes again and again, want 2", acks.Load())
	}
	if err := s.Hangup(ctx); err != nil {
		t.Error(err)
	}
}

// A 2xx is repeated after half a second, one, two, and then every four, for 32 seconds.
func TestAccept(t *testing.T) {
	res := message(t, okText).(*sip.Response)
	ack := new(sip.Request)
	for _, tt := range []struct {
		name  string
		after time.Duration // of the ACK; zero: none comes
		sent  int32
	}{
		{"at once", time.Millisecond, 1},
		{"after two seconds", 2 * time.Second, 3},
		{"never", 0, 11},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tx, acked := new(deafTx), make(chan *sip.Request, 1)
				if tt.after > 0 {
					time.AfterFunc(tt.after, func() { acked <- ack })
				}
				began := time.Now()
				got, err := accept(t.Context(), tx, res, acked)
				if (got == ack) != (tt.after > 0) || (err == nil) != (tt.after > 0) {
					t.Errorf("accept = %p, %v", got, err)
				}
				if tt.after == 0 && time.Since(began) != 64*t1 {
					t.Errorf("accept gave up after %s, want %s", time.Since(began), 64*t1)
				}
				if got := tx.sent.Load(); got != tt.sent {
					t.Errorf("the 2xx was sent %d times, want %d", got, tt.sent)
				}
			})
		})
	}
}

// deafTx only counts what is sent.
type deafTx struct {
	sip.ServerTransaction
	sent atomic.Int32
}

func (tx *deafTx) Respond(*sip.Response) error { tx.sent.Add(1); return nil }
