package control

import (
	"context"
	"net/http"
	"time"

	"tandem/internal/tandem"
)

// ForceRequest is an operator's word on a node's health.
type ForceRequest struct {
	State   string `json:"state" explain:"up or down, whatever checks find, or auto: as they find."`
	Seconds uint32 `json:"seconds,omitempty" explain:"How long it counts; absent: until it is taken back. At most 31622400, a year."`
	Reason  string `json:"reason,omitempty" explain:"Why, for people."`
}

// ForceSet is what that came to.
type ForceSet struct {
	Revision tandem.Revision `json:"revision" explain:"Revision of the change."`
	Until    time.Time       `json:"until,omitzero" explain:"When it ends by itself; absent: it does not."`
	Calls    int             `json:"calls" explain:"Calls up or in set-up on the node."`
}

// auto takes an operator's word back.
const auto = "auto"

// mostForce bounds how long a word counts that ends by itself.
const mostForce = 366 * 24 * time.Hour

// forceNode has an operator's word on a node's health count instead of checks, or takes it back.
func (c *call) forceNode() error {
	if _, err := c.object(tandem.KindNode); err != nil {
		return err
	}
	var to ForceRequest
	if err := c.read(&to); err != nil {
		return err
	}
	force, err := to.force(time.Now())
	if err != nil {
		return err
	}
	_, after, rev, err := edit(c, tandem.KindNode, func(n *tandem.Node) { n.Force = force })
	if err != nil {
		return err
	}
	set := ForceSet{Revision: rev}
	if force != nil {
		set.Until = force.Until
	}
	if c.server.deps.Balancing != nil {
		found, _ := c.server.deps.Balancing.Node(after.ID)
		set.Calls = found.Calls
	}
	return c.answer(set)
}

// force is what a node is to carry, nil for nothing.
func (r *ForceRequest) force(now time.Time) (*tandem.Force, error) {
	ttl := time.Duration(r.Seconds) * time.Second
	switch {
	case r.State != auto && r.State != string(tandem.HealthUp) && r.State != string(tandem.HealthDown):
		return nil, refuse(http.StatusUnprocessableEntity, "state: %.40q is not up, down or auto", r.State)
	case r.State == auto && (r.Seconds > 0 || r.Reason != ""):
		return nil, refuse(http.StatusUnprocessableEntity, "state: auto takes neither seconds nor reason")
	case ttl > mostForce:
		return nil, refuse(http.StatusUnprocessableEntity, "seconds: %d is over the most, %d", r.Seconds, int(mostForce.Seconds()))
	case r.State == auto:
		return nil, nil
	}
	f := &tandem.Force{State: tandem.HealthState(r.State), Reason: r.Reason}
	if ttl > 0 {
		f.Until = now.Add(ttl).UTC().Truncate(time.Second)
	}
	return f, nil
}

// ForceNode has an operator's word on a node's health count instead of checks, or takes it back.
func (c *Client) ForceNode(ctx context.Context, node string, r ForceRequest) (ForceSet, error) {
	var out ForceSet
	return out, c.ask(ctx, http.MethodPost, objectPath(tandem.KindNode, node)+"/force", nil, r, &out)
}
