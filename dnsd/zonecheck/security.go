package zonecheck

import (
	"encoding/base32"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"tandem/dnsd/zonefile"
)

// signed reports whether the zone says of itself that it is signed: it has a key and a signature.
func (c *check) signed() bool {
	return c.zone.set(c.zone.apex, zonefile.TypeDNSKEY) != nil && c.zone.set(c.zone.apex, zonefile.TypeRRSIG) != nil
}

// security checks signatures and the chain of denials of a signed zone.
func (c *check) security() {
	if !c.signed() {
		c.strays()
		return
	}
	keys := c.keys()
	for key, n := range c.zone.nodes {
		if c.isSigned(key, n) {
			c.signatures(key, n, keys)
		}
	}
	if c.zone.set(c.zone.apex, zonefile.TypeNSEC3PARAM) != nil {
		c.hashedChain()
	} else {
		c.chain()
	}
}

// strays notes records of a signed zone in one that is not.
func (c *check) strays() {
	for key, n := range c.zone.nodes {
		for _, t := range []uint16{zonefile.TypeRRSIG, zonefile.TypeNSEC, zonefile.TypeNSEC3} {
			if s := n.sets[t]; s != nil {
				c.doubt(s.first(), "RFC 4035 section 2.1", "%s %s in a zone without a DNSKEY that signs it", text(key), zonefile.TypeText(t))
			}
		}
	}
}

// keys returns the zone's keys.
func (c *check) keys() []*dns.DNSKEY {
	var keys []*dns.DNSKEY
	for _, rr := range c.zone.set(c.zone.apex, zonefile.TypeDNSKEY).library() {
		if k, ok := rr.(*dns.DNSKEY); ok {
			keys = append(keys, k)
		}
	}
	return keys
}

// library returns a set in the library's form.
func (s *set) library() []dns.RR {
	var rrs []dns.RR
	for _, r := range s.records {
		buf := append([]byte(s.owner), make([]byte, 10)...)
		fixed := buf[len(s.owner):]
		binary.BigEndian.PutUint16(fixed, s.rrtype)
		fixed[3] = zonefile.ClassIN
		binary.BigEndian.PutUint32(fixed[4:], r.ttl)
		binary.BigEndian.PutUint16(fixed[8:], uint16(len(r.data)))
		rr, _, err := dns.UnpackRR(append(buf, r.data...), 0)
		if err != nil {
			rr = &dns.RFC3597{Hdr: dns.RR_Header{Name: text(s.owner), Rrtype: s.rrtype, Class: dns.ClassINET, Ttl: r.ttl}}
		}
		rrs = append(rrs, rr)
	}
	return rrs
}

// isSigned reports whether what stands at key is the zone's own and so signed: not glue, not hidden.
func (c *check) isSigned(key string, n *node) bool {
	return c.zone.cutAbove(key, true) == "" && (c.zone.redirectAbove(key) == "" || n.sets[zonefile.TypeNSEC3] != nil)
}

// signatures checks that every set at a name has a valid signature.
func (c *check) signatures(key string, n *node, keys []*dns.DNSKEY) {
	isCut := key != c.zone.apex && n.sets[zonefile.TypeNS] != nil
	covered := map[uint16]bool{}
	var sigs []record
	if s := n.sets[zonefile.TypeRRSIG]; s != nil {
		sigs = s.records
	}
	for _, r := range sigs {
		t := binary.BigEndian.Uint16([]byte(r.data))
		if n.sets[t] == nil {
			c.wrong(r.at, "RFC 4035 section 2.2", "%s: a signature of %s, which is not there", text(key), zonefile.TypeText(t))
			continue
		}
		if c.verify(key, n, r, n.sets[t], keys) {
			covered[t] = true
		}
	}
	for _, t := range n.types {
		owed := t != zonefile.TypeRRSIG && !(isCut && t != zonefile.TypeDS && t != zonefile.TypeNSEC)
		if owed && !covered[t] {
			c.wrong(n.sets[t].first(), "RFC 4035 section 2.2", "%s %s has no valid signature", text(key), zonefile.TypeText(t))
		}
	}
}

// verify checks one signature.
func (c *check) verify(key string, n *node, r record, s *set, keys []*dns.DNSKEY) bool {
	one := &set{owner: key, rrtype: zonefile.TypeRRSIG, records: []record{r}}
	sig, ok := one.library()[0].(*dns.RRSIG)
	if !ok {
		return false
	}
	now := c.options.Now
	if now.IsZero() {
		now = time.Now()
	}
	what := text(key) + " " + zonefile.TypeText(s.rrtype)
	i := slices.IndexFunc(keys, func(k *dns.DNSKEY) bool { return k.KeyTag() == sig.KeyTag && k.Algorithm == sig.Algorithm })
	switch {
	case i < 0:
		c.wrong(r.at, "RFC 4035 section 5.3.1", "%s: signed with key %d, which the zone does not have", what, sig.KeyTag)
		return false
	case !strings.EqualFold(sig.SignerName, text(c.zone.apex)):
		c.wrong(r.at, "RFC 4035 section 5.3.1", "%s: signed by %s, which is not the zone", what, sig.SignerName)
		return false
	case !sig.ValidityPeriod(now):
		c.wrong(r.at, "RFC 4035 section 5.3.1", "%s: the signature holds from %s to %s, not now", what, dns.TimeToString(sig.Inception), dns.TimeToString(sig.Expiration))
		return false
	}
	if s.ttl != sig.OrigTtl {
		c.doubt(r.at, "RFC 4034 section 3.1.4", "%s: TTL %d differs from the signature's %d", what, s.ttl, sig.OrigTtl)
	}
	for ; i < len(keys); i++ { // key tags are not unique
		if keys[i].KeyTag() == sig.KeyTag && sig.Verify(keys[i], s.library()) == nil {
			return true
		}
	}
	c.wrong(r.at, "RFC 4035 section 5.3.3", "%s: the signature does not fit the records", what)
	return false
}

// authoritative returns the names that a chain of denials has, in canonical order.
func (c *check) authoritative() []string {
	var own []string
	for _, key := range c.zone.names() {
		n := c.zone.nodes[key]
		if n.sets[zonefile.TypeNSEC3] == nil && c.isSigned(key, n) {
			own = append(own, key)
		}
	}
	return own
}

// chain checks NSEC: each name leads to the next, the last to the apex (RFC 4034 section 4).
func (c *check) chain() {
	own := c.authoritative()
	for i, key := range own {
		n := c.zone.nodes[key]
		s := n.sets[zonefile.TypeNSEC]
		if s == nil {
			c.wrong(c.zone.anyRecord(n), "RFC 4035 section 2.3", "%s has no NSEC", text(key))
			continue
		}
		if len(s.records) > 1 {
			c.wrong(s.records[1].at, "RFC 4034 section 4", "a second NSEC at %s", text(key))
		}
		next, end := nameAt(s.records[0].data, 0)
		if want := own[(i+1)%len(own)]; next != want {
			c.wrong(s.first(), "RFC 4034 section 4.1.1", "%s NSEC leads to %s; the next name is %s", text(key), text(next), text(want))
		}
		c.bitmap(key, s, s.records[0].data[end:], n.types)
	}
}

// bitmap checks that a denial lists the types that there are.
func (c *check) bitmap(key string, s *set, bits string, types []uint16) {
	listed, _ := zonefile.BitmapTypes([]byte(bits))
	isCut := key != c.zone.apex && slices.Contains(types, zonefile.TypeNS)
	var want []uint16
	for _, t := range types {
		if !isCut || t == zonefile.TypeNS || t == zonefile.TypeDS || t == zonefile.TypeRRSIG || t == zonefile.TypeNSEC {
			want = append(want, t)
		}
	}
	slices.Sort(want)
	if !slices.Equal(listed, want) {
		c.wrong(s.first(), "RFC 4034 section 4.1.2", "%s %s: the list of types is not that of the name", text(key), zonefile.TypeText(s.rrtype))
	}
}

// hashedChain checks NSEC3: each name's hash is there, and each hash leads to the next (RFC 5155
// section 7.1).
func (c *check) hashedChain() {
	p := c.zone.set(c.zone.apex, zonefile.TypeNSEC3PARAM).records[0].data
	iterations, salt := binary.BigEndian.Uint16([]byte(p[2:])), p[5:]
	if iterations > 500 {
		c.wrong(c.zone.set(c.zone.apex, zonefile.TypeNSEC3PARAM).first(), "RFC 9276 section 3.1", "NSEC3PARAM: %d iterations, which no resolver takes", iterations)
		return
	}
	hashes := map[string]string{} // hash → name
	optional := map[string]bool{}
	for name := range c.hashedNames() {
		h := hashName(name, iterations, salt)
		hashes[h] = name
		n := c.zone.nodes[name]
		optional[h] = n != nil && name != c.zone.apex && n.sets[zonefile.TypeNS] != nil && n.sets[zonefile.TypeDS] == nil
	}
	var have []string
	for key, n := range c.zone.nodes {
		if s := n.sets[zonefile.TypeNSEC3]; s != nil {
			have = append(have, c.hashed(key, s, hashes))
		}
	}
	slices.Sort(have)
	for h, name := range hashes {
		if !slices.Contains(have, h) && !(optional[h] && c.optOut()) && !(c.optOut() && c.zone.nodes[name] == nil) {
			c.wrong(c.whole(), "RFC 5155 section 7.1", "%s has no NSEC3", text(name))
		}
	}
	for i, h := range have {
		s := c.zone.set(string([]byte{byte(len(h))})+strings.ToLower(h)+c.zone.apex, zonefile.TypeNSEC3)
		if next := nextHash(s.records[0].data); next != have[(i+1)%len(have)] {
			c.wrong(s.first(), "RFC 5155 section 3.1.7", "NSEC3 %s leads to %s; the next one is %s", h, next, have[(i+1)%len(have)])
		}
	}
}

// optOut reports whether the chain leaves out delegations that are not signed (RFC 5155 section 6).
func (c *check) optOut() bool {
	for _, n := range c.zone.nodes {
		if s := n.sets[zonefile.TypeNSEC3]; s != nil && s.records[0].data[1]&1 != 0 {
			return true
		}
	}
	return false
}

// hashedNames returns the names that have hashes: the zone's own, and those between them and the apex.
func (c *check) hashedNames() map[string]bool {
	all := map[string]bool{}
	for _, key := range c.authoritative() {
		for name := key; ; name = parent(name) {
			all[name] = true
			if len(name) <= len(c.zone.apex) {
				break
			}
		}
	}
	return all
}

// hashed checks one NSEC3 and returns its hash.
func (c *check) hashed(key string, s *set, hashes map[string]string) string {
	h := strings.ToUpper(key[1 : 1+key[0]])
	name, known := hashes[h]
	if !known {
		c.wrong(s.first(), "RFC 5155 section 7.1", "NSEC3 %s is no name's", h)
		return h
	}
	d := s.records[0].data
	at := 5 + int(d[4])
	at += 1 + int(d[at])
	var types []uint16
	if n := c.zone.nodes[name]; n != nil {
		types = n.types
	}
	c.bitmap(name, s, d[at:], types)
	return h
}

var base32Hex = base32.HexEncoding.WithPadding(base32.NoPadding)

// nextHash returns the next hash in NSEC3's data, in base32.
func nextHash(d string) string {
	at := 5 + int(d[4])
	return base32Hex.EncodeToString([]byte(d[at+1 : at+1+int(d[at])]))
}
