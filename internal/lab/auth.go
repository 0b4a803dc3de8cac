package lab

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/tandem"
)

// challenge is one offer of digest authentication (RFC 7616 section 3.3, RFC 8760).
type challenge struct {
	realm, nonce, opaque string
	algorithm            tandem.DigestAlgorithm
	auth                 bool // qop "auth" is offered
	stale                bool
}

// errChallenge says that a challenge cannot be answered.
var errChallenge = errors.New("challenge cannot be answered")

// parseChallenge reads the value of a WWW-Authenticate or Proxy-Authenticate header field.
func parseChallenge(text string) (challenge, error) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	if !strings.EqualFold(scheme, "Digest") {
		return challenge{}, fmt.Errorf("%w: scheme %q", errChallenge, scheme)
	}
	c := challenge{algorithm: tandem.MD5} // RFC 7616 section 3.3: the default
	for rest = strings.TrimLeft(rest, " \t,"); rest != ""; rest = strings.TrimLeft(rest, " \t,") {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			return challenge{}, fmt.Errorf("%w: %q has no value", errChallenge, rest)
		}
		value, left, err := cutValue(strings.TrimLeft(after, " \t"))
		if err != nil {
			return challenge{}, err
		}
		rest = left
		c.set(strings.ToLower(strings.TrimSpace(name)), value)
	}
	if c.nonce == "" {
		return challenge{}, fmt.Errorf("%w: no nonce", errChallenge)
	}
	return c, nil
}

func (c *challenge) set(name, value string) {
	switch name {
	case "realm":
		c.realm = value
	case "nonce":
		c.nonce = value
	case "opaque":
		c.opaque = value
	case "algorithm":
		c.algorithm = tandem.DigestAlgorithm(strings.ToUpper(value))
	case "stale":
		c.stale = strings.EqualFold(value, "true")
	case "qop":
		for _, q := range strings.Split(value, ",") {
			c.auth = c.auth || strings.EqualFold(strings.TrimSpace(q), "auth")
		}
	}
}

// cutValue takes a token or a quoted string off the front.
func cutValue(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], nil
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", fmt.Errorf("%w: a quote is not closed", errChallenge)
}

// challengeOf returns the offer of res that comes first in algorithms, and the name of the header
// field that answers it.
func challengeOf(res *sip.Response, algorithms []tandem.DigestAlgorithm) (challenge, string, error) {
	ask, answer := "WWW-Authenticate", "Authorization"
	if res.StatusCode == 407 {
		ask, answer = "Proxy-Authenticate", "Proxy-Authorization"
	}
	offers := map[tandem.DigestAlgorithm]challenge{}
	for _, h := range res.GetHeaders(ask) {
		if c, err := parseChallenge(h.Value()); err == nil {
			offers[c.algorithm] = c
		}
	}
	for _, a := range algorithms {
		if c, ok := offers[a]; ok {
			return c, answer, nil
		}
	}
	return challenge{}, "", fmt.Errorf("%w: none of %v is offered", errChallenge, algorithms)
}

// answer makes the credentials for a request (RFC 7616 section 3.4). It is the first use of the
// nonce, for a challenge is answered once.
func (c challenge) answer(method, uri, user, secret string) string {
	var random [8]byte
	rand.Read(random[:])
	cnonce := hex.EncodeToString(random[:])
	ha1 := tandem.NewHA1(user, c.realm, secret, []tandem.DigestAlgorithm{c.algorithm}).Of(c.algorithm)
	ha2 := c.hash(method + ":" + uri)
	middle, qop := c.nonce, ""
	if c.auth {
		middle = c.nonce + ":00000001:" + cnonce + ":auth"
		qop = fmt.Sprintf(`, qop=auth, nc=00000001, cnonce="%s"`, cnonce)
	}
	text := fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=%s`,
		quoted(user), quoted(c.realm), quoted(c.nonce), uri, c.hash(ha1+":"+middle+":"+ha2), c.algorithm) + qop
	if c.opaque != "" {
		text += fmt.Sprintf(`, opaque="%s"`, quoted(c.opaque))
	}
	return text
}

func (c challenge) hash(text string) string {
	h := c.algorithm.New()
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

func quoted(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
}
