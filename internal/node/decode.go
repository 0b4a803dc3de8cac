package node

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// position is where something stands in the file, both counted from one.
type position struct{ line, column int }

// fault is what is wrong with a configuration file: one line that begins with where.
type fault struct {
	file string
	at   position // line zero: the file as a whole
	text string
}

func (f *fault) Error() string {
	switch {
	case f.at.line == 0:
		return f.file + ": " + f.text
	case f.at.column == 0:
		return fmt.Sprintf("%s:%d: %s", f.file, f.at.line, f.text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", f.file, f.at.line, f.at.column, f.text)
}

// decoder puts a YAML document into a Go value, strictly: every key must be known, and every
// fault has its line and column. Positions are kept by path, such as sip.listeners[0].name, for
// faults that are found later.
type decoder struct {
	file      string
	positions map[string]position
}

// decode reads text into v, a pointer to a struct.
func decode(file string, text []byte, v any) (*decoder, error) {
	d := &decoder{file: file, positions: make(map[string]position)}
	reader := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc, more yaml.Node
	if err := reader.Decode(&doc); err != nil {
		return d, d.syntax(err)
	}
	if reader.Decode(&more) == nil {
		return d, d.fault(&more, "a second document: one file holds one configuration")
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return d, &fault{file: file, text: "is empty"}
	}
	return d, d.value(doc.Content[0], reflect.ValueOf(v).Elem(), "")
}

// syntax turns the parser's error, which begins "yaml: line 3: ", into a fault.
func (d *decoder) syntax(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if text == "EOF" {
		return &fault{file: d.file, text: "is empty"}
	}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if digits, reason, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(digits); err == nil {
				return &fault{d.file, position{line: line}, oneLine(reason)}
			}
		}
	}
	return &fault{file: d.file, text: oneLine(text)}
}

func oneLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func (d *decoder) fault(n *yaml.Node, format string, args ...any) error {
	return &fault{d.file, position{n.Line, n.Column}, fmt.Sprintf(format, args...)}
}

// value decodes n into v.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind == yaml.AliasNode {
		return d.fault(n, "%saliases are not used here: write the value out", at(path))
	}
	if _, known := d.positions[path]; !known && path != "" {
		d.positions[path] = position{n.Line, n.Column}
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
		if n.Tag == "!!null" && v.Kind() == reflect.Struct {
			return nil // a section that is named and says nothing
		}
	}
	switch _, isText := v.Addr().Interface().(encoding.TextUnmarshaler); {
	case isText:
		return d.scalar(n, v, path)
	case v.Kind() == reflect.Struct:
		return d.mapping(n, v, path)
	case v.Kind() == reflect.Slice:
		return d.sequence(n, v, path)
	}
	return d.scalar(n, v, path)
}

// mapping decodes keys into the fields of a struct.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind != yaml.MappingNode {
		return d.fault(n, "%sneeds keys: %s", at(path), strings.Join(keysOf(v.Type()), ", "))
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field, ok := fieldOf(v, key.Value)
		if !ok {
			return d.fault(key, "%sunknown key %q; known keys: %s", at(path), key.Value, strings.Join(keysOf(v.Type()), ", "))
		}
		if seen[key.Value] {
			return d.fault(key, "%skey %q stands twice", at(path), key.Value)
		}
		seen[key.Value] = true
		below := key.Value
		if path != "" {
			below = path + "." + key.Value
		}
		d.positions[below] = position{key.Line, key.Column}
		if err := d.value(value, field, below); err != nil {
			return err
		}
	}
	return nil
}

// sequence decodes a list.
func (d *decoder) sequence(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind != yaml.SequenceNode {
		return d.fault(n, "%sneeds a list", at(path))
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		if err := d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return nil
}

// scalar decodes a single value.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind != yaml.ScalarNode {
		return d.fault(n, "%sneeds %s", at(path), describe(v.Type()))
	}
	if n.Tag == "!!null" || n.Decode(v.Addr().Interface()) != nil {
		return d.fault(n, "%s%q is not %s", at(path), n.Value, describe(v.Type()))
	}
	return nil
}

// at begins a fault's text with the path that it is about.
func at(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}

// describe says what is written for a type.
func describe(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "a duration such as 30s"
	case reflect.TypeFor[netip.AddrPort]():
		return "an address and port such as 127.0.0.1:5300 or [::1]:5300"
	case reflect.TypeFor[netip.Addr]():
		return "an address such as 192.0.2.1"
	case reflect.TypeFor[netip.Prefix]():
		return "a network such as 192.0.2.0/24"
	case reflect.TypeFor[level]():
		return "debug, info, warn or error"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Uint, reflect.Uint64, reflect.Uint32, reflect.Uint16, reflect.Uint8:
		return "a whole number in range"
	case reflect.Float64:
		return "a number"
	}
	return "a text"
}

// fieldOf returns the field of v that key names.
func fieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		name, inline := keyOf(v.Type().Field(i))
		if inline {
			if f, ok := fieldOf(v.Field(i), key); ok {
				return f, true
			}
		} else if name == key && name != "" {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// keysOf lists the keys of a struct in alphabetical order.
func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		name, inline := keyOf(t.Field(i))
		if inline {
			keys = append(keys, keysOf(t.Field(i).Type)...)
		} else if name != "" {
			keys = append(keys, name)
		}
	}
	slices.Sort(keys)
	return keys
}

// keyOf returns a field's key, "" for one that a file cannot set.
func keyOf(f reflect.StructField) (name string, inline bool) {
	tag, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if tag == "-" || !f.IsExported() {
		return "", false
	}
	return tag, options == "inline"
}
