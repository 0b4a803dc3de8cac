package lb

import (
	"cmp"
	"slices"
	"strings"

	"tandem/internal/tandem"
)

// order puts those of among that will do for a call of group g in front, by tier and then the cheapest
// first, and returns how many they are; when none will, the reason. A place that is no node of ours
// is not judged: it comes after the nodes of its tier.
func (t *Table) order(among []tandem.Choice, g *Group, kind tandem.RequestType, unknown bool) (usable int, reason Reason) {
	reason = ReasonNoNode
	group := hashName(g.ID)
	for i := range among {
		x := &among[i]
		n := t.nodes[x.Node]
		switch {
		case n == nil:
			x.Cost = unjudged
		case n.untried && g.MinQuality <= 0 && n.candidate.serves(kind):
			x.Cost = untried + n.candidate.cost()
		case !n.Available:
			if n.State == StateDegraded && !n.set {
				reason = ReasonQuality
			}
			continue
		case !n.candidate.serves(kind):
			continue
		case !meets(n.candidate.score, g.MinQuality, unknown):
			reason = ReasonQuality
			continue
		case g.Affinity:
			x.Cost = -n.candidate.rank(group)
		default:
			// Equals take turns.
			x.Cost = n.candidate.cost() * (1 + 1e-6*t.dice())
		}
		among[usable], among[i] = among[i], among[usable]
		usable++
	}
	if usable == 0 {
		return 0, reason
	}
	slices.SortFunc(among[:usable], byTier)
	return usable, ""
}

// Costs of places that come last in their tier: nodes that are down but have never been there yet, for
// they may just have been started, and a refusal costs one round trip; and those that are no nodes of
// ours.
const (
	untried  = 1e12
	unjudged = 1e300
)

func byTier(x, y tandem.Choice) int {
	return cmp.Or(cmp.Compare(x.Tier, y.Tier), cmp.Compare(x.Cost, y.Cost))
}

// orderAll orders places for an emergency call: those that take calls first, then the draining, the
// degraded, the dead; none is left out.
func (t *Table) orderAll(among []tandem.Choice) {
	const last = 1e6 // more than any cost
	for i := range among {
		x := &among[i]
		n := t.nodes[x.Node]
		if n == nil {
			x.Cost = unjudged
			continue
		}
		x.Cost = min(n.candidate.cost(), last)
		switch {
		case n.Available:
		case n.State == StateDown:
			x.Cost += 3 * last
		case n.State == StateDegraded:
			x.Cost += 2 * last
		default:
			x.Cost += last
		}
	}
	slices.SortFunc(among, func(x, y tandem.Choice) int {
		return cmp.Or(cmp.Compare(x.Cost, y.Cost), cmp.Compare(x.Tier, y.Tier), strings.Compare(x.Node, y.Node))
	})
}
