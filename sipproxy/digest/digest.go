package digest

import (
	"crypto/subtle"
	"errors"
	"time"

	"tandem/internal/tandem"
)

// ErrNoKey says that there is no key to make nonces with (yet).
var ErrNoKey = errors.New("digest: no nonce key")

// Keys gives the secrets that nonces are made with. It is safe for concurrent use.
type Keys interface {
	// Signing returns the number and the secret to make nonces with; a nil secret when there is none.
	Signing(now time.Time) (number uint8, secret []byte)
	// Lookup returns the secret with a number, nil when it is unknown or too old.
	Lookup(number uint8, now time.Time) []byte
}

// Config bounds a Verifier. Zero values take the defaults.
type Config struct {
	Edge     string        // nonces of other edges are stale here, so that none is replayed there
	Lifetime time.Duration // of a nonce; default 300 s
	Nonces   int           // how many used nonces are remembered; default 65536
}

// Verifier makes challenges and checks credentials. All methods may be called at once.
type Verifier struct {
	edge     string
	lifetime tick
	keys     Keys
	start    tick
	replay   *replay
}

// New returns a verifier. Nonces made before now are stale.
func New(cfg Config, keys Keys, now time.Time) *Verifier {
	if cfg.Lifetime <= 0 {
		cfg.Lifetime = 300 * time.Second
	}
	if cfg.Nonces <= 0 {
		cfg.Nonces = 65536
	}
	start := tickOf(now)
	return &Verifier{
		edge: cfg.Edge, lifetime: tick(cfg.Lifetime / tickLength), keys: keys, start: start,
		replay: newReplay(cfg.Nonces, start),
	}
}

// Outcome is what a check of credentials came to.
type Outcome uint8

// Outcomes.
const (
	NoCredentials Outcome = iota // none for this realm and an offered algorithm: challenge
	OK
	Stale       // the secret is right, the nonce is not (any more): challenge with stale
	Bad         // wrong secret: 403
	UnknownUser // like Bad in every answer and in cost; told apart for metrics only
	BadRequest  // malformed: 400
)

func (o Outcome) String() string {
	names := [...]string{"none", "ok", "stale", "bad", "unknown", "malformed"}
	if int(o) >= len(names) {
		return "?"
	}
	return names[o]
}

// Challenges returns the values of the WWW-Authenticate or Proxy-Authenticate headers to send, one
// an algorithm, in the order given; they share one nonce. Its only error is ErrNoKey.
func (v *Verifier) Challenges(now time.Time, realm string, offer []tandem.DigestAlgorithm, stale bool) ([]string, error) {
	var room [nonceText]byte
	nonce, ok := v.appendNonce(room[:0], now, realm)
	if !ok {
		return nil, ErrNoKey
	}
	values := make([]string, len(offer))
	for i, a := range offer {
		b := make([]byte, 0, 192)
		b = append(b, `Digest realm="`...)
		b = appendEscaped(b, realm)
		b = append(b, `", nonce="`...)
		b = append(b, nonce...)
		b = append(b, `", algorithm=`...)
		b = append(b, a...)
		b = append(b, `, qop="auth"`...)
		if stale {
			b = append(b, ", stale=true"...)
		}
		values[i] = string(b)
	}
	return values, nil
}

// appendEscaped appends s as the inside of a quoted string.
func appendEscaped(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return b
}

// Request is what credentials are checked against.
type Request struct {
	Method string
	URI    string // Request-URI as received
	Realm  string
	// HA1 is the device's hash for the credentials' algorithm, in lower-case hex; empty for an
	// unknown user, which costs the same.
	HA1 []byte
	// NoQOP allows MD5 credentials without qop (RFC 2069); each nonce serves them once.
	NoQOP bool
}

// Verify checks credentials that Find returned for r's realm. A retransmission must not come here:
// its transaction answers it.
func (v *Verifier) Verify(now time.Time, c *Credentials, r *Request) Outcome {
	if !sameURI(c.URI, r.URI) && !namesServer(c.URI) || c.QOP == "" && (!r.NoQOP || c.Algorithm != tandem.MD5) {
		return BadRequest
	}
	size := hexLen(c.Algorithm)
	var nobody, want, got [maxHex]byte
	ha1, known := r.HA1, len(r.HA1) == size
	if !known {
		ha1 = nobody[:size]
	}
	right := subtle.ConstantTimeCompare(appendResponse(want[:0], c, r.Method, ha1), appendLower(got[:0], c.Response)) == 1
	n, fresh := v.openNonce(now, c.Nonce, r.Realm)
	switch {
	case !known:
		return UnknownUser
	case !right:
		return Bad
	case !fresh:
		return Stale
	}
	count := c.NC
	if c.QOP == "" {
		count = 1
	}
	if !v.replay.take(n, count) {
		return Stale
	}
	return OK
}
