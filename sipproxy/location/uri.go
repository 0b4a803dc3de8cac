package location

import (
	"slices"
	"strings"
)

// uri is a SIP URI taken apart (RFC 3261 section 19.1.1).
type uri struct {
	secure  bool
	user    string // with password, escapes made uniform
	host    string // as it stands
	port    string
	params  []string // name=value, escapes made uniform
	headers []string // sorted
}

// Equal reports whether two SIP URIs are equal by RFC 3261 section 19.1.4. URIs that are malformed
// equal themselves only.
func Equal(a, b string) bool {
	if a == b {
		return true
	}
	x, okX := parse(a)
	y, okY := parse(b)
	return okX && okY && x.secure == y.secure && x.user == y.user && x.port == y.port &&
		strings.EqualFold(x.host, y.host) && slices.Equal(x.headers, y.headers) &&
		x.agrees(&y) && y.agrees(&x)
}

// agrees reports whether y has the same value for each parameter of x that it must: for all that it
// has, and for those that may not be missing.
func (x *uri) agrees(y *uri) bool {
	for _, p := range x.params {
		name, value, _ := strings.Cut(p, "=")
		other, found := y.param(name)
		if found && !strings.EqualFold(value, other) || !found && decides(name) {
			return false
		}
	}
	return true
}

// decides reports whether a parameter that only one URI has makes them different.
func decides(name string) bool {
	return slices.ContainsFunc([]string{"user", "ttl", "method", "maddr", "transport"}, func(s string) bool { return strings.EqualFold(s, name) })
}

func (x *uri) param(name string) (string, bool) {
	for _, p := range x.params {
		if n, value, _ := strings.Cut(p, "="); strings.EqualFold(n, name) {
			return value, true
		}
	}
	return "", false
}

// valid reports whether s is a SIP URI that can stand as a contact.
func valid(s string) bool {
	_, ok := parse(s)
	return ok
}

// parse takes a sip or sips URI apart; it refuses what no message could carry.
func parse(s string) (uri, bool) {
	var u uri
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '<' || r == '>' || r == '"' || r >= 0x7f }) {
		return u, false
	}
	if !escapesWell(s) {
		return u, false
	}
	scheme, rest, found := strings.Cut(s, ":")
	u.secure = strings.EqualFold(scheme, "sips")
	if !found || !u.secure && !strings.EqualFold(scheme, "sip") {
		return u, false
	}
	if user, after, given := strings.Cut(rest, "@"); given {
		if user == "" || strings.Contains(after, "@") {
			return u, false
		}
		u.user, rest = uniform(user), after
	}
	rest, headers, _ := strings.Cut(rest, "?")
	hostport, params, _ := strings.Cut(rest, ";")
	return u, u.setHost(hostport) && u.setParams(params) && u.setHeaders(headers)
}

func (u *uri) setHost(s string) bool {
	u.host = s
	if colon := strings.LastIndexByte(s, ':'); colon > strings.LastIndexByte(s, ']') {
		u.host, u.port = s[:colon], s[colon+1:]
		if u.port == "" || len(u.port) > 5 || strings.Trim(u.port, "0123456789") != "" {
			return false
		}
	}
	inside := u.host
	if strings.HasPrefix(inside, "[") && strings.HasSuffix(inside, "]") {
		inside = inside[1 : len(inside)-1]
	} else if strings.ContainsRune(inside, ':') {
		return false
	}
	return inside != "" && !strings.ContainsAny(inside, "[]%/=&,")
}

// setParams takes the parameters; none may stand twice (RFC 3261 section 19.1.1).
func (u *uri) setParams(s string) bool {
	for s != "" {
		var p string
		p, s, _ = strings.Cut(s, ";")
		p = uniform(p)
		name, _, _ := strings.Cut(p, "=")
		if _, twice := u.param(name); twice || name == "" {
			return false
		}
		u.params = append(u.params, p)
	}
	return true
}

func (u *uri) setHeaders(s string) bool {
	for s != "" {
		var h string
		h, s, _ = strings.Cut(s, "&")
		name, value, found := strings.Cut(uniform(h), "=")
		if !found || name == "" {
			return false
		}
		u.headers = append(u.headers, strings.ToLower(name)+"="+value)
	}
	slices.Sort(u.headers)
	return true
}

// escapesWell reports whether each % in s begins an escaped octet.
func escapesWell(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && (i+2 >= len(s) || unhex(s[i+1]) > 15 || unhex(s[i+2]) > 15) {
			return false
		}
	}
	return true
}

// uniform writes escapes, which must be well-formed, one way: an escaped octet that needs none
// stands as itself, one that does (reserved characters, RFC 3261 section 25.1, and what is neither
// letter, digit nor mark) as % and upper-case hex.
func uniform(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			high, low := unhex(s[i+1]), unhex(s[i+2])
			i += 2
			if c = high<<4 | low; !unreserved(c) {
				b = append(b, '%', "0123456789ABCDEF"[high], "0123456789ABCDEF"[low])
				continue
			}
		}
		b = append(b, c)
	}
	return string(b)
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.!~*'()", c) >= 0
}
