// Package proxyv2 reads and writes the header, version 2, that a proxy puts before what it forwards,
// to say whose it is. It is the binary form of the PROXY protocol; the text form, version 1, is refused.
//
// It promises that whatever the octets it returns, without allocating, and reads nothing beyond the
// header. Whether a header is to be believed is the caller's question.
package proxyv2

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
)

// Errors of Size and Parse.
var (
	// ErrShort is a header of which more is to come.
	ErrShort = errors.New("proxy header is cut short")
	// ErrNone is what does not begin with a header.
	ErrNone = errors.New("there is no proxy header")
	// ErrVersion is another version than 2, or an unknown command.
	ErrVersion = errors.New("proxy header of an unknown version or command")
	// ErrFamily is a family that names no Internet address of a client, or a malformed one.
	ErrFamily = errors.New("proxy header names no Internet address")
	// ErrLong is a header of more than MaxSize octets.
	ErrLong = errors.New("proxy header is too long")
	// ErrTLV is a malformed list of TLVs, or more than 64 of them.
	ErrTLV = errors.New("proxy header has a malformed TLV")
	// ErrChecksum is a checksum that does not fit.
	ErrChecksum = errors.New("proxy header has a wrong checksum")
)

const (
	// FixedSize is the octets of a header from which Size can tell the rest.
	FixedSize = 16
	// MaxSize is the longest header taken, in octets. Addresses and the TLVs in use need a third of it.
	MaxSize = 2048

	signature = "\r\n\r\n\x00\r\nQUIT\n"
	mostTLVs  = 64
	typeCRC   = 0x03
)

// Header is who is behind a proxy.
type Header struct {
	// Local is true when the proxy speaks for itself, such as to check our health. There are no
	// addresses then: those of the connection count.
	Local bool
	// Source is the client, Destination what it connected to. Neither is IPv4 in IPv6.
	Source, Destination netip.AddrPort
}

// IsHeader reports whether b begins as a header does, as far as it goes; nothing does not.
func IsHeader(b []byte) bool {
	n := min(len(b), len(signature))
	return n > 0 && string(b[:n]) == signature[:n]
}

// Size returns the length of the whole header that b begins with, in octets. b needs FixedSize of
// them: the error is ErrShort, ErrNone or ErrLong.
func Size(b []byte) (int, error) {
	if len(b) < FixedSize {
		if len(b) > 0 && !IsHeader(b) {
			return 0, ErrNone
		}
		return 0, ErrShort
	}
	if !IsHeader(b) {
		return 0, ErrNone
	}
	n := FixedSize + int(binary.BigEndian.Uint16(b[14:]))
	if n > MaxSize {
		return 0, ErrLong
	}
	return n, nil
}

// Parse reads the header that b begins with and returns it with its length in octets. The error is one
// of this package's.
//
// Datagrams and streams are taken alike: a proxy may forward by another transport than it was asked.
// A client whose family is UNSPEC or UNIX is refused, for it would be taken for the proxy, with the
// proxy's rights.
func Parse(b []byte) (Header, int, error) {
	n, err := Size(b)
	if err != nil {
		return Header{}, 0, err
	}
	if n > len(b) {
		return Header{}, 0, ErrShort
	}
	b = b[:n]
	if b[12]>>4 != 2 || b[12]&15 > 1 {
		return Header{}, 0, ErrVersion
	}
	h := Header{Local: b[12]&15 == 0}
	family, protocol := b[13]>>4, b[13]&15
	if family > 3 || protocol > 2 {
		return Header{}, 0, ErrFamily
	}
	size := [...]int{0, 12, 36, 216}[family]
	body := b[FixedSize:]
	if len(body) < size {
		return Header{}, 0, ErrFamily
	}
	if !h.Local {
		if family != 1 && family != 2 || protocol == 0 {
			return Header{}, 0, ErrFamily
		}
		h.Source, h.Destination = addresses(body[:size])
	}
	if h.Local && family == 0 {
		return h, n, nil // what follows is to be ignored: the sender need not even have made TLVs of it
	}
	if err := checkTLVs(b, FixedSize+size); err != nil {
		return Header{}, 0, err
	}
	return h, n, nil
}

// addresses reads two addresses of a family and two ports.
func addresses(b []byte) (source, destination netip.AddrPort) {
	size := (len(b) - 4) / 2
	from, _ := netip.AddrFromSlice(b[:size])
	to, _ := netip.AddrFromSlice(b[size : 2*size])
	ports := b[2*size:]
	return netip.AddrPortFrom(from.Unmap(), binary.BigEndian.Uint16(ports)),
		netip.AddrPortFrom(to.Unmap(), binary.BigEndian.Uint16(ports[2:]))
}

// checkTLVs checks the form of the TLVs of header b, which begin at offset at, and the checksum, if there
// is one. What else they say is ignored.
func checkTLVs(b []byte, at int) error {
	checked := false
	for count := 0; at < len(b); count++ {
		if count == mostTLVs || at+3 > len(b) {
			return ErrTLV
		}
		kind, value := b[at], at+3
		at = value + int(binary.BigEndian.Uint16(b[at+1:]))
		if at > len(b) {
			return ErrTLV
		}
		if kind != typeCRC {
			continue
		}
		if at-value != 4 || checked {
			return ErrTLV
		}
		checked = true
		if checksum(b, value) != binary.BigEndian.Uint32(b[value:]) {
			return ErrChecksum
		}
	}
	return nil
}

// noChecksum stands in for a checksum while it is computed.
var noChecksum = [4]byte{}

// checksum is the CRC32C of b with the four octets at offset at taken as zero.
func checksum(b []byte, at int) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once by the library
	sum := crc32.Update(0, table, b[:at])
	sum = crc32.Update(sum, table, noChecksum[:])
	return crc32.Update(sum, table, b[at+4:])
}

// Append appends h, with a checksum, to b. Addresses of two families become IPv6. A stream is said to be
// one.
func Append(b []byte, h Header, stream bool) []byte {
	start := len(b)
	b = append(b, signature...)
	if h.Local {
		return append(b, 0x20, 0, 0, 0)
	}
	family, protocol := byte(0x20), byte(2)
	if h.Source.Addr().Is4() && h.Destination.Addr().Is4() {
		family = 0x10
	}
	if stream {
		protocol = 1
	}
	b = append(b, 0x21, family|protocol, 0, 0)
	for _, a := range []netip.AddrPort{h.Source, h.Destination} {
		if family == 0x10 {
			b = append(b, a.Addr().AsSlice()...)
			continue
		}
		wide := a.Addr().As16()
		b = append(b, wide[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, h.Source.Port())
	b = binary.BigEndian.AppendUint16(b, h.Destination.Port())
	b = append(b, typeCRC, 0, 4, 0, 0, 0, 0)
	header := b[start:]
	binary.BigEndian.PutUint16(header[14:], uint16(len(header)-FixedSize))
	binary.BigEndian.PutUint32(header[len(header)-4:], checksum(header, len(header)-4))
	return b
}
