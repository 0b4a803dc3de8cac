package main

import (
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/tandem"
)

func newCall(s *session) *cobra.Command {
	return group("call", "Look at calls", newCallList(s))
}

func newCallList(s *session) *cobra.Command {
	var form, account string
	cmd := &cobra.Command{
		Use: "list", Short: "List calls",
		Long:    "Lists the calls under way and those that ended just now: who calls whom, for which account, on which\nnode, for how long.",
		Example: "  tandem call list\n  tandem call list --account 1001 -o json",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := s.door().Calls(cmd.Context(), account)
			if err != nil {
				return err
			}
			return s.show(form, found, func() table { return calls(found, time.Now()) })
		},
	}
	outputFlag(cmd, &form, "table")
	s.accountFlag(cmd, &account)
	return cmd
}

func calls(found []tandem.Call, now time.Time) table {
	t := table{header: []string{"ID", "ACCOUNT", "FROM", "TO", "TYPE", "NODE", "STATE", "FOR", "CAUSE"}}
	for _, c := range found {
		until := now
		if !c.Ended.IsZero() {
			until = c.Ended
		}
		t.add(c.ID, c.Account, c.From, c.To, c.Type, c.Node, string(c.State), until.Sub(c.Started).Round(time.Second).String(), c.Cause)
	}
	return t
}
