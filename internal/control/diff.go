package control

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"tandem/internal/tandem"
)

// Difference is what one document would do to the store.
type Difference struct {
	Kind   tandem.Kind `json:"kind" explain:"Kind of the object."`
	ID     string      `json:"id" explain:"Its id."`
	Action Action      `json:"action" explain:"created or changed."`
	Line   int         `json:"line" explain:"Line of the document."`
	Fields []Changing  `json:"fields,omitempty" explain:"For a change: the fields that differ."`
}

// Changing is one field that differs.
type Changing struct {
	Field string `json:"field" explain:"Path of the field."`
	Old   string `json:"old,omitempty" explain:"What is stored, as JSON; empty when there is nothing."`
	New   string `json:"new,omitempty" explain:"What would be stored, as JSON; empty when there is nothing."`
}

// diff tells what apply would do, and does nothing.
func (s *Server) diff(ctx context.Context, by tandem.Principal, b body, emit func(Event)) (Result, error) {
	r, err := s.start(ctx, by, b, false, emit)
	if err != nil {
		return Result{}, err
	}
	err = r.check(ctx, func(n int32, it intent) error {
		if it.action == Unchanged {
			return nil // counted by check
		}
		r.result.count(it.action)
		d := Difference{Kind: it.edit.Kind, ID: it.edit.ID, Action: it.action, Line: int(r.docs[n].line)}
		if it.action == Changed {
			if d.Fields, err = differences(it.old, it.edit.Object); err != nil {
				return err
			}
		}
		emit(Event{Difference: &d})
		return nil
	})
	return r.result, err
}

// differences lists the fields in which two objects differ. A device's secret shows only that it is
// another one.
func differences(old, new tandem.Object) ([]Changing, error) {
	a, err := shownTree(old)
	if err != nil {
		return nil, err
	}
	b, err := shownTree(new)
	if err != nil {
		return nil, err
	}
	var out []Changing
	compare(&out, "", &a, &b)
	if x, ok := old.(*tandem.Device); ok && x.HA1 != new.(*tandem.Device).HA1 {
		out = append(out, Changing{Field: "secret", Old: "(hidden)", New: "(hidden)"})
	}
	return out, nil
}

// shownTree is an object as it may be shown, without its revision.
func shownTree(o tandem.Object) (tree, error) {
	data, err := json.Marshal(document{o})
	if err != nil {
		return tree{}, fmt.Errorf("compare %s %s: %w", o.Kind(), o.Header().ID, err)
	}
	t, err := parseJSON(data, 1)
	kept := t.items[:0]
	for _, item := range t.items {
		if item.key != "revision" {
			kept = append(kept, item)
		}
	}
	t.items = kept
	return t, err
}

// compare goes down two trees side by side, in the order of a, then what only b has.
func compare(out *[]Changing, at string, a, b *tree) {
	if a == nil || b == nil || a.shape != b.shape || a.shape != list && a.shape != mapping {
		if old, new := a.json(), b.json(); old != new {
			*out = append(*out, Changing{Field: at, Old: old, New: new})
		}
		return
	}
	if a.shape == list {
		for i := range max(len(a.items), len(b.items)) {
			compare(out, fmt.Sprintf("%s[%d]", at, i), a.item(i), b.item(i))
		}
		return
	}
	for i := range a.items {
		compare(out, join(at, a.items[i].key), &a.items[i], b.entry(a.items[i].key))
	}
	for i := range b.items {
		if a.entry(b.items[i].key) == nil {
			compare(out, join(at, b.items[i].key), nil, &b.items[i])
		}
	}
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

// item returns the i'th item of a list, nil past its end.
func (t *tree) item(i int) *tree {
	if i >= len(t.items) {
		return nil
	}
	return &t.items[i]
}

// json writes t in one line; "" for nil.
func (t *tree) json() string {
	if t == nil {
		return ""
	}
	switch t.shape {
	case null:
		return "null"
	case text:
		quoted, _ := json.Marshal(t.text) // text always can be
		return string(quoted)
	case list:
		parts := make([]string, len(t.items))
		for i := range t.items {
			parts[i] = t.items[i].json()
		}
		return "[" + strings.Join(parts, ",") + "]"
	case mapping:
		parts := make([]string, len(t.items))
		for i := range t.items {
			key, _ := json.Marshal(t.items[i].key)
			parts[i] = string(key) + ":" + t.items[i].json()
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	return t.text
}
