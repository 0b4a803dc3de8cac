package dnsd

import (
	"cmp"
	"slices"
)

// RecordSets in snapshots, and in what secondaries are told: everybody's only. What a view sees is
// answered here and transferred to nobody.

// names returns the owners of plain records and of RecordSets in canonical order.
func (s *snapshot) names() []string {
	if s.over == nil {
		return s.zone.ordered()
	}
	names := slices.Clone(s.zone.ordered())
	s.over.names.Root().Walk(func(up []byte, at *spot) bool {
		key := upwardKey(up, s.zone.apex)
		if at.all.plainNode != nil && s.zone.tree[key] == nil {
			names = append(names, key)
		}
		return false
	})
	return canonically(names)
}

// upwardKey returns the key whose upward form is up.
func upwardKey(up []byte, apex string) string { return string(upward(string(up), "")) + apex }

// canonically sorts names canonically, each once.
func canonically(names []string) []string {
	ranked := make([]orderedKey, len(names))
	for i, key := range names {
		ranked[i] = orderedKey{canonical(key), key}
	}
	slices.SortFunc(ranked, func(a, b orderedKey) int { return cmp.Compare(a.rank, b.rank) })
	ranked = slices.Compact(ranked)
	sorted := make([]string, len(ranked))
	for i, k := range ranked {
		sorted[i] = k.key
	}
	return sorted
}

// plainSets returns what stands at key where nothing is composed: zone text with RecordSets laid over it.
func (s *snapshot) plainSets(key string) []rrset {
	if s.over != nil {
		if at := s.over.spot(upward(key, s.zone.apex)); at != nil && at.all.plainNode != nil {
			return at.all.plainNode.sets
		}
	}
	if n := s.zone.tree[key]; n != nil {
		return n.sets
	}
	return nil
}

// mixed gives what is at these names where composition reigns: what is composed, and RecordSets beside it.
func (w *snapshotWalk) mixed(names []string, composed func(key string) *node) {
	for _, key := range canonically(names) {
		n := beside(composed(key), w.over.spot(upward(key, w.zone.apex)), noView, key)
		if n == nil {
			continue
		}
		for _, set := range n.sets {
			w.give(owned(set, present(key)))
		}
	}
}

// accountMixed gives what is at and below an account's name base, where RecordSets are among it: at laid, or
// at names where nothing else is.
func (w *snapshotWalk) accountMixed(r *records, base string, laid []string) {
	names := append(slices.Clone(laid), base)
	if len(base)+servicePrefixSize <= maxNameSize {
		for _, s := range services() {
			names = append(names, wireLabel(s.label)+wireLabel(s.proto)+base)
		}
	}
	w.mixed(names, func(key string) *node {
		if key == w.zone.ns {
			return nodeOf(w.ns...)
		}
		return r.node(base, key[:len(key)-len(base)])
	})
}

// remember notes what stands at a name in zone number before RecordSets there change, if anybody is to be
// told.
func (w *writer) remember(number uint32, l *layers, key string) {
	if w.shares[number] == nil {
		return
	}
	w.touched[number] = true
	if l.zone == nil || l.zone.copied() || !w.tells(number) {
		return
	}
	if w.laid[number] == nil {
		w.laid[number] = map[string][]rrset{}
	}
	if _, known := w.laid[number][key]; !known {
		w.laid[number][key] = w.setsAt(l, key)
	}
}

// relaid adds to the delta of a zone what has changed at names with RecordSets.
func (w *writer) relaid(number uint32) {
	l, names := w.layers[number], w.laid[number]
	delete(w.laid, number)
	if l == nil || len(names) == 0 {
		return
	}
	var before, after []rrset
	for key, sets := range names {
		before, after = append(before, sets...), append(after, w.setsAt(l, key)...)
	}
	w.delta(number).compare(before, after)
}

// setsAt returns what everybody sees at a name, changes that readers do not see yet among it.
func (w *writer) setsAt(l *layers, key string) []rrset {
	up := upward(key, l.zone.apex)
	s := l.zone.over().spot(up)
	if l.txn != nil {
		s, _ = l.txn.Get(up)
	}
	var n *node
	if c := w.composed(l.zone, key); c != nil && w.designated(l.zone, key) == nil {
		n = beside(c.node, s, noView, key)
	} else if n = l.zone.tree[key]; s != nil && s.all.plainNode != nil {
		n = s.all.plainNode
	}
	if n == nil {
		return nil
	}
	sets := make([]rrset, len(n.sets))
	for i, set := range n.sets {
		sets[i] = owned(set, present(key))
	}
	return sets
}
