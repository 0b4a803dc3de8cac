package sign

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// KeyTTL is the TTL of DNSKEY, CDS and CDNSKEY sets, in seconds.
const KeyTTL = 3600

// Opener opens sealed private keys; the store is one.
type Opener interface {
	Unseal(sealed []byte, context string) ([]byte, error)
}

// Ring is the keys of one zone as they stand: which are published, which sign, which the parent is
// asked for. It says what the keys' objects say and knows no clock. It is immutable.
type Ring struct {
	Apex string // wire form, lower case
	Name string // text form

	all       []*tandem.ZoneKey
	published []*Key
	zone      []*Key // sign what holds no keys
	keys      []*Key // sign what holds keys
	parent    []*Key // CDS and CDNSKEY name them
	Unsigning bool   // CDS and CDNSKEY ask the parent to take its DS away (RFC 8078 section 4)
}

// Published reports whether x stands in the DNSKEY set.
func Published(x *tandem.ZoneKey) bool { return !x.Published.IsZero() && x.Removed.IsZero() }

// Signing reports whether signatures are made with x.
func Signing(x *tandem.ZoneKey) bool { return !x.Active.IsZero() && x.Retired.IsZero() }

// NewRing returns the ring of a zone's keys. The errors of those that cannot be opened are returned with
// the ring of the others; nil when no key signs the zone, which then is unsigned.
func NewRing(apex string, objects []*tandem.ZoneKey, open Opener) (*Ring, error) {
	name, _, err := dns.UnpackDomainName([]byte(apex), 0)
	if err != nil {
		return nil, err
	}
	r := &Ring{Apex: apex, Name: name, all: slices.Clone(objects)}
	slices.SortFunc(r.all, func(a, b *tandem.ZoneKey) int { return a.Number - b.Number })
	var errs []error
	for _, x := range r.all {
		private, err := open.Unseal(x.Sealed, x.SealContext())
		var k *Key
		if err == nil {
			k, err = NewKey(x, private, apex, KeyTTL)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("zone key %s: %w", x.ID, err))
			continue
		}
		r.add(k)
	}
	if len(r.zone) == 0 || len(r.keys) == 0 {
		return nil, errors.Join(errs...)
	}
	return r, errors.Join(errs...)
}

func (r *Ring) add(k *Key) {
	x := k.Object
	if Published(x) {
		r.published = append(r.published, k)
	}
	if Signing(x) && x.Signs != SignsKeys {
		r.zone = append(r.zone, k)
	}
	if Signing(x) && x.Signs != SignsZone && Published(x) {
		r.keys = append(r.keys, k)
	}
	if x.Signs != SignsZone && !x.Submitted.IsZero() && x.Withdrawn.IsZero() {
		r.parent = append(r.parent, k)
	}
	r.Unsigning = r.Unsigning || x.Unsigning
}

// For returns the keys that sign sets of a type.
func (r *Ring) For(rrtype uint16) []*Key {
	switch rrtype {
	case dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY:
		return r.keys
	}
	return r.zone
}

// Objects returns the keys' objects by number. They must not be changed.
func (r *Ring) Objects() []*tandem.ZoneKey { return r.all }

// Sets returns the sets that the apex has for its keys: DNSKEY, and CDS and CDNSKEY when the parent is
// asked for something (RFC 7344 section 4, RFC 8078 section 4).
func (r *Ring) Sets() [][]dns.RR {
	var keys, cds, cdnskey []dns.RR
	for _, k := range r.published {
		keys = append(keys, dns.Copy(k.DNSKEY))
	}
	sets := [][]dns.RR{keys}
	for _, k := range r.parent {
		cds = append(cds, k.DNSKEY.ToDS(dns.SHA256).ToCDS())
		cdnskey = append(cdnskey, k.DNSKEY.ToCDNSKEY())
	}
	if r.Unsigning {
		hdr := dns.RR_Header{Name: r.Name, Class: dns.ClassINET, Ttl: KeyTTL}
		cds = []dns.RR{&dns.CDS{DS: dns.DS{Hdr: hdr, Digest: "00"}}}
		cdnskey = []dns.RR{&dns.CDNSKEY{DNSKEY: dns.DNSKEY{Hdr: hdr, Protocol: 3, PublicKey: "AA=="}}}
		cds[0].Header().Rrtype, cdnskey[0].Header().Rrtype = dns.TypeCDS, dns.TypeCDNSKEY
	}
	if len(cds) > 0 {
		sets = append(sets, cds, cdnskey)
	}
	return sets
}

// DS returns the DS set that the parent is asked for, empty when it is asked for none.
func (r *Ring) DS(ttl uint32) []dns.RR {
	var set []dns.RR
	if r.Unsigning {
		return nil
	}
	for _, k := range r.parent {
		ds := k.DNSKEY.ToDS(dns.SHA256)
		ds.Hdr.Ttl = ttl
		set = append(set, ds)
	}
	return set
}

// PublicOf returns the DNSKEY record of a key at a zone given in text form.
func PublicOf(zone string, x *tandem.ZoneKey) *dns.DNSKEY {
	return &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: dns.Fqdn(zone), Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: KeyTTL},
		Flags: x.Flags, Protocol: 3, Algorithm: x.Algorithm, PublicKey: base64.StdEncoding.EncodeToString(x.Public),
	}
}

// Wanted returns the DS records that the parent should have now for a zone with these keys.
func Wanted(zone string, keys []*tandem.ZoneKey) []*dns.DS {
	var set []*dns.DS
	for _, k := range keys {
		if isSEP(k) && !k.Submitted.IsZero() && k.Withdrawn.IsZero() && !k.Unsigning {
			set = append(set, PublicOf(zone, k).ToDS(dns.SHA256))
		}
	}
	return set
}
