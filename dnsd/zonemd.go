package dnsd

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// verifyDigest checks a zone's ZONEMD records (RFC 8976 section 4). A zone without any, or with schemes and
// hashes that are not known alone, is taken as it is; one match is enough.
func verifyDigest(apex string, c *content) error {
	set := c.tree[apex].set(dns.TypeZONEMD)
	tried := false
	for _, rr := range set {
		md := rr.(*dns.ZONEMD)
		var sum hash.Hash
		switch md.Hash {
		case dns.ZoneMDHashAlgSHA384:
			sum = sha512.New384()
		case dns.ZoneMDHashAlgSHA512:
			sum = sha512.New()
		}
		if md.Scheme != dns.ZoneMDSchemeSimple || sum == nil {
			continue
		}
		tried = true
		if md.Serial == c.soa.Serial {
			digest(apex, c.tree, sum)
			if strings.EqualFold(hex.EncodeToString(sum.Sum(nil)), md.Digest) {
				return nil
			}
		}
	}
	if tried {
		return fmt.Errorf("%w: its digest (ZONEMD) is another one", errContent)
	}
	return nil
}

// digest takes in all records in canonical order and form, but for the digest itself (RFC 8976 section
// 3.3.1).
func digest(apex string, t tree, sum hash.Hash) {
	z := &zone{tree: t}
	for _, key := range z.ordered() {
		var records []canonicalRecord
		for _, set := range t[key].sets {
			for _, rr := range set {
				if sig, ok := rr.(*dns.RRSIG); key == apex && (rr.Header().Rrtype == dns.TypeZONEMD || ok && sig.TypeCovered == dns.TypeZONEMD) {
					continue
				}
				records = append(records, canonicalForm(rr))
			}
		}
		slices.SortFunc(records, func(a, b canonicalRecord) int {
			if a.rrtype != b.rrtype {
				return int(a.rrtype) - int(b.rrtype)
			}
			return bytes.Compare(a.data(), b.data())
		})
		for i, r := range records {
			if i == 0 || !bytes.Equal(r.wire, records[i-1].wire) {
				sum.Write(r.wire)
			}
		}
	}
}

// canonicalRecord is a record in canonical form (RFC 4034 section 6.2).
type canonicalRecord struct {
	rrtype uint16
	wire   []byte
	at     int // where its data begins
}

func (r canonicalRecord) data() []byte { return r.wire[r.at:] }

func canonicalForm(rr dns.RR) canonicalRecord {
	rr = dns.Copy(rr)
	h := rr.Header()
	h.Name = dns.CanonicalName(h.Name)
	switch rr := rr.(type) { // the types whose names are put in lower case (RFC 4034 section 6.2, RFC 6840 section 5.1)
	case *dns.NS:
		rr.Ns = dns.CanonicalName(rr.Ns)
	case *dns.CNAME:
		rr.Target = dns.CanonicalName(rr.Target)
	case *dns.DNAME:
		rr.Target = dns.CanonicalName(rr.Target)
	case *dns.PTR:
		rr.Ptr = dns.CanonicalName(rr.Ptr)
	case *dns.MX:
		rr.Mx = dns.CanonicalName(rr.Mx)
	case *dns.SRV:
		rr.Target = dns.CanonicalName(rr.Target)
	case *dns.KX:
		rr.Exchanger = dns.CanonicalName(rr.Exchanger)
	case *dns.AFSDB:
		rr.Hostname = dns.CanonicalName(rr.Hostname)
	case *dns.RT:
		rr.Host = dns.CanonicalName(rr.Host)
	case *dns.NAPTR:
		rr.Replacement = dns.CanonicalName(rr.Replacement)
	case *dns.RP:
		rr.Mbox, rr.Txt = dns.CanonicalName(rr.Mbox), dns.CanonicalName(rr.Txt)
	case *dns.PX:
		rr.Map822, rr.Mapx400 = dns.CanonicalName(rr.Map822), dns.CanonicalName(rr.Mapx400)
	case *dns.SOA:
		rr.Ns, rr.Mbox = dns.CanonicalName(rr.Ns), dns.CanonicalName(rr.Mbox)
	case *dns.RRSIG:
		rr.SignerName = dns.CanonicalName(rr.SignerName)
	}
	buf := make([]byte, dns.Len(rr)+1)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		n = 0
	}
	_, at, _ := dns.UnpackDomainName(buf[:n], 0)
	return canonicalRecord{h.Rrtype, buf[:n], min(at+10, n)}
}
