package dnsd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// doors are the listeners beside those of plain DNS.
type doors struct {
	tls      []door
	quic     []*quicDoor
	proxied  []listener // UDP and TCP
	proxyTLS []door
}

// listenDoors binds the listeners of TLS, QUIC and proxies, and makes known what there is.
func (s *Server) listenDoors() error {
	if len(s.cfg.TLS.Listen)+len(s.cfg.Proxy.TLS) > 0 {
		secure, err := s.cfg.secureConfig(s.deps, "dot")
		if err != nil {
			return fmt.Errorf("dns %w", err)
		}
		for _, to := range []struct {
			doors   *[]door
			addrs   []netip.AddrPort
			proxied bool
		}{{&s.doors.tls, s.cfg.TLS.Listen, false}, {&s.doors.proxyTLS, s.cfg.Proxy.TLS, true}} {
			for _, addr := range to.addrs {
				l, err := s.sockets.Listen("tcp", addr.String())
				if err != nil {
					return fmt.Errorf("dns tls listener %s: %w", addr, err)
				}
				*to.doors = append(*to.doors, door{l: l.(*net.TCPListener), secure: secure, proxied: to.proxied})
			}
		}
	}
	if len(s.cfg.QUIC.Listen) > 0 {
		secure, err := s.cfg.secureConfig(s.deps, "doq")
		if err != nil {
			return fmt.Errorf("dns %w", err)
		}
		for _, addr := range s.cfg.QUIC.Listen {
			d, err := s.listenQUIC(addr, secure)
			if err != nil {
				return fmt.Errorf("dns quic listener %s: %w", addr, err)
			}
			s.doors.quic = append(s.doors.quic, d)
		}
	}
	for _, addr := range s.cfg.Proxy.Listen {
		l, err := listen(s.sockets, addr, 1)
		if err != nil {
			return fmt.Errorf("dns proxy listener %s: %w", addr, err)
		}
		s.doors.proxied = append(s.doors.proxied, l)
	}
	s.model.designation.Store(s.cfg.designate(s.AddrsTLS(), s.AddrsQUIC()))
	return nil
}

// AddrsTLS returns the bound addresses of DNS over TLS, in the order of Config.TLS.Listen. Call it
// after Listen.
func (s *Server) AddrsTLS() []netip.AddrPort { return doorAddrs(s.doors.tls) }

// AddrsQUIC returns those of DNS over QUIC, in the order of Config.QUIC.Listen. Call it after Listen.
func (s *Server) AddrsQUIC() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, d := range s.doors.quic {
		addrs = append(addrs, d.addr())
	}
	return addrs
}

// AddrsProxy returns those for proxies: first plain ones, in the order of Config.Proxy.Listen, then
// those over TLS. Call it after Listen.
func (s *Server) AddrsProxy() (plain, secure []netip.AddrPort) {
	for _, l := range s.doors.proxied {
		plain = append(plain, l.tcp.Addr().(*net.TCPAddr).AddrPort())
	}
	return plain, doorAddrs(s.doors.proxyTLS)
}

func doorAddrs(doors []door) (addrs []netip.AddrPort) {
	for _, d := range doors {
		addrs = append(addrs, d.l.Addr().(*net.TCPAddr).AddrPort())
	}
	return addrs
}

// serveDoors serves all doors but UDP until they are closed.
func (s *Server) serveDoors(ctx context.Context, wg *sync.WaitGroup) {
	for _, d := range append(append([]door{}, s.doors.tls...), s.doors.proxyTLS...) {
		wg.Go(func() { s.serveTCP(ctx, d) })
	}
	for _, d := range s.doors.quic {
		d.serving.Add(1)
		wg.Go(func() {
			defer d.serving.Done()
			s.serveQUIC(d)
		})
	}
	for _, l := range s.doors.proxied {
		wg.Go(func() { s.serveTCP(ctx, door{l: l.tcp, proxied: true}) })
	}
}

// close closes every door. Those of QUIC, whose connections share the door's socket, only take no more.
func (d *doors) close() {
	for _, t := range append(append([]door{}, d.tls...), d.proxyTLS...) {
		t.l.Close()
	}
	for _, l := range d.proxied {
		l.close()
	}
	for _, q := range d.quic {
		q.leave()
	}
}

// closeQUIC closes the sockets of QUIC once the last connection is gone.
func (d *doors) closeQUIC() {
	for _, q := range d.quic {
		q.close()
	}
}
