package rtcpxr

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of a report. The longest of the grammar's has some forty lines and 2 KiB.
const (
	maxBody  = 16 << 10 // octets
	maxLines = 256
	maxText  = 512 // octets of a Call-ID, URI or tag
	maxWidth = 12  // octets of a number
)

// ErrReport is what every error of Parse is.
var ErrReport = errors.New("no voice quality report")

func fault(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrReport, fmt.Sprintf(format, args...))
}

// Parse reads a body of type application/vq-rtcpxr. What it returns does not hold on to body.
func Parse(body string) (Report, error) {
	if len(body) > maxBody {
		return Report{}, fault("has %d octets, at most %d are read", len(body), maxBody)
	}
	lines, err := unfold(body)
	if err != nil {
		return Report{}, err
	}
	if len(lines) == 0 {
		return Report{}, fault("is empty")
	}
	p := parser{}
	if err := p.first(lines[0]); err != nil {
		return Report{}, err
	}
	p.block, p.seen = &p.report.Local, &p.local
	for _, line := range lines[1:] {
		if err := p.line(line); err != nil {
			return Report{}, err
		}
	}
	if p.report.CallID == "" {
		return Report{}, fault("has no CallID")
	}
	return p.report, nil
}

// unfold cuts a body into lines that are not empty, each with those that continue it (RFC 3261 section 7.3.1).
func unfold(body string) ([]string, error) {
	var lines []string
	count := 0
	for line := range strings.SplitSeq(body, "\n") {
		if count++; count > maxLines {
			return nil, fault("has more than %d lines", maxLines)
		}
		folded := line != "" && (line[0] == ' ' || line[0] == '\t')
		line = strings.Trim(line, " \t\r")
		switch {
		case line == "":
		case folded && len(lines) > 0:
			lines[len(lines)-1] += " " + line
		default:
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// parser reads one report. block is what metrics belong to; seen, a bit each, which of it were read.
type parser struct {
	report        Report
	block         *Metrics
	seen          *uint16
	local, remote uint16
}

// split cuts a line at its colon. Some devices write CallID=, so the first of both counts.
func split(line string) (name, value string) {
	i := strings.IndexAny(line, ":=")
	if i < 0 {
		return line, ""
	}
	return strings.TrimRight(line[:i], " \t"), strings.TrimLeft(line[i+1:], " \t")
}

// first reads the line that says what the report is.
func (p *parser) first(line string) error {
	name, value := split(line)
	switch {
	case strings.EqualFold(name, "VQSessionReport"):
		p.report.Kind = Session
	case strings.EqualFold(name, "VQIntervalReport"):
		p.report.Kind = Interval
	case strings.EqualFold(name, "VQAlertReport"):
		p.report.Kind = Alert
	default:
		return fault("begins with %.40q", line)
	}
	p.report.Final = strings.EqualFold(value, "CallTerm")
	return nil
}

func (p *parser) line(line string) error {
	name, value := split(line)
	switch strings.ToLower(name) {
	case "localmetrics":
		p.block, p.seen = &p.report.Local, &p.local
	case "remotemetrics":
		p.block, p.seen = &p.report.Remote, &p.remote
	case "callid":
		return p.text(&p.report.CallID, name, value)
	case "localid":
		return p.text(&p.report.LocalID, name, uriOf(value))
	case "remoteid":
		return p.text(&p.report.RemoteID, name, uriOf(value))
	case "dialogid":
		return p.dialog(value)
	case "packetloss", "delay", "qualityest":
		for field := range strings.FieldsSeq(value) {
			if err := p.metric(field); err != nil {
				return err
			}
		}
	}
	return nil
}

// text keeps a text that may be given once only: two would be two calls.
func (p *parser) text(to *string, name, value string) error {
	switch {
	case len(value) > maxText:
		return fault("%.20s has %d octets, at most %d are read", name, len(value), maxText)
	case strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' }):
		return fault("%.20s has white space, a bracket or a control character", name)
	case *to != "" && *to != value:
		return fault("%.20s stands twice", name)
	}
	*to = strings.Clone(value)
	return nil
}

// uriOf takes a name-addr's or addr-spec's URI.
func uriOf(value string) string {
	if strings.HasPrefix(value, `"`) { // a display name may hold a bracket
		if i := closing(value); i > 0 {
			value = value[i+1:]
		}
	}
	if _, rest, ok := strings.Cut(value, "<"); ok {
		value, _, _ = strings.Cut(rest, ">")
	}
	return strings.Trim(value, " \t")
}

// closing is where the quoted string ends that text begins with, 0 when nowhere.
func closing(text string) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return 0
}

// dialog reads Call-ID and tags of the dialog. Its Call-ID counts when no other is given.
func (p *parser) dialog(value string) error {
	callID, params, _ := strings.Cut(value, ";")
	if p.report.CallID == "" {
		if err := p.text(&p.report.CallID, "DialogID", strings.TrimRight(callID, " \t")); err != nil {
			return err
		}
	}
	for param := range strings.SplitSeq(params, ";") {
		name, tag, _ := strings.Cut(strings.Trim(param, " \t"), "=")
		to := (*string)(nil)
		switch {
		case strings.EqualFold(name, "to-tag"):
			to = &p.report.ToTag
		case strings.EqualFold(name, "from-tag"):
			to = &p.report.FromTag
		default:
			continue
		}
		if err := p.text(to, name, tag); err != nil {
			return err
		}
	}
	return nil
}

// unavailable is what stands for a metric that could not be measured.
const unavailable = 127

// bound is a metric's place and its greatest value.
type bound struct {
	to   *Measure
	most float64
}

// bounds lists the metrics of a block in the order of their bits in seen.
func (m *Metrics) bounds(name string) (bit int, b bound) {
	const percent, milliseconds = 100, 65535
	switch strings.ToUpper(name) {
	case "MOSLQ":
		return 0, bound{&m.MOSLQ, 4.9}
	case "MOSCQ":
		return 1, bound{&m.MOSCQ, 4.9}
	case "RLQ":
		return 2, bound{&m.RLQ, 120}
	case "RCQ":
		return 3, bound{&m.RCQ, 120}
	case "NLR":
		return 4, bound{&m.NLR, percent}
	case "JDR":
		return 5, bound{&m.JDR, percent}
	case "RTD":
		return 6, bound{&m.RTD, milliseconds}
	case "ESD":
		return 7, bound{&m.ESD, milliseconds}
	case "OWD":
		return 8, bound{&m.OWD, milliseconds}
	case "SOWD":
		return 9, bound{&m.SOWD, milliseconds}
	case "IAJ":
		return 10, bound{&m.IAJ, milliseconds}
	case "MAJ":
		return 11, bound{&m.MAJ, milliseconds}
	}
	return 0, bound{}
}

// metric reads one name=value. Unknown names are skipped, with whatever they hold.
func (p *parser) metric(field string) error {
	name, text, _ := strings.Cut(field, "=")
	bit, b := p.block.bounds(name)
	if b.to == nil {
		return nil
	}
	if *p.seen&(1<<bit) != 0 {
		return fault("%s stands twice", name)
	}
	*p.seen |= 1 << bit
	value, err := number(text)
	if err != nil {
		return fault("%s: %v", name, err)
	}
	// A MOS is carried as ten times its value in RTCP, where 127 means unavailable.
	small := b.most < unavailable
	if small && value == unavailable || b.most < 5 && value == unavailable/10. {
		return nil
	}
	if value > b.most {
		return fault("%s: %s is more than %g", name, text, b.most)
	}
	*b.to = Measure{value, true}
	return nil
}

// number reads digits, at most one point between them; no sign and no exponent.
func number(text string) (float64, error) {
	whole, rest, point := strings.Cut(text, ".")
	if len(text) > maxWidth || !digits(whole) || point && !digits(rest) {
		return 0, fmt.Errorf("%.20q is not a number", text)
	}
	return strconv.ParseFloat(text, 64)
}

func digits(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }
