package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// table is rows of cells below a header. Its zero value with a header is ready to use.
type table struct {
	header []string
	rows   [][]string
	whole  bool     // nothing is cut: its last column is read or copied to the end
	spare  []string // columns that are left out where the others could not be read, the first one first
	absent []bool   // those that are
	most   []int    // the widest cell that each column has had, so that further pages line up
	widths []int    // what is given to each
}

// add appends a row.
func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// gap is what stands between two columns.
const gap = "  "

// print writes the rows there are, the first time below the header, and forgets them. With a width
// the lines fit it: spare columns go, then the widest ones give way, ids never, since commands take
// them. Zero cuts nothing.
func (t *table) print(w io.Writer, width int) {
	first := t.widths == nil
	if t.whole {
		width = 0
	}
	t.measure(width)
	if first {
		t.line(w, t.header, width > 0)
	}
	for _, row := range t.rows {
		t.line(w, row, width > 0)
	}
	t.rows = t.rows[:0]
}

func (t *table) measure(width int) {
	first := t.most == nil
	if first {
		t.most, t.absent = make([]int, len(t.header)), make([]bool, len(t.header))
	}
	for i, h := range t.header {
		t.most[i] = max(t.most[i], len(h))
		for _, row := range t.rows {
			t.most[i] = max(t.most[i], utf8.RuneCountInString(row[i]))
		}
	}
	t.widths = slices.Clone(t.most)
	if width <= 0 {
		return
	}
	for _, name := range t.spare {
		if !first || t.total(t.readable) <= width {
			break // a header that is written stands
		}
		t.absent[slices.Index(t.header, name)] = true
	}
	t.shrink(width, t.readable)
	t.shrink(width, func(i int) int {
		if t.header[i] == "STARTED" {
			return t.readable(i)
		}
		return min(t.most[i], 4)
	})
}

// readable is how narrow a column may be and still tell something: its header, a user's part of an
// address, a time of day.
func (t *table) readable(i int) int {
	if i == 0 || kept(t.header[i]) {
		return t.most[i]
	}
	return min(t.most[i], max(len(t.header[i]), 9))
}

// total is how wide a line is with such columns.
func (t *table) total(of func(int) int) int {
	sum := -len(gap)
	for i := range t.header {
		if !t.absent[i] {
			sum += of(i) + len(gap)
		}
	}
	return sum
}

// shrink takes from the widest columns until the line fits or all are at their least.
func (t *table) shrink(width int, least func(int) int) {
	for over := t.total(func(i int) int { return t.widths[i] }) - width; over > 0; over-- {
		widest := -1
		for i, n := range t.widths {
			if n > least(i) && i > 0 && !t.absent[i] && !kept(t.header[i]) && (widest < 0 || n > t.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		t.widths[widest]--
	}
}

// kept tells whether the column below a header is never cut: what another command takes, as the first
// one is, times to the millisecond, and words that are short.
func kept(header string) bool {
	return slices.Contains([]string{"ID", "CALL", "TIME", "STATE", "CAUSE"}, strings.TrimRight(header, " "))
}

func (t *table) line(w io.Writer, cells []string, cut bool) {
	var b strings.Builder
	for i, cell := range cells {
		if t.absent[i] {
			continue
		}
		cell = strings.Map(printable, cell)
		n := utf8.RuneCountInString(cell)
		if cut && n > t.widths[i] {
			cell, n = shorten(t.header[i], cell, t.widths[i]), t.widths[i]
		}
		b.WriteString(cell)
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", max(t.widths[i]-n, 0)) + gap)
		}
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}

// shorten cuts a cell: the end of it, of a time its date.
func shorten(header, cell string, width int) string {
	runes := []rune(cell)
	if header == "STARTED" && cell != header {
		return "…" + string(runes[len(runes)-width+1:])
	}
	return string(runes[:width-1]) + "…"
}

// printable keeps what was registered or called from doing things to a terminal.
func printable(r rune) rune {
	if r < ' ' || r >= 0x7f && r < 0xa0 {
		return '?'
	}
	return r
}
