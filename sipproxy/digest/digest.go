package digest

import (
	"time"

	"tandem/internal/tandem"
)

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
type Verifier struct{}

// New returns a verifier. Nonces made before now are stale.
func New(cfg Config, keys Keys, now time.Time) *Verifier { return &Verifier{} }

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

func (o Outcome) String() string { return "" }

// Credentials are what one Authorization or Proxy-Authorization header holds. Strings point into
// the header.
type Credentials struct {
	Username  string
	Realm     string
	Nonce     string
	URI       string
	Response  string
	Algorithm tandem.DigestAlgorithm
	CNonce    string
	Opaque    string
	QOP       string // "auth" or ""
	NC        uint32
}

// User returns the user name without a host part.
func (c *Credentials) User() string { return "" }

// Challenges returns the values of the WWW-Authenticate or Proxy-Authenticate headers to send, one
// an algorithm, in the order given. It fails only when there is no key to make nonces with.
func (v *Verifier) Challenges(now time.Time, realm string, offer []tandem.DigestAlgorithm, stale bool) ([]string, error) {
	return nil, nil
}

// Find returns the credentials for a realm and an offered algorithm among the values of a request's
// Authorization or Proxy-Authorization headers. Its outcome is OK, NoCredentials or BadRequest.
func Find(values []string, realm string, offer []tandem.DigestAlgorithm) (Credentials, Outcome) {
	return Credentials{}, NoCredentials
}

// Request is what credentials are checked against.
type Request struct {
	Method string
	URI    string // Request-URI as received
	Realm  string
	// HA1 is the device's hash for the credentials' algorithm, in lower-case hex; empty for an
	// unknown user, which costs the same.
	HA1 []byte
	// NoQOP allows MD5 credentials without qop (RFC 2069), which say nothing against replay
	// within a nonce's life.
	NoQOP bool
}

// Verify checks credentials that Find returned.
func (v *Verifier) Verify(now time.Time, c *Credentials, r *Request) Outcome { return Bad }
