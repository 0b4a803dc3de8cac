package rehearsal

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Event is something that happens on the day, or a setting that is tried: see ParseEvent.
type Event struct {
	At     time.Duration // since midnight; below zero: before the day begins
	Until  time.Duration // when it is over; zero: it stays
	Verb   Verb
	Target string  // id of a node, cluster or group; node:ID or cluster:ID where both have that id
	Factor float64 // of slow
	Share  float64 // of fail, 0 to 1
	Number int     // of expected, permitted, quality and capacity; below zero: unlimited
	Name   string  // of pin: a cluster's id; empty: none
}

// Verb is what an event does.
type Verb string

// The verbs.
const (
	Lose      Verb = "lose"      // answers nothing any more; its calls are cut
	Restore   Verb = "restore"   // as if nothing had happened to it
	Slow      Verb = "slow"      // takes so many times longer
	Fail      Verb = "fail"      // answers so many calls with an error
	Drain     Verb = "drain"     // gets no new calls, set by hand
	Out       Verb = "out"       // the same, set by hand
	Expected  Verb = "expected"  // a group's number for tier 1
	Permitted Verb = "permitted" // a group's number for tier 2
	Quality   Verb = "quality"   // a group's minimum
	Pin       Verb = "pin"       // the only cluster that a group may have
	Capacity  Verb = "capacity"  // of a cluster
)

// operand says how the rest of an event reads.
type operand uint8

const (
	alone   operand = iota // lose node3
	times                  // slow node2 x5
	percent                // fail node3 30%
	counted                // expected group5=800
	limited                // permitted group5=800, or =unlimited
	named                  // pin group5=cluster2, or =none
)

// grammar returns what may be written for each verb, in the order in which it is told.
func grammar() []struct {
	verb    Verb
	operand operand
	form    string
} {
	return []struct {
		verb    Verb
		operand operand
		form    string
	}{
		{Lose, alone, "lose NODE|CLUSTER"}, {Restore, alone, "restore NODE|CLUSTER"},
		{Slow, times, "slow NODE|CLUSTER xN"}, {Fail, percent, "fail NODE|CLUSTER N%"},
		{Drain, alone, "drain NODE|CLUSTER"}, {Out, alone, "out NODE|CLUSTER"},
		{Expected, counted, "expected GROUP=N"}, {Permitted, limited, "permitted GROUP=N|unlimited"},
		{Quality, counted, "quality GROUP=N"}, {Pin, named, "pin GROUP=CLUSTER|none"},
		{Capacity, limited, "capacity CLUSTER=N|unlimited"},
	}
}

// Forms tells everything that an event can be, for help texts and errors.
func Forms() []string {
	var all []string
	for _, x := range grammar() {
		all = append(all, x.form)
	}
	return all
}

// ParseEvent reads "TIME WHAT", such as "12:00 lose cluster3", or "TIME-TIME WHAT" for what is over at
// the second time, such as "09:30-10:15 slow node2 x5". A time is HH:MM or HH:MM:SS. Forms lists WHAT.
func ParseEvent(text string) (Event, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return Event{}, fmt.Errorf("event %q: it is a time and what happens then, such as \"12:00 lose cluster3\"", text)
	}
	e, err := parseWhat(words[1:])
	if err == nil {
		e.At, e.Until, err = parseSpan(words[0])
	}
	if err == nil && e.Verb == Restore && e.Until != 0 {
		err = fmt.Errorf("restore has one time: it is what ends something")
	}
	if err != nil {
		return Event{}, fmt.Errorf("event %.80q: %w", text, err)
	}
	return e, nil
}

// ParseSetting reads WHAT of ParseEvent alone: it holds all day.
func ParseSetting(text string) (Event, error) {
	e, err := parseWhat(strings.Fields(text))
	if err != nil {
		return Event{}, fmt.Errorf("setting %.80q: %w", text, err)
	}
	e.At = -1
	return e, nil
}

// parseSpan reads TIME or TIME-TIME.
func parseSpan(text string) (at, until time.Duration, err error) {
	from, to, spans := strings.Cut(text, "-")
	if at, err = ParseTime(from); err != nil || !spans {
		return at, 0, err
	}
	if until, err = ParseTime(to); err == nil && until <= at {
		err = fmt.Errorf("%s is not after %s", to, from)
	}
	return at, until, err
}

// ParseTime reads a time of day, HH:MM or HH:MM:SS, up to 24:00.
func ParseTime(text string) (time.Duration, error) {
	fields := strings.Split(text, ":")
	var t time.Duration
	for i, f := range fields {
		n, err := strconv.Atoi(f)
		if err != nil || len(f) != 2 || n < 0 || i > 0 && n > 59 {
			t = -1
			break
		}
		t = t*60 + time.Duration(n)
	}
	if len(fields) == 2 {
		t *= 60
	}
	if t *= time.Second; len(fields) < 2 || len(fields) > 3 || t < 0 || t > day {
		return 0, fmt.Errorf("%.20q is not a time of day: HH:MM or HH:MM:SS, up to 24:00", text)
	}
	return t, nil
}

// parseWhat reads a verb and what belongs to it.
func parseWhat(words []string) (Event, error) {
	allowed := "it may be " + strings.Join(Forms(), ", ")
	if len(words) < 2 {
		return Event{}, fmt.Errorf("what happens to whom is missing: %s", allowed)
	}
	rules := grammar()
	n := slices.IndexFunc(rules, func(r struct {
		verb    Verb
		operand operand
		form    string
	}) bool {
		return string(r.verb) == words[0]
	})
	if n < 0 {
		return Event{}, fmt.Errorf("%.20q is not something that can happen: %s", words[0], allowed)
	}
	e := Event{Verb: rules[n].verb, Target: words[1]}
	want := 2
	if o := rules[n].operand; o == times || o == percent {
		want = 3
	}
	if len(words) != want || !e.operand(rules[n].operand, words[1:]) || e.Target == "" {
		return Event{}, fmt.Errorf("it is written %s", rules[n].form)
	}
	return e, nil
}

// operand reads the rest of an event; it reports whether it is as it must be.
func (e *Event) operand(o operand, words []string) bool {
	target, value, _ := strings.Cut(words[0], "=")
	switch o {
	case alone:
		return !strings.Contains(words[0], "=")
	case times:
		text, ok := strings.CutPrefix(words[1], "x")
		e.Factor = decimal(text)
		return ok && e.Factor >= 1 && e.Factor <= 10_000
	case percent:
		text, ok := strings.CutSuffix(words[1], "%")
		e.Share = decimal(text) / 100
		return ok && e.Share > 0 && e.Share <= 1
	case named:
		if e.Target, e.Name = target, value; value == "none" {
			e.Name = ""
		}
		return value != "" && !strings.Contains(value, "=")
	}
	if e.Target = target; o == limited && value == "unlimited" {
		e.Number = -1
		return true
	}
	n, err := strconv.ParseUint(value, 10, 30)
	e.Number = int(n)
	return err == nil && value[0] != '+' && (e.Verb == Quality && n <= 93 || e.Verb != Quality && n > 0)
}

// decimal reads a plain number such as 2.5; what is none is -1.
func decimal(text string) float64 {
	if strings.Trim(text, "0123456789.") != "" {
		return -1
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return -1
	}
	return f
}

// String writes an event as ParseEvent reads it, a setting as ParseSetting does.
func (e Event) String() string {
	when := ""
	if e.At >= 0 {
		when = clock(e.At)
	}
	if e.Until > 0 {
		when += "-" + clock(e.Until)
	}
	return strings.TrimSpace(when + " " + e.what())
}

// what is the event without its time.
func (e Event) what() string {
	rules := grammar()
	for _, r := range rules {
		if r.verb != e.Verb {
			continue
		}
		head := string(e.Verb) + " " + e.Target
		switch r.operand {
		case times:
			return head + " x" + strconv.FormatFloat(e.Factor, 'f', -1, 64)
		case percent:
			return head + " " + strconv.FormatFloat(e.Share*100, 'f', -1, 64) + "%"
		case named:
			if e.Name == "" {
				return head + "=none"
			}
			return head + "=" + e.Name
		case counted, limited:
			if e.Number < 0 {
				return head + "=unlimited"
			}
			return head + "=" + strconv.Itoa(e.Number)
		}
		return head
	}
	return string(e.Verb) + " " + e.Target
}

// clock writes a time of day, with seconds when there are any.
func clock(t time.Duration) string {
	s := int(t / time.Second)
	if s%60 == 0 {
		return fmt.Sprintf("%02d:%02d", s/3600, s/60%60)
	}
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}
