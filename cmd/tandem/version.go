package main

import (
	"github.com/spf13/cobra"

	"tandem/internal/node"
)

func newVersion(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Tell this program's version",
		Example: "  tandem version",
		Args:    none,
		RunE: func(*cobra.Command, []string) error {
			s.printf("tandem %s\n", node.Version())
			return nil
		},
	}
}
