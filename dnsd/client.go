package dnsd

import "net/netip"

// client is who asks, and over what, as far as answers depend on it.
type client struct {
	addr      netip.Addr // never IPv4 in IPv6; behind a believed proxy that of the proxy's client
	stream    bool       // not a datagram: the whole answer fits, and the address is true
	transport transport
	local     netip.AddrPort // that the client asked; the zero value over plain UDP
	// names are the DNS names of the client's certificate, if it showed one that the authorities in
	// Config.TLS.Clients vouch for (RFC 9103 section 9.3.3); else nil.
	names  []string
	now    uint32 // seconds since 1970, for cookies
	proven bool   // the address is true: a stream, or a valid cookie
}

// transport is how a query came.
type transport uint8

const (
	overUDP transport = iota
	overTCP
	overTLS  // RFC 7858
	overQUIC // RFC 9250
	transports
)

// String returns the transport as metrics name it.
func (t transport) String() string {
	return [transports]string{"udp", "tcp", "tls", "quic"}[t]
}

// isEncrypted reports whether nobody on the way reads along, so that the sizes of messages are
// worth hiding.
func (t transport) isEncrypted() bool { return t == overTLS || t == overQUIC }

// clientPrefix is what counts as one client: an IPv4 address, or an IPv6 /64.
func clientPrefix(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits)
	return p
}
