package main

import (
	"context"
	"encoding/json"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"tandem/internal/control"
)

const diffHelp = `Tells what apply would do with the same file, and does nothing.

+ stands before an object that would be created, ~ before one that would change, followed by its
fields: what is stored, an arrow, what would be. Secrets are not shown.`

const diffExample = `  tandem diff -f telco.yaml
  tandem diff -f accounts.jsonl -o json`

func newDiff(s *session) *cobra.Command {
	var file, form string
	bar := progress{session: s}
	cmd := &cobra.Command{
		Use: "diff -f FILE|-", Short: "Tell what apply would change", Long: diffHelp, Example: diffExample,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			show := s.difference
			if form != "table" {
				show = func(d *control.Difference) { s.differenceAs(form, d) }
			}
			result, err := s.send(cmd.Context(), file, &bar, s.differing(show))
			if err != nil || form != "table" {
				return err
			}
			s.printf("%s: %s to create, %s to change, %s unchanged\n", plural(result.Total, "document"),
				thousands(int64(result.Created)), thousands(int64(result.Changed)), thousands(int64(result.Unchanged)))
			return nil
		},
	}
	fileFlag(cmd, &file)
	bar.flag(cmd)
	outputFlag(cmd, &form, "table")
	return cmd
}

// differing is the client's Diff, with differences shown as they come.
func (s *session) differing(show func(*control.Difference)) sender {
	return func(ctx context.Context, name string, documents io.Reader, event func(control.Event)) (control.Result, error) {
		return s.door().Diff(ctx, name, documents, func(e control.Event) {
			if e.Difference != nil {
				show(e.Difference)
			}
			event(e)
		})
	}
}

// difference shows what one document would change.
func (s *session) difference(d *control.Difference) {
	if d.Action == control.Created {
		s.printf("+ %s %s\n", d.Kind, d.ID)
		return
	}
	s.printf("~ %s %s\n", d.Kind, d.ID)
	for _, f := range d.Fields {
		was, will := f.Old, f.New
		if was == "" {
			was = "nothing"
		}
		if will == "" {
			will = "nothing"
		}
		s.printf("    %s: %s -> %s\n", f.Field, strings.Map(printable, was), strings.Map(printable, will))
	}
}

func (s *session) differenceAs(form string, d *control.Difference) {
	data, err := json.Marshal(d)
	if err == nil && form == "yaml" {
		data, err = control.YAML(data)
		data = append([]byte("---\n"), data...)
	}
	if err != nil {
		panic("tandem: a difference that is not JSON: " + err.Error())
	}
	s.printf("%s\n", strings.TrimSuffix(string(data), "\n"))
}
