package dnsd

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	dynamic "tandem/dnsd/update"
	"tandem/internal/tandem"
)

// updatedZone is a zone as an update reads it: what everybody is answered.
type updatedZone struct {
	*writer
	walk
	key *signer
}

// Apex returns the zone's name.
func (u *updatedZone) Apex() string { return u.zone.apex }

// Holds reports whether name lies in the zone and in none below it.
func (u *updatedZone) Holds(name string) bool {
	return within(name, u.zone.apex) && u.m.zoneOf(name) == u.zone
}

// Sets returns the sets at name, the SOA with its present serial.
func (u *updatedZone) Sets(name string) [][]dns.RR {
	n, _ := u.at(name)
	if n == nil {
		return nil
	}
	var sets [][]dns.RR
	for _, set := range n.sets {
		if soa, ok := set[0].(*dns.SOA); ok {
			set = rrset{u.zone.soaRecord(soa.Hdr.Ttl, u.m.serialOf(u.zone))}
		}
		sets = append(sets, set)
	}
	return sets
}

// Fixed reports whether a set is composed, or can be no RecordSet.
func (u *updatedZone) Fixed(name string, rrtype uint16) bool {
	if isSigning(rrtype) {
		return true
	}
	c := u.m.composed(u.zone, name)
	return c != nil && c.node != nil && (c.node.set(rrtype) != nil || heldByComposition(name, rrtype))
}

// May reports whether one of the zone's rules lets the key change a type at name. TypeANY asks for
// the name alone.
func (u *updatedZone) May(name string, rrtype uint16) bool {
	if u.key.account != "" && !u.isOwn(name) {
		return false
	}
	return slices.ContainsFunc(u.zone.updates, func(r tandem.UpdateRule) bool {
		return strings.EqualFold(r.Key, u.key.id) && u.covers(r, name) && (rrtype == dns.TypeANY || coversType(r, rrtype))
	})
}

// isOwn reports whether name lies at or below a label of the key's account.
func (u *updatedZone) isOwn(name string) bool {
	_, top := split(name, u.zone.apex)
	return u.zone.role == tandem.RoleAccounts && top != "" && u.m.holdsLabel(u.zone.number, top, u.key.account)
}

// covers reports whether a rule is about name.
func (u *updatedZone) covers(r tandem.UpdateRule, name string) bool {
	if len(r.Names) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Names, func(n string) bool {
		if n == "@" {
			return true // the apex, and all that is below it
		}
		key, err := wireKey(n + "." + u.zone.name)
		return err == nil && within(name, key)
	})
}

func coversType(r tandem.UpdateRule, rrtype uint16) bool {
	if len(r.Types) == 0 {
		return rrtype != dns.TypeSOA && rrtype != dns.TypeNS && rrtype != dns.TypeDS
	}
	return slices.Contains(r.Types, typeText(rrtype))
}

// isUpdatedBy reports whether a rule of z names k.
func (z *zone) isUpdatedBy(k *signer) bool {
	return k != nil && slices.ContainsFunc(z.updates, func(r tandem.UpdateRule) bool { return strings.EqualFold(r.Key, k.id) })
}

// edit returns the edit that makes set what the zone holds, false when it does so already.
func (u *updatedZone) edit(set dynamic.Set) (tandem.Edit, bool) {
	name := strings.TrimSuffix(present(set.Name), ".")
	r := &tandem.RecordSet{
		Head: tandem.Head{ID: tandem.RecordSetID(name, typeText(set.Type), "")},
		Zone: u.zone.id, Name: name, Type: typeText(set.Type), Account: u.key.account,
		TTL: max(set.TTL, 1), // 0 means the default in a RecordSet
	}
	e := tandem.Edit{Kind: tandem.KindRecordSet, ID: r.ID, Create: true}
	old := u.setOf[r.ID]
	if old != nil {
		r.Account, e.Create, e.Expected = old.object.Account, false, old.revision
	}
	for _, rr := range set.Records {
		r.Records = append(r.Records, recordData(rr))
	}
	if len(r.Records) == 0 && !u.isText(set.Name, set.Type) {
		return e, old != nil // nothing below it: no set is needed to say so
	}
	if len(r.Records) == 0 {
		r.TTL = 0
	}
	e.Object = r
	return e, true
}

// isText reports whether zone text holds a set that is served unless a RecordSet stands in its place.
func (u *updatedZone) isText(name string, rrtype uint16) bool {
	n := u.zone.tree[name]
	return n != nil && n.set(rrtype) != nil && u.m.composed(u.zone, name) == nil
}
