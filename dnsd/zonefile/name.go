package zonefile

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

const nameRule = "RFC 1035 section 2.3.4"

// ParseName returns a name's wire form from its text; a name without a dot at its end is relative to
// origin, which is in wire form, and "@" is origin itself. The error says what is wrong.
func ParseName(text, origin string) (string, error) {
	out, err := appendName(nil, []byte(text), origin)
	return string(out), err
}

// appendName appends the wire form of a name.
func appendName(out, text []byte, origin string) ([]byte, error) {
	begin := len(out)
	switch string(text) {
	case "":
		return out, wrong("RFC 1035 section 5.1", "a name is empty")
	case "@":
		return append(out, origin...), nil
	case ".":
		return append(out, 0), nil
	}
	label := len(out) // where the length of the present label stands
	out = append(out, 0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch c {
		case '.':
			if len(out) == label+1 {
				return out, wrong("RFC 1035 section 3.1", "%q has an empty label", clip(text))
			}
			out[label] = byte(len(out) - label - 1)
			label = len(out)
			out = append(out, 0)
			continue
		case '\\':
			n, octet, err := escape(text[i:])
			if err != nil {
				return out, err
			}
			c, i = octet, i+n-1
		}
		out = append(out, c)
		if len(out)-label-1 > maxLabel {
			return out, wrong(nameRule, "%q has a label of over %d octets", clip(text), maxLabel)
		}
	}
	if n := len(out) - label - 1; n > 0 {
		out[label] = byte(n)
		out = append(out, origin...)
	}
	if len(out)-begin > maxName {
		return out, wrong(nameRule, "%q is a name of %d octets, and %d are the most", clip(text), len(out)-begin, maxName)
	}
	return out, nil
}

// NameText returns a name's text, absolute, from its wire form. What is not a name gives ".".
func NameText(name string) string { return string(appendNameText(nil, []byte(name))) }

func appendNameText(out, name []byte) []byte {
	if len(name) < 2 {
		return append(out, '.')
	}
	for len(name) > 1 && int(name[0]) < len(name) {
		for _, c := range name[1 : 1+name[0]] {
			switch {
			case c == '.' || c == ';' || c == '(' || c == ')' || c == '"' || c == '\\' || c == '@' || c == '$':
				out = append(out, '\\', c)
			case c <= ' ' || c >= 0x7f:
				out = fmt.Appendf(out, "\\%03d", c)
			default:
				out = append(out, c)
			}
		}
		out = append(out, '.')
		name = name[1+name[0]:]
	}
	return out
}

// nameEnd returns the length of the name that data begins with, -1 when there is none whole.
func nameEnd(data []byte) int {
	for at := 0; at < len(data) && at < maxName; at += 1 + int(data[at]) {
		switch {
		case data[at] == 0:
			return at + 1
		case data[at] > maxLabel:
			return -1
		}
	}
	return -1
}

// Fold returns a name in wire form with its letters in lower case (RFC 4343): lengths are below 64 and
// so are no letters.
func Fold(name string) string {
	for i := range len(name) {
		if c := name[i]; c >= 'A' && c <= 'Z' {
			b := []byte(name)
			for j := i; j < len(b); j++ {
				if b[j] >= 'A' && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return name
}

// Compare orders records as canonical text has them: by owner (RFC 4034 section 6.1), of one owner SOA
// first and then by type, of one type by data (section 6.3).
func Compare(a, b *Record) int {
	rank := func(t uint16) int {
		if t == TypeSOA {
			return -1
		}
		return int(t)
	}
	return cmp.Or(
		CompareNames(a.Owner, b.Owner),
		rank(a.Type)-rank(b.Type),
		bytes.Compare(a.Data, b.Data),
	)
}

// CompareNames orders names in wire form canonically (RFC 4034 section 6.1), whatever their case.
func CompareNames(a, b string) int {
	return slices.CompareFunc(labelsOf(Fold(a)), labelsOf(Fold(b)), strings.Compare)
}

// labelsOf returns a name's labels, the last one first.
func labelsOf(name string) []string {
	var all []string
	for len(name) > 1 {
		all = append(all, name[1:1+name[0]])
		name = name[1+name[0]:]
	}
	slices.Reverse(all)
	return all
}
