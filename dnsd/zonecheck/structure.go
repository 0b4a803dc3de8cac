package zonecheck

import (
	"encoding/binary"
	"strings"

	"tandem/dnsd/zonefile"
)

// single are types of which a name has one record at most, beside CNAME, DNAME and SOA.
var single = map[uint16]string{62: "RFC 7477 section 2.1", 261: "RFC 9606 section 3"} // CSYNC, RESINFO

// apexRecords checks what the apex must have.
func (c *check) apexRecords() {
	z := c.zone
	soa, ns := z.set(z.apex, zonefile.TypeSOA), z.set(z.apex, zonefile.TypeNS)
	for key, n := range z.nodes {
		if s := n.sets[zonefile.TypeSOA]; s != nil && key != z.apex {
			c.wrong(s.first(), "RFC 1035 section 5.2", "SOA at %s, which is not the apex %s", text(key), text(z.apex))
		}
	}
	switch {
	case soa == nil && !c.options.Lax:
		c.wrong(c.whole(), "RFC 1035 section 5.2", "%s has no SOA", text(z.apex))
	case soa != nil && len(soa.records) > 1:
		c.wrong(soa.records[1].at, "RFC 1035 section 5.2", "a second SOA at %s", text(z.apex))
	case soa != nil:
		c.timers(soa)
	}
	if ns == nil && !c.options.Lax {
		c.wrong(c.whole(), "RFC 1034 section 4.2.1", "%s has no NS", text(z.apex))
	}
	if ns != nil && len(ns.records) == 1 {
		c.doubt(ns.first(), "RFC 2182 section 5", "%s has one name server only", text(z.apex))
	}
	for _, rrtype := range []uint16{zonefile.TypeDS, zonefile.TypeNSEC3} {
		if s := z.set(z.apex, rrtype); s != nil {
			c.wrong(s.first(), "RFC 4035 section 2.4", "%s at the apex", zonefile.TypeText(rrtype))
		}
	}
	for _, rrtype := range []uint16{zonefile.TypeDNSKEY, zonefile.TypeNSEC3PARAM, zonefile.TypeCDS, zonefile.TypeCDNSKEY, zonefile.TypeZONEMD} {
		for key, n := range z.nodes {
			if s := n.sets[rrtype]; s != nil && key != z.apex {
				c.misplaced(s)
			}
		}
	}
}

// misplaced notes a set that belongs to the apex and stands elsewhere. CDS and CDNSKEY elsewhere are not
// used; the others are never valid there.
func (c *check) misplaced(s *set) {
	if s.rrtype == zonefile.TypeCDS || s.rrtype == zonefile.TypeCDNSKEY {
		c.wrong(s.first(), "RFC 7344 section 4.1", "%s at %s, which is not the apex", zonefile.TypeText(s.rrtype), text(s.owner))
		return
	}
	c.doubt(s.first(), "RFC 4034 section 2", "%s at %s, which is not the apex", zonefile.TypeText(s.rrtype), text(s.owner))
}

// timers checks the SOA's numbers for slips.
func (c *check) timers(soa *set) {
	d := soa.records[0].data
	d = d[len(d)-20:]
	number := func(i int) uint32 { return binary.BigEndian.Uint32([]byte(d[4*i:])) }
	refresh, retry, expire, minimum := number(1), number(2), number(3), number(4)
	where := soa.first()
	for i, name := range []string{"refresh", "retry", "expire", "minimum"} {
		if number(i+1) > zonefile.MostTTL {
			c.wrong(where, "RFC 2181 section 8", "SOA: %s %d is over %d", name, number(i+1), zonefile.MostTTL)
			return
		}
	}
	switch {
	case expire < refresh+retry:
		c.doubt(where, "RFC 1912 section 2.2", "SOA: expire %d is less than refresh %d and retry %d together", expire, refresh, retry)
	case retry >= refresh && refresh > 0:
		c.doubt(where, "RFC 1912 section 2.2", "SOA: retry %d is not less than refresh %d", retry, refresh)
	case minimum > 86400:
		c.doubt(where, "RFC 2308 section 5", "SOA: minimum %d keeps denials over a day", minimum)
	}
	mailbox, _ := nameAt(soa.records[0].data, len(first(soa.records[0].data)))
	if mailbox != "\x00" && strings.Contains(mailbox[1:1+mailbox[0]], "@") {
		c.wrong(where, "RFC 1035 section 8", "SOA: the mailbox is written with a dot in place of @")
	}
}

// first returns the name that data begins with.
func first(data string) string {
	_, end := nameAt(data, 0)
	return data[:end]
}

// sets checks what may stand together at a name.
func (c *check) sets() {
	for key, n := range c.zone.nodes {
		alias, redirection := n.sets[zonefile.TypeCNAME], n.sets[zonefile.TypeDNAME]
		if alias != nil {
			c.alias(key, n, alias)
		}
		if redirection != nil {
			if len(redirection.records) > 1 {
				c.wrong(redirection.records[1].at, "RFC 6672 section 2.4", "a second DNAME at %s", text(key))
			}
			if n.sets[zonefile.TypeNS] != nil && key != c.zone.apex {
				c.wrong(redirection.first(), "RFC 6672 section 2.3", "DNAME and NS at %s", text(key))
			}
			if strings.HasPrefix(key, "\x01*") {
				c.doubt(redirection.first(), "RFC 4592 section 4.4", "a DNAME at the wildcard %s means nothing sure", text(key))
			}
		}
		for t, rfc := range single {
			if s := n.sets[t]; s != nil && len(s.records) > 1 {
				c.wrong(s.records[1].at, rfc, "a second %s at %s", zonefile.TypeText(t), text(key))
			}
		}
		if n.sets[zonefile.TypeNSEC3] != nil {
			for _, t := range n.types {
				if t != zonefile.TypeNSEC3 && t != zonefile.TypeRRSIG {
					c.doubt(n.sets[t].first(), "RFC 5155 section 7.1", "%s beside NSEC3 at %s", zonefile.TypeText(t), text(key))
				}
			}
		}
	}
}

// alias checks a CNAME's company.
func (c *check) alias(key string, n *node, alias *set) {
	if len(alias.records) > 1 {
		c.wrong(alias.records[1].at, "RFC 2181 section 10.1", "a second CNAME at %s", text(key))
	}
	for _, t := range n.types {
		switch t {
		case zonefile.TypeCNAME, zonefile.TypeRRSIG, zonefile.TypeNSEC, 25, 30, 24: // KEY, NXT, SIG: RFC 2535
		default:
			where := n.sets[t].first()
			if alias.first().line > where.line {
				where = alias.first()
			}
			c.wrong(where, "RFC 1034 section 3.6.2", "CNAME and %s at %s", zonefile.TypeText(t), text(key))
		}
	}
}

// names checks owners: whether anything hides them, and whether hosts have hosts' names.
func (c *check) names() {
	z := c.zone
	for key, n := range z.nodes {
		if above := z.redirectAbove(key); above != "" && n.sets[zonefile.TypeNSEC3] == nil {
			c.wrong(z.anyRecord(n), "RFC 6672 section 2.4", "%s lies below the DNAME at %s", text(key), text(above))
		}
		c.occluded(key, n)
		for _, t := range []uint16{zonefile.TypeA, zonefile.TypeAAAA, zonefile.TypeMX} {
			if s := n.sets[t]; s != nil && !isHost(key) {
				c.wrong(s.first(), "RFC 952, RFC 1123 section 2.1", "%s is no name for a host: letters, digits and hyphens", text(key))
				break
			}
		}
	}
}

// anyRecord returns where a node's first record stands.
func (z *zone) anyRecord(n *node) at { return n.sets[n.types[0]].first() }

// occluded notes records that a delegation hides.
func (c *check) occluded(key string, n *node) {
	cut := c.zone.cutAbove(key, false)
	if cut == "" {
		return
	}
	for _, t := range n.types {
		switch {
		case t == zonefile.TypeA || t == zonefile.TypeAAAA: // glue, or not: see delegations
		case key == cut && (t == zonefile.TypeNS || t == zonefile.TypeDS || t == zonefile.TypeNSEC || t == zonefile.TypeRRSIG):
		case t == zonefile.TypeNSEC3 || t == zonefile.TypeRRSIG && n.sets[zonefile.TypeNSEC3] != nil:
		default:
			c.doubt(n.sets[t].first(), "RFC 1034 section 4.2.1", "%s %s is hidden by the delegation of %s", text(key), zonefile.TypeText(t), text(cut))
		}
	}
}

// isHost reports whether a name is one for a host (RFC 1123 section 2.1); its first label may be *, and
// labels with an underscore in front are for services, whose addresses are nobody's host.
func isHost(key string) bool {
	for i, label := range labels(key) {
		if label == "*" && i == len(labels(key))-1 {
			continue
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for j := range len(label) {
			if c := label[j]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
				return false
			}
		}
	}
	return true
}
