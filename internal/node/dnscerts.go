package node

import (
	"crypto/tls"
	"net/netip"
)

// dnsCertificate chooses the certificate of DNS over TLS and QUIC: a given one that fits what the
// client asks for, else one of the own authority for the server's host name and the address that the
// client came to, by which it may know the server without a name (RFC 8310 section 8.1, RFC 9462
// section 4.2). A client that asks for another name gets it too: whether it minds is its profile.
func (a *authority) dnsCertificate(host string) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		for i := range a.given {
			if hello.SupportsCertificate(&a.given[i]) == nil && (hello.ServerName != "" || host == "" || a.given[i].Leaf.VerifyHostname(host) == nil) {
				return &a.given[i], nil
			}
		}
		var names []string
		if host != "" {
			names = append(names, host)
		}
		if hello.Conn != nil {
			if at, err := netip.ParseAddrPort(hello.Conn.LocalAddr().String()); err == nil && !at.Addr().IsUnspecified() {
				names = append(names, at.Addr().Unmap().WithZone("").String())
			}
		}
		if len(names) == 0 {
			names = []string{"localhost"} // QUIC at all addresses: which one was asked is not told
		}
		return a.leaf(names...)
	}
}
