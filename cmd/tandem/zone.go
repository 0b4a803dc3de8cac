package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"tandem/dnsd/zonecheck"
	"tandem/internal/tandem"
)

func newZone(s *session) *cobra.Command {
	return group("zone", "Check, import and export zones", newZoneList(s), newZoneCheck(s), newZoneImport(s), newZoneExport(s))
}

func newZoneList(s *session) *cobra.Command {
	var form string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List zones", Long: "Lists the zones of the running tandem; the same as tandem get zones.",
		Example: "  tandem zone list\n  tandem zone list -o json", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l := &listing{session: s, kind: tandem.KindZone, form: form, table: table{header: header(tandem.KindZone)}}
			return l.all(cmd.Context(), "", limit)
		},
	}
	outputFlag(cmd, &form, "table")
	cmd.Flags().IntVar(&limit, "limit", 0, "show at most so many; 0 shows all")
	return cmd
}

const zoneCheckHelp = `Checks a file of zone text, without a running tandem: the text itself, what stands together at a
name and below cuts, where NS, MX, SRV and NAPTR lead, glue, hosts' names, signatures and denials
when it is signed, ZONEMD.

Each finding is a line file:line: severity: text (RFC). An error is what kzonecheck, nsd-checkzone or
named-checkzone refuses, or what breaks names; a warning is for you to look at. The exit code is 1
when there is an error.

$INCLUDE is followed, relative to the file that it stands in.`

func newZoneCheck(s *session) *cobra.Command {
	var form string
	var o zonecheck.Options
	cmd := &cobra.Command{
		Use: "check FILE", Short: "Find what is wrong with a file of zone text", Long: zoneCheckHelp,
		Example: "  tandem zone check example.net.zone\n  tandem zone check db.example --origin example.net -o json",
		Args:    between(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return misuse("%v", err)
			}
			defer func() { _ = f.Close() }() // it was only read
			o.File, o.Include = args[0], includeFile
			report, err := zonecheck.Check(f, o)
			if err != nil {
				return misuse("%s: %v", args[0], err)
			}
			if form != "table" {
				err = s.show(form, report, nil)
			} else {
				s.findings(report)
			}
			if n := report.Errors(); err == nil && n > 0 {
				err = errors.New(plural(n, "error"))
			}
			return err
		},
	}
	outputFlag(cmd, &form, "table")
	cmd.Flags().StringVar(&o.Origin, "origin", "", "apex of the zone (default the owner of its SOA)")
	return cmd
}

func (s *session) findings(r *zonecheck.Report) {
	for _, f := range r.Findings {
		s.printf("%s\n", f)
	}
	signed := "not signed"
	if r.Signed {
		signed = "signed"
	}
	warnings := len(r.Findings) - r.Errors()
	s.printf("%s: %s, %s; %s, %s\n", r.Origin, plural(r.Records, "record"), signed, plural(r.Errors(), "error"), plural(warnings, "warning"))
}

// includeFile opens what $INCLUDE names, relative to the file that it stands in.
func includeFile(name, from string) (io.ReadCloser, string, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(from), name)
	}
	f, err := os.Open(name)
	return f, name, err
}
