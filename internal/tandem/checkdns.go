package tandem

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Checks of what name servers share with one another: zone copies, keys, records, views, numbers.

// Kind returns KindTSIGKey.
func (*TSIGKey) Kind() Kind { return KindTSIGKey }

// Kind returns KindView.
func (*View) Kind() Kind { return KindView }

// Kind returns KindRecordSet.
func (*RecordSet) Kind() Kind { return KindRecordSet }

// Kind returns KindNumberRange.
func (*NumberRange) Kind() Kind { return KindNumberRange }

// Kind returns KindZoneKey.
func (*ZoneKey) Kind() Kind { return KindZoneKey }

// Owner returns the key's account, if it has one.
func (k *TSIGKey) Owner() string { return k.Account }

// Owner returns the account that the set belongs to, if any.
func (r *RecordSet) Owner() string { return r.Account }

// ModeOf returns z's mode, the default filled in.
func (z *Zone) ModeOf() ZoneMode {
	switch {
	case z.Mode != "":
		return z.Mode
	case z.Role == RolePlain, z.Role == RoleCatalog:
		return ModeTransferable
	}
	return ModeSteered
}

// checkSharing reports faults of transfers in and out. What is answered by health or client has no
// copy that would stay true, and so is never mixed with what secondaries hold.
func (z *Zone) checkSharing(e *FieldErrors) {
	mode := z.ModeOf()
	switch z.Mode {
	case "", ModeSteered, ModeTransferable:
	default:
		e.add("mode", "%q is not steered or transferable", z.Mode)
	}
	if z.Role == RoleService && mode == ModeTransferable {
		e.add("mode", "a service zone answers by health and is always steered")
	}
	if mode == ModeSteered && len(z.Secondaries) > 0 {
		e.add("secondaries", "need mode transferable: a steered zone is answered here only")
	}
	if mode == ModeSteered && z.Catalog != "" {
		e.add("catalog", "needs mode transferable: a steered zone has no secondaries")
	}
	if z.Catalog == z.ID {
		e.add("catalog", "is the zone itself")
	}
	for i, s := range z.Secondaries {
		s.check(e, fmt.Sprintf("secondaries[%d]", i))
	}
	if len(z.Primaries) > 0 {
		z.checkSecondary(e)
	}
	for i, p := range z.Primaries {
		field := fmt.Sprintf("primaries[%d]", i)
		checkServer(e, field+".address", p.Address)
		checkKeyName(e, field+".key", p.Key)
		if p.Name != "" && !isName(p.Name) {
			e.add(field+".name", "%q is not a domain name", p.Name)
		}
		if !p.TLS && (p.Name != "" || p.CA != "") {
			e.add(field+".tls", "is needed beside name and ca")
		}
	}
	switch z.Additional {
	case "", AdditionalChain, AdditionalAddresses, AdditionalNone:
	default:
		e.add("additional", "%q is not chain, addresses or none", z.Additional)
	}
}

// checkSecondary reports what a zone that is copied from elsewhere cannot have.
func (z *Zone) checkSecondary(e *FieldErrors) {
	const reason = "cannot be set beside primaries: the zone is what they say"
	if z.Role != RolePlain && z.Role != RoleCatalog {
		e.add("primaries", "are for zones with role plain or catalog")
	}
	if z.Records != "" {
		e.add("records", reason)
	}
	if len(z.NameServers) > 0 {
		e.add("nameServers", reason)
	}
	if len(z.Updates) > 0 {
		e.add("updates", reason)
	}
	if z.DNSSEC != nil {
		e.add("dnssec", reason)
	}
}

func (s Secondary) check(e *FieldErrors, field string) {
	checkNetworks(e, field+".networks", s.Networks)
	checkKeyName(e, field+".key", s.Key)
	if len(s.Networks) == 0 && s.Key == "" && len(s.Notify) == 0 {
		e.add(field, "names neither networks nor key: nobody could transfer")
	}
	for i, n := range s.Notify {
		checkServer(e, fmt.Sprintf("%s.notify[%d]", field, i), n)
	}
}

// checkSigning reports faults of DNSSEC settings.
func (z *Zone) checkSigning(e *FieldErrors) {
	d := z.DNSSEC
	if d == nil {
		return
	}
	switch d.Algorithm {
	case "", "ECDSAP256SHA256", "ED25519":
	default:
		e.add("dnssec.algorithm", "%q is not ECDSAP256SHA256 or ED25519", d.Algorithm)
	}
	if z.ModeOf() == ModeTransferable && (len(z.Secondaries) > 0 || z.Catalog != "") {
		e.add("dnssec", "cannot be set beside secondaries or catalog yet: zones that are given away are not signed; sign it where it is kept, or leave them out")
	}
	switch d.Denial {
	case "":
	case "nsec", "nsec3":
		e.add("dnssec.denial", "%s is not made yet: leave it out, or compact", d.Denial)
	case "compact":
	default:
		e.add("dnssec.denial", "%q is not compact, nsec or nsec3", d.Denial)
	}
	for field, days := range map[string]int{"dnssec.rollDays": d.RollDays, "dnssec.kskDays": d.KSKDays} {
		if days != 0 && (days < 7 || days > 3650) {
			e.add(field, "is %d: 7 to 3650 days, or 0", days)
		}
	}
	for i, a := range d.Parent {
		checkServer(e, fmt.Sprintf("dnssec.parent[%d]", i), a)
	}
}

func (u UpdateRule) check(e *FieldErrors, field string) {
	if u.Key == "" {
		e.add(field+".key", "is missing: the id of a TSIGKey")
	}
	checkKeyName(e, field+".key", u.Key)
	for i, n := range u.Names {
		if n != "@" && !isName(n) {
			e.add(fmt.Sprintf("%s.names[%d]", field, i), "%q is not @ or a name relative to the apex", n)
		}
	}
	for i, t := range u.Types {
		if !isTypeName(t) {
			e.add(fmt.Sprintf("%s.types[%d]", field, i), "%q is not a record type in capitals", t)
		}
	}
}

// checkServer refuses what is no address, with or without a port.
func checkServer(e *FieldErrors, field, text string) {
	if _, err := netip.ParseAddr(text); err == nil {
		return
	}
	if a, err := netip.ParseAddrPort(text); err != nil || a.Port() == 0 {
		e.add(field, "%q is not an address such as 192.0.2.1, 192.0.2.1:5300 or [2001:db8::1]:53", text)
	}
}

func checkKeyName(e *FieldErrors, field, name string) {
	if name != "" && !isName(name) {
		e.add(field, "%q is not a key's name", name)
	}
}

// isTypeName reports whether s has the form of a record type's mnemonic.
func isTypeName(s string) bool {
	return s != "" && len(s) <= 16 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// tsigAlgorithms lists what keys can be for (RFC 8945 section 6).
func tsigAlgorithms() []string {
	return []string{"hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"}
}

// Validate reports the faults of a key.
func (k *TSIGKey) Validate() error {
	var e FieldErrors
	if !isName(k.ID) {
		e.add("id", "%q is not a domain name in lower case without trailing dot", k.ID)
	}
	if k.Algorithm != "" && !slices.Contains(tsigAlgorithms(), k.Algorithm) {
		e.add("algorithm", "%q is not one of %s", k.Algorithm, strings.Join(tsigAlgorithms(), ", "))
	}
	if k.Secret != "" {
		if secret, err := base64.StdEncoding.DecodeString(k.Secret); err != nil || len(secret) < 8 || len(secret) > 256 {
			e.add("secret", "is not 8 to 256 octets in base64")
		}
	}
	return e.err()
}

// Validate reports the faults of a view.
func (v *View) Validate() error {
	var e FieldErrors
	checkID(&e, v.ID)
	checkNetworks(&e, "networks", v.Networks)
	for i, k := range v.Keys {
		checkKeyName(&e, fmt.Sprintf("keys[%d]", i), k)
	}
	if len(v.Networks) == 0 && len(v.Keys) == 0 {
		e.add("networks", "are missing, and keys too: nobody would be in the view")
	}
	return e.err()
}

// Refs of a view: its keys and zones.
func (v *View) Refs() []Ref {
	return appendRefs(appendRefs(nil, "keys", KindTSIGKey, v.Keys), "zones", KindZone, v.Zones)
}

// Claims of a view: its networks and keys, which put a client in one view only.
func (v *View) Claims() []Claim {
	var claims []Claim
	for i, n := range v.Networks {
		claims = append(claims, Claim{fmt.Sprintf("networks[%d]", i), "view-network", n.String(), false})
	}
	for i, k := range v.Keys {
		claims = append(claims, Claim{fmt.Sprintf("keys[%d]", i), "view-key", k, false})
	}
	return claims
}

// RecordSetID returns the id of the set of a type at a name, in a view or, with "", everybody's.
func RecordSetID(name, rrtype, view string) string {
	id := name + ":" + rrtype
	if view != "" {
		id += ":" + view
	}
	return id
}

// Validate reports the faults of a record set, as far as they show without reading its records.
func (r *RecordSet) Validate() error {
	var e FieldErrors
	if want := RecordSetID(r.Name, r.Type, r.View); r.ID != want {
		e.add("id", "%q must be %q: name, type and view", r.ID, want)
	}
	if !isName(r.Zone) {
		e.add("zone", "%q is not a zone's name", r.Zone)
	}
	if r.Name == "" || len(r.Name) > 1000 || r.Name != strings.ToLower(r.Name) || strings.HasSuffix(r.Name, ".") ||
		r.Name != r.Zone && !strings.HasSuffix(r.Name, "."+r.Zone) {
		e.add("name", "%q is not a name in lower case, without trailing dot, within zone %s", r.Name, r.Zone)
	}
	if apex := r.Name == r.Zone; apex && (r.Type == "DS" || r.Type == "NS" && len(r.Records) == 0) {
		e.add("type", "%s at the apex: a zone has name servers, and its DS stands in the zone above (RFC 1034 section 4.2.1, RFC 4035 section 2.4)", r.Type)
	}
	if !isTypeName(r.Type) {
		e.add("type", "%q is not a record type in capitals", r.Type)
	}
	if r.View != "" && !isLabel(r.View) {
		e.add("view", "%q is not the id of a View", r.View)
	}
	if r.TTL > 1<<31-1 {
		e.add("ttl", "is over 2147483647 seconds")
	}
	const most = 1000
	if len(r.Records) > most {
		e.add("records", "are more than %d", most)
	}
	return e.err()
}

// Refs of a record set: its zone, view and account.
func (r *RecordSet) Refs() []Ref {
	refs := []Ref{{"zone", KindZone, r.Zone}}
	if r.View != "" {
		refs = append(refs, Ref{"view", KindView, r.View})
	}
	if r.Account != "" {
		refs = append(refs, Ref{"account", KindAccount, r.Account})
	}
	return refs
}

// Validate reports the faults of a number range.
func (n *NumberRange) Validate() error {
	var e FieldErrors
	checkID(&e, n.ID)
	checkAccount(&e, n.Account)
	if !isNumber(n.Prefix) {
		e.add("prefix", "%q is not + and digits", n.Prefix)
	}
	digits := len(n.Prefix) - 1
	if n.Least != 0 && (n.Least < digits || n.Least > 15) {
		e.add("least", "is %d: from the prefix's %d digits to 15", n.Least, digits)
	}
	if n.Most != 0 && (n.Most < max(n.Least, digits) || n.Most > 15) {
		e.add("most", "is %d: from %d to 15", n.Most, max(n.Least, digits))
	}
	for i, s := range n.Service {
		field := fmt.Sprintf("services[%d]", i)
		if !strings.HasPrefix(strings.ToUpper(s.Service), "E2U+") || len(s.Service) > 255 {
			e.add(field+".service", "%q does not begin with E2U+ (RFC 6116 section 3.4.3)", s.Service)
		}
		if len(s.Regexp) < 4 || len(s.Regexp) > 255 || strings.Count(s.Regexp, s.Regexp[:1]) < 3 {
			e.add(field+".regexp", "%q is not a substitution such as !^(.*)$!sip:\\1@example.net! (RFC 3402 section 3.2)", s.Regexp)
		}
	}
	return e.err()
}

// Refs of a number range: its account.
func (n *NumberRange) Refs() []Ref { return []Ref{{"account", KindAccount, n.Account}} }

// Claims of a number range: its prefix.
func (n *NumberRange) Claims() []Claim { return []Claim{{"prefix", "enum-prefix", n.Prefix, false}} }

// Validate finds no fault: zone keys are made by the product, not by people.
func (*ZoneKey) Validate() error { return nil }
