package tandem

import (
	"fmt"
	"strings"
)

// Validate, Refs and Claims of each kind. A check that needs another object is the store's.

// Kind returns KindZone.
func (*Zone) Kind() Kind { return KindZone }

// Kind returns KindCluster.
func (*Cluster) Kind() Kind { return KindCluster }

// Kind returns KindNode.
func (*Node) Kind() Kind { return KindNode }

// Kind returns KindEdge.
func (*Edge) Kind() Kind { return KindEdge }

// Kind returns KindGroup.
func (*Group) Kind() Kind { return KindGroup }

// Kind returns KindAccount.
func (*Account) Kind() Kind { return KindAccount }

// Kind returns KindPeer.
func (*Peer) Kind() Kind { return KindPeer }

// Kind returns KindUser.
func (*User) Kind() Kind { return KindUser }

// Kind returns KindDevice.
func (*Device) Kind() Kind { return KindDevice }

// Kind returns KindPermit.
func (*Permit) Kind() Kind { return KindPermit }

// Kind returns KindKey.
func (*Key) Kind() Kind { return KindKey }

// Kind returns KindAssignment.
func (*Assignment) Kind() Kind { return KindAssignment }

// Kind returns KindLease.
func (*Lease) Kind() Kind { return KindLease }

// Owner returns the account itself.
func (a *Account) Owner() string { return a.ID }

// Owner returns the account of a trunk; other peers are global.
func (p *Peer) Owner() string { return p.Account }

// Owner returns the user's account.
func (u *User) Owner() string { return u.Account }

// Owner returns the device's account.
func (d *Device) Owner() string { return d.Account }

// Owner returns the account of the permit's device.
func (p *Permit) Owner() string { return p.Account }

// Validate reports the faults of a zone.
func (z *Zone) Validate() error {
	var e FieldErrors
	if !isName(z.ID) {
		e.add("id", "%q is not a domain name in lower case without trailing dot", z.ID)
	}
	switch z.Role {
	case RoleAccounts:
		if z.ServiceZone == "" {
			e.add("serviceZone", "is needed for a zone with role accounts")
		} else if z.ServiceZone == z.ID {
			e.add("serviceZone", "must be a zone of its own")
		}
	case RoleService, RolePlain, RoleENUM, RoleCatalog:
		if z.ServiceZone != "" {
			e.add("serviceZone", "is for zones with role accounts only")
		}
		if len(z.Edges) > 0 {
			e.add("edges", "is for zones with role accounts only")
		}
	default:
		e.add("role", "%q is not accounts, service, plain, enum or catalog", z.Role)
	}
	checkNetworks(&e, "networks", z.Networks)
	for i, ns := range z.NameServers {
		if !isName(ns.Name) {
			e.add(fmt.Sprintf("nameServers[%d].name", i), "%q is not a domain name", ns.Name)
		}
		inside := ns.Name == z.ID || strings.HasSuffix(ns.Name, "."+z.ID)
		if inside && len(ns.Addresses) == 0 {
			e.add(fmt.Sprintf("nameServers[%d].addresses", i), "are needed: %s lies inside the zone", ns.Name)
		}
	}
	if z.Hostmaster != "" && !isName(z.Hostmaster) {
		e.add("hostmaster", "%q is not a domain name", z.Hostmaster)
	}
	checkTTL(&e, z.TTL)
	z.checkSharing(&e)
	z.checkSigning(&e)
	for i, u := range z.Updates {
		u.check(&e, fmt.Sprintf("updates[%d]", i))
	}
	return e.err()
}

// Refs of a zone: its service zone, catalog and edges. The TSIGKeys it names are none, for a key may belong to
// an account of the zone; one that is missing opens nothing.
func (z *Zone) Refs() []Ref {
	var refs []Ref
	if z.ServiceZone != "" {
		refs = append(refs, Ref{"serviceZone", KindZone, z.ServiceZone})
	}
	if z.Catalog != "" {
		refs = append(refs, Ref{"catalog", KindZone, z.Catalog})
	}
	return appendRefs(refs, "edges", KindEdge, z.Edges)
}

// Claims of a zone: its apex, which hides an account's label of the same name.
func (z *Zone) Claims() []Claim { return []Claim{{"id", "label", z.ID, false}} }

// Validate reports the faults of a cluster.
func (c *Cluster) Validate() error {
	var e FieldErrors
	checkID(&e, c.ID)
	checkLimit(&e, "capacity", c.Capacity)
	c.Health.check(&e)
	return e.err()
}

// Validate reports the faults of a node.
func (n *Node) Validate() error {
	var e FieldErrors
	checkID(&e, n.ID)
	if n.Cluster == "" {
		e.add("cluster", "is missing: the id of a Cluster")
	}
	checkHost(&e, n.Addresses, n.Ports)
	for i, t := range n.Types {
		checkType(&e, fmt.Sprintf("types[%d]", i), t)
	}
	switch n.State {
	case "", NodeActive, NodeDraining, NodeOut:
	default:
		e.add("state", "%q is not active, draining or out", n.State)
	}
	n.Force.check(&e)
	return e.err()
}

// Refs of a node: its cluster.
func (n *Node) Refs() []Ref { return []Ref{{"cluster", KindCluster, n.Cluster}} }

// Validate reports the faults of an edge.
func (x *Edge) Validate() error {
	var e FieldErrors
	checkID(&e, x.ID)
	checkHost(&e, x.Addresses, x.Ports)
	return e.err()
}

// Validate reports the faults of a group.
func (g *Group) Validate() error {
	var e FieldErrors
	checkID(&e, g.ID)
	checkLimit(&e, "expected", g.Expected)
	checkLimit(&e, "permitted", g.Permitted)
	if g.MinQuality < 0 || g.MinQuality > 93 {
		e.add("minQuality", "is 0 to 93, on the scale of the R factor")
	}
	return e.err()
}

// Refs of a group: the cluster it is pinned to.
func (g *Group) Refs() []Ref {
	if g.Cluster == "" {
		return nil
	}
	return []Ref{{"cluster", KindCluster, g.Cluster}}
}

// Validate reports the faults of an account.
func (a *Account) Validate() error {
	var e FieldErrors
	checkID(&e, a.ID)
	if a.ID == "node" {
		e.add("id", "%q is kept for the service zone's own hosts", a.ID)
	}
	if !isName(a.Zone) {
		e.add("zone", "%q is not a zone's name", a.Zone)
	}
	if a.Group == "" {
		e.add("group", "is missing: the id of a Group")
	}
	a.checkLabels(&e)
	if strings.ContainsAny(a.Realm, "\"\\\r\n:") {
		e.add("realm", "%q may not hold quotes, backslashes, colons or line ends", a.Realm)
	}
	checkNumbers(&e, "numbers", a.Numbers)
	if a.TimeZone != "" && !isTimeZone(a.TimeZone) {
		e.add("timeZone", "%q is not an IANA time zone such as Europe/Paris", a.TimeZone)
	}
	a.checkRoutes(&e)
	switch a.Registrar {
	case "", RegistrarLocal, RegistrarRemote:
	default:
		e.add("registrar", "%q is not local or remote", a.Registrar)
	}
	for i, d := range a.Digest {
		if d.New() == nil {
			e.add(fmt.Sprintf("digest[%d]", i), "%q is not SHA-512-256, SHA-256 or MD5", d)
		}
	}
	checkTTL(&e, a.TTL)
	for i, n := range a.Emergency {
		if n.Dial == "" || strings.Trim(n.Dial, "0123456789") != "" {
			e.add(fmt.Sprintf("emergency[%d].dial", i), "%q is not a number of digits", n.Dial)
		}
		if !strings.HasPrefix(n.URI, "urn:service:sos") && !strings.HasPrefix(n.URI, "sip:") && !strings.HasPrefix(n.URI, "tel:") {
			e.add(fmt.Sprintf("emergency[%d].uri", i), "%q is not an urn:service:sos, sip or tel URI", n.URI)
		}
	}
	return e.err()
}

func (a *Account) checkLabels(e *FieldErrors) {
	current := 0
	seen := make(map[string]bool, len(a.Labels))
	for i, l := range a.Labels {
		field := fmt.Sprintf("labels[%d]", i)
		if !isLabel(l.Label) {
			e.add(field+".label", "%q is not one DNS label in lower case (a-z, 0-9, hyphen inside, at most 63)", l.Label)
		}
		if l.Label == "edge" || l.Label == "ns" {
			e.add(field+".label", "%q is kept for the zone's own hosts", l.Label)
		}
		if seen[l.Label] {
			e.add(field+".label", "%q stands twice", l.Label)
		}
		seen[l.Label] = true
		switch l.Role {
		case LabelCurrent:
			current++
		case "", LabelVanity, LabelTripwire, LabelRetired:
		default:
			e.add(field+".role", "%q is not current, vanity, tripwire or retired", l.Role)
		}
	}
	if current > 1 {
		e.add("labels", "only one label may be current")
	}
}

func (a *Account) checkRoutes(e *FieldErrors) {
	for t, names := range a.Routes {
		field := fmt.Sprintf("routes.%s", t)
		checkType(e, field, t)
		for i, n := range names {
			if !isName(n) {
				e.add(fmt.Sprintf("%s[%d]", field, i), "%q is not a target key or a forwarding name", n)
			}
		}
	}
	for k, t := range a.Targets {
		field := "targets." + k
		if !isLabel(k) {
			e.add(field, "the key is not one DNS label in lower case")
		}
		if (t.Cluster == "") == (len(t.Nodes) == 0) {
			e.add(field, "needs either a cluster or nodes")
		}
	}
	for i, r := range a.Rules {
		field := fmt.Sprintf("rules[%d]", i)
		if r.Method == "" && r.Event == "" && r.User == "" {
			e.add(field, "matches everything: set method, event or user")
		}
		checkType(e, field+".type", r.Type)
		if r.Type == TypeEmergency {
			e.add(field+".type", "emergency calls are found by the emergency list only")
		}
	}
}

// Refs of an account: its zone, group, edges, and what its targets name.
func (a *Account) Refs() []Ref {
	refs := []Ref{{"zone", KindZone, a.Zone}, {"group", KindGroup, a.Group}}
	refs = appendRefs(refs, "edges", KindEdge, a.Edges)
	for k, t := range a.Targets {
		if t.Cluster != "" {
			refs = append(refs, Ref{"targets." + k + ".cluster", KindCluster, t.Cluster})
		}
		refs = appendRefs(refs, "targets."+k+".nodes", KindNode, t.Nodes)
	}
	return refs
}

// Claims of an account: its labels for ever, its numbers and its realm.
func (a *Account) Claims() []Claim {
	claims := make([]Claim, 0, len(a.Labels)+len(a.Numbers))
	for i, l := range a.Labels {
		claims = append(claims, Claim{fmt.Sprintf("labels[%d].label", i), "label", l.Label + "." + a.Zone, true})
	}
	for i, n := range a.Numbers {
		claims = append(claims, Claim{fmt.Sprintf("numbers[%d]", i), "number", n, false})
	}
	return claims
}

// Validate reports the faults of a peer.
func (p *Peer) Validate() error {
	var e FieldErrors
	checkID(&e, p.ID)
	switch p.Role {
	case PeerCore, PeerCarrier:
		if p.Account != "" {
			e.add("account", "is for peers with role trunk only")
		}
	case PeerTrunk:
		if p.Account == "" {
			e.add("account", "is needed for a peer with role trunk")
		}
	default:
		e.add("role", "%q is not core, carrier or trunk", p.Role)
	}
	if len(p.Networks) == 0 {
		e.add("networks", "are missing: the peer is known by where its requests come from")
	}
	checkNetworks(&e, "networks", p.Networks)
	for i, n := range p.Networks {
		if n.IsValid() && n.Bits() == 0 {
			e.add(fmt.Sprintf("networks[%d]", i), "%s would make everybody this peer", n)
		}
	}
	if p.Listener == "" {
		e.add("listener", "is missing: the name of the SIP listener on which the peer is believed")
	}
	for i, n := range p.Numbers {
		if !isNumber(n.Prefix) {
			e.add(fmt.Sprintf("numbers[%d].prefix", i), "%q is not + and digits", n.Prefix)
		}
	}
	return e.err()
}

// Refs of a peer: its account and those of its number rules.
func (p *Peer) Refs() []Ref {
	var refs []Ref
	if p.Account != "" {
		refs = append(refs, Ref{"account", KindAccount, p.Account})
	}
	for i, n := range p.Numbers {
		refs = append(refs, Ref{fmt.Sprintf("numbers[%d].account", i), KindAccount, n.Account})
	}
	return refs
}

// Validate reports the faults of a user.
func (u *User) Validate() error {
	var e FieldErrors
	checkID(&e, u.ID)
	checkAccount(&e, u.Account)
	if u.Extension != "" && !isUserPart(u.Extension) {
		e.add("extension", "%q is not letters, digits and - _ . * +", u.Extension)
	}
	checkNumbers(&e, "numbers", u.Numbers)
	return e.err()
}

// Refs of a user: its account.
func (u *User) Refs() []Ref { return []Ref{{"account", KindAccount, u.Account}} }

// Claims of a user: its extension within the account, in one space with devices' user names, and
// its numbers.
func (u *User) Claims() []Claim {
	var claims []Claim
	if u.Extension != "" {
		claims = append(claims, Claim{"extension", "aor", u.Account + "/" + u.Extension, false})
	}
	for i, n := range u.Numbers {
		claims = append(claims, Claim{fmt.Sprintf("numbers[%d]", i), "user-number", n, false})
	}
	return claims
}

// Validate reports the faults of a device.
func (d *Device) Validate() error {
	var e FieldErrors
	checkID(&e, d.ID)
	checkAccount(&e, d.Account)
	if !isUserPart(d.Username) {
		e.add("username", "%q is not letters, digits and - _ . * +", d.Username)
	}
	if d.MAC != "" && (len(d.MAC) != 12 || strings.Trim(d.MAC, "0123456789abcdef") != "") {
		e.add("mac", "%q is not twelve lower-case hex digits", d.MAC)
	}
	if d.Secret != "" && d.HA1 != (HA1{}) {
		e.add("ha1", "cannot be given together with secret")
	}
	if len(d.Secret) > 128 || strings.ContainsAny(d.Secret, "\r\n\x00") {
		e.add("secret", "may have at most 128 octets and no line ends")
	}
	checkHex(&e, "ha1.sha512-256", d.HA1.SHA512_256, 64)
	checkHex(&e, "ha1.sha256", d.HA1.SHA256, 64)
	checkHex(&e, "ha1.md5", d.HA1.MD5, 32)
	return e.err()
}

// Refs of a device: its account and user.
func (d *Device) Refs() []Ref {
	refs := []Ref{{"account", KindAccount, d.Account}}
	if d.User != "" {
		refs = append(refs, Ref{"user", KindUser, d.User})
	}
	return refs
}

// Claims of a device: its user name within the account, and its MAC.
func (d *Device) Claims() []Claim {
	claims := []Claim{{"username", "aor", d.Account + "/" + d.Username, false}}
	if d.MAC != "" {
		claims = append(claims, Claim{"mac", "mac", d.MAC, false})
	}
	return claims
}

// Validate finds no fault: permits are made by the product, not by people.
func (p *Permit) Validate() error { return nil }

// Validate finds no fault: assignments are made by tier 1, not by people.
func (*Assignment) Validate() error { return nil }

// Validate finds no fault: leases are made by the product, not by people.
func (*Lease) Validate() error { return nil }

// Validate finds no fault: keys are made by the product, not by people.
func (*Key) Validate() error { return nil }
