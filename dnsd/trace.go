package dnsd

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// Trace explains the answers that clients of the network from get for name: zone, networks, account,
// label, group, cluster, policy, nodes with their states, health and arithmetic, TTLs, and the records
// themselves.
func (s *Server) Trace(name string, from netip.Prefix) []tandem.Step {
	t := &tracer{m: s.model, now: time.Now(), by: everybody()}
	if told := s.told.Load(); told != nil {
		t.told = *told
	}
	t.run(name, from.Masked())
	return t.steps
}

// tracer collects the steps of one explanation.
type tracer struct {
	m     *model
	told  []tandem.NodeHealth
	now   time.Time
	by    asker
	steps []tandem.Step
}

func (t *tracer) say(what, format string, args ...any) {
	t.steps = append(t.steps, tandem.Step{What: what, Text: fmt.Sprintf(format, args...)})
}

func (t *tracer) run(name string, from netip.Prefix) {
	key, err := wireKey(name)
	if err != nil {
		t.say("name", "%q is not a domain name: FORMERR", name)
		return
	}
	v := t.m.views.Load()
	t.by.views, t.by.view = v, v.of(client{addr: from.Addr()})
	z := t.m.zoneShown(question{key: key, rrtype: dns.TypeNAPTR}, v, t.by.view)
	if z == nil {
		t.say("zone", "%s lies in no zone of ours: REFUSED", name)
		return
	}
	t.say("zone", "%s, role %s, serial %d", z.id, z.role, t.m.serialOf(z))
	if z.absent != "" {
		t.say("state", "%s: SERVFAIL", z.absent)
		return
	}
	if !t.networks(z, from) {
		return
	}
	if t.by.view != noView {
		t.say("view", "%s is in view %s, whose record sets come first", clientsOf(from), v.ids[t.by.view])
	}
	if s := z.over().spot(upward(key, z.apex)); s != nil {
		t.say("record sets", "%d stand at this name or below it, apart from zone text", s.raw)
	}
	below, top := split(key, z.apex)
	switch {
	case top == "" || key == z.ns:
		t.say("name", "a name of the zone itself")
	case z.role == tandem.RoleAccounts && top == "edge":
		if h := t.host(&t.m.edges, "edge", below); h != nil {
			t.edge(h)
		}
	case z.role == tandem.RoleService && top == "node":
		if h := t.host(&t.m.nodes, "node", below); h != nil {
			t.node(h, "its own name is answered whatever its state")
		}
	case z.role == tandem.RoleAccounts:
		t.inbound(z, top)
	case z.role == tandem.RoleService:
		t.forwarding(z, below, top)
	case z.role == tandem.RoleENUM:
		t.number(z, key)
	default:
		t.say("name", "plain records, if any")
	}
	t.answers(z, name, key)
}

// host returns the host whose own name is asked for, or says that there is none.
func (t *tracer) host(h *hosts, what, below string) *host {
	if below == "" || parent(below) != "" {
		t.say(what, "no host has this name")
		return nil
	}
	found := h.byID([]byte(below[1:]))
	if found == nil {
		t.say(what, "%s does not exist: NXDOMAIN", below[1:])
	}
	return found
}

func (t *tracer) edge(h *host) {
	if h == nil {
		t.say("edge", "one that is listed does not exist")
		return
	}
	t.say("edge", "%s, priority %d, weight %d", h.id, h.priority, h.weight)
}

// clientsOf writes a network of clients, one address as such.
func clientsOf(from netip.Prefix) string {
	if from.IsSingleIP() {
		return from.Addr().String()
	}
	return from.String()
}

// networks says whether clients of a network are answered, and reports whether some are.
func (t *tracer) networks(z *zone, from netip.Prefix) bool {
	who := clientsOf(from)
	within := func(n netip.Prefix) bool { return n.Bits() <= from.Bits() && n.Contains(from.Addr()) }
	switch {
	case len(z.networks) == 0:
		t.say("networks", "everybody is answered")
	case slices.ContainsFunc(z.networks, within):
		t.say("networks", "%s is within %v", who, z.networks)
	case slices.ContainsFunc(z.networks, from.Overlaps):
		t.say("networks", "%s is partly within %v: those within are answered, the others REFUSED", who, z.networks)
	default:
		t.say("networks", "%s is not within %v: REFUSED", who, z.networks)
		return false
	}
	return true
}

// inbound explains an account's inbound name.
func (t *tracer) inbound(z *zone, label string) {
	var buf [80]byte
	row, ok := t.m.inbound.get(labelKey(buf[:0], z.number, []byte(label)))
	if !ok {
		t.say("label", "%s belongs to no account (or is retired): plain records, if any, or NXDOMAIN", label)
		return
	}
	t.say("account", "%s", t.m.accountWithLabel(z, label, row.b))
	t.say("label", "%s is %s", label, map[uint8]tandem.LabelRole{
		roleCurrent: tandem.LabelCurrent, roleVanity: tandem.LabelVanity, roleTripwire: tandem.LabelTripwire,
	}[row.tag])
	p, ok := t.m.inboundProfile(z, []byte(label))
	if !ok {
		return
	}
	whose := "its zone's"
	if p.edges != nil {
		whose = "its own"
	}
	t.say("edges", "%d, %s", len(p.edgesOf(z)), whose)
	for _, n := range p.edgesOf(z) {
		t.edge(t.m.edges.at.get(n))
	}
	t.ttl(p.ttl, z)
}

// accountWithLabel returns the id of the account that has label, whose id has a given hash.
func (m *model) accountWithLabel(z *zone, label string, idHash uint32) string {
	want := binary.BigEndian.AppendUint32(nil, m.inbound.hash(labelKey(nil, z.number, []byte(label))))
	id := "unknown"
	m.accounts.each(idHash, func(key []byte, _ entry, tail []byte) bool {
		if hasHash(tail, want) {
			id = string(key)
			return true
		}
		return false
	})
	return id
}

func (t *tracer) ttl(own tandem.TTL, z *zone) {
	from := "the zone's"
	if own != (tandem.TTL{}) {
		from = "the account's, else the zone's"
	}
	v := own.Or(z.ttl)
	t.say("ttl", "NAPTR %d, SRV %d, address %d, negative %d seconds: %s", v.NAPTR, v.SRV, v.Address, z.negative(own.Negative), from)
}

// forwarding explains a forwarding name.
func (t *tracer) forwarding(z *zone, below, id string) {
	p, number, ok := t.m.account([]byte(id))
	if !ok {
		t.say("account", "%s does not exist: plain records, if any, or NXDOMAIN", id)
		return
	}
	home := t.m.zoneAt.get(p.zone)
	if home == nil || home.service != z.number {
		t.say("account", "%s has its forwarding names in another zone", id)
		return
	}
	t.say("account", "%s, in zone %s", id, home.id)
	if below == "" {
		t.say("key", "none: nothing stands at the account's own name")
		return
	}
	_, key := split(below, "")
	w := t.m.steer(p, number, key)
	if w == nil {
		t.group(number)
		t.say("key", "%s is neither a target or type of the account, nor a type that every account has or that its cluster lists: NXDOMAIN", key)
		return
	}
	t.way(z, p, w, key, number)
	t.ttl(p.ttl, z)
}

// way explains which nodes a key leads to.
func (t *tracer) way(z *zone, p *profile, w *way, key string, group uint32) {
	switch {
	case w.target != nil && w.target.nodes != nil:
		t.say("key", "%s is a target of the account: listed nodes", key)
		t.nodes(t.m.nodes.all(w.target.nodes), key)
		return
	case w.target != nil:
		t.say("key", "%s is a target of the account: a cluster of its own", key)
	default:
		t.say("key", "%s is a request type: the group's cluster", key)
		t.group(group)
	}
	if w.cluster == nil {
		t.say("cluster", "there is none: no records")
		return
	}
	t.say("cluster", "%s, %d nodes", w.cluster.id, len(w.cluster.nodes))
	serving := w.cluster.serving(key, w.strict)
	for _, h := range w.cluster.nodes {
		if !slices.Contains(serving, h) {
			t.say("node", "%s does not serve %s: left out", h.id, key)
		}
	}
	t.nodes(serving, key)
}

func (t *tracer) group(number uint32) {
	g := t.m.groups.get(number)
	if g == nil {
		t.say("group", "does not exist")
		return
	}
	t.say("group", "%s %s", g.id, g.placed(t.m.clusters.get(g.cluster)))
}

// answers shows what the usual types get.
func (t *tracer) answers(z *zone, name, key string) {
	for _, rrtype := range []uint16{dns.TypeNAPTR, dns.TypeSRV, dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS} {
		r := t.m.lookupFor(z, question{name: dns.Fqdn(name), key: key, rrtype: rrtype}, t.by)
		text := dns.RcodeToString[r.rcode]
		records := flatten(r.answer)
		if len(records) == 0 && r.rcode == dns.RcodeSuccess {
			text = "no records"
			if !r.authoritative {
				text = "delegated"
				records = flatten(r.authority)
			}
		}
		if len(records) > 0 {
			lines := make([]string, len(records))
			for i, rr := range records {
				lines[i] = strings.ReplaceAll(rr.String(), "\t", " ")
			}
			text = strings.Join(lines, "\n")
		}
		t.say("answer "+dns.TypeToString[rrtype], "%s", text)
	}
}
