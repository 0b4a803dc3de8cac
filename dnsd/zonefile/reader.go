package zonefile

import (
	"errors"
	"io"
	"strconv"
	"strings"
)

// Reader reads the records of a zone text one by one. It is for one goroutine.
type Reader struct {
	options Options
	files   []*source // the file being read last, those that include it before
	origin  string
	owner   string // of the last record; "" before the first
	ttl     uint32 // of $TTL, or of the last record that says one
	stated  ttlState
	entry   entry
	pending *generator
	made    int // records made by $GENERATE
}

// source is one file under way.
type source struct {
	*lexer
	name   string
	close  func() error
	origin string // to go back to at its end (RFC 1035 section 5.1)
	owner  string
}

// ttlState is where the TTL for records without one comes from.
type ttlState uint8

const (
	ttlUnknown ttlState = iota
	ttlOfRecord
	ttlOfDirective
)

// NewReader returns a reader of in.
func NewReader(in io.Reader, o Options) *Reader {
	if o.Origin == "" {
		o.Origin = "\x00"
	}
	if o.TTL == 0 {
		o.TTL = 3600
	}
	r := &Reader{options: o, origin: o.Origin}
	r.files = []*source{{lexer: newLexer(in), name: o.File}}
	return r
}

// Origin returns the present origin in wire form: that of Options, or of the last $ORIGIN.
func (r *Reader) Origin() string { return r.origin }

// Next returns the next record. The error is io.EOF at the end, a *Fault for an entry that is wrong,
// after which Next goes on with the entry behind it, or what reading came to.
func (r *Reader) Next() (Record, error) {
	for {
		if r.pending != nil {
			rec, more, err := r.generate()
			if more {
				return rec, err
			}
		}
		file := r.files[len(r.files)-1]
		switch err := file.next(&r.entry); {
		case errors.Is(err, io.EOF) && len(r.files) > 1:
			r.leave()
			continue
		case err != nil:
			return Record{}, err
		}
		rec, done, err := r.take(&r.entry)
		if err != nil {
			return Record{}, r.at(err)
		}
		if done {
			return rec, nil
		}
	}
}

// at makes a Fault of what is wrong with the present entry.
func (r *Reader) at(err error) error {
	file := r.files[len(r.files)-1]
	f := &Fault{File: file.name, Line: r.entry.line, Text: err.Error()}
	var known fault
	if errors.As(err, &known) {
		f.RFC = known.rfc
	}
	return f
}

// take does what a directive says, or returns the record of any other entry.
func (r *Reader) take(e *entry) (rec Record, done bool, err error) {
	if e.failure != nil {
		return rec, false, e.failure
	}
	if first := e.tokens[0]; !e.blank && !first.quoted && first.text[0] == '$' {
		return rec, false, r.directive(strings.ToUpper(string(first.text)), e.tokens[1:])
	}
	rec, err = r.record(e)
	return rec, err == nil, err
}

// record reads an entry that is a record: [owner] [TTL] [class] type RDATA (RFC 1035 section 5.1).
func (r *Reader) record(e *entry) (rec Record, err error) {
	tokens := e.tokens
	rec = Record{File: r.files[len(r.files)-1].name, Line: e.line, Class: ClassIN}
	if !e.blank {
		if tokens[0].quoted {
			return rec, wrong("RFC 1035 section 5.1", "a name stands in quotes")
		}
		name, err := appendName(nil, tokens[0].text, r.origin)
		if err != nil {
			r.owner = ""
			return rec, err
		}
		if string(name) != r.owner {
			r.owner = string(name)
		}
		tokens = tokens[1:]
	}
	if r.owner == "" {
		return rec, wrong("RFC 1035 section 5.1", "no name, and no record before it to take one from")
	}
	rec.Owner = r.owner
	if tokens, err = r.head(&rec, tokens); err != nil {
		return rec, err
	}
	rec.Data, err = parseData(rec.Type, tokens, r.origin)
	return rec, err
}

// head reads TTL, class and type.
func (r *Reader) head(rec *Record, tokens []token) ([]token, error) {
	var hasTTL, hasClass bool
	for ; len(tokens) > 0; tokens = tokens[1:] {
		word := tokens[0].text
		if tokens[0].quoted || len(word) == 0 {
			return nil, wrong("RFC 1035 section 5.1", "a string where the type belongs")
		}
		if isDigit(word[0]) && !hasTTL {
			ttl, err := parseTTL(word)
			if err != nil {
				return nil, err
			}
			rec.TTL, hasTTL = ttl, true
			continue
		}
		if class, ok := parseClass(word); ok && !hasClass {
			rec.Class, hasClass = class, true
			continue
		}
		t, err := ParseType(string(word))
		if err != nil {
			return nil, err
		}
		rec.Type = t
		r.setTTL(rec, hasTTL)
		return tokens[1:], nil
	}
	return nil, wrong("RFC 1035 section 5.1", "no type")
}

// setTTL gives a record without TTL that of $TTL, else the last one stated (RFC 2308 section 4).
func (r *Reader) setTTL(rec *Record, has bool) {
	switch {
	case has && r.stated != ttlOfDirective:
		r.ttl, r.stated = rec.TTL, ttlOfRecord
	case has:
	case r.stated != ttlUnknown:
		rec.TTL = r.ttl
	default:
		rec.TTL, rec.NoTTL = r.options.TTL, true
	}
}

// ClassIN is the class of the Internet.
const ClassIN = 1

func parseClass(word []byte) (uint16, bool) {
	for i, name := range [...]string{1: "IN", 3: "CH", 4: "HS", 254: "NONE", 255: "ANY"} {
		if name != "" && strings.EqualFold(name, string(word)) {
			return uint16(i), true
		}
	}
	if len(word) > 5 && strings.EqualFold(string(word[:5]), "CLASS") {
		n, err := strconv.ParseUint(string(word[5:]), 10, 16)
		return uint16(n), err == nil
	}
	return 0, false
}

// parseTTL reads seconds, or numbers with the units w, d, h, m and s.
func parseTTL(word []byte) (uint32, error) {
	var sum, n uint64
	digits, units := 0, false
	for i, c := range word {
		if isDigit(c) {
			n, digits = n*10+uint64(c-'0'), digits+1
			if digits > 10 {
				break
			}
			if i < len(word)-1 {
				continue
			}
			if units {
				return 0, wrong("RFC 2308 section 4", "TTL %q: the last number has no unit", clip(word))
			}
		}
		unit := uint64(1)
		switch {
		case isDigit(c):
		case unitOf(c) == 0 || digits == 0:
			return 0, wrong("RFC 2308 section 4", "%q is no TTL: seconds, or numbers with w, d, h, m or s", clip(word))
		default:
			unit, units = unitOf(c), true
		}
		sum += n * unit
		n, digits = 0, 0
	}
	if digits > 10 || sum > MostTTL {
		return 0, wrong("RFC 2181 section 8", "TTL %s is over %d", clip(word), MostTTL)
	}
	return uint32(sum), nil
}

// unitOf returns the seconds of a unit of time, 0 for what is none.
func unitOf(c byte) uint64 {
	switch c | 0x20 {
	case 'w':
		return 7 * 86400
	case 'd':
		return 86400
	case 'h':
		return 3600
	case 'm':
		return 60
	case 's':
		return 1
	}
	return 0
}

// directive obeys a line that begins with a dollar sign.
func (r *Reader) directive(name string, args []token) error {
	switch name {
	case "$ORIGIN":
		if len(args) != 1 {
			return wrong("RFC 1035 section 5.1", "$ORIGIN takes one name")
		}
		origin, err := appendName(nil, args[0].text, r.origin)
		if err == nil {
			r.origin = string(origin)
		}
		return err
	case "$TTL":
		if len(args) != 1 {
			return wrong("RFC 2308 section 4", "$TTL takes one time")
		}
		ttl, err := parseTTL(args[0].text)
		if err == nil {
			r.ttl, r.stated = ttl, ttlOfDirective
		}
		return err
	case "$INCLUDE":
		return r.include(args)
	case "$GENERATE":
		g, err := newGenerator(args)
		if err == nil {
			r.pending = g
		}
		return err
	}
	return wrong("RFC 1035 section 5.1", "%q is no directive: $ORIGIN, $TTL, $INCLUDE or $GENERATE", clip([]byte(name)))
}

// include goes on with another file; origin and owner come back at its end (RFC 1035 section 5.1).
func (r *Reader) include(args []token) error {
	if len(args) < 1 || len(args) > 2 {
		return wrong("RFC 1035 section 5.1", "$INCLUDE takes a file and, if need be, an origin")
	}
	if r.options.Include == nil {
		return wrong("RFC 1035 section 5.1", "$INCLUDE is not taken here: put the text in its place")
	}
	if len(r.files) >= maxInclude {
		return wrong("RFC 1035 section 5.1", "$INCLUDE is nested over %d deep", maxInclude)
	}
	origin := []byte(r.origin)
	if len(args) == 2 {
		var err error
		if origin, err = appendName(nil, args[1].text, r.origin); err != nil {
			return err
		}
	}
	path, err := unescape(nil, args[0].text)
	if err != nil {
		return err
	}
	in, name, err := r.options.Include(string(path), r.files[len(r.files)-1].name)
	if err != nil {
		return wrong("RFC 1035 section 5.1", "$INCLUDE: %v", err)
	}
	r.files = append(r.files, &source{lexer: newLexer(in), name: name, close: in.Close, origin: r.origin, owner: r.owner})
	r.origin = string(origin)
	return nil
}

func (r *Reader) leave() {
	last := r.files[len(r.files)-1]
	_ = last.close() // it was only read
	r.origin, r.owner = last.origin, last.owner
	r.files = r.files[:len(r.files)-1]
}

// Close closes the files that $INCLUDE opened and that were not read to their end.
func (r *Reader) Close() {
	for len(r.files) > 1 {
		r.leave()
	}
}
