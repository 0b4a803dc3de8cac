package rehearsal

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The drawing's measures, in pixels.
const (
	svgWidth              = 960
	svgLeft, svgRight     = 64, 24 // of the panels
	svgGap                = 44     // between panels
	loadHigh, qualityHigh = 240, 140
	movesHigh             = 80
	lane                  = 16  // a line of labels
	letter                = 6.6 // about a letter's width
)

// svgStyle is what the drawing looks like, by day and by night. There are eight colours, told apart by
// people who see fewer as well; further clusters have them again, dashed.
const svgStyle = `
text{font:12px system-ui,sans-serif;fill:#333}
.title{font-size:15px;font-weight:600}.small{font-size:11px;fill:#666}
.paper{fill:#fff}.grid{stroke:#e3e3e3}.full{stroke:#888;stroke-dasharray:6 3}.frame{stroke:#999;fill:none}
.event{stroke:#b00020;stroke-dasharray:2 3}.what{fill:#b00020;font-size:11px}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round}.none{fill:#888}
.again{stroke-dasharray:7 3}
.c0{stroke:#0072b2}.c1{stroke:#d55e00}.c2{stroke:#009e73}.c3{stroke:#cc79a7}.c4{stroke:#c79200}.c5{stroke:#56b4e9}.c6{stroke:#7a5ac8}.c7{stroke:#6b6b00}
.f0{fill:#0072b2}.f1{fill:#d55e00}.f2{fill:#009e73}.f3{fill:#cc79a7}.f4{fill:#c79200}.f5{fill:#56b4e9}.f6{fill:#7a5ac8}.f7{fill:#6b6b00}
@media (prefers-color-scheme:dark){
text{fill:#ddd}.small{fill:#aaa}.paper{fill:#1b1b1d}.grid{stroke:#333}.full{stroke:#888}.frame{stroke:#777}
.event{stroke:#ff8a80}.what{fill:#ff8a80}
.c0{stroke:#4da3e0}.c1{stroke:#ff8a3d}.c2{stroke:#2ec49a}.c4{stroke:#f2b84b}.c6{stroke:#a893f0}.c7{stroke:#c0c04a}
.f0{fill:#4da3e0}.f1{fill:#ff8a3d}.f2{fill:#2ec49a}.f4{fill:#f2b84b}.f6{fill:#a893f0}.f7{fill:#c0c04a}
}
`

// colours is how many colours there are.
const colours = 8

// drawing is an SVG in the making.
type drawing struct {
	*Result
	Telling
	strings.Builder
	top, high float64 // of the panel that is being drawn
	most      float64 // value at its upper edge
}

// SVG draws a result: load and quality of each cluster, and moves, over the day.
func (r *Result) SVG(w io.Writer, t Telling) error {
	d := &drawing{Result: r, Telling: t}
	legend := float64(lane * ((len(r.Clusters) + d.perRow() - 1) / d.perRow()))
	lanes, labels := d.lanes()
	if len(r.Settings) > 0 {
		legend += lane
	}
	loadTop := 40 + legend + 14 + float64(lanes*lane) + 22
	qualityTop := loadTop + loadHigh + svgGap
	movesTop := qualityTop + qualityHigh + svgGap
	bottom := movesTop + movesHigh
	d.put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" width="%d" height="%.0f" role="img">`, svgWidth, bottom+44, svgWidth, bottom+44)
	d.put(`<title>%s</title><style>%s</style><rect class="paper" width="100%%" height="100%%"/>`, escape(t.Heading), svgStyle)
	d.put(`<text class="title" x="%d" y="24">%s</text>`, svgLeft, escape(t.Heading))
	d.legend(40)
	if len(r.Settings) > 0 {
		d.put(`<text class="what" x="%d" y="%.1f">all day: %s</text>`, svgLeft, 40+legend-lane+4, escape(strings.Join(r.Settings, ", ")))
	}
	d.load(loadTop)
	d.quality(qualityTop)
	d.moved(movesTop)
	d.events(labels, loadTop, bottom)
	d.put(`</svg>`)
	if _, err := io.WriteString(w, d.String()); err != nil {
		return fmt.Errorf("write the drawing: %w", err)
	}
	return nil
}

func (d *drawing) put(format string, args ...any) { fmt.Fprintf(&d.Builder, format+"\n", args...) }

// perRow is how many clusters stand in a row of the legend.
func (d *drawing) perRow() int {
	wide := 0.0
	for i := range d.Clusters {
		wide = max(wide, 46+letter*float64(utf8.RuneCountInString(d.Clusters[i].ID)))
	}
	return max(int((svgWidth-svgLeft-svgRight)/wide), 1)
}

func (d *drawing) legend(top float64) {
	n := d.perRow()
	wide := float64(svgWidth-svgLeft-svgRight) / float64(n)
	wide = min(wide, 130)
	for i := range d.Clusters {
		x, y := svgLeft+wide*float64(i%n), top+float64(lane*(i/n))
		d.put(`<path class="line %s" d="M%.1f %.1fh22"/><text x="%.1f" y="%.1f">%s</text>`, style(i), x, y, x+28, y+4, escape(d.Clusters[i].ID))
	}
}

// style is the class of a cluster's line.
func style(i int) string {
	if i >= colours {
		return fmt.Sprintf("c%d again", i%colours)
	}
	return fmt.Sprintf("c%d", i)
}

// x is where a time lies.
func (d *drawing) x(at time.Duration) float64 {
	return svgLeft + float64(at-time.Duration(d.From))/float64(d.To-d.From)*(svgWidth-svgLeft-svgRight)
}

// y is where a value lies in the panel.
func (d *drawing) y(value float64) float64 { return d.top + d.high*(1-value/d.most) }

// panel is one of the plots.
type panel struct {
	title      string
	high, most float64   // its height, and the value at its upper edge
	grid       []float64 // values with a line across
	label      string    // how such a value is written
}

// begin begins a panel: frame, grid, hours and a title.
func (d *drawing) begin(top float64, p panel) {
	high := p.high
	d.top, d.high, d.most = top, high, p.most
	d.put(`<text x="%d" y="%.1f">%s</text>`, svgLeft, top-7, escape(p.title))
	right := svgWidth - svgRight
	for _, v := range p.grid {
		d.put(`<path class="grid" d="M%d %.1fH%d"/><text class="small" text-anchor="end" x="%d" y="%.1f">%s</text>`, svgLeft, d.y(v), right, svgLeft-8, d.y(v)+4, escape(fmt.Sprintf(p.label, v)))
	}
	from, to := time.Duration(d.From), time.Duration(d.To)
	every := to - from
	for _, each := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 2 * time.Hour} {
		if every = each; (to-from)/every <= 13 {
			break
		}
	}
	for at := (from + every - 1) / every * every; at <= to; at += every {
		x := d.x(at)
		d.put(`<path class="grid" d="M%.1f %.1fv%.1f"/><text class="small" text-anchor="middle" x="%.1f" y="%.1f">%s</text>`, x, top, high, x, top+high+15, clock(at))
	}
	d.put(`<rect class="frame" x="%d" y="%.1f" width="%d" height="%.1f"/>`, svgLeft, top, right-svgLeft, high)
}

func (d *drawing) load(top float64) {
	most := 1.0
	for i := range d.Clusters {
		most = max(most, d.Clusters[i].PeakLoad)
	}
	each := 0.25
	if most > 2 {
		each = math.Ceil(most) / 4
	}
	most = math.Ceil(most/each) * each
	var grid []float64
	for v := 0.0; v <= most+each/2; v += each {
		grid = append(grid, v*100)
	}
	d.begin(top, panel{"Load, % of the cluster's capacity", loadHigh, most * 104, grid, "%.0f %%"})
	d.put(`<path class="full" d="M%d %.1fH%d"/>`, svgLeft, d.y(100), svgWidth-svgRight)
	for i := range d.Clusters {
		c := &d.Clusters[i]
		d.lineOf(i, len(c.Load), func(n int) (float64, bool) { return c.Load[n] * 100, true })
	}
}

func (d *drawing) quality(top float64) {
	d.begin(top, panel{"Quality, lowest on the scale of the R factor (93 is the best, 0: down)", qualityHigh, 100, []float64{0, 20, 40, 60, 80, 100}, "%.0f"})
	if d.Low > 0 {
		d.put(`<path class="full" d="M%d %.1fH%d"/><text class="small" text-anchor="end" x="%d" y="%.1f">nodes close below %.0f</text>`,
			svgLeft, d.y(d.Low), svgWidth-svgRight, svgWidth-svgRight-4, d.y(d.Low)+12, d.Low)
	}
	for i := range d.Clusters {
		c := &d.Clusters[i]
		d.lineOf(i, len(c.Quality), func(n int) (float64, bool) {
			if c.Quality[n] == nil {
				return 0, false
			}
			return *c.Quality[n], true
		})
	}
}

// lineOf draws a cluster's line through n values; where there is none it is broken.
func (d *drawing) lineOf(i, n int, value func(n int) (float64, bool)) {
	var path strings.Builder
	pen := "M"
	for k := range n {
		v, ok := value(k)
		if !ok {
			pen = "M"
			continue
		}
		at := min(time.Duration(d.From)+time.Duration((float64(k)+0.5)*d.Step*float64(time.Second)), time.Duration(d.To))
		fmt.Fprintf(&path, "%s%.1f %.1f", pen, d.x(at), d.y(min(v, d.most)))
		pen = "L"
	}
	d.put(`<path class="line %s" d="%s"><title>%s</title></path>`, style(i), path.String(), escape(d.Clusters[i].ID))
}

// moved draws bars of groups that moved, coloured as where they went; grey went nowhere.
func (d *drawing) moved(top float64) {
	const bars = 96
	counts := make([][]int, bars) // by bar, then cluster; the last is none
	number := make(map[string]int, len(d.Clusters))
	for i := range d.Clusters {
		number[d.Clusters[i].ID] = i
	}
	number[""] = len(d.Clusters)
	most := 0
	sums := make([]int, bars)
	for _, m := range d.Moves {
		at := min(int(float64(m.At-d.From)/float64(d.To-d.From)*bars), bars-1)
		if counts[at] == nil {
			counts[at] = make([]int, len(d.Clusters)+1)
		}
		counts[at][number[m.To]]++
		sums[at]++
		most = max(most, sums[at])
	}
	upper := max(float64(most)*1.25, 4)
	title := fmt.Sprintf("Moves: %s got another cluster, coloured as that (grey: none)", some(len(d.Moves), "group"))
	d.begin(top, panel{title, movesHigh, upper, []float64{0, max(float64(most), 3)}, "%.0f"})
	wide := float64(svgWidth-svgLeft-svgRight) / bars
	for at, by := range counts {
		x, below := svgLeft+wide*float64(at), 0.0
		for i, n := range by {
			if n == 0 {
				continue
			}
			class := "none"
			if i < len(d.Clusters) {
				class = fmt.Sprintf("f%d", i%colours)
			}
			below += float64(n)
			d.put(`<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, class, x+1, d.y(below), wide-2, float64(n)/upper*movesHigh)
		}
		if sums[at] > 0 {
			d.put(`<text class="small" text-anchor="middle" x="%.1f" y="%.1f">%d</text>`, x+wide/2, d.y(below)-3, sums[at])
		}
	}
}

// label is where the text of an event stands.
type label struct {
	x    float64 // of its line
	left bool    // it stands on the left of it
	lane int
}

// lanes finds a place for each event's label, so that none covers another or is crossed by a line.
func (d *drawing) lanes() (lanes int, labels []label) {
	var starts []float64 // by lane, where its first label begins
	labels = make([]label, len(d.Events))
	for i, e := range slices.Backward(d.Events) {
		l := label{x: d.x(time.Duration(e.At))}
		from, wide := l.x, 6*float64(utf8.RuneCountInString(eventLabel(e)))+8
		if from+wide > svgWidth {
			l.left, from = true, l.x-wide
		}
		for n, start := range starts {
			if start < from+wide {
				l.lane = n + 1
			}
		}
		if l.lane == len(starts) {
			starts = append(starts, 0)
		}
		starts[l.lane] = from
		labels[i] = l
	}
	return len(starts), labels
}

func eventLabel(e Happened) string { return e.At.String() + " " + e.Text }

// events draws a line through all panels for each event, and its label above them.
func (d *drawing) events(labels []label, top, bottom float64) {
	for i, l := range labels {
		y := top - 24 - float64(lane*l.lane)
		d.put(`<path class="event" d="M%.1f %.1fV%.1f"/>`, l.x, y-9, bottom)
		x, anchor := l.x+4, "start"
		if l.left {
			x, anchor = l.x-4, "end"
		}
		d.put(`<text class="what" text-anchor="%s" x="%.1f" y="%.1f">%s</text>`, anchor, x, y, escape(eventLabel(d.Events[i])))
	}
}

// escape makes text fit between tags; what XML cannot hold becomes a question mark.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
