package rehearsal

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// grid is a part of a day as columns of a terminal.
type grid struct {
	from    time.Duration
	step    time.Duration // that a column stands for
	columns int
}

// newGrid takes the finest step of a round length that fits into a width.
func newGrid(from, to time.Duration, width int) grid {
	steps := []time.Duration{
		time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute,
		15 * time.Minute, 20 * time.Minute, 30 * time.Minute,
	}
	for _, step := range steps {
		if n := int((to - from + step - 1) / step); n <= width {
			return grid{from, step, n}
		}
	}
	return grid{from, time.Hour, int((to - from + time.Hour - 1) / time.Hour)}
}

// column is where a time lies.
func (g grid) column(at time.Duration) int {
	return min(max(int((at-g.from)/g.step), 0), g.columns-1)
}

// draw makes one letter of each column's part of a list of n values, each of which stands for step.
func (g grid) draw(step time.Duration, n int, letter func(from, to int) rune) string {
	var b strings.Builder
	for c := range g.columns {
		from := min(int(time.Duration(c)*g.step/step), n-1)
		to := min(max(int(time.Duration(c+1)*g.step/step), from+1), n)
		b.WriteRune(letter(from, to))
	}
	return b.String()
}

// axis writes times below the columns that they begin in.
func (g grid) axis() string {
	every := time.Hour
	for _, each := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour} {
		if every = each; every%g.step == 0 && every/g.step >= 6 {
			break
		}
	}
	line := []rune(strings.Repeat(" ", g.columns+5))
	first := (g.from + every - 1) / every * every
	for at := first; at <= g.from+time.Duration(g.columns)*g.step; at += every {
		text := clock(at)
		if every >= time.Hour {
			text = text[:2]
		}
		copy(line[int((at-g.from)/g.step):], []rune(text))
	}
	return strings.TrimRight(string(line), " ")
}

// marks writes a letter for each event in its column; the later of two covers the other.
func (g grid) marks(events []Happened) string {
	line := []rune(strings.Repeat(" ", g.columns))
	for i, e := range events {
		line[g.column(time.Duration(e.At))] = []rune(mark(i))[0]
	}
	return string(line)
}

// mark is the letter of an event.
func mark(i int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if i >= len(letters) {
		return "*"
	}
	return letters[i : i+1]
}

// bars are eighths, from none to full.
func bars() []rune { return []rune(" ▁▂▃▄▅▆▇█") }

// bar draws a share.
func bar(share float64) rune {
	if share > 1 {
		return '!'
	}
	return bars()[min(int(math.Ceil(share*8)), 8)]
}

// grade draws the lowest of some qualities; nothing when none was measured.
func grade(qualities []*float64) rune {
	lowest := math.Inf(1)
	for _, q := range qualities {
		if q != nil {
			lowest = min(lowest, *q)
		}
	}
	switch {
	case math.IsInf(lowest, 1):
		return ' '
	case lowest == 0:
		return 'x'
	}
	return bars()[min(max(1+int(math.Round((lowest-50)/(93-50)*7)), 1), 8)]
}

// tens writes counts as digits; + is ten or more.
func tens(counts []int) string {
	var b strings.Builder
	for _, n := range counts {
		switch {
		case n == 0:
			b.WriteByte(' ')
		case n > 9:
			b.WriteByte('+')
		default:
			b.WriteByte(byte('0' + n))
		}
	}
	return b.String()
}

// span writes a length of time for people.
func span(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return fmt.Sprintf("%d min", int(d.Minutes()))
}
