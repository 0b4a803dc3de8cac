package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// balancing is two clusters and three groups that do not change.
type balancing struct{}

func given(n int) *int { return &n }

func (balancing) Balance() control.Balance {
	quality := 87.4
	east1, _ := balancing{}.Node("east1")
	east2 := control.NodeBalance{ID: "east2", State: "down", Wanted: tandem.NodeActive, Why: "probes are not answered", Weight: 100}
	west1 := control.NodeBalance{ID: "west1", State: "good", Wanted: tandem.NodeDraining, Why: "set draining", Calls: 2, Weight: 100}
	return control.Balance{
		Clusters: []control.ClusterBalance{
			{ID: "east", State: "good", Open: true, Up: 1, Groups: 2, Calls: 23, Expected: 430, Capacity: given(500), Quality: &quality,
				Why: "east2: probes are not answered", Nodes: []control.NodeBalance{east1, east2}},
			{ID: "west", State: "out", Calls: 2, Why: "west1: set draining", Nodes: []control.NodeBalance{west1}},
		},
		Groups: []control.GroupBalance{
			{ID: "giant", Expected: given(900), Reason: "too-large", Text: "expects 900; the largest cluster that would do holds 500", Refuse: "no-cluster"},
			{ID: "gold", Cluster: "east", Pinned: "east", Calls: 23, Expected: given(400), Permitted: given(450), Reason: "new"},
			{ID: "silver", Cluster: "east", From: "west", Expected: given(30), Reason: "cluster-lost"},
		},
		Total: 3, Unplaced: 1, Calls: 25,
	}
}

func (balancing) Node(id string) (control.NodeBalance, bool) {
	score := 87.4
	return control.NodeBalance{
		ID: "east1", State: "good", Wanted: tandem.NodeActive, Available: true, Calls: 23, InSetUp: 4, Weight: 55, Score: &score,
		Parts: map[string]float64{"probe": 92.1, "set-up": 87.4, "load": 93.2, "voice": 90}, RoundTrip: 1.27, Answer: 48, Failed: 0.013, Load: 0.42,
	}, id == "east1"
}

func (balancing) Try(w control.WhatIf) (control.TriedPlan, error) {
	full, mean, least := 0.86, 0.86, 0.86
	plan := control.TriedPlan{Clusters: []control.ClusterForeseen{{ID: "east", Open: true, Now: 430, Then: 430, Capacity: given(500)}, {ID: "west"}}, Fullest: &full, Mean: &mean, LeastFullest: &least}
	if len(w.Lose) == 0 {
		return plan, nil
	}
	if w.Lose[0] != "east" {
		return plan, tandem.FieldError{Field: "lose[0]", Reason: "there is no Cluster \"" + w.Lose[0] + "\""}
	}
	plan.Clusters[0].Open, plan.Clusters[0].Then = false, 0
	plan.Clusters[1].Open, plan.Clusters[1].Then = true, 400
	plan.Moves = []control.GroupMove{{Group: "gold", From: "east", To: "west", Expected: 400, Reason: "cluster-lost"}}
	plan.Unplaced = []control.GroupMove{{Group: "silver", From: "east", Expected: 30, Reason: "no-quality", Text: "needs quality 80; no cluster has been measured", Refuse: "quality"}}
	plan.Moved, plan.Least, plan.Fullest = 2, 2, nil
	return plan, nil
}

// TestWatch: a page a second until the end, without the ways of a terminal where there is none.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &session{out: &out}
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		n := 0
		err := watching(true).run(ctx, s, func(s *session) error { n++; s.printf("page %d\n", n); return nil })
		if want := "page 1\n\npage 2\n\npage 3\n\n"; err != nil || out.String() != want {
			t.Errorf("watch = %v, %q, want %q", err, out.String(), want)
		}
		out.Reset()
		if err := watching(false).run(ctx, s, func(s *session) error { s.printf("once\n"); return nil }); err != nil || out.String() != "once\n" {
			t.Errorf("without --watch: %v, %q", err, out.String())
		}
	})
}

func TestFit(t *testing.T) {
	text := "a\nb\nc\nd\nsum\n"
	for most, want := range map[int]string{5: text, 9: text, 4: "a\nb\n… 2 lines more\nsum\n", 3: "a\n… 3 lines more\nsum\n"} {
		if got := fit(text, most); got != want || strings.Count(got, "\n") > most {
			t.Errorf("fit(%d) = %q, want %q", most, got, want)
		}
	}
}

func TestSince(t *testing.T) {
	for ago, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m1s", 3*time.Hour + 5*time.Minute: "3h5m", 50 * time.Hour: "2d",
	} {
		if got := since(began, began.Add(ago)); got != want {
			t.Errorf("since %s = %q, want %q", ago, got, want)
		}
	}
	if got := since(time.Time{}, began); got != "-" {
		t.Errorf("since never = %q", got)
	}
}

// TestLeases: how leases stand, in a line.
func TestLeases(t *testing.T) {
	lent := []control.GroupLease{{Instance: "edge2", Held: 6, Used: 5}, {Instance: "edge3", Held: 1, Used: 1, Silent: true}}
	gold := []control.GroupBalance{{ID: "gold", Held: given(7), Lent: lent[:1]}}
	for _, tt := range []struct {
		name, group string
		balance     control.Balance
		want        string
	}{
		{"grants", "", control.Balance{Leases: &control.LeaseBalance{Linked: true, Lent: lent}},
			"leases: 6 slots at edge2 for 5 calls, 1 slot at edge3 for 1 call (silent)"},
		{"grants nothing", "", control.Balance{Leases: &control.LeaseBalance{Linked: true}}, "leases: none at other instances"},
		{"grants of a group", "gold", control.Balance{Groups: gold, Leases: &control.LeaseBalance{Linked: true, Lent: lent}},
			"leases: 7 slots held here, 6 slots at edge2 for 5 calls"},
		{"asks", "", control.Balance{Leases: &control.LeaseBalance{Linked: true, Grantor: "https://edge1:8447"}}, "leases: granted by https://edge1:8447"},
		{"cut off", "gold", control.Balance{Groups: gold, Leases: &control.LeaseBalance{Grantor: "https://edge1:8447"}},
			"leases: 7 slots held here, https://edge1:8447 does not answer: calls are admitted only from what is held here"},
	} {
		if got := leases(tt.balance, tt.group); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
