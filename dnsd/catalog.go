package dnsd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// Catalog zones (RFC 9432), both ways: one of ours lists the zones that name it, and is transferred like
// any other; the zones that somebody else's lists become objects here.

// catalogTTL is of the records of a catalog zone, which nobody caches.
const catalogTTL = 0

// lists is what the writer knows of catalogs and their members.
type lists struct {
	catalogOf map[string]string          // by zone id: the catalog that lists it
	members   map[string]map[string]bool // by catalog id: zone ids
	from      map[string]map[string]bool // by catalog id: the zones that it brought here
	fromOf    map[string]string          // by zone id
	stale     map[string]bool            // catalogs to be made anew
}

func newLists() lists {
	return lists{
		catalogOf: map[string]string{}, members: map[string]map[string]bool{},
		from: map[string]map[string]bool{}, fromOf: map[string]string{}, stale: map[string]bool{},
	}
}

// note takes in a zone's object, nil for one that is gone.
func (l *lists) note(id string, z *tandem.Zone) {
	catalog, from := "", ""
	if z != nil {
		catalog, from = z.Catalog, z.From
	}
	if before := relate(l.catalogOf, l.members, id, catalog); before != catalog {
		l.stale[before], l.stale[catalog] = true, true
		delete(l.stale, "")
	}
	relate(l.fromOf, l.from, id, from)
}

// relate makes id a member of group, "" for none, and returns the group that it was in.
func relate(of map[string]string, groups map[string]map[string]bool, id, group string) string {
	before := of[id]
	if before == group {
		return before
	}
	delete(groups[before], id)
	delete(of, id)
	if group != "" {
		of[id] = group
		if groups[group] == nil {
			groups[group] = map[string]bool{}
		}
		groups[group][id] = true
	}
	return before
}

// memberID is what a member is listed under: the same for as long as there is such a zone (RFC 9432
// section 4.1).
func memberID(zone string) string {
	sum := sha256.Sum256([]byte(zone))
	return hex.EncodeToString(sum[:10])
}

// listMembers puts the members into the tree of a catalog of ours.
func (w *writer) listMembers(z *zone) {
	t := maps.Clone(z.tree)
	under := "\x05zones" + z.apex
	maps.DeleteFunc(t, func(key string, _ *node) bool { return within(key, under) })
	t.at(under, z.apex)
	top := cloneNode(t[z.apex])
	if ns := top.set(dns.TypeNS); len(ns) == 1 && z.ns != "" { // made up by us, and never asked (RFC 9432 section 4.1)
		ns[0].(*dns.NS).Ns = "invalid."
		delete(t, z.ns)
	}
	t[z.apex] = top
	version := t.at("\x07version"+z.apex, z.apex)
	if version.set(dns.TypeTXT) == nil {
		version.add(&dns.TXT{Hdr: header("version."+z.name, dns.TypeTXT, catalogTTL), Txt: []string{"2"}})
	}
	for id := range w.lists.members[z.id] {
		name := memberID(id) + ".zones." + z.name
		key, _ := wireKey(name)
		t.at(key, z.apex).add(&dns.PTR{Hdr: header(name, dns.TypePTR, catalogTTL), Ptr: id + "."})
	}
	z.tree, z.ns = t, ""
}

// relist makes anew the catalogs whose members have changed, once for all that was applied together.
func (w *writer) relist() {
	for id := range w.lists.stale {
		delete(w.lists.stale, id)
		number, known := w.zoneNumbers[id]
		old := w.zoneAt.get(number)
		if !known || old == nil || old.role != tandem.RoleCatalog || old.copied() {
			continue
		}
		var before *snapshot
		if w.tells(number) {
			before = w.snapshotOf(old)
		}
		next := old.filled(nil, "")
		w.listMembers(next)
		w.carry(number, next, nil)
		raise(next.serial, serialOfRevision(w.last))
		w.zoneAt.set(number, next)
		w.shareZone(number, id, next)
		if before != nil {
			w.rezone(number, before, w.snapshotOf(next))
		}
	}
	w.announce()
}

// catalogs makes zones of what the catalogs that we have copies of list.
type catalogs struct {
	s    *Server
	kick chan struct{}
	ids  map[string]map[string]string // by catalog: each zone's id in it, as last seen

	added, removed, broken, refused atomic.Uint64
}

func newCatalogs(s *Server) *catalogs {
	return &catalogs{s: s, kick: make(chan struct{}, 1), ids: map[string]map[string]string{}}
}

func (c *catalogs) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// run follows catalogs until ctx ends.
func (c *catalogs) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.kick:
		}
		for _, z := range c.present() {
			if err := c.follow(ctx, z); err != nil && ctx.Err() == nil {
				c.broken.Add(1)
				c.s.log.Warn("catalog zone not followed", "zone", z.id, "err", err)
			}
		}
	}
}

// present returns the catalogs that we have copies of.
func (c *catalogs) present() []*zone {
	c.s.copies.mu.Lock()
	defer c.s.copies.mu.Unlock()
	var all []*zone
	for number := range c.s.copies.zones {
		if z := c.s.model.zoneAt.get(number); z != nil && z.role == tandem.RoleCatalog && z.copied() && z.absent == "" {
			all = append(all, z)
		}
	}
	return all
}

// follow adds, resets and removes zones until they are those that the catalog z lists. A zone that it has not
// brought here is never touched.
func (c *catalogs) follow(ctx context.Context, z *zone) error {
	listed, err := readCatalog(z)
	if err != nil {
		return err
	}
	if c.s.deps.Store == nil {
		return nil
	}
	seen := c.ids[z.id]
	adds, resets, removes := c.differ(z, listed, seen)
	c.ids[z.id] = listed
	for _, id := range removes {
		c.write(ctx, z, tandem.Edit{Kind: tandem.KindZone, ID: id}, &c.removed)
	}
	for _, id := range resets { // RFC 9432 section 5.4: all state goes
		c.write(ctx, z, tandem.Edit{Kind: tandem.KindZone, ID: id}, &c.removed)
		adds = append(adds, id)
	}
	for _, id := range adds {
		o := &tandem.Zone{Head: tandem.Head{ID: id}, Role: tandem.RolePlain, Primaries: z.primaries, From: z.id}
		if err := o.Validate(); err != nil {
			c.refused.Add(1)
			c.s.log.Warn("a catalog lists what cannot be a zone here", "catalog", z.id, "zone", id, "err", err)
			continue
		}
		c.write(ctx, z, tandem.Edit{Kind: tandem.KindZone, ID: id, Object: o, Create: true}, &c.added)
	}
	return nil
}

// write makes one change. One that is refused leaves the others be.
func (c *catalogs) write(ctx context.Context, z *zone, e tandem.Edit, count *atomic.Uint64) {
	by := tandem.Principal{Name: "catalog " + z.id, Admin: true}
	if _, err := c.s.deps.Store.Append(ctx, by, []tandem.Edit{e}); err != nil {
		c.refused.Add(1)
		c.s.log.Warn("a catalog's change cannot be made", "catalog", z.id, "zone", e.ID, "err", err)
		return
	}
	count.Add(1)
}

// differ compares what the catalog lists with what it has brought here. Zones that have its primaries no
// more are made anew too.
func (c *catalogs) differ(z *zone, listed, seen map[string]string) (adds, resets, removes []string) {
	c.s.applying.Lock()
	defer c.s.applying.Unlock()
	w := c.s.writer
	brought := w.lists.from[z.id]
	for id := range brought {
		if listed[id] == "" {
			removes = append(removes, id)
		}
	}
	for id, unique := range listed {
		number, known := w.zoneNumbers[id]
		var have *zone
		if known {
			have = w.zoneAt.get(number)
		}
		switch {
		case brought[id] && have != nil && (seen != nil && seen[id] != unique || !reflect.DeepEqual(have.primaries, z.primaries)):
			resets = append(resets, id)
		case brought[id]:
		case have != nil:
			c.s.log.Warn("a catalog lists a zone that is here already, and not from it; it stays as it is", "catalog", z.id, "zone", id)
		default:
			adds = append(adds, id)
		}
	}
	slices.Sort(adds)
	return adds, resets, removes
}

// readCatalog returns the zones that a catalog lists, and what each is listed under. A catalog that breaks
// RFC 9432 section 4 anywhere is an error, and nothing of it counts (section 5.1).
func readCatalog(z *zone) (map[string]string, error) {
	version := z.tree["\x07version"+z.apex]
	if version == nil || len(version.set(dns.TypeTXT)) != 1 {
		return nil, fmt.Errorf("no single version property")
	}
	if txt := version.set(dns.TypeTXT)[0].(*dns.TXT).Txt; len(txt) != 1 || txt[0] != "2" {
		return nil, fmt.Errorf("version %q is not 2", strings.Join(txt, ""))
	}
	under := "\x05zones" + z.apex
	listed := map[string]string{}
	for key, n := range z.tree {
		if len(key) <= len(under) || parent(key) != under {
			continue
		}
		set := n.set(dns.TypePTR)
		if set == nil {
			continue
		}
		if len(set) != 1 {
			return nil, fmt.Errorf("a member with %d PTR records", len(set))
		}
		id := strings.TrimSuffix(dns.CanonicalName(set[0].(*dns.PTR).Ptr), ".")
		if listed[id] != "" {
			return nil, fmt.Errorf("zone %s is listed twice", id)
		}
		listed[id] = key[1 : 1+int(key[0])]
	}
	return listed, nil
}
