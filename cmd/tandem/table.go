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
	whole  bool  // nothing is cut: its last column is read or copied to the end
	most   []int // the widest cell that each column has had, so that further pages line up
	widths []int // what is given to each
}

// add appends a row.
func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// gap is what stands between two columns.
const gap = "  "

// print writes the rows there are, the first time below the header, and forgets them. With a width
// the lines fit it: the widest columns give way first, ids never, since commands take them. Zero cuts
// nothing.
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
	const least = 4 // narrower than anything could be read in
	if t.most == nil {
		t.most = make([]int, len(t.header))
	}
	total := len(gap) * (len(t.header) - 1)
	for i, h := range t.header {
		t.most[i] = max(t.most[i], len(h))
		for _, row := range t.rows {
			t.most[i] = max(t.most[i], utf8.RuneCountInString(row[i]))
		}
		total += t.most[i]
	}
	t.widths = slices.Clone(t.most)
	for ; width > 0 && total > width; total-- {
		widest := -1
		for i, n := range t.widths {
			if n > least && i > 0 && !identity(t.header[i]) && (widest < 0 || n > t.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		t.widths[widest]--
	}
}

// identity tells whether the column below a header holds what another command takes; the first does
// anyway.
func identity(header string) bool { return header == "ID" || header == "CALL" }

func (t *table) line(w io.Writer, cells []string, cut bool) {
	var b strings.Builder
	for i, cell := range cells {
		cell = strings.Map(printable, cell)
		n := utf8.RuneCountInString(cell)
		if cut && n > t.widths[i] {
			cell, n = string([]rune(cell)[:t.widths[i]-1])+"…", t.widths[i]
		}
		b.WriteString(cell)
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", max(t.widths[i]-n, 0)) + gap)
		}
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}

// printable keeps what was registered or called from doing things to a terminal.
func printable(r rune) rune {
	if r < ' ' || r >= 0x7f && r < 0xa0 {
		return '?'
	}
	return r
}
