package control

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"tandem/internal/tandem"
)

// schema is what the vocabulary's struct tags say, gathered once. It does not change after
// newSchema and may be used by many goroutines.
type schema struct {
	records map[reflect.Type]*record
	kinds   map[tandem.Kind]*record
}

// record is one struct type.
type record struct {
	typ    reflect.Type
	kind   tandem.Kind // of an object's record
	fields []field
	byName map[string]int
}

// field is one field of a record.
type field struct {
	name     string
	index    []int
	typ      reflect.Type
	explain  string
	optional bool
}

// newSchema reads the types of every kind that can be applied.
func newSchema() *schema {
	s := &schema{records: make(map[reflect.Type]*record), kinds: make(map[tandem.Kind]*record)}
	for _, k := range tandem.Kinds() {
		r := s.record(reflect.TypeOf(tandem.New(k)).Elem())
		r.kind = k
		s.kinds[k] = r
	}
	return s
}

// record returns the record of struct type t, reading it and what lies in it when it is new.
func (s *schema) record(t reflect.Type) *record {
	if r := s.records[t]; r != nil {
		return r
	}
	r := &record{typ: t, byName: make(map[string]int)}
	s.records[t] = r
	s.read(r, t, nil)
	return r
}

func (s *schema) read(r *record, t reflect.Type, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clone(index), i)
		if f.Anonymous {
			s.read(r, f.Type, at)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || name == "" {
			continue
		}
		r.byName[name] = len(r.fields)
		r.fields = append(r.fields, field{
			name: name, index: at, typ: f.Type, explain: f.Tag.Get("explain"),
			optional: strings.Contains(options, "omit"),
		})
		if inner := elem(f.Type); isRecord(inner) {
			s.record(inner)
		}
	}
}

// elem returns what lists and mappings of type t hold in the end, or t itself.
func elem(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Map || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// isRecord reports whether t is a struct with fields of its own in a document.
func isRecord(t reflect.Type) bool { return t.Kind() == reflect.Struct && !isText(t) }

// isText reports whether values of t read themselves from text.
func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// typeName says what a field of type t takes, for people.
func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[netip.Addr]():
		return "IP address"
	case reflect.TypeFor[netip.AddrPort]():
		return "IP address and port"
	case reflect.TypeFor[netip.Prefix]():
		return "network"
	case reflect.TypeFor[time.Time]():
		return "time"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Int:
		return "number"
	case reflect.Slice:
		return "list of " + typeName(t.Elem())
	case reflect.Map:
		return "mapping of text to " + typeName(t.Elem())
	case reflect.Struct:
		return t.Name()
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("number 0 to %d", uint64(1)<<t.Bits()-1)
	}
	return "text"
}

// names returns the names of r's fields, in order.
func (r *record) names() []string {
	names := make([]string, len(r.fields))
	for i, f := range r.fields {
		names[i] = f.name
	}
	return names
}

// nearest returns the name among choices that is one or two slips away from name, or "". Of equally
// near ones it is the one that name begins.
func nearest(name string, choices []string) string {
	best, found := 3, ""
	for _, c := range choices {
		d := distance(strings.ToLower(name), strings.ToLower(c))
		if d < len(c) && (d < best || d == best && found != "" && begins(c, name) && !begins(found, name)) {
			best, found = d, c
		}
	}
	return found
}

// begins tells whether a name begins with what was written of it.
func begins(name, written string) bool {
	return strings.HasPrefix(strings.ToLower(name), strings.ToLower(written))
}

// distance is the number of letters to add, drop or change to get from a to b (Levenshtein).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return len(a) + len(b)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
