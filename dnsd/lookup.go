package dnsd

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// maxAliases bounds a chain of CNAME and DNAME records within one answer.
const maxAliases = 16

// question is what is asked: a name as written by the client and in wire form, and a type.
type question struct {
	name   string
	key    string
	rrtype uint16
}

// reply is what a zone says to a question, before size and EDNS come into it.
type reply struct {
	rcode         int
	authoritative bool
	answer        []rrset
	authority     []rrset
	extra         []rrset
	required      int // how many of extra are glue that a referral is useless without (RFC 9471)
	proof         proof
	bare          []int // sets of answer that have no signature, for they follow from another set
	withheld      bool  // too many signatures were asked for: ask again over TCP
}

// walk is one lookup under way.
type walk struct {
	*reply
	m     *model
	zone  *zone
	over  *overlay // as it was when the walk began
	asker asker
	q     question

	name, key string // where the lookup is
}

// lookup answers q from z, in which its name lies: a pure function of model and question
// (RFC 1034 section 4.3.2, RFC 2308, RFC 4592, RFC 6672).
func (m *model) lookup(z *zone, q question) *reply { return m.lookupFor(z, q, everybody()) }

// lookupFor is lookup for a client of whom something is known.
func (m *model) lookupFor(z *zone, q question, by asker) *reply {
	w := walk{reply: &reply{authoritative: true}, m: m, zone: z, over: z.over(), asker: by, q: q}
	name, key := q.name, q.key
	seen := map[string]bool{}
	for len(seen) < maxAliases && !seen[key] {
		seen[key] = true
		name = w.step(name, key)
		if name == "" {
			break
		}
		var err error
		if key, err = wireKey(name); err != nil || m.zoneShown(question{key: key, rrtype: q.rrtype}, by.views, by.view) != z {
			break // the alias leads out of the zone: whoever asks goes on there
		}
	}
	return w.reply
}

// step adds what the zone holds for one name, and returns the name that an alias leads to, if any.
func (w *walk) step(name, key string) string {
	w.name, w.key, w.proof = name, key, proof{}
	names := suffixes(key, w.zone.apex)
	if c, alone := w.composed(key); alone {
		if c.node == nil {
			return w.denial(dns.RcodeNameError, c.negative)
		}
		return w.fromNode(c.node, name, c.negative)
	} else if c != nil {
		names = names[1:] // nothing at the apex stands in for an account's names
	}
	closest := w.zone.apex
	var negative uint32
	for _, at := range names {
		var n *node
		if n, negative = w.at(at); n == nil {
			if w.isAbove(key) || w.zoneOf(key) != w.zone { // the latter for DS
				return w.denial(dns.RcodeSuccess, 0)
			}
			return w.fromWildcard(name, closest)
		}
		closest = at
		if at != w.zone.apex && n.set(dns.TypeNS) != nil && (at != key || w.q.rrtype != dns.TypeDS) {
			return w.referral(at, n.set(dns.TypeNS), name)
		}
		if d := n.set(dns.TypeDNAME); d != nil && at != key {
			return w.redirect(name, key, at, d)
		}
	}
	n, _ := w.at(key)
	return w.fromNode(n, name, negative)
}

// suffixes returns key and the names above it down from apex, apex first.
func suffixes(key, apex string) []string {
	var s []string
	for ; len(key) >= len(apex); key = parent(key) {
		s = append(s, key)
		if len(key) == len(apex) {
			break
		}
	}
	for i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {
		s[i], s[j] = s[j], s[i]
	}
	return s
}

// fromWildcard answers for a name that does not exist, below the closest one that does (RFC 4592 section 3.3.1).
func (w *walk) fromWildcard(name, closest string) string {
	n, negative := w.at("\x01*" + closest)
	if n == nil {
		return w.denial(dns.RcodeNameError, negative)
	}
	return w.fromNode(n, name, negative)
}

// fromNode answers from what stands at a name.
func (w *walk) fromNode(n *node, name string, negative uint32) string {
	n = w.zone.topped(w.key, n)
	w.proof = proof{kind: proveNode, name: name, key: w.key, node: n}
	if w.zone.isCut(w.key, n) {
		w.proof.kind = proveCut
	}
	if alias := n.set(dns.TypeCNAME); alias != nil && !w.besideAlias() {
		w.answer = append(w.answer, owned(alias, name))
		return alias[0].(*dns.CNAME).Target
	}
	set := n.set(w.q.rrtype)
	if w.q.rrtype == dns.TypeANY && len(n.sets) > 0 {
		set = n.sets[0] // RFC 8482 section 4.1: one set is enough
	}
	if set == nil {
		return w.denial(dns.RcodeSuccess, negative)
	}
	if soa, ok := set[0].(*dns.SOA); ok {
		set = rrset{w.zone.soaRecord(soa.Hdr.Ttl, w.m.serialOf(w.zone))}
	}
	w.proof.kind = proveNothing
	w.answer = append(w.answer, owned(set, name))
	w.addHosts(set, name)
	return ""
}

// denial says that the name or the type does not exist (RFC 2308 sections 2 and 3).
func (w *walk) denial(rcode int, negative uint32) string {
	if w.proof.kind == proveNothing {
		w.proof = proof{kind: proveNode, name: w.name, key: w.key}
	}
	if rcode == dns.RcodeNameError {
		w.proof.kind = proveAbsent
	}
	if w.q.rrtype == dns.TypeDS && w.zoneOf(w.q.key) != w.zone {
		if rcode = dns.RcodeSuccess; w.delegates() { // asked of the parent's side: the name exists, for it is a zone of ours
			return ""
		}
	}
	w.rcode = rcode
	soa := w.zone.soaRecord(w.zone.negative(negative), w.m.serialOf(w.zone))
	soa.Hdr.Name = ending(w.q.name, w.zone.apex)
	w.authority = append(w.authority, rrset{soa})
	return ""
}

// ending returns the end of name that key is the wire form of, in name's own case, in which it
// needs a pointer only.
func ending(name, key string) string {
	at, short := dns.PrevLabel(name, dns.CountLabel(present(key)))
	if short || at == len(name) {
		return present(key)
	}
	return name[at:]
}

// referral points to the name servers of the zone below cut (RFC 1034 section 4.3.2 step 3b).
func (w *walk) referral(cut string, servers rrset, name string) string {
	w.authoritative = len(w.answer) > 0
	w.proof = proof{kind: proveCut, name: ending(name, cut), key: cut}
	w.proof.node, _ = w.at(cut)
	w.authority = append(w.authority, owned(servers, ending(name, cut)))
	var siblings []rrset
	for _, rr := range servers {
		sets := w.addressesOf(rr.(*dns.NS).Ns)
		if key, err := wireKey(rr.(*dns.NS).Ns); err == nil && within(key, cut) {
			w.extra = append(w.extra, sets...)
		} else {
			siblings = append(siblings, sets...)
		}
	}
	w.required = len(w.extra)
	w.extra = append(w.extra, siblings...)
	return ""
}

// redirect follows the DNAME at the name at, above key (RFC 6672 section 3.2).
func (w *walk) redirect(name, key, at string, set rrset) string {
	if !slices.ContainsFunc(w.answer, func(have rrset) bool { return have[0] == set[0] }) { // passed before on this chain
		w.answer = append(w.answer, set)
	}
	d := set[0].(*dns.DNAME)
	target, err := wireKey(d.Target)
	if err != nil || len(key)-len(at)+len(target) > 255 {
		w.rcode = dns.RcodeYXDomain
		return ""
	}
	labels := dns.SplitDomainName(name)
	kept := labels[:dns.CountLabel(name)-dns.CountLabel(present(at))]
	next := strings.Join(kept, ".") + "."
	if d.Target != "." {
		next += d.Target
	}
	alias := &dns.CNAME{Hdr: header(name, dns.TypeCNAME, d.Hdr.Ttl), Target: next}
	w.bare = append(w.bare, len(w.answer))
	w.answer = append(w.answer, rrset{alias})
	if w.q.rrtype == dns.TypeCNAME || w.q.rrtype == dns.TypeANY {
		return ""
	}
	return next
}

// addressesOf returns the address sets at a name in the zone, also below a delegation, where they are glue.
func (w *walk) addressesOf(name string) []rrset {
	key, err := wireKey(name)
	if err != nil || w.zoneOf(key) != w.zone {
		return nil
	}
	n, _ := w.at(key)
	if n == nil {
		return nil
	}
	var sets []rrset
	for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
		if s := n.set(t); s != nil {
			sets = append(sets, owned(s, name))
		}
	}
	return sets
}

// owned returns a copy of set whose owner is written as name: in the client's own case, or at the
// name that a wildcard stands in for.
func owned(set rrset, name string) rrset {
	out := make(rrset, len(set))
	for i, rr := range set {
		out[i] = dns.Copy(rr)
		out[i].Header().Name = name
	}
	return out
}

// composition is what a composed name holds: a node, or nil where the name does not exist, and the
// TTL that its account wants for denials, if any.
type composition struct {
	node     *node
	negative uint32
}

// composed returns what stands at a name of ours that no zone text holds; nil when the name is
// not of that kind. An account's label and everything below it is the account's: plain records
// there are not served.
func (m *model) composed(z *zone, key string) *composition {
	if c := m.designated(z, key); c != nil {
		return c
	}
	if key == z.ns {
		return &composition{node: nodeOf(m.serverAddresses(z)...)}
	}
	below, top := split(key, z.apex)
	if top == "" {
		return nil
	}
	switch {
	case z.role == tandem.RoleAccounts && top == "edge":
		return hostComposition(z, &m.edges, below)
	case z.role == tandem.RoleService && top == "node":
		return hostComposition(z, &m.nodes, below)
	case z.role == tandem.RoleAccounts:
		if p, ok := m.inboundProfile(z, []byte(top)); ok {
			return &composition{m.inboundRecords(z, p).node(wireLabel(top)+z.apex, below), p.ttl.Negative}
		}
	case z.role == tandem.RoleENUM:
		return m.enumComposition(z, key)
	case z.role == tandem.RoleService:
		if r, p, ok := m.forwarding(z, below, top); ok {
			return &composition{r.at(below, wireLabel(top)+z.apex), p.ttl.Negative}
		}
	}
	return nil
}

// split cuts key, below apex, into the label next to apex and what precedes it in wire form.
func split(key, apex string) (below, top string) {
	if len(key) <= len(apex) {
		return "", ""
	}
	rest := key
	for len(parent(rest)) > len(apex) {
		rest = parent(rest)
	}
	return key[:len(key)-len(rest)], rest[1:][:rest[0]]
}

// hostComposition returns what stands at below+edge or below+node.
func hostComposition(z *zone, h *hosts, below string) *composition {
	if below == "" {
		return &composition{node: &node{}}
	}
	if parent(below) != "" {
		return &composition{}
	}
	if found := h.byID([]byte(below[1:])); found != nil {
		return &composition{node: found.addressNode(z.ttl.Address)}
	}
	return &composition{}
}

// forwarding returns the records that a name below account id top leads to in service zone z, nil
// when its key leads nowhere or there is no key; and whether the account is there at all.
func (m *model) forwarding(z *zone, below, top string) (*records, *profile, bool) {
	p, group, ok := m.account([]byte(top))
	if !ok {
		return nil, nil, false
	}
	if home := m.zoneAt.get(p.zone); home == nil || home.service != z.number {
		return nil, nil, false
	}
	if below == "" {
		return nil, p, true
	}
	_, key := split(below, "")
	return m.forwardingRecords(z, p, group, key), p, true
}

// at returns the node at below+base, where base is an account's name in a service zone and the
// last label of below the key of r. The account's own name is an empty non-terminal.
func (r *records) at(below, base string) *node {
	if below == "" {
		return &node{}
	}
	if r == nil {
		return nil
	}
	under, key := split(below, "")
	return r.node(wireLabel(key)+base, under)
}

// serverAddresses returns the address sets of ns.<apex>: the first edge's, else loopback.
func (m *model) serverAddresses(z *zone) []rrset {
	if len(z.edges) > 0 {
		if h := m.edges.at.get(z.edges[0]); h != nil {
			return h.addressNode(z.ttl.Address).sets
		}
	}
	return []rrset{addressRecords("", z.ttl.Address, loopback())}
}
