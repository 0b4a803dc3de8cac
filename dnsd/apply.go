package dnsd

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"tandem/dnsd/journal"
	"tandem/internal/tandem"
)

// writer keeps a model up to date. It remembers what objects refer to by number; only who holds
// Server.applying uses it.
type writer struct {
	*model
	log         *slog.Logger
	accelerator *accelerator // told what changed; nil: nobody is
	seal        Sealer

	shares  map[uint32]*share // by zone number
	journal *journal.Journal
	copies  *copies
	lists   lists
	touched map[uint32]bool // zones of shares whose serial may have moved
	deltas  map[uint32]*delta
	laid    map[uint32]map[string][]rrset // by zone number and name: what RecordSets are about to change
	live    bool                          // everything stored is applied
	changed func(z *zone)                 // told of each new version of a shared zone; nil: nobody
	last    tandem.Revision               // of what was applied

	zoneNumbers, groupNumbers, clusterNumbers numbering
	edgeNumbers, nodeNumbers                  numbering
	serials                                   map[uint32]*atomic.Uint32
	floor                                     uint32              // serials never start below it
	members                                   map[uint32][]uint32 // cluster number → node numbers
	clusterOfNode                             map[uint32]uint32
	assigned                                  map[uint32]*tandem.Assignment // by group number

	allDown map[uint32]tandem.AllDown // by cluster number, where one is not answered as configured

	faulty *faultyZones
	found  map[string]*finding // by node id
	round  uint64              // counts the lists of nodes' health

	keys zoneKeys

	profileNumbers map[string]uint32 // by content
	profileUses    map[uint32]*profileUse
	nextProfile    uint32
	lastPlain      plainProfile

	layers      map[uint32]*layers // by zone number: what RecordSets make of it
	setOf       map[string]*placed // RecordSets by id
	unpublished []uint32           // zones whose overlay has changed
	viewNumbers numbering
	allViews    map[uint32]*tandem.View

	listed  *table // "a" or "u" and the owner's id, and a count → tail: the numbers that it lists
	rangeOf map[string]*tandem.NumberRange
	ranged  map[string]int // by account id: how many ranges it has
}

// plainProfile is the profile that the last account without settings of its own had: the next one's most
// often, of a million that come one after the other.
type plainProfile struct {
	zone   string
	ttl    tandem.TTL
	number uint32
	use    *profileUse
}

// profileUse counts the accounts that share a profile.
type profileUse struct {
	content string
	count   int
}

func newWriter(m *model, log *slog.Logger) *writer {
	return &writer{
		model: m, log: log,
		lists: newLists(), shares: map[uint32]*share{}, journal: journal.New(journal.Limits{}), touched: map[uint32]bool{}, deltas: map[uint32]*delta{},
		laid:        map[uint32]map[string][]rrset{},
		zoneNumbers: numbering{}, groupNumbers: numbering{}, clusterNumbers: numbering{},
		edgeNumbers: numbering{}, nodeNumbers: numbering{},
		serials: map[uint32]*atomic.Uint32{}, members: map[uint32][]uint32{}, clusterOfNode: map[uint32]uint32{},
		assigned: map[uint32]*tandem.Assignment{}, found: map[string]*finding{}, faulty: &faultyZones{reasons: map[string]string{}}, allDown: map[uint32]tandem.AllDown{},
		profileNumbers: map[string]uint32{}, profileUses: map[uint32]*profileUse{},
		keys:   zoneKeys{byZone: map[uint32]map[string]*tandem.ZoneKey{}},
		layers: map[uint32]*layers{}, setOf: map[string]*placed{}, viewNumbers: numbering{}, allViews: map[uint32]*tandem.View{},
		listed: newTable(), rangeOf: map[string]*tandem.NumberRange{}, ranged: map[string]int{},
	}
}

// apply takes one change into the model. What it changes is visible to readers at once, RecordSets
// after reveal; secondaries hear of it after announce.
func (w *writer) apply(c tandem.Change) {
	w.take(c)
	w.last = max(w.last, c.Revision)
}

func (w *writer) take(c tandem.Change) {
	revision := serialOfRevision(c.Revision)
	switch c.Kind {
	case tandem.KindZone:
		z, _ := c.Object.(*tandem.Zone)
		w.applyZone(c.ID, z, revision)
	case tandem.KindTSIGKey:
		k, _ := c.Object.(*tandem.TSIGKey)
		w.applyTSIGKey(c.ID, k)
	case tandem.KindAccount:
		a, _ := c.Object.(*tandem.Account)
		w.applyAccount(c.ID, a, revision)
		w.applyAccountNumbers(c.ID, a, revision)
	case tandem.KindUser:
		u, _ := c.Object.(*tandem.User)
		w.applyUser(c.ID, u, revision)
	case tandem.KindNumberRange:
		r, _ := c.Object.(*tandem.NumberRange)
		w.applyRange(c.ID, r, revision)
	case tandem.KindZoneKey:
		k, _ := c.Object.(*tandem.ZoneKey)
		w.applyZoneKey(c.ID, k, revision)
	case tandem.KindEdge:
		e, _ := c.Object.(*tandem.Edge)
		w.applyEdge(c.ID, e, revision)
	case tandem.KindNode:
		raise(&w.coreChanged, revision)
		n, _ := c.Object.(*tandem.Node)
		w.applyNode(c.ID, n)
	case tandem.KindCluster:
		raise(&w.coreChanged, revision)
		x, _ := c.Object.(*tandem.Cluster)
		w.applyCluster(c.ID, x)
	case tandem.KindGroup:
		raise(&w.coreChanged, revision)
		g, _ := c.Object.(*tandem.Group)
		w.applyGroup(c.ID, g)
	case tandem.KindAssignment:
		raise(&w.coreChanged, revision)
		a, _ := c.Object.(*tandem.Assignment)
		w.applyAssignment(c.ID, a)
	case tandem.KindRecordSet:
		r, _ := c.Object.(*tandem.RecordSet)
		w.applySet(c.ID, r, c.Revision)
	case tandem.KindView:
		v, _ := c.Object.(*tandem.View)
		w.applyView(c.ID, v)
	}
}

// applyEdge puts or, with e nil, removes an edge.
func (w *writer) applyEdge(id string, e *tandem.Edge, revision uint32) {
	before := w.edgeTouches()
	raise(&w.edgesChanged, revision)
	if e != nil {
		w.edges.put(w.edgeNumbers.of(id), newEdge(e))
	} else {
		w.edges.remove(w.edgeNumbers.of(id), id)
	}
	for number, s := range before {
		if s.zone.role != tandem.RoleAccounts {
			raise(s.zone.serial, revision) // its ns is an edge
		}
		w.rezone(number, s, w.snapshotOf(s.zone))
	}
}

// restore raises every serial, and those of zones to come, to revision.
func (w *writer) restore(revision uint32) {
	w.inbound.settle()
	w.accounts.settle()
	w.floor = later(w.floor, revision)
	for _, s := range w.serials {
		raise(s, revision)
	}
}

func (h *hosts) put(number uint32, v *host) {
	h.at.set(number, v)
	h.names.put([]byte(v.id), nil, entry{a: number})
}

func (h *hosts) remove(number uint32, id string) {
	h.names.delete([]byte(id))
	h.at.set(number, nil)
}

// applyZone puts or, with z nil, removes a zone.
func (w *writer) applyZone(id string, z *tandem.Zone, revision uint32) {
	number := w.zoneNumbers.of(id)
	serial := w.serialFor(number)
	raise(serial, revision)
	w.lists.note(id, z)
	if z == nil {
		if key, err := wireKey(id); err == nil {
			if _, existed := w.zones.get([]byte(key)); existed {
				w.countAbove(key, -1)
			}
			w.zones.delete([]byte(key))
		}
		w.zoneAt.set(number, nil)
		w.keys.touch(number)
		w.carry(number, nil, nil)
		w.faulty.forget(id)
		w.shareZone(number, id, nil)
		w.copies.drop(number)
		return
	}
	service := noZone
	if z.ServiceZone != "" {
		service = w.zoneNumbers.of(z.ServiceZone)
	}
	built, err := newZone(z, number, service, w.numbersOf(w.edgeNumbers, z.Edges), serial, w.zoneAt.get(number))
	w.faulty.note(id, err, w.log)
	if built.copied() {
		w.copies.put(built)
	} else {
		w.copies.drop(number)
		if built.role == tandem.RoleCatalog {
			w.listMembers(built)
		}
	}
	var before *snapshot
	if old := w.zoneAt.get(number); old != nil && w.tells(number) && built.shared() && old.absent+built.absent == "" {
		before = w.snapshotOf(old)
	}
	w.carry(number, built, z)
	built.signing = w.signingOf(built)
	w.zoneAt.set(number, built)
	w.shareZone(number, id, built)
	if before != nil {
		w.rezone(number, before, w.snapshotOf(built))
	}
	w.keys.touch(number)
	if _, existed := w.zones.get([]byte(built.apex)); !existed {
		w.countAbove(built.apex, 1)
	}
	w.zones.put([]byte(built.apex), nil, entry{a: number})
}

// countAbove counts a zone more or less below every name above apex.
func (w *writer) countAbove(apex string, by int) {
	for key := apex; key != "\x00"; {
		key = parent(key)
		row, _ := w.above.get([]byte(key))
		if row.a += uint32(by); row.a == 0 {
			w.above.delete([]byte(key))
		} else {
			w.above.put([]byte(key), nil, row)
		}
	}
}

// serialFor returns the serial that all versions of a zone share.
func (w *writer) serialFor(number uint32) *atomic.Uint32 {
	s := w.serials[number]
	if s == nil {
		s = new(atomic.Uint32)
		s.Store(w.floor)
		w.serials[number] = s
	}
	return s
}

// numbersOf returns the numbers of ids, nil for none.
func (w *writer) numbersOf(n numbering, ids []string) []uint32 {
	var numbers []uint32
	for _, id := range ids {
		numbers = append(numbers, n.of(id))
	}
	return numbers
}

// applyNode puts or, with n nil, removes a node, and rebuilds the clusters it leaves and joins.
func (w *writer) applyNode(id string, n *tandem.Node) {
	number := w.nodeNumbers.of(id)
	if old, ok := w.clusterOfNode[number]; ok && (n == nil || w.clusterNumbers.of(n.Cluster) != old) {
		w.members[old] = slices.DeleteFunc(w.members[old], func(m uint32) bool { return m == number })
		delete(w.clusterOfNode, number)
		defer w.refreshCluster(old)
	}
	if n == nil {
		w.nodes.remove(number, id)
		return
	}
	h := newNode(n)
	h.health = w.healthOf(id)
	c := w.clusterNumbers.of(n.Cluster)
	h.allDown = w.allDown[c]
	w.nodes.put(number, h)
	if _, ok := w.clusterOfNode[number]; !ok {
		w.clusterOfNode[number] = c
		w.members[c] = append(w.members[c], number)
	}
	w.refreshCluster(c)
}

// applyCluster puts or, with c nil, removes a cluster. Its policy shows at its nodes, which names may
// list without it.
func (w *writer) applyCluster(id string, c *tandem.Cluster) {
	number := w.clusterNumbers.of(id)
	policy := tandem.AllDown("")
	if c != nil && c.Health != nil && c.Health.AllDown != tandem.FailOpen {
		policy = c.Health.AllDown
	}
	if policy == "" {
		delete(w.allDown, number)
	} else {
		w.allDown[number] = policy
	}
	for _, n := range w.members[number] {
		if h := w.nodes.at.get(n); h != nil && h.allDown != policy {
			next := *h
			next.allDown = policy
			w.nodes.at.set(n, &next)
		}
	}
	w.rebuildCluster(number, id, c != nil)
}

// refreshCluster makes a cluster anew from its present nodes, if it exists.
func (w *writer) refreshCluster(number uint32) {
	if c := w.clusters.get(number); c != nil {
		w.rebuildCluster(number, c.id, true)
	}
}

// rebuildCluster puts a cluster with its present nodes, in the order of their ids, or removes it.
func (w *writer) rebuildCluster(number uint32, id string, exists bool) {
	if !exists {
		w.clusters.set(number, nil)
		return
	}
	c := &cluster{id: id, types: map[string]bool{}}
	for _, n := range w.members[number] {
		h := w.nodes.at.get(n)
		c.nodes = append(c.nodes, h)
		for _, t := range h.types {
			c.types[string(t)] = true
		}
	}
	slices.SortFunc(c.nodes, func(a, b *host) int { return strings.Compare(a.id, b.id) })
	w.clusters.set(number, c)
}

// touch raises the serials of the zones that answer for accounts with profile p.
func (w *writer) touch(p *profile, revision uint32) {
	raise(w.serialFor(p.zone), revision)
	if len(w.shares) > 0 && w.shares[p.zone] != nil {
		w.touched[p.zone] = true
	}
	if z := w.zoneAt.get(p.zone); z != nil && z.service != noZone {
		raise(w.serialFor(z.service), revision)
	}
}

// profileFor returns the number of the profile with a's settings, one use more of it counted.
func (w *writer) profileFor(a *tandem.Account) uint32 {
	plain := len(a.Edges)+len(a.Targets)+len(a.Routes)+len(a.Rules) == 0
	if p := &w.lastPlain; plain && p.use != nil && p.use.count > 0 && p.zone == a.Zone && p.ttl == a.TTL {
		p.use.count++
		return p.number
	}
	number := w.profileOf(a)
	if plain {
		w.lastPlain = plainProfile{a.Zone, a.TTL, number, w.profileUses[number]}
	}
	return number
}

func (w *writer) profileOf(a *tandem.Account) uint32 {
	content := profileContent(a)
	if number, ok := w.profileNumbers[content]; ok {
		w.profileUses[number].count++
		return number
	}
	p := &profile{zone: w.zoneNumbers.of(a.Zone), edges: w.numbersOf(w.edgeNumbers, a.Edges), ttl: a.TTL}
	w.addTargets(p, a)
	number := w.nextProfile
	w.nextProfile++
	w.profiles.set(number, p)
	w.profileNumbers[content] = number
	w.profileUses[number] = &profileUse{content: content, count: 1}
	return number
}

// addTargets notes a's own targets, and the types and keys that its routes and rules name; true
// marks a type.
func (w *writer) addTargets(p *profile, a *tandem.Account) {
	for key, spec := range a.Targets {
		t := &target{nodes: w.numbersOf(w.nodeNumbers, spec.Nodes)}
		if t.nodes == nil {
			t.cluster = w.clusterNumbers.of(spec.Cluster)
		}
		if p.targets == nil {
			p.targets = map[string]*target{}
		}
		p.targets[key] = t
	}
	types := map[string]bool{}
	for t, names := range a.Routes {
		for _, n := range names {
			if _, ok := types[n]; !ok && !strings.Contains(n, ".") {
				types[n] = false
			}
		}
		types[string(t)] = true
	}
	for _, r := range a.Rules {
		types[string(r.Type)] = true
	}
	if len(types) > 0 {
		p.types = types
	}
}

// releaseProfile counts one use less and drops the profile with its last one. Its number is not
// given out again, so that a reader who still holds it finds nothing rather than another's profile.
func (w *writer) releaseProfile(number uint32) {
	use := w.profileUses[number]
	if use.count--; use.count > 0 {
		return
	}
	delete(w.profileUses, number)
	delete(w.profileNumbers, use.content)
	w.profiles.set(number, nil)
}

// profileContent returns a text that is equal for accounts whose profiles are. Ids and types are
// DNS labels, so blanks keep them apart.
func profileContent(a *tandem.Account) string {
	b := append(make([]byte, 0, 128), a.Zone...)
	for _, ttl := range [...]uint32{a.TTL.NAPTR, a.TTL.SRV, a.TTL.Address, a.TTL.Negative} {
		b = binary.BigEndian.AppendUint32(append(b, ' '), ttl)
	}
	for _, e := range a.Edges {
		b = append(append(b, ' '), e...)
	}
	if len(a.Targets)+len(a.Routes)+len(a.Rules) > 0 {
		b = fmt.Appendf(b, "\n%v %v", a.Targets, a.Routes) // maps print in the order of their keys
		for _, r := range a.Rules {
			b = append(append(b, ' '), r.Type...)
		}
	}
	return string(b)
}
