package zonefile

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// generator makes the records of one $GENERATE line.
type generator struct {
	next, stop, step uint64
	template         []token
	count            int
}

const generateRule = "$GENERATE takes start-stop[/step], a name, and a record"

// newGenerator reads "start-stop[/step] owner [TTL] [class] type RDATA", as BIND has it.
func newGenerator(args []token) (*generator, error) {
	if len(args) < 3 {
		return nil, wrong("", generateRule)
	}
	spread, step, hasStep := strings.Cut(string(args[0].text), "/")
	start, stop, ok := strings.Cut(spread, "-")
	g := &generator{step: 1}
	var errs [3]error
	g.next, errs[0] = strconv.ParseUint(start, 10, 31)
	g.stop, errs[1] = strconv.ParseUint(stop, 10, 31)
	if hasStep {
		g.step, errs[2] = strconv.ParseUint(step, 10, 31)
	}
	if !ok || errors.Join(errs[:]...) != nil || g.step == 0 || g.stop < g.next {
		return nil, wrong("", "%q is no range: %s", clip(args[0].text), generateRule)
	}
	for _, t := range args[1:] {
		g.template = append(g.template, token{bytes.Clone(t.text), t.quoted, t.joined})
	}
	return g, nil
}

// generate returns the next record of the pending $GENERATE, and whether there was one.
func (r *Reader) generate() (Record, bool, error) {
	g := r.pending
	if g.next > g.stop {
		r.pending = nil
		return Record{}, false, nil
	}
	fail := func(err error) (Record, bool, error) {
		r.pending = nil
		return Record{}, true, r.at(err)
	}
	if r.made++; r.made > MostGenerated {
		return fail(wrong("", "$GENERATE makes more than %d records", MostGenerated))
	}
	e := entry{line: r.entry.line}
	for _, t := range g.template {
		text, err := substitute(t.text, int64(g.next))
		if err != nil {
			return fail(err)
		}
		e.tokens = append(e.tokens, token{text, t.quoted, t.joined})
	}
	rec, err := r.record(&e)
	if err != nil {
		return fail(err)
	}
	rec.Made = g.count
	g.count++
	g.next += g.step
	return rec, true, nil
}

// substitute puts n in place of $ and ${offset,width,base}; \$ stays and $$ is a dollar sign.
func substitute(text []byte, n int64) ([]byte, error) {
	var out []byte
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			out = append(out, text[i], text[i+1])
			i++
		case text[i] != '$':
			out = append(out, text[i])
		case i+1 < len(text) && text[i+1] == '$':
			out = append(out, '\\', '$')
			i++
		case i+1 < len(text) && text[i+1] == '{':
			end := bytes.IndexByte(text[i:], '}')
			if end < 0 {
				return nil, wrong("", "$GENERATE: ${ without its }")
			}
			var err error
			if out, err = modified(out, string(text[i+2:i+end]), n); err != nil {
				return nil, err
			}
			i += end
		default:
			out = strconv.AppendInt(out, n, 10)
		}
		if len(out) > maxEntry {
			return nil, wrong("", "$GENERATE makes an entry of over %d octets", maxEntry)
		}
	}
	return out, nil
}

// modified appends n as "offset,width,base" has it; base is d, o, x, X, n or N.
func modified(out []byte, spec string, n int64) ([]byte, error) {
	parts := append(strings.Split(spec, ","), "0", "d")
	offset, err1 := strconv.ParseInt(parts[0], 10, 32)
	width, err2 := 0, error(nil)
	base := "d"
	if strings.Count(spec, ",") > 0 {
		width, err2 = strconv.Atoi(parts[1])
	}
	if strings.Count(spec, ",") > 1 {
		base = parts[2]
	}
	n += offset
	if err1 != nil || err2 != nil || width < 0 || width > maxString || n < 0 || strings.Count(spec, ",") > 2 || len(base) != 1 || !strings.Contains("doxXnN", base) {
		return nil, wrong("", "$GENERATE: ${%s} is not ${offset,width,base} with a result of 0 or more", clip([]byte(spec)))
	}
	if base == "n" || base == "N" {
		return nibbles(out, n, width, base), nil
	}
	return fmt.Appendf(out, "%0*"+base, width, n), nil
}

// nibbles appends n's hexadecimal digits, the last first, with dots between, as reverse names have them.
func nibbles(out []byte, n int64, width int, base string) []byte {
	digits := "0123456789abcdef"
	if base == "N" {
		digits = "0123456789ABCDEF"
	}
	for written := 0; n > 0 || written < max(width, 1); written += 2 {
		if written > 0 {
			out = append(out, '.')
		}
		out = append(out, digits[n&15])
		n >>= 4
	}
	return out
}
