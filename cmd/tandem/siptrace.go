package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

const sipTraceHelp = `Shows SIP messages as they pass, until Ctrl-C: each an arrow between who sends and who gets it,
below their names. Who cannot be shown beside the others is named in the line. Calls have numbers;
the line in which one begins says which call it is, for tandem call show.

Flags choose among the messages. A party is a caller or called party with or without its host, or a
node, a peer or a user name. --raw shows whole messages, without credentials and keys. When the
terminal is too slow for what passes, it says how many messages are missing.`

const sipTraceExample = `  tandem sip trace
  tandem sip trace --party +12025550123
  tandem sip trace --account 1001 --method REGISTER --raw
  tandem sip trace --call 01kb8q3v5tq8m2n0p4rs -o json`

func newSIPTrace(s *session) *cobra.Command {
	var form string
	f := tandem.TraceFilter{}
	cmd := &cobra.Command{
		Use: "trace", Short: "Watch SIP messages as they pass", Long: sipTraceHelp, Example: sipTraceExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.Validate(); err != nil {
				return misuse("--%v", err)
			}
			one := f.Call != "" || f.CallID != ""
			w := &traceWriter{session: s, form: form, numbers: make(map[string]*traceCall), one: one}
			margin := ladderTime + ladderTag
			if one {
				margin = ladderTime
			}
			w.ladder = newLadder(s.out, s.width(), margin, nil)
			return s.door().SIPTrace(cmd.Context(), f, w.write)
		},
	}
	outputFlag(cmd, &form, "table")
	flags := cmd.Flags()
	s.accountFlag(cmd, &f.Account)
	flags.StringVar(&f.Call, "call", "", "only messages of this call")
	_ = cmd.RegisterFlagCompletionFunc("call", s.completeCall) // the flag exists
	flags.StringVar(&f.CallID, "call-id", "", "only messages with this SIP Call-ID")
	flags.StringVar(&f.Party, "party", "", "only messages of this party, node, peer or user name")
	flags.StringVar(&f.Method, "method", "", "only requests of this method, and their responses")
	flags.BoolVar(&f.Raw, "raw", false, "show whole messages")
	flags.BoolVar(&f.Probes, "probes", false, "show the proxy's own OPTIONS to nodes too")
	return cmd
}

// traceWriter writes messages as they come.
type traceWriter struct {
	*session
	form    string
	ladder  *ladder
	one     bool // it is about one call
	numbers map[string]*traceCall
	last    int
}

// traceCall is one Call-ID that was seen.
type traceCall struct {
	number int
	call   string // its call's id, "" while it has none
}

// maxTraceCalls is how many Call-IDs keep their numbers; then all are forgotten and numbers go on.
const maxTraceCalls = 10_000

func (w *traceWriter) write(l *tandem.TraceLine) error {
	if l == nil {
		fmt.Fprintln(w.errs, "watching; Ctrl-C ends it")
		return nil
	}
	if w.form != "table" {
		return w.encoded(l)
	}
	if l.Missed > 0 {
		w.ladder.draw(&tandem.Arrow{Time: l.Time, Text: plural(int(l.Missed), "message") + " missed: this reader was too slow"}, "")
	}
	if l.Text == "" {
		return nil
	}
	w.ladder.draw(&l.Arrow, w.tag(l))
	if l.Raw != "" {
		for line := range strings.Lines(strings.TrimRight(l.Raw, "\r\n")) {
			w.ladder.line("    " + strings.TrimRight(line, "\r\n"))
		}
		w.ladder.line("")
	}
	return nil
}

// tag returns the number of a message's call, and introduces the call when it is new.
func (w *traceWriter) tag(l *tandem.TraceLine) string {
	if w.one || l.CallID == "" {
		return ""
	}
	c := w.numbers[l.CallID]
	fresh := c == nil
	if fresh {
		if len(w.numbers) >= maxTraceCalls {
			clear(w.numbers)
		}
		w.last++
		c = &traceCall{number: w.last}
		w.numbers[l.CallID] = c
	}
	tag := fmt.Sprintf("#%d", c.number)
	switch {
	case l.Call != "" && l.Call != c.call:
		w.introduce(tag, fmt.Sprintf("call %s: %s to %s", l.Call, userOf(l.Caller), userOf(l.Called)))
	case fresh:
		w.introduce(tag, fmt.Sprintf("%s to %s, Call-ID %s", userOf(l.Caller), userOf(l.Called), l.CallID))
	}
	c.call = cmp.Or(l.Call, c.call)
	return tag
}

// userOf is a party without its host.
func userOf(party string) string {
	user, _, _ := strings.Cut(party, "@")
	return cmp.Or(user, party)
}

// introduce says in a line of its own which call has a number.
func (w *traceWriter) introduce(tag, text string) {
	text = fmt.Sprintf("%-*s%-*s%s", ladderTime, "", ladderTag, tag, text)
	if w.ladder.width > 0 {
		text = cutTo(text, w.ladder.width)
	}
	w.ladder.line(text)
}

func (w *traceWriter) encoded(l *tandem.TraceLine) error {
	data, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode the output: %w", err)
	}
	if w.form == "yaml" {
		if data, err = control.YAML(data); err != nil {
			return err
		}
		w.printf("---\n%s", data)
		return nil
	}
	w.printf("%s\n", data)
	return nil
}
