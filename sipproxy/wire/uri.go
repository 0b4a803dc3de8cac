package wire

import (
	"strings"
)

// URI is a SIP or SIPS URI (RFC 3261 section 19.1), or any other of which only the scheme and the rest
// are known. All parts are as they stood, except Scheme, in lower case.
type URI struct {
	Scheme   string
	Opaque   string // for schemes other than sip and sips: all after the colon
	User     string // still escaped; "" when there is none
	Password string
	Host     string // IPv6 in brackets
	Port     uint16 // 0 when absent
	Params   string // from the first semicolon on
	Headers  string // after the question mark
}

// ParseURI reads an absolute URI. It is strict about what a proxy acts upon: characters, host and port.
func ParseURI(s string) (URI, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || !isScheme(scheme) || rest == "" || !isPrintable(rest) {
		return URI{}, errSyntax
	}
	u := URI{Scheme: strings.ToLower(scheme)}
	if u.Scheme != "sip" && u.Scheme != "sips" {
		u.Opaque = rest
		return u, nil
	}
	// An @ is not allowed unescaped after the host, so the last one ends the user part.
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		user := rest[:i]
		u.User, u.Password, _ = strings.Cut(user, ":")
		if j := strings.IndexByte(user, ':'); j >= 0 && strings.Contains(u.Password, ":") {
			// RFC 4475 section 3.1.1.2 has no second colon; neither does the grammar.
			return URI{}, errSyntax
		}
		if u.User == "" || !isUser(user) {
			return URI{}, errSyntax
		}
		rest = rest[i+1:]
	}
	if i := strings.IndexByte(rest, '?'); i >= 0 {
		rest, u.Headers = rest[:i], rest[i+1:]
		if u.Headers == "" {
			return URI{}, errSyntax
		}
	}
	if i := strings.IndexByte(rest, ';'); i >= 0 {
		rest, u.Params = rest[:i], rest[i:]
		if !uriParams(u.Params) {
			return URI{}, errSyntax
		}
	}
	if strings.ContainsAny(rest, " \t") {
		return URI{}, errSyntax
	}
	var err error
	u.Host, u.Port, err = hostPort(rest)
	return u, err
}

// Param returns the value of a URI parameter and whether it is there.
func (u URI) Param(name string) (string, bool) {
	rest := u.Params
	for rest != "" {
		part := rest[1:]
		if i := strings.IndexByte(part, ';'); i >= 0 {
			part, rest = part[:i], part[i:]
		} else {
			rest = ""
		}
		k, v, _ := strings.Cut(part, "=")
		if len(k) == len(name) && strings.EqualFold(k, name) {
			return v, true
		}
	}
	return "", false
}

// uriParams reports whether s is a list of ;name[=value] with neither empty names nor spaces.
func uriParams(s string) bool {
	for part := range strings.SplitSeq(s[1:], ";") {
		k, _, _ := strings.Cut(part, "=")
		if k == "" || strings.ContainsAny(part, " \t<>\"@") {
			return false
		}
	}
	return true
}

// UserText returns the user part without escapes, or false when an escape is malformed or stands for
// an octet that no user of ours has (a control character).
func (u URI) UserText() (string, bool) {
	if !strings.Contains(u.User, "%") {
		return u.User, true
	}
	var b strings.Builder
	for i := 0; i < len(u.User); i++ {
		c := u.User[i]
		if c == '%' {
			hi, lo := unhex(u.User[i+1]), unhex(u.User[i+2]) // isUser saw that they are there
			c = hi<<4 | lo
			if c < ' ' || c == 0x7f {
				return "", false
			}
			i += 2
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

func isScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		letter := c >= 'a' && c <= 'z'
		if i == 0 && !letter || !letter && !isAlnum(s[i]) && strings.IndexByte("+-.", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

// isUser reports whether s may stand before the @: unreserved, user-unreserved, the colon of a
// password, and whole escapes (RFC 3261 section 25.1).
func isUser(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return false
			}
			i += 2
			continue
		}
		if !isAlnum(c) && strings.IndexByte("-_.!~*'()&=+$,;?/:#", c) < 0 {
			return false
		}
	}
	return true
}

// isPrintable reports whether s has neither spaces, control characters, quotes nor brackets.
func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '<' || c == '>' || c == '"' {
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
