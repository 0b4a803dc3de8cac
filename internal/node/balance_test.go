package node

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

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
		go func() { _ = tellHealth(ctx, b, func(list []tandem.NodeHealth) { told = append(told, list) }) }()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(told) != 1 || len(told[0]) != 2 {
			t.Fatalf("told %v, want both nodes once", told)
		}
		b.Probed("n2", time.Millisecond, true) // it was there
		b.Broken("n2", "refused")
		time.Sleep(time.Second)
		synctest.Wait()
		if len(told) != 2 || !told[1][1].Down || told[1][0].Down {
			t.Errorf("told %v, want n2 down the second time", told)
		}
	})
}
