package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"tandem/internal/tandem"
)

// Measures of a ladder, in columns of the terminal.
const (
	ladderTime    = 14 // a time and what is between it and what follows
	ladderTag     = 6  // a call's number, with room behind it
	leastSpacing  = 16 // between two participants: room for an address above, for 407 INVITE on an arrow
	usualSpacing  = 20
	mostSpacing   = 30
	ladderRepeats = 40 // lines, after which the names are written again

	// A participant that had no part in so many messages, or for so long, gives way to a new one.
	ladderUnused = 6
	ladderIdle   = 10 * time.Second
)

// ladder draws messages as arrows between participants, who stand side by side in the order in which
// they are met. What does not fit beside the others, and everything where there is no terminal, is a
// line of its own: who, to whom, what.
type ladder struct {
	out      io.Writer
	width    int // of the terminal; zero when there is none
	margin   int // what stands left of the participants
	spacing  int
	standing []participant
	lines    int // since the names were written; negative: they must be
	drawn    int // messages
	names    int // the widest name that a line has had
	most     int // names that lines are lined up for at most
}

type participant struct {
	name string
	used time.Time // its last message
	turn int       // and the number of that
}

// newLadder draws on a terminal of that width. names are who will take part, if known: then they share
// the width, or none is drawn when not all fit.
func newLadder(out io.Writer, width, margin int, names []string) *ladder {
	l := &ladder{out: out, width: width, margin: margin, spacing: usualSpacing, lines: -1, most: 30}
	for _, name := range names {
		l.names = max(l.names, min(utf8.RuneCountInString(name), l.most))
	}
	if len(names) == 0 {
		return l
	}
	spacing := min((width-margin)/len(names), mostSpacing)
	if spacing < leastSpacing {
		l.width = 0
		return l
	}
	l.spacing = spacing
	for _, name := range names {
		l.standing = append(l.standing, participant{name: name})
	}
	return l
}

// participants lists who takes part, in the order in which they are met.
func participants(arrows []tandem.Arrow) []string {
	var names []string
	for i := range arrows {
		for _, name := range []string{arrows[i].From, arrows[i].To} {
			if name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// draw writes one message; tag is what stands between its time and its arrow.
func (l *ladder) draw(a *tandem.Arrow, tag string) {
	head := a.Time.Local().Format("15:04:05.000") + "  "
	if l.margin > ladderTime {
		head += fmt.Sprintf("%-*s", l.margin-ladderTime, tag)
	}
	l.drawn++
	from, to := l.place(a.From, a), l.place(a.To, a)
	switch {
	case a.From == "" && a.To == "":
		l.line(head + "... " + a.Text)
	case from < 0 || to < 0 || from == to:
		l.line(head + l.words(a))
	default:
		l.introduce()
		l.line(head + l.arrow(from, to, a.Text))
	}
}

// line writes one line, whatever stands in it.
func (l *ladder) line(text string) {
	l.lines++
	fmt.Fprintln(l.out, strings.TrimRight(strings.Map(printable, text), " "))
}

// words writes a message without a drawing.
func (l *ladder) words(a *tandem.Arrow) string {
	for _, name := range []string{a.From, a.To} {
		l.names = max(l.names, min(utf8.RuneCountInString(name), l.most))
	}
	return fmt.Sprintf("%-*s -> %-*s  %s", l.names, a.From, l.names, a.To, a.Text)
}

// place returns where a participant stands, -1 when there is no room. One that nobody has heard of for a while
// gives way, but never one that the message itself is about.
func (l *ladder) place(name string, a *tandem.Arrow) int {
	i := slices.IndexFunc(l.standing, func(p participant) bool { return p.name == name })
	if i < 0 && name != "" {
		i = l.stand(name, a)
	}
	if i >= 0 {
		l.standing[i].used, l.standing[i].turn = a.Time, l.drawn
	}
	return i
}

func (l *ladder) stand(name string, a *tandem.Arrow) int {
	if len(l.standing) < (l.width-l.margin)/l.spacing {
		l.standing = append(l.standing, participant{name: name})
		l.lines = -1
		return len(l.standing) - 1
	}
	oldest := -1
	for i, p := range l.standing {
		idle := l.drawn-p.turn > ladderUnused || a.Time.Sub(p.used) > ladderIdle
		if p.name != a.From && p.name != a.To && idle && (oldest < 0 || p.turn < l.standing[oldest].turn) {
			oldest = i
		}
	}
	if oldest >= 0 {
		l.standing[oldest].name, l.lines = name, -1
	}
	return oldest
}

// introduce writes the names of all participants where it is time to.
func (l *ladder) introduce() {
	if l.lines >= 0 && l.lines < ladderRepeats {
		return
	}
	row := strings.Repeat(" ", l.margin)
	for _, p := range l.standing {
		row += centred(p.name, l.spacing-1) + " "
	}
	l.line(row)
	l.lines = 0
}

// at is the column of a participant's line, counted from the margin.
func (l *ladder) at(i int) int { return i*l.spacing + (l.spacing-2)/2 }

// arrow draws a message between two participants, over the lines of all.
func (l *ladder) arrow(from, to int, text string) string {
	row := []rune(strings.Repeat(" ", l.at(len(l.standing)-1)+1))
	for i := range l.standing {
		row[l.at(i)] = '|'
	}
	left, right := l.at(min(from, to))+1, l.at(max(from, to))
	for i := left; i < right; i++ {
		row[i] = '-'
	}
	if from < to {
		row[right-1] = '>'
	} else {
		row[left] = '<'
	}
	room, after := right-left-5, ""
	if short, more, ok := strings.Cut(text, " ("); ok && utf8.RuneCountInString(text) > room {
		text, after = short, "  ("+more
	}
	label := []rune(" " + cutTo(text, room) + " ")
	copy(row[left+(right-left-len(label))/2:], label)
	return string(row) + after
}

// cutTo cuts a text to a width.
func cutTo(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:max(width-1, 0)]) + "…"
}

// centred puts a text into the middle of a width.
func centred(text string, width int) string {
	text = cutTo(text, width)
	left := (width - utf8.RuneCountInString(text)) / 2
	return fmt.Sprintf("%*s%-*s", left, "", width-left, text)
}
