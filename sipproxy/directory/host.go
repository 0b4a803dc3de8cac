package directory

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"

	"tandem/internal/tandem"
)

// maxName is the longest domain name in text, a trailing dot included.
const maxName = 254

// host is an address and the nodes or edges that have it.
type host[T any] struct {
	addr netip.Addr
	at   []*T
}

func (d *Directory) addrHash(a netip.Addr) uint64 {
	octets := a.As16()
	return maphash.Bytes(d.seed, octets[:])
}

func (d *Directory) hashBytes(name []byte) uint64 { return maphash.Bytes(d.seed, name) }

// moveHost makes fresh stand at its addresses instead of old at its own; either may be nil.
func moveHost[T any](d *Directory, t *table[host[T]], old, fresh *T, had, has []netip.Addr) {
	all := slices.Concat(had, has)
	slices.SortFunc(all, netip.Addr.Compare)
	for _, addr := range slices.Compact(all) {
		h := d.addrHash(addr)
		was := t.get(h, func(x *host[T]) bool { return x.addr == addr })
		var at []*T
		if was != nil {
			at = slices.DeleteFunc(slices.Clone(was.at), func(x *T) bool { return x == old })
		}
		if slices.Contains(has, addr) {
			at = append(at, fresh)
		}
		if len(at) == 0 {
			t.replace(h, was, nil)
			continue
		}
		t.replace(h, was, &host[T]{addr: addr, at: at})
	}
}

// setNode takes a changed node, nil for a deleted one.
func (d *Directory) setNode(id string, x *tandem.Node) {
	old := d.Node(id)
	var had, has []netip.Addr
	if old != nil {
		had = old.Addresses
	}
	if x != nil {
		has = x.Addresses
	}
	d.nodes.replace(HashOf(id).index(), old, x)
	moveHost(d, d.nodeHosts, old, x, had, has)
}

// setEdge takes a changed edge, nil for a deleted one.
func (d *Directory) setEdge(id string, x *tandem.Edge) {
	old := d.Edge(id)
	var had, has []netip.Addr
	if old != nil {
		had = old.Addresses
	}
	if x != nil {
		has = x.Addresses
	}
	d.edges.replace(d.hash(id, ""), old, x)
	moveHost(d, d.edgeHosts, old, x, had, has)
}

// Node returns the node with this id, nil when there is none.
func (d *Directory) Node(id string) *tandem.Node {
	return d.nodes.get(HashOf(id).index(), func(n *tandem.Node) bool { return n.ID == id })
}

// NodeByHash returns the node whose id has this hash, nil when there is none.
func (d *Directory) NodeByHash(h Hash) *tandem.Node {
	return d.nodes.get(h.index(), func(n *tandem.Node) bool { return HashOf(n.ID) == h })
}

// NodeAt returns the node at an address: the one with that port, else the only one there is; nil
// when there is none or when it could be several.
func (d *Directory) NodeAt(addr netip.AddrPort) *tandem.Node {
	ip := addr.Addr().Unmap().WithZone("")
	x := d.nodeHosts.get(d.addrHash(ip), func(x *host[tandem.Node]) bool { return x.addr.Unmap() == ip })
	if x == nil {
		return nil
	}
	for _, n := range x.at {
		p := n.Ports
		if slices.Contains([]uint16{p.UDP, p.TCP, p.TLS, p.WS, p.WSS}, addr.Port()) && addr.Port() != 0 {
			return n
		}
	}
	if len(x.at) == 1 {
		return x.at[0]
	}
	return nil
}

// Edge returns the edge with this id, nil when there is none.
func (d *Directory) Edge(id string) *tandem.Edge {
	return d.edges.get(d.hash(id, ""), func(e *tandem.Edge) bool { return e.ID == id })
}

// Edges returns the ids of an account's connection points: its own, else its zone's.
func (d *Directory) Edges(a *Account) []string {
	if len(a.Profile.Edges) > 0 {
		return a.Profile.Edges
	}
	if z := d.zone(a.Zone); z != nil {
		return z.Edges
	}
	return nil
}

// IsOurs reports whether host is a name in a zone of ours that serves accounts (the closest zone of
// ours around it has role accounts or service), or an address of one of our edges. An IPv6 address
// may stand in brackets.
func (d *Directory) IsOurs(name string) bool {
	if looksNumeric(name) {
		return d.isEdgeAddr(name)
	}
	var buf [maxName]byte
	for rest := canonical(buf[:0], name); len(rest) > 0; {
		z := d.zones.get(d.hashBytes(rest), func(z *tandem.Zone) bool { return z.ID == string(rest) })
		if z != nil {
			return z.Role == tandem.RoleAccounts || z.Role == tandem.RoleService
		}
		dot := slices.Index(rest, '.')
		if dot < 0 {
			return false
		}
		rest = rest[dot+1:]
	}
	return false
}

// looksNumeric tells addresses from names without making an error for each name: no top-level
// domain ends in a digit (RFC 3696 section 2), and no name holds a colon.
func looksNumeric(s string) bool {
	return s != "" && s[len(s)-1] <= '9' && s[len(s)-1] >= '0' || strings.IndexByte(s, ':') >= 0
}

func (d *Directory) isEdgeAddr(text string) bool {
	ip, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	return d.edgeHosts.get(d.addrHash(ip), func(x *host[tandem.Edge]) bool { return x.addr.Unmap() == ip }) != nil
}

// canonical appends a domain name in lower case without trailing dot; nothing for one that is too
// long.
func canonical(dst []byte, name string) []byte {
	name = strings.TrimSuffix(name, ".")
	if len(name) >= maxName {
		return dst
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
