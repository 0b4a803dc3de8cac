package control

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"tandem/internal/tandem"
)

// BalanceOf says what of the balance is asked for; zero: all of it.
type BalanceOf struct {
	Group    string // only this one
	Unplaced bool   // only groups without a cluster
	Limit    *int   // at most so many groups; nil: all
}

// Balance tells how clusters and groups stand.
func (c *Client) Balance(ctx context.Context, of BalanceOf) (Balance, error) {
	q := url.Values{}
	if of.Group != "" {
		q.Set("group", of.Group)
	}
	if of.Unplaced {
		q.Set("unplaced", "1")
	}
	if of.Limit != nil {
		q.Set("limit", strconv.Itoa(*of.Limit))
	}
	var out Balance
	return out, c.ask(ctx, http.MethodGet, "/v1/lb/status", q, nil, &out)
}

// TryPlan tells what would move if things were as asked.
func (c *Client) TryPlan(ctx context.Context, what WhatIf) (TriedPlan, error) {
	var out TriedPlan
	return out, c.ask(ctx, http.MethodPost, "/v1/lb/plan", nil, what, &out)
}

// ClusterStatus tells how a cluster and its nodes stand.
func (c *Client) ClusterStatus(ctx context.Context, id string) (ClusterBalance, error) {
	var out ClusterBalance
	return out, c.ask(ctx, http.MethodGet, objectPath(tandem.KindCluster, id)+"/status", nil, nil, &out)
}

// Pin lets one cluster alone serve a group, or any when cluster is "".
func (c *Client) Pin(ctx context.Context, group, cluster string) (Result, error) {
	var out Result
	return out, c.ask(ctx, http.MethodPost, objectPath(tandem.KindGroup, group)+"/pin", nil, Pin{Cluster: cluster}, &out)
}

// SetNodeState drains a node, takes it out, or has it back.
func (c *Client) SetNodeState(ctx context.Context, node string, state tandem.NodeState) (StateSet, error) {
	var out StateSet
	return out, c.ask(ctx, http.MethodPost, objectPath(tandem.KindNode, node)+"/state", nil, WantedState{State: state}, &out)
}

// ReportLoad tells the load that a node has: 0 idle, 1 full.
func (c *Client) ReportLoad(ctx context.Context, node string, load float64) (NodeBalance, error) {
	var out NodeBalance
	return out, c.ask(ctx, http.MethodPost, objectPath(tandem.KindNode, node)+"/load", nil, ReportedLoad{Load: &load}, &out)
}
