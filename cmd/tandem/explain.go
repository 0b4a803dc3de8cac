package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

const explainHelp = `Explains a kind of object, or one of its fields: what it takes and what it is for.

Without an argument it lists the kinds. It needs no running tandem.`

const explainExample = `  tandem explain
  tandem explain account
  tandem explain account.labels.role`

func newExplain(s *session) *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use: "explain [KIND[.FIELD]]", Short: "Explain kinds and fields", Long: explainHelp, Example: explainExample,
		Args: between(0, 1), ValidArgsFunction: completePath,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return s.explainKinds(form)
			}
			e, err := control.Explain(args[0])
			if err != nil {
				return err
			}
			if form != "table" {
				return s.show(form, e, nil)
			}
			s.explain(e)
			return nil
		},
	}
	outputFlag(cmd, &form, "table")
	return cmd
}

func (s *session) explainKinds(form string) error {
	t := table{header: []string{"KIND", "WHAT IT IS"}}
	var all []control.Explanation
	for _, k := range tandem.Kinds() {
		e, err := control.Explain(string(k))
		if err != nil {
			return err
		}
		all = append(all, e)
		t.add(e.Path, e.Explain)
	}
	return s.show(form, all, func() table { return t })
}

// explain writes an explanation as text, folded to the terminal or to 100 columns.
func (s *session) explain(e control.Explanation) {
	width := s.width()
	if width == 0 {
		width = 100
	}
	s.printf("%s (%s)\n%s\n", e.Path, e.Type, fold(e.Explain, "  ", width))
	if len(e.Fields) == 0 {
		return
	}
	s.printf("\nFields:\n")
	for _, f := range e.Fields {
		need := ", required"
		if f.Optional {
			need = ""
		}
		s.printf("  %s (%s%s)\n%s\n", f.Name, f.Type, need, fold(f.Explain, "      ", width))
	}
}

// fold breaks text into lines that fit width, each after indent.
func fold(text, indent string, width int) string {
	var b strings.Builder
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width && line != indent {
			fmt.Fprintln(&b, line)
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	b.WriteString(line)
	return b.String()
}
