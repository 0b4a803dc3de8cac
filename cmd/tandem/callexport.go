package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tandem/internal/tandem"
)

const callExportHelp = `Writes call records to standard output, oldest first, as CSV or as JSON Lines.

It streams: any number of records needs no memory. CSV has a header line, times in UTC, and is made
safe for spreadsheets: a text that one would take for a formula gets an apostrophe before it. JSON
Lines has every field as it is stored. The flags choose as those of tandem call list.`

const callExportExample = `  tandem call export --since 2026-11-01 --until 2026-12-01 > november.csv
  tandem call export --format jsonl --account 1001 | gzip > calls.jsonl.gz`

func newCallExport(s *session) *cobra.Command {
	form := exportForm("csv")
	choice, bar := &callChoice{}, &progress{session: s}
	cmd := &cobra.Command{
		Use: "export", Short: "Write call records as CSV or JSON Lines", Long: callExportHelp, Example: callExportExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := choice.filter(time.Now())
			if err != nil {
				return err
			}
			f.Oldest = true
			if out, ok := s.out.(*os.File); ok && term.IsTerminal(int(out.Fd())) {
				bar.form = "none" // the records themselves show how it goes
			}
			bar.start()
			defer bar.end()
			write, flush := s.exporter(string(form))
			var done int64
			err = s.eachCall(cmd.Context(), f, 0, func(page []tandem.Call) error {
				for i := range page {
					if err := write(&page[i]); err != nil {
						return fmt.Errorf("write the records: %w", err)
					}
				}
				done += int64(len(page))
				bar.at("export", done, 0)
				return nil
			})
			if e := flush(); err == nil && e != nil {
				err = fmt.Errorf("write the records: %w", e)
			}
			return err
		},
	}
	cmd.Flags().Var(&form, "format", "csv or jsonl")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"csv", "jsonl"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	bar.flag(cmd)
	choice.flags(s, cmd)
	return cmd
}

// exportForm is a flag that takes csv or jsonl.
type exportForm string

func (f *exportForm) String() string { return string(*f) }
func (*exportForm) Type() string     { return "form" }

// Set takes csv or jsonl.
func (f *exportForm) Set(text string) error {
	if text != "csv" && text != "jsonl" {
		return fmt.Errorf("%q is not csv or jsonl", text)
	}
	*f = exportForm(text)
	return nil
}

// exporter returns what writes one record, and what ends the writing.
func (s *session) exporter(form string) (write func(*tandem.Call) error, flush func() error) {
	if form == "jsonl" {
		out := bufio.NewWriter(s.out)
		lines := json.NewEncoder(out)
		return func(c *tandem.Call) error { return lines.Encode(c) }, out.Flush
	}
	out := csv.NewWriter(s.out)
	_ = out.Write(csvHeader()) // Flush tells of what went wrong
	return func(c *tandem.Call) error { return out.Write(csvRow(c)) }, func() error {
		out.Flush()
		return out.Error()
	}
}

func csvHeader() []string {
	return []string{
		"id", "account", "from", "to", "user", "device", "type", "route", "groups", "cluster", "node", "state",
		"started", "ringing", "answered", "ended", "talkSeconds", "cause", "endedBy", "status", "reason",
		"tryingMs", "ringingMs", "answerMs", "attempts", "session", "joined", "callId", "timeUncertain",
	}
}

// csvRow is a record's cells, in the order of csvHeader.
func csvRow(c *tandem.Call) []string {
	talk := ""
	if c.WasAnswered() && !c.Ended.IsZero() {
		talk = strconv.FormatFloat(c.Ended.Sub(c.Answered).Seconds(), 'f', 3, 64)
	}
	uncertain := ""
	if c.TimeUncertain {
		uncertain = "true"
	}
	cells := []string{
		c.ID, c.Account, c.From, c.To, c.User, c.Device, c.Type, c.Route, strings.Join(c.Groups, " "), c.Cluster, c.Node, string(c.State),
		stamp(c.Started), stamp(c.Ringing), stamp(c.Answered), stamp(c.Ended), talk, c.Cause, string(c.EndedBy), number(uint64(c.Status)), c.Reason,
		number(uint64(c.Quality.Trying)), number(uint64(c.Quality.Ringing)), number(uint64(c.Quality.Answer)), number(uint64(c.Quality.Attempts)),
		c.Session, c.Joined, c.CallID, uncertain,
	}
	for i := range cells {
		cells[i] = harmless(cells[i])
	}
	return cells
}

// stamp is a time in a cell, empty when there is none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// number is a number in a cell, empty when it is unknown.
func number(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// harmless keeps a spreadsheet from running what a stranger put into a call. A telephone number may
// begin with a plus, and have a host.
func harmless(cell string) string {
	if cell == "" || !strings.ContainsRune("=@+-\t\r", rune(cell[0])) {
		return cell
	}
	if digits, host, _ := strings.Cut(cell[1:], "@"); cell[0] == '+' && strings.Trim(digits, "0123456789") == "" && strings.Trim(strings.ToLower(host), "0123456789abcdefghijklmnopqrstuvwxyz.-") == "" {
		return cell
	}
	return "'" + cell
}
