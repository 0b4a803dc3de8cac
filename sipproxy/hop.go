package sipproxy

import (
	"net/netip"

	"tandem/internal/tandem"
)

// hop is where a message came from or goes to: a socket of ours and the address beyond it.
type hop struct {
	transport tandem.Transport // UDP or TCP
	listener  uint8            // index of the listener whose socket it is
	remote    netip.AddrPort
	// conn names one stream connection; 0 means any to remote.
	conn uint64
	// flow: only a connection that stands already will do. What is behind a device's connection
	// cannot be dialled.
	flow bool
}

// network carries octets away; the proxy core knows no more of sockets than this.
type network interface {
	// send hands octets over, not keeping b. An error means that nothing was sent. A stream may
	// fail later; then the worker is told which client transaction (0: none) it was.
	send(to hop, b []byte, worker int, tx uint64) error
}

// local is what one listener is called by others: what stands in Via and Record-Route.
type local struct {
	name     string // as in the configuration
	host     string
	addr     netip.Addr // bound; may be unspecified
	udp, tcp uint16     // ports; 0 when not listened on
}

// port returns the listener's port for t, 0 when it has none.
func (l *local) port(t tandem.Transport) uint16 {
	if t == tandem.TCP {
		return l.tcp
	}
	return l.udp
}
