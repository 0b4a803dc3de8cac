package sipproxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// watch has play's messages traced, and returns what the reader got.
func (r *rig) watch(by tandem.Principal, f tandem.TraceFilter, play func()) []tandem.TraceLine {
	r.t.Helper()
	var got []tandem.TraceLine
	ctx, stop := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- r.s.Trace(ctx, by, f, func(lines []tandem.TraceLine) error {
			got = append(got, lines...)
			return nil
		})
	}()
	synctest.Wait() // it watches
	play()
	synctest.Wait() // it has read all
	stop()
	if err := <-ended; err != nil {
		r.t.Errorf("Trace = %v", err)
	}
	if r.s.traces.all.Load() != nil || r.s.traces.raw.Load() {
		r.t.Error("somebody watches still")
	}
	return got
}

func short(lines []tandem.TraceLine) string {
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%s > %s %s\n", l.From, l.To, l.Text)
	}
	return b.String()
}

func TestTrace(t *testing.T) {
	// Alice registers, is challenged when she calls bolt, and n1 does not want the call; the carrier
	// asks for our options, and a probe of ours is answered.
	play := func(r *rig) {
		r.register(phoneA, "alice", 1)
		r.answer(r.find(r.ask(phoneA, alice(), msg{uri: "sip:030200@acme.voice.example.net"}), "INVITE"), 486, "tt")
		r.deliverRaw(pstn, msg{method: "OPTIONS", uri: "sip:127.0.0.1", callID: "o1", from: "sip:pstn@pstn.example.org"}.text(pstn))
		probe := &wire.Message{Method: "OPTIONS", URI: "sip:127.0.0.11", CallID: "p1", CSeq: 1, CSeqMethod: "OPTIONS",
			Headers: []wire.Header{wire.Field(wire.NameVia, "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKp"), wire.Field(wire.NameFrom, "<sip:edge@127.0.0.1>;tag=e"),
				wire.Field(wire.NameTo, "<sip:127.0.0.11>"), wire.Field(wire.NameCallID, "p1"), wire.Field(wire.NameCSeq, "1 OPTIONS")}}
		r.w.write(probe, node1, 0)
		r.deliverRaw(node1, string(probe.Response(200, "OK", "x").Append(nil)))
	}
	register := "127.0.0.1:5062 > tandem REGISTER\ntandem > 127.0.0.1:5062 401 REGISTER\n127.0.0.1:5062 > tandem REGISTER\ntandem > 127.0.0.1:5062 200 REGISTER\n"
	challenge := "127.0.0.1:5062 > tandem INVITE\ntandem > 127.0.0.1:5062 407 INVITE\n"
	call := "alice > tandem INVITE\ntandem > alice 100 INVITE\ntandem > n1 INVITE\nn1 > tandem 486 INVITE\ntandem > n1 ACK\ntandem > alice 486 INVITE\n"
	options := "pstn > tandem OPTIONS\ntandem > pstn 200 OPTIONS\n"
	probe := "tandem > n1 OPTIONS\nn1 > tandem 200 OPTIONS\n"
	tests := []struct {
		name string
		by   tandem.Principal
		f    tandem.TraceFilter
		want string
	}{
		{"everything", admin(), tandem.TraceFilter{}, register + challenge + call + options},
		{"probes too", admin(), tandem.TraceFilter{Probes: true}, register + challenge + call + options + probe},
		{"a method", admin(), tandem.TraceFilter{Method: "register"}, register},
		{"an account", admin(), tandem.TraceFilter{Account: "1001"}, register + challenge + call},
		{"an account that is called, but not whose call it is", admin(), tandem.TraceFilter{Account: "2002"}, ""},
		{"a Call-ID", admin(), tandem.TraceFilter{CallID: "o1"}, options},
		{"a party", admin(), tandem.TraceFilter{Party: "030200"}, challenge + call},
		{"a node", admin(), tandem.TraceFilter{Party: "n1"}, "tandem > n1 INVITE\nn1 > tandem 486 INVITE\ntandem > n1 ACK\n"},
		{"nobody", admin(), tandem.TraceFilter{Party: "0302"}, ""},
		{"the account itself", tandem.Principal{Account: "1001"}, tandem.TraceFilter{}, call},
		{"another account", tandem.Principal{Account: "2002"}, tandem.TraceFilter{Probes: true}, ""},
		{"nobody's account", tandem.Principal{}, tandem.TraceFilter{Probes: true}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				got := r.watch(tt.by, tt.f, func() { play(r) })
				if short(got) != tt.want {
					t.Errorf("traced:\n%swant:\n%s", short(got), tt.want)
				}
				for _, l := range got {
					if l.Raw != "" || l.Missed != 0 || l.CallID == "" {
						t.Errorf("line %+v", l)
					}
				}
			})
		})
	}
}

func TestTraceOfOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, log := recordingRig(t)
		_, ok := r.setUp()
		id := r.newest(log)
		got := r.watch(admin(), tandem.TraceFilter{Call: id}, func() {
			r.deliverRaw(pstn, carrierCall(func(m *msg) { m.callID, m.branch = "c2", "z9hG4bKc2" }))
			r.deliverRaw(pstn, fromCaller("BYE", ok).text(pstn))
		})
		if short(got) != "pstn > tandem BYE\ntandem > n1 BYE\n" || got[0].Call != id || got[0].Account != "1001" || got[0].Caller != "+33123@pstn.example.org" {
			t.Errorf("traced %+v", got)
		}
		if err := r.s.Trace(t.Context(), admin(), tandem.TraceFilter{Call: "nonsense"}, nil); err == nil {
			t.Error("a call that is no id is traced")
		}
	})
}

// A reader that is slow holds up nobody, and is told how much it missed.
func TestTraceSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		slow := make(chan struct{})
		var lines, missed, last uint64
		watching := func(f tandem.TraceFilter, fn func([]tandem.TraceLine) error) (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- r.s.Trace(ctx, admin(), f, fn) }()
			synctest.Wait()
			return func() { cancel(); <-ended }
		}
		stop := watching(tandem.TraceFilter{}, func(got []tandem.TraceLine) error {
			if len(got) > 0 {
				<-slow
			}
			for _, l := range got {
				missed += l.Missed
				if l.Text != "" {
					lines++
				}
				last = l.Missed
			}
			return nil
		})
		var quick int
		quit := watching(tandem.TraceFilter{Method: "MESSAGE"}, func(got []tandem.TraceLine) error { quick += len(got); return nil })
		const sent = traceWaiting + 500
		for i := range uint64(sent) {
			r.w.came(&wire.Message{Method: "MESSAGE", CSeqMethod: "MESSAGE", CallID: itoa(int(i))}, "", strange, false)
			r.w.passed() // returns though nobody reads
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		close(slow)
		synctest.Wait()
		if quick != sent {
			t.Errorf("the quick reader got %d of %d", quick, sent)
		}
		time.Sleep(2 * traceTold)
		synctest.Wait()
		if lines+missed != sent || missed < 400 || last == 0 {
			t.Errorf("got %d lines and was told of %d missed, of %d", lines, missed, sent)
		}
		stop()
		quit()
		gone := errors.New("the reader is gone")
		ended := make(chan error, 1)
		go func() {
			ended <- r.s.Trace(t.Context(), admin(), tandem.TraceFilter{}, func(got []tandem.TraceLine) error {
				if len(got) == 0 {
					return nil // it watches
				}
				return gone
			})
		}()
		synctest.Wait()
		r.deliverRaw(pstn, carrierCall())
		if err := <-ended; err != gone {
			t.Errorf("Trace = %v", err)
		}
	})
}

func TestTraceRaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := alice()
		got := r.watch(admin(), tandem.TraceFilter{Raw: true}, func() { r.ask(phoneA, p, aliceMsg("REGISTER")) })
		if len(got) != 4 {
			t.Fatalf("traced %s", short(got))
		}
		for _, l := range got {
			if strings.Contains(l.Raw, p.nonce) || !strings.Contains(l.Raw, "Call-ID: call-1\r\n") {
				t.Errorf("shown:\n%s", l.Raw)
			}
		}
		if !strings.Contains(got[2].Raw, `Authorization: Digest username="alice", realm="tandem-1001", nonce=..., uri="sip:acme.voice.example.net", response=..., algorithm=SHA-256, cnonce=..., qop=auth, nc=00000001`) {
			t.Errorf("credentials are shown as:\n%s", got[2].Raw)
		}
		if got = r.watch(admin(), tandem.TraceFilter{Raw: true}, func() { r.deliverRaw(strange, "INVITE nonsense\r\n\r\n") }); len(got) == 0 || !strings.HasPrefix(got[0].Raw, "INVITE nonsense") {
			t.Errorf("a malformed message: %+v", got)
		}
	})
}

func TestRedact(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{"nothing to hide", "OPTIONS sip:a SIP/2.0\r\nX-Authorization: y\r\n\r\nbody", "OPTIONS sip:a SIP/2.0\r\nX-Authorization: y\r\n\r\nbody"},
		{"another scheme", "authorization : Basic c2VjcmV0\r\nTo: x\r\n", "authorization : ...\r\nTo: x\r\n"},
		{"no scheme", "Authorization: c2VjcmV0", "Authorization: ...\r\n"},
		{"folded", "Proxy-Authorization: Digest\r\n username=\"a\",\r\n\tresponse=\"secret\"\r\nTo: x", "Proxy-Authorization: Digest username=\"a\", response=...\r\nTo: x"},
		{"a comma in quotes", `Authorization: Digest username="a,secret=1", realm="r"`, "Authorization: Digest username=\"a, ..., realm=\"r\"\r\n"},
		{"a challenge", `WWW-Authenticate: Digest realm="r", NONCE="secret", opaque="secret", stale=true`, "WWW-Authenticate: Digest realm=\"r\", nonce=..., opaque=..., stale=true\r\n"},
		{"what follows success", `Authentication-Info: nextnonce="secret"`, "Authentication-Info: ...\r\n"},
		{"keys of media", "v=0\r\na=crypto:1 AES inline:secret\r\na=ice-pwd:secret\r\nk=clear:secret\r\na=sendrecv\r\n", "v=0\r\na=crypto:...\r\na=ice-pwd:...\r\nk=...\r\na=sendrecv\r\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := redact(c.text); got != c.want {
				t.Errorf("redact = %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzRedact: however credentials are written, as long as they can be read they cannot be read
// afterwards; and all other fields can.
func FuzzRedact(f *testing.F) {
	for _, extra := range []string{`Authorization: Digest username="a", response="s3"`, "Authorization:Digest\r\n response=s3", "proxy-authorization\t: dIgEsT nonce=s3,\r\n\tcnonce=s3", "WWW-Authenticate: Basic s3"} {
		f.Add(msg{extra: extra, body: "a=crypto:s3"}.text(strange))
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, fault := wire.Parse(text)
		if fault != nil {
			return
		}
		shown, fault := wire.Parse(redact(text))
		if shown == nil {
			t.Fatalf("cannot be read: %v\n%s", fault, redact(text))
		}
		if len(shown.Headers) != len(m.Headers) {
			t.Fatalf("%d fields became %d:\n%q\n%q", len(m.Headers), len(shown.Headers), text, redact(text))
		}
		for i, h := range shown.Headers {
			if !isAuth(strings.Trim(h.Raw, " \t")) {
				if h.Value != m.Headers[i].Value && h.Name != wire.NameContentLength {
					t.Errorf("%s: %q became %q", h.Raw, m.Headers[i].Value, h.Value)
				}
				continue
			}
			for _, secret := range []string{"response", "nonce", "cnonce", "opaque"} {
				for param := range strings.SplitSeq(h.Value, ",") {
					name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(param), "Digest "), "=")
					if ok && strings.EqualFold(strings.TrimSpace(name), secret) && value != hidden {
						t.Errorf("%s: %q", h.Raw, h.Value)
					}
				}
			}
		}
	})
}
