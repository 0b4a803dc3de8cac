package main

import (
	"context"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

const deleteHelp = `Deletes one object, or all that a file of documents names by kind and id.

What other objects still refer to is not deleted. In a file the order does not matter, and what
does not exist is no error.`

const deleteExample = `  tandem delete device 1001-2
  tandem delete -f telco.yaml`

func newDelete(s *session) *cobra.Command {
	var file string
	bar := progress{session: s}
	cmd := &cobra.Command{
		Use: "delete (KIND ID | -f FILE|-)", Short: "Delete objects", Long: deleteHelp, Example: deleteExample,
		Args: between(0, 2), ValidArgsFunction: s.completeObject,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			var result control.Result
			var err error
			switch {
			case len(args) == 2 && file == "":
				result, err = s.deleteOne(ctx, args[0], args[1])
			case len(args) == 0 && file != "":
				result, err = s.send(ctx, file, &bar, s.shrinking().DeleteAll)
			default:
				return misuse("give either KIND and ID, or -f FILE")
			}
			if err != nil {
				return err
			}
			if err := s.served(ctx, result.Revision); err != nil {
				return err
			}
			if file != "" {
				s.printf("%s: %s deleted, %s not there\n", plural(result.Total, "document"), thousands(int64(result.Deleted)), thousands(int64(result.Absent)))
			}
			return nil
		},
	}
	fileFlag(cmd, &file)
	bar.flag(cmd)
	s.waitFlag(cmd)
	s.shrinkFlag(cmd)
	return cmd
}

func (s *session) deleteOne(ctx context.Context, name, id string) (control.Result, error) {
	k, err := kindArg(name)
	if err != nil {
		return control.Result{}, err
	}
	result, err := s.door().Delete(ctx, k, id, tandem.Revision(0))
	if err == nil {
		s.printf("%s %s deleted at revision %d\n", k, id, result.Revision)
	}
	return result, err
}
