package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/node"
)

func newStore(s *session) *cobra.Command {
	return group("store", "Look after the stored data", newBackup(s), newRestore(s), newVerify(s))
}

func newBackup(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "backup DIR", Short: "Copy the store of the running tandem",
		Long: "Writes a copy of the store, as it is at one moment, into a folder that does not exist yet or is\n" +
			"empty. The server writes it, as the user it runs as. The key that opens sealed secrets is in the\n" +
			"copy: keep it as safe as the store itself.",
		Example: "  tandem store backup /var/backups/tandem-monday",
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return fmt.Errorf("backup to %s: %w", args[0], err)
			}
			if err := s.door().Backup(cmd.Context(), dir); err != nil {
				return err
			}
			s.printf("store copied to %s\n", dir)
			return nil
		},
	}
}

func newRestore(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "restore BACKUP DATA", Short: "Make a data directory from a backup",
		Long: "Checks a backup against its digests and makes a data directory of it, which must not exist yet or\n" +
			"be empty; no tandem needs to run. Revisions go on beyond all that were given out before.",
		Example: "  tandem store restore /var/backups/tandem-monday /var/lib/tandem",
		Args:    between(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := node.Restore(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			s.printf("%s restored to %s\n", args[0], args[1])
			return nil
		},
	}
}

func newVerify(s *session) *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use: "verify", Short: "Read the whole store and tell what is damaged",
		Long:    "Reads every stored value and its checksum while the tandem runs on. It ends with exit code 1 when\nsomething is damaged.",
		Example: "  tandem store verify",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := s.door().Verify(cmd.Context())
			if err != nil {
				return err
			}
			if form != "table" {
				err = s.show(form, found, nil)
			} else {
				s.verified(found)
			}
			if err == nil && len(found.Problems) > 0 {
				return fmt.Errorf("the store is damaged in %s; restore a backup", plural(len(found.Problems), "place"))
			}
			return err
		},
	}
	outputFlag(cmd, &form, "table")
	return cmd
}

func (s *session) verified(found control.Verified) {
	for _, p := range found.Problems {
		s.printf("%s\n", p)
	}
	s.printf("%s read, %s\n", plural(int(found.Values), "value"), plural(len(found.Problems), "problem"))
}
