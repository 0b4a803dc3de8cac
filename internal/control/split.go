package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"
)

// maxDocument bounds one document, in octets. The longest honest one is a zone with its records.
const maxDocument = 4 << 20

// format is how a file holds its documents.
type format uint8

const (
	jsonLines format = iota + 1 // one JSON object a line
	jsonText                    // JSON objects one after the other, each over as many lines as it likes
	yamlText                    // YAML documents between lines of ---
)

// parse reads one document that begins in line.
func (f format) parse(data []byte, line int) (tree, error) {
	if f == yamlText {
		return parseYAML(data, line)
	}
	return parseJSON(data, line)
}

// raw is one document as it stands in its file.
type raw struct {
	offset int64
	line   int
	data   []byte
	err    error // the document cannot be had; data is nil
}

// splitter cuts a file into documents. Every octet goes past once.
type splitter struct {
	in     *bufio.Reader
	offset int64 // of what comes next
	line   int   // of what comes next
}

// sniff tells the format of a file: by its name when that says YAML or JSON Lines, else from its
// beginning: JSON when it begins with a brace and a quote, unless its first document is YAML alone, and
// JSON Lines when the first line that is not empty is a whole object.
func sniff(name string, in io.ReaderAt, size int64) format {
	switch strings.ToLower(path.Ext(name)) {
	case ".yaml", ".yml":
		return yamlText
	case ".jsonl", ".ndjson":
		return jsonLines
	}
	head := make([]byte, min(size, maxDocument))
	n, _ := in.ReadAt(head, 0)
	head = bytes.TrimLeft(head[:n], " \t\r\n\ufeff")
	inside, ok := bytes.CutPrefix(head, []byte{'{'})
	if inside = bytes.TrimLeft(inside, " \t\r\n"); !ok || len(inside) > 0 && inside[0] != '"' && inside[0] != '}' {
		return yamlText // which may begin with a brace too, but then without quotes around its first key
	}
	first, _, _ := bytes.Cut(head, []byte{'\n'})
	switch {
	case json.Valid(first):
		return jsonLines
	case !beginsJSON(head) && beginsYAML(in, size):
		return yamlText // in flow style, with quotes around its first key
	case bytes.HasSuffix(bytes.TrimRight(first, " \t\r"), []byte{'}'}):
		return jsonLines
	}
	return jsonText
}

// beginsJSON reports whether text begins with a JSON value, or with a part of one that is too long.
func beginsJSON(text []byte) bool {
	var value json.RawMessage
	err := json.NewDecoder(bytes.NewReader(text)).Decode(&value)
	return err == nil || errors.Is(err, io.ErrUnexpectedEOF)
}

// beginsYAML reports whether a file's first document, up to a line of --- or the end, is YAML.
func beginsYAML(in io.ReaderAt, size int64) bool {
	for doc := range documents(in, size, yamlText) {
		if doc.err != nil {
			return false
		}
		_, err := parseYAML(doc.data, doc.line)
		return err == nil
	}
	return false
}

// documents yields the documents of a file in order. Reading errors are yielded as a raw with err.
func documents(in io.ReaderAt, size int64, f format) iter.Seq[raw] {
	const readAhead = 1 << 18
	s := &splitter{in: bufio.NewReaderSize(io.NewSectionReader(in, 0, size), readAhead), line: 1}
	if bom, _ := s.in.Peek(3); string(bom) == "\ufeff" {
		s.offset = 3
		_, _ = s.in.Discard(3) // what was peeked is there
	}
	switch f {
	case jsonLines:
		return s.jsonLines
	case jsonText:
		return s.jsonText
	}
	return s.yaml
}

// next reads one line with its end. A line over maxDocument comes as nil with tooLong.
func (s *splitter) next() (data []byte, err error) {
	length := 0
	for {
		part, err := s.in.ReadSlice('\n')
		length += len(part)
		if length <= maxDocument {
			data = append(data, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		s.offset += int64(length)
		s.line++
		if length > maxDocument {
			return nil, errTooLong
		}
		if errors.Is(err, io.EOF) && length > 0 {
			err = nil
		}
		return data, err
	}
}

var errTooLong = fmt.Errorf("is longer than the %d octets that a document may have", maxDocument)

func (s *splitter) jsonLines(yield func(raw) bool) {
	for {
		doc := raw{offset: s.offset, line: s.line}
		doc.data, doc.err = s.next()
		switch {
		case errors.Is(doc.err, io.EOF):
			return
		case doc.err == nil && len(bytes.TrimSpace(doc.data)) == 0:
			continue
		}
		if !yield(doc) || doc.err != nil && !errors.Is(doc.err, errTooLong) {
			return
		}
	}
}

// jsonText finds the end of each object by its braces; whether it is JSON is for the parser to say.
func (s *splitter) jsonText(yield func(raw) bool) {
	for {
		doc := raw{offset: s.offset, line: s.line}
		doc.data, doc.err = s.braces()
		if errors.Is(doc.err, io.EOF) {
			return
		}
		object := bytes.TrimLeft(doc.data, " \t\r\n")
		blank := doc.data[:len(doc.data)-len(object)]
		doc.line += bytes.Count(blank, []byte{'\n'})
		doc.offset += int64(len(blank))
		doc.data = object
		if !yield(doc) || doc.err != nil {
			return
		}
	}
}

// braces reads up to the brace that closes the first one, or to the end of the file.
func (s *splitter) braces() (data []byte, err error) {
	depth, quoted, escaped, blank := 0, false, false, true
	for {
		c, err := s.in.ReadByte()
		if errors.Is(err, io.EOF) && !blank {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		s.offset++
		data = append(data, c)
		blank = blank && (c == ' ' || c == '\t' || c == '\r' || c == '\n')
		switch {
		case len(data) > maxDocument:
			return nil, errTooLong
		case escaped:
			escaped = false
		case quoted:
			escaped = c == '\\'
			quoted = c != '"'
		case c == '"':
			quoted = true
		case c == '{':
			depth++
		case c == '}':
			depth--
		}
		if c == '\n' {
			s.line++
		}
		if c == '}' && !quoted && depth <= 0 {
			return data, nil
		}
	}
}

// yaml cuts before each line of --- and after each line of ...; nothing else may hold such a line
// at its beginning (YAML 1.2 section 9.1.2). Comments and directives stay with what follows.
func (s *splitter) yaml(yield func(raw) bool) {
	doc := yamlDoc{raw: raw{offset: s.offset, line: s.line}}
	for {
		at, number := s.offset, s.line
		line, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			doc.end(yield)
			return
		case err != nil && !errors.Is(err, errTooLong):
			yield(raw{line: number, err: err})
			return
		}
		if marks(line, "---") && doc.begun {
			if !doc.end(yield) {
				return
			}
			doc = yamlDoc{raw: raw{offset: at, line: number}}
		}
		doc.add(line, err)
		if marks(line, "...") {
			if !doc.end(yield) {
				return
			}
			doc = yamlDoc{raw: raw{offset: s.offset, line: s.line}}
		}
	}
}

// yamlDoc is a YAML document being gathered.
type yamlDoc struct {
	raw
	begun bool // something but comments and directives has been seen
}

// add takes a line in, as long as the document is not too long.
func (d *yamlDoc) add(line []byte, err error) {
	if err == nil && len(d.data)+len(line) > maxDocument {
		err = errTooLong
	}
	if d.err != nil || err != nil {
		d.data, d.err, d.begun = nil, errTooLong, true
		return
	}
	d.data = append(d.data, line...)
	blank := bytes.TrimLeft(line, " \t\r\n")
	d.begun = d.begun || len(blank) > 0 && blank[0] != '#' && line[0] != '%'
}

// end yields the document, if there is one.
func (d *yamlDoc) end(yield func(raw) bool) bool {
	return !d.begun || yield(d.raw)
}

// marks reports whether line is a document marker: the mark, then white space or the end.
func marks(line []byte, mark string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(mark))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}
