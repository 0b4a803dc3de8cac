package dnsd

import (
	"time"

	"tandem/internal/tandem"
)

// standing is how a host stands among those of a name. Who stands higher comes later in the records.
type standing uint8

const (
	stands standing = iota
	lesser          // degraded, beside others that are not
	lowest          // down, and answered all the same
)

// effect is what one host gets in the records of a name.
type effect struct {
	in       bool // it is in them at all
	standing standing
	priority uint16
	weight   uint16
}

// together is how long before the last one of a name's nodes others may have gone down to be among
// those that were up last: what cuts all of them off is noticed of one after the other.
const together = 10 * time.Second

// judge returns what each of hosts gets in the records of a name with a forwarding key ("" for
// inbound names). Only those that take such work by configuration are in them; among these,
//
//   - nodes that are down are left out. Emergency calls have them last instead;
//   - degraded ones stand behind those that are not;
//   - weights follow the shares, unless these are all alike.
//
// Who is unknown is as good as who is up. When all that are left are degraded, that says nothing
// about whom to prefer, and they are as configured. When all are down, each has what its cluster's
// policy says: see whenAllDown.
func judge(hosts []*host, key string) []effect {
	var up *host
	var fit, uneven bool
	for _, h := range hosts {
		if h == nil || !h.takes(key) || h.health.down {
			continue
		}
		if up == nil {
			up = h
		}
		fit = fit || !h.health.degraded
		uneven = uneven || h.health.withheld != up.health.withheld
	}
	if up == nil {
		return whenAllDown(hosts, key)
	}
	effects := make([]effect, len(hosts))
	for i, h := range hosts {
		if h == nil || !h.takes(key) {
			continue
		}
		e := effect{in: true, priority: h.priority, weight: h.weight}
		switch {
		case h.health.down:
			e.in, e.priority, e.standing = key == string(tandem.TypeEmergency), worst, lowest
		default:
			if h.health.degraded && fit {
				e.priority, e.standing = uint16(min(int(h.priority)+worse, worst)), lesser
			}
			if uneven {
				e.weight = h.health.weigh(h.weight)
			}
		}
		effects[i] = e
	}
	return effects
}

// whenAllDown returns what each of hosts gets when all that take work of this kind are down: by its
// cluster's policy it is as configured, for it may be we who are cut off; or it is left out; or it is
// as configured if it was among those up last. An operator's word is not doubted: who was forced down
// is left out. Emergency calls have all, as configured.
func whenAllDown(hosts []*host, key string) []effect {
	emergency := key == string(tandem.TypeEmergency)
	var last int64
	for _, h := range hosts {
		if h != nil && h.takes(key) && !h.health.forced {
			last = max(last, h.health.fell)
		}
	}
	effects := make([]effect, len(hosts))
	for i, h := range hosts {
		if h == nil || !h.takes(key) {
			continue
		}
		e := effect{in: true, priority: h.priority, weight: h.weight}
		switch {
		case emergency:
		case h.health.forced, h.allDown == tandem.FailClosed:
			e.in = false
		case h.allDown == tandem.LastKnown:
			e.in = h.health.fell >= last-int64(together)
		}
		effects[i] = e
	}
	return effects
}

// laterOrder is what is added to the NAPTR order of a service for each step that its best host stands
// lower than the best of the other services: more than lies between two services.
const laterOrder = 100

// orders returns the NAPTR order of each service: as configured, and behind the others while all
// hosts that offer it are degraded, or down, and those of another one are not.
func orders(hosts []*host, effects []effect) [serviceCount]uint16 {
	var found [serviceCount]struct {
		any  bool
		best standing
	}
	least := lowest
	for i, s := range services() {
		for n, h := range hosts {
			if h == nil || !effects[n].in || h.ports.Of(s.transport) == 0 {
				continue
			}
			if f := &found[i]; !f.any || effects[n].standing < f.best {
				f.any, f.best = true, effects[n].standing
			}
		}
		if found[i].any && s.naptr != "" {
			least = min(least, found[i].best)
		}
	}
	var all [serviceCount]uint16
	for i, s := range services() {
		all[i] = s.order
		if found[i].any && s.naptr != "" && found[i].best > least {
			all[i] += laterOrder * uint16(found[i].best-least)
		}
	}
	return all
}
