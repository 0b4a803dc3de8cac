package zonecheck

import (
	"crypto/sha1"
	"crypto/sha512"
	"encoding/binary"
	"hash"
	"slices"
	"strings"

	"tandem/dnsd/zonefile"
)

// hashName returns the hash of a name in base32 (RFC 5155 section 5).
func hashName(name string, iterations uint16, salt string) string {
	sum := sha1.Sum([]byte(name + salt))
	for range iterations {
		sum = sha1.Sum(append(sum[:], salt...))
	}
	return base32Hex.EncodeToString(sum[:])
}

// digests verifies ZONEMD: one that fits is enough (RFC 8976 section 4).
func (c *check) digests() {
	s := c.zone.set(c.zone.apex, zonefile.TypeZONEMD)
	soa := c.zone.set(c.zone.apex, zonefile.TypeSOA)
	if s == nil || soa == nil {
		return
	}
	d := soa.records[0].data
	serial := d[len(d)-20 : len(d)-16]
	for _, r := range s.records {
		scheme, algorithm := r.data[4], r.data[5]
		var sum hash.Hash
		switch algorithm {
		case 1:
			sum = sha512.New384()
		case 2:
			sum = sha512.New()
		}
		switch {
		case scheme != 1 || sum == nil:
			c.doubt(r.at, "RFC 8976 section 2.2", "ZONEMD: scheme %d with algorithm %d is unknown", scheme, algorithm)
		case r.data[:4] != serial:
			c.wrong(r.at, "RFC 8976 section 4", "ZONEMD: its serial %d is not the SOA's", binary.BigEndian.Uint32([]byte(r.data)))
		case len(r.data)-6 != sum.Size():
			c.wrong(r.at, "RFC 8976 section 2.2.4", "ZONEMD: a digest of %d octets, and its algorithm has %d", len(r.data)-6, sum.Size())
		case c.sum(sum) != r.data[6:]:
			c.wrong(r.at, "RFC 8976 section 4", "ZONEMD: the digest does not fit the zone")
		}
	}
}

// sum digests the zone in canonical order, without ZONEMD at the apex and its signature (RFC 8976
// section 3.3.1).
func (c *check) sum(h hash.Hash) string {
	for _, key := range c.zone.names() {
		n := c.zone.nodes[key]
		for _, t := range slices.Sorted(slices.Values(n.types)) {
			if key == c.zone.apex && t == zonefile.TypeZONEMD {
				continue
			}
			records := slices.Clone(n.sets[t].records)
			slices.SortFunc(records, func(a, b record) int { return strings.Compare(a.folded, b.folded) })
			for _, r := range records {
				if key == c.zone.apex && t == zonefile.TypeRRSIG && binary.BigEndian.Uint16([]byte(r.data)) == zonefile.TypeZONEMD {
					continue
				}
				fixed := binary.BigEndian.AppendUint16([]byte(key), t)
				fixed = binary.BigEndian.AppendUint16(fixed, zonefile.ClassIN)
				fixed = binary.BigEndian.AppendUint32(fixed, r.ttl)
				fixed = binary.BigEndian.AppendUint16(fixed, uint16(len(r.folded)))
				h.Write(append(fixed, r.folded...))
			}
		}
	}
	return string(h.Sum(nil))
}
