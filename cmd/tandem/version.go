package main

import (
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Tell this program's version",
		Example: "  tandem version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s.printf("tandem %s\n", version())
			return nil
		},
	}
}

// version names the commit that the program was built from, when the build knew it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	return v + " " + info.GoVersion
}
