package dnsd

import (
	"net/netip"
	"slices"

	"tandem/internal/tandem"
)

// views tells which view a client is in: by the key that signed its query, else by the longest of all
// views' networks that it lies in. It is immutable; a change makes a new one. There is none while no
// view exists, which then costs nothing.
type views struct {
	ids      map[uint32]string
	byKey    map[string]uint32 // key's name
	networks map[netip.Prefix]uint32
	bits     [2][]int            // lengths that networks have, the longest first: IPv4, IPv6
	zones    map[string][]uint32 // zone's id: the views that alone are answered from it
}

// newViews returns nil when there is none.
func newViews(all map[uint32]*tandem.View) *views {
	if len(all) == 0 {
		return nil
	}
	v := &views{ids: map[uint32]string{}, byKey: map[string]uint32{}, networks: map[netip.Prefix]uint32{}, zones: map[string][]uint32{}}
	for number, view := range all {
		v.ids[number] = view.ID
		for _, k := range view.Keys {
			v.byKey[k] = number
		}
		for _, z := range view.Zones {
			v.zones[z] = append(v.zones[z], number)
		}
		for _, n := range view.Networks {
			n = unmapped(n)
			v.networks[n] = number
			if bits := &v.bits[family(n.Addr())]; !slices.Contains(*bits, n.Bits()) {
				*bits = append(*bits, n.Bits())
			}
		}
	}
	for _, bits := range v.bits {
		slices.SortFunc(bits, func(a, b int) int { return b - a })
	}
	return v
}

// unmapped returns n as a network of the family that its addresses really are of.
func unmapped(n netip.Prefix) netip.Prefix {
	if n.Addr().Is4In6() && n.Bits() >= 96 {
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
	}
	return n.Masked()
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// of returns the view that c is in, noView for none. v may be nil.
func (v *views) of(c client) uint32 {
	if v == nil {
		return noView
	}
	if c.key != nil {
		if number, ok := v.byKey[c.key.id]; ok {
			return number
		}
	}
	for _, bits := range v.bits[family(c.addr)] {
		if n, err := c.addr.WithZone("").Prefix(bits); err == nil {
			if number, ok := v.networks[n]; ok {
				return number
			}
		}
	}
	return noView
}

// shows reports whether clients of a view are answered from z. v may be nil.
func (v *views) shows(z *zone, view uint32) bool {
	if v == nil {
		return true
	}
	only, restricted := v.zones[z.id]
	return !restricted || slices.Contains(only, view)
}

// restricts reports whether some clients are not answered from z. v may be nil.
func (v *views) restricts(z *zone) bool { return v != nil && v.zones[z.id] != nil }

// zoneShown returns the zone that answers q for clients of a view: the one with the longest apex of
// those that they are answered from.
func (m *model) zoneShown(q question, v *views, view uint32) *zone {
	w := walk{m: m, asker: asker{views: v, view: view}}
	z := m.zoneFor(q)
	if z != nil && !v.shows(z, view) {
		z = w.zoneOf(z.apex)
	}
	return z
}

// zoneOf returns the zone that the asker finds a name in.
func (w *walk) zoneOf(key string) *zone {
	z := w.m.zoneOf(key)
	for z != nil && !w.asker.views.shows(z, w.asker.view) {
		if z.apex == "\x00" {
			return nil
		}
		z = w.m.zoneOf(parent(z.apex))
	}
	return z
}

// isAbove reports whether a zone that the asker is answered from lies below a name.
func (w *walk) isAbove(key string) bool {
	row, ok := w.m.above.get([]byte(key))
	if !ok || w.asker.views == nil {
		return ok
	}
	hidden := uint32(0)
	for id, only := range w.asker.views.zones {
		apex, err := wireKey(id)
		_, served := w.m.zones.get([]byte(apex))
		if err == nil && served && apex != key && within(apex, key) && !slices.Contains(only, w.asker.view) {
			hidden++
		}
	}
	return row.a > hidden
}

// applyView puts or, with v nil, removes a view.
func (w *writer) applyView(id string, v *tandem.View) {
	number := w.viewNumbers.of(id)
	delete(w.allViews, number)
	if v != nil {
		w.allViews[number] = v
	}
	w.views.Store(newViews(w.allViews))
}

// dependsOnView reports whether what z says depends on the client's view: the fast path leaves it to
// the full one then.
func (m *model) dependsOnView(z *zone) bool {
	v := m.views.Load()
	if v == nil {
		return false
	}
	o := z.over()
	return v.restricts(z) || o != nil && o.viewed
}
