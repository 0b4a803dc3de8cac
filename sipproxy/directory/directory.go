package directory

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"math/bits"

	"tandem/internal/tandem"
)

// Directory is the read model. The zero value is not usable; call New.
type Directory struct {
	seed maphash.Seed

	accounts *table[accountCell] // by the Hash of the id
	names    *table[accountCell] // by inbound name
	numbers  *table[accountCell] // by packed number
	profiles map[string]*Profile // by content; the writer's

	devices   *table[Device]   // by account and user name
	deviceIDs *table[Device]   // by id
	users     *table[userCell] // by id; also of users that only a device has named so far
	addresses *table[userCell] // by account and extension
	lines     *table[userCell] // by packed number

	peers    *table[peerRecord] // by id
	networks *table[network]    // by listener and prefix
	lengths  lengths

	nodes     *table[tandem.Node] // by the Hash of the id
	nodeHosts *table[host[tandem.Node]]
	edges     *table[tandem.Edge]
	edgeHosts *table[host[tandem.Edge]]
	groups    *table[tandem.Group]
	zones     *table[tandem.Zone]
}

// New returns an empty directory.
func New() *Directory {
	return &Directory{
		seed:      maphash.MakeSeed(),
		accounts:  newTable[accountCell](),
		names:     newTable[accountCell](),
		numbers:   newTable[accountCell](),
		profiles:  make(map[string]*Profile),
		devices:   newTable[Device](),
		deviceIDs: newTable[Device](),
		users:     newTable[userCell](),
		addresses: newTable[userCell](),
		lines:     newTable[userCell](),
		peers:     newTable[peerRecord](),
		networks:  newTable[network](),
		nodes:     newTable[tandem.Node](),
		nodeHosts: newTable[host[tandem.Node]](),
		edges:     newTable[tandem.Edge](),
		edgeHosts: newTable[host[tandem.Edge]](),
		groups:    newTable[tandem.Group](),
		zones:     newTable[tandem.Zone](),
	}
}

// Apply takes committed changes; kinds that the proxy does not need are passed over. Only one
// goroutine may call it.
func (d *Directory) Apply(changes []tandem.Change) {
	for _, c := range changes {
		switch c.Kind {
		case tandem.KindAccount:
			d.setAccount(c.ID, as[tandem.Account](c))
		case tandem.KindDevice:
			d.setDevice(c.ID, as[tandem.Device](c))
		case tandem.KindUser:
			d.setUser(c.ID, as[tandem.User](c))
		case tandem.KindPeer:
			d.setPeer(c.ID, as[tandem.Peer](c))
		case tandem.KindNode:
			d.setNode(c.ID, as[tandem.Node](c))
		case tandem.KindEdge:
			d.setEdge(c.ID, as[tandem.Edge](c))
		case tandem.KindGroup:
			d.groups.replace(d.hash(c.ID, ""), d.Group(c.ID), as[tandem.Group](c))
		case tandem.KindZone:
			d.zones.replace(d.hash(c.ID, ""), d.zone(c.ID), as[tandem.Zone](c))
		}
	}
}

// as returns a change's object as what its kind says it is, nil for a deletion.
func as[T any](c tandem.Change) *T {
	if c.Object == nil {
		return nil
	}
	return any(c.Object).(*T)
}

// Counts says how many objects of each kind the directory holds.
func (d *Directory) Counts() map[tandem.Kind]int {
	return map[tandem.Kind]int{
		tandem.KindAccount: int(d.accounts.live.Load()),
		tandem.KindDevice:  int(d.deviceIDs.live.Load()),
		tandem.KindUser:    int(d.users.live.Load()),
		tandem.KindPeer:    int(d.peers.live.Load()),
		tandem.KindNode:    int(d.nodes.live.Load()),
		tandem.KindEdge:    int(d.edges.live.Load()),
		tandem.KindGroup:   int(d.groups.live.Load()),
		tandem.KindZone:    int(d.zones.live.Load()),
	}
}

// Hash names an account or a node in 96 bits, the same on every appliance: the beginning of the
// SHA-256 of its id. It is what a Record-Route token carries. Ten million accounts share a hash
// with probability 10^-15, and to find two ids that do takes 2^48 tries and an operator's rights.
type Hash [12]byte

// HashOf returns the hash of an id.
func HashOf(id string) Hash {
	sum := sha256.Sum256([]byte(id))
	return Hash(sum[:12])
}

// index is a Hash as tables take it.
func (h Hash) index() uint64 { return binary.BigEndian.Uint64(h[:8]) }

// hash makes a table's hash of one or two strings.
func (d *Directory) hash(a, b string) uint64 {
	if b == "" {
		return maphash.String(d.seed, a)
	}
	return maphash.String(d.seed, a) ^ bits.RotateLeft64(maphash.String(d.seed, b), 1)
}

// Group returns the group with this id, nil when there is none.
func (d *Directory) Group(id string) *tandem.Group {
	return d.groups.get(d.hash(id, ""), func(g *tandem.Group) bool { return g.ID == id })
}

func (d *Directory) zone(id string) *tandem.Zone {
	return d.zones.get(d.hash(id, ""), func(z *tandem.Zone) bool { return z.ID == id })
}

// ServiceZone returns the zone in which the forwarding names of zone's accounts lie.
func (d *Directory) ServiceZone(zone string) string {
	if z := d.zone(zone); z != nil {
		return z.ServiceZone
	}
	return ""
}
