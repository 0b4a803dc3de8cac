package directory

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync/atomic"

	"tandem/internal/tandem"
)

// peerRecord is a peer with its number rules made ready.
type peerRecord struct {
	*tandem.Peer
	rules   map[string]string // prefix to account
	lengths []int             // of the prefixes, longest first
}

// network is where peers' requests come from: one prefix on one listener.
type network struct {
	listener string
	prefix   netip.Prefix
	peers    []*tandem.Peer // by id
}

// lengths are the prefix lengths in use, longest first, for IPv4 and IPv6; with their counts, which
// are the writer's.
type lengths struct {
	inUse  [2]atomic.Pointer[[]int]
	counts [2][129]int
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func (l *lengths) add(p netip.Prefix, n int) {
	f := family(p.Addr())
	l.counts[f][p.Bits()] += n
	var list []int
	for bits := 128; bits >= 0; bits-- {
		if l.counts[f][bits] > 0 {
			list = append(list, bits)
		}
	}
	l.inUse[f].Store(&list)
}

func newPeer(x *tandem.Peer) *peerRecord {
	p := &peerRecord{Peer: x}
	if len(x.Numbers) == 0 {
		return p
	}
	p.rules = make(map[string]string, len(x.Numbers))
	for _, r := range x.Numbers {
		if _, twice := p.rules[r.Prefix]; !twice {
			p.rules[r.Prefix] = r.Account
		}
		if !slices.Contains(p.lengths, len(r.Prefix)) {
			p.lengths = append(p.lengths, len(r.Prefix))
		}
	}
	slices.SortFunc(p.lengths, func(a, b int) int { return b - a })
	return p
}

func (d *Directory) peer(id string) *peerRecord {
	return d.peers.get(d.hash(id, ""), func(p *peerRecord) bool { return p.ID == id })
}

// setPeer takes a changed peer, nil for a deleted one.
func (d *Directory) setPeer(id string, x *tandem.Peer) {
	old := d.peer(id)
	if x != nil {
		d.peers.replace(d.hash(id, ""), old, newPeer(x))
		for _, n := range x.Networks {
			d.editNetwork(x.Listener, n, func(peers []*tandem.Peer) []*tandem.Peer { return withPeer(peers, x) })
		}
	} else if old != nil {
		d.peers.replace(d.hash(id, ""), old, nil)
	}
	if old == nil {
		return
	}
	for _, n := range old.Networks {
		if x != nil && x.Listener == old.Listener && slices.Contains(x.Networks, n) {
			continue
		}
		d.editNetwork(old.Listener, n, func(peers []*tandem.Peer) []*tandem.Peer { return withoutPeer(peers, id) })
	}
}

func withoutPeer(peers []*tandem.Peer, id string) []*tandem.Peer {
	return slices.DeleteFunc(slices.Clone(peers), func(p *tandem.Peer) bool { return p.ID == id })
}

func withPeer(peers []*tandem.Peer, x *tandem.Peer) []*tandem.Peer {
	list := append(withoutPeer(peers, x.ID), x)
	slices.SortFunc(list, func(a, b *tandem.Peer) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// editNetwork replaces a network's list of peers; a network without peers is forgotten.
func (d *Directory) editNetwork(listener string, prefix netip.Prefix, edit func([]*tandem.Peer) []*tandem.Peer) {
	old := d.network(listener, prefix)
	var peers []*tandem.Peer
	if old != nil {
		peers = old.peers
	}
	var fresh *network
	if peers = edit(peers); len(peers) > 0 {
		fresh = &network{listener: listener, prefix: prefix, peers: peers}
	}
	switch {
	case old == nil && fresh != nil:
		d.lengths.add(prefix, 1)
	case old != nil && fresh == nil:
		d.lengths.add(prefix, -1)
	}
	d.networks.replace(d.networkHash(listener, prefix), old, fresh)
}

func (d *Directory) network(listener string, prefix netip.Prefix) *network {
	return d.networks.get(d.networkHash(listener, prefix), func(n *network) bool {
		return n.prefix == prefix && n.listener == listener
	})
}

func (d *Directory) networkHash(listener string, prefix netip.Prefix) uint64 {
	var h maphash.Hash
	h.SetSeed(d.seed)
	octets := prefix.Addr().As16()
	h.Write(octets[:])
	h.WriteByte(byte(prefix.Bits()))
	h.WriteString(listener)
	return h.Sum64()
}

// Peer returns the peer that requests from source on a listener come from, nil when they come from
// none: in the longest network that has one, a peer that lists the source port, else one that
// lists no ports, the lowest id first. A peer that lists other ports only is not meant.
func (d *Directory) Peer(listener string, source netip.AddrPort) *tandem.Peer {
	addr := source.Addr().Unmap().WithZone("")
	if !addr.IsValid() {
		return nil
	}
	inUse := d.lengths.inUse[family(addr)].Load()
	if inUse == nil {
		return nil
	}
	for _, bits := range *inUse {
		prefix, err := addr.Prefix(bits)
		if err != nil {
			continue
		}
		if n := d.network(listener, prefix); n != nil {
			if p := n.at(source.Port()); p != nil {
				return p
			}
		}
	}
	return nil
}

func (n *network) at(port uint16) *tandem.Peer {
	var anyPort *tandem.Peer
	for _, p := range n.peers {
		switch {
		case slices.Contains(p.Ports, port):
			return p
		case len(p.Ports) == 0 && anyPort == nil:
			anyPort = p
		}
	}
	return anyPort
}

// AccountByCarrier returns the account that calls from carrier p to an E.164 number are for, nil
// for none. The longest match counts: a rule for the whole number, then the account that holds the
// number, then the rule with the longest prefix.
func (d *Directory) AccountByCarrier(p *tandem.Peer, number string) *Account {
	rec := d.peer(p.ID)
	if rec != nil {
		if id, ok := rec.rules[number]; ok {
			return d.Account(id)
		}
	}
	if a := d.AccountByNumber(number); a != nil || rec == nil {
		return a
	}
	for _, n := range rec.lengths {
		if n < len(number) {
			if id, ok := rec.rules[number[:n]]; ok {
				return d.Account(id)
			}
		}
	}
	return nil
}
