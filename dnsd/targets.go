package dnsd

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// What Targets may say instead of targets.
var (
	ErrNotOurs = errors.New("not in a zone of ours")
	ErrNoName  = errors.New("no such name")
)

// Targets resolves one of our names as RFC 3263 section 4 has it, from the records that clients
// get: NAPTR, then SRV, then A and AAAA. It returns the targets of every transport, those of the
// NAPTR that comes first first, and within a transport by priority; the choice by weight is the
// caller's. No target and no error means that the name is there and its hosts are not available.
// The error wraps ErrNotOurs or ErrNoName. Clients' networks do not matter here.
func (s *Server) Targets(name string) ([]tandem.Target, error) {
	return s.model.targets(name)
}

func (m *model) targets(name string) ([]tandem.Target, error) {
	key, err := wireKey(name)
	if err != nil {
		return nil, fmt.Errorf("targets of %q: %w", name, ErrNoName)
	}
	z := m.zoneOf(key)
	if z == nil {
		return nil, fmt.Errorf("targets of %s: %w", name, ErrNotOurs)
	}
	if r := m.recordsAt(z, key); r != nil {
		return slices.Clone(r.targets), nil
	}
	return m.resolve(z, dns.Fqdn(name))
}

// recordsAt returns the records whose composed name is exactly key, nil for all other names.
func (m *model) recordsAt(z *zone, key string) *records {
	below, top := split(key, z.apex)
	switch {
	case top == "":
		return nil
	case z.role == tandem.RoleAccounts && below == "" && top != "edge":
		if p, ok := m.inboundProfile(z, []byte(top)); ok {
			return m.inboundRecords(z, p)
		}
	case z.role == tandem.RoleService && below != "" && parent(below) == "" && top != "node":
		r, _, _ := m.forwarding(z, below, top)
		return r
	}
	return nil
}

// resolve walks the records of a name step by step, as a client does.
func (m *model) resolve(z *zone, name string) ([]tandem.Target, error) {
	reply := m.ask(z, name, dns.TypeNAPTR)
	if reply.rcode != dns.RcodeSuccess {
		return nil, fmt.Errorf("targets of %s: %w", name, ErrNoName)
	}
	var targets []tandem.Target
	for _, naptr := range sortedNAPTR(reply) {
		for _, s := range services() {
			if naptr.Flags == "s" && strings.EqualFold(naptr.Service, s.naptr) && s.naptr != "" {
				targets = append(targets, m.bySRV(z, naptr.Replacement, s.transport)...)
			}
		}
	}
	found := len(targets) > 0
	for _, s := range services() {
		if s.naptr == "" || !found {
			targets = append(targets, m.bySRV(z, s.label+"."+s.proto+"."+name, s.transport)...)
		}
	}
	if len(targets) == 0 {
		targets = m.byAddress(z, name)
	}
	return targets, nil
}

// ask looks a name up in the zone it lies in; one that is not ours has no records.
func (m *model) ask(z *zone, name string, rrtype uint16) *reply {
	key, err := wireKey(name)
	if err != nil || m.zoneOf(key) != z {
		return &reply{rcode: dns.RcodeRefused}
	}
	return m.lookup(z, question{name: name, key: key, rrtype: rrtype})
}

// sortedNAPTR returns a reply's NAPTR records in the order to try (RFC 3403 section 4.1).
func sortedNAPTR(r *reply) []*dns.NAPTR {
	var all []*dns.NAPTR
	for _, rr := range flatten(r.answer) {
		if n, ok := rr.(*dns.NAPTR); ok {
			all = append(all, n)
		}
	}
	slices.SortStableFunc(all, func(a, b *dns.NAPTR) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Preference, b.Preference))
	})
	return all
}

// bySRV returns the targets of an SRV set, by priority.
func (m *model) bySRV(z *zone, name string, t tandem.Transport) []tandem.Target {
	var targets []tandem.Target
	for _, rr := range flatten(m.ask(z, name, dns.TypeSRV).answer) {
		srv, ok := rr.(*dns.SRV)
		if !ok || srv.Target == "." {
			continue
		}
		for _, target := range m.addresses(z, srv.Target, srv.Port) {
			target.Transport, target.Priority, target.Weight = t, srv.Priority, srv.Weight
			targets = append(targets, target)
		}
	}
	slices.SortStableFunc(targets, func(a, b tandem.Target) int { return cmp.Compare(a.Priority, b.Priority) })
	return targets
}

// byAddress returns what a name with addresses only offers: SIP at its default port over UDP and
// TCP (RFC 3263 section 4.2), and HTTP.
func (m *model) byAddress(z *zone, name string) []tandem.Target {
	var targets []tandem.Target
	for _, d := range []struct {
		transport tandem.Transport
		port      uint16
	}{{tandem.UDP, 5060}, {tandem.TCP, 5060}, {tandem.HTTP, 80}} {
		for _, target := range m.addresses(z, name, d.port) {
			target.Transport = d.transport
			targets = append(targets, target)
		}
	}
	return targets
}

// addresses returns a target for each address of a host in z, A before AAAA.
func (m *model) addresses(z *zone, host string, port uint16) []tandem.Target {
	var targets []tandem.Target
	for _, rrtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		for _, rr := range flatten(m.ask(z, host, rrtype).answer) {
			if addr := addrPort(rr, port); addr.IsValid() {
				targets = append(targets, tandem.Target{
					Addr: addr, Host: strings.ToLower(strings.TrimSuffix(host, ".")), Node: m.hostID(z, host),
				})
			}
		}
	}
	return targets
}

// hostID returns the id of the edge or node whose name host is, else "".
func (m *model) hostID(z *zone, host string) string {
	key, _ := wireKey(host)
	below, top := split(key, z.apex)
	if below == "" || parent(below) != "" {
		return ""
	}
	var h *hosts
	switch {
	case z.role == tandem.RoleAccounts && top == "edge":
		h = &m.edges
	case z.role == tandem.RoleService && top == "node":
		h = &m.nodes
	default:
		return ""
	}
	if found := h.byID([]byte(below[1:])); found != nil {
		return found.id
	}
	return ""
}

// addrPort returns the address of an A or AAAA record with a port; invalid for other records.
func addrPort(rr dns.RR, port uint16) netip.AddrPort {
	var octets []byte
	switch rr := rr.(type) {
	case *dns.A:
		octets = rr.A.To4()
	case *dns.AAAA:
		octets = rr.AAAA
	}
	addr, ok := netip.AddrFromSlice(octets)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr, port)
}
