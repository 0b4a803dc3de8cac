package rehearsal

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Telling is how a result is told.
type Telling struct {
	Heading string  // one line: what was played
	Width   int     // of the terminal, in columns; 80 at least
	Low     float64 // quality below which nodes close, drawn as a line
}

// most lines of a list in the text; the JSON has all.
const mostLines = 10

// Text writes a result for a terminal.
func (r *Result) Text(w io.Writer, t Telling) error {
	p := &page{Result: r, Telling: t}
	p.Width = max(p.Width, 80)
	p.line("%s", p.Heading)
	p.line("")
	p.totals()
	p.line("")
	p.clusters()
	p.line("")
	p.plots()
	p.moves()
	p.troubles()
	_, err := io.WriteString(w, p.String())
	if err != nil {
		return fmt.Errorf("write the outcome: %w", err)
	}
	return nil
}

// page is a text in the making.
type page struct {
	*Result
	Telling
	strings.Builder
}

func (p *page) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.WriteString(strings.TrimRight(text, " ") + "\n")
}

// totals says what became of the calls.
func (p *page) totals() {
	rows := []struct {
		what string
		of   func(r *Result) int
	}{
		{"admitted", func(r *Result) int { return r.Admitted }},
		{"  answered", func(r *Result) int { return r.Answered }},
		{"  not answered", func(r *Result) int { return r.Unanswered }},
		{"  set up by no node", func(r *Result) int { return r.Failed }},
		{"  cut by a loss", func(r *Result) int { return r.Cut }},
	}
	reasons := maps.Clone(p.Refused)
	if p.Without != nil {
		maps.Copy(reasons, p.Without.Refused)
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		rows = append(rows, struct {
			what string
			of   func(r *Result) int
		}{"refused: " + reason, func(r *Result) int { return r.Refused[reason] }})
	}
	twin := func(format string, args ...any) string {
		if p.Without == nil {
			return ""
		}
		return fmt.Sprintf(format, args...)
	}
	p.line("%-20s %11s %8s%s", "", "CALLS", "SHARE", twin("   %12s %12s", "WITHOUT", "DIFFERENCE"))
	p.line("%-20s %11s %8s%s", "in all", grouped(p.Calls), "", twin("   %12s %12s", grouped(p.twin().Calls), ""))
	for _, row := range rows {
		n, other := row.of(p.Result), row.of(p.twin())
		p.line("%-20s %11s %8s%s", row.what, grouped(n), percentOf(n, p.Calls), twin("   %12s %12s", grouped(other), signed(n-other)))
	}
	for _, row := range []struct {
		what       string
		is, twinIs float64
	}{{"first answer, median", p.SetUp50, p.twin().SetUp50}, {"  99th percentile", p.SetUp99, p.twin().SetUp99}} {
		p.line("%-20s %8.0f ms %8s%s", row.what, row.is, "", twin("   %9.0f ms %12s", row.twinIs, signed(int(math.Round(row.is)-math.Round(row.twinIs)))))
	}
}

func (p *page) twin() *Result {
	if p.Without == nil {
		return p.Result
	}
	return p.Without
}

// clusters is the table of clusters.
func (p *page) clusters() {
	wide := p.label()
	p.line("%-*s %8s %9s %7s %5s %5s %5s %5s %7s %3s %3s", wide, "CLUSTER", "CAPACITY", "CALLS", "REFUSED", "CUT", "PEAK", "AT", "LOAD", "QUALITY", "IN", "OUT")
	for i := range p.Clusters {
		c := &p.Clusters[i]
		at := time.Duration(c.PeakAt).Truncate(time.Minute)
		p.line("%-*s %8s %9s %7s %5s %5s %5s %4.0f%% %7s %3d %3d", wide, cut(c.ID, wide), grouped(c.Capacity), grouped(c.Calls), grouped(c.Refused), grouped(c.Cut),
			grouped(c.Peak), clock(at), c.PeakLoad*100, worst(c.Worst), c.In, c.Out)
	}
}

// label is how wide ids of clusters are shown.
func (p *page) label() int {
	wide := len("CLUSTER")
	for i := range p.Clusters {
		wide = max(wide, utf8.RuneCountInString(p.Clusters[i].ID))
	}
	return min(wide, max(p.Width-67, 8))
}

// worst writes a quality; a cluster that was down has none.
func worst(q *float64) string {
	switch {
	case q == nil:
		return "?"
	case *q == 0:
		return "down"
	}
	return fmt.Sprintf("%.0f", *q)
}

// plots draws load, quality and moves over the day.
func (p *page) plots() {
	wide := p.label()
	g := newGrid(time.Duration(p.From), time.Duration(p.To), p.Width-wide-6)
	axis := strings.Repeat(" ", wide+1) + g.axis()
	p.line("Load: the highest in %s; █ is all of the capacity, ! more", span(g.step))
	for i := range p.Clusters {
		c := &p.Clusters[i]
		p.line("%-*s %s %3.0f%%", wide, cut(c.ID, wide), g.draw(p.step(), len(c.Load), func(from, to int) rune { return bar(slices.Max(c.Load[from:to])) }), c.PeakLoad*100)
	}
	p.line("%s", axis)
	p.line("Quality: the lowest in %s; █ is 93, ▁ 50 or less, x down", span(g.step))
	for i := range p.Clusters {
		c := &p.Clusters[i]
		p.line("%-*s %s %4s", wide, cut(c.ID, wide), g.draw(p.step(), len(c.Quality), func(from, to int) rune { return grade(c.Quality[from:to]) }), worst(c.Worst))
	}
	if len(p.Moves) > 0 {
		moved := make([]int, g.columns)
		for _, m := range p.Moves {
			moved[g.column(time.Duration(m.At))]++
		}
		p.line("%-*s %s %4d", wide, cut("moves", wide), tens(moved), len(p.Moves))
	}
	if len(p.Events) > 0 {
		p.line("%-*s %s", wide, cut("events", wide), g.marks(p.Events))
	}
	p.line("%s", axis)
	for i, e := range p.Events {
		p.line("  %s %-8s %s", mark(i), e.At, e.Text)
	}
	for _, text := range p.Settings {
		p.line("  = all day  %s", text)
	}
}

func (p *page) step() time.Duration { return seconds(p.Step) }

// moves tells what tier 1 did, moves of one moment and reason together.
func (p *page) moves() {
	if len(p.Moves) == 0 {
		p.line("\nNo group moved.")
		return
	}
	p.line("\nMoves of groups")
	shown := 0
	for moves := p.Moves; len(moves) > 0; shown++ {
		n := 1
		for n < len(moves) && alike(moves[0], moves[n]) {
			n++
		}
		if shown < mostLines {
			p.fold(fmt.Sprintf("  %-8s ", clock(time.Duration(moves[0].At).Truncate(time.Second))), sentence(moves[:n]))
		}
		moves = moves[n:]
	}
	if shown > mostLines {
		p.line("  and %d more times; -o json tells all", shown-mostLines)
	}
	if len(p.Left) == 0 {
		return
	}
	p.line("Without a cluster in the end: %s", some(len(p.Left), "group"))
	for i, m := range p.Left {
		if i == mostLines {
			p.line("  and %d more; -o json tells all", len(p.Left)-i)
			break
		}
		p.line("  %s %s: %s", m.Group, m.Reason, m.Text)
	}
}

// alike reports whether two moves are told together.
func alike(x, y Move) bool {
	return x.At/Clock(time.Second) == y.At/Clock(time.Second) && x.Reason == y.Reason && x.From == y.From
}

// sentence tells moves that are alike.
func sentence(moves []Move) string {
	counts := make(map[string]int)
	for _, m := range moves {
		counts[m.To]++
	}
	var to []string
	for _, id := range slices.SortedFunc(maps.Keys(counts), naturally) {
		where := id
		if id == "" {
			where = "none"
		}
		to = append(to, fmt.Sprintf("%d to %s", counts[id], where))
	}
	whence := "without a cluster"
	if moves[0].From != "" {
		whence = "of " + moves[0].From
	}
	return fmt.Sprintf("%s %s, %s: %s", some(len(moves), "group"), whence, moves[0].Reason, strings.Join(to, ", "))
}

// fold writes text below itself where the terminal ends.
func (p *page) fold(head, text string) {
	line := head
	for i, word := range strings.Fields(text) {
		if i > 0 && len(line)+len(word) > p.Width {
			p.line("%s", line)
			line = strings.Repeat(" ", len(head))
		}
		line += word + " "
	}
	p.line("%s", line)
}

// troubles lists the groups with most calls refused.
func (p *page) troubles() {
	if len(p.Groups) == 0 {
		return
	}
	p.line("Groups with calls refused: %d", len(p.Groups))
	for i, g := range p.Groups {
		if i == mostLines/2 {
			p.line("  and %d more; -o json tells all", len(p.Groups)-i)
			return
		}
		var why []string
		for _, reason := range slices.Sorted(maps.Keys(g.Reasons)) {
			why = append(why, fmt.Sprintf("%s %s", reason, grouped(g.Reasons[reason])))
		}
		p.line("  %-14s %8s  %s", g.Group, grouped(g.Refused), strings.Join(why, ", "))
	}
}

// grouped writes a number with commas.
func grouped(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// signed writes a difference; nothing when there is none.
func signed(n int) string {
	switch {
	case n == 0:
		return "="
	case n > 0:
		return "+" + grouped(n)
	}
	return grouped(n)
}

func percentOf(n, all int) string {
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(max(all, 1)))
}

func some(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(n) + " " + noun + "s"
}

// cut shortens an id to a width; its end stays, since it is often what tells ids apart.
func cut(id string, wide int) string {
	const end = 3
	letters := []rune(id)
	if len(letters) <= wide {
		return id
	}
	return string(letters[:wide-end-1]) + "…" + string(letters[len(letters)-end:])
}
