package dnsd

import (
	"fmt"
	"strings"

	"tandem/internal/tandem"
)

// group is where a group's accounts are placed, and who said so. It is immutable; a change makes a
// new one.
type group struct {
	id       string
	pin      string             // id of the cluster that the group names, empty for none
	assigned *tandem.Assignment // tier 1's word, nil as long as there is none
	cluster  uint32             // number of the cluster that counts, noCluster for none
}

// noCluster is no cluster's number.
const noCluster = ^uint32(0)

// applyGroup puts or, with g nil, removes a group.
func (w *writer) applyGroup(id string, g *tandem.Group) {
	number := w.groupNumbers.of(id)
	if g == nil {
		w.groups.set(number, nil)
		return
	}
	w.groups.set(number, w.newGroup(id, g.Cluster, w.assigned[number]))
}

// applyAssignment takes tier 1's word for a group or, with a nil, takes it back. It may come before
// the group and outlive it, but places nothing without it.
func (w *writer) applyAssignment(id string, a *tandem.Assignment) {
	number := w.groupNumbers.of(id)
	if a == nil {
		delete(w.assigned, number)
	} else {
		w.assigned[number] = a
	}
	if g := w.groups.get(number); g != nil {
		w.groups.set(number, w.newGroup(id, g.pin, a))
	}
}

// newGroup returns a group as it is placed: by tier 1, also when that found no cluster for it, and
// by its pin until tier 1 has spoken.
func (w *writer) newGroup(id, pin string, assigned *tandem.Assignment) *group {
	g := &group{id: id, pin: pin, assigned: assigned, cluster: noCluster}
	chosen := pin
	if assigned != nil {
		chosen = assigned.Cluster
	}
	if chosen != "" {
		g.cluster = w.clusterNumbers.of(chosen)
	}
	return g
}

// placed says which cluster g is on and why; found is that cluster, nil when there is none.
func (g *group) placed(found *cluster) string {
	var text string
	switch a := g.assigned; {
	case a != nil && a.Cluster != "":
		text = fmt.Sprintf("is on cluster %s: assigned by tier 1 (%s)", a.Cluster, reasons(a.Reason, a.Text))
	case a != nil:
		return fmt.Sprintf("is on no cluster: tier 1 has none for it (%s), its calls are refused with %s", reasons(a.Reason, a.Text), a.Refuse)
	case g.pin != "":
		text = fmt.Sprintf("is on cluster %s: pinned", g.pin)
	default:
		return "is on no cluster: not pinned, and tier 1 has not assigned one"
	}
	if found == nil {
		text += "; there is no such cluster"
	}
	return text
}

// reasons joins those that are not empty.
func reasons(parts ...string) string {
	var said []string
	for _, p := range parts {
		if p != "" {
			said = append(said, p)
		}
	}
	return strings.Join(said, ": ")
}
