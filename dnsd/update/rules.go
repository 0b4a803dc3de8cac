package update

import (
	"slices"

	"github.com/miekg/dns"
)

// The rules of RFC 2136 section 3, in the order of its pseudocode.

// prerequisites checks section 3.2.
func (w *work) prerequisites(records []dns.RR) int {
	wanted := map[string][]Set{} // by name: sets that must be just like this
	var names []string
	for _, rr := range records {
		h := rr.Header()
		name := w.key(rr)
		switch {
		case h.Ttl != 0:
			return dns.RcodeFormatError
		case name == "":
			return dns.RcodeNotZone
		case h.Class == dns.ClassINET:
			if _, ok := wanted[name]; !ok {
				names = append(names, name)
			}
			wanted[name] = gather(wanted[name], name, bare(rr))
			continue
		case h.Rdlength != 0, h.Class != dns.ClassANY && h.Class != dns.ClassNONE:
			return dns.RcodeFormatError
		}
		if rcode := w.prerequisite(name, h); rcode != dns.RcodeSuccess {
			return rcode
		}
	}
	for _, name := range names {
		for _, s := range wanted[name] {
			if !sameData(w.set(name, s.Type), s) {
				return dns.RcodeNXRrset
			}
		}
	}
	return dns.RcodeSuccess
}

// gather adds rr, bare, to its set, once.
func gather(sets []Set, name string, rr dns.RR) []Set {
	for i := range sets {
		if s := &sets[i]; s.Type == rr.Header().Rrtype {
			if !s.has(rr) {
				s.Records = append(s.Records, rr)
			}
			return sets
		}
	}
	return append(sets, Set{Name: name, Type: rr.Header().Rrtype, Records: []dns.RR{rr}})
}

// prerequisite checks one that is about what exists, not about data.
func (w *work) prerequisite(name string, h *dns.RR_Header) int {
	exists := h.Class == dns.ClassANY // must it?
	if h.Rrtype == dns.TypeANY {
		switch found := w.inUse(name); {
		case exists && !found:
			return dns.RcodeNameError
		case !exists && found:
			return dns.RcodeYXDomain
		}
		return dns.RcodeSuccess
	}
	switch found := len(w.set(name, h.Rrtype).Records) > 0; {
	case exists && !found:
		return dns.RcodeNXRrset
	case !exists && found:
		return dns.RcodeYXRrset
	}
	return dns.RcodeSuccess
}

// permission asks whether the signer may do all of this (section 3.3). What lies elsewhere is
// answered by the prescan.
func (w *work) permission(records []dns.RR) int {
	for _, rr := range records {
		name, rrtype := w.key(rr), rr.Header().Rrtype
		if name == "" || isMeta(rrtype) && rrtype != dns.TypeANY {
			continue
		}
		if rrtype != dns.TypeANY {
			if w.zone.Fixed(name, rrtype) || !w.zone.May(name, rrtype) {
				return dns.RcodeRefused
			}
			continue
		}
		if !w.zone.May(name, dns.TypeANY) {
			return dns.RcodeRefused
		}
		for _, s := range w.sets(name) {
			if w.goes(name, s.Type) && !w.zone.May(name, s.Type) {
				return dns.RcodeRefused
			}
		}
	}
	return dns.RcodeSuccess
}

// goes reports whether a set goes when all sets at its name are deleted.
func (w *work) goes(name string, rrtype uint16) bool {
	atApex := name == w.zone.Apex() && (rrtype == dns.TypeSOA || rrtype == dns.TypeNS)
	return !atApex && !w.zone.Fixed(name, rrtype)
}

// prescan checks the form of section 3.4.1.
func (w *work) prescan(records []dns.RR) int {
	for _, rr := range records {
		h := rr.Header()
		meta := isMeta(h.Rrtype)
		if w.key(rr) == "" {
			return dns.RcodeNotZone
		}
		bad := true
		switch h.Class {
		case dns.ClassINET:
			bad = meta || h.Rdlength == 0 && h.Rrtype != dns.TypeAPL && h.Rrtype != dns.TypeNULL && known(h.Rrtype)
		case dns.ClassANY:
			bad = h.Ttl != 0 || h.Rdlength != 0 || meta && h.Rrtype != dns.TypeANY
		case dns.ClassNONE:
			bad = h.Ttl != 0 || meta
		}
		if bad {
			return dns.RcodeFormatError
		}
	}
	return dns.RcodeSuccess
}

// isMeta reports whether a type exists in questions and messages only (RFC 6895 section 3.1).
func isMeta(rrtype uint16) bool {
	return rrtype == 0 || rrtype == dns.TypeOPT || rrtype >= 128 && rrtype <= 255
}

// known reports whether the form of a type's data is known, and so that it is not empty.
func known(rrtype uint16) bool {
	_, ok := dns.TypeToRR[rrtype]
	return ok
}

// update does what section 3.4.2 says with one record.
func (w *work) update(rr dns.RR) {
	h, name := rr.Header(), w.key(rr)
	switch h.Class {
	case dns.ClassINET:
		w.add(name, rr)
	case dns.ClassANY:
		w.deleteSets(name, h.Rrtype)
	case dns.ClassNONE:
		w.deleteRecord(name, rr)
	}
}

// add adds one record, or puts it in the place of one with the same data (section 3.4.2.2). An alias
// and other sets do not join. The SOA's serial follows the revision of the zone's last change, so an
// SOA never replaces ours, as if its serial was too low.
func (w *work) add(name string, rr dns.RR) {
	rrtype := rr.Header().Rrtype
	for _, s := range w.sets(name) {
		if len(s.Records) > 0 && s.Type != rrtype && (s.Type == dns.TypeCNAME || rrtype == dns.TypeCNAME) {
			return
		}
	}
	if rrtype == dns.TypeSOA || rrtype == dns.TypeCNAME && name == w.zone.Apex() {
		return
	}
	set := w.set(name, rrtype)
	if rr, ttl := bare(rr), rr.Header().Ttl; rrtype == dns.TypeCNAME || rrtype == dns.TypeDNAME { // of which there is one only
		w.put(Set{Name: name, Type: rrtype, TTL: ttl, Records: []dns.RR{rr}})
	} else {
		if !set.has(rr) {
			set.Records = append(slices.Clip(set.Records), rr)
		}
		set.TTL = ttl
		w.put(set)
	}
	w.tooLarge = w.tooLarge || len(set.Records) > mostRecords
}

// deleteSets deletes one set at a name, or all (section 3.4.2.3).
func (w *work) deleteSets(name string, rrtype uint16) {
	for _, s := range slices.Clone(w.sets(name)) {
		if (rrtype == dns.TypeANY || rrtype == s.Type) && w.goes(name, s.Type) {
			w.put(Set{Name: name, Type: s.Type})
		}
	}
}

// deleteRecord deletes one record (section 3.4.2.4), but not the SOA, nor the last NS of the apex.
func (w *work) deleteRecord(name string, rr dns.RR) {
	rrtype := rr.Header().Rrtype
	set := w.set(name, rrtype)
	gone := bare(rr)
	set.Records = slices.DeleteFunc(slices.Clone(set.Records), func(old dns.RR) bool { return dns.IsDuplicate(old, gone) })
	if rrtype == dns.TypeSOA || rrtype == dns.TypeNS && name == w.zone.Apex() && len(set.Records) == 0 {
		return
	}
	w.put(set)
}
