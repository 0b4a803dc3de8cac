package zonecheck

import (
	"strings"

	"tandem/dnsd/zonefile"
)

// mostSet is what an answer over TCP has for one set beside header, question and OPT.
const mostSet = 65535 - 12 - 255 - 4 - 11

// data checks what RDATA says, type by type, and that each set can be sent.
func (c *check) data() {
	for key, n := range c.zone.nodes {
		for _, t := range n.types {
			s := n.sets[t]
			size := 0
			for _, r := range s.records {
				size += 12 + len(r.data)
				switch t {
				case zonefile.TypeDS, zonefile.TypeCDS:
					c.digest(key, t, r)
				case zonefile.TypeDNSKEY, zonefile.TypeCDNSKEY:
					c.key(key, t, r)
				case zonefile.TypeNSEC3PARAM:
					c.parameters(key, r)
				case zonefile.TypeCAA:
					c.authority(key, r)
				case zonefile.TypePTR:
					c.reverse(key, s)
				}
			}
			if size > mostSet {
				c.wrong(s.first(), "RFC 1035 section 4.2.2", "%s %s has %d octets, more than an answer can hold", text(key), zonefile.TypeText(t), size)
			}
		}
		c.policy(key, n)
	}
}

// digest checks a DS: its length is that of its digest (RFC 4034 section 5.1.3, RFC 4509, RFC 6605).
func (c *check) digest(key string, rrtype uint16, r record) {
	if r.data == "\x00\x00\x00\x00\x00" {
		return // CDS that asks for removal (RFC 8078 section 4)
	}
	want := map[byte]int{1: 20, 2: 32, 3: 32, 4: 48}[r.data[3]]
	switch {
	case want > 0 && len(r.data)-4 != want:
		c.wrong(r.at, "RFC 4034 section 5.1", "%s %s: a digest of %d octets, and its type has %d", text(key), zonefile.TypeText(rrtype), len(r.data)-4, want)
	case r.data[3] == 1:
		c.doubt(r.at, "RFC 8624 section 3.3", "%s %s: SHA-1 is not to be used any more", text(key), zonefile.TypeText(rrtype))
	case want == 0:
		c.doubt(r.at, "RFC 4034 section 5.1", "%s %s: digest type %d is unknown", text(key), zonefile.TypeText(rrtype), r.data[3])
	}
}

// key checks a DNSKEY: protocol and, where it is fixed, length (RFC 4034 section 2.1).
func (c *check) key(key string, rrtype uint16, r record) {
	if rrtype == zonefile.TypeCDNSKEY && r.data == "\x00\x00\x03\x00\x00" {
		return // asks for removal (RFC 8078 section 4)
	}
	want := map[byte]int{13: 64, 14: 96, 15: 32, 16: 57}[r.data[3]]
	what := text(key) + " " + zonefile.TypeText(rrtype)
	switch {
	case r.data[2] != 3:
		c.wrong(r.at, "RFC 4034 section 2.1.2", "%s: protocol %d is not 3", what, r.data[2])
	case r.data[0]&1 == 0:
		c.doubt(r.at, "RFC 4034 section 2.1.1", "%s: its flags say that it signs no zone", what)
	case len(r.data) == 4:
		c.wrong(r.at, "RFC 4034 section 2.1.4", "%s has no key", what)
	case want > 0 && len(r.data)-4 != want:
		c.wrong(r.at, "RFC 6605 section 4", "%s: a key of %d octets, and its algorithm has %d", what, len(r.data)-4, want)
	}
}

// parameters checks NSEC3PARAM (RFC 5155 section 4.1, RFC 9276).
func (c *check) parameters(key string, r record) {
	switch {
	case r.data[0] != 1:
		c.wrong(r.at, "RFC 5155 section 4.1.1", "%s NSEC3PARAM: hash algorithm %d is unknown", text(key), r.data[0])
	case r.data[1] != 0:
		c.wrong(r.at, "RFC 5155 section 4.1.2", "%s NSEC3PARAM: flags are not 0", text(key))
	case r.data[2] != 0 || r.data[3] != 0 || r.data[4] != 0:
		c.doubt(r.at, "RFC 9276 section 3.1", "%s NSEC3PARAM: iterations and salt give nothing; 0 and - are right", text(key))
	}
}

// authority checks CAA's flags and tags (RFC 8659 section 4).
func (c *check) authority(key string, r record) {
	tag := strings.ToLower(r.data[2 : 2+r.data[1]])
	if r.data[0]&0x7f != 0 {
		c.doubt(r.at, "RFC 8659 section 4.1", "%s CAA: flags other than 128 mean nothing", text(key))
	}
	switch tag {
	case "issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail", "issuevmc":
	default:
		c.doubt(r.at, "RFC 8659 section 4.2", "%s CAA: %q is no registered tag", text(key), tag)
	}
}

// reverse notes more than one name for an address.
func (c *check) reverse(key string, s *set) {
	apex := text(c.zone.apex)
	if len(s.records) > 1 && (strings.HasSuffix(apex, "in-addr.arpa.") || strings.HasSuffix(apex, "ip6.arpa.")) {
		c.doubt(s.records[1].at, "RFC 2181 section 10.2", "%s has several names; few programs look at more than one", text(key))
	}
}

// policy checks SPF: at most one record, and as TXT (RFC 7208 sections 3.1 and 3.2).
func (c *check) policy(key string, n *node) {
	count := 0
	if s := n.sets[zonefile.TypeTXT]; s != nil {
		for _, r := range s.records {
			if value := joined(r.data); strings.HasPrefix(strings.ToLower(value), "v=spf1 ") || strings.EqualFold(value, "v=spf1") {
				if count++; count == 2 {
					c.doubt(r.at, "RFC 7208 section 3.2", "a second SPF record at %s", text(key))
				}
				if len(value) > 450 {
					c.doubt(r.at, "RFC 7208 section 3.4", "%s: SPF of %d octets may not fit a datagram", text(key), len(value))
				}
			}
		}
	}
	if s := n.sets[zonefile.TypeSPF]; s != nil && count == 0 {
		c.doubt(s.first(), "RFC 7208 section 3.1", "%s has SPF of type SPF, which nobody asks for, and none of type TXT", text(key))
	}
}

// joined returns the strings of TXT as one.
func joined(data string) string {
	var b strings.Builder
	for len(data) > 0 {
		n := int(data[0])
		b.WriteString(data[1 : 1+n])
		data = data[1+n:]
	}
	return b.String()
}
