package main

import (
	"time"

	"github.com/spf13/cobra"
)

const upgradeHelp = `Replaces the running process by a new one of the program that is now at its path, without losing
a question: put the new program there first, by renaming it into place.

The new process reads the configuration file and the stored objects while the old one serves. Then
it gets the listening sockets and the store, and the old one finishes what it has in hand and ends.
When the new process does not come up, the old one goes on as before, and the exit code is 1.

SIGUSR2 to the running process does the same; its log says how it went.`

func newUpgrade(s *session) *cobra.Command {
	var patience time.Duration
	cmd := &cobra.Command{
		Use: "upgrade", Short: "Replace the running tandem without losing a question", Long: upgradeHelp,
		Example: "  tandem upgrade\n  tandem upgrade --patience 30s",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pid, err := s.door().Upgrade(cmd.Context(), patience)
			if err != nil {
				return err
			}
			s.printf("process %d serves\n", pid)
			return nil
		},
	}
	cmd.Flags().DurationVar(&patience, "patience", 0, "how long the new process may take to load, in whole seconds (default 10m)")
	return cmd
}
