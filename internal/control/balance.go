package control

import (
	"time"

	"tandem/internal/tandem"
)

// Balancing is what balancing tells.
type Balancing interface {
	// Balance tells how clusters and groups stand; groups without a cluster come first.
	Balance() Balance
	// Try tells what would move if things were as asked, and moves nothing. What cannot be is a
	// tandem.FieldError.
	Try(WhatIf) (TriedPlan, error)
	// Node tells how one node stands, false when it is not known.
	Node(id string) (NodeBalance, bool)
}

// Balance is how clusters and groups stand.
type Balance struct {
	Clusters []ClusterBalance `json:"clusters" explain:"All clusters, by id."`
	Groups   []GroupBalance   `json:"groups" explain:"Groups, those without a cluster first."`
	Total    int              `json:"total" explain:"Groups that there are."`
	Unplaced int              `json:"unplaced" explain:"Groups that no cluster can take; their calls are refused."`
	Calls    int              `json:"calls" explain:"Calls up or in set-up."`
	Checks   *Checks          `json:"checks,omitempty" explain:"How nodes are checked; absent: they are not."`
	Leases   *LeaseBalance    `json:"leases,omitempty" explain:"How this instance shares permitted numbers with others; absent: it does not."`
}

// Checks is how nodes are checked.
type Checks struct {
	Interval float64 `json:"interval" explain:"Seconds between two checks of one node, as it is now: longer than configured when there are too many nodes."`
	Stalled  bool    `json:"stalled,omitempty" explain:"The checker stands still; nodes keep the states that they had."`
}

// LeaseBalance is how an instance shares what groups are permitted with others.
type LeaseBalance struct {
	Grantor string       `json:"grantor,omitempty" explain:"The instance that is asked; absent: this one grants."`
	Linked  bool         `json:"linked" explain:"The grantor answers. While it does not, calls are admitted only from the share that is held."`
	Lent    []GroupLease `json:"lent,omitempty" explain:"What each other instance may hold, of all groups together."`
}

// GroupLease is what another instance may hold.
type GroupLease struct {
	Instance string `json:"instance" explain:"The instance, by the first DNS name of its certificate."`
	Held     int    `json:"held" explain:"Slots that it may hold."`
	Used     int    `json:"used" explain:"Calls among them, as it said last."`
	Silent   bool   `json:"silent,omitempty" explain:"It is not heard of: slots of calls that it may have up are kept for it."`
}

// ClusterBalance is one cluster as it stands.
type ClusterBalance struct {
	ID       string        `json:"id" explain:"The cluster."`
	State    string        `json:"state" explain:"good, unknown (not measured), degraded, down, out (all its nodes are, by hand) or empty (it has none)."`
	Open     bool          `json:"open" explain:"It takes groups: some node is available."`
	Up       int           `json:"up" explain:"Nodes that take calls."`
	Groups   int           `json:"groups" explain:"Groups assigned to it."`
	Calls    int           `json:"calls" explain:"Calls up or in set-up on its nodes."`
	Expected int           `json:"expected" explain:"Sum of what its groups expect."`
	Capacity *int          `json:"capacity,omitempty" explain:"What it can hold; absent: no bound."`
	Quality  *float64      `json:"quality,omitempty" explain:"Its measured quality, on the scale of the R factor; absent: not measured."`
	Why      string        `json:"why,omitempty" explain:"Which nodes take no calls, and why."`
	Nodes    []NodeBalance `json:"nodes" explain:"Its nodes, by priority."`
}

// NodeBalance is one node as it stands.
type NodeBalance struct {
	ID        string             `json:"id" explain:"The node."`
	State     string             `json:"state" explain:"good, unknown, degraded or down: as found, or as an operator has forced it."`
	Found     string             `json:"found,omitempty" explain:"As found, where an operator has forced another."`
	Forced    *tandem.Force      `json:"forced,omitempty" explain:"An operator's word that counts instead of checks."`
	Wanted    tandem.NodeState   `json:"wanted" explain:"As set by hand: active, draining or out."`
	Available bool               `json:"available" explain:"It takes calls."`
	Why       string             `json:"why,omitempty" explain:"Why it takes none."`
	Calls     int                `json:"calls" explain:"Calls up or in set-up on it."`
	InSetUp   int                `json:"inSetUp" explain:"Calls in set-up on it."`
	Weight    float64            `json:"weight" explain:"Its weight now: less than configured while it comes back."`
	Score     *float64           `json:"score,omitempty" explain:"Its quality, that of its worst part; absent: not measured."`
	Parts     map[string]float64 `json:"parts,omitempty" explain:"Quality by part, of those known: probe, set-up, load, voice."`
	RoundTrip float64            `json:"roundTrip,omitempty" explain:"Of probes, in milliseconds."`
	Loss      float64            `json:"loss,omitempty" explain:"Of probes, 0 to 1."`
	Answer    float64            `json:"answer,omitempty" explain:"Time to the first answer of an INVITE, in milliseconds."`
	Failed    float64            `json:"failed,omitempty" explain:"Share of set-ups that failed, 0 to 1."`
	Load      float64            `json:"load,omitempty" explain:"As the node says: 0 idle, 1 full."`
	Since     time.Time          `json:"since,omitzero" explain:"When its state was found."`
	Checked   time.Time          `json:"checked,omitzero" explain:"When a check or call last told something; absent: not since the start."`
	Recalled  bool               `json:"recalled,omitempty" explain:"Its state is of before the last start, and nothing has confirmed it yet."`
}

// GroupBalance is one group as it stands.
type GroupBalance struct {
	ID         string `json:"id" explain:"The group."`
	Cluster    string `json:"cluster,omitempty" explain:"The cluster that serves it; absent: none can."`
	From       string `json:"from,omitempty" explain:"The cluster that it had before."`
	Pinned     string `json:"pinned,omitempty" explain:"The only cluster that may serve it, by hand."`
	Calls      int    `json:"calls" explain:"Calls up or in set-up."`
	Expected   *int   `json:"expected,omitempty" explain:"What it expects; absent: nothing in particular."`
	Permitted  *int   `json:"permitted,omitempty" explain:"What it is permitted; absent: no limit."`
	MinQuality int    `json:"minQuality,omitempty" explain:"The quality that it needs."`
	// Held and Lent are absent without leases.
	Held   *int         `json:"held,omitempty" explain:"Slots that this instance may use; absent: all that is permitted."`
	Lent   []GroupLease `json:"lent,omitempty" explain:"What other instances may hold, as this one grants it."`
	Reason string       `json:"reason,omitempty" explain:"Why it has this cluster, or none."`
	Text   string       `json:"text,omitempty" explain:"The reason with its numbers, when it has none, or why its cluster takes no calls."`
	Refuse string       `json:"refuse,omitempty" explain:"What its calls are refused with (503), when it has none: quality, no-node or no-cluster."`
	Since  time.Time    `json:"since,omitzero" explain:"When that was decided."`
}

// WhatIf is what is tried before it is done. Empty, it asks what would move now.
type WhatIf struct {
	Lose     []string       `json:"lose,omitempty" explain:"Clusters that would be closed."`
	Capacity map[string]int `json:"capacity,omitempty" explain:"Capacities that clusters would have."`
	Expected map[string]int `json:"expected,omitempty" explain:"What groups would expect."`
}

// TriedPlan is what tier 1 would decide.
type TriedPlan struct {
	Moves    []GroupMove       `json:"moves" explain:"Groups that would get another cluster, by id."`
	Unplaced []GroupMove       `json:"unplaced" explain:"Groups that would have none."`
	Moved    int               `json:"moved" explain:"Groups that would lose the cluster that they have."`
	Least    int               `json:"least" explain:"A lower bound of moved, whatever the assignment."`
	Clusters []ClusterForeseen `json:"clusters" explain:"What would be expected of each cluster."`
	// The three are absent when a cluster has no capacity.
	Fullest      *float64 `json:"fullest,omitempty" explain:"Share of its capacity that the fullest cluster would be expected to use."`
	Mean         *float64 `json:"mean,omitempty" explain:"The same of all open clusters together."`
	LeastFullest *float64 `json:"leastFullest,omitempty" explain:"A lower bound of fullest, whatever the assignment."`
}

// GroupMove is one group that would move, or have no cluster.
type GroupMove struct {
	Group    string `json:"group" explain:"The group."`
	From     string `json:"from,omitempty" explain:"The cluster that it has; absent: none."`
	To       string `json:"to,omitempty" explain:"The cluster that it would have; absent: none."`
	Expected int    `json:"expected" explain:"What it expects."`
	Reason   string `json:"reason" explain:"Why."`
	Text     string `json:"text,omitempty" explain:"The reason with its numbers, when it would have none."`
	Refuse   string `json:"refuse,omitempty" explain:"What its calls would be refused with."`
}

// ClusterForeseen is what would be expected of one cluster.
type ClusterForeseen struct {
	ID       string `json:"id" explain:"The cluster."`
	Open     bool   `json:"open" explain:"It would take groups."`
	Now      int    `json:"now" explain:"Sum of what the groups expect that it has."`
	Then     int    `json:"then" explain:"Sum of what the groups would expect that it would have."`
	Capacity *int   `json:"capacity,omitempty" explain:"What it could hold; absent: no bound."`
}

// Pin says which cluster alone may serve a group.
type Pin struct {
	Cluster string `json:"cluster" explain:"The cluster; empty: any, tier 1 decides."`
}

// WantedState is what an operator wants of a node.
type WantedState struct {
	State tandem.NodeState `json:"state" explain:"active, draining (no new work) or out (none at all)."`
}

// StateSet is what that came to.
type StateSet struct {
	Revision tandem.Revision `json:"revision" explain:"Revision of the change."`
	Calls    int             `json:"calls" explain:"Calls up or in set-up on the node."`
}

// ReportedLoad is a node's load.
type ReportedLoad struct {
	Load *float64 `json:"load" explain:"0 idle, 1 full, up to 2 for what has more to do than it can. It counts for 15 seconds."`
}
