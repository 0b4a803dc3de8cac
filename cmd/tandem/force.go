package main

import (
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

const nodeForceHelp = `Has your word on a node's health count instead of what checks find:

  up    it is answered and gets calls although checks fail
  down  it is left out of DNS and gets no calls although it answers; that is not doubted
        even when all others are down. Emergency names keep it, last
  auto  your word is taken back, checks count again

The word outlives a restart and ends by itself with --for. It stands beside drain and out, which say
what a node is to do and not how it is.`

func newNodeForce(s *session) *cobra.Command {
	var ttl time.Duration
	var reason string
	cmd := &cobra.Command{
		Use: "force NODE up|down|auto", Short: "Say yourself whether a node is up", Long: nodeForceHelp,
		Example: "  tandem node force east1 down --for 1h --reason 'disk is being replaced'\n  tandem node force east1 auto",
		Args:    between(2, 2), ValidArgsFunction: s.completeForce,
		RunE: func(cmd *cobra.Command, args []string) error {
			if ttl < 0 || ttl > 0 && ttl < time.Second {
				return misuse("--for %s is less than a second", ttl)
			}
			if ttl > 366*24*time.Hour {
				return misuse("--for %s is over a year", ttl)
			}
			set, err := s.door().ForceNode(cmd.Context(), args[0], control.ForceRequest{State: args[1], Seconds: uint32(ttl / time.Second), Reason: reason})
			if err != nil {
				return err
			}
			if args[1] == "auto" {
				s.printf("node %s is as checks find it at revision %d\n", args[0], set.Revision)
			} else {
				s.printf("node %s is forced %s at revision %d%s\n", args[0], args[1], set.Revision, until(set.Until))
			}
			if err := s.served(cmd.Context(), set.Revision); err != nil {
				return err
			}
			if args[1] == string(tandem.HealthDown) {
				s.printf("%s still on it\n", are(set.Calls, "call"))
			}
			return nil
		},
	}
	s.waitFlag(cmd)
	cmd.Flags().DurationVar(&ttl, "for", 0, "how long it counts, such as 1h (default until it is taken back)")
	cmd.Flags().StringVar(&reason, "reason", "", "why; whoever looks at the node reads it")
	return cmd
}

// until says when something ends, "" when it does not.
func until(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ", until " + t.UTC().Format(time.RFC3339)
}

// completeForce completes a node and then a word.
func (s *session) completeForce(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return s.ids(cmd.Context(), tandem.KindNode, typed), cobra.ShellCompDirectiveNoFileComp
	case 1:
		return []string{"up", "down", "auto"}, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
