package dnsd

import (
	"io"
	"net"
	"net/netip"

	"tandem/dnsd/proxyv2"
	"tandem/internal/tandem"
)

// Proxy is for those who forward queries and say whose they are, by the PROXY protocol, version 2. They
// have listeners of their own, on which whatever comes without a header, or from elsewhere, is
// refused: a packet gets no answer, a connection is closed. On all other listeners such a header is
// what it looks like, a malformed query.
type Proxy struct {
	// From are the networks that are believed.
	From []netip.Prefix `yaml:"from"`
	// Listen are the addresses for UDP and TCP, TLS those for TLS, whose connections begin with the
	// header in the clear. Port 0 takes a free one.
	Listen []netip.AddrPort `yaml:"listen"`
	TLS    []netip.AddrPort `yaml:"tls"`
}

// faults reports what is wrong with p.
func (p Proxy) faults() tandem.FieldErrors {
	errs := append(addressFaults("proxy.listen", p.Listen), addressFaults("proxy.tls", p.TLS)...)
	if len(p.From) == 0 && len(p.Listen)+len(p.TLS) > 0 {
		errs = append(errs, tandem.FieldError{Field: "proxy.from", Reason: "is missing: the networks of those who may speak for others"})
	}
	return errs
}

// believes reports whether addr may say whose query it forwards.
func (p Proxy) believes(addr netip.Addr) bool {
	for _, n := range p.From {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// behind returns the client that a header names, where c is who sent it.
func behind(h proxyv2.Header, c client) client {
	if !h.Local {
		c.addr, c.port, c.local = h.Source.Addr(), h.Source.Port(), h.Destination
	}
	return c
}

// takeProxied reads the header that a connection begins with, within the time that a query may take,
// and returns whose it is. False means that the connection is to be closed: it has no header, comes
// from somebody who is not believed, or is of a client with too many.
func (s *Server) takeProxied(conn net.Conn, c client) (client, bool) {
	if !s.cfg.Proxy.believes(c.addr) || s.tcp.hasten(conn) != nil {
		return c, false
	}
	h, err := readHeader(conn)
	if err != nil {
		return c, false
	}
	c = behind(h, c)
	if !h.Local && !s.tcp.rename(conn, clientPrefix(c.addr)) {
		s.counters[0].refusedStreams.Add(1)
		return c, false
	}
	s.tcp.counts.proxied.Add(1)
	return c, true
}

// readHeader reads a header and nothing behind it.
func readHeader(r io.Reader) (proxyv2.Header, error) {
	b := make([]byte, proxyv2.FixedSize, 64)
	for n := 0; n < len(b); {
		more, err := r.Read(b[n:])
		if n += more; more == 0 && err != nil {
			return proxyv2.Header{}, err
		}
		if !proxyv2.IsHeader(b[:n]) {
			return proxyv2.Header{}, proxyv2.ErrNone // at the first octet that tells
		}
	}
	size, err := proxyv2.Size(b)
	if err != nil {
		return proxyv2.Header{}, err
	}
	b = append(b, make([]byte, size-len(b))...)
	if _, err := io.ReadFull(r, b[proxyv2.FixedSize:]); err != nil {
		return proxyv2.Header{}, err
	}
	h, _, err := proxyv2.Parse(b)
	return h, err
}

// unwrap takes the header from a packet that came through a proxy; false means that it has none that is
// believed. Answers go to the proxy, without one.
func (w *worker) unwrap(in []byte, c client) ([]byte, client, bool) {
	h, skip, err := proxyv2.Parse(in)
	if err != nil || !w.cfg.Proxy.believes(c.addr) {
		w.tcp.counts.unproxied.Add(1)
		return nil, c, false
	}
	w.tcp.counts.proxied.Add(1)
	return in[skip:], behind(h, c), true
}
