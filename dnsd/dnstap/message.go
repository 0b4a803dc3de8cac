// Package dnstap writes dnstap: what a name server was asked and answered, as protocol buffers (dnstap.info,
// dnstap.proto) in Frame Streams, into a file or to a collector over a unix socket or TCP. Whoever hands over a
// message never waits: a queue with a bound is between, and what has no room is counted.
package dnstap

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Type says what a message is.
type Type uint8

// Messages of a server that answers with authority.
const (
	AuthQuery    Type = 1
	AuthResponse Type = 2
)

// Protocol is how a query came.
type Protocol uint8

// Protocols that there are here, as dnstap.proto numbers them.
const (
	UDP Protocol = 1
	TCP Protocol = 2
	DOT Protocol = 3 // RFC 7858
	DOQ Protocol = 7 // RFC 9250
)

// Message is one message that was received or sent. What is zero is left out.
type Message struct {
	Type           Type
	Protocol       Protocol
	Client, Server netip.AddrPort
	Asked          time.Time // when the query came
	Answered       time.Time // for AuthResponse
	Query, Answer  []byte    // in wire form
}

// Who names the server in each message.
type Who struct{ Identity, Version string }

// Field numbers of dnstap.proto, and the wire types of protocol buffers.
const (
	fieldIdentity, fieldVersion, fieldMessage, fieldType = 1, 2, 14, 15

	messageType, messageFamily, messageProtocol          = 1, 2, 3
	queryAddress, responseAddress                        = 4, 5
	queryPort, responsePort                              = 6, 7
	querySeconds, queryNanos, queryMessage               = 8, 9, 10
	responseSeconds, responseNanos, responseMessage      = 12, 13, 14
	wireVarint, wireOctets, wireFixed32             byte = 0, 2, 5

	ofMessage              = 1 // Dnstap.Type
	familyIPv4, familyIPv6 = 1, 2
)

// Append appends m from who as one data frame of a Frame Stream. It allocates only when b grows.
func Append(b []byte, who *Who, m *Message) []byte {
	frame := len(b)
	b = append(b, 0, 0, 0, 0)
	if who.Identity != "" {
		b = appendText(b, fieldIdentity, who.Identity)
	}
	if who.Version != "" {
		b = appendText(b, fieldVersion, who.Version)
	}
	b = appendNumber(b, fieldType, ofMessage)
	b = appendTag(b, fieldMessage, wireOctets)
	b = binary.AppendUvarint(b, uint64(m.size()))
	b = m.append(b)
	binary.BigEndian.PutUint32(b[frame:], uint32(len(b)-frame-4))
	return b
}

// size returns how many octets append appends. Every field number below 16 has a tag of one octet.
func (m *Message) size() int {
	n := 2 + 2 // type and protocol
	if m.Client.IsValid() {
		n += 2
	}
	for _, at := range [...]netip.AddrPort{m.Client, m.Server} {
		if at.IsValid() {
			n += 2 + at.Addr().BitLen()/8 + 1 + sizeNumber(uint64(at.Port()))
		}
	}
	for _, at := range [...]time.Time{m.Asked, m.Answered} {
		if !at.IsZero() {
			n += 1 + sizeNumber(uint64(at.Unix())) + 5
		}
	}
	for _, octets := range [...][]byte{m.Query, m.Answer} {
		if octets != nil {
			n += 1 + sizeNumber(uint64(len(octets))) + len(octets)
		}
	}
	return n
}

func (m *Message) append(b []byte) []byte {
	b = appendNumber(b, messageType, uint64(m.Type))
	if m.Client.IsValid() {
		family := familyIPv4
		if m.Client.Addr().Is6() {
			family = familyIPv6
		}
		b = appendNumber(b, messageFamily, uint64(family))
	}
	b = appendNumber(b, messageProtocol, uint64(m.Protocol))
	b = appendEnd(b, m.Client, queryAddress, queryPort)
	b = appendEnd(b, m.Server, responseAddress, responsePort)
	b = appendTime(b, m.Asked, querySeconds, queryNanos)
	b = appendOctets(b, queryMessage, m.Query)
	b = appendTime(b, m.Answered, responseSeconds, responseNanos)
	return appendOctets(b, responseMessage, m.Answer)
}

func appendTag(b []byte, field int, wire byte) []byte { return append(b, byte(field)<<3|wire) }

func appendNumber(b []byte, field int, n uint64) []byte {
	return binary.AppendUvarint(appendTag(b, field, wireVarint), n)
}

func appendText(b []byte, field int, text string) []byte {
	b = binary.AppendUvarint(appendTag(b, field, wireOctets), uint64(len(text)))
	return append(b, text...)
}

// appendOctets appends octets, nothing for nil.
func appendOctets(b []byte, field int, octets []byte) []byte {
	if octets == nil {
		return b
	}
	b = binary.AppendUvarint(appendTag(b, field, wireOctets), uint64(len(octets)))
	return append(b, octets...)
}

// appendEnd appends one end of the exchange.
func appendEnd(b []byte, at netip.AddrPort, address, port int) []byte {
	if !at.IsValid() {
		return b
	}
	b = appendTag(b, address, wireOctets)
	if at.Addr().Is4() {
		four := at.Addr().As4()
		b = append(append(b, 4), four[:]...)
	} else {
		sixteen := at.Addr().As16()
		b = append(append(b, 16), sixteen[:]...)
	}
	return appendNumber(b, port, uint64(at.Port()))
}

func appendTime(b []byte, at time.Time, seconds, nanos int) []byte {
	if at.IsZero() {
		return b
	}
	b = appendNumber(b, seconds, uint64(at.Unix()))
	return binary.LittleEndian.AppendUint32(appendTag(b, nanos, wireFixed32), uint32(at.Nanosecond()))
}

// sizeNumber returns the length of a varint.
func sizeNumber(n uint64) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}
