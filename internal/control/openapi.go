package control

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"tandem/internal/tandem"
)

// OpenAPI returns the description of the API (OpenAPI 3.1), made from the table of operations and
// from the tags of the types they take and give.
func OpenAPI() ([]byte, error) {
	d := describer{schemas: make(map[string]any)}
	paths := make(map[string]any)
	for _, op := range operations() {
		methods, ok := paths[op.path].(map[string]any)
		if !ok {
			methods = make(map[string]any)
			paths[op.path] = methods
		}
		methods[strings.ToLower(op.method)] = d.operation(op)
	}
	for _, k := range tandem.Kinds() {
		d.kind(k)
	}
	out, err := json.MarshalIndent(map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "Tandem management API", "version": "1",
			"description": "Objects are declarative documents: kind, id and fields. Errors are answered as Error; another tenant's object is not found.",
			"license":     map[string]any{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers":    []any{map[string]any{"url": "http://localhost", "description": "The unix socket; the host does not matter."}},
		"paths":      paths,
		"components": map[string]any{"schemas": d.schemas},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("describe the API: %w", err)
	}
	return append(out, '\n'), nil
}

// describer gathers the schemas that the operations name.
type describer struct{ schemas map[string]any }

func (d *describer) operation(op operation) map[string]any {
	var parameters []any
	for part := range strings.SplitSeq(op.path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			parameters = append(parameters, map[string]any{"name": name, "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
		}
	}
	for _, p := range op.query {
		parameters = append(parameters, map[string]any{"name": p.name, "in": "query", "description": p.explain, "schema": map[string]any{"type": "string"}})
	}
	out := map[string]any{
		"operationId": op.id, "summary": op.summary,
		"responses": map[string]any{
			"200":     answered(op, d.answer(op.gives)),
			"default": map[string]any{"description": "No, and why.", "content": jsonContent(d.schema(reflect.TypeFor[Error]()))},
		},
	}
	if parameters != nil {
		out["parameters"] = parameters
	}
	if op.documents {
		out["requestBody"] = d.documents()
	} else if op.takes != nil {
		out["requestBody"] = map[string]any{"required": true, "content": jsonContent(d.schema(reflect.TypeOf(op.takes)))}
	}
	return out
}

func answered(op operation, schema map[string]any) map[string]any {
	if op.streams {
		one := map[string]any{"schema": schema}
		return map[string]any{"description": "Values as they come.", "content": map[string]any{"application/x-ndjson": one, "text/event-stream": one}}
	}
	content := jsonContent(schema)
	if op.documents {
		events := map[string]any{"$ref": "#/components/schemas/Event"}
		content["application/x-ndjson"] = map[string]any{"schema": events}
	}
	return map[string]any{"description": "Done.", "content": content}
}

func jsonContent(schema map[string]any) map[string]any {
	return map[string]any{"application/json": map[string]any{"schema": schema}}
}

// documents is a body of documents in any of its forms.
func (d *describer) documents() map[string]any {
	var kinds []any
	for _, k := range tandem.Kinds() {
		kinds = append(kinds, map[string]any{"$ref": "#/components/schemas/" + string(k)})
	}
	d.schema(reflect.TypeFor[Event]())
	one := map[string]any{"schema": map[string]any{"oneOf": kinds}}
	return map[string]any{"required": true, "content": map[string]any{
		"application/yaml": one, "application/x-ndjson": one, "application/json": one,
	}}
}

// answer is the schema of what an operation gives.
func (d *describer) answer(v any) map[string]any {
	switch v := v.(type) {
	case page:
		items := map[string]any{"$ref": "#/components/schemas/" + string(v.of.Kind())}
		return map[string]any{"type": "object", "required": []string{"items"}, "properties": map[string]any{
			"items": map[string]any{"type": "array", "items": items},
			"next":  map[string]any{"type": "string", "description": "What to ask for after this page; absent on the last one."},
		}}
	case tandem.Object:
		return map[string]any{"$ref": "#/components/schemas/" + string(v.Kind())}
	}
	return d.schema(reflect.TypeOf(v))
}

// kind describes one kind of object: its type's fields, and kind itself.
func (d *describer) kind(k tandem.Kind) {
	d.schema(reflect.TypeOf(tandem.New(k)).Elem())
	described := d.schemas[string(k)].(map[string]any)
	described["description"] = kindText(k)
	described["properties"].(map[string]any)["kind"] = map[string]any{"const": string(k)}
	described["required"] = append([]string{"kind"}, described["required"].([]string)...)
}

// schema describes type t; a struct is described once, under its name.
func (d *describer) schema(t reflect.Type) map[string]any {
	switch t {
	case reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case reflect.TypeFor[netip.Addr]():
		return map[string]any{"type": "string", "description": "An IP address."}
	case reflect.TypeFor[netip.Prefix]():
		return map[string]any{"type": "string", "description": "A network such as 192.0.2.0/24."}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.Slice:
		return map[string]any{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Struct:
		if isRecord(t) {
			return d.record(t)
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if !isText(t) {
			return unsigned(t)
		}
	}
	return map[string]any{"type": "string"}
}

func unsigned(t reflect.Type) map[string]any {
	out := map[string]any{"type": "integer", "minimum": 0}
	if t.Bits() < 64 { // JSON numbers of many readers end at 2^53
		out["maximum"] = uint64(1)<<t.Bits() - 1
	}
	return out
}

func (d *describer) record(t reflect.Type) map[string]any {
	ref := map[string]any{"$ref": "#/components/schemas/" + t.Name()}
	if d.schemas[t.Name()] != nil {
		return ref
	}
	properties, required := make(map[string]any), []string{}
	d.schemas[t.Name()] = map[string]any{"type": "object", "properties": properties}
	for _, f := range (&schema{records: make(map[reflect.Type]*record)}).record(t).fields {
		described := d.schema(f.typ)
		if f.explain != "" {
			described["description"] = f.explain
		}
		if strings.Contains(f.explain, "write-only") {
			described["writeOnly"] = true
		}
		if strings.Contains(f.explain, "Read-only") {
			described["readOnly"] = true
		}
		properties[f.name] = described
		if !f.optional {
			required = append(required, f.name)
		}
	}
	d.schemas[t.Name()] = map[string]any{
		"type": "object", "properties": properties, "required": required, "additionalProperties": false,
	}
	return ref
}
