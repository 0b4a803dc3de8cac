package tandem

import (
	"net/netip"
	"time"
)

// RequestType is what kind of service a request asks for; with the account it is the key of the
// server database. Lower case; one DNS label.
type RequestType string

// Request types with a meaning of their own. Accounts may name others in their rules.
const (
	TypeRegister  RequestType = "register"
	TypeInvite    RequestType = "invite"
	TypeMessage   RequestType = "message"
	TypeSubscribe RequestType = "subscribe"
	TypePublish   RequestType = "publish"
	TypeOptions   RequestType = "options"
	TypeHTTP      RequestType = "http"
	TypeEmergency RequestType = "emergency"
	TypeTrunk     RequestType = "trunk" // calls from the core to numbers that are not ours
)

// Transport is how SIP or HTTP is carried.
type Transport uint8

// Transports.
const (
	UDP Transport = iota + 1
	TCP
	TLS
	WS
	WSS
	HTTP
	HTTPS
)

func (t Transport) String() string {
	names := [...]string{"?", "udp", "tcp", "tls", "ws", "wss", "http", "https"}
	if int(t) >= len(names) {
		return names[0]
	}
	return names[t]
}

// Target is one place that a name resolves to (RFC 3263 section 4.2): try lower priorities first,
// share by weight within one (RFC 2782).
type Target struct {
	Transport Transport
	Addr      netip.AddrPort
	Host      string // host name that Addr was found at, lower case, no trailing dot
	Node      string // id of the node or edge, when it is one of ours
	Priority  uint16
	Weight    uint16
}

// Binding is one registered contact (RFC 3261 section 10).
type Binding struct {
	Account   string         `json:"account" cbor:"1,keyasint" explain:"Account id."`
	Device    string         `json:"device" cbor:"2,keyasint" explain:"Device id."`
	AOR       string         `json:"aor" cbor:"3,keyasint" explain:"User part of the address of record."`
	Contact   string         `json:"contact" cbor:"4,keyasint" explain:"Contact URI as registered."`
	Source    netip.AddrPort `json:"source" cbor:"5,keyasint" explain:"Where the registration came from; requests are sent back there."`
	Transport Transport      `json:"transport" cbor:"6,keyasint" explain:"Transport of the flow."`
	Listener  string         `json:"listener" cbor:"7,keyasint,omitempty" explain:"SIP listener that took it."`
	Instance  string         `json:"instance,omitempty" cbor:"8,keyasint,omitempty" explain:"+sip.instance (RFC 5626), if given."`
	RegID     uint32         `json:"regId,omitempty" cbor:"9,keyasint,omitempty" explain:"reg-id (RFC 5626), if given."`
	Q         uint16         `json:"q" cbor:"10,keyasint,omitempty" explain:"Preference in thousandths, 0 to 1000."`
	CallID    string         `json:"callId" cbor:"11,keyasint" explain:"Call-ID of the registration."`
	CSeq      uint32         `json:"cseq" cbor:"12,keyasint" explain:"CSeq of the registration."`
	Path      []string       `json:"path,omitempty" cbor:"13,keyasint,omitempty" explain:"Path header values (RFC 3327), in order."`
	UserAgent string         `json:"userAgent,omitempty" cbor:"14,keyasint,omitempty" explain:"User-Agent."`
	Edge      string         `json:"edge,omitempty" cbor:"15,keyasint,omitempty" explain:"Edge that owns the flow."`
	Expires   time.Time      `json:"expires" cbor:"16,keyasint" explain:"When the binding ends."`
	Updated   time.Time      `json:"updated" cbor:"17,keyasint" explain:"When it was last refreshed."`
}

// MarshalText and UnmarshalText give a transport its name in documents.
func (t Transport) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText sets t from its name.
func (t *Transport) UnmarshalText(text []byte) error {
	for c := UDP; c <= HTTPS; c++ {
		if c.String() == string(text) {
			*t = c
			return nil
		}
	}
	return FieldError{Reason: "unknown transport " + string(text)}
}

// Step is one line of an explanation of why an answer is what it is.
type Step struct {
	What string `json:"what" explain:"What was looked at, such as account, group, cluster, node."`
	Text string `json:"text" explain:"What was found and what followed."`
}

// Sample is one reading of a counter or gauge, for the metrics page.
type Sample struct {
	Name   string // Prometheus name, such as tandem_dns_answers_total
	Help   string
	Gauge  bool              // else a counter
	Labels map[string]string // few, never a customer's name
	Value  float64
}
