package main

import (
	"iter"
	"strings"

	"github.com/spf13/cobra"

	"tandem/internal/tandem"
)

func newDNS(s *session) *cobra.Command {
	return group("dns", "Look at name resolution", newDNSTrace(s), newDNSStats(s), newDNSTop(s))
}

func newDNSTrace(s *session) *cobra.Command {
	var form, from string
	cmd := &cobra.Command{
		Use: "trace NAME", Short: "Explain why a name is answered as it is",
		Long: "Explains step by step what DNS answers for a name and why: zone, account, group, cluster, policy, each\n" +
			"node with what checks found and what an operator forced, the arithmetic of priorities, weights and\n" +
			"NAPTR order, TTLs and records. --from takes an address or a network.",
		Example: "  tandem dns trace alpha.voice.example.net\n  tandem dns trace invite.1001.svc.voice.example.net --from 127.0.0.11\n  tandem dns trace invite.1001.svc.voice.example.net --from 10.0.0.0/8 -o json",
		Args:    between(1, 1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			steps, err := s.door().Trace(cmd.Context(), args[0], from)
			if err != nil {
				return err
			}
			return s.show(form, steps, func() table {
				return explained(steps, s.width())
			})
		},
	}
	outputFlag(cmd, &form, "table")
	cmd.Flags().StringVar(&from, "from", "", "address or network of the clients that ask (default this machine)")
	return cmd
}

// explained lays steps out, folded to a width; zero folds nothing.
func explained(steps []tandem.Step, width int) table {
	t := table{header: []string{"WHAT", "FOUND"}, whole: true}
	room := 0
	for _, step := range steps {
		room = max(room, len(step.What))
	}
	for _, step := range steps {
		what := step.What
		for line := range strings.SplitSeq(step.Text, "\n") {
			for part := range folded(line, width-room-len(gap)) {
				t.add(what, part)
				what = ""
			}
		}
	}
	return t
}

// folded yields a line in parts of at most width letters, all but the first indented, broken at blanks
// where there is one; a width of zero or less folds nothing.
func folded(line string, width int) iter.Seq[string] {
	return func(yield func(string) bool) {
		const indent = "  "
		for width > len(indent)+8 && len(line) > width {
			at := strings.LastIndexByte(line[:width+1], ' ')
			if at <= len(indent) {
				at = width
			}
			if !yield(line[:at]) {
				return
			}
			line = indent + strings.TrimLeft(line[at:], " ")
		}
		yield(line)
	}
}
