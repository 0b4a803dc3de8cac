package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"

	"tandem/internal/tandem"
)

// document is an object as it is shown: with its kind, without its secrets.
type document struct{ tandem.Object }

// MarshalJSON puts kind in front of the object's own fields.
func (d document) MarshalJSON() ([]byte, error) {
	shown := d.Object
	switch o := shown.(type) {
	case *tandem.Device:
		shown = o.Redact()
	case *tandem.TSIGKey:
		shown = o.Redact()
	}
	return withKind(shown)
}

// withKind encodes an object with its kind in front, secrets and all.
func withKind(o tandem.Object) ([]byte, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", o.Kind(), o.Header().ID, err)
	}
	front := fmt.Sprintf(`{"kind":%q,`, o.Kind())
	return append([]byte(front), body[1:]...), nil
}

// YAML turns JSON into YAML with the same order of fields.
func YAML(data []byte) ([]byte, error) {
	t, err := parseJSON(data, 1)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(toYAML(&t)); err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return out.Bytes(), nil
}

func toYAML(t *tree) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: t.text}
	switch t.shape {
	case null:
		n.Tag = "!!null"
	case boolean:
		n.Tag = "!!bool"
	case number: // its text says which
	case text:
		n.SetString(t.text)
		if _, err := strconv.ParseFloat(t.text, 64); err == nil || errors.Is(err, strconv.ErrRange) {
			n.Style = yaml.DoubleQuotedStyle // a MAC like 00005e005301 is a number to some readers
		}
	case list:
		n.Kind = yaml.SequenceNode
		for i := range t.items {
			n.Content = append(n.Content, toYAML(&t.items[i]))
		}
	case mapping:
		n.Kind = yaml.MappingNode
		for i := range t.items {
			key := new(yaml.Node)
			key.SetString(t.items[i].key)
			n.Content = append(n.Content, key, toYAML(&t.items[i]))
		}
	}
	return n
}
