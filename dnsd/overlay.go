package dnsd

import (
	"github.com/hashicorp/go-immutable-radix/v2"
	"github.com/miekg/dns"
)

// overlay is what RecordSets make of one zone. It is immutable; a change makes a new one that shares
// with it all but the way from the apex to the name that changed.
type overlay struct {
	names  *iradix.Tree[*spot] // by the labels from the apex on, see upward; names above a set among them
	open   bool                // something stands in for names next to the apex: a wildcard, or a DNAME at the apex
	viewed bool                // some view has sets of its own
}

// spot is one name at or above a RecordSet. Counts are of sets at the name or below it; a name
// without any does not exist.
type spot struct {
	raw   int  // RecordSets of every kind, tombstones too
	all   face // what everybody sees
	views []viewFace
}

// face is what some clients see at a name. Where an account's composed names are, zone text is not
// served, and own counts; elsewhere plain does.
type face struct {
	plain, own         int   // sets there: zone text's merged with RecordSets, or RecordSets alone
	plainNode, ownNode *node // nil: no RecordSet stands at the name itself
}

// viewFace is the face of one view; its counts are what it has more, or less, than everybody.
type viewFace struct {
	view uint32
	face
}

// noView is no view's number: everybody.
const noView = ^uint32(0)

// of returns what clients of a view see at s.
func (s *spot) of(view uint32) face {
	f := s.all
	if view == noView {
		return f
	}
	for i := range s.views {
		if v := &s.views[i]; v.view == view {
			f.plain, f.own = f.plain+v.plain, f.own+v.own
			if v.plainNode != nil {
				f.plainNode, f.ownNode = v.plainNode, v.ownNode
			}
			break
		}
	}
	return f
}

// upward returns what key holds beyond apex with its labels turned round, so that a name begins as
// all names above it do.
func upward(key, apex string) []byte {
	rest := key[:len(key)-len(apex)]
	out := make([]byte, len(rest))
	for at := len(out); len(rest) > 0; {
		n := int(rest[0]) + 1
		at -= n
		copy(out[at:], rest[:n])
		rest = rest[n:]
	}
	return out
}

// spot returns what is known of a name, nil for nothing. o may be nil.
func (o *overlay) spot(up []byte) *spot {
	if o == nil {
		return nil
	}
	s, _ := o.names.Get(up)
	return s
}

// over returns the overlay of z, nil when it has none.
func (z *zone) over() *overlay {
	if z.overlaid == nil {
		return nil
	}
	return z.overlaid.Load()
}

// concerns reports whether RecordSets may have a say in the answer for q, whose label number top is
// next to z's apex: the fast path leaves it to the full one then. It allocates nothing.
func (z *zone) concerns(q *ask, top int) bool {
	o := z.over()
	if o == nil {
		return false
	}
	from := int(q.labels[top])
	return o.spot(q.name[from:from+1+int(q.name[from])]) != nil
}

// isOpen reports whether RecordSets stand in for names next to z's apex.
func (z *zone) isOpen() bool {
	o := z.over()
	return o != nil && o.open
}

// composed returns what is composed at a name, nil where nothing is. It is all that stands there and
// below it when it stands alone: when no RecordSet lies at or below the label next to the apex.
func (w *walk) composed(key string) (c *composition, alone bool) {
	if c = w.m.composed(w.zone, key); c == nil {
		return nil, false
	}
	if w.asker.near != nil && c.node != nil {
		c = w.nearest(key, c)
	}
	if w.over == nil {
		return c, true
	}
	_, top := split(key, w.zone.apex)
	return c, w.over.spot([]byte(wireLabel(top))) == nil
}

// at returns what stands at a name in the walk's zone, nil when there is no such name, and the TTL
// that an account wants for denials there.
func (w *walk) at(key string) (*node, uint32) {
	c, alone := w.composed(key)
	switch {
	case alone:
		return c.node, c.negative
	case w.over == nil:
		return w.zone.tree[key], 0
	}
	s := w.over.spot(upward(key, w.zone.apex))
	if c != nil {
		return beside(c.node, s, w.asker.view, key), c.negative
	}
	text := w.zone.tree[key]
	if s == nil {
		return text, 0
	}
	f := s.of(w.asker.view)
	switch {
	case f.plain <= 0 && key != w.zone.apex:
		return nil, 0
	case f.plainNode != nil:
		return f.plainNode, 0
	case text != nil:
		return text, 0
	}
	return &node{}, 0
}

// beside returns what stands at a name of an account: what is composed, and the RecordSets that are
// not of a kind that composition holds there.
func beside(composed *node, s *spot, view uint32, key string) *node {
	if s == nil {
		return composed
	}
	f := s.of(view)
	switch {
	case composed == nil && f.own <= 0:
		return nil
	case composed == nil && f.ownNode == nil:
		return &node{}
	case composed == nil:
		return f.ownNode
	case f.ownNode == nil:
		return composed
	}
	n := &node{sets: composed.sets[:len(composed.sets):len(composed.sets)]}
	for _, set := range f.ownNode.sets {
		if !heldByComposition(key, set[0].Header().Rrtype) {
			n.sets = append(n.sets, set)
		}
	}
	return n
}

// heldByComposition reports whether a type at a composed name that exists is composition's own, even
// where it has no such records now, or would hide what is composed at the name or below it.
func heldByComposition(key string, rrtype uint16) bool {
	switch rrtype {
	case dns.TypeCNAME, dns.TypeDNAME, dns.TypeNS, dns.TypeDS:
		return true
	case dns.TypeSRV:
		return isServiceLabel(key)
	case dns.TypeA, dns.TypeAAAA, dns.TypeNAPTR, dns.TypeHTTPS:
		return len(key) < 2 || key[1] != '_'
	}
	return false
}

func isServiceLabel(key string) bool {
	for _, s := range services() {
		if len(key) > len(s.label) && key[1:1+key[0]] == s.label {
			return true
		}
	}
	return false
}

// holdsLabel reports whether label leads to the account with this id in zone number z.
func (m *model) holdsLabel(z uint32, label, account string) bool {
	var buf [80]byte
	row, ok := m.inbound.get(labelKey(buf[:0], z, []byte(label)))
	return ok && row.b == m.accounts.hash([]byte(account))
}

// asker is who asks, as far as what a zone says depends on it.
type asker struct {
	views  *views // nil: from every zone
	view   uint32
	proven bool      // the client's address is true, so that an answer may be large
	near   *nearness // nil: nobody says where the client is
}

// everybody returns an asker of whom nothing is known.
func everybody() asker { return asker{view: noView} }
