package node

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/control"
	"tandem/internal/tandem"
	"tandem/lb"
)

// balanced are groups for two clusters, one pinned, one that none can hold.
const balanced = `
{"kind":"Cluster","id":"c1","capacity":100}
{"kind":"Cluster","id":"c2","capacity":100}
{"kind":"Node","id":"n1","cluster":"c1","addresses":["127.0.0.1"],"ports":{"udp":5070}}
{"kind":"Node","id":"n2","cluster":"c2","addresses":["127.0.0.1"],"ports":{"udp":5071}}
{"kind":"Group","id":"free","expected":60}
{"kind":"Group","id":"large","expected":101}
{"kind":"Group","id":"pinned","cluster":"c2","expected":60}
`

// Once an apply is served, its groups have their clusters, in the store and for every part; after a
// restart they keep them, and a group that goes takes its assignment along.
func TestBalancedWhenServed(t *testing.T) {
	cfg := configure(t, t.TempDir(), "data: data\ncontrol: {socket: sock}\nlb: {}\n")
	a := start(t, cfg)
	a.apply(balanced)
	check := func(step string, want map[string]string) {
		t.Helper()
		list, err := a.store.Assignments(t.Context(), tandem.Principal{Admin: true}, "", 100)
		if err != nil || len(list) != len(want) {
			t.Errorf("%s: %d assignments, %v, want %d", step, len(list), err, len(want))
		}
		for _, x := range list {
			if cluster, ok := want[x.ID]; !ok || cluster != x.Cluster {
				t.Errorf("%s: %+v, want cluster %q", step, x, cluster)
			}
		}
		_, last := a.store.Info()
		if served, _ := a.served.at(); served != last {
			t.Errorf("%s: revision %d is served, the last is %d", step, served, last)
		}
	}
	want := map[string]string{"free": "c1", "pinned": "c2", "large": ""}
	check("applied", want)
	a.stop()

	a = start(t, cfg)
	_, before := a.store.Info()
	if err := a.Served(t.Context(), before); err != nil {
		t.Error(err)
	}
	check("restarted", want)
	if _, after := a.store.Info(); after != before {
		t.Errorf("the restart wrote revisions %d to %d, want nothing", before, after)
	}
	a.apply(`{"kind":"Cluster","id":"c1","capacity":50}` + "\n" + `{"kind":"Cluster","id":"c2","capacity":150}`)
	want["free"], want["large"] = "c2", ""
	check("c1 became too small", want)
	last, err := a.store.Append(t.Context(), tandem.Principal{Admin: true}, []tandem.Edit{{Kind: tandem.KindGroup, ID: "large"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Served(t.Context(), last); err != nil {
		t.Error(err)
	}
	delete(want, "large")
	check("a group is gone", want)
	a.stop()
}

// What people see and do through the management door is what the running parts know and do.
func TestBalanceView(t *testing.T) {
	a := start(t, configure(t, t.TempDir(), "data: data\ncontrol: {socket: sock}\nlb: {}\n"))
	defer a.stop()
	a.apply(balanced)
	client := control.NewClient(a.cfg.Control.Socket)
	defer client.Close()
	group := func(id string) control.GroupBalance {
		t.Helper()
		found, err := client.Balance(t.Context(), control.BalanceOf{Group: id})
		if err != nil || len(found.Groups) != 1 {
			t.Fatalf("balance of %s: %+v, %v", id, found, err)
		}
		return found.Groups[0]
	}
	all, err := client.Balance(t.Context(), control.BalanceOf{})
	if err != nil || all.Total != 3 || all.Unplaced != 1 || all.Groups[0].ID != "large" || len(all.Clusters) != 2 {
		t.Fatalf("balance: %+v, %v, want three groups, large first", all, err)
	}
	if c1 := all.Clusters[0]; c1.State != "unknown" || !c1.Open || c1.Up != 1 || c1.Groups != 1 || c1.Expected != 60 || *c1.Capacity != 100 || c1.Quality != nil {
		t.Errorf("c1 stands so: %+v", c1)
	}
	if g := group("large"); g.Refuse != "no-cluster" || g.Text != "expects 101; the largest cluster that would do holds 100" {
		t.Errorf("large stands so: %+v", g)
	}
	plan, err := client.TryPlan(t.Context(), control.WhatIf{Lose: []string{"c1"}, Capacity: map[string]int{"c2": 150}})
	want := []control.GroupMove{{Group: "free", From: "c1", To: "c2", Expected: 60, Reason: "cluster-lost"}}
	if diff := cmp.Diff(want, plan.Moves); err != nil || diff != "" || plan.Clusters[1].Then != 120 || *plan.Fullest != 0.8 {
		t.Errorf("plan without c1: %+v, %v, %s", plan, err, diff)
	}
	if _, err := client.Pin(t.Context(), "free", "c9"); err == nil {
		t.Error("a pin to a cluster that there is not was taken")
	}
	pinned, err := client.Pin(t.Context(), "pinned", "c1")
	if err != nil || client.Wait(t.Context(), pinned.Revision) != nil {
		t.Fatal(err)
	}
	if p, f := group("pinned"), group("free"); p.Cluster != "c1" || f.Cluster != "c2" || f.Reason != "yield" {
		t.Errorf("pinned to c1: %+v, and %+v, want it there and the other to yield", p, f)
	}
	set, err := client.SetNodeState(t.Context(), "n1", tandem.NodeDraining)
	if err != nil || client.Wait(t.Context(), set.Revision) != nil {
		t.Fatal(err)
	}
	if g := group("pinned"); g.Cluster != "c1" || g.From != "c2" || g.Refuse != "no-node" || g.Text != "its cluster takes no calls: n1: set draining" {
		t.Errorf("after the last node of c1 was drained, pinned stands so: %+v", g)
	}
	if c1, err := client.ClusterStatus(t.Context(), "c1"); err != nil || c1.State != "out" || c1.Open || c1.Why != "n1: set draining" {
		t.Errorf("c1 stands so: %+v, %v", c1, err)
	}
	if n, err := client.ReportLoad(t.Context(), "n2", 0.9); err != nil || n.Load != 0.9 || n.Score == nil || n.State != "good" {
		t.Errorf("n2 stands so: %+v, %v", n, err)
	}
}

// TestTellHealth: how nodes stand is told at first and when it has changed; twin: otherwise not.
func TestTellHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := lb.New(lb.Config{}, lb.Deps{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		var told [][]tandem.NodeHealth
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, id := range []string{"n1", "n2"} {
			b.PutNode(&tandem.Node{Head: tandem.Head{ID: id}, Cluster: "c"})
		}
		go func() { _ = b.Run(ctx) }()
		teller := newTeller(b)
		teller.hear = func(list []tandem.NodeHealth) { told = append(told, list) }
		go func() { _ = teller.run(ctx) }()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(told) != 1 || len(told[0]) != 2 {
			t.Fatalf("told %v, want both nodes once", told)
		}
		b.Probed("n2", time.Millisecond, true) // it was there
		b.Broken("n2", "refused")
		synctest.Wait() // and no time passes
		if last := told[len(told)-1]; last[1].State != tandem.HealthDown || last[0].State == tandem.HealthDown {
			t.Errorf("told %v, want n2 down at once", last)
		}
		many := len(told)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(told) != many {
			t.Errorf("told %d times more though nothing changed", len(told)-many)
		}
	})
}
