package store

import (
	"bytes"
	"reflect"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// Carrying over: what a newer program wrote into an object under keys that this program does not
// know stays in it when this program updates it. A key is kept
//   - in the object itself and in structs inside it, at any depth;
//   - in the values of a map, where the update has the same map key;
//   - in the elements of a list, where the update has an element equal in all that is known here.

// shape is what this program knows of a Go type's encoding.
type shape struct {
	fields map[uint64]*shape // of a struct, by CBOR key
	elem   *shape            // of a list or map whose elements hold structs
	list   bool
}

// shapeOf returns t's shape, nil when t holds no struct with numbered fields.
func shapeOf(t reflect.Type) *shape {
	switch t.Kind() {
	case reflect.Pointer:
		return shapeOf(t.Elem())
	case reflect.Slice, reflect.Map:
		if elem := shapeOf(t.Elem()); elem != nil {
			return &shape{elem: elem, list: t.Kind() == reflect.Slice}
		}
	case reflect.Struct:
		s := &shape{fields: make(map[uint64]*shape)}
		s.addFields(t)
		if len(s.fields) > 0 {
			return s
		}
	}
	return nil
}

func (s *shape) addFields(t reflect.Type) {
	for f := range t.Fields() {
		tag := f.Tag.Get("cbor")
		if f.Anonymous && tag == "" {
			s.addFields(f.Type)
			continue
		}
		name, _, _ := strings.Cut(tag, ",")
		if key, err := strconv.ParseUint(name, 10, 64); err == nil {
			s.fields[key] = shapeOf(f.Type)
		}
	}
}

// carryOver returns next with those parts of prev that s does not know; next itself when there are
// none.
func (c *codec) carryOver(s *shape, prev, next cbor.RawMessage) (cbor.RawMessage, error) {
	if s == nil || bytes.Equal(prev, next) {
		return next, nil
	}
	if known, err := c.strip(s, prev); err != nil || bytes.Equal(known, prev) {
		return next, err
	}
	switch {
	case s.list:
		return c.carryList(s.elem, prev, next)
	case s.elem != nil:
		return c.carryMap(s.elem, prev, next)
	}
	return c.carryStruct(s, prev, next)
}

func (c *codec) carryStruct(s *shape, prev, next cbor.RawMessage) (cbor.RawMessage, error) {
	var was, is map[uint64]cbor.RawMessage
	if err := c.decodeBoth(prev, next, &was, &is); err != nil {
		return nil, err
	}
	for key, old := range was {
		field, known := s.fields[key]
		now, present := is[key]
		switch {
		case !known:
			is[key] = old
		case field == nil:
		case present:
			kept, err := c.carryOver(field, old, now)
			if err != nil {
				return nil, err
			}
			is[key] = kept
		case field.fields != nil: // a struct left out for being empty may still hold unknown keys
			kept, err := c.carryOver(field, old, cbor.RawMessage{0xa0})
			if err != nil {
				return nil, err
			}
			if len(kept) > 1 {
				is[key] = kept
			}
		}
	}
	return c.enc.Marshal(is)
}

func (c *codec) carryMap(elem *shape, prev, next cbor.RawMessage) (cbor.RawMessage, error) {
	var was, is map[string]cbor.RawMessage
	if err := c.decodeBoth(prev, next, &was, &is); err != nil {
		return nil, err
	}
	for key, now := range is {
		if old, ok := was[key]; ok {
			kept, err := c.carryOver(elem, old, now)
			if err != nil {
				return nil, err
			}
			is[key] = kept
		}
	}
	return c.enc.Marshal(is)
}

func (c *codec) carryList(elem *shape, prev, next cbor.RawMessage) (cbor.RawMessage, error) {
	var was, is []cbor.RawMessage
	if err := c.decodeBoth(prev, next, &was, &is); err != nil {
		return nil, err
	}
	full := make(map[string]cbor.RawMessage, len(was))
	for _, old := range was {
		known, err := c.strip(elem, old)
		if err != nil {
			return nil, err
		}
		full[string(known)] = old
	}
	for i, now := range is {
		if old, ok := full[string(now)]; ok {
			is[i] = old
		}
	}
	return c.enc.Marshal(is)
}

// strip returns raw without the keys that s does not know; raw itself when it knows all.
func (c *codec) strip(s *shape, raw cbor.RawMessage) (cbor.RawMessage, error) {
	if s == nil || len(raw) == 1 { // a single octet holds no key; null stands for an absent list
		return raw, nil
	}
	switch {
	case s.list:
		var list []cbor.RawMessage
		if err := c.dec.Unmarshal(raw, &list); err != nil {
			return nil, err
		}
		for i := range list {
			var err error
			if list[i], err = c.strip(s.elem, list[i]); err != nil {
				return nil, err
			}
		}
		return c.enc.Marshal(list)
	case s.elem != nil:
		var m map[string]cbor.RawMessage
		if err := c.dec.Unmarshal(raw, &m); err != nil {
			return nil, err
		}
		return stripValues(c, m, func(string) (*shape, bool) { return s.elem, true })
	}
	var m map[uint64]cbor.RawMessage
	if err := c.dec.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	return stripValues(c, m, func(key uint64) (*shape, bool) { f, ok := s.fields[key]; return f, ok })
}

func stripValues[K comparable](c *codec, m map[K]cbor.RawMessage, shapeAt func(K) (*shape, bool)) (cbor.RawMessage, error) {
	for key, raw := range m {
		field, known := shapeAt(key)
		if !known {
			delete(m, key)
			continue
		}
		kept, err := c.strip(field, raw)
		if err != nil {
			return nil, err
		}
		m[key] = kept
	}
	return c.enc.Marshal(m)
}

func (c *codec) decodeBoth(prev, next cbor.RawMessage, was, is any) error {
	if err := c.dec.Unmarshal(prev, was); err != nil {
		return err
	}
	return c.dec.Unmarshal(next, is)
}
