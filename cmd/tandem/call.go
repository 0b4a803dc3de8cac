package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

func newCall(s *session) *cobra.Command {
	return group("call", "Look at calls and end them", newCallList(s), newCallShow(s), newCallExport(s), newCallHangup(s))
}

const callListHelp = `Lists calls, newest first: those under way, those that ended and those that were refused.

The flags choose: an account, when calls began, who took part, how they stand or how they ended. A
party is a caller or called party with or without its host, or a user or device of the account.
Times are 2h, 3d (that long ago), 2026-11-20, 2026-11-20T08:00 or with seconds and zone. Many calls
are better written to a file: tandem call export.`

const callListExample = `  tandem call list
  tandem call list --account 1001 --since 2h
  tandem call list --state answered
  tandem call list --since 3d --until 2d --cause 486 -o json`

func newCallList(s *session) *cobra.Command {
	var form string
	var limit int
	choice := &callChoice{}
	cmd := &cobra.Command{
		Use: "list", Short: "List calls", Long: callListHelp, Example: callListExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			const most = 10_000
			f, err := choice.filter(time.Now())
			if err != nil {
				return err
			}
			if limit < 1 || limit > most {
				return misuse("--limit %d is not 1 to %d; tandem call export gives more", limit, most)
			}
			found := []tandem.Call{}
			err = s.eachCall(cmd.Context(), f, limit, func(page []tandem.Call) error {
				found = append(found, page...)
				return nil
			})
			if err != nil {
				return err
			}
			return s.show(form, found, func() table { return calls(found, time.Now()) })
		},
	}
	outputFlag(cmd, &form, "table")
	cmd.Flags().IntVar(&limit, "limit", 100, "show at most so many")
	choice.flags(s, cmd)
	return cmd
}

// callChoice is the flags that choose among calls.
type callChoice struct{ account, since, until, party, state, cause string }

func (c *callChoice) flags(s *session, cmd *cobra.Command) {
	s.accountFlag(cmd, &c.account)
	flags := cmd.Flags()
	flags.StringVar(&c.since, "since", "", "only calls that began then or later")
	flags.StringVar(&c.until, "until", "", "only calls that began before")
	flags.StringVar(&c.party, "party", "", "only calls of this party, user or device")
	flags.StringVar(&c.state, "state", "", "only calls in this state")
	flags.StringVar(&c.cause, "cause", "", "only calls that ended so: bye, cancel, 486, permitted, no-cluster, ...")
	states := make([]string, len(tandem.CallStates()))
	for i, state := range tandem.CallStates() {
		states[i] = string(state)
	}
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// filter is what the flags choose.
func (c *callChoice) filter(now time.Time) (tandem.CallFilter, error) {
	f := tandem.CallFilter{Account: c.account, Party: c.party, State: tandem.CallState(c.state), Cause: c.cause}
	var err error
	if f.From, err = moment("--since", c.since, now); err != nil {
		return f, err
	}
	if f.To, err = moment("--until", c.until, now); err != nil {
		return f, err
	}
	if !f.From.IsZero() && !f.To.IsZero() && !f.From.Before(f.To) {
		return f, misuse("--until %s is not after --since %s", c.until, c.since)
	}
	if err := f.Validate(); err != nil {
		return f, misuse("--%v", err)
	}
	return f, nil
}

// moment reads a time as people write it: how long ago, or a day, or a day and a time.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	var days int
	var rest string
	if n, _ := fmt.Sscanf(text, "%d%s", &days, &rest); n == 2 && rest == "d" && days >= 0 && days < 100_000 {
		return now.AddDate(0, 0, -days), nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", time.DateTime, "2006-01-02 15:04", time.RFC3339} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, misuse("%s %q is no time: 2h, 3d, 2026-11-20 or 2026-11-20T08:00", flag, text)
}

// eachCall gives fn the calls that f chooses, a page at a time, at most limit of them; zero is all.
func (s *session) eachCall(ctx context.Context, f tandem.CallFilter, limit int, fn func([]tandem.Call) error) error {
	const most = 1000
	for left := limit; limit == 0 || left > 0; {
		f.Limit = most
		if limit > 0 {
			f.Limit = min(most, left)
		}
		page, err := s.door().Calls(ctx, f)
		if err != nil {
			return err
		}
		if limit > 0 && len(page.Items) > left {
			page.Items = page.Items[:left]
		}
		if err := fn(page.Items); err != nil {
			return err
		}
		left -= len(page.Items)
		if f.After = page.Next; f.After == "" {
			return nil
		}
	}
	return nil
}

func calls(found []tandem.Call, now time.Time) table {
	t := table{header: []string{"ID", "STARTED", "ACCOUNT", "FROM", "TO", "TYPE", "NODE", "STATE", "FOR", "CAUSE"},
		spare: []string{"NODE", "TYPE", "ACCOUNT"}}
	for i := range found {
		c := &found[i]
		t.add(c.ID, local(c.Started), c.Account, c.From, c.To, c.Type, c.Node, string(c.State), lasted(c, now).String(), c.Cause)
	}
	return t
}

// lasted is how long a call has lasted, or did.
func lasted(c *tandem.Call, now time.Time) time.Duration {
	if !c.Ended.IsZero() {
		now = c.Ended
	}
	return now.Sub(c.Started).Round(time.Second)
}

func local(t time.Time) string { return t.Local().Format(time.DateTime) }

func newCallShow(s *session) *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show one call",
		Long: "Shows all that is known of one call: its record, the states that it came through, and its messages\n" +
			"while they are remembered.",
		Example: "  tandem call show 01kb8q3v5tq8m2n0p4rs\n  tandem call show 01kb8q3v5tq8m2n0p4rs -o json",
		Args:    between(1, 1), ValidArgsFunction: s.completeCall,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := s.door().Call(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if form != "table" {
				return s.show(form, found, nil)
			}
			s.call(found)
			return nil
		},
	}
	outputFlag(cmd, &form, "table")
	return cmd
}

// call prints one call for people.
func (s *session) call(found control.CallDetail) {
	c := &found.Call
	t := table{header: []string{"CALL", c.ID}}
	add := func(name, value string) {
		if value != "" {
			t.add(name, value)
		}
	}
	add("account", c.Account)
	add("from", c.From)
	add("to", c.To)
	add("user", c.User)
	add("device", c.Device)
	add("type", c.Type)
	add("route", c.Route)
	add("groups", strings.Join(c.Groups, ","))
	add("cluster", c.Cluster)
	add("node", c.Node)
	add("state", string(c.State))
	add("lasted", lasted(c, time.Now()).String())
	add("ended by", string(c.EndedBy))
	add("cause", c.Cause)
	if c.Status != 0 {
		add("status", fmt.Sprint(c.Status))
	}
	add("reason", c.Reason)
	add("continues", c.Joined)
	if c.Separate {
		add("counted", "by itself: it came from a feature server and continues no call that is known")
	}
	add("session", c.Session)
	add("Call-ID", strings.Join(append([]string{c.CallID}, c.CallIDs...), " "))
	add("quality", measured(c.Quality))
	if c.TimeUncertain {
		add("time", "uncertain: the clock was not synchronised")
	}
	t.print(s.out, 0)
	s.printf("\n")
	line := table{header: []string{"TIME", "AFTER", "STATE"}}
	for _, m := range found.Timeline {
		line.add(m.Time.Local().Format("2006-01-02 15:04:05.000"), m.Time.Sub(c.Started).Round(time.Millisecond).String(), string(m.State))
	}
	line.print(s.out, s.width())
	if len(found.Ladder) == 0 {
		return
	}
	s.printf("\n")
	drawn := newLadder(s.out, s.width(), ladderTime, participants(found.Ladder))
	for i := range found.Ladder {
		drawn.draw(&found.Ladder[i], "")
	}
}

// measured says what was measured of a call, "" when nothing was.
func measured(q tandem.CallQuality) string {
	var parts []string
	for _, p := range []struct {
		name string
		ms   uint32
	}{{"first answer", q.Trying}, {"ringing", q.Ringing}, {"answer", q.Answer}} {
		if p.ms != 0 {
			parts = append(parts, fmt.Sprintf("%s after %d ms", p.name, p.ms))
		}
	}
	if q.Reports != 0 {
		parts = append(parts, fmt.Sprintf("MOS %.2f by %s", float64(q.MOS)/100, plural(int(q.Reports), "report")))
	}
	if q.Attempts != 0 {
		parts = append(parts, plural(int(q.Attempts), "target")+" tried")
	}
	return strings.Join(parts, ", ")
}

const hangupHelp = `Ends a call: both sides of every leg get BYE, or CANCEL while it is not answered, with the reason in a
Reason header. It returns when all were told.

With --account or --device instead of an id all their calls are ended, or with --pending those that are
not answered yet.`

func newCallHangup(s *session) *cobra.Command {
	var all control.HangupAllRequest
	cmd := &cobra.Command{
		Use: "hangup (ID | --account ID | --device ID)", Short: "End a call, or all calls of an account or device",
		Long: hangupHelp,
		Example: "  tandem call hangup 01kb8q3v5tq8m2n0p4rs --reason \"asked by the customer\"\n" +
			"  tandem call hangup --account 1001 --pending\n" +
			"  tandem call hangup --device alice-phone",
		Args: between(0, 1), ValidArgsFunction: s.completeCall,
		RunE: func(cmd *cobra.Command, args []string) error {
			if many := all.Account != "" || all.Device != ""; many == (len(args) > 0) || all.Pending && !many {
				return misuse("give either the id of a call, or --account or --device and perhaps --pending")
			}
			if len(args) == 0 {
				return s.hangupAll(cmd.Context(), all)
			}
			found, err := s.door().Hangup(cmd.Context(), args[0], all.Reason)
			if err != nil {
				return err
			}
			s.printf("call %s from %s to %s: %s\n", found.Call.ID, found.Call.From, found.Call.To, found.Call.State)
			return nil
		},
	}
	cmd.Flags().StringVar(&all.Reason, "reason", "", "text for the Reason header, at most 128 octets")
	cmd.Flags().StringVar(&all.Account, "account", "", "end the calls of this account")
	cmd.Flags().StringVar(&all.Device, "device", "", "end the calls of this device")
	cmd.Flags().BoolVar(&all.Pending, "pending", false, "only calls that are not answered yet")
	_ = cmd.RegisterFlagCompletionFunc("account", s.completeIDs(tandem.KindAccount)) // the flag exists
	_ = cmd.RegisterFlagCompletionFunc("device", s.completeIDs(tandem.KindDevice))   // as above
	return cmd
}

func (s *session) hangupAll(ctx context.Context, all control.HangupAllRequest) error {
	result, err := s.door().HangupAll(ctx, all)
	if err != nil {
		return err
	}
	s.printf("%s ended\n", plural(result.Calls, "call"))
	if result.Failed != "" {
		return fmt.Errorf("not everybody was told: %s", strings.ReplaceAll(result.Failed, "\n", "; "))
	}
	return nil
}

// completeCall completes the id of one of the latest calls.
func (s *session) completeCall(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	var found []string
	page, err := s.door().Calls(ctx, tandem.CallFilter{})
	if err == nil {
		for i := range page.Items {
			found = append(found, page.Items[i].ID)
		}
	}
	return matching(found, typed), cobra.ShellCompDirectiveNoFileComp
}
