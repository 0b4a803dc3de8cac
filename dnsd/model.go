package dnsd

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/dnsd/guard"
	"tandem/internal/tandem"
)

// model is everything that answers are made from. Readers go from table to table without a lock;
// what they find is checked against what it was made from, so that a change needs to touch only
// the object that changed: records made from an older one are seen to be stale and made anew.
type model struct {
	zones     *table // apex in wire form → a: zone number
	zoneAt    directory[zone]
	above     *table // names above apexes → a: how many zones lie below
	inbound   *table // zone number and label → a: profile number, b: hash of the account's id, tag: label role
	accounts  *table // account id → a: profile number, b: group number; tail: the hashes of its labels
	profiles  directory[profile]
	groups    directory[group]
	clusters  directory[cluster]
	edges     hosts
	nodes     hosts
	edns      ednsFacts
	numbers   *numbers
	resolvers []netip.Prefix        // that are believed when they say for whom they ask
	views     atomic.Pointer[views] // nil while there is none

	designation atomic.Pointer[designation] // nil: no transport that encrypts

	edgesChanged atomic.Uint32 // revision of the last change to an edge, for serials
	coreChanged  atomic.Uint32 // the same for groups, their assignments, clusters and nodes

	numbersChanged atomic.Uint32 // the same for numbers, and accounts that have some

	signers sync.Map // *signer by the key's name in wire form
	now     nowFunc
	heard   func(z *zone) // told of a NOTIFY that counts; nil: nobody
	// transfer answers AXFR and IXFR over UDP; nil: they are refused.
	transfer func(q *query, z *zone, c client, out []byte) int
}

// nowFunc tells the time.
type nowFunc = func() time.Time

// hosts are the edges or the nodes.
type hosts struct {
	names *table // id → a: host number
	at    directory[host]
}

// cluster is a set of nodes and the records made from them.
type cluster struct {
	id    string
	nodes []*host
	types map[string]bool // those that a node lists
	// made are the records asked for since the cluster last changed. It is replaced, not changed.
	made atomic.Pointer[map[madeKey]*records]
}

// mostMade bounds the records kept of one cluster; over it, they begin anew.
const mostMade = 4096

// madeKey tells apart the records of one cluster.
type madeKey struct {
	zone   uint32
	ttl    tandem.TTL
	strict bool
	key    string
}

// profile is what many accounts have in common: their zone, edges and TTLs, and for few accounts
// targets and types of their own. Accounts with equal settings share one.
type profile struct {
	zone    uint32
	edges   []uint32 // nil: those of the zone
	ttl     tandem.TTL
	targets map[string]*target
	types   map[string]bool // request types and keys that routes and rules name
	made    atomic.Pointer[records]
	nearby  atomic.Pointer[map[uint64]*records] // the same for some of its edges, by which ones; replaced, not changed
}

// target is what one forwarding name of an account resolves to instead of its group's cluster.
type target struct {
	cluster uint32
	nodes   []uint32 // not nil: these nodes, whatever types they serve
	made    atomic.Pointer[records]
}

func newModel() *model {
	return &model{
		edns:  ednsFacts{jar: guard.NewJar()},
		zones: newTable(), above: newTable(), inbound: newTable(), accounts: newTable(),
		numbers: newNumbers(), edges: hosts{names: newTable()}, nodes: hosts{names: newTable()}, now: time.Now,
	}
}

// serialOf returns z's serial: the revision of the last change that may have touched its answers
// (RFC 1982; revisions only grow). Edges count for all zones that hold accounts, and groups,
// clusters and nodes for all service zones: one number each, whatever the number of zones. Health
// counts for none (health.go).
func (m *model) serialOf(z *zone) uint32 {
	if z.copied() {
		return z.soa.Serial // its primary's
	}
	serial := z.serial.Load()
	switch z.role {
	case tandem.RoleAccounts:
		serial = later(serial, m.edgesChanged.Load())
	case tandem.RoleService:
		serial = later(serial, m.coreChanged.Load())
	case tandem.RoleENUM:
		serial = later(serial, m.numbersChanged.Load())
	}
	return serial
}

// zoneOf returns the zone with the longest apex that key lies in, nil when there is none.
func (m *model) zoneOf(key string) *zone {
	for ; ; key = parent(key) {
		if row, ok := m.zones.get([]byte(key)); ok {
			return m.zoneAt.get(row.a)
		}
		if key == "\x00" {
			return nil
		}
	}
}

// isAbove reports whether a zone of ours lies below key, which exists for that (RFC 8020), though the
// zone that key lies in holds nothing there.
func (m *model) isAbove(key []byte) bool {
	_, ok := m.above.get(key)
	return ok
}

// labelKey returns the key of an inbound label, in buf when it fits.
func labelKey(buf []byte, zone uint32, label []byte) []byte {
	return append(binary.AppendUvarint(buf[:0], uint64(zone)), label...)
}

// inboundProfile returns the profile of the account that label leads to in z.
func (m *model) inboundProfile(z *zone, label []byte) (*profile, bool) {
	var buf [80]byte
	key := labelKey(buf[:0], z.number, label)
	return m.profileAt(m.inbound, key)
}

// profileAt returns the profile that a row of t names. A profile disappears only after the row has
// named another, so one that is missing means: look again.
func (m *model) profileAt(t *table, key []byte) (*profile, bool) {
	for {
		row, ok := t.get(key)
		if !ok {
			return nil, false
		}
		if p := m.profiles.get(row.a); p != nil {
			return p, true
		}
	}
}

// account returns the profile and the group's number of the account with this id.
func (m *model) account(id []byte) (*profile, uint32, bool) {
	for {
		row, ok := m.accounts.get(id)
		if !ok {
			return nil, 0, false
		}
		if p := m.profiles.get(row.a); p != nil {
			return p, row.b, true
		}
	}
}

// clusterOf returns the cluster that serves group number n, nil when there is none: no group, no
// cluster that tier 1 or the group's pin names, or none by that id.
func (m *model) clusterOf(n uint32) *cluster {
	if g := m.groups.get(n); g != nil {
		return m.clusters.get(g.cluster)
	}
	return nil
}

// edgesOf returns the edges of accounts with profile p in z.
func (p *profile) edgesOf(z *zone) []uint32 {
	if p.edges != nil {
		return p.edges
	}
	return z.edges
}

// inboundRecords returns the records of inbound names with profile p in z, made now if need be.
func (m *model) inboundRecords(z *zone, p *profile) *records {
	numbers := p.edgesOf(z)
	if r := p.made.Load(); r != nil && r.valid(z, &m.edges.at, numbers) {
		return r
	}
	r := compose(z, m.edges.all(numbers), p.ttl.Or(z.ttl), "")
	p.made.Store(r)
	return r
}

// all returns the hosts under numbers, nil for those that do not exist.
func (h *hosts) all(numbers []uint32) []*host {
	out := make([]*host, len(numbers))
	for i, n := range numbers {
		out[i] = h.at.get(n)
	}
	return out
}

// byID returns the host with this id.
func (h *hosts) byID(id []byte) *host {
	if row, ok := h.names.get(id); ok {
		return h.at.get(row.a)
	}
	return nil
}

// forwardingRecords returns the records of the forwarding name key of the account with profile p
// and a group, in service zone z; nil when there is no such name. steer.go has the rule.
func (m *model) forwardingRecords(z *zone, p *profile, group uint32, key string) *records {
	w := m.steer(p, group, key)
	switch {
	case w == nil:
		return nil
	case w.target != nil && w.target.nodes != nil:
		if r := w.target.made.Load(); r != nil && r.valid(z, &m.nodes.at, w.target.nodes) {
			return r
		}
		r := compose(z, m.nodes.all(w.target.nodes), p.ttl.Or(z.ttl), key)
		w.target.made.Store(r)
		return r
	case w.cluster == nil:
		return compose(z, nil, p.ttl.Or(z.ttl), key)
	}
	return w.cluster.recordsFor(z, madeKey{zone: z.number, ttl: p.ttl, strict: w.strict, key: key})
}

// recordsFor returns the records of c under k in z, made now if need be. Two that make them at once
// make the same; one of them is kept, the other's place is filled by the next request.
func (c *cluster) recordsFor(z *zone, k madeKey) *records {
	made := c.made.Load()
	if made != nil {
		if r := (*made)[k]; r != nil && r.zone == z {
			return r
		}
	}
	r := compose(z, c.serving(k.key, k.strict), k.ttl.Or(z.ttl), k.key)
	next := map[madeKey]*records{}
	if made != nil && len(*made) < mostMade {
		next = maps.Clone(*made)
	}
	next[k] = r
	c.made.CompareAndSwap(made, &next)
	return r
}

// serving returns the nodes that a forwarding name with this key leads to.
func (c *cluster) serving(key string, strict bool) []*host {
	if !strict && !c.types[key] {
		return c.nodes
	}
	return slices.DeleteFunc(slices.Clone(c.nodes), func(h *host) bool {
		return len(h.types) > 0 && !slices.Contains(h.types, tandem.RequestType(key))
	})
}
