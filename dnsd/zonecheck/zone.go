package zonecheck

import (
	"maps"
	"slices"
	"strings"

	"tandem/dnsd/zonefile"
)

// zone is a zone's records by the owner's name in lower-case wire form.
type zone struct {
	apex  string
	nodes map[string]*node
}

// node is what stands at a name.
type node struct {
	sets  map[uint16]*set
	types []uint16 // in the order in which they came
}

// set is the records of one owner and type.
type set struct {
	owner   string
	rrtype  uint16
	ttl     uint32
	records []record
}

// record is one record of a set.
type record struct {
	at     at
	data   string // RDATA in wire form
	folded string // the same in canonical form (RFC 4034 section 6.2)
	ttl    uint32
}

func newZone() *zone { return &zone{nodes: map[string]*node{}} }

func (z *zone) at(key string) *node {
	n := z.nodes[key]
	if n == nil {
		n = &node{sets: map[uint16]*set{}}
		z.nodes[key] = n
	}
	return n
}

// set returns the set of a name and type, nil when there is none.
func (z *zone) set(key string, rrtype uint16) *set {
	if n := z.nodes[key]; n != nil {
		return n.sets[rrtype]
	}
	return nil
}

// names returns all owners in canonical order (RFC 4034 section 6.1).
func (z *zone) names() []string { return slices.SortedFunc(maps.Keys(z.nodes), compareNames) }

// cutAbove returns the delegation at or above key, "" when there is none; strict leaves key itself out.
func (z *zone) cutAbove(key string, strict bool) string {
	found := ""
	for name := key; len(name) > len(z.apex); name = parent(name) {
		if z.set(name, zonefile.TypeNS) != nil && !(strict && name == key) {
			found = name // the highest decides
		}
	}
	return found
}

// redirectAbove returns the DNAME above key, "" when there is none.
func (z *zone) redirectAbove(key string) string {
	for name := key; len(name) > len(z.apex); {
		name = parent(name)
		if z.set(name, zonefile.TypeDNAME) != nil {
			return name
		}
	}
	return ""
}

// holds reports whether a name exists, perhaps with nothing but names below it, perhaps by a wildcard.
func (z *zone) holds(key string, below map[string]bool) bool {
	if z.nodes[key] != nil || below[key] {
		return true
	}
	for name := key; len(name) > len(z.apex); {
		name = parent(name)
		if z.nodes["\x01*"+name] != nil {
			return true
		}
		if z.nodes[name] != nil || below[name] {
			return false
		}
	}
	return false
}

// nonTerminals returns all names that lie between the apex and an owner.
func (z *zone) nonTerminals() map[string]bool {
	all := map[string]bool{}
	for key := range z.nodes {
		for name := key; len(name) > len(z.apex) && !all[name]; {
			name = parent(name)
			all[name] = true
		}
	}
	return all
}

// first is where a set begins.
func (s *set) first() at { return s.records[0].at }

func text(key string) string { return zonefile.NameText(key) }

func parent(key string) string { return key[1+key[0]:] }

func within(key, apex string) bool {
	for len(key) > len(apex) {
		key = parent(key)
	}
	return key == apex
}

// labels returns a name's labels, the last one first.
func labels(key string) []string {
	var all []string
	for ; len(key) > 1; key = parent(key) {
		all = append(all, key[1:1+key[0]])
	}
	slices.Reverse(all)
	return all
}

// compareNames orders names canonically (RFC 4034 section 6.1).
func compareNames(a, b string) int { return slices.CompareFunc(labels(a), labels(b), strings.Compare) }

// nameAt returns the name that data has at an offset, in lower-case wire form, and the offset after it.
func nameAt(data string, at int) (string, int) {
	end := at
	for end < len(data) && data[end] != 0 {
		end += 1 + int(data[end])
	}
	if end >= len(data) {
		return "\x00", len(data)
	}
	return zonefile.Fold(data[at : end+1]), end + 1
}

// foldData returns RDATA in canonical form: names of the older types in lower case (RFC 4034 section
// 6.2, RFC 6840 section 5.1).
func foldData(rrtype uint16, data []byte) string {
	d := string(data)
	switch rrtype {
	case 2, 3, 4, 5, 7, 8, 9, 12, 39: // one name
		return zonefile.Fold(d)
	case 6, 14, 17: // two names, and numbers
		_, end := nameAt(d, 0)
		_, end = nameAt(d, end)
		return zonefile.Fold(d[:end]) + d[end:]
	case 15, 18, 21, 36: // a preference and a name
		return d[:2] + zonefile.Fold(d[2:])
	case 26: // PX
		return d[:2] + zonefile.Fold(d[2:])
	case 33: // SRV
		return d[:6] + zonefile.Fold(d[6:])
	case 35: // NAPTR
		at := 4
		for range 3 {
			at += 1 + int(d[at])
		}
		return d[:at] + zonefile.Fold(d[at:])
	case 46, 24: // RRSIG, SIG
		_, end := nameAt(d, 18)
		return d[:18] + zonefile.Fold(d[18:end]) + d[end:]
	}
	return d
}
