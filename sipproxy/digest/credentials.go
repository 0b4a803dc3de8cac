package digest

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"tandem/internal/tandem"
)

// Credentials are what one Authorization or Proxy-Authorization header holds. Strings point into
// the header.
type Credentials struct {
	Username  string
	Realm     string
	Nonce     string
	URI       string
	Response  string // hex, as long as the algorithm's hashes
	Algorithm tandem.DigestAlgorithm
	CNonce    string
	Opaque    string
	QOP       string // "auth" or ""
	NC        uint32

	nc string // as it stands, for it is hashed so
}

// User returns the user name without a host part.
func (c *Credentials) User() string {
	user, _, _ := strings.Cut(c.Username, "@")
	return user
}

// maxValue bounds each value of credentials, in octets.
const maxValue = 512

var (
	errSyntax = errors.New("malformed credentials")
	// errForeign is for what is well-formed and not ours to check.
	errForeign = errors.New("credentials of another kind")
)

// Find returns the credentials for a realm and an offered algorithm among the values of a request's
// Authorization or Proxy-Authorization headers, the first that fit. Its outcome is OK,
// NoCredentials or BadRequest.
func Find(values []string, realm string, offer []tandem.DigestAlgorithm) (Credentials, Outcome) {
	for _, value := range values {
		c, err := parse(value)
		switch {
		case errors.Is(err, errForeign):
		case err != nil:
			return Credentials{}, BadRequest
		case c.Realm == realm && slices.Contains(offer, c.Algorithm):
			return c, OK
		}
	}
	return Credentials{}, NoCredentials
}

// parse reads one header's value: strict in syntax, deaf to parameters it does not know.
func parse(value string) (Credentials, error) {
	var c Credentials
	scheme, rest := trimSpace(value), ""
	if end := strings.IndexAny(scheme, " \t\r\n"); end >= 0 {
		scheme, rest = scheme[:end], scheme[end:]
	}
	if !strings.EqualFold(scheme, "Digest") {
		if scheme == "" || !isToken(scheme) {
			return c, errSyntax
		}
		return c, errForeign
	}
	var p params
	for more := true; more; {
		var err error
		if rest, more, err = p.next(rest); err != nil {
			return c, err
		}
	}
	return p.credentials()
}

// The parameters that count; their order is that of params.values.
const (
	pUsername = iota
	pRealm
	pNonce
	pURI
	pResponse
	pAlgorithm
	pCNonce
	pOpaque
	pQOP
	pNC
	pCount
)

// params collects the parameters of one header.
type params struct {
	values [pCount]string
	given  [pCount]bool
}

// index returns which parameter a name is, -1 for one that does not count.
func index(name string) int {
	names := [pCount]string{"username", "realm", "nonce", "uri", "response", "algorithm", "cnonce", "opaque", "qop", "nc"}
	for i, n := range names {
		if strings.EqualFold(n, name) {
			return i
		}
	}
	return -1
}

// next reads one parameter from the beginning of s and returns what follows it, and whether a
// further parameter must.
func (p *params) next(s string) (rest string, more bool, err error) {
	name, rest, found := strings.Cut(s, "=")
	name = trimSpace(name)
	if !found || !isToken(name) {
		return "", false, errSyntax
	}
	value, rest, err := readValue(trimLeft(rest))
	if err != nil {
		return "", false, err
	}
	if i := index(name); i >= 0 {
		if p.given[i] || len(value) > maxValue {
			return "", false, errSyntax
		}
		p.values[i], p.given[i] = value, true
	}
	rest = trimLeft(rest)
	if rest == "" {
		return "", false, nil
	}
	if rest[0] != ',' {
		return "", false, errSyntax
	}
	return rest[1:], true, nil
}

// readValue reads a token or a quoted string from the beginning of s.
func readValue(s string) (value, rest string, err error) {
	if s == "" || s[0] != '"' {
		n := 0
		for n < len(s) && isTokenOctet(s[n]) {
			n++
		}
		if n == 0 {
			return "", "", errSyntax
		}
		return s[:n], s[n:], nil
	}
	escaped := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			value = s[1:i]
			if escaped {
				value = unescape(value)
			}
			return value, s[i+1:], nil
		case c == '\\':
			escaped = true
			if i++; i == len(s) || s[i] < ' ' || s[i] >= 0x7f {
				return "", "", errSyntax
			}
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", "", errSyntax
		}
	}
	return "", "", errSyntax
}

func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// credentials checks what was collected (RFC 7616 section 3.4).
func (p *params) credentials() (Credentials, error) {
	for _, i := range [...]int{pUsername, pRealm, pNonce, pURI, pResponse} {
		if p.values[i] == "" {
			return Credentials{}, errSyntax
		}
	}
	c := Credentials{
		Username: p.values[pUsername], Realm: p.values[pRealm], Nonce: p.values[pNonce],
		URI: p.values[pURI], Response: p.values[pResponse], CNonce: p.values[pCNonce],
		Opaque: p.values[pOpaque], nc: p.values[pNC],
	}
	if c.Algorithm = algorithm(p.values[pAlgorithm], p.given[pAlgorithm]); c.Algorithm == "" {
		return Credentials{}, errForeign
	}
	if len(c.Response) != hexLen(c.Algorithm) || !isHex(c.Response) {
		return Credentials{}, errSyntax
	}
	return c, c.count(p)
}

// count reads qop, nc and cnonce, which come together or not at all.
func (c *Credentials) count(p *params) error {
	if !p.given[pQOP] {
		c.nc, c.CNonce = "", ""
		return nil
	}
	if !strings.EqualFold(p.values[pQOP], "auth") || len(c.nc) != 8 || !isHex(c.nc) || c.CNonce == "" {
		return errSyntax
	}
	nc, err := strconv.ParseUint(c.nc, 16, 32)
	if err != nil || nc == 0 {
		return errSyntax
	}
	c.QOP, c.NC = p.values[pQOP], uint32(nc)
	return nil
}

// algorithm returns the algorithm that a parameter names, MD5 when there is none (RFC 7616 section
// 3.3), "" for one that is never offered.
func algorithm(name string, given bool) tandem.DigestAlgorithm {
	if !given {
		return tandem.MD5
	}
	for _, a := range [...]tandem.DigestAlgorithm{tandem.SHA256, tandem.MD5, tandem.SHA512_256} {
		if strings.EqualFold(name, string(a)) {
			return a
		}
	}
	return ""
}

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isTokenOctet(s[i]) {
			return false
		}
	}
	return s != ""
}

// isTokenOctet follows RFC 3261 section 25.1, token.
func isTokenOctet(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-.!%*_+`'~", c) >= 0
}

func trimSpace(s string) string { return strings.Trim(s, " \t\r\n") }
func trimLeft(s string) string  { return strings.TrimLeft(s, " \t\r\n") }
