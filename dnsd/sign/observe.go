package sign

import (
	"time"

	"tandem/internal/tandem"
)

// Observed returns keys with what a look at the parent's DS set says, as it is now at all of the
// parent's servers: which of those that it was asked for it has, and which of those that it was asked to
// take away it has no longer. Changed keys are copies; the others are the same.
func Observed(now time.Time, keys []*tandem.ZoneKey, has func(*tandem.ZoneKey) bool) []*tandem.ZoneKey {
	out := make([]*tandem.ZoneKey, len(keys))
	for i, k := range keys {
		out[i] = k
		if !isSEP(k) || k.Submitted.IsZero() {
			continue
		}
		c := *k
		switch there := has(k); {
		case k.Withdrawn.IsZero() && there && k.Seen.IsZero():
			c.Seen = now
		case !k.Withdrawn.IsZero() && !there && k.Gone.IsZero():
			c.Gone = now
		default:
			continue
		}
		out[i] = &c
	}
	return out
}
