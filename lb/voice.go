package lb

import (
	"slices"
	"time"
)

// mostVoices bounds the accounts whose phones' reports are kept of one node.
const mostVoices = 64

// voices is what phones reported of their calls through one node, by account. Each account has one
// voice however much it reports, so that one customer, or one who makes reports up, is not the node's
// whole reputation.
type voices map[string]*mean

// add takes a mean opinion score.
func (v *voices) add(now time.Time, account string, mos float64) {
	if *v == nil {
		*v = make(voices)
	}
	meanOf(*v, account, mostVoices, now.Add(-voiceStale)).add(now, mos, voiceTau, voiceStale)
}

// heard returns the median of the accounts' means, the better of two, and how many accounts it is of.
func (v voices) heard(now time.Time) (mos float64, accounts int) {
	var all []float64
	for _, m := range v {
		if now.Sub(m.at) <= voiceStale {
			all = append(all, m.value)
		}
	}
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], len(all)
}
