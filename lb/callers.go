package lb

import (
	"maps"
	"time"
)

// callers is how set-ups fared at one node, by the account whose calls they were. Whoever calls what cannot be
// reached, or sends what the node does not even answer, is not the node's whole reputation.
type callers map[string]*mean

const (
	// mostCallers bounds the accounts that are kept of one node, callerStale for how long.
	mostCallers = 64
	callerStale = 10 * time.Minute
	// mostWeight is how many set-ups of one account count at the most.
	mostWeight = 10
)

// add takes a sample.
func (c *callers) add(now time.Time, account string, sample float64, stale time.Duration) {
	if *c == nil {
		*c = make(callers)
	}
	meanOf(*c, account, mostCallers, now.Add(-callerStale)).add(now, sample, setUpTau, stale)
}

// meanOf returns an account's mean among those kept, made if need be: then what is older than since goes
// and, of too many, the one that was silent longest.
func meanOf(kept map[string]*mean, account string, most int, since time.Time) *mean {
	if m := kept[account]; m != nil {
		return m
	}
	maps.DeleteFunc(kept, func(_ string, m *mean) bool { return m.at.Before(since) })
	if len(kept) >= most {
		oldest := ""
		for id, x := range kept {
			if oldest == "" || x.at.Before(kept[oldest].at) {
				oldest = id
			}
		}
		delete(kept, oldest)
	}
	m := new(mean)
	kept[account] = m
	return m
}

// failed returns the share of set-ups that failed of late, and of how many it is. Where several accounts call, the
// one with the most failures is left out: what ails the node is met by others too.
func (c callers) failed(now time.Time, stale time.Duration) (share float64, samples int) {
	var sum, weight, worst, without float64
	for _, m := range c {
		if m.n == 0 || now.Sub(m.at) > stale {
			continue
		}
		n := float64(min(m.n, mostWeight))
		sum, weight, samples = sum+n*m.value, weight+n, samples+m.n
		if n*m.value > worst {
			worst, without = n*m.value, n
		}
	}
	if !c.alone(now) {
		sum, weight = sum-worst, weight-without
	}
	if weight == 0 {
		return 0, samples
	}
	return max(sum/weight, 0), samples
}

// alone reports whether no more than one account has called for a while.
func (c callers) alone(now time.Time) bool {
	known := 0
	for _, m := range c {
		if now.Sub(m.at) <= callerStale {
			known++
		}
	}
	return known <= 1
}

// forget forgets how set-ups fared, not who called.
func (c callers) forget() {
	for _, m := range c {
		*m = mean{at: m.at}
	}
}
