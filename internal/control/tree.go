package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// shape is what a tree is.
type shape uint8

const (
	null shape = iota
	boolean
	number
	text
	list
	mapping
)

func (s shape) String() string {
	return [...]string{"nothing", "true or false", "a number", "text", "a list", "a mapping"}[s]
}

// tree is a document before it has a type: what JSON and YAML have in common, with lines, in the
// order written and with duplicate keys still there.
type tree struct {
	shape shape
	plain bool   // a YAML scalar without quotes, whose source may stand for text
	line  int    // in the file, from 1
	key   string // when it is a mapping's entry
	text  string // of a scalar
	items []tree // of a list or mapping
}

// maxDepth bounds nesting; the deepest document of ours has five levels.
const maxDepth = 32

var errTooDeep = fmt.Errorf("is nested deeper than %d levels", maxDepth)

// entry returns the first entry with that key.
func (t *tree) entry(key string) *tree {
	for i := range t.items {
		if t.shape == mapping && t.items[i].key == key {
			return &t.items[i]
		}
	}
	return nil
}

// lineOf returns the line of a field named by its path, or of the nearest thing around it.
func (t *tree) lineOf(path string) int {
	for path != "" {
		next, rest := t.step(path)
		if next == nil {
			break
		}
		t, path = next, rest
	}
	return t.line
}

// step goes one step along a path such as a[0].b: into the longest key that matches its beginning.
func (t *tree) step(path string) (*tree, string) {
	path = strings.TrimPrefix(path, ".")
	if t.shape == list {
		var i int
		if _, err := fmt.Sscanf(path, "[%d]", &i); err != nil || i >= len(t.items) || i < 0 {
			return nil, ""
		}
		return &t.items[i], path[strings.IndexByte(path, ']')+1:]
	}
	var found *tree
	for i := range t.items {
		k := t.items[i].key
		whole := len(path) == len(k) || len(path) > len(k) && (path[len(k)] == '.' || path[len(k)] == '[')
		if strings.HasPrefix(path, k) && whole && (found == nil || len(k) > len(found.key)) {
			found = &t.items[i]
		}
	}
	if found == nil {
		return nil, ""
	}
	return found, path[len(found.key):]
}

// parseJSON reads one JSON value that begins in line.
func parseJSON(data []byte, line int) (tree, error) {
	if !utf8.Valid(data) {
		return tree{line: line}, errors.New("is not UTF-8")
	}
	if !json.Valid(data) {
		var v any
		return tree{line: line}, fmt.Errorf("is not JSON: %w", json.Unmarshal(data, &v))
	}
	s := jsonScanner{data: data, line: line}
	return s.value(0)
}

// jsonScanner builds a tree from JSON that is known to be valid.
type jsonScanner struct {
	data []byte
	at   int
	line int
}

// space skips white space and the given punctuation, and counts lines.
func (s *jsonScanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case '\n':
			s.line++
		case ' ', '\t', '\r', ',', ':':
		default:
			return
		}
		s.at++
	}
}

func (s *jsonScanner) value(depth int) (tree, error) {
	s.space()
	t := tree{line: s.line}
	if depth > maxDepth {
		return t, errTooDeep
	}
	switch c := s.data[s.at]; c {
	case '"':
		t.shape, t.text = text, s.string()
	case '{', '[':
		t.shape = mapping
		if c == '[' {
			t.shape = list
		}
		s.at++
		return s.members(t, depth)
	default:
		start := s.at
		for s.at < len(s.data) && strings.IndexByte(" \t\r\n,]}", s.data[s.at]) < 0 {
			s.at++
		}
		t.text = string(s.data[start:s.at])
		t.shape = number
		switch c {
		case 't', 'f':
			t.shape = boolean
		case 'n':
			t.shape = null
		}
	}
	return t, nil
}

// members reads the inside of a list or mapping, up to and with its closing bracket.
func (s *jsonScanner) members(t tree, depth int) (tree, error) {
	for {
		s.space()
		if s.data[s.at] == '}' || s.data[s.at] == ']' {
			s.at++
			return t, nil
		}
		var key string
		if t.shape == mapping {
			key = s.string()
		}
		item, err := s.value(depth + 1)
		if err != nil {
			return t, err
		}
		item.key = key
		t.items = append(t.items, item)
	}
}

// string reads a string; only one with escapes is left to encoding/json.
func (s *jsonScanner) string() string {
	start := s.at
	escaped := false
	for s.at++; s.data[s.at] != '"'; s.at++ {
		if s.data[s.at] == '\\' {
			escaped = true
			s.at++
		}
	}
	s.at++
	if !escaped {
		return string(s.data[start+1 : s.at-1])
	}
	var out string
	if err := json.Unmarshal(s.data[start:s.at], &out); err != nil {
		panic("control: valid JSON was refused: " + err.Error())
	}
	return out
}

// parseYAML reads one YAML document that begins in line. Its shape is null when there is nothing
// but comments.
func parseYAML(data []byte, line int) (tree, error) {
	if !utf8.Valid(data) {
		return tree{line: line}, errors.New("is not UTF-8")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var node, further yaml.Node
	err := decoder.Decode(&node)
	if errors.Is(err, io.EOF) {
		return tree{line: line}, nil
	}
	if err == nil {
		if err = decoder.Decode(&further); errors.Is(err, io.EOF) {
			return fromYAML(&node, line-1, 0)
		}
	}
	at, reason := yamlReason(err)
	return tree{line: line - 1 + max(at, 1)}, errors.New("is not YAML: " + reason)
}

// yamlReason takes the line out of a syntax error, and whatever of the document it repeats, for
// that may be a secret without its quotes.
func yamlReason(err error) (line int, reason string) {
	if err == nil {
		return 0, "more follows the end of the document; --- begins another"
	}
	reason = strings.TrimPrefix(err.Error(), "yaml: ")
	if _, scanErr := fmt.Sscanf(reason, "line %d: ", &line); scanErr == nil {
		_, reason, _ = strings.Cut(reason, ": ")
	}
	if strings.Contains(reason, "anchor") {
		reason = "anchors and aliases are not taken; text that begins with & or * needs quotes"
	}
	return line, reason
}

// fromYAML turns a YAML node into a tree; lines are counted from base.
func fromYAML(n *yaml.Node, base, depth int) (tree, error) {
	t := tree{line: base + n.Line}
	switch {
	case depth > maxDepth:
		return t, errTooDeep
	case n.Kind == yaml.DocumentNode:
		return fromYAML(n.Content[0], base, depth)
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return t, errors.New("anchors and aliases are not taken: write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		return t, errors.New("tags are not taken; text that begins with ! needs quotes")
	case n.Kind == yaml.SequenceNode:
		t.shape = list
		for _, c := range n.Content {
			item, err := fromYAML(c, base, depth+1)
			if err != nil {
				return item, err
			}
			t.items = append(t.items, item)
		}
	case n.Kind == yaml.MappingNode:
		t.shape = mapping
		for i := 0; i < len(n.Content); i += 2 {
			if n.Content[i].Kind != yaml.ScalarNode {
				return t, errors.New("has a key that is not text")
			}
			item, err := fromYAML(n.Content[i+1], base, depth+1)
			if err != nil {
				return item, err
			}
			item.key, item.line = n.Content[i].Value, base+n.Content[i].Line
			t.items = append(t.items, item)
		}
	default:
		t.text, t.plain = n.Value, n.Style == 0
		t.shape = yamlScalar(n)
	}
	return t, nil
}

func yamlScalar(n *yaml.Node) shape {
	switch n.ShortTag() {
	case "!!null":
		return null
	case "!!bool":
		return boolean
	case "!!int", "!!float":
		return number
	}
	return text
}
