package dnsd

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem/internal/tandem"
)

// nodes explains what each of hosts gets in the records of a forwarding name: what was found of it and
// what follows, the policy, and in which order transports come.
func (t *tracer) nodes(hosts []*host, key string) {
	effects := judge(hosts, key)
	v := view{key: key, allDown: true}
	working, standing := 0, 0
	for _, h := range hosts {
		if h == nil || !h.takes(key) {
			continue
		}
		working++
		v.policy = orOpen(h.allDown)
		if !h.health.down {
			standing++
			v.allDown = false
		}
	}
	if working > 0 {
		t.say("policy", "%d of %d nodes that take such work stand; when none does: %s", standing, working, v.policy.text(key))
	}
	for i, e := range effects {
		if hosts[i] == nil {
			t.say("node", "one that is listed does not exist")
			continue
		}
		t.node(hosts[i], v.outcome(hosts[i], e))
	}
	t.orders(hosts, effects)
}

// policy is what is answered when all nodes are down.
type policy tandem.AllDown

func orOpen(p tandem.AllDown) policy {
	if p == "" {
		p = tandem.FailOpen
	}
	return policy(p)
}

// text says what p means for a key.
func (p policy) text(key string) string {
	switch {
	case key == string(tandem.TypeEmergency):
		return "all of them, for emergency calls"
	case tandem.AllDown(p) == tandem.FailClosed:
		return "no record (fail-closed)"
	case tandem.AllDown(p) == tandem.LastKnown:
		return "those up last (last-known)"
	}
	return "all of them, as configured (fail-open)"
}

// orders says in which order transports come, and which of them health moved.
func (t *tracer) orders(hosts []*host, effects []effect) {
	order := orders(hosts, effects)
	var said []string
	for _, i := range inOrder(order) {
		s := services()[i]
		offered := func(h *host) bool { return h != nil && h.ports.Of(s.transport) != 0 }
		if s.naptr == "" || !slices.ContainsFunc(hosts, offered) {
			continue
		}
		text := fmt.Sprintf("%s %d", s.naptr, s.order)
		if more := order[i] - s.order; more > 0 {
			text += fmt.Sprintf(" + %d = %d, for its nodes stand lower", more, order[i])
		}
		said = append(said, text)
	}
	if len(said) > 0 {
		t.say("NAPTR order", "%s", strings.Join(said, "; "))
	}
}

// node says what h is, what was found of it, and what follows, a line each.
func (t *tracer) node(h *host, outcome string) {
	types := "every type"
	if len(h.types) > 0 {
		types = fmt.Sprint(h.types)
	}
	lines := []string{fmt.Sprintf("%s is %s, serves %s, priority %d, weight %d", h.id, h.state, types, h.priority, h.weight)}
	lines = append(lines, t.findings(h.id)...)
	t.say("node", "%s", strings.Join(append(lines, outcome), "\n"))
}

// findings returns what was told of a node's health: what checks found, and an operator's word.
func (t *tracer) findings(id string) []string {
	i := slices.IndexFunc(t.told, func(n tandem.NodeHealth) bool { return n.Node == id })
	if i < 0 {
		return []string{"health: nothing is known"}
	}
	n := &t.told[i]
	found := n.State
	if n.Forced != nil {
		found = n.Found
	}
	if found == "" {
		found = tandem.HealthUnknown
	}
	text := "health: " + string(found)
	if n.Why != "" && n.Forced == nil {
		text += fmt.Sprintf(" (%s)", n.Why)
	}
	if !n.Since.IsZero() {
		text += " since " + n.Since.UTC().Format(time.RFC3339)
	}
	if n.Recalled {
		text += ", stored before the start"
	}
	lines := []string{text + t.checked(n)}
	if n.Forced != nil {
		lines = append(lines, "override: "+n.Forced.String())
	}
	return lines
}

// checked says how long ago the last check of a node was, "" when there was none.
func (t *tracer) checked(n *tandem.NodeHealth) string {
	if n.Checked.IsZero() {
		return ""
	}
	return fmt.Sprintf(", checked %s ago", max(t.now.Sub(n.Checked), 0).Round(time.Millisecond))
}

// view is how all nodes of a name stand together.
type view struct {
	key     string
	policy  policy
	allDown bool
}

// outcome says what e makes of h, with its arithmetic.
func (v *view) outcome(h *host, e effect) string {
	switch {
	case !h.takes(v.key):
		return fmt.Sprintf("left out: it is %s", h.state)
	case h.health.down && !e.in && h.health.forced:
		return "left out: forced down, which is not doubted"
	case h.health.down && !e.in && v.allDown:
		return fmt.Sprintf("left out: all are down, %s", v.policy)
	case h.health.down && !e.in:
		return "left out: down"
	case h.health.down && v.allDown:
		return fmt.Sprintf("in the answers as configured: all are down, %s", v.policy)
	case h.health.down:
		return fmt.Sprintf("in the answers, last: priority %d", e.priority)
	}
	text := fmt.Sprintf("in the answers: priority %d, ", e.priority)
	switch {
	case e.priority != h.priority:
		text = fmt.Sprintf("in the answers, behind others: degraded, priority %d + %d = %d, ", h.priority, worse, e.priority)
	case h.health.degraded:
		text = fmt.Sprintf("in the answers: degraded like all others, priority %d, ", e.priority)
	}
	switch share := eighths - h.health.withheld; {
	case e.weight != h.weight:
		text += fmt.Sprintf("weight %d x %d/%d = %d", h.weight, share, eighths, e.weight)
	case h.health.withheld > 0:
		text += fmt.Sprintf("weight %d, for all get %d/%d", e.weight, share, eighths)
	default:
		text += fmt.Sprintf("weight %d", e.weight)
	}
	return text
}
