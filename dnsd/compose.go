package dnsd

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// service is one way to reach hosts, and the names under which DNS says so (RFC 2782, RFC 3263
// section 4.1, RFC 7118 section 4).
type service struct {
	transport tandem.Transport
	label     string // such as _sip
	proto     string // such as _udp
	naptr     string // NAPTR service field; "" has no NAPTR
	order     uint16 // NAPTR order: lower is preferred
}

// serviceCount is how many ways there are.
const serviceCount = 7

// services returns what a name can offer. TLS comes first, for a client that can speak it should;
// then UDP before TCP, which saves phones a connection; WebSockets last, for browsers know no NAPTR.
func services() [serviceCount]service {
	return [...]service{
		{tandem.TLS, "_sips", "_tcp", "SIPS+D2T", 10},
		{tandem.UDP, "_sip", "_udp", "SIP+D2U", 20},
		{tandem.TCP, "_sip", "_tcp", "SIP+D2T", 30},
		{tandem.WSS, "_sips", "_ws", "SIPS+D2W", 40},
		{tandem.WS, "_sip", "_ws", "SIP+D2W", 50},
		{tandem.HTTPS, "_https", "_tcp", "", 0},
		{tandem.HTTP, "_http", "_tcp", "", 0},
	}
}

// host is an edge or a node. It is immutable; a change makes a new one.
type host struct {
	id        string
	under     string  // "edge" or "node": the label below which its name stands in a zone
	addresses []rrset // A set and AAAA set, without owner, those that are not empty
	ports     tandem.Ports
	priority  uint16
	weight    uint16
	types     []tandem.RequestType // nodes: none means all
	networks  []netip.Prefix       // edges: clients that are near
	state     tandem.NodeState
	available bool
	health    health         // nodes: as last told
	allDown   tandem.AllDown // nodes: their cluster's policy
	wire      [2]wireSet     // A, AAAA at its own name; their TTL is the zone's
	present   *typeList      // at its own name
}

// newEdge returns e as a host.
func newEdge(e *tandem.Edge) *host {
	h := &host{
		id: e.ID, under: "edge", addresses: addressSets(e.Addresses), ports: e.Ports,
		priority: e.Priority, weight: weightOf(e.Weight), state: tandem.NodeActive, available: true,
	}
	for _, n := range e.Networks {
		h.networks = append(h.networks, unmapped(n))
	}
	h.makeWire()
	return h
}

// newNode returns n as a host.
func newNode(n *tandem.Node) *host {
	h := &host{
		id: n.ID, under: "node", addresses: addressSets(n.Addresses), ports: n.Ports,
		priority: n.Priority, weight: weightOf(n.Weight), types: n.Types, state: n.State, available: n.Available(),
	}
	if h.state == "" {
		h.state = tandem.NodeActive
	}
	h.makeWire()
	return h
}

// makeWire packs h's address sets.
func (h *host) makeWire() {
	types := typesOf(h.addresses...)
	h.present = &types
	for _, s := range h.addresses {
		i := 0
		if s[0].Header().Rrtype == dns.TypeAAAA {
			i = 1
		}
		h.wire[i] = newWireSet(s, nil)
	}
}

// weightOf returns an SRV weight, 100 for one left out.
func weightOf(w uint16) uint16 {
	if w == 0 {
		return 100
	}
	return w
}

// addressSets returns the A and the AAAA set of addrs without owner, leaving out empty ones.
func addressSets(addrs []netip.Addr) []rrset {
	n := &node{}
	for _, rr := range addressRecords("", 0, addrs) {
		n.add(rr)
	}
	return n.sets
}

// name returns the host's name in z.
func (h *host) name(z *zone) string { return h.id + "." + h.under + "." + z.name }

// hasName reports whether h's name in z is not too long to be one.
func (h *host) hasName(z *zone) bool { return len(h.name(z)) <= maxNameSize-1 }

// maxNameSize is the longest name in wire form (RFC 1035 section 2.3.4).
const maxNameSize = 255

// servicePrefixSize is the longest prefix of a composed name, _https._tcp, in wire form.
const servicePrefixSize = 12

// places of record sets in a records value.
const (
	placeA = iota
	placeAAAA
	placeNAPTR
	placeHTTPS
	placeSRV // and six more, in the order of services
	places   = placeSRV + 7
)

// records is everything that is answered at and below one composed name: addresses, NAPTR and
// HTTPS at the name itself, SRV below it. It serves every account with the same hosts, TTLs and
// zone, so its records have no owner, and NAPTR replacements end where the name would follow.
// It is immutable, and valid as long as the zone and the hosts are the ones it was made from.
type records struct {
	zone    *zone
	from    []*host // in order; nil for one that does not exist
	ttl     tandem.TTL
	sets    [places]rrset
	exists  [places]bool // SRV names that are names, with or without records now
	targets []tandem.Target
	wire    [places]wireSet
	types   typeList // at the composed name itself
}

// takes reports whether h is given new work of the kind that key names. A draining node still takes
// emergency calls.
func (h *host) takes(key string) bool {
	return h.available || key == string(tandem.TypeEmergency) && h.state == tandem.NodeDraining
}

// compose makes the records for hosts in z at names with a forwarding key ("" for inbound names).
// Names exist for every transport that a host has, and records for those that take work: so a
// drained cluster is NODATA, not NXDOMAIN. Below a forwarding name without any host every transport
// is a name, for nobody can tell which are to come.
func compose(z *zone, hosts []*host, ttl tandem.TTL, key string) *records {
	r := &records{zone: z, from: hosts, ttl: ttl}
	effects := judge(hosts, key)
	var extras [serviceCount][]hostSet
	order := orders(hosts, effects)
	for _, i := range inOrder(order) {
		s := services()[i]
		s.order = order[i]
		extras[i] = r.composeService(placeSRV+i, s, effects)
	}
	if exists := r.exists[placeSRV:]; key != "" && !slices.Contains(exists, true) {
		for i := range exists {
			exists[i] = true
		}
	}
	r.composeBase(effects)
	for i := range placeSRV {
		r.wire[i] = newWireSet(r.sets[i], nil)
	}
	r.types = typesOf(r.sets[:placeSRV]...)
	r.makeChain(extras)
	return r
}

// inOrder returns the numbers of services by their NAPTR order; those without one come last.
func inOrder(order [serviceCount]uint16) []int {
	numbers := make([]int, len(order))
	for i := range numbers {
		numbers[i] = i
	}
	slices.SortStableFunc(numbers, func(a, b int) int { return cmp.Compare(order[a]-1, order[b]-1) })
	return numbers
}

// composeService fills in the SRV set of one service, at its place, and the NAPTR that points to it.
// It returns the addresses that belong beside the SRV set.
func (r *records) composeService(place int, s service, effects []effect) []hostSet {
	var srv rrset
	var extra []hostSet
	var targets []tandem.Target
	for i, h := range r.from {
		if h == nil || h.ports.Of(s.transport) == 0 {
			continue
		}
		r.exists[place] = true
		if e := effects[i]; e.in && h.hasName(r.zone) {
			extra = append(extra, h.additional(len(srv), r.zone)...)
			srv = append(srv, &dns.SRV{
				Hdr: header("", dns.TypeSRV, r.ttl.SRV), Priority: e.priority, Weight: e.weight,
				Port: h.ports.Of(s.transport), Target: h.name(r.zone),
			})
			targets = append(targets, h.targetsFor(r.zone, s.transport, e)...)
		}
	}
	slices.SortStableFunc(targets, func(a, b tandem.Target) int { return cmp.Compare(a.Priority, b.Priority) })
	r.targets = append(r.targets, targets...)
	r.sets[place], r.wire[place] = srv, newWireSet(srv, extra)
	if len(srv) > 0 && s.naptr != "" {
		r.sets[placeNAPTR] = append(r.sets[placeNAPTR], &dns.NAPTR{
			Hdr: header("", dns.TypeNAPTR, r.ttl.NAPTR), Order: s.order, Preference: 10, Flags: "s",
			Service: s.naptr, Replacement: s.label + "." + s.proto + ".",
		})
	}
	return extra
}

// composeBase fills in the addresses of all hosts that are in the records and, for those that offer
// HTTPS, one record each that names host and port (RFC 9460 section 7.2).
func (r *records) composeBase(effects []effect) {
	seen := map[netip.Addr]bool{}
	for i, h := range r.from {
		if !effects[i].in {
			continue
		}
		for _, set := range h.addresses {
			place := placeA
			if set[0].Header().Rrtype == dns.TypeAAAA {
				place = placeAAAA
			}
			for _, rr := range withTTL(set, r.ttl.Address) {
				if addr := addrPort(rr, 0).Addr(); !seen[addr] {
					seen[addr] = true
					r.sets[place] = append(r.sets[place], rr)
				}
			}
		}
		if port := h.ports.HTTPS; port != 0 && h.hasName(r.zone) {
			https := &dns.HTTPS{SVCB: dns.SVCB{
				Hdr: header("", dns.TypeHTTPS, r.ttl.Address), Target: h.name(r.zone),
				Priority: uint16(min(int(effects[i].priority)+1, 65535)),
			}}
			if port != 443 {
				https.Value = append(https.Value, &dns.SVCBPort{Port: port})
			}
			r.sets[placeHTTPS] = append(r.sets[placeHTTPS], https)
		}
	}
}

// additional returns h's address sets as they belong into ADDITIONAL beside the SRV set in z whose
// record of this number points to h.
func (h *host) additional(record int, z *zone) []hostSet {
	var sets []hostSet
	for _, set := range h.addresses {
		sets = append(sets, hostSet{record: record, name: h.name(z), set: withTTL(set, z.ttl.Address)})
	}
	return sets
}

// hostSet is an address set of the host that record number record of an SRV set points to.
type hostSet struct {
	record int
	name   string
	set    rrset
}

// valid reports whether r still describes z and the hosts that d holds under numbers.
func (r *records) valid(z *zone, d *directory[host], numbers []uint32) bool {
	if r.zone != z || len(r.from) != len(numbers) {
		return false
	}
	for i, n := range numbers {
		if d.get(n) != r.from[i] {
			return false
		}
	}
	return true
}

// node returns what stands at the composed name owner+below, nil when there is no such name.
// below is what precedes the composed name, in wire form without the root: "", "_udp", "_sip._udp".
func (r *records) node(base, below string) *node {
	if below == "" {
		return r.baseNode(base)
	}
	for i, s := range services() {
		if !r.exists[placeSRV+i] {
			continue
		}
		switch below {
		case wireLabel(s.proto):
			return &node{}
		case wireLabel(s.label) + wireLabel(s.proto):
			return nodeOf(r.sets[placeSRV+i])
		}
	}
	return nil
}

// baseNode returns the node at the composed name itself, whose wire form is base.
func (r *records) baseNode(base string) *node {
	var naptr rrset
	for _, rr := range r.sets[placeNAPTR] {
		if len(base)+servicePrefixSize > maxNameSize {
			break // the SRV names would be too long to exist
		}
		full := *rr.(*dns.NAPTR)
		full.Replacement += present(base)
		naptr = append(naptr, &full)
	}
	return nodeOf(naptr, r.sets[placeA], r.sets[placeAAAA], r.sets[placeHTTPS])
}

// nodeOf returns a node with those of sets that are not empty.
func nodeOf(sets ...rrset) *node {
	n := &node{}
	for _, s := range sets {
		if len(s) > 0 {
			n.sets = append(n.sets, s)
		}
	}
	return n
}

// targetsFor returns one target for each of h's addresses, IPv6 last, as the records say.
func (h *host) targetsFor(z *zone, t tandem.Transport, e effect) []tandem.Target {
	var targets []tandem.Target
	name := h.name(z)
	for _, set := range h.addresses {
		for _, rr := range set {
			targets = append(targets, tandem.Target{
				Transport: t, Addr: addrPort(rr, h.ports.Of(t)), Host: name[:len(name)-1],
				Node: h.id, Priority: e.priority, Weight: e.weight,
			})
		}
	}
	return targets
}

// addressNode returns the node at h's own name.
func (h *host) addressNode(ttl uint32) *node {
	var sets []rrset
	for _, s := range h.addresses {
		sets = append(sets, withTTL(s, ttl))
	}
	return nodeOf(sets...)
}

// withTTL returns a copy of set with another TTL.
func withTTL(set rrset, ttl uint32) rrset {
	out := make(rrset, len(set))
	for i, rr := range set {
		out[i] = dns.Copy(rr)
		out[i].Header().Ttl = ttl
	}
	return out
}

// wireLabel returns one label in wire form.
func wireLabel(label string) string { return string([]byte{byte(len(label))}) + label }
