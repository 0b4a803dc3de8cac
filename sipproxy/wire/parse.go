package wire

import (
	"strconv"
	"strings"
)

// Limits of what is looked at. A message beyond one of them is refused, never cut.
const (
	MaxMessage = 64 << 10 // octets
	maxHeaders = 256      // values, after lists are cut apart
	maxLine    = 16 << 10 // octets of one header field, unfolded
)

// Fault says why a message was refused. It is an error.
type Fault struct {
	Code   int    // status code to answer with
	Reason string // reason phrase: what is wrong, in a few words
}

func (f *Fault) Error() string { return strconv.Itoa(f.Code) + " " + f.Reason }

func bad(reason string) *Fault { return &Fault{400, reason} }

// Parse reads one whole message. With a Fault, the message holds what could be read, and may be
// answered when it is Answerable; it is nil when not even the first line makes sense. Octets after
// the body are dropped (RFC 3261 section 18.3: a datagram may be longer, never shorter).
func Parse(data string) (*Message, *Fault) {
	if len(data) > MaxMessage {
		return nil, &Fault{513, "Message Too Large"}
	}
	p := parser{rest: data}
	m := &Message{MaxForwards: -1, Size: len(data)}
	p.m = m
	for strings.HasPrefix(p.rest, "\r\n") { // RFC 3261 section 7.5
		p.rest = p.rest[2:]
	}
	if !p.startLine() {
		return nil, p.fault
	}
	p.fields()
	p.mandatory()
	p.body()
	return m, p.fault
}

// parser walks one message. The first fault is kept and the walk goes on, for the sake of an answer.
type parser struct {
	rest   string
	m      *Message
	fault  *Fault
	length int // Content-Length, -1 when absent
	seen   [names]bool
}

func (p *parser) fail(f *Fault) {
	if p.fault == nil {
		p.fault = f
	}
}

// line cuts the next line off, without its CRLF. A line end that is not CRLF is a fault; there the
// line ends all the same.
func (p *parser) line() (line string, ok bool) {
	i := strings.IndexByte(p.rest, '\n')
	if i < 0 {
		p.fail(bad("Bad Request: no end of header"))
		line, p.rest = p.rest, ""
		return line, false
	}
	line, p.rest = p.rest[:i], p.rest[i+1:]
	if i == 0 || line[i-1] != '\r' {
		p.fail(bad("Bad Request: line without CRLF"))
		return line, true
	}
	return line[:i-1], true
}

// startLine reads Request-Line or Status-Line (RFC 3261 section 7.1, 7.2); false when it is neither.
func (p *parser) startLine() bool {
	line, ok := p.line()
	if !ok {
		return false
	}
	if len(line) >= 4 && strings.EqualFold(line[:4], "SIP/") {
		p.statusLine(line)
		return true
	}
	method, rest, ok := strings.Cut(line, " ")
	if !ok || !isToken(method) {
		p.fail(bad("Bad Request: no request line"))
		return false
	}
	i := strings.LastIndexByte(strings.TrimRight(rest, " "), ' ')
	if i < 0 {
		p.fail(bad("Bad Request: no request line"))
		return false
	}
	uri, version := rest[:i], rest[i+1:]
	p.m.Method, p.m.URI = method, uri
	switch {
	case strings.TrimRight(version, " ") != version:
		p.fail(bad("Bad Request: white space after the version"))
	case !isVersion(version):
		p.fail(bad("Bad Request: no SIP version"))
	case !strings.EqualFold(version, "SIP/2.0"):
		p.fail(&Fault{505, "Version Not Supported"})
	case strings.ContainsAny(uri, " \t<>\""):
		p.fail(bad("Bad Request: malformed Request-URI"))
	}
	return true
}

// isVersion reports whether s has the form of a version: SIP/digits.digits.
func isVersion(s string) bool {
	if len(s) < 7 || !strings.EqualFold(s[:4], "SIP/") {
		return false
	}
	major, minor, ok := strings.Cut(s[4:], ".")
	return ok && isDigits(major) && isDigits(minor)
}

func (p *parser) statusLine(line string) {
	version, rest, _ := strings.Cut(line, " ")
	code, reason, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(code)
	if !strings.EqualFold(version, "SIP/2.0") || err != nil || len(code) != 3 || n < 100 || n > 699 {
		p.fail(bad("Bad Request: malformed status line"))
		return
	}
	p.m.Status, p.m.Reason = n, reason
}

// fields reads the header section up to its empty line.
func (p *parser) fields() {
	p.length = -1
	p.m.Headers = make([]Header, 0, 24)
	for {
		line, ok := p.line()
		if !ok || line == "" {
			return
		}
		if p.rest != "" && isSpace(p.rest[0]) {
			line = p.unfold(line)
		}
		if len(line) > maxLine {
			p.fail(bad("Bad Request: header field too long"))
			continue
		}
		p.field(line)
		if len(p.m.Headers) > maxHeaders {
			p.fail(bad("Bad Request: too many header fields"))
			return
		}
	}
}

// unfold joins continuation lines with one space each (RFC 3261 section 7.3.1).
func (p *parser) unfold(line string) string {
	var b strings.Builder
	b.WriteString(strings.TrimRight(line, " \t"))
	for p.rest != "" && isSpace(p.rest[0]) {
		more, ok := p.line()
		if !ok {
			break
		}
		b.WriteByte(' ')
		b.WriteString(trim(more))
	}
	return b.String()
}

// field reads one unfolded header field and files it.
func (p *parser) field(line string) {
	raw, value, ok := strings.Cut(line, ":")
	raw = strings.TrimRight(raw, " \t")
	if !ok || !isToken(raw) {
		p.fail(bad("Bad Request: malformed header field"))
		return
	}
	value = trim(value)
	if !cleanValue(value) {
		p.fail(bad("Bad Request: control character in " + raw))
		return
	}
	h := Header{Name: nameOf(raw), Raw: raw, Value: value}
	switch h.Name {
	case NameVia, NameRoute, NameRecordRoute, NamePath:
		p.list(h)
		return
	case NameFrom, NameTo, NameCallID, NameCSeq, NameMaxForwards, NameContentLength, NameExpires, NameEvent:
		if p.seen[h.Name] && h.Name != NameContentLength {
			p.fail(bad("Bad Request: more than one " + h.Name.String()))
			return
		}
		p.single(h)
	}
	p.m.Headers = append(p.m.Headers, h)
}

// list cuts a field that may hold several values into one Header each, and reads the top Via.
func (p *parser) list(h Header) {
	for value, err := range List(h.Value) {
		if err != nil || value == "" {
			p.fail(bad("Bad Request: malformed " + h.Name.String()))
			return
		}
		if len(p.m.Headers) > maxHeaders {
			return
		}
		switch h.Name {
		case NameVia:
			v, err := ParseVia(value)
			if err != nil {
				p.fail(bad("Bad Request: " + err.Error()))
			}
			if !p.seen[NameVia] {
				p.m.Via = v
			}
			p.seen[NameVia] = true
		default:
			if a, err := ParseAddress(value); err != nil || !a.Bracketed {
				p.fail(bad("Bad Request: malformed " + h.Name.String()))
			}
		}
		p.m.Headers = append(p.m.Headers, Header{h.Name, h.Raw, value})
	}
}

// single reads a field of which there may be one only.
func (p *parser) single(h Header) {
	first := !p.seen[h.Name]
	p.seen[h.Name] = true
	var err error
	switch h.Name {
	case NameFrom:
		p.m.From, err = ParseAddress(h.Value)
	case NameTo:
		p.m.To, err = ParseAddress(h.Value)
	case NameCallID:
		p.m.CallID = h.Value
		if h.Value == "" || strings.ContainsAny(h.Value, " \t") {
			err = errSyntax
		}
	case NameCSeq:
		p.m.CSeq, p.m.CSeqMethod, err = parseCSeq(h.Value)
	case NameMaxForwards:
		p.m.MaxForwards, err = number(h.Value, 255)
	case NameExpires:
		// RFC 3261 section 20.19: what is malformed counts as 3600; the registrar sees to it.
	case NameContentLength:
		n, bad := number(h.Value, 1<<31)
		if bad != nil || (!first && n != p.length) {
			err = errSyntax
		}
		p.length = n
	}
	if err != nil {
		p.fail(bad("Bad Request: malformed " + h.Name.String()))
	}
}

// mandatory checks what every message must have (RFC 3261 section 8.1.1, 16.3).
func (p *parser) mandatory() {
	for _, n := range [...]Name{NameVia, NameFrom, NameTo, NameCallID, NameCSeq} {
		if !p.seen[n] {
			p.fail(bad("Bad Request: no " + n.String()))
		}
	}
	if p.m.IsRequest() && p.fault == nil && p.m.CSeqMethod != p.m.Method {
		p.fail(bad("Bad Request: CSeq names another method"))
	}
	if p.m.IsRequest() && p.fault == nil {
		p.requestURI()
	}
}

// requestURI checks the Request-URI: an unknown scheme is 416, a malformed one 400, and it may not
// carry header fields (RFC 3261 section 19.1.1).
func (p *parser) requestURI() {
	u, err := ParseURI(p.m.URI)
	switch {
	case err != nil:
		p.fail(bad("Bad Request: malformed Request-URI"))
	case u.Headers != "":
		p.fail(bad("Bad Request: header fields in the Request-URI"))
	}
	switch u.Scheme {
	case "", "sip", "sips", "tel", "urn":
	default:
		p.fail(&Fault{416, "Unsupported URI Scheme"})
	}
}

// body takes what Content-Length says; without it, all that is left (RFC 3261 section 18.3).
func (p *parser) body() {
	switch {
	case p.length < 0:
		p.m.Body = p.rest
	case p.length > len(p.rest):
		p.fail(bad("Bad Request: body shorter than Content-Length"))
	default:
		p.m.Body = p.rest[:p.length]
	}
}

// nameOf finds a header field's name, long or compact (RFC 3261 section 7.3.3).
func nameOf(raw string) Name {
	if len(raw) == 1 {
		switch raw[0] | 0x20 {
		case 'f':
			return NameFrom
		case 'i':
			return NameCallID
		case 'k':
			return NameSupported
		case 'l':
			return NameContentLength
		case 'm':
			return NameContact
		case 'o':
			return NameEvent
		case 't':
			return NameTo
		case 'v':
			return NameVia
		}
		return NameOther
	}
	for n := NameAuthorization; n < names; n++ {
		if len(written[n]) == len(raw) && written[n][0]|0x20 == raw[0]|0x20 && strings.EqualFold(written[n], raw) {
			return n
		}
	}
	return NameOther
}
