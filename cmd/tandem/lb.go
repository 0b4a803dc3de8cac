package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

func newLB(s *session) *cobra.Command {
	return group("lb", "Look at balancing and steer it", newLBStatus(s), newLBPlan(s), newLBPin(s), newLBUnpin(s))
}

const lbStatusHelp = `Shows how clusters and groups stand: the calls that are up, those that are expected, permitted and
that can be held, the measured quality, and why a group has no cluster. Groups without a cluster come
first; their calls are refused with 503.

EXPECTED is what tier 1 reserves when it gives a group its cluster, PERMITTED is where tier 2 refuses
the next call with 486: two settings. QUALITY is on the scale of the R factor, 93 at best.

WHY tells why a group has its cluster: new (it had none), cluster-lost, low-quality, over-full, pin,
yield (it made room for another group) or spread (clusters were filled unevenly).`

const lbStatusExample = `  tandem lb status
  tandem lb status gold --watch
  tandem lb status --unplaced --limit 1000
  tandem lb status -o json`

func newLBStatus(s *session) *cobra.Command {
	var form string
	var live watching
	var most int
	var of control.BalanceOf
	cmd := &cobra.Command{
		Use: "status [GROUP]", Short: "Show how clusters and groups stand", Long: lbStatusHelp, Example: lbStatusExample,
		Args: between(0, 1), ValidArgsFunction: s.completeFirst(tandem.KindGroup),
		RunE: func(cmd *cobra.Command, args []string) error {
			if most < 0 {
				return misuse("--limit %d is negative", most)
			}
			if len(args) > 0 {
				of.Group = args[0]
			}
			if form == "table" || cmd.Flags().Changed("limit") {
				of.Limit = &most
			}
			return live.run(cmd.Context(), s, func(s *session) error {
				found, err := s.door().Balance(cmd.Context(), of)
				if err != nil {
					return err
				}
				if form != "table" {
					return s.show(form, found, nil)
				}
				s.balance(found, of)
				return nil
			})
		},
	}
	outputFlag(cmd, &form, "table")
	live.flag(cmd)
	cmd.Flags().BoolVar(&of.Unplaced, "unplaced", false, "only groups without a cluster")
	cmd.Flags().IntVar(&most, "limit", 50, "show at most so many groups; YAML and JSON show all without it")
	return cmd
}

// balance prints clusters, groups and how many there are.
func (s *session) balance(b control.Balance, of control.BalanceOf) {
	t := table{header: []string{"CLUSTER", "STATE", "NODES", "CALLS", "EXPECTED", "CAPACITY", "FULL", "QUALITY", "WHY"}}
	open := 0
	for i := range b.Clusters {
		c := &b.Clusters[i]
		if c.Open {
			open++
		}
		t.add(c.ID, c.State, fmt.Sprintf("%d/%d", c.Up, len(c.Nodes)), strconv.Itoa(c.Calls), strconv.Itoa(c.Expected), dash(limit(c.Capacity)),
			full(c.Expected, c.Capacity), score(c.Quality), c.Why)
	}
	t.print(s.out, s.width())
	if len(b.Groups) > 0 {
		s.printf("\n")
		groups(b.Groups).print(s.out, s.width())
	}
	if b.Leases != nil {
		s.printf("\n%s\n", leases(b, of.Group))
	}
	if b.Checks != nil && b.Checks.Stalled {
		s.printf("\nthe checker of nodes stands still: their states are those from before that\n")
	}
	for i := range b.Clusters {
		for _, n := range b.Clusters[i].Nodes {
			if n.Forced != nil {
				s.printf("\nnode %s: %s, found %s\n", n.ID, n.Forced, n.Found)
			}
		}
	}
	if of.Group != "" {
		return
	}
	s.printf("\n%d of %s open; %s, %s without a cluster; %s\n", open, plural(len(b.Clusters), "cluster"),
		plural(b.Total, "group"), thousands(int64(b.Unplaced)), plural(b.Calls, "call"))
	if all := b.Total; len(b.Groups) < all && !of.Unplaced || len(b.Groups) < b.Unplaced {
		s.printf("%s shown; --limit shows more, -o json all\n", are(len(b.Groups), "group"))
	}
}

func groups(list []control.GroupBalance) *table {
	t := &table{header: []string{"GROUP", "CLUSTER", "CALLS", "EXPECTED", "PERMITTED", "PINNED", "WHY"}}
	for _, g := range list {
		t.add(g.ID, dash(g.Cluster), strconv.Itoa(g.Calls), dash(limit(g.Expected)), dash(limit(g.Permitted)), g.Pinned, why(g.Reason, g.From, g.Text, g.Refuse))
	}
	return t
}

// leases says in a line how leases stand, of one group when it is named.
func leases(b control.Balance, group string) string {
	lent, text := b.Leases.Lent, "leases: "
	if group != "" && len(b.Groups) == 1 {
		g := b.Groups[0]
		if lent = g.Lent; g.Held != nil {
			text += plural(*g.Held, "slot") + " held here, "
		}
	}
	switch {
	case b.Leases.Grantor != "" && b.Leases.Linked:
		return text + "granted by " + b.Leases.Grantor
	case b.Leases.Grantor != "":
		return text + b.Leases.Grantor + " does not answer: calls are admitted only from what is held here"
	case len(lent) == 0:
		return text + "none at other instances"
	}
	parts := make([]string, len(lent))
	for i, x := range lent {
		parts[i] = fmt.Sprintf("%s at %s for %s", plural(x.Held, "slot"), x.Instance, plural(x.Used, "call"))
		if x.Silent {
			parts[i] += " (silent)"
		}
	}
	return text + strings.Join(parts, ", ")
}

// why says why a group has its cluster, or none.
func why(reason, from, text, refuse string) string {
	if text != "" {
		return fmt.Sprintf("%s (503 %s)", text, refuse)
	}
	if from != "" {
		return reason + ", was on " + from
	}
	return reason
}

// dash stands for what there is not.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// full is the share of a capacity that is expected to be used.
func full(expected int, capacity *int) string {
	if capacity == nil || *capacity <= 0 {
		return "-"
	}
	return percent(float64(expected) / float64(*capacity))
}

func percent(share float64) string { return fmt.Sprintf("%.0f%%", 100*share) }

func score(q *float64) string {
	if q == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f", *q)
}

const lbPlanHelp = `Shows which groups would move, and why, and changes nothing. Plans are carried out as soon as there
is cause, so that without flags normally nothing would move.

With flags it shows what would be if clusters were lost, could hold another number, or groups expected
another number. FULL is the share of a cluster's capacity that its groups expect to use.`

const lbPlanExample = `  tandem lb plan
  tandem lb plan --lose east
  tandem lb plan --capacity west=2000 --expected gold=400 --expected silver=100`

func newLBPlan(s *session) *cobra.Command {
	var form string
	var most int
	var capacity, expected []string
	var what control.WhatIf
	cmd := &cobra.Command{
		Use: "plan", Short: "Show what would move, and why", Long: lbPlanHelp, Example: lbPlanExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if what.Capacity, err = numbers("--capacity", capacity); err != nil {
				return err
			}
			if what.Expected, err = numbers("--expected", expected); err != nil {
				return err
			}
			if most < 0 {
				return misuse("--limit %d is negative", most)
			}
			plan, err := s.door().TryPlan(cmd.Context(), what)
			if err != nil {
				return err
			}
			if form != "table" {
				return s.show(form, plan, nil)
			}
			s.plan(plan, most)
			return nil
		},
	}
	outputFlag(cmd, &form, "table")
	flags := cmd.Flags()
	flags.StringSliceVar(&what.Lose, "lose", nil, "a cluster that would be lost; may be repeated")
	flags.StringSliceVar(&capacity, "capacity", nil, "CLUSTER=N: what a cluster could hold; may be repeated")
	flags.StringSliceVar(&expected, "expected", nil, "GROUP=N: what a group would expect; may be repeated")
	flags.IntVar(&most, "limit", 50, "show at most so many groups of each sort; YAML and JSON show all")
	_ = cmd.RegisterFlagCompletionFunc("lose", s.completeIDs(tandem.KindCluster)) // the flag exists
	return cmd
}

// numbers reads NAME=N.
func numbers(flag string, list []string) (map[string]int, error) {
	all := make(map[string]int, len(list))
	for _, item := range list {
		name, text, _ := strings.Cut(item, "=")
		n, err := strconv.Atoi(text)
		if name == "" || err != nil || n < 0 || n > math.MaxInt32 {
			return nil, misuse("%s %q is not NAME=N, such as gold=200", flag, item)
		}
		if _, twice := all[name]; twice {
			return nil, misuse("%s %s stands twice", flag, name)
		}
		all[name] = n
	}
	return all, nil
}

// plan prints what would be.
func (s *session) plan(p control.TriedPlan, most int) {
	t := table{header: []string{"CLUSTER", "STATE", "EXPECTED NOW", "THEN", "CAPACITY", "FULL"}}
	for _, c := range p.Clusters {
		state := "open"
		if !c.Open {
			state = "closed"
		}
		t.add(c.ID, state, strconv.Itoa(c.Now), strconv.Itoa(c.Then), dash(limit(c.Capacity)), full(c.Then, c.Capacity))
	}
	t.print(s.out, s.width())
	s.moves("would move", p.Moves, most)
	s.moves("would have no cluster", p.Unplaced, most)
	s.printf("\n")
	if p.Fullest != nil && *p.Fullest > 0 {
		s.fold(fmt.Sprintf("fullest cluster %s, all open ones together %s; no assignment could have the fullest below %s", percent(*p.Fullest), percent(*p.Mean), percent(*p.LeastFullest)))
	}
	if p.Moved == 0 && len(p.Moves) == 0 {
		s.printf("nothing would move\n")
		return
	}
	s.fold(fmt.Sprintf("groups that would lose their cluster: %d; no assignment could do with fewer than %d", p.Moved, p.Least))
}

// moves prints groups that would move, or have no cluster.
func (s *session) moves(what string, list []control.GroupMove, most int) {
	if len(list) == 0 {
		return
	}
	s.printf("\n%s %s:\n", plural(len(list), "group"), what)
	t := table{header: []string{"GROUP", "FROM", "TO", "EXPECTED", "WHY"}}
	for _, m := range list[:min(len(list), most)] {
		t.add(m.Group, dash(m.From), dash(m.To), strconv.Itoa(m.Expected), why(m.Reason, "", m.Text, m.Refuse))
	}
	t.print(s.out, s.width())
	if more := len(list) - most; more > 0 {
		s.printf("and %s more; -o json shows all\n", thousands(int64(more)))
	}
}

const lbPinHelp = `Pins a group to a cluster: no other one may serve it, whatever tier 1 would choose. When that
cluster cannot take it the group has none, and its calls are refused; lb status says why.`

func newLBPin(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use: "pin GROUP CLUSTER", Short: "Let one cluster alone serve a group", Long: lbPinHelp,
		Example: "  tandem lb pin gold east",
		Args:    between(2, 2), ValidArgsFunction: s.completePin,
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] == "" {
				return misuse("the cluster is empty; tandem lb unpin takes a pin away")
			}
			return s.pin(cmd.Context(), args[0], args[1], "group %s is pinned to "+args[1]+" at revision %d\n")
		},
	}
	s.waitFlag(cmd)
	return cmd
}

func newLBUnpin(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use: "unpin GROUP", Short: "Let tier 1 choose a group's cluster",
		Long:    "Takes a group's pin away. The group stays where it is until there is cause to move it.",
		Example: "  tandem lb unpin gold",
		Args:    between(1, 1), ValidArgsFunction: s.completeFirst(tandem.KindGroup),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.pin(cmd.Context(), args[0], "", "group %s is not pinned at revision %d\n")
		},
	}
	s.waitFlag(cmd)
	return cmd
}

// pin changes a group's pin and, once that is served, tells where the group is.
func (s *session) pin(ctx context.Context, group, cluster, said string) error {
	result, err := s.door().Pin(ctx, group, cluster)
	if err != nil {
		return err
	}
	s.printf(said, group, result.Revision)
	if err := s.served(ctx, result.Revision); err != nil || !s.wait {
		return err
	}
	found, err := s.door().Balance(ctx, control.BalanceOf{Group: group})
	if err != nil || len(found.Groups) == 0 {
		return nil // it was done; where lb does not run there is nothing to tell
	}
	g := found.Groups[0]
	if g.Cluster == "" {
		s.printf("it has no cluster: %s\n", why(g.Reason, "", g.Text, g.Refuse))
		return nil
	}
	s.printf("new calls go to cluster %s", g.Cluster)
	if g.Calls > 0 {
		s.printf("; calls that are up stay where they are: %d", g.Calls)
	}
	s.printf("\n")
	return nil
}

// completePin completes a group and then a cluster.
func (s *session) completePin(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return s.ids(cmd.Context(), tandem.KindGroup, typed), cobra.ShellCompDirectiveNoFileComp
	case 1:
		return s.ids(cmd.Context(), tandem.KindCluster, typed), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
