package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
)

// The examples of RFC 7616 section 3.9.1, with the request counter and cnonce that answer makes
// itself taken out: without qop the response is a plain function of what is given.
func TestAnswer(t *testing.T) {
	c := challenge{realm: "testrealm@host.com", nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093", algorithm: tandem.MD5}
	got := c.answer("GET", "/dir/index.html", "Mufasa", "Circle Of Life")
	if want := `response="670fd8c2df070c60b045671b8b24ff02"`; !strings.Contains(got, want) { // RFC 2069 with errata
		t.Errorf("answer = %s, want %s", got, want)
	}
	if again := c.answer("GET", "/dir/index.html", "Mufasa", "circle of life"); strings.Contains(again, "670fd8c2") {
		t.Error("another password gives the same response")
	}
}

func TestParseChallenge(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       challenge
		fails      bool
	}{
		{"full", `Digest realm="tandem-1001", nonce="abc", algorithm=SHA-256, qop="auth,auth-int", opaque="x\"y", stale=TRUE`,
			challenge{realm: "tandem-1001", nonce: "abc", opaque: `x"y`, algorithm: tandem.SHA256, auth: true, stale: true}, false},
		{"least", `digest nonce="n"`, challenge{nonce: "n", algorithm: tandem.MD5}, false},
		{"unknown parameters", `Digest nonce="n", charset=UTF-8, userhash=false`, challenge{nonce: "n", algorithm: tandem.MD5}, false},
		{"spaces", "Digest  realm = \"r\" ,\t nonce=\"n\"", challenge{realm: "r", nonce: "n", algorithm: tandem.MD5}, false},
		{"no nonce", `Digest realm="r"`, challenge{}, true},
		{"basic", `Basic realm="r"`, challenge{}, true},
		{"open quote", `Digest nonce="n`, challenge{}, true},
		{"no value", `Digest nonce="n", qop`, challenge{}, true},
		{"empty", ``, challenge{}, true},
	} {
		got, err := parseChallenge(tt.text)
		if (err != nil) != tt.fails || err != nil && !errors.Is(err, errChallenge) {
			t.Errorf("%s: parseChallenge(%q) = %v, want error %t", tt.name, tt.text, err, tt.fails)
			continue
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(challenge{})); diff != "" && !tt.fails {
			t.Errorf("%s: parseChallenge (-want +got):\n%s", tt.name, diff)
		}
	}
}

// FuzzParseChallenge: what is accepted has a nonce, and is read the same when written anew.
func FuzzParseChallenge(f *testing.F) {
	f.Add(`Digest realm="tandem-1001", nonce="abc", algorithm=SHA-256, qop="auth"`)
	f.Add(`Digest nonce="a\\b\"c", opaque=x,stale=true`)
	f.Add(`Basic realm="r"`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseChallenge(text)
		if err != nil {
			return
		}
		if c.nonce == "" {
			t.Fatalf("accepted %q without a nonce", text)
		}
		qop := ""
		if c.auth {
			qop = `, qop="auth"`
		}
		written := fmt.Sprintf(`Digest realm="%s", nonce="%s", opaque="%s", algorithm="%s", stale=%t%s`,
			quoted(c.realm), quoted(c.nonce), quoted(c.opaque), quoted(string(c.algorithm)), c.stale, qop)
		again, err := parseChallenge(written)
		if err != nil || again != c {
			t.Fatalf("%q reads as %+v, %v after writing, want %+v", written, again, err, c)
		}
	})
}

// registrar is a small registrar with digest authentication for one user.
type registrar struct {
	end        *endpoint
	secret     string
	algorithms []tandem.DigestAlgorithm
	stale      bool // the first credentials are called stale
	forgetful  bool // it answers 200 without any binding
}

func startRegistrar(t *testing.T, r *registrar) tandem.Target {
	t.Helper()
	end, err := listen(anyPort, "registrar", r.take, testLog())
	if err != nil {
		t.Fatal(err)
	}
	r.end = end
	runs(t, end.run)
	return tandem.Target{Transport: tandem.UDP, Addr: end.addr}
}

func (r *registrar) take(_ context.Context, req *sip.Request, tx sip.ServerTransaction) {
	h := req.GetHeader("Authorization")
	if h == nil || r.stale {
		r.stale = r.stale && h == nil
		res := respond(req, "", 401, "Unauthorized")
		for _, a := range r.algorithms {
			stale := h != nil
			res.AppendHeader(sip.NewHeader("WWW-Authenticate",
				fmt.Sprintf(`Digest realm="tandem-1001", nonce="n%d", algorithm=%s, qop="auth", stale=%t`, req.CSeq().SeqNo, a, stale)))
		}
		tx.Respond(res)
		return
	}
	if !r.proven(req, h.Value()) {
		tx.Respond(respond(req, "", 403, ""))
		return
	}
	if r.forgetful {
		tx.Respond(respond(req, "", 200, ""))
		return
	}
	tx.Respond(registered(req))
}

// proven computes the response over again from the credentials' own parameters.
func (r *registrar) proven(req *sip.Request, text string) bool {
	given := map[string]string{}
	for _, part := range strings.Split(strings.TrimPrefix(text, "Digest "), ", ") {
		name, value, _ := strings.Cut(part, "=")
		given[name] = strings.Trim(value, `"`)
	}
	a := tandem.DigestAlgorithm(given["algorithm"])
	c := challenge{algorithm: a}
	ha1 := tandem.NewHA1(given["username"], given["realm"], r.secret, []tandem.DigestAlgorithm{a}).Of(a)
	ha2 := c.hash(string(req.Method) + ":" + given["uri"])
	want := c.hash(strings.Join([]string{ha1, given["nonce"], given["nc"], given["cnonce"], given["qop"], ha2}, ":"))
	return want == given["response"] && a == r.algorithms[0] && given["uri"] == req.Recipient.String()
}

func TestRegister(t *testing.T) {
	all := []tandem.DigestAlgorithm{tandem.SHA256, tandem.MD5}
	for _, tt := range []struct {
		name      string
		secret    string // of the phone
		registrar registrar
		knows     []tandem.DigestAlgorithm
		code      int // 0: registered
		fails     error
	}{
		{name: "SHA-256 preferred", secret: "s3cret", registrar: registrar{algorithms: all}},
		{name: "MD5 only", secret: "s3cret", registrar: registrar{algorithms: all[1:]}},
		{name: "stale nonce", secret: "s3cret", registrar: registrar{algorithms: all, stale: true}},
		{name: "wrong password", secret: "guess", registrar: registrar{algorithms: all}, code: 403},
		{name: "no password", secret: "", registrar: registrar{algorithms: all}, code: 401},
		{name: "no algorithm in common", secret: "s3cret", registrar: registrar{algorithms: all[1:]}, knows: all[:1], fails: errChallenge},
		{name: "forgetful registrar", secret: "s3cret", registrar: registrar{algorithms: all, forgetful: true}, fails: errNotBound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := timeout(t)
			tt.registrar.secret = "s3cret"
			p := startPhone(t, PhoneConfig{User: "alice", Secret: tt.secret, Algorithms: tt.knows, Proxy: startRegistrar(t, &tt.registrar)})
			granted, err := p.Register(ctx, time.Minute)
			var refused *StatusError
			switch {
			case tt.fails != nil:
				if !errors.Is(err, tt.fails) {
					t.Errorf("Register = %v, want %v", err, tt.fails)
				}
			case tt.code != 0:
				if !errors.As(err, &refused) || refused.Code != tt.code {
					t.Errorf("Register = %v, want %d", err, tt.code)
				}
			case err != nil || granted != time.Minute:
				t.Errorf("Register = %s, %v, want 1m", granted, err)
			}
		})
	}
}
