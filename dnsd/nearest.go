package dnsd

import (
	"encoding/binary"
	"maps"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// What a resolver says of its client's network (RFC 7871) chooses among an account's edges, and does
// nothing else: networks and views go by who asks, not by whom somebody claims to ask for. Only
// resolvers that the configuration lists are listened to; for all others there is no such option.

const optionSubnet = 8

// nearness is where a client is, and how much of that the answer depends on.
type nearness struct {
	addr  netip.Addr
	scope int // bits of addr that decided up to now
}

// subnet is the option of a listed resolver.
type subnet struct {
	data   []byte // as it came
	source int    // bits that are told
	near   nearness
}

// takeSubnet reads the option of a resolver that is listened to, and returns FORMERR for one that is
// ill formed (section 7.1.2).
func (q *query) takeSubnet(resolvers []netip.Prefix, c client) int {
	if q.subnetData == nil || !containsAddr(resolvers, c.addr) {
		return dns.RcodeSuccess
	}
	data := q.subnetData
	if len(data) < 4 || data[3] != 0 || q.subnets > 1 {
		return dns.RcodeFormatError
	}
	source, sent := int(data[2]), data[4:]
	var whole [16]byte
	copy(whole[:], sent)
	addr := netip.AddrFrom16(whole)
	switch binary.BigEndian.Uint16(data) {
	case 1:
		addr = netip.AddrFrom4([4]byte(whole[:4]))
	case 2:
	default:
		return dns.RcodeFormatError
	}
	prefix, err := addr.Prefix(source)
	if err != nil || len(sent) != (source+7)/8 || prefix.Addr() != addr {
		return dns.RcodeFormatError
	}
	q.subnet = &subnet{data: data, source: source, near: nearness{addr: addr}}
	return dns.RcodeSuccess
}

func containsAddr(networks []netip.Prefix, addr netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// nearness returns what edges are chosen by, nil for nothing.
func (q *query) nearness() *nearness {
	if q.subnet == nil || q.subnet.source == 0 {
		return nil
	}
	return &q.subnet.near
}

// addSubnet notes the option for an answer. Denials are everybody's (section 7.4).
func (q *query) addSubnet(r *reply) {
	if q.subnet == nil {
		return
	}
	data := append([]byte{}, q.subnet.data...)
	if r.rcode == dns.RcodeSuccess && len(r.answer) > 0 {
		data[3] = byte(q.subnet.near.scope)
	}
	q.echo = &dns.EDNS0_LOCAL{Code: optionSubnet, Data: data}
}

// nearest returns c, composed at key, as the client gets it: with the records of the edges nearest to
// it alone, as far as there are such; what exists is the same for all.
func (w *walk) nearest(key string, c *composition) *composition {
	below, top := split(key, w.zone.apex)
	if w.zone.role != tandem.RoleAccounts || top == "edge" || key == w.zone.ns {
		return c
	}
	p, ok := w.m.inboundProfile(w.zone, []byte(top))
	if !ok {
		return c
	}
	all := w.m.edges.all(p.edgesOf(w.zone))
	chosen, scope := nearestHosts(all, w.asker.near.addr)
	w.asker.near.scope = max(w.asker.near.scope, scope)
	if len(chosen) == 0 || len(chosen) == len(all) {
		return c
	}
	near := p.recordsOf(w.zone, all, chosen).node(wireLabel(top)+w.zone.apex, below)
	if near == nil {
		return c
	}
	out := &node{}
	for _, set := range c.node.sets {
		if s := near.set(set[0].Header().Rrtype); s != nil {
			set = s
		}
		out.sets = append(out.sets, set)
	}
	return &composition{node: out, negative: c.negative}
}

// mostNearby bounds the choices of edges whose records are kept of one profile.
const mostNearby = 64

// recordsOf returns the records of inbound names with profile p in z when some of all its edges are
// chosen, made now if need be.
func (p *profile) recordsOf(z *zone, all, chosen []*host) *records {
	var choice uint64
	for i, h := range all {
		if i < 64 && slices.Contains(chosen, h) {
			choice |= 1 << i
		}
	}
	made := p.nearby.Load()
	if made != nil {
		if r := (*made)[choice]; r != nil && r.zone == z && slices.Equal(r.from, chosen) {
			return r
		}
	}
	r := compose(z, chosen, p.ttl.Or(z.ttl), "")
	next := map[uint64]*records{}
	if made != nil && len(*made) < mostNearby {
		next = maps.Clone(*made)
	}
	next[choice] = r
	p.nearby.CompareAndSwap(made, &next)
	return r
}

// nearestHosts returns those of hosts that have the longest network around addr, none when no host
// has one, and how many bits of addr decided: the longest prefix within which every address is
// given the same.
func nearestHosts(hosts []*host, addr netip.Addr) (chosen []*host, scope int) {
	best := -1
	for _, h := range hosts {
		for _, n := range h.nets() {
			switch {
			case n.Addr().Is4() != addr.Is4():
			case !n.Contains(addr):
				scope = max(scope, commonBits(n.Addr(), addr)+1)
			case n.Bits() > best:
				best, chosen = n.Bits(), []*host{h}
			case n.Bits() == best && chosen[len(chosen)-1] != h:
				chosen = append(chosen, h)
			}
		}
	}
	return chosen, max(scope, best)
}

// nets returns the networks that h is nearest to.
func (h *host) nets() []netip.Prefix {
	if h == nil {
		return nil
	}
	return h.networks
}

// commonBits returns how many bits two addresses of one family begin with alike.
func commonBits(a, b netip.Addr) int {
	x, y := a.AsSlice(), b.AsSlice()
	for i := range x {
		if d := x[i] ^ y[i]; d != 0 {
			return 8*i + bits.LeadingZeros8(d)
		}
	}
	return 8 * len(x)
}
