package node

import (
	"maps"
	"slices"
	"strings"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// status tells how the node stands, for people. A part that fails ends the node, so that every part
// that can be asked about is well.
func (n *Node) status() control.Status {
	n.mu.Lock()
	kept, parts := n.store, n.parts
	n.mu.Unlock()
	s := control.Status{Version: Version(), Started: n.started}
	if kept == nil {
		return s
	}
	s.Epoch, s.Revision = kept.Info()
	served, _ := n.served.at()
	for _, p := range parts {
		about := control.Part{Name: p.name, State: "ok"}
		if p.apply != nil {
			about.Serves = served
		}
		if p.addrs != nil {
			about.Addresses = listed(p.addrs())
		}
		s.Parts = append(s.Parts, about)
	}
	n.metrics(func(x tandem.Sample) {
		if x.Gauge && len(x.Labels) == 0 {
			s.Counts = append(s.Counts, control.Count{Name: strings.TrimPrefix(x.Name, "tandem_"), Value: int64(x.Value)})
		}
	})
	return s
}

// listed returns the addresses in the order of their listeners' names; where a part
// has several, each is named.
func listed(byListener map[string][]string) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(byListener)) {
		for _, at := range byListener[name] {
			if len(byListener) > 1 {
				at = name + " " + at
			}
			all = append(all, at)
		}
	}
	return all
}
