package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

const eventsHelp = `Shows what happens to calls, one line an event: the last ten events, then with -f each further one
as it happens.

Every event has a number. A reader that was cut off goes on with --after and the last number that
it saw, and misses nothing; an event that is no longer kept is an error, not a gap.`

const eventsExample = `  tandem events -f
  tandem events --last 100 --account 1001
  tandem events -f --after 48211 -o json`

func newEvents(s *session) *cobra.Command {
	var form string
	var after uint64
	which := control.CallEvents{}
	cmd := &cobra.Command{
		Use: "events", Short: "Watch what happens to calls", Long: eventsHelp, Example: eventsExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if which.Last < 0 {
				return misuse("--last %d is negative", which.Last)
			}
			if cmd.Flags().Changed("after") {
				which.After = (*tandem.Revision)(&after)
			}
			w := &eventWriter{session: s, form: form, table: table{
				header: []string{"EVENT", "TIME", "CALL", "ACCOUNT", "STATE   ", "FROM", "TO", "CAUSE"}, // most states fit
				spare:  []string{"ACCOUNT"}}}
			err := s.door().CallEvents(cmd.Context(), which, w.write)
			if err != nil && w.last != 0 {
				return fmt.Errorf("%w; go on with --after %d", err, w.last)
			}
			return err
		},
	}
	outputFlag(cmd, &form, "table")
	s.accountFlag(cmd, &which.Account)
	cmd.Flags().BoolVarP(&which.Follow, "follow", "f", false, "go on with each event as it happens")
	cmd.Flags().IntVar(&which.Last, "last", 10, "begin with the last so many events")
	cmd.Flags().Uint64Var(&after, "after", 0, "begin after the event of this number")
	return cmd
}

// eventWriter writes events as they come.
type eventWriter struct {
	*session
	form  string
	table table
	last  tandem.Revision
}

func (w *eventWriter) write(e tandem.CallEvent) error {
	if w.form == "table" {
		w.table.add(fmt.Sprint(e.Seq), e.Time.Local().Format("15:04:05.000"), e.Call.ID, e.Call.Account, string(e.State), e.Call.From, e.Call.To, e.Call.Cause)
		w.table.print(w.out, w.width())
		w.last = e.Seq
		return nil
	}
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode the output: %w", err)
	}
	if w.form == "yaml" {
		if data, err = control.YAML(data); err != nil {
			return err
		}
		w.printf("---\n%s", data)
	} else {
		w.printf("%s\n", data)
	}
	w.last = e.Seq
	return nil
}
