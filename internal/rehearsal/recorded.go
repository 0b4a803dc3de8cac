package rehearsal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"tandem/internal/tandem"
)

// Recording is a day of calls that were.
type Recording struct {
	Day     time.Time // its midnight, UTC
	Calls   []Call
	OffDay  int // calls of other days, left out
	Unknown int // calls of groups that are not among the objects, left out
	Joined  int // calls that continued another one behind a feature server, left out: that one counts
}

// day is what a rehearsal lasts at most.
const day = 24 * time.Hour

// mostLine bounds a line of a recording, in octets.
const mostLine = 1 << 20

// ReadCalls reads call records, one JSON object a line, as tandem call export writes them. It takes
// those that began on the given day, which is a midnight in UTC; the zero time means that of the first
// record. Calls that were refused then are tried again; they, and those that had not ended, last as
// long as the others did on average.
func ReadCalls(in io.Reader, t *Telco, wanted time.Time) (*Recording, error) {
	known, accounts := make(map[string]bool, len(t.Groups)), make(map[string]string, len(t.Accounts))
	for _, g := range t.Groups {
		known[g.ID] = true
	}
	for _, a := range t.Accounts {
		accounts[a.ID] = a.Group
	}
	r := &recorder{Recording: Recording{Day: wanted}, known: known, accounts: accounts}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, mostLine)
	n := 0
	for lines.Scan() {
		n++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var c tandem.Call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if c.Started.IsZero() {
			return nil, fmt.Errorf("line %d: started is missing: a call record has it", n)
		}
		r.add(&c)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	return r.finish()
}

// recorder gathers a recording.
type recorder struct {
	Recording
	known    map[string]bool
	accounts map[string]string
	again    []int // calls whose length is not known: they were refused, or had not ended
	talked   time.Duration
	answered int
}

func (r *recorder) add(c *tandem.Call) {
	if r.Day.IsZero() {
		r.Day = c.Started.UTC().Truncate(day)
	}
	at := c.Started.Sub(r.Day)
	groups := c.Groups
	if len(groups) == 0 {
		groups = []string{r.accounts[c.Account]}
	}
	switch {
	case at < 0 || at >= day:
		r.OffDay++
		return
	case c.Joined != "":
		r.Joined++
		return
	case !r.known[groups[0]]:
		r.Unknown++
		return
	}
	call := Call{At: at, Group: groups[0], Answered: c.WasAnswered()}
	if len(groups) > 1 && r.known[groups[1]] {
		call.Other = groups[1]
	}
	switch {
	case call.Answered && !c.Ended.IsZero():
		call.Ring, call.Talk = lasted(c.Started, c.Answered), lasted(c.Answered, c.Ended)
		r.talked, r.answered = r.talked+call.Talk, r.answered+1
	case call.Answered || wasRefused(c.Cause):
		call.Ring = lasted(c.Started, c.Answered)
		r.again = append(r.again, len(r.Calls))
	default:
		call.Ring = lasted(c.Started, c.Ended)
	}
	r.Calls = append(r.Calls, call)
}

// finish puts the calls in order and gives those without a length theirs.
func (r *recorder) finish() (*Recording, error) {
	if len(r.Calls) == 0 {
		return nil, fmt.Errorf("no call to play: %d of other days, %d of groups that are not among the objects, %d that continue another call", r.OffDay, r.Unknown, r.Joined)
	}
	usual := 3 * time.Minute
	if r.answered > 0 {
		usual = r.talked / time.Duration(r.answered)
	}
	for _, i := range r.again {
		r.Calls[i].Answered, r.Calls[i].Talk = true, usual
	}
	slices.SortStableFunc(r.Calls, func(x, y Call) int { return int(x.At - y.At) })
	return &r.Recording, nil
}

// lasted is the time between two moments, at most a day; zero when the second is not known.
func lasted(from, to time.Time) time.Duration {
	if to.IsZero() {
		return 0
	}
	return min(max(to.Sub(from), 0), day)
}

// wasRefused reports whether a call's cause is the unmet condition of a refusal.
func wasRefused(cause string) bool {
	return slices.Contains([]string{"permitted", "quality", "no-node", "no-cluster", "lease", "capacity"}, cause)
}
