package zonefile

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// words are the tokens of RDATA being read; what they stand for is appended to out.
type words struct {
	tokens []token
	origin string
	out    []byte
}

// next takes the next token.
func (w *words) next() (token, error) {
	if len(w.tokens) == 0 {
		return token{}, wrong("", "the data ends too early")
	}
	t := w.tokens[0]
	w.tokens = w.tokens[1:]
	return t, nil
}

// word takes the next token, which must not be in quotes.
func (w *words) word() (string, error) {
	t, err := w.next()
	if err == nil && t.quoted {
		err = wrong("", "\"%s\" stands in quotes", clip(t.text))
	}
	return string(t.text), err
}

// octets is RDATA being written; its text is appended to text.
type octets struct {
	rest []byte
	text []byte
}

var errShort = errors.New("the data ends too early")

// take takes n octets.
func (o *octets) take(n int) ([]byte, error) {
	if n < 0 || n > len(o.rest) {
		return nil, errShort
	}
	b := o.rest[:n]
	o.rest = o.rest[n:]
	return b, nil
}

// add appends a field's text.
func (o *octets) add(format string, args ...any) {
	if len(o.text) > 0 {
		o.text = append(o.text, ' ')
	}
	o.text = fmt.Appendf(o.text, format, args...)
}

// parseData returns the RDATA that tokens stand for.
func parseData(t uint16, tokens []token, origin string) ([]byte, error) {
	if len(tokens) > 0 && !tokens[0].quoted && string(tokens[0].text) == `\#` {
		return parseGeneric(t, tokens[1:])
	}
	fields, known := layouts[t]
	switch {
	case IsMeta(t):
		return nil, wrong("RFC 6895 section 3.1", "type %s cannot be stored", TypeText(t))
	case !known:
		return nil, wrong("RFC 3597 section 5", "%s has no text of its own; write \\# length hexadecimal", TypeText(t))
	}
	w := &words{tokens: tokens, origin: origin}
	for _, field := range fields {
		if err := field.parse(w); err != nil {
			return nil, badData(TypeText(t), err)
		}
	}
	switch {
	case len(w.tokens) > 0:
		return nil, wrong("RFC 1035 section 5.1", "%s: %q is left over", TypeText(t), clip(w.tokens[0].text))
	case len(w.out) > maxData:
		return nil, wrong("RFC 1035 section 3.2.1", "%s cannot be sent: %d octets of data, and %d are the most", TypeText(t), len(w.out), maxData)
	}
	return w.out, nil
}

// badData says in which type err was found.
func badData(name string, err error) error {
	var known fault
	errors.As(err, &known)
	return wrong(known.rfc, "bad %s: %s", name, err.Error())
}

// parseGeneric reads the form of RFC 3597 section 5. Data of a known type is checked to be that type's.
func parseGeneric(t uint16, tokens []token) ([]byte, error) {
	const rule = "RFC 3597 section 5"
	if IsMeta(t) {
		return nil, wrong("RFC 6895 section 3.1", "type %s cannot be stored", TypeText(t))
	}
	if len(tokens) == 0 {
		return nil, wrong(rule, "\\# without the length of the data")
	}
	size, err := strconv.ParseUint(string(tokens[0].text), 10, 16)
	if err != nil {
		return nil, wrong(rule, "\\# %s: the length is a number up to %d", clip(tokens[0].text), maxData)
	}
	var data []byte
	for _, part := range tokens[1:] {
		if data, err = hex.AppendDecode(data, part.text); err != nil {
			return nil, wrong(rule, "%q is not hexadecimal digits in pairs", clip(part.text))
		}
	}
	if len(data) != int(size) {
		return nil, wrong(rule, "\\# %d with %d octets of data", size, len(data))
	}
	if _, err := dataText(t, data); err != nil {
		return nil, wrong(rule, "\\#: these octets are no %s: %v", TypeText(t), err)
	}
	return data, nil
}

// DataText returns RDATA as text: in the type's own form, or in that of RFC 3597 when it has none or the
// octets do not fit it.
func DataText(t uint16, data []byte) string {
	if text, err := dataText(t, data); err == nil {
		return text
	}
	return GenericText(data)
}

// GenericText returns RDATA in the form of RFC 3597 section 5.
func GenericText(data []byte) string {
	if len(data) == 0 {
		return `\# 0`
	}
	return fmt.Sprintf(`\# %d %x`, len(data), data)
}

func dataText(t uint16, data []byte) (string, error) {
	fields, known := layouts[t]
	if !known {
		return GenericText(data), nil
	}
	o := &octets{rest: data}
	for _, field := range fields {
		if err := field.print(o); err != nil {
			return "", err
		}
	}
	if len(o.rest) > 0 {
		return "", fmt.Errorf("%d octets are left over", len(o.rest))
	}
	return string(o.text), nil
}

// Text returns the record as a line of zone text, without its end.
func (r *Record) Text() string { return string(r.AppendText(nil)) }

// AppendText appends what Text returns.
func (r *Record) AppendText(out []byte) []byte {
	out = appendNameText(out, []byte(r.Owner))
	class := "IN"
	switch {
	case r.Class == 3:
		class = "CH"
	case r.Class == 4:
		class = "HS"
	case r.Class != ClassIN:
		class = "CLASS" + strconv.Itoa(int(r.Class))
	}
	return fmt.Appendf(out, "\t%d\t%s\t%s\t%s", r.TTL, class, TypeText(r.Type), DataText(r.Type, r.Data))
}

// CheckData says what is wrong with RDATA of a type, nil when it is well formed or the type unknown.
func CheckData(t uint16, data []byte) error {
	if _, err := dataText(t, data); err != nil {
		return fmt.Errorf("%s: %w", TypeText(t), err)
	}
	return nil
}
