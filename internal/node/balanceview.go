package node

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"tandem/internal/control"
	"tandem/internal/tandem"
	"tandem/lb"
)

// balanceView tells the management door how balancing stands, in its own words.
type balanceView struct {
	balancer *lb.Balancer
	planner  *lb.Planner
	leases   leaser // nil: none
}

// Balance tells how clusters and groups stand; groups without a cluster come first.
func (v balanceView) Balance() control.Balance {
	all := control.Balance{Clusters: v.clusters(), Groups: []control.GroupBalance{}}
	byID := make(map[string]*control.ClusterBalance, len(all.Clusters))
	for i := range all.Clusters {
		byID[all.Clusters[i].ID] = &all.Clusters[i]
		all.Calls += all.Clusters[i].Calls
	}
	if is := v.balancer.Checks(); is.Every > 0 {
		all.Checks = &control.Checks{Interval: is.Every.Seconds(), Stalled: is.Stalled}
	}
	var lent map[string][]control.GroupLease
	all.Leases, lent = v.lease()
	var placed []control.GroupBalance
	for _, g := range v.planner.Groups() {
		is := v.group(g)
		is.Lent = lent[is.ID]
		if is.Cluster == "" {
			all.Groups = append(all.Groups, is)
			continue
		}
		if c := byID[is.Cluster]; c != nil {
			if !c.Open {
				is.Text, is.Refuse = "its cluster takes no calls: "+c.Why, string(lb.ReasonNoNode)
				if c.State == string(lb.StateDegraded) {
					is.Refuse = string(lb.ReasonQuality)
				}
			}
			c.Groups++
			if is.Expected != nil {
				c.Expected += *is.Expected
			}
		}
		placed = append(placed, is)
	}
	all.Unplaced = len(all.Groups)
	all.Groups = append(all.Groups, placed...)
	all.Total = len(all.Groups)
	return all
}

func (v balanceView) group(g lb.GroupStatus) control.GroupBalance {
	is := control.GroupBalance{
		ID: g.Group.ID, Cluster: g.Group.Cluster, Pinned: g.Group.Cluster, Calls: v.balancer.Used(g.Group.ID),
		Expected: g.Group.Expected, Permitted: g.Group.Permitted, MinQuality: g.Group.MinQuality,
	}
	if v.leases != nil && is.Permitted != nil {
		held := v.balancer.Held(is.ID)
		is.Held = &held
	}
	if a := g.Assigned; a != nil {
		is.Cluster, is.From, is.Reason, is.Text, is.Refuse, is.Since = a.Cluster, a.From, a.Reason, a.Text, a.Refuse, a.Since
	}
	return is
}

// lease tells how leases stand, nil when there are none, and what others hold of each group.
func (v balanceView) lease() (*control.LeaseBalance, map[string][]control.GroupLease) {
	switch end := v.leases.(type) {
	case *lb.Lessee:
		return &control.LeaseBalance{Grantor: end.Grantor(), Linked: end.Linked()}, nil
	case *lb.Lessor:
		all, groups := &control.LeaseBalance{Linked: true}, make(map[string][]control.GroupLease)
		for _, x := range end.Loans() {
			is := control.GroupLease{Instance: x.Instance, Held: x.Held, Used: x.Used, Silent: x.Silent}
			groups[x.Group] = append(groups[x.Group], is)
			i := slices.IndexFunc(all.Lent, func(l control.GroupLease) bool { return l.Instance == x.Instance })
			if i < 0 {
				all.Lent = append(all.Lent, is)
				continue
			}
			all.Lent[i].Held += is.Held
			all.Lent[i].Used += is.Used
		}
		return all, groups
	}
	return nil, nil
}

// table returns how nodes stand at this moment: an operator who reads that no call is left on a node
// switches it off.
func (v balanceView) table() *lb.Table {
	v.balancer.Look()
	return v.balancer.Table()
}

// clusters tells how each cluster stands, without what its groups expect.
func (v balanceView) clusters() []control.ClusterBalance {
	found := make(map[string]lb.ClusterStatus)
	for _, c := range v.table().Clusters {
		found[c.ID] = c
	}
	supplies := v.planner.Supplies()
	all := make([]control.ClusterBalance, len(supplies))
	for i, s := range supplies {
		c := found[s.Cluster]
		all[i] = control.ClusterBalance{
			ID: s.Cluster, State: clusterState(c), Capacity: bound(s.Capacity),
			Quality: known(c.Score), Nodes: make([]control.NodeBalance, len(c.Nodes)),
		}
		if len(c.Nodes) == 0 {
			all[i].Quality = nil
		}
		for n := range c.Nodes {
			is := nodeBalance(&c.Nodes[n])
			all[i].Nodes[n] = is
			all[i].Calls += is.Calls
			if is.Available {
				all[i].Up++
			}
		}
		all[i].Why, all[i].Open = whyNot(all[i].Nodes), all[i].Up > 0
	}
	return all
}

func clusterState(c lb.ClusterStatus) string {
	byHand := func(n lb.NodeStatus) bool { return n.Wanted != tandem.NodeActive }
	switch {
	case len(c.Nodes) == 0:
		return "empty"
	case !slices.ContainsFunc(c.Nodes, func(n lb.NodeStatus) bool { return !byHand(n) }):
		return "out"
	}
	return string(c.State)
}

// whyNot says which nodes take no calls and why, the first three of them.
func whyNot(nodes []control.NodeBalance) string {
	const most = 3
	var parts []string
	for _, n := range nodes {
		if !n.Available {
			parts = append(parts, n.ID+": "+n.Why)
		}
	}
	if more := len(parts) - most; more > 0 {
		parts = append(parts[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, "; ")
}

// bound is a capacity, nil when there is none.
func bound(capacity int) *int {
	if capacity >= lb.Unbounded {
		return nil
	}
	return &capacity
}

// known is a score, nil when it is not known.
func known(s lb.Score) *float64 {
	if s < 0 {
		return nil
	}
	n := rounded(s)
	return &n
}

// rounded is a score to a tenth.
func rounded(s lb.Score) float64 { return math.Round(float64(s)*10) / 10 }

func nodeBalance(n *lb.NodeStatus) control.NodeBalance {
	is := control.NodeBalance{
		ID: n.ID, State: string(n.State), Wanted: n.Wanted, Available: n.Available, Why: n.Why, Calls: n.Calls, InSetUp: n.InSetUp,
		Weight: n.Weight, Score: known(n.Score), RoundTrip: milliseconds(n.RoundTrip), Loss: n.Loss,
		Answer: milliseconds(n.Answer), Failed: n.Failed, Load: n.Load, Since: n.Since,
		Checked: n.Checked, Recalled: n.Recalled, Forced: n.Forced,
	}
	if n.Forced != nil {
		is.Found = string(n.Found)
	}
	if len(n.Parts) > 0 {
		is.Parts = make(map[string]float64, len(n.Parts))
		for part, score := range n.Parts {
			is.Parts[string(part)] = rounded(score)
		}
	}
	return is
}

func milliseconds(d time.Duration) float64 { return float64(d.Round(time.Microsecond)) / 1e6 }

// Node tells how one node stands, false when it is not known.
func (v balanceView) Node(id string) (control.NodeBalance, bool) {
	for _, c := range v.table().Clusters {
		for i := range c.Nodes {
			if c.Nodes[i].ID == id {
				return nodeBalance(&c.Nodes[i]), true
			}
		}
	}
	return control.NodeBalance{}, false
}

// Try tells what would move if things were as asked.
func (v balanceView) Try(w control.WhatIf) (control.TriedPlan, error) {
	trial, err := v.planner.Try(lb.WhatIf{Lose: w.Lose, Capacity: w.Capacity, Expected: w.Expected})
	if err != nil {
		return control.TriedPlan{}, err
	}
	plan := control.TriedPlan{
		Moves: []control.GroupMove{}, Unplaced: []control.GroupMove{}, Moved: trial.Moved(), Least: trial.LeastMoves,
		Clusters: foreseen(&trial),
	}
	expected := make(map[string]int, len(trial.Demands))
	for _, d := range trial.Demands {
		expected[d.Group] = d.Expected
	}
	for _, m := range trial.Moves {
		plan.Moves = append(plan.Moves, control.GroupMove{Group: m.Group, From: m.From, To: m.To, Expected: expected[m.Group], Reason: string(m.Reason)})
	}
	for _, u := range trial.Unplaced {
		plan.Unplaced = append(plan.Unplaced, control.GroupMove{
			Group: u.Group, From: u.From, Expected: expected[u.Group], Reason: string(u.Reason), Text: u.Text, Refuse: string(u.Refuse),
		})
	}
	if !slices.ContainsFunc(trial.Supplies, func(s lb.Supply) bool { return s.Capacity >= lb.Unbounded }) {
		plan.Fullest, plan.Mean, plan.LeastFullest = &trial.Fullest, &trial.Mean, &trial.LeastFullest
	}
	return plan, nil
}

// foreseen sums up what is and would be expected of each cluster.
func foreseen(trial *lb.Trial) []control.ClusterForeseen {
	all := make([]control.ClusterForeseen, len(trial.Supplies))
	at := make(map[string]*control.ClusterForeseen, len(all))
	for i, s := range trial.Supplies {
		all[i] = control.ClusterForeseen{ID: s.Cluster, Open: s.Open, Capacity: bound(s.Capacity)}
		at[s.Cluster] = &all[i]
	}
	for i, d := range trial.Demands {
		if c := at[d.Current]; c != nil {
			c.Now += d.Expected
		}
		if c := at[trial.Clusters[i]]; c != nil {
			c.Then += d.Expected
		}
	}
	return all
}
