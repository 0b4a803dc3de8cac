package zonecheck

import (
	"encoding/binary"
	"fmt"
	"net"
	"regexp"
	"strings"

	"tandem/dnsd/zonefile"
)

// targets checks the names that NS, MX, SRV and their like lead to.
func (c *check) targets() {
	below := c.zone.nonTerminals()
	for key, n := range c.zone.nodes {
		for _, t := range n.types {
			for _, r := range n.sets[t].records {
				switch t {
				case zonefile.TypeNS:
					c.host(key, t, r, 0, below)
				case zonefile.TypeMX:
					c.mail(key, n.sets[t], r, below)
				case zonefile.TypeSRV:
					c.service(key, n.sets[t], r, below)
				case zonefile.TypeNAPTR:
					c.pointer(key, r)
				case zonefile.TypeCNAME, zonefile.TypeDNAME:
					c.leads(key, t, r, below)
				case zonefile.TypeSVCB, zonefile.TypeHTTPS:
					if target, _ := nameAt(r.data, 2); target != "\x00" && within(target, c.zone.apex) && !c.zone.holds(target, below) && c.zone.cutAbove(target, false) == "" {
						c.doubt(r.at, "RFC 9460 section 2.4", "%s %s leads to %s, which is not in the zone", text(key), zonefile.TypeText(t), text(target))
					}
				}
			}
		}
	}
}

// host checks that the name at an offset of r's data has addresses, as far as the zone can know.
func (c *check) host(key string, rrtype uint16, r record, offset int, below map[string]bool) {
	target, _ := nameAt(r.data, offset)
	what := fmt.Sprintf("%s %s", text(key), zonefile.TypeText(rrtype))
	if net.ParseIP(strings.TrimSuffix(text(target), ".")) != nil {
		c.wrong(r.at, "RFC 1035 section 3.3", "%s leads to %s, which is an address and no name", what, text(target))
		return
	}
	if rrtype != zonefile.TypeSRV && !isHost(target) && target != "\x00" {
		c.wrong(r.at, "RFC 1123 section 2.1", "%s leads to %s, which is no name for a host", what, text(target))
	}
	z := c.zone
	if !within(target, z.apex) || z.redirectAbove(target) != "" {
		return
	}
	n := z.nodes[target]
	cut := z.cutAbove(target, false)
	switch {
	case n != nil && n.sets[zonefile.TypeCNAME] != nil && cut == "":
		c.wrong(r.at, "RFC 2181 section 10.3", "%s leads to %s, which is an alias", what, text(target))
	case n != nil && (n.sets[zonefile.TypeA] != nil || n.sets[zonefile.TypeAAAA] != nil):
	case cut != "":
		if rrtype == zonefile.TypeNS && (key == z.apex || within(target, key) || key == cut) {
			c.wrong(r.at, "RFC 1034 section 4.2.1", "%s leads to %s, below the delegation of %s, without an address as glue", what, text(target), text(cut))
		}
	case n == nil && z.holds(target, below) && !below[target]:
		if rrtype == zonefile.TypeNS {
			c.doubt(r.at, "RFC 4592 section 4.2", "%s leads to %s, which has a wildcard's addresses if any", what, text(target))
		}
	default:
		c.wrong(r.at, "RFC 1912 section 2.8", "%s leads to %s, which has no address in the zone", what, text(target))
	}
}

// mail checks MX; a dot alone says that no mail is taken (RFC 7505).
func (c *check) mail(key string, s *set, r record, below map[string]bool) {
	if r.data[2:] == "\x00" {
		if len(s.records) > 1 {
			c.wrong(r.at, "RFC 7505 section 3", "%s MX: the . that takes no mail stands beside others", text(key))
		} else if r.data[:2] != "\x00\x00" {
			c.doubt(r.at, "RFC 7505 section 3", "%s MX: the . that takes no mail has preference 0", text(key))
		}
		return
	}
	c.host(key, s.rrtype, r, 2, below)
}

// service checks SRV; a dot alone says that the service is not offered (RFC 2782).
func (c *check) service(key string, s *set, r record, below map[string]bool) {
	if r.data[6:] == "\x00" {
		if len(s.records) > 1 {
			c.wrong(r.at, "RFC 2782", "%s SRV: the . that offers nothing stands beside others", text(key))
		}
		return
	}
	if l := labels(key); len(l) < 2 || !strings.HasPrefix(l[len(l)-1], "_") && l[len(l)-1] != "*" {
		c.doubt(r.at, "RFC 2782", "%s SRV: the name does not begin with _service._protocol", text(key))
	}
	if binary.BigEndian.Uint16([]byte(r.data[4:])) == 0 {
		c.doubt(r.at, "RFC 2782", "%s SRV: port 0", text(key))
	}
	c.host(key, s.rrtype, r, 6, below)
}

// leads checks that an alias leads to something and does not come back to itself.
func (c *check) leads(key string, rrtype uint16, r record, below map[string]bool) {
	target, _ := nameAt(r.data, 0)
	z := c.zone
	if rrtype == zonefile.TypeCNAME {
		seen := map[string]bool{key: true}
		for name := target; ; {
			if seen[name] {
				c.doubt(r.at, "RFC 1034 section 3.6.2", "%s CNAME leads back to %s", text(key), text(name))
				return
			}
			seen[name] = true
			next := z.set(name, zonefile.TypeCNAME)
			if next == nil {
				break
			}
			name, _ = nameAt(next.records[0].data, 0)
		}
	}
	if within(target, z.apex) && !z.holds(target, below) && z.cutAbove(target, false) == "" && z.redirectAbove(target) == "" {
		c.doubt(r.at, "RFC 1034 section 3.6.2", "%s %s leads to %s, which is not in the zone", text(key), zonefile.TypeText(rrtype), text(target))
	}
}

// pointer checks NAPTR: what its flag asks for is there, and nothing beside it (RFC 3403 section 4.1).
func (c *check) pointer(key string, r record) {
	const rule = "RFC 3403 section 4.1"
	at, parts := 4, [3]string{}
	for i := range parts {
		n := int(r.data[at])
		parts[i] = r.data[at+1 : at+1+n]
		at += 1 + n
	}
	flags, regex, replacement := strings.ToLower(parts[0]), parts[2], r.data[at:]
	switch {
	case strings.Trim(flags, "abcdefghijklmnopqrstuvwxyz0123456789") != "":
		c.wrong(r.at, rule, "%s NAPTR: the flags %q are no letters or digits", text(key), parts[0])
	case regex != "" && replacement != "\x00":
		c.wrong(r.at, rule, "%s NAPTR: regular expression and replacement exclude each other", text(key))
	case regex == "" && replacement == "\x00":
		c.wrong(r.at, rule, "%s NAPTR: neither regular expression nor replacement", text(key))
	case flags == "u" && regex == "":
		c.wrong(r.at, "RFC 3404 section 4.3", "%s NAPTR: flag U without a regular expression", text(key))
	case (flags == "s" || flags == "a") && regex != "":
		c.doubt(r.at, "RFC 3404 section 4.3", "%s NAPTR: flag %s with a regular expression", text(key), parts[0])
	case regex != "":
		if reason := substitution(regex); reason != "" {
			c.wrong(r.at, "RFC 3402 section 3.2", "%s NAPTR: %q: %s", text(key), regex, reason)
		}
	}
}

// substitution says what is wrong with a delimited substitution, such as !^(.*)$!sip:\1@example.net!.
func substitution(text string) string {
	mark := text[0]
	if mark >= '1' && mark <= '9' || mark == '\\' || mark == 'i' {
		return "digits, backslash and i cannot delimit it"
	}
	var parts []string
	from := 1
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case mark:
			parts = append(parts, text[from:i])
			from = i + 1
		}
	}
	switch {
	case len(parts) != 2:
		return "it has not three delimiters"
	case text[from:] != "" && text[from:] != "i":
		return "its flag is not i"
	}
	expression, err := regexp.CompilePOSIX(parts[0])
	if err != nil {
		return "its expression does not compile"
	}
	for i := 0; i+1 < len(parts[1]); i++ {
		if parts[1][i] == '\\' {
			if i++; parts[1][i] >= '1' && parts[1][i] <= '9' && int(parts[1][i]-'0') > expression.NumSubexp() {
				return "it refers to a group that is not there"
			}
		}
	}
	return ""
}

// delegations checks what stands at and below cuts.
func (c *check) delegations() {
	z := c.zone
	needed := map[string]bool{}
	for _, n := range z.nodes {
		if s := n.sets[zonefile.TypeNS]; s != nil {
			for _, r := range s.records {
				target, _ := nameAt(r.data, 0)
				needed[target] = true
			}
		}
	}
	for key, n := range z.nodes {
		if ns := n.sets[zonefile.TypeNS]; ns != nil && strings.HasPrefix(key, "\x01*") {
			c.wrong(ns.first(), "RFC 4592 section 4.2", "NS at the wildcard %s", text(key))
		}
		if ds := n.sets[zonefile.TypeDS]; ds != nil && n.sets[zonefile.TypeNS] == nil && key != z.apex {
			c.wrong(ds.first(), "RFC 4035 section 2.4", "DS without NS at %s", text(key))
		}
		cut := z.cutAbove(key, false)
		for _, t := range []uint16{zonefile.TypeA, zonefile.TypeAAAA} {
			if s := n.sets[t]; s != nil && cut != "" && !needed[key] {
				c.doubt(s.first(), "RFC 1034 section 4.2.1", "%s %s is hidden by the delegation of %s, and no NS needs it", text(key), zonefile.TypeText(t), text(cut))
			}
		}
	}
}
