package zonefile

import (
	"bufio"
	"errors"
	"io"
)

// token is one word or string of zone text, its escapes untouched.
type token struct {
	text   []byte
	quoted bool
	joined bool // nothing stands between it and the token before
}

// entry is what zone text has between two ends of line that are not within parentheses.
type entry struct {
	line    int // where it begins
	blank   bool
	tokens  []token
	octets  []byte // what tokens are slices of
	bounds  []bound
	failure error
}

type bound struct {
	from, to       int
	quoted, joined bool
}

// lexer cuts zone text into entries.
type lexer struct {
	in   *bufio.Reader
	line int
}

func newLexer(in io.Reader) *lexer { return &lexer{in: bufio.NewReaderSize(in, 32<<10), line: 1} }

// next reads the next entry that holds anything into e. A fault within it is e.failure; the entry is
// then read to its end all the same. The error is io.EOF or the reader's.
func (l *lexer) next(e *entry) error {
	for {
		*e = entry{line: l.line, tokens: e.tokens[:0], octets: e.octets[:0], bounds: e.bounds[:0]}
		err := l.entry(e)
		for _, b := range e.bounds {
			e.tokens = append(e.tokens, token{e.octets[b.from:b.to:b.to], b.quoted, b.joined})
		}
		if len(e.tokens) > 0 || e.failure != nil {
			return nil // the end is met again by the next call
		}
		if err != nil {
			return err
		}
	}
}

// entry reads to the end of one entry.
func (l *lexer) entry(e *entry) error {
	depth, first, joined := 0, true, false
	for ; ; first = false {
		c, err := l.in.ReadByte()
		if err != nil {
			if depth > 0 && errors.Is(err, io.EOF) {
				e.fail(wrong("RFC 1035 section 5.1", "( without its )"))
			}
			return err
		}
		switch c {
		case '\n':
			l.line++
			if depth == 0 {
				return nil
			}
		case ' ', '\t', '\r':
			e.blank = e.blank || first
		case ';':
			if err := l.comment(); err != nil {
				return err
			}
		case '(':
			depth++
		case ')':
			if depth--; depth < 0 {
				depth = 0
				e.fail(wrong("RFC 1035 section 5.1", ") without its ("))
			}
		case '"':
			l.quoted(e, joined)
		default:
			_ = l.in.UnreadByte() // one octet was read just now
			l.word(e, joined)
		}
		joined = c != ' ' && c != '\t' && c != '\r' && c != '\n' && c != '(' && c != ')'
	}
}

// comment reads up to, not including, the end of line.
func (l *lexer) comment() error {
	for {
		c, err := l.in.ReadByte()
		if err != nil {
			return err
		}
		if c == '\n' {
			return l.in.UnreadByte()
		}
	}
}

// quoted reads a string after its opening quote.
func (l *lexer) quoted(e *entry, joined bool) {
	from, escaped := len(e.octets), false
	for {
		c, err := l.in.ReadByte()
		if err != nil || c == '\n' {
			if err == nil {
				_ = l.in.UnreadByte() // one octet was read just now
			}
			e.fail(wrong("RFC 1035 section 5.1", "a string without its closing quote"))
			return
		}
		if c == '"' && !escaped {
			e.bounds = append(e.bounds, bound{from, len(e.octets), true, joined})
			return
		}
		escaped = c == '\\' && !escaped
		e.put(c)
	}
}

// word reads up to, not including, what ends a word.
func (l *lexer) word(e *entry, joined bool) {
	from, escaped := len(e.octets), false
	for {
		c, err := l.in.ReadByte()
		if err != nil {
			break
		}
		if c == '\n' || !escaped && (c == ' ' || c == '\t' || c == '\r' || c == ';' || c == '(' || c == ')' || c == '"') {
			_ = l.in.UnreadByte() // one octet was read just now
			break
		}
		escaped = c == '\\' && !escaped
		e.put(c)
	}
	e.bounds = append(e.bounds, bound{from, len(e.octets), false, joined})
}

// put keeps one octet of a token.
func (e *entry) put(c byte) {
	switch {
	case len(e.octets) >= maxEntry:
		e.fail(wrong("", "an entry of over %d octets", maxEntry))
		return
	case c < 0x20 && c != '\t' || c == 0x7f:
		e.fail(wrong("RFC 1035 section 5.1", "control character %#02x; write it \\%03d", c, c))
	}
	e.octets = append(e.octets, c)
}

// fail notes the first fault.
func (e *entry) fail(err error) {
	if e.failure == nil {
		e.failure = err
	}
}

// unescape appends the octets that text stands for.
func unescape(out, text []byte) ([]byte, error) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' {
			n, octet, err := escape(text[i:])
			if err != nil {
				return out, err
			}
			c, i = octet, i+n-1
		}
		out = append(out, c)
	}
	return out, nil
}

// escape returns the octet for the escape that text begins with, and the length of that.
func escape(text []byte) (int, byte, error) {
	switch {
	case len(text) < 2:
		return 0, 0, wrong("RFC 1035 section 5.1", "a backslash with nothing after it")
	case !isDigit(text[1]):
		return 2, text[1], nil
	case len(text) < 4 || !isDigit(text[2]) || !isDigit(text[3]):
		return 0, 0, wrong("RFC 1035 section 5.1", "%q: an escape has three digits", clip(text))
	}
	v := int(text[1]-'0')*100 + int(text[2]-'0')*10 + int(text[3]-'0')
	if v > 255 {
		return 0, 0, wrong("RFC 1035 section 5.1", "\\%03d: an escape is at most \\255", v)
	}
	return 4, byte(v), nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// clip returns the beginning of text for a message.
func clip(text []byte) string {
	if len(text) > 60 {
		return string(text[:60]) + "..."
	}
	return string(text)
}
