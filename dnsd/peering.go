package dnsd

import (
	"net/netip"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// peering is what a zone is to other servers. It is immutable.
type peering struct {
	transferable bool // its data is configured only, and whole
	secondaries  []tandem.Secondary
	primaries    []tandem.Primary
	catalog      string // the catalog zone that lists it
}

func newPeering(z *tandem.Zone) peering {
	return peering{
		// ENUM zones are made of numbers that no snapshot lists yet.
		transferable: z.ModeOf() == tandem.ModeTransferable && z.Role != tandem.RoleENUM,
		secondaries:  z.Secondaries, primaries: z.Primaries, catalog: z.Catalog,
	}
}

// shared reports whether anybody holds a copy of the zone.
func (s *peering) shared() bool { return s.transferable && len(s.secondaries) > 0 }

// copied reports whether the zone itself is a copy.
func (s *peering) copied() bool { return len(s.primaries) > 0 }

// mayTransfer reports whether the client that asks q may have a copy of the zone.
func (s *peering) mayTransfer(q *query, c client) bool {
	if !s.transferable {
		return false
	}
	for i := range s.secondaries {
		if admits(&s.secondaries[i], q.signature.by(), c) {
			return true
		}
	}
	return false
}

// admits reports whether c, whose request by signed, is the secondary that s means.
func admits(s *tandem.Secondary, by *signer, c client) bool {
	if len(s.Networks) == 0 && s.Key == "" || s.TLS && !c.transport.isEncrypted() {
		return false
	}
	if s.Key != "" && (by == nil || by.id != s.Key) {
		return false
	}
	return len(s.Networks) == 0 || inAny(s.Networks, c.addr)
}

func inAny(networks []netip.Prefix, addr netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// notified takes a NOTIFY (RFC 1996 section 3.11): one from a primary makes the zone look for a new
// version at once. It returns the rcode.
func (m *model) notified(q *query, z *zone, c client) int {
	switch {
	case q.asked.rrtype != dns.TypeSOA || q.question.Qclass != dns.ClassINET:
		return dns.RcodeFormatError
	case z == nil || z.apex != q.asked.key:
		return dns.RcodeNotAuth
	case !z.isPrimary(q.signature.by(), c.addr):
		return dns.RcodeRefused
	}
	if m.heard != nil && !(q.has && z.absent == "" && later(z.soa.Serial, q.told) == z.soa.Serial) {
		m.heard(z)
	}
	return dns.RcodeSuccess
}

// isPrimary reports whether whoever has this address and signed with this key is one of the zone's
// primaries.
func (s *peering) isPrimary(by *signer, addr netip.Addr) bool {
	for i := range s.primaries {
		p := &s.primaries[i]
		if p.Key != "" {
			if by != nil && by.id == p.Key {
				return true
			}
			continue
		}
		if at, ok := serverAddress(p.Address, 53); ok && at.Addr() == addr {
			return true
		}
	}
	return false
}

// serverAddress reads the address of a server, with a port or without.
func serverAddress(text string, port uint16) (netip.AddrPort, bool) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(addr.Unmap(), port), true
	}
	at, err := netip.ParseAddrPort(text)
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), err == nil
}
