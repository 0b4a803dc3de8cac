package classify

import (
	"strconv"
	"strings"
)

// URI is a Request-URI taken apart as far as routing needs.
type URI struct {
	Scheme string // lower case: sip, sips, tel, urn, …
	// User is the user part of a sip or sips URI, without password and parameters, escapes undone;
	// of a tel URI the number, without parameters and visual separators.
	User   string
	Host   string // lower case, brackets kept for IPv6; "" for other schemes
	Port   uint16 // 0 when not given
	Opaque string // for schemes that are not sip, sips or tel: what follows the colon
}

// Parse takes a URI apart; it reports false for what is none.
func Parse(uri string) (URI, bool) {
	scheme, rest, found := strings.Cut(uri, ":")
	if !found || rest == "" || !isScheme(scheme) {
		return URI{}, false
	}
	for i := 0; i < len(rest); i++ {
		if rest[i] <= ' ' || rest[i] == '<' || rest[i] == '>' || rest[i] == '"' || rest[i] == 0x7f {
			return URI{}, false
		}
	}
	u := URI{Scheme: strings.ToLower(scheme)}
	switch u.Scheme {
	case "sip", "sips":
		return u, u.setSIP(rest)
	case "tel":
		return u, u.setTel(rest)
	}
	u.Opaque = rest
	return u, true
}

// isScheme follows RFC 3986 section 3.1.
func isScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		letter := c >= 'a' && c <= 'z' && s[i] >= 'A'
		if !letter && (i == 0 || (s[i] < '0' || s[i] > '9') && strings.IndexByte("+-.", s[i]) < 0) {
			return false
		}
	}
	return s != ""
}

// setSIP reads what follows sip: or sips: (RFC 3261 section 19.1.1).
func (u *URI) setSIP(s string) bool {
	if user, rest, given := strings.Cut(s, "@"); given {
		var ok bool
		if u.User, ok = userPart(user); !ok || strings.Contains(rest, "@") {
			return false
		}
		s = rest
	}
	if end := strings.IndexAny(s, ";?"); end >= 0 {
		s = s[:end]
	}
	if colon := strings.LastIndexByte(s, ':'); colon > strings.LastIndexByte(s, ']') {
		port, err := strconv.ParseUint(s[colon+1:], 10, 16)
		if err != nil {
			return false
		}
		u.Port, s = uint16(port), s[:colon]
	}
	u.Host = strings.ToLower(s)
	return isHost(u.Host)
}

// isHost reports whether s can stand as a host: a name, an IPv4 address, or IPv6 in brackets.
func isHost(s string) bool {
	if inside, ok := strings.CutPrefix(s, "["); ok {
		inside, ok = strings.CutSuffix(inside, "]")
		return ok && inside != "" && strings.Trim(inside, "0123456789abcdef:.") == ""
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return s != ""
}

// setTel reads what follows tel: (RFC 3966 section 3).
func (u *URI) setTel(s string) bool {
	number, _, _ := strings.Cut(s, ";")
	number, ok := unescape(number)
	u.User = withoutSeparators(number)
	return ok && u.User != ""
}

// userPart returns a SIP user part without password and parameters, escapes undone.
func userPart(s string) (string, bool) {
	s, _, _ = strings.Cut(s, ":")
	s, _, _ = strings.Cut(s, ";")
	user, ok := unescape(s)
	return user, ok && user != ""
}

// unescape undoes %HH; it reports false for a broken escape and for control octets.
func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil || n < ' ' || n == 0x7f {
				return "", false
			}
			c = byte(n)
			i += 2
		}
		b = append(b, c)
	}
	return string(b), true
}
