package wire

import (
	"errors"
	"iter"
	"net/netip"
	"strconv"
	"strings"
)

var errSyntax = errors.New("syntax")

// Via is one Via value (RFC 3261 section 20.42).
type Via struct {
	Transport string // as it stood, such as UDP
	Host      string // sent-by host; IPv6 in brackets
	Port      uint16 // sent-by port; 0 when absent
	Branch    string
	Received  string
	RPort     uint16 // value of rport
	HasRPort  bool   // rport stood there, with or without a value
}

// ParseVia reads one Via value. Its error is a few words, fit for a reason phrase; with a Host set
// beside it, an answer can still be sent.
func ParseVia(s string) (Via, error) {
	var v Via
	rest, params := cutParams(s)
	rest, ok := cutWord(rest, "SIP")
	if ok {
		rest, ok = cutWord(rest, "/")
	}
	version := ""
	if ok {
		version, rest, ok = strings.Cut(rest, "/")
	}
	rest = strings.TrimLeft(rest, " \t")
	i := strings.IndexAny(rest, " \t")
	if !ok || i <= 0 || !isToken(rest[:i]) {
		return v, errors.New("malformed Via")
	}
	v.Transport = rest[:i]
	host, port, err := hostPort(trim(rest[i:]))
	if err != nil {
		return v, errors.New("malformed Via host")
	}
	v.Host, v.Port = host, port
	for p, err := range Params(params) {
		if err != nil {
			return v, errors.New("malformed Via parameter")
		}
		switch {
		case p.Is("branch"):
			v.Branch = p.Value
		case p.Is("received"):
			v.Received = p.Value
		case p.Is("rport"):
			v.HasRPort = true
			if n, err := strconv.ParseUint(p.Value, 10, 16); err == nil {
				v.RPort = uint16(n)
			}
		}
	}
	if trim(version) != "2.0" {
		return v, errors.New("version in Via") // v says all the same where the refusal goes
	}
	return v, nil
}

// cutWord cuts word, in any case, and white space around it from the beginning of s.
func cutWord(s, word string) (string, bool) {
	s = strings.TrimLeft(s, " \t")
	if len(s) < len(word) || !strings.EqualFold(s[:len(word)], word) {
		return s, false
	}
	return strings.TrimLeft(s[len(word):], " \t"), true
}

// hostPort reads host [":" port] with white space allowed around the colon.
func hostPort(s string) (host string, port uint16, err error) {
	end := strings.IndexByte(s, ':')
	if strings.HasPrefix(s, "[") {
		i := strings.IndexByte(s, ']')
		if i < 0 {
			return "", 0, errSyntax
		}
		end = strings.IndexByte(s[i:], ':')
		if end >= 0 {
			end += i
		}
	}
	host = s
	if end >= 0 {
		host = strings.TrimRight(s[:end], " \t")
		n, err := number(trim(s[end+1:]), 65535)
		if err != nil || n == 0 {
			return "", 0, errSyntax
		}
		port = uint16(n)
	}
	if !isHost(host) {
		return "", 0, errSyntax
	}
	return host, port, nil
}

// isHost reports whether s can be a host: a name, an IPv4 address or an IPv6 reference.
func isHost(s string) bool {
	if strings.HasPrefix(s, "[") {
		if !strings.HasSuffix(s, "]") {
			return false
		}
		a, err := netip.ParseAddr(s[1 : len(s)-1])
		return err == nil && a.Is6() && a.Zone() == ""
	}
	if s == "" || len(s) > 255 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !isAlnum(c) && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// Address is a From, To, Contact, Route, Record-Route or Path value (RFC 3261 section 20.10).
type Address struct {
	Display   string // as it stood, quotes included
	URI       string
	Params    string // of the header field, from the first semicolon on
	Tag       string
	Bracketed bool // the URI stood between < and >
}

// ParseAddress reads a name-addr or addr-spec with its parameters. Without brackets all parameters
// belong to the header field.
func ParseAddress(s string) (Address, error) {
	var a Address
	open, err := indexOutside(s, '<')
	if err != nil {
		return a, err
	}
	if open < 0 {
		a.URI, a.Params = s, ""
		if i := strings.IndexByte(s, ';'); i >= 0 {
			a.URI, a.Params = s[:i], s[i:]
		}
		a.URI = trim(a.URI)
		if strings.ContainsAny(a.URI, "?,") { // RFC 3261 section 20: such an URI needs brackets
			return a, errSyntax
		}
	} else {
		end := strings.IndexByte(s[open:], '>')
		if end < 0 {
			return a, errSyntax
		}
		a.Bracketed = true
		a.Display, a.URI, a.Params = trim(s[:open]), s[open+1:open+end], s[open+end+1:]
		if !isDisplay(a.Display) {
			return a, errSyntax
		}
	}
	if a.URI != "*" {
		if u, err := ParseURI(a.URI); err != nil || u.Scheme == "" {
			return a, errSyntax
		}
	}
	for p, err := range Params(a.Params) {
		if err != nil {
			return a, err
		}
		if p.Is("tag") {
			if p.Value == "" || a.Tag != "" { // two tags would be two dialogs, one for each reader
				return a, errSyntax
			}
			a.Tag = p.Value
		}
	}
	return a, nil
}

// isDisplay reports whether s is a display name: nothing, tokens, or one quoted string.
func isDisplay(s string) bool {
	if strings.HasPrefix(s, `"`) {
		end := endOfQuoted(s)
		return end == len(s)
	}
	for word := range strings.FieldsSeq(s) {
		if !isToken(word) {
			return false
		}
	}
	return true
}

// parseCSeq reads a sequence number below 2^31 and a method (RFC 3261 section 8.1.1.5).
func parseCSeq(s string) (uint32, string, error) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return 0, "", errSyntax
	}
	n, err := number(s[:i], 1<<31-1)
	method := trim(s[i:])
	if err != nil || !isToken(method) {
		return 0, "", errSyntax
	}
	return uint32(n), method, nil
}

// number reads decimal digits up to limit; leading zeros are allowed.
func number(s string, limit int) (int, error) {
	if !isDigits(s) {
		return 0, errSyntax
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n > uint64(limit) {
		return 0, errSyntax
	}
	return int(n), nil
}

// Param is one parameter of a header field or URI.
type Param struct {
	Name  string
	Value string // quotes included; "" when there is none
	equal bool
}

// Is reports whether p has this name, in any case.
func (p Param) Is(name string) bool {
	return len(p.Name) == len(name) && strings.EqualFold(p.Name, name)
}

// Text returns the value without quotes and escapes.
func (p Param) Text() string { return Unquote(p.Value) }

func (p Param) write(b *strings.Builder) {
	b.WriteByte(';')
	b.WriteString(p.Name)
	if p.equal {
		b.WriteByte('=')
		b.WriteString(p.Value)
	}
}

// Params goes over ;name=value pairs. White space around separators is allowed; an empty parameter,
// a bad name or an open quote ends it with an error.
func Params(s string) iter.Seq2[Param, error] {
	return func(yield func(Param, error) bool) {
		s = trim(s)
		for s != "" {
			if s[0] != ';' {
				yield(Param{}, errSyntax)
				return
			}
			s = s[1:]
			end, err := indexOutside(s, ';')
			if end < 0 {
				end = len(s)
			}
			p := Param{}
			p.Name, p.Value, p.equal = strings.Cut(s[:end], "=")
			p.Name, p.Value = trim(p.Name), trim(p.Value)
			if err != nil || !isParamName(p.Name) || !isParamValue(p.Value, p.equal) {
				yield(Param{}, errSyntax)
				return
			}
			s = s[end:]
			if !yield(p, nil) {
				return
			}
		}
	}
}

func isParamName(s string) bool { return isToken(s) }

func isParamValue(s string, equal bool) bool {
	if !equal {
		return true
	}
	if s == "" {
		return false
	}
	if s[0] == '"' {
		return endOfQuoted(s) == len(s)
	}
	return !strings.ContainsAny(s, " \t\",<>")
}

// List goes over the values of a comma-separated field; commas in quotes or brackets do not count.
func List(s string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for {
			i, err := indexOutside(s, ',')
			if err != nil {
				yield("", err)
				return
			}
			if i < 0 {
				yield(trim(s), nil)
				return
			}
			if !yield(trim(s[:i]), nil) {
				return
			}
			s = s[i+1:]
		}
	}
}

// indexOutside finds c outside of quoted strings and angle brackets, -1 when there is none. A quote
// that never ends is an error; so is a bracket.
func indexOutside(s string, c byte) (int, error) {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == c:
			return i, nil
		case s[i] == '"':
			n := endOfQuoted(s[i:])
			if n < 0 {
				return -1, errSyntax
			}
			i += n - 1
		case s[i] == '<':
			n := strings.IndexByte(s[i:], '>')
			if n < 0 {
				return -1, errSyntax
			}
			i += n
		}
	}
	return -1, nil
}

// endOfQuoted returns the length of the quoted string that s begins with, -1 when it never ends.
func endOfQuoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// Unquote takes quotes and escapes off a quoted string; other text it returns as it is.
func Unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// cutParams cuts s at its first semicolon outside quotes and brackets.
func cutParams(s string) (head, params string) {
	if i, err := indexOutside(s, ';'); err == nil && i >= 0 {
		return trim(s[:i]), s[i:]
	}
	return s, ""
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func trim(s string) string { return strings.Trim(s, " \t") }

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// isToken reports whether s is a token (RFC 3261 section 25.1).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && strings.IndexByte("-.!%*_+`'~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

// cleanValue reports whether s has no control character but tab, except escaped in a quoted string.
func cleanValue(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' {
			i++
			if i < len(s) && (s[i] == '\r' || s[i] == '\n') {
				return false
			}
			continue
		}
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
