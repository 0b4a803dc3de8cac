package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

func newCluster(s *session) *cobra.Command {
	return group("cluster", "Look at clusters", newClusterShow(s))
}

const clusterShowHelp = `Shows the nodes of a cluster, or of all: how each was found, or was set by hand, and what was
measured of it. A node's SCORE is that of its worst known part, on the scale of the R factor, 93 at
best:

  PROBE   round trip and loss of OPTIONS
  ANSWER  time to the first answer of an INVITE, and the share of set-ups that failed
  LOAD    what the node says of itself: 0 idle, 1 full
  VOICE   the score of what phones reported

New calls go to nodes that are good or unknown, which means not measured. On a narrow terminal
columns are left out; -o yaml and -o json have all.`

func newClusterShow(s *session) *cobra.Command {
	var form string
	var live watching
	cmd := &cobra.Command{
		Use: "show [CLUSTER]", Short: "Show the nodes of clusters", Long: clusterShowHelp,
		Example: "  tandem cluster show\n  tandem cluster show east --watch\n  tandem cluster show east -o json",
		Args:    between(0, 1), ValidArgsFunction: s.completeFirst(tandem.KindCluster),
		RunE: func(cmd *cobra.Command, args []string) error {
			return live.run(cmd.Context(), s, func(s *session) error {
				var found []control.ClusterBalance
				if len(args) > 0 {
					one, err := s.door().ClusterStatus(cmd.Context(), args[0])
					if err != nil {
						return err
					}
					found = append(found, one)
				} else {
					no := 0
					all, err := s.door().Balance(cmd.Context(), control.BalanceOf{Limit: &no})
					if err != nil {
						return err
					}
					found = all.Clusters
				}
				if form != "table" {
					return s.show(form, found, nil)
				}
				for i := range found {
					if i > 0 {
						s.printf("\n")
					}
					s.cluster(&found[i], time.Now())
				}
				return nil
			})
		},
	}
	outputFlag(cmd, &form, "table")
	live.flag(cmd)
	return cmd
}

// cluster prints one cluster and its nodes.
func (s *session) cluster(c *control.ClusterBalance, now time.Time) {
	room := "no bound"
	if c.Capacity != nil {
		room = fmt.Sprintf("%d, %s full", *c.Capacity, full(c.Expected, c.Capacity))
	}
	s.fold(fmt.Sprintf("cluster %s: %s, quality %s; %s, %d expected of %s, capacity %s", c.ID, c.State, score(c.Quality),
		plural(c.Calls, "call"), c.Expected, plural(c.Groups, "group"), room))
	if len(c.Nodes) == 0 {
		s.printf("it has no nodes\n")
		return
	}
	t := table{header: []string{"NODE", "STATE", "CALLS", "IN SET-UP", "WEIGHT", "SCORE", "PROBE", "ANSWER", "LOAD", "VOICE", "SINCE", "WHY"},
		spare: []string{"WEIGHT", "SINCE", "IN SET-UP"}}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		t.add(n.ID, nodeState(n), strconv.Itoa(n.Calls), strconv.Itoa(n.InSetUp), fmt.Sprintf("%.0f", n.Weight), score(n.Score),
			part(n, "probe", n.RoundTrip, n.Loss), part(n, "set-up", n.Answer, n.Failed), loadOf(n), voiceOf(n), since(n.Since, now), whyNode(n))
	}
	t.print(s.out, s.width())
}

// nodeState is how a node was set or forced by hand, else how it was found.
func nodeState(n *control.NodeBalance) string {
	if n.Wanted != tandem.NodeActive {
		return string(n.Wanted)
	}
	if n.Forced != nil {
		return "forced " + string(n.Forced.State)
	}
	return n.State
}

// whyNode says why a node takes no calls, or on whose word it does.
func whyNode(n *control.NodeBalance) string {
	if n.Why == "" && n.Forced != nil {
		return n.Forced.String() + ", found " + n.Found
	}
	return n.Why
}

// part is a time with a share that was lost, "-" when that part is not known.
func part(n *control.NodeBalance, name string, ms, lost float64) string {
	if _, known := n.Parts[name]; !known {
		return "-"
	}
	if ms < 10 {
		return fmt.Sprintf("%.1fms %s", ms, percent(lost))
	}
	return fmt.Sprintf("%.0fms %s", ms, percent(lost))
}

func loadOf(n *control.NodeBalance) string {
	if _, known := n.Parts["load"]; !known {
		return "-"
	}
	return fmt.Sprintf("%.2f", n.Load)
}

func voiceOf(n *control.NodeBalance) string {
	v, known := n.Parts["voice"]
	if !known {
		return "-"
	}
	return fmt.Sprintf("%.0f", v)
}

// since is how long ago something was, "-" when it never was.
func since(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := now.Sub(t)
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}
