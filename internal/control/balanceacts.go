package control

import (
	"net/http"

	"tandem/internal/tandem"
)

// balanceOperations are those about balancing.
func balanceOperations() []operation {
	return []operation{
		{
			id: "balance", method: http.MethodGet, path: "/v1/lb/status", admin: true, gives: Balance{}, handle: (*call).balance,
			summary: "Tells how clusters and groups stand: calls now, expected, permitted, quality, and why a group has no cluster.",
			query: []parameter{
				{"group", "Only this group, and the clusters that it has or may have."},
				{"unplaced", "1: only groups without a cluster."},
				{"limit", "At most so many groups. Absent: all."},
			},
		}, {
			id: "tryPlan", method: http.MethodPost, path: "/v1/lb/plan", admin: true, takes: WhatIf{}, gives: TriedPlan{}, handle: (*call).tryPlan,
			summary: "Tells which groups would move, and why, if clusters were lost or numbers were others. It changes nothing.",
		}, {
			id: "clusterStatus", method: http.MethodGet, path: "/v1/clusters/{id}/status", gives: ClusterBalance{}, handle: (*call).clusterStatus,
			summary: "Tells how a cluster and its nodes stand.",
		}, {
			id: "pinGroup", method: http.MethodPost, path: "/v1/groups/{id}/pin", takes: Pin{}, gives: Result{}, handle: (*call).pin,
			summary: "Lets one cluster alone serve a group, or any.",
		}, {
			id: "setNodeState", method: http.MethodPost, path: "/v1/nodes/{id}/state", takes: WantedState{}, gives: StateSet{}, handle: (*call).nodeState,
			summary: "Drains a node, takes it out, or has it back.",
		}, {
			id: "forceNode", method: http.MethodPost, path: "/v1/nodes/{id}/force", takes: ForceRequest{}, gives: ForceSet{}, handle: (*call).forceNode,
			summary: "Has an operator's word on a node's health count instead of checks, or takes it back.",
		}, {
			id: "reportLoad", method: http.MethodPost, path: "/v1/nodes/{id}/load", takes: ReportedLoad{}, gives: NodeBalance{}, handle: (*call).nodeLoad,
			summary: "Takes the load that a node reports; it counts as a part of its quality.",
		},
	}
}

func (c *call) balance() error {
	if c.server.deps.Balancing == nil {
		return c.absent("lb")
	}
	limit, err := c.query("limit", 1<<31, 1<<31)
	if err != nil {
		return err
	}
	found := c.server.deps.Balancing.Balance()
	q := c.r.URL.Query()
	if id := q.Get("group"); id != "" {
		if err := found.only(id); err != nil {
			return err
		}
	}
	if q.Get("unplaced") == "1" {
		limit = min(limit, uint64(found.Unplaced))
	}
	found.Groups = found.Groups[:min(uint64(len(found.Groups)), limit)]
	return c.answer(found)
}

// only leaves one group and the clusters that it has or may have.
func (b *Balance) only(group string) error {
	for _, g := range b.Groups {
		if g.ID != group {
			continue
		}
		b.Groups = []GroupBalance{g}
		var clusters []ClusterBalance
		for _, x := range b.Clusters {
			if x.ID == g.Cluster || x.ID == g.Pinned || g.Cluster == "" && g.Pinned == "" {
				clusters = append(clusters, x)
			}
		}
		b.Clusters, b.Unplaced = clusters, 0
		if g.Cluster == "" {
			b.Unplaced = 1
		}
		return nil
	}
	return refuse(http.StatusNotFound, "%s %.80s: not found", tandem.KindGroup, group)
}

func (c *call) tryPlan() error {
	if c.server.deps.Balancing == nil {
		return c.absent("lb")
	}
	var what WhatIf
	if err := c.read(&what); err != nil {
		return err
	}
	plan, err := c.server.deps.Balancing.Try(what)
	if err != nil {
		return err
	}
	return c.answer(plan)
}

func (c *call) clusterStatus() error {
	o, err := c.object(tandem.KindCluster)
	if err != nil {
		return err
	}
	if c.server.deps.Balancing == nil {
		return c.absent("lb")
	}
	for _, found := range c.server.deps.Balancing.Balance().Clusters {
		if found.ID == o.Header().ID {
			return c.answer(found)
		}
	}
	return refuse(http.StatusNotFound, "%s %.80s: not found", tandem.KindCluster, o.Header().ID)
}

func (c *call) pin() error {
	if _, err := c.object(tandem.KindGroup); err != nil {
		return err
	}
	var to Pin
	if err := c.read(&to); err != nil {
		return err
	}
	before, _, rev, err := edit(c, tandem.KindGroup, func(g *tandem.Group) { g.Cluster = to.Cluster })
	if err != nil {
		return err
	}
	result := Result{Total: 1, Changed: 1, Revision: rev}
	if before.Cluster == to.Cluster {
		result.Changed, result.Unchanged = 0, 1
	}
	return c.answer(result)
}

func (c *call) nodeState() error {
	if _, err := c.object(tandem.KindNode); err != nil {
		return err
	}
	var to WantedState
	if err := c.read(&to); err != nil {
		return err
	}
	if to.State == "" {
		return refuse(http.StatusUnprocessableEntity, "state: is missing: active, draining or out")
	}
	_, after, rev, err := edit(c, tandem.KindNode, func(n *tandem.Node) { n.State = to.State })
	if err != nil {
		return err
	}
	set := StateSet{Revision: rev}
	if c.server.deps.Balancing != nil {
		found, _ := c.server.deps.Balancing.Node(after.ID)
		set.Calls = found.Calls
	}
	return c.answer(set)
}

func (c *call) nodeLoad() error {
	o, err := c.object(tandem.KindNode)
	if err != nil {
		return err
	}
	if c.server.deps.Balancing == nil || c.server.deps.ReportLoad == nil {
		return c.absent("lb")
	}
	var is ReportedLoad
	if err := c.read(&is); err != nil {
		return err
	}
	switch {
	case is.Load == nil:
		return refuse(http.StatusUnprocessableEntity, "load: is missing: a number from 0 (idle) to 1 (full)")
	case *is.Load < 0 || *is.Load > 2:
		return refuse(http.StatusUnprocessableEntity, "load: %v is not 0 (idle) to 1 (full), or up to 2", *is.Load)
	}
	node := o.Header().ID
	c.server.deps.ReportLoad(node, *is.Load)
	found, ok := c.server.deps.Balancing.Node(node)
	if !ok {
		return refuse(http.StatusNotFound, "%s %.80s: not found", tandem.KindNode, node)
	}
	return c.answer(found)
}
