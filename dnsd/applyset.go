package dnsd

import (
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/go-immutable-radix/v2"
	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// layers is what the writer knows of one zone's RecordSets. The overlay is made from it.
type layers struct {
	zone   *zone                // as served; nil while there is none
	object *tandem.Zone         // what it was made from, once that is known
	at     map[string][]*placed // by owner in wire form
	counts map[string]int       // sets of zone text at or below a name; nil: not counted yet
	viewed int                  // how many sets are some view's
	txn    *iradix.Txn[*spot]   // changes that readers do not see yet
}

// placed is one RecordSet in its place.
type placed struct {
	object   *tandem.RecordSet // as stored
	revision tandem.Revision
	zone     uint32 // number
	key      string
	rrtype   uint16
	view     uint32
	set      rrset // empty for a tombstone
	shown    bool  // false: its account has no label there
}

// applySet puts or, with r nil, removes a RecordSet. Readers see it after publish.
func (w *writer) applySet(id string, r *tandem.RecordSet, at tandem.Revision) {
	revision := serialOfRevision(at)
	old := w.setOf[id]
	if old != nil {
		w.takeOut(id, old)
		raise(w.serialFor(old.zone), revision)
	}
	if r == nil {
		return
	}
	key, rrtype, set, err := readRecordSet(r)
	if err != nil {
		w.log.Error("record set is not served", "id", id, "err", err)
		return
	}
	p := &placed{object: r, zone: w.zoneNumbers.of(r.Zone), revision: at, key: key, rrtype: rrtype, view: noView, set: set}
	if r.View != "" {
		p.view = w.viewNumbers.of(r.View)
	}
	raise(w.serialFor(p.zone), revision)
	w.putIn(id, p)
}

// layersOf returns what is known of the RecordSets of a zone, in which an overlay can be changed.
func (w *writer) layersOf(number uint32) *layers {
	l := w.layers[number]
	if l == nil {
		l = &layers{at: map[string][]*placed{}, zone: w.zoneAt.get(number)}
		w.layers[number] = l
	}
	if l.txn == nil && l.zone != nil {
		names := iradix.New[*spot]()
		if o := l.zone.over(); o != nil {
			names = o.names
		}
		l.txn = names.Txn()
		w.unpublished = append(w.unpublished, number)
	}
	return l
}

func (w *writer) putIn(id string, p *placed) {
	l := w.layersOf(p.zone)
	w.remember(p.zone, l, p.key)
	p.shown = w.mayShow(l, p)
	w.setOf[id] = p
	if p.view != noView {
		l.viewed++
	}
	before := l.sum(p.key)
	l.at[p.key] = append(l.at[p.key], p)
	l.settle(p.key, before, 1)
}

func (w *writer) takeOut(id string, p *placed) {
	l := w.layersOf(p.zone)
	w.remember(p.zone, l, p.key)
	delete(w.setOf, id)
	if p.view != noView {
		l.viewed--
	}
	before := l.sum(p.key)
	l.at[p.key] = slices.DeleteFunc(l.at[p.key], func(x *placed) bool { return x == p })
	if len(l.at[p.key]) == 0 {
		delete(l.at, p.key)
	}
	l.settle(p.key, before, -1)
}

// mayShow reports whether a set is served: one that belongs to an account must lie at or below a
// label of it. Whoever stores it checks that too; labels come and go.
func (w *writer) mayShow(l *layers, p *placed) bool {
	if p.object.Account == "" {
		return true
	}
	if l.zone == nil || l.zone.role != tandem.RoleAccounts {
		return false
	}
	_, top := split(p.key, l.zone.apex)
	return top != "" && w.holdsLabel(p.zone, top, p.object.Account)
}

// recheck looks again at the sets at and below labels of an account, which may be its no longer, or again.
func (w *writer) recheck(a *tandem.Account) {
	number := w.zoneNumbers.of(a.Zone)
	known := w.layers[number]
	if known == nil || known.zone == nil || known.zone.over() == nil {
		return
	}
	for _, label := range a.Labels {
		var below []string
		up := []byte(wireLabel(label.Label))
		known.zone.over().names.Root().WalkPrefix(up, func(k []byte, s *spot) bool {
			below = append(below, string(upward(string(k), ""))+known.zone.apex)
			return false
		})
		for _, key := range below {
			w.recheckName(number, key)
		}
	}
}

func (w *writer) recheckName(number uint32, key string) {
	l := w.layersOf(number)
	w.remember(number, l, key)
	before, changed := l.sum(key), false
	for _, p := range l.at[key] {
		if may := w.mayShow(l, p); may != p.shown {
			p.shown, changed = may, true
		}
	}
	if changed {
		l.settle(key, before, 0)
	}
}

// reveal shows readers what has changed since the last time.
func (w *writer) reveal() {
	for _, number := range w.unpublished {
		l := w.layers[number]
		if l == nil || l.txn == nil {
			continue
		}
		l.zone.overlaid.Store(l.overlay())
		l.txn = nil
	}
	w.unpublished = w.unpublished[:0]
}

// overlay returns what l.txn holds, nil when there is nothing.
func (l *layers) overlay() *overlay {
	o := &overlay{names: l.txn.Commit(), viewed: l.viewed > 0}
	if o.names.Len() == 0 {
		return nil
	}
	o.open = o.spot([]byte("\x01*")) != nil || slices.ContainsFunc(l.at[l.zone.apex], func(p *placed) bool { return p.rrtype == dns.TypeDNAME })
	return o
}

// carry gives a new version of a zone, nil for none, the RecordSets of the one before it. They are
// laid over its text anew only when that has changed.
func (w *writer) carry(number uint32, z *zone, object *tandem.Zone) {
	w.reveal()
	l := w.layers[number]
	if z != nil {
		z.overlaid = new(atomic.Pointer[overlay])
	}
	if l == nil {
		return
	}
	before, was := l.zone, l.object
	l.zone, l.object = z, object
	if z != nil && before != nil && was != nil && object != nil && len(l.at[z.apex]) == 0 && was.Records == object.Records &&
		was.Role == object.Role && reflect.DeepEqual(was.NameServers, object.NameServers) {
		z.overlaid.Store(before.over())
		return
	}
	l.counts, l.txn = nil, nil
	if z == nil || len(l.at) == 0 {
		return
	}
	l.txn = iradix.New[*spot]().Txn()
	for key, sets := range l.at {
		for _, p := range sets {
			p.shown = w.mayShow(l, p)
		}
		l.settle(key, sums{}, len(sets))
	}
	z.overlaid.Store(l.overlay())
	l.txn = nil
}

// sums is how many sets more than zone text the RecordSets at one name make, for everybody and for
// views beyond that.
type sums struct {
	all   face
	views []viewFace
}

// sum returns what the RecordSets at key come to, with the nodes that readers see.
func (l *layers) sum(key string) sums {
	var s sums
	if l.zone == nil || len(l.at[key]) == 0 {
		return s
	}
	text := &node{}
	if n := l.zone.tree[key]; n != nil {
		text = n
	}
	own, plain := l.merge(&node{}, key, noView), l.merge(text, key, noView)
	s.all = face{plain: len(plain.sets) - len(text.sets), own: len(own.sets), plainNode: plain, ownNode: own}
	for _, p := range l.at[key] {
		if p.view == noView || slices.ContainsFunc(s.views, func(v viewFace) bool { return v.view == p.view }) {
			continue
		}
		v := viewFace{view: p.view, face: face{ownNode: l.merge(own, key, p.view), plainNode: l.merge(plain, key, p.view)}}
		v.own, v.plain = len(v.ownNode.sets)-len(own.sets), len(v.plainNode.sets)-len(plain.sets)
		s.views = append(s.views, v)
	}
	return s
}

// merge returns n with the sets of one view at key in place of those of the same type. An alias
// stands alone (RFC 1034 section 3.6.2): beside other sets of a RecordSet it is not served.
func (l *layers) merge(n *node, key string, view uint32) *node {
	out := &node{sets: slices.Clone(n.sets)}
	for _, p := range l.at[key] {
		if p.view != view || !p.shown {
			continue
		}
		out.sets = slices.DeleteFunc(out.sets, func(s rrset) bool { return s[0].Header().Rrtype == p.rrtype })
		if len(p.set) > 0 {
			out.sets = append(out.sets, p.set)
		}
	}
	if len(out.sets) > 1 {
		out.sets = slices.DeleteFunc(out.sets, func(s rrset) bool { return s[0].Header().Rrtype == dns.TypeCNAME })
	}
	return out
}

// settle takes what key comes to now into the spots at it and above it; before is what it came to,
// and raw by how many RecordSets it has more.
func (l *layers) settle(key string, before sums, raw int) {
	if l.zone == nil {
		return
	}
	now := l.sum(key)
	l.adjust(key, raw, before, now, true)
	for above := key; above != l.zone.apex; {
		above = parent(above)
		l.adjust(above, raw, before, now, false)
	}
}

// adjust changes one spot by the difference of two sums, and sets its nodes when it is their own.
func (l *layers) adjust(key string, raw int, before, now sums, itself bool) {
	up := upward(key, l.zone.apex)
	old, existed := l.txn.Get(up)
	s := &spot{}
	if existed {
		*s = *old
		s.views = slices.Clone(old.views)
	} else {
		s.all.plain = l.textSets(key)
	}
	if s.raw += raw; s.raw == 0 {
		l.txn.Delete(up)
		return
	}
	s.all.plain += now.all.plain - before.all.plain
	s.all.own += now.all.own - before.all.own
	if itself {
		s.all.plainNode, s.all.ownNode = now.all.plainNode, now.all.ownNode
	}
	s.adjustViews(before, now, itself)
	l.txn.Insert(up, s)
}

// adjustViews is adjust for views. One that has nothing left at s or below it goes.
func (s *spot) adjustViews(before, now sums, itself bool) {
	for i := range s.views {
		if itself {
			s.views[i].plainNode, s.views[i].ownNode = nil, nil
		}
	}
	for _, v := range before.views {
		f := s.faceOf(v.view)
		f.plain, f.own = f.plain-v.plain, f.own-v.own
	}
	for _, v := range now.views {
		f := s.faceOf(v.view)
		f.plain, f.own = f.plain+v.plain, f.own+v.own
		if itself {
			f.plainNode, f.ownNode = v.plainNode, v.ownNode
		}
	}
	s.views = slices.DeleteFunc(s.views, func(v viewFace) bool { return v.face == face{} })
}

// faceOf returns the place of a view in s, made if need be.
func (s *spot) faceOf(view uint32) *viewFace {
	for i := range s.views {
		if s.views[i].view == view {
			return &s.views[i]
		}
	}
	s.views = append(s.views, viewFace{view: view})
	return &s.views[len(s.views)-1]
}

// textSets returns how many sets zone text has at or below key. They are counted when first asked for.
func (l *layers) textSets(key string) int {
	if l.counts == nil {
		l.counts = make(map[string]int, len(l.zone.tree))
		for at, n := range l.zone.tree {
			if len(n.sets) == 0 {
				continue
			}
			for ; len(at) > len(l.zone.apex); at = parent(at) {
				l.counts[at] += len(n.sets)
			}
		}
	}
	return l.counts[key]
}
