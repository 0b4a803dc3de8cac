package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/control"
)

const applyHelp = `Makes the running tandem hold what the documents say: creates what is not there, changes what is
different, leaves the rest alone. Applying a file again changes nothing.

Every document is checked before the first is written; faults are told as file:line: field: reason.
They are written in batches of 1,000, each one commit; after an interruption apply the file again.

A file holds YAML documents between lines of ---, JSON Lines, or JSON objects one after the other.`

const applyExample = `  tandem apply -f telco.yaml
  tandem get account 1001 -o yaml | sed s/old/new/ | tandem apply -f -
  tandem apply -f accounts.jsonl --progress=plain`

func newApply(s *session) *cobra.Command {
	var file, form string
	bar := progress{session: s}
	cmd := &cobra.Command{
		Use: "apply -f FILE|-", Short: "Create and change objects from documents", Long: applyHelp, Example: applyExample,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			began := time.Now()
			result, err := s.send(cmd.Context(), file, &bar, s.shrinking().Apply)
			if err != nil {
				return err
			}
			if err := s.served(cmd.Context(), result.Revision); err != nil {
				return err
			}
			if form != "table" {
				return s.show(form, result, nil)
			}
			s.printf("%s\n", applied(result, time.Since(began)))
			return nil
		},
	}
	fileFlag(cmd, &file)
	bar.flag(cmd)
	outputFlag(cmd, &form, "table")
	s.waitFlag(cmd)
	s.shrinkFlag(cmd)
	return cmd
}

// shrinkFlag adds --allow-shrink to a command that takes documents.
func (s *session) shrinkFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.shrink, "allow-shrink", false, "let a zone lose over half of its records or accounts")
}

// shrinking returns the door as --allow-shrink has it.
func (s *session) shrinking() *control.Client {
	if s.shrink {
		return s.door().AllowShrink()
	}
	return s.door()
}

// applied says in a line what an apply came to.
func applied(r control.Result, took time.Duration) string {
	line := fmt.Sprintf("%s: %s created, %s changed, %s unchanged",
		plural(r.Total, "document"), thousands(int64(r.Created)), thousands(int64(r.Changed)), thousands(int64(r.Unchanged)))
	if r.Revision != 0 {
		line += fmt.Sprintf("; revision %d, last line %d", r.Revision, r.Line)
	}
	if took > 2*time.Second {
		line += fmt.Sprintf("; %.1f s, %s objects/s", took.Seconds(), thousands(int64(float64(r.Total)/took.Seconds())))
	}
	return line
}

// fileFlag adds -f, which the command needs.
func fileFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "file", "f", "", "file of documents, - for standard input")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml", "json", "jsonl", "ndjson") // the flag exists
}

// sender is one of the client's methods that take documents.
type sender func(ctx context.Context, name string, documents io.Reader, event func(control.Event)) (control.Result, error)

// send gives a file to the running tandem, showing progress.
func (s *session) send(ctx context.Context, file string, bar *progress, to sender) (control.Result, error) {
	var in io.Reader
	size, name := int64(0), file
	switch file {
	case "":
		return control.Result{}, misuse("-f is missing: a file of documents, or - for standard input")
	case "-":
		in, name = s.in, "(stdin)"
	default:
		f, err := os.Open(file)
		if err != nil {
			return control.Result{}, misuse("%v", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		info, err := f.Stat()
		if err != nil || info.IsDir() {
			return control.Result{}, misuse("%s is not a file of documents", file)
		}
		in, size = f, info.Size()
	}
	bar.start()
	defer bar.end()
	return to(ctx, name, bar.reader(in, size), bar.event)
}

// thousands writes a number with commas.
func thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(int64(n)) + " " + noun + "s"
}
