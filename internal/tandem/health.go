package tandem

import (
	"fmt"
	"slices"
	"time"
)

// HealthState is how checks and calls found a node to be. "" is unknown.
type HealthState string

// The states of health. Who is unknown has not been checked yet, or never answers checks: it is used
// as it is configured, for unknown is not down.
const (
	HealthUnknown  HealthState = "unknown"
	HealthUp       HealthState = "up"
	HealthDegraded HealthState = "degraded" // its quality is too low for new calls
	HealthDown     HealthState = "down"     // answers nothing
)

// NodeHealth is what balancing found out about one node, for those who answer with it.
type NodeHealth struct {
	Node  string
	State HealthState // that counts: Force's, when there is one
	// Share is the part of its configured weight that the node should get now, 0 to 1: less while it
	// is slow, loaded, or has just come back.
	Share    float64
	Why      string    // why it is down or degraded
	Since    time.Time // of the state that was found; zero: not known
	Checked  time.Time // last check that ended; zero: none since the start
	Recalled bool      // found before the last start, not confirmed since
	Forced   *Force    // the operator's word that counts instead of checks; nil: none
	Found    HealthState
}

// Same reports whether answers made from h and o are the same; when the last check was shows in
// explanations only.
func (h *NodeHealth) Same(o *NodeHealth) bool {
	x, y := *h, *o
	x.Checked, y.Checked = time.Time{}, time.Time{}
	x.Forced, y.Forced = nil, nil
	return x == y && (h.Forced == o.Forced || h.Forced != nil && o.Forced != nil && *h.Forced == *o.Forced)
}

// Health is the last known state of one node, whose id is its own. Balancing writes it when the state
// changes and reads it at the start, so that who was down is not answered until a check has told
// otherwise.
type Health struct {
	Head
	State   HealthState `json:"state" cbor:"2,keyasint,omitempty" explain:"As found: unknown, up, degraded or down."`
	Share   float64     `json:"share,omitempty" cbor:"3,keyasint,omitempty" explain:"Part of its weight that the node got, 0 to 1 in eighths."`
	Why     string      `json:"why,omitempty" cbor:"4,keyasint,omitempty" explain:"Why it was down or degraded."`
	Since   time.Time   `json:"since" cbor:"5,keyasint,omitempty" explain:"Since when it was so."`
	Checked time.Time   `json:"checked" cbor:"6,keyasint,omitempty" explain:"When that was last confirmed."`
	Answers bool        `json:"answers,omitempty" cbor:"7,keyasint,omitempty" explain:"It has answered checks, so that its silence means something."`
}

// Kind returns KindHealth.
func (*Health) Kind() Kind { return KindHealth }

// Validate finds no fault: health is found by the product, not set by people.
func (*Health) Validate() error { return nil }

// AllDown says what is answered when all nodes that a name leads to are down.
type AllDown string

// What is answered when all are down. "" is FailOpen.
const (
	FailOpen   AllDown = "fail-open"   // the nodes as configured: it may be we who are cut off
	FailClosed AllDown = "fail-closed" // no record; the name stays
	LastKnown  AllDown = "last-known"  // those that were up last
)

// ClusterHealth is how checks of a cluster's nodes become states, and what follows. Zero values take
// the defaults of the configuration file's section lb.quality.
type ClusterHealth struct {
	AllDown    AllDown `json:"allDown,omitempty" cbor:"1,keyasint,omitempty" explain:"What DNS answers for a forwarding name when all its nodes are down: fail-open (as configured), fail-closed (no record; the name stays) or last-known (those that were up last). Emergency names always have all nodes. Default fail-open."`
	DownAfter  int     `json:"downAfter,omitempty" cbor:"2,keyasint,omitempty" explain:"Checks in a row that must fail before a node is down, 1 to 100. Default 4."`
	UpAfter    int     `json:"upAfter,omitempty" cbor:"3,keyasint,omitempty" explain:"Checks in a row that a node which was down must answer before it is up, 3 to 1000. Default 3."`
	CloseAfter int     `json:"closeAfter,omitempty" cbor:"4,keyasint,omitempty" explain:"Seconds, in all, of too low a quality before a node is degraded, 1 to 3600. Default 1."`
	OpenAfter  int     `json:"openAfter,omitempty" cbor:"5,keyasint,omitempty" explain:"Seconds, in all, of good quality before a node that was down or degraded is up, 1 to 3600. Default 2."`
}

// check notes the faults of h, which may be nil, in the field health.
func (h *ClusterHealth) check(e *FieldErrors) {
	if h == nil {
		return
	}
	if !slices.Contains([]AllDown{"", FailOpen, FailClosed, LastKnown}, h.AllDown) {
		e.add("health.allDown", "%.40q is not fail-open, fail-closed or last-known", h.AllDown)
	}
	for _, x := range []struct {
		field              string
		value, least, most int
	}{
		{"downAfter", h.DownAfter, 1, 100}, {"upAfter", h.UpAfter, 3, 1000},
		{"closeAfter", h.CloseAfter, 1, 3600}, {"openAfter", h.OpenAfter, 1, 3600},
	} {
		if x.value != 0 && (x.value < x.least || x.value > x.most) {
			e.add("health."+x.field, "is %d: must be %d to %d, or left out", x.value, x.least, x.most)
		}
	}
}

// Force is an operator's word on a node's health. It counts instead of what checks find, and unlike
// their finding it is not doubted when all nodes are down.
type Force struct {
	State  HealthState `json:"state" cbor:"1,keyasint,omitempty" explain:"up or down, whatever checks find."`
	Until  time.Time   `json:"until,omitzero" cbor:"2,keyasint,omitempty" explain:"When it ends by itself; absent: when it is taken back."`
	Reason string      `json:"reason,omitempty" cbor:"3,keyasint,omitempty" explain:"Why, for people."`
}

// mostReason bounds the text beside an override, in octets.
const mostReason = 200

// check notes the faults of f, which may be nil, in the field force.
func (f *Force) check(e *FieldErrors) {
	if f == nil {
		return
	}
	if f.State != HealthUp && f.State != HealthDown {
		e.add("force.state", "%.40q is not up or down", f.State)
	}
	if len(f.Reason) > mostReason {
		e.add("force.reason", "has %d octets, at most %d may be", len(f.Reason), mostReason)
	}
}

// Holds reports whether f, which may be nil, counts at a time.
func (f *Force) Holds(now time.Time) bool {
	return f != nil && (f.Until.IsZero() || now.Before(f.Until))
}

// String says in a few words what was forced, until when and why.
func (f *Force) String() string {
	text := "forced " + string(f.State)
	if !f.Until.IsZero() {
		text += " until " + f.Until.UTC().Format(time.RFC3339)
	}
	if f.Reason != "" {
		text += fmt.Sprintf(" (%s)", f.Reason)
	}
	return text
}
