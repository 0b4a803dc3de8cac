package main

import (
	"strings"

	"github.com/spf13/cobra"
)

func newDNS(s *session) *cobra.Command {
	return group("dns", "Look at name resolution", newDNSTrace(s))
}

func newDNSTrace(s *session) *cobra.Command {
	var form, from string
	cmd := &cobra.Command{
		Use: "trace NAME", Short: "Explain why a name is answered as it is",
		Long: "Explains step by step what DNS answers for a name and why: zone, account, group, cluster, nodes\n" +
			"and their states.",
		Example: "  tandem dns trace alpha.voice.example.net\n  tandem dns trace invite.1001.svc.voice.example.net --from 127.0.0.11",
		Args:    between(1, 1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			steps, err := s.door().Trace(cmd.Context(), args[0], from)
			if err != nil {
				return err
			}
			return s.show(form, steps, func() table {
				t := table{header: []string{"WHAT", "FOUND"}, whole: true}
				for _, step := range steps {
					what := step.What
					for line := range strings.SplitSeq(step.Text, "\n") {
						t.add(what, line)
						what = ""
					}
				}
				return t
			})
		},
	}
	outputFlag(cmd, &form, "table")
	cmd.Flags().StringVar(&from, "from", "", "address of the client that asks (default this machine)")
	return cmd
}
