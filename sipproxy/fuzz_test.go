package sipproxy

import (
	"bytes"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"tandem/sipproxy/wire"
)

// FuzzProxy: any octets from anybody leave the proxy standing, and what it sends because of them
// parses (the rig's network refuses else); a stranger leaves no state behind.
func FuzzProxy(f *testing.F) {
	f.Add(carrierCall(), uint8(0))
	f.Add(msg{}.text(strange), uint8(1))
	f.Add(msg{uri: "sip:alice@acme.voice.example.net"}.text(node1), uint8(2))
	f.Add(msg{method: "REGISTER", uri: "sip:acme.voice.example.net"}.text(phoneA), uint8(1))
	f.Add(msg{method: "BYE", toTag: "x", extra: "Route: <sip:127.0.0.1:5060;lr>"}.text(strange), uint8(1))
	f.Add("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n", uint8(2))
	f.Fuzz(func(t *testing.T, text string, who uint8) {
		r := newRig(t)
		from := [...]hop{pstn, strange, node1}[who%3]
		for _, l := range r.deliverRaw(from, text) {
			if from == strange && len(l.b) > 3*len(text) {
				t.Errorf("%d octets for %d:\n%s", len(l.b), len(text), l.b)
			}
		}
		if from == strange && len(r.w.servers)+len(r.w.clients) != 0 {
			t.Error("a stranger left state behind")
		}
	})
}

// touched are the fields that forwarding may change, besides Request-URI.
func touched(n wire.Name) bool {
	switch n {
	case wire.NameVia, wire.NameRecordRoute, wire.NameRoute, wire.NameMaxForwards, wire.NameContentLength,
		wire.NameProxyAuthorization, wire.NameAuthorization, wire.NameAssertedIdentity:
		return true
	}
	return false
}

// others lists the fields that must be as they were, and the body.
func others(m *wire.Message) string {
	var b strings.Builder
	for _, h := range m.Headers {
		if !touched(h.Name) {
			b.WriteString(h.Raw + ": " + h.Value + "\n")
		}
	}
	return b.String() + m.Body
}

// FuzzRewrite: what is forwarded differs from what came only in the fields that are meant to change, and
// the hop count falls by one.
func FuzzRewrite(f *testing.F) {
	f.Add("X-Any: \"quoted; semi\", <a>;b=\"c\"", "body", "sip:030100@127.0.0.1")
	f.Add("Subject:\r\n folded\r\n\tagain", "", "sip:030100@127.0.0.1;user=phone")
	f.Add("P-Asserted-Identity: <sip:x@y>\r\nProxy-Authorization: Digest realm=\"z\"", "x", "tel:+4930100")
	f.Add("Max-Forwards: 3", "", "sip:030100;isub=1@127.0.0.1")
	f.Add("v: SIP/2.0/TCP [::1]:1;branch=z9hG4bKq, SIP/2.0/UDP a.b", "", "sip:030100@127.0.0.1")
	f.Fuzz(func(t *testing.T, extra, body, uri string) {
		r := newRig(t)
		text := msg{uri: uri, to: "sip:x@example.com", extra: extra, body: body}.text(pstn)
		in, fault := wire.Parse(text)
		if fault != nil {
			return
		}
		for _, l := range r.deliverRaw(pstn, text) {
			if l.m.Method != in.Method {
				continue
			}
			if got, want := others(l.m), others(in); got != want {
				t.Errorf("changed:\n%q\nwas\n%q", got, want)
			}
			if l.m.MaxForwards != in.MaxForwards-1 {
				t.Errorf("Max-Forwards %d after %d", l.m.MaxForwards, in.MaxForwards)
			}
			if got, want := len(l.m.Values(wire.NameVia)), len(in.Values(wire.NameVia))+1; got != want {
				t.Errorf("%d Vias, want %d", got, want)
			}
		}
	})
}

// A second parser must read what we send.
func TestSipgoReadsWhatWeSend(t *testing.T) {
	r := newRig(t)
	for _, l := range append(r.deliverRaw(pstn, carrierCall()), r.deliverRaw(strange, msg{method: "OPTIONS", uri: "sip:127.0.0.1:5060"}.text(strange))...) {
		m, err := sip.ParseMessage([]byte(l.b))
		if err != nil {
			t.Fatalf("%v\n%s", err, l.b)
		}
		if got := m.Via(); got == nil || got.Host != "127.0.0.1" && got.Host != "127.0.0.21" {
			t.Errorf("sipgo reads Via %v", got)
		}
	}
}

// BenchmarkInviteForward is a call set up through the proxy: INVITE in, 100 and INVITE out; 180 in and out;
// 200 in and out: seven messages.
func BenchmarkInviteForward(b *testing.B) {
	r := newRig(b)
	sink := &octets{}
	r.s.net = sink
	invite := []byte(carrierCall(func(m *msg) { m.body = strings.Repeat("a=sendrecv\r\n", 12) }))
	b.ReportAllocs()
	b.SetBytes(int64(len(invite)))
	n := 0
	for b.Loop() {
		n++
		id := []byte(strings.Replace(itoa(100_000_000+n), "1", "2", 1))
		text := string(bytes.Replace(bytes.ReplaceAll(invite, []byte("call-1"), append([]byte("c-"), id...)), []byte("z9hG4bKb1"), append([]byte("z9hG4bK"), id...), 1))
		r.w.handle(event{kind: messageIn, from: pstn, data: text}, r.now)
		out, _ := wire.Parse(string(sink.last))
		ringing := string(out.Response(180, "Ringing", "tt").Append(nil))
		answered := out.Response(200, "OK", "tt")
		for _, v := range out.Values(wire.NameRecordRoute) {
			answered.Headers = append(answered.Headers, wire.Field(wire.NameRecordRoute, v))
		}
		ok := string(answered.Append(nil))
		r.w.handle(event{kind: messageIn, from: node1, data: ringing}, r.now)
		r.w.handle(event{kind: messageIn, from: node1, data: ok}, r.now)
		if n%1000 == 0 { // let transactions and calls end
			b.StopTimer()
			r.advance(25 * 3600 * 1e9)
			r.makeKeys()
			b.StartTimer()
		}
	}
	if sink.n < 4*n {
		b.Fatalf("%d messages sent for %d calls", sink.n, n)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n)/7, "ns/message")
}

// octets is a network that keeps the last message.
type octets struct {
	last []byte
	n    int
}

func (o *octets) send(_ hop, b []byte, _ int, _ uint64) error {
	o.last = append(o.last[:0], b...)
	o.n++
	return nil
}
