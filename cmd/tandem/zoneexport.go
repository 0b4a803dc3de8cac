package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tandem/dnsd/zonefile"
	"tandem/internal/tandem"
)

const zoneExportHelp = `Writes zones' plain records as zone text in canonical form: one record a line, absolute names,
every type in its own form or that of RFC 3597, in the canonical order of names (RFC 4034
section 6.1).

One zone goes to standard output, or into a folder as NAME.zone; --all writes every zone so. What
tandem composes - accounts' names, and SOA, NS and addresses that the text does not have - is not
among them.`

func newZoneExport(s *session) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "export (NAME [DIR] | --all DIR)", Short: "Write zones as files of zone text", Long: zoneExportHelp,
		Example: "  tandem zone export example.net\n  tandem zone export example.net backup\n  tandem zone export --all backup",
		Args:    between(1, 2), ValidArgsFunction: s.completeFirst(tandem.KindZone),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case all && len(args) == 1:
				return s.exportAll(cmd.Context(), args[0])
			case all:
				return misuse("--all takes one folder")
			}
			item, err := s.door().Get(cmd.Context(), tandem.KindZone, strings.ToLower(strings.TrimSuffix(args[0], ".")))
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return exportZone(s.out, item)
			}
			return exportFile(args[1], item)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every zone")
	return cmd
}

// exportAll writes every zone into dir, page by page.
func (s *session) exportAll(ctx context.Context, dir string) error {
	count := 0
	for after := ""; ; {
		page, err := s.door().List(ctx, tandem.KindZone, "", after, 100)
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			if err := exportFile(dir, item); err != nil {
				return err
			}
			count++
		}
		if after = page.Next; after == "" {
			s.printf("%s written to %s\n", plural(count, "zone"), dir)
			return nil
		}
	}
}

// exportFile writes a zone into dir; a file is there whole or not at all.
func exportFile(dir string, item json.RawMessage) error {
	var z tandem.Zone
	if err := json.Unmarshal(item, &z); err != nil {
		return fmt.Errorf("a zone's document: %w", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	path := filepath.Join(dir, z.ID+".zone") // an id is a domain name of letters, digits, hyphens and dots
	f, err := os.CreateTemp(dir, ".export-*")
	if err != nil {
		return err
	}
	err = errors.Join(exportZone(f, item), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error that counts is err
	}
	return err
}

// exportZone writes a zone's plain records to out.
func exportZone(out io.Writer, item json.RawMessage) error {
	var z tandem.Zone
	if err := json.Unmarshal(item, &z); err != nil {
		return fmt.Errorf("a zone's document: %w", err)
	}
	origin, err := zonefile.ParseName(z.ID+".", "")
	if err != nil {
		return err
	}
	var records []zonefile.Record
	for r := zonefile.NewReader(strings.NewReader(z.Records), zonefile.Options{Origin: origin}); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("zone %s: %w", z.ID, err)
		}
		records = append(records, rec)
	}
	slices.SortStableFunc(records, func(a, b zonefile.Record) int { return zonefile.Compare(&a, &b) })
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "$ORIGIN %s\n", zonefile.NameText(origin))
	for i := range records {
		_, _ = w.Write(append(records[i].AppendText(nil), '\n')) // Flush tells
	}
	return w.Flush()
}
