package sign

import (
	"slices"
	"time"

	"tandem/internal/tandem"
)

// Zone is what the keys of a zone depend on beside themselves. Durations are never negative.
type Zone struct {
	Signed    bool  // it is to be signed
	Algorithm uint8 // that it is to have
	Split     bool  // two keys, KSK and ZSK
	Roll      time.Duration
	RollKSK   time.Duration // 0: never by itself; Roll without Split is for the only key
	LongestTTL,
	DSTTL time.Duration
	// Spread is how long it takes until every server of a zone, or of its parent, answers alike.
	Spread time.Duration
}

// Fresh is a key to be made: an object without number, id, public and sealed key.
type Fresh = tandem.ZoneKey

// Step is what is to be done about a zone's keys now.
type Step struct {
	Change []*tandem.ZoneKey // changed copies
	Make   []*Fresh
	Delete []string  // ids
	Next   time.Time // when to look again; zero: only after a change
	Ask    bool      // the parent's DS set decides what comes next
	Why    string    // what the zone waits for, for people
}

// planner is one decision in the making.
type planner struct {
	Step
	now  time.Time
	zone Zone
	keys []*tandem.ZoneKey // by number
}

// Next decides what is to be done now about a zone's keys: a pure function. What it returns is done
// whole or not at all; then it is asked again. Doing it in time is never needed for the zone to stay
// valid: every wait is a least one (RFC 6781 section 4.1, RFC 7583).
//
//   - The first key signs at once; the parent is asked for a DS when no cache holds anything unsigned.
//   - ZSK: published before it signs (pre-publication).
//   - KSK and the only key: old and new sign together until the parent has changed its DS (double
//     signature). Also between one key and two.
//   - Another algorithm: signatures come before their key and leave after it, so that no cache ever
//     holds a key without its signatures (RFC 6781 section 4.1.4, the conservative way).
//   - No signing any more: the parent is asked to take its DS away; the keys go when no cache holds it.
func Next(now time.Time, zone Zone, keys []*tandem.ZoneKey) Step {
	p := planner{now: now, zone: zone, keys: slices.Clone(keys)}
	slices.SortFunc(p.keys, func(a, b *tandem.ZoneKey) int { return a.Number - b.Number })
	switch {
	case p.early():
	case len(keys) == 0 && !zone.Signed:
	case len(keys) == 0:
		p.generation(func(k *Fresh) { k.Published, k.Active = now, now })
	case !zone.Signed:
		p.unsign()
	case p.resume():
	case p.sweep():
	default:
		p.rollSEP()
		p.rollZSK()
		p.begin()
	}
	return p.Step
}

// early reports whether the clock is behind what the keys say has happened: then it is the clock that is
// wrong.
func (p *planner) early() bool {
	var latest time.Time
	for _, k := range p.keys {
		for _, t := range []time.Time{k.Created, k.Published, k.Active, k.Submitted, k.Seen, k.Withdrawn, k.Gone, k.Retired, k.Removed} {
			if t.After(latest) {
				latest = t
			}
		}
	}
	if !latest.After(p.now) {
		return false
	}
	p.Why = "the clock is behind the keys' last change"
	p.at(latest)
	return true
}

// at asks to be asked again at t.
func (p *planner) at(t time.Time) {
	if p.Next.IsZero() || t.Before(p.Next) {
		p.Next = t
	}
}

// due reports whether t has come, and if not asks to be asked again then.
func (p *planner) due(t time.Time, why string) bool {
	if !t.After(p.now) {
		return true
	}
	p.Why = why
	p.at(t)
	return false
}

// change notes that k is to be changed by f.
func (p *planner) change(k *tandem.ZoneKey, f func(*tandem.ZoneKey)) {
	for _, c := range p.Change {
		if c.ID == k.ID {
			f(c)
			return
		}
	}
	c := *k
	f(&c)
	p.Change = append(p.Change, &c)
}

// generation makes the keys that the zone's settings want, dated by date.
func (p *planner) generation(date func(*Fresh)) {
	roles := []string{SignsBoth}
	if p.zone.Split {
		roles = []string{SignsKeys, SignsZone}
	}
	for _, role := range roles {
		p.fresh(role, date)
	}
}

func (p *planner) fresh(role string, date func(*Fresh)) {
	k := &Fresh{Signs: role, Flags: FlagsSEP, Algorithm: p.zone.Algorithm, Created: p.now}
	if role == SignsZone {
		k.Flags = FlagsZone
	}
	date(k)
	p.Make = append(p.Make, k)
}

func isSEP(k *tandem.ZoneKey) bool { return k.Signs != SignsZone }

// newest returns the youngest key that is SEP or not, and those before it.
func (p *planner) newest(sep bool) (youngest *tandem.ZoneKey, older []*tandem.ZoneKey) {
	for _, k := range p.keys {
		if isSEP(k) != sep {
			continue
		}
		if youngest != nil {
			older = append(older, youngest)
		}
		youngest = k
	}
	return youngest, older
}

// sweep deletes keys whose life is over, and reports whether there were any.
func (p *planner) sweep() bool {
	for _, k := range p.keys {
		if !k.Retired.IsZero() && !k.Removed.IsZero() {
			p.Delete = append(p.Delete, k.ID)
		}
	}
	return len(p.Delete) > 0
}

// resume takes back that the zone is to become unsigned, and reports whether it was.
func (p *planner) resume() bool {
	for _, k := range p.keys {
		if k.Unsigning {
			p.change(k, func(c *tandem.ZoneKey) { c.Unsigning = false })
		}
	}
	if len(p.Change) == 0 {
		return false
	}
	if sep, _ := p.newest(true); sep != nil {
		p.change(sep, func(c *tandem.ZoneKey) {
			c.Submitted, c.Seen, c.Withdrawn, c.Gone = p.now, time.Time{}, time.Time{}, time.Time{}
		})
	}
	return true
}

// unsign has the parent's DS taken away, and then every key.
func (p *planner) unsign() {
	var last time.Time
	waiting := false
	for _, k := range p.keys {
		switch {
		case !isSEP(k) || k.Submitted.IsZero():
		case !k.Unsigning:
			p.change(k, func(c *tandem.ZoneKey) {
				c.Unsigning = true
				if c.Withdrawn.IsZero() {
					c.Withdrawn = p.now
				}
			})
		case k.Gone.IsZero():
			waiting = true
		case k.Gone.After(last):
			last = k.Gone
		}
	}
	if len(p.Change) > 0 {
		return
	}
	if waiting {
		p.Ask, p.Why = true, "the parent to take its DS away"
		return
	}
	if !last.IsZero() && !p.due(last.Add(p.zone.DSTTL+p.zone.Spread), "caches to forget the DS") {
		return
	}
	for _, k := range p.keys {
		p.Delete = append(p.Delete, k.ID)
	}
}

// rollSEP moves the youngest key that a DS points to on, and the ones before it out.
func (p *planner) rollSEP() {
	sep, older := p.newest(true)
	if sep == nil {
		return
	}
	z := &p.zone
	switch {
	case sep.Published.IsZero():
		if p.due(sep.Active.Add(z.LongestTTL+z.Spread), "caches to forget sets without the new algorithm's signatures") {
			for _, k := range p.keys {
				if k.Published.IsZero() && k.Algorithm == sep.Algorithm {
					p.change(k, func(c *tandem.ZoneKey) { c.Published = p.now })
				}
			}
		}
		return
	case sep.Submitted.IsZero():
		if p.due(later(sep.Published.Add(KeyTTL*time.Second), sep.Active.Add(z.LongestTTL)).Add(z.Spread), "caches to learn the new key") {
			p.submit(sep, older)
		}
		return
	case sep.Seen.IsZero():
		p.Ask, p.Why = true, "the parent to have the new key's DS"
	}
	for _, k := range older {
		p.retire(k, sep)
	}
}

// submit asks the parent for sep's DS in place of those before it.
func (p *planner) submit(sep *tandem.ZoneKey, older []*tandem.ZoneKey) {
	p.change(sep, func(c *tandem.ZoneKey) { c.Submitted = p.now })
	for _, k := range older {
		p.change(k, func(c *tandem.ZoneKey) {
			c.Withdrawn = p.now
			if c.Submitted.IsZero() {
				c.Gone = p.now // there never was a DS
			}
		})
	}
}

// retire moves k, which sep succeeds, out: at once, or with another algorithm its record first.
func (p *planner) retire(k, sep *tandem.ZoneKey) {
	z := &p.zone
	switch {
	case !k.Removed.IsZero():
		if p.due(k.Removed.Add(KeyTTL*time.Second+z.Spread), "caches to forget the old algorithm's keys") {
			p.leave(k, func(c *tandem.ZoneKey) { c.Retired = p.now })
		}
		return
	case k.Gone.IsZero():
		p.Ask, p.Why = true, "the parent to take the old key's DS away"
		return
	}
	from := later(later(k.Gone, sep.Seen).Add(z.DSTTL), sep.Active.Add(z.LongestTTL))
	if !p.due(from.Add(z.Spread), "caches to forget the old key's DS") {
		return
	}
	if k.Algorithm != sep.Algorithm {
		p.leave(k, func(c *tandem.ZoneKey) { c.Removed = p.now })
		return
	}
	p.leave(k, func(c *tandem.ZoneKey) { c.Retired, c.Removed = p.now, p.now })
}

// leave changes k and the ZSKs that go with it: those of its algorithm when the successor has another,
// all when the successor needs none.
func (p *planner) leave(k *tandem.ZoneKey, f func(*tandem.ZoneKey)) {
	sep, _ := p.newest(true)
	p.change(k, f)
	for _, z := range p.keys {
		if !isSEP(z) && z.Number < sep.Number && (sep.Algorithm != z.Algorithm || sep.Signs == SignsBoth) {
			p.change(z, f)
		}
	}
}

// rollZSK moves the youngest ZSK on, and the ones before it out.
func (p *planner) rollZSK() {
	zsk, older := p.newest(false)
	if zsk == nil || zsk.Published.IsZero() {
		return
	}
	z := &p.zone
	if zsk.Active.IsZero() {
		if !p.due(zsk.Published.Add(KeyTTL*time.Second+z.Spread), "caches to learn the new ZSK") {
			return
		}
		p.change(zsk, func(c *tandem.ZoneKey) { c.Active = p.now })
		for _, k := range older {
			if k.Algorithm == zsk.Algorithm && k.Retired.IsZero() {
				p.change(k, func(c *tandem.ZoneKey) { c.Retired = p.now })
			}
		}
		return
	}
	for _, k := range older {
		if k.Algorithm != zsk.Algorithm || k.Retired.IsZero() || !k.Removed.IsZero() {
			continue
		}
		if p.due(k.Retired.Add(z.LongestTTL+z.Spread), "caches to forget the old ZSK's signatures") {
			p.change(k, func(c *tandem.ZoneKey) { c.Removed = p.now })
		}
	}
}

// begin starts a roll-over where one is wanted and none is under way.
func (p *planner) begin() {
	sep, older := p.newest(true)
	zsk, olderZSK := p.newest(false)
	if len(p.Change) > 0 || sep == nil || len(older)+len(olderZSK) > 0 || sep.Submitted.IsZero() || zsk != nil && zsk.Active.IsZero() {
		return
	}
	if sep.Algorithm != p.zone.Algorithm {
		p.generation(func(k *Fresh) { k.Active = p.now })
		return
	}
	both := func(k *Fresh) { k.Published, k.Active = p.now, p.now }
	if (sep.Signs == SignsKeys) != p.zone.Split {
		p.generation(both)
		return
	}
	every := p.zone.Roll
	if p.zone.Split {
		if every = p.zone.RollKSK; p.wanted(zsk, p.zone.Roll) {
			p.fresh(SignsZone, func(k *Fresh) { k.Published = p.now })
			p.change(zsk, func(c *tandem.ZoneKey) { c.Rolling = false })
			return
		}
	}
	if sep.Rolling || !sep.Seen.IsZero() && p.wanted(sep, every) {
		p.fresh(sep.Signs, both)
		p.change(sep, func(c *tandem.ZoneKey) { c.Rolling = false })
	}
}

// wanted reports whether k is to have a successor now.
func (p *planner) wanted(k *tandem.ZoneKey, every time.Duration) bool {
	if k == nil || k.Rolling {
		return k != nil
	}
	if every == 0 {
		return false
	}
	if t := k.Active.Add(every); t.After(p.now) {
		p.at(t)
		return false
	}
	return true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
