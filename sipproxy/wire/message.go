package wire

import (
	"strconv"
	"strings"
)

// Name tells apart the header fields that somebody in the proxy looks at; all others are NameOther.
type Name uint8

// Header field names, in the order of RFC 3261 section 20, then extensions.
const (
	NameOther Name = iota
	NameAuthorization
	NameCallID
	NameContact
	NameContentLength
	NameCSeq
	NameDate
	NameExpires
	NameFrom
	NameMaxForwards
	NameMinExpires
	NameProxyAuthenticate
	NameProxyAuthorization
	NameProxyRequire
	NameRecordRoute
	NameRequire
	NameRetryAfter
	NameRoute
	NameSupported
	NameTo
	NameUnsupported
	NameUserAgent
	NameVia
	NameWWWAuthenticate
	NamePath
	NameEvent
	NameAssertedIdentity
	names // how many there are
)

// String returns the field's name as it is written.
func (n Name) String() string {
	if n >= names {
		return ""
	}
	return written[n]
}

var written = [names]string{"", "Authorization", "Call-ID", "Contact", "Content-Length", "CSeq", "Date", "Expires", "From",
	"Max-Forwards", "Min-Expires", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Require", "Record-Route",
	"Require", "Retry-After", "Route", "Supported", "To", "Unsupported", "User-Agent", "Via", "WWW-Authenticate",
	"Path", "Event", "P-Asserted-Identity"}

// Header is one header field: Name when it is a known one, Raw the name as it stood, Value unfolded
// and without white space around it.
type Header struct {
	Name  Name
	Raw   string
	Value string
}

// Field returns a header field that the proxy writes itself.
func Field(n Name, value string) Header { return Header{Name: n, Raw: n.String(), Value: value} }

// Message is one SIP message: a request when Method is set, else a response.
type Message struct {
	Method string
	URI    string // Request-URI
	Status int
	Reason string

	Headers []Header
	Body    string

	// What the front read in passing; a change of Headers does not change it.
	Via         Via // top one
	From, To    Address
	CallID      string
	CSeq        uint32
	CSeqMethod  string
	MaxForwards int // -1 when absent
	Size        int // octets it came in
}

// IsRequest reports whether m is a request.
func (m *Message) IsRequest() bool { return m.Method != "" }

// Answerable reports whether enough was read for a response to find its way: the top Via and
// Call-ID, From, To and CSeq in whatever form they came. ACK and responses are never answered.
func (m *Message) Answerable() bool {
	return m != nil && m.IsRequest() && m.Method != "ACK" && m.Via.Host != ""
}

// Get returns the value of the first header field n, "" when there is none.
func (m *Message) Get(n Name) string {
	for i := range m.Headers {
		if m.Headers[i].Name == n {
			return m.Headers[i].Value
		}
	}
	return ""
}

// Has reports whether m has a header field n.
func (m *Message) Has(n Name) bool { return m.index(n) >= 0 }

// Values returns the values of all header fields n, in order.
func (m *Message) Values(n Name) []string {
	var out []string
	for i := range m.Headers {
		if m.Headers[i].Name == n {
			out = append(out, m.Headers[i].Value)
		}
	}
	return out
}

func (m *Message) index(n Name) int {
	for i := range m.Headers {
		if m.Headers[i].Name == n {
			return i
		}
	}
	return -1
}

// Clone returns a copy whose Headers can be changed without changing m's.
func (m *Message) Clone(room int) *Message {
	c := *m
	c.Headers = make([]Header, len(m.Headers), len(m.Headers)+room)
	copy(c.Headers, m.Headers)
	return &c
}

// Remove takes out every header field for which drop answers true.
func (m *Message) Remove(drop func(Header) bool) {
	kept := m.Headers[:0]
	for _, h := range m.Headers {
		if !drop(h) {
			kept = append(kept, h)
		}
	}
	clear(m.Headers[len(kept):])
	m.Headers = kept
}

// RemoveFirst takes out the first header field n.
func (m *Message) RemoveFirst(n Name) {
	if i := m.index(n); i >= 0 {
		m.Headers = append(m.Headers[:i], m.Headers[i+1:]...)
	}
}

// Set gives the first header field n a new value, or appends the field.
func (m *Message) Set(n Name, value string) {
	if i := m.index(n); i >= 0 {
		m.Headers[i].Value = value
		return
	}
	m.Headers = append(m.Headers, Field(n, value))
}

// Prepend puts fields before the first of their name, or behind the Vias when there is none.
func (m *Message) Prepend(fields ...Header) {
	at := m.index(fields[0].Name)
	if at < 0 {
		at = 0
		for at < len(m.Headers) && m.Headers[at].Name == NameVia {
			at++
		}
	}
	m.Headers = append(m.Headers, fields...)
	copy(m.Headers[at+len(fields):], m.Headers[at:])
	copy(m.Headers[at:], fields)
}

// Stamp writes into the top Via where the request really came from (RFC 3261 section 18.2.1, RFC 3581
// section 4): received when the address differs or rport was asked for, and the port into rport.
func (m *Message) Stamp(addr string, port uint16) {
	i := m.index(NameVia)
	if i < 0 {
		return
	}
	v := &m.Via
	if !v.HasRPort && strings.Trim(v.Host, "[]") == addr && v.Received == "" {
		return
	}
	v.Received = addr
	var b strings.Builder
	b.Grow(len(m.Headers[i].Value) + len(addr) + 24)
	rest, params := cutParams(m.Headers[i].Value)
	b.WriteString(rest)
	for p, err := range Params(params) {
		if err != nil || p.Is("received") || p.Is("rport") {
			continue
		}
		p.write(&b)
	}
	b.WriteString(";received=")
	b.WriteString(addr)
	if v.HasRPort {
		v.RPort = port
		b.WriteString(";rport=")
		b.WriteString(strconv.Itoa(int(port)))
	}
	m.Headers[i].Value = b.String()
}

// Append writes m's octets to b. Content-Length is always written, and always right.
func (m *Message) Append(b []byte) []byte {
	if m.IsRequest() {
		b = append(append(append(b, m.Method...), ' '), m.URI...)
		b = append(b, " SIP/2.0\r\n"...)
	} else {
		b = strconv.AppendInt(append(b, "SIP/2.0 "...), int64(m.Status), 10)
		b = append(append(append(b, ' '), m.Reason...), "\r\n"...)
	}
	for i := range m.Headers {
		h := &m.Headers[i]
		if h.Name == NameContentLength {
			continue
		}
		b = append(append(append(b, h.Raw...), ": "...), h.Value...)
		b = append(b, "\r\n"...)
	}
	b = strconv.AppendInt(append(b, "Content-Length: "...), int64(len(m.Body)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, m.Body...)
}

// Response returns a response to m (RFC 3261 section 8.2.6): Via, From, To, Call-ID and CSeq copied, tag
// added to To where it has none and tag is not empty, then fields.
func (m *Message) Response(status int, reason, tag string, fields ...Header) *Message {
	r := &Message{Status: status, Reason: reason, CallID: m.CallID, CSeq: m.CSeq, CSeqMethod: m.CSeqMethod, MaxForwards: -1}
	r.Headers = make([]Header, 0, 8+len(fields))
	for _, h := range m.Headers {
		switch h.Name {
		case NameVia, NameFrom, NameCallID, NameCSeq:
			r.Headers = append(r.Headers, h)
		case NameTo:
			if tag != "" && m.To.Tag == "" && status > 100 {
				h.Value += ";tag=" + tag
			}
			r.Headers = append(r.Headers, h)
		}
	}
	r.Headers = append(r.Headers, fields...)
	return r
}
