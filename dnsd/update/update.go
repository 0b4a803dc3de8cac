// Package update reads dynamic updates (RFC 2136) and works out what they do to a zone. It writes
// nothing: what comes out are the sets that a zone has afterwards. Who may change what is asked of
// the zone; that a message was signed, and by whom, is known before.
package update

import (
	"encoding/binary"
	"slices"

	"github.com/miekg/dns"
)

// Zone is the zone that an update is for, as it is before it. Names are in wire form and lower case.
type Zone interface {
	// Apex returns the zone's name.
	Apex() string
	// Holds reports whether a name lies in the zone, and in no zone below it that is served here.
	Holds(name string) bool
	// Sets returns the sets at a name, none where nothing is. They are not changed.
	Sets(name string) [][]dns.RR
	// Fixed reports whether no update can change the set of a type at a name, for it is made from
	// something else. To delete all sets at the name does not concern it.
	Fixed(name string, rrtype uint16) bool
	// May reports whether the signer may change the sets of a type at a name.
	May(name string, rrtype uint16) bool
}

// Request is an update as it came.
type Request struct {
	Zone          dns.Question
	Prerequisites []dns.RR
	Updates       []dns.RR
}

// Set is one set of a zone after an update. Without records it is gone.
type Set struct {
	Name    string // in wire form, lower case
	Type    uint16
	TTL     uint32   // of all its records (RFC 2181 section 5.2)
	Records []dns.RR // their data: the header says no more than the type
}

// Parse reads the octets of an update, whose sections must fill it exactly; the additional section
// is not looked at. The rcode is NOERROR or FORMERR (RFC 2136 sections 2 and 3.1.1).
func Parse(in []byte) (*Request, int) {
	if len(in) < 12 || binary.BigEndian.Uint16(in[4:]) != 1 {
		return nil, dns.RcodeFormatError
	}
	r := &Request{}
	name, at, err := dns.UnpackDomainName(in, 12)
	if err != nil || at+4 > len(in) {
		return nil, dns.RcodeFormatError
	}
	r.Zone = dns.Question{Name: name, Qtype: binary.BigEndian.Uint16(in[at:]), Qclass: binary.BigEndian.Uint16(in[at+2:])}
	if r.Zone.Qtype != dns.TypeSOA {
		return nil, dns.RcodeFormatError
	}
	at += 4
	for i, section := range []*[]dns.RR{&r.Prerequisites, &r.Updates} {
		for range binary.BigEndian.Uint16(in[6+2*i:]) {
			rr, next, err := dns.UnpackRR(in, at)
			if err != nil || next <= at {
				return nil, dns.RcodeFormatError
			}
			*section, at = append(*section, rr), next
		}
	}
	return r, dns.RcodeSuccess
}

// Apply returns the sets that differ in z after r, in the order in which r touches them, and
// NOERROR; or nothing and the rcode of RFC 2136 section 3. The update is done whole or not at all.
func (r *Request) Apply(z Zone) ([]Set, int) {
	w := &work{zone: z, was: map[string][]Set{}, now: map[string][]Set{}}
	if rcode := w.prerequisites(r.Prerequisites); rcode != dns.RcodeSuccess {
		return nil, rcode
	}
	if rcode := w.permission(r.Updates); rcode != dns.RcodeSuccess {
		return nil, rcode
	}
	if rcode := w.prescan(r.Updates); rcode != dns.RcodeSuccess {
		return nil, rcode
	}
	for _, rr := range r.Updates {
		w.update(rr)
	}
	if w.tooLarge {
		return nil, dns.RcodeRefused
	}
	return w.changes(), dns.RcodeSuccess
}

// mostRecords bounds the records of one set.
const mostRecords = 1000

// work is one update under way.
type work struct {
	zone     Zone
	was, now map[string][]Set // the sets at names that were looked at, before and by now
	order    []string         // those names
	tooLarge bool             // a set got more than mostRecords
}

// sets returns the sets at a name as they are by now.
func (w *work) sets(name string) []Set {
	have, ok := w.now[name]
	if !ok {
		for _, s := range w.zone.Sets(name) {
			set := Set{Name: name, Type: s[0].Header().Rrtype, TTL: s[0].Header().Ttl}
			for _, rr := range s {
				set.Records = append(set.Records, bare(rr))
			}
			have = append(have, set)
		}
		w.was[name], w.now[name] = have, have
		w.order = append(w.order, name)
	}
	return have
}

// set returns the set of a type at a name by now; it has no records where there is none.
func (w *work) set(name string, rrtype uint16) Set { return find(w.sets(name), name, rrtype) }

func find(sets []Set, name string, rrtype uint16) Set {
	for _, s := range sets {
		if s.Type == rrtype {
			return s
		}
	}
	return Set{Name: name, Type: rrtype}
}

// put makes s the set of its type at its name.
func (w *work) put(s Set) {
	have := slices.Clone(w.sets(s.Name))
	if i := slices.IndexFunc(have, func(x Set) bool { return x.Type == s.Type }); i >= 0 {
		have[i] = s
	} else {
		have = append(have, s)
	}
	w.now[s.Name] = have
}

// inUse reports whether anything stands at a name.
func (w *work) inUse(name string) bool {
	return slices.ContainsFunc(w.sets(name), func(s Set) bool { return len(s.Records) > 0 })
}

// changes returns what is not as it was.
func (w *work) changes() []Set {
	var out []Set
	for _, name := range w.order {
		for _, s := range w.now[name] {
			was := find(w.was[name], name, s.Type)
			if !sameData(was, s) || len(s.Records) > 0 && was.TTL != s.TTL {
				out = append(out, s)
			}
		}
	}
	return out
}

// Key returns a name in wire form and lower case, "" when it is none.
func Key(name string) string {
	var buf [256]byte
	n, err := dns.PackDomainName(name, buf[:], 0, nil, false)
	if err != nil {
		return ""
	}
	for i, c := range buf[:n] {
		if c >= 'A' && c <= 'Z' {
			buf[i] = c + 'a' - 'A'
		}
	}
	return string(buf[:n])
}

// key returns the owner of rr, "" when it does not lie in the zone.
func (w *work) key(rr dns.RR) string {
	if name := Key(rr.Header().Name); name != "" && w.zone.Holds(name) {
		return name
	}
	return ""
}

// bare returns rr with a header that says no more than its type, so that data can be compared.
func bare(rr dns.RR) dns.RR {
	rr = dns.Copy(rr)
	*rr.Header() = dns.RR_Header{Name: ".", Rrtype: rr.Header().Rrtype, Class: dns.ClassINET}
	return rr
}

// sameData reports whether two sets have the same records, whatever their TTL.
func sameData(a, b Set) bool {
	return len(a.Records) == len(b.Records) && !slices.ContainsFunc(a.Records, func(rr dns.RR) bool { return !b.has(rr) })
}

// has reports whether rr, bare, is in s. Names in data are equal whatever their case (RFC 2136
// section 1.1.1).
func (s Set) has(rr dns.RR) bool {
	return slices.ContainsFunc(s.Records, func(x dns.RR) bool { return dns.IsDuplicate(x, rr) })
}
