package dnsd

import (
	"context"
	"fmt"

	"github.com/miekg/dns"

	"tandem/dnsd/sign"
	"tandem/internal/tandem"
)

// Signing returns how the signing of a zone stands. The error wraps tandem.ErrNotFound for a zone that
// is not ours.
func (s *Server) Signing(zone string) (tandem.ZoneSigning, error) {
	c, _, err := s.chargeOf(zone)
	if err != nil {
		return tandem.ZoneSigning{}, err
	}
	step := sign.Next(s.deps.Now(), c.setting, c.keys)
	out := tandem.ZoneSigning{Zone: c.id, Wanted: c.setting.Signed, Keys: []tandem.KeyStatus{}, DS: []string{}, Waits: step.Why, Next: step.Next.UTC()}
	if step.Next.IsZero() {
		out.Next = step.Next
	}
	if step.Ask && len(c.parent) == 0 && c.above == nil {
		out.Waits += ", and for tandem dnssec ds-seen " + c.id
	}
	for _, k := range c.keys {
		status := k.Status()
		status.Tag, status.Algorithm = sign.PublicOf(c.id, k).KeyTag(), dns.AlgorithmToString[k.Algorithm]
		out.Keys = append(out.Keys, status)
	}
	for _, ds := range sign.Wanted(c.id, c.keys) {
		out.DS = append(out.DS, ds.String())
	}
	return out, nil
}

func (s *Server) chargeOf(zone string) (charge, uint32, error) {
	key, err := wireKey(zone)
	if err != nil {
		return charge{}, 0, fmt.Errorf("zone %s: %w", zone, tandem.ErrNotFound)
	}
	z := s.model.zoneOf(key)
	if z == nil || z.apex != key {
		return charge{}, 0, fmt.Errorf("zone %s: %w", zone, tandem.ErrNotFound)
	}
	return s.charge(z.number), z.number, nil
}

// MoveKeys does an act about a zone's keys, and returns the revision from which on it is known. What
// it sets in motion goes on by itself. A tandem.FieldError says why it cannot be done now.
func (s *Server) MoveKeys(ctx context.Context, by tandem.Principal, zone string, act tandem.KeyAct) (tandem.Revision, error) {
	c, _, err := s.chargeOf(zone)
	if err != nil {
		return 0, err
	}
	if s.deps.Store == nil {
		return 0, tandem.FieldError{Field: "act", Reason: "needs a store"}
	}
	if len(c.keys) == 0 {
		return 0, tandem.FieldError{Field: "act", Reason: fmt.Sprintf("%s: the zone has no keys", act)}
	}
	var edits []tandem.Edit
	switch act {
	case tandem.RollKeys, tandem.RollKSK, tandem.RollZSK:
		edits = changesOf(c.keys, rolling(c.keys, act))
	case tandem.DSSeen:
		edits = changesOf(c.keys, sign.Observed(s.deps.Now(), c.keys, func(k *tandem.ZoneKey) bool { return k.Withdrawn.IsZero() }))
	case tandem.Unsign:
		if c.setting.Signed {
			return 0, tandem.FieldError{Field: "act", Reason: "unsign: the zone's dnssec settings want it signed; take them out first"}
		}
		edits = s.dropped(c)
	default:
		return 0, tandem.FieldError{Field: "act", Reason: fmt.Sprintf("%q is not roll, roll-ksk, roll-zsk, ds-seen or unsign", act)}
	}
	if len(edits) == 0 {
		return 0, tandem.FieldError{Field: "act", Reason: fmt.Sprintf("%s: no key is waiting for that", act)}
	}
	return s.deps.Store.Append(ctx, by, edits)
}

// rolling returns the youngest keys that act is for, marked to get a successor.
func rolling(keys []*tandem.ZoneKey, act tandem.KeyAct) []*tandem.ZoneKey {
	youngest := map[bool]*tandem.ZoneKey{} // by whether it is a ZSK
	for _, k := range keys {
		youngest[k.Signs == sign.SignsZone] = k
	}
	var changed []*tandem.ZoneKey
	for zsk, k := range youngest {
		if k.Rolling || zsk && act == tandem.RollKSK || !zsk && act == tandem.RollZSK {
			continue
		}
		next := *k
		next.Rolling = true
		changed = append(changed, &next)
	}
	return changed
}
