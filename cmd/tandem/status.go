package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/control"
)

func newStatus(s *session) *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use: "status", Short: "Tell how the running tandem is",
		Long:    "Tells how the running tandem is: its revision, its parts and where they listen, and how much\nthere is of what.",
		Example: "  tandem status\n  tandem status -o json",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := s.door().Status(cmd.Context())
			if err != nil {
				return err
			}
			if form != "table" {
				return s.show(form, status, nil)
			}
			s.status(status)
			return nil
		},
	}
	outputFlag(cmd, &form, "table")
	return cmd
}

func (s *session) status(status control.Status) {
	s.printf("tandem %s, up since %s\n", status.Version, status.Started.Local().Format(time.DateTime))
	s.printf("revision %d, epoch %d\n", status.Revision, status.Epoch)
	s.printf("\n")
	t := table{header: []string{"PART", "STATE", "SERVES", "LISTENS"}, whole: true}
	for _, p := range status.Parts {
		serves := ""
		if p.Serves != 0 {
			serves = fmt.Sprint(p.Serves)
		}
		t.add(p.Name, p.State, serves, strings.Join(p.Addresses, " "))
	}
	t.print(s.out, s.width())
	if len(status.Counts) == 0 {
		return
	}
	s.printf("\n")
	counts := table{header: []string{"HOW MANY", ""}}
	for _, c := range status.Counts {
		counts.add(c.Name, thousands(c.Value))
	}
	counts.print(s.out, s.width())
}
