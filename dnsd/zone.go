package dnsd

import (
	"cmp"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// zone is one apex as it is served. It is immutable; a change makes a new one under the same number.
type zone struct {
	number   uint32
	id       string // apex without trailing dot
	name     string // apex with trailing dot
	apex     string // apex in wire form
	role     tandem.ZoneRole
	service  uint32 // number of the service zone, or noZone
	networks []netip.Prefix
	edges    []uint32
	ttl      tandem.TTL
	tree     tree
	// ns is the wire form of ns.<apex> when that is a name server of our own making, whose addresses
	// are the first edge's; else empty.
	ns string
	// closed means that no wildcard or DNAME stands in for names next to the apex: what the tree
	// lacks there does not exist, nor anything below it (RFC 8020).
	closed bool
	soa    *dns.SOA
	wire   soaWire
	serial *atomic.Uint32 // shared by all versions of the zone

	faulty     bool // its text could not be read: it is not served
	additional tandem.Additional
	updates    []tandem.UpdateRule      // who may change it
	overlaid   *atomic.Pointer[overlay] // what RecordSets make of it; holds nil while there are none

	peering
	absent  string // why there is nothing to answer from; "" when there is
	sorting sync.Once
	keys    []string // of tree, see ordered
}

// noZone is no zone's number.
const noZone = ^uint32(0)

// newZone returns z as it is served. The zone text of a stored zone was checked before; should it
// fail all the same, the error is returned with a zone that has no plain records.
func newZone(z *tandem.Zone, number, service uint32, edges []uint32, serial *atomic.Uint32) (*zone, error) {
	t, err := plant(z)
	if err != nil {
		stripped := *z
		stripped.Records = ""
		t, _ = plant(&stripped)
	}
	apex, _ := wireKey(z.ID)
	v := &zone{
		number: number, id: z.ID, name: z.ID + ".", apex: apex, role: z.Role, service: service,
		networks: z.Networks, edges: edges, ttl: z.TTL.Or(tandem.DefaultTTL()), tree: t, serial: serial,
		updates: z.Updates, additional: cmp.Or(z.Additional, tandem.AdditionalChain), peering: newPeering(z),
	}
	if len(v.networks) == 0 && (z.Role == tandem.RoleService || z.Role == tandem.RoleENUM) {
		v.networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if key := "\x02ns" + apex; len(z.NameServers) == 0 && t.isEmpty(key) {
		v.ns = key
	}
	v.faulty = err != nil
	v.closed = err == nil && t["\x01*"+apex] == nil && t[apex].set(dns.TypeDNAME) == nil
	v.soa = t[apex].set(dns.TypeSOA)[0].(*dns.SOA)
	v.wire = newSOAWire(v)
	return v, err
}

// isEmpty reports whether key is an empty non-terminal.
func (t tree) isEmpty(key string) bool {
	n := t[key]
	return n != nil && len(n.sets) == 0
}

// answers reports whether clients at addr are answered.
func (z *zone) answers(addr netip.Addr) bool {
	if len(z.networks) == 0 {
		return true
	}
	for _, n := range z.networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// negative returns the TTL of denials (RFC 2308 section 5), which an account can only shorten.
func (z *zone) negative(own uint32) uint32 {
	ttl := min(z.soa.Hdr.Ttl, z.soa.Minttl)
	if own != 0 {
		ttl = min(ttl, own)
	}
	return ttl
}

// soaRecord returns the SOA with its present serial.
func (z *zone) soaRecord(ttl, serial uint32) *dns.SOA {
	soa := *z.soa
	soa.Hdr.Ttl, soa.Serial = ttl, serial
	return &soa
}
