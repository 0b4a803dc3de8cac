package control

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"tandem/internal/tandem"
)

// decode turns a tree into an object. Every fault is told, each as a Fault with its line; the object
// is nil when there is one. What an object's own Validate says is not asked here.
func (s *schema) decode(t *tree) (tandem.Object, []Fault) {
	d := decoding{schema: s}
	object := d.object(t)
	if len(d.faults) > 0 {
		return nil, d.faults
	}
	return object, nil
}

// kindOf reads the kind that a document says it is.
func (s *schema) kindOf(t *tree) (*record, *Fault) {
	if t.shape != mapping {
		return nil, &Fault{Line: t.line, Reason: "a document is a mapping with kind, id and fields, not " + t.shape.String()}
	}
	k := t.entry("kind")
	if k == nil {
		return nil, &Fault{Line: t.line, Field: "kind", Reason: "is missing: " + kindList()}
	}
	r := s.kinds[tandem.Kind(k.text)]
	if k.shape != text || r == nil {
		reason := fmt.Sprintf("%.40q is not a kind: %s", k.text, kindList())
		return nil, &Fault{Line: k.line, Field: "kind", Reason: reason}
	}
	return r, nil
}

// kindList names the kinds in one sentence.
func kindList() string {
	var b strings.Builder
	kinds := tandem.Kinds()
	for i, k := range kinds {
		switch {
		case i == len(kinds)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(k))
	}
	return b.String()
}

// decoding is one document being decoded.
type decoding struct {
	schema *schema
	faults []Fault
}

// trail is where in the document we are; it becomes text only when there is a fault to tell.
type trail struct {
	parent *trail
	name   string
	index  int // when name is ""
}

func (p *trail) String() string {
	if p == nil {
		return ""
	}
	before := p.parent.String()
	switch {
	case p.name == "":
		return fmt.Sprintf("%s[%d]", before, p.index)
	case before == "":
		return p.name
	}
	return before + "." + p.name
}

// secret reports whether what stands at p may not be repeated in an error.
func (p *trail) secret() bool {
	for ; p != nil; p = p.parent {
		if p.name == "secret" || p.name == "ha1" {
			return true
		}
	}
	return false
}

func (d *decoding) fault(t *tree, p *trail, format string, args ...any) {
	d.faults = append(d.faults, Fault{Line: t.line, Field: p.String(), Reason: fmt.Sprintf(format, args...)})
}

func (d *decoding) object(t *tree) tandem.Object {
	r, fault := d.schema.kindOf(t)
	if fault != nil {
		d.faults = append(d.faults, *fault)
		return nil
	}
	object := tandem.New(r.kind)
	d.record(t, r, reflect.ValueOf(object).Elem(), nil)
	return object
}

func (d *decoding) record(t *tree, r *record, v reflect.Value, at *trail) {
	var seen uint64 // no record has more than 64 fields
	kindSeen := false
	for i := range t.items {
		item := &t.items[i]
		here := &trail{parent: at, name: item.key}
		if item.key == "kind" && r.kind != "" {
			if kindSeen {
				d.fault(item, here, "stands twice")
			}
			kindSeen = true
			continue
		}
		n, known := r.byName[item.key]
		switch {
		case !known:
			d.fault(item, here, "%s", unknownField(r, item.key))
		case seen&(1<<n) != 0:
			d.fault(item, here, "stands twice")
		default:
			seen |= 1 << n
			d.value(item, v.FieldByIndex(r.fields[n].index), here)
		}
	}
}

func unknownField(r *record, name string) string {
	owner := r.typ.Name()
	if guess := nearest(name, r.names()); guess != "" {
		return fmt.Sprintf("is not a field of %s; did you mean %s?", owner, guess)
	}
	return fmt.Sprintf("is not a field of %s: it has %s", owner, strings.Join(r.names(), ", "))
}

// value sets v from t. Nothing (null) leaves v as it is: absent.
func (d *decoding) value(t *tree, v reflect.Value, at *trail) {
	if t.shape == null {
		return
	}
	if isText(v.Type()) {
		d.text(t, v, at)
		return
	}
	switch v.Kind() {
	case reflect.Pointer: // a value that may be absent
		v.Set(reflect.New(v.Type().Elem()))
		d.value(t, v.Elem(), at)
	case reflect.String:
		if t.shape == text || t.plain && t.shape != list && t.shape != mapping {
			v.SetString(t.text)
			return
		}
		d.wrong(t, at, "text")
	case reflect.Bool:
		d.boolean(t, v, at)
	case reflect.Int, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		d.number(t, v, at)
	case reflect.Slice:
		d.list(t, v, at)
	case reflect.Map:
		d.mapping(t, v, at)
	case reflect.Struct:
		if t.shape != mapping {
			d.wrong(t, at, "a mapping")
			return
		}
		d.record(t, d.schema.records[v.Type()], v, at)
	default:
		panic("control: no document can hold a " + v.Type().String())
	}
}

// wrong tells of a value of another type than the one that is due.
func (d *decoding) wrong(t *tree, at *trail, due string) {
	is := t.shape.String()
	if (t.shape == number || t.shape == boolean) && !at.secret() {
		is = t.text
	}
	hint := ""
	if due == "text" && (t.shape == number || t.shape == boolean) {
		hint = "; put it in quotes"
	}
	d.fault(t, at, "is %.40s where %s is due%s", is, due, hint)
}

// text sets a value that reads itself from text.
func (d *decoding) text(t *tree, v reflect.Value, at *trail) {
	if t.shape != text && !(t.shape == number && t.plain) {
		d.wrong(t, at, "text")
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(t.text)); err != nil {
		d.fault(t, at, "%.60q is not %s", t.text, textForm(v.Type()))
	}
}

func textForm(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[netip.Addr]():
		return "an IP address such as 192.0.2.1 or 2001:db8::1"
	case reflect.TypeFor[netip.Prefix]():
		return "a network such as 192.0.2.0/24"
	case reflect.TypeFor[time.Time]():
		return "a time such as 2006-01-02T15:04:05Z"
	}
	return "a " + strings.ToLower(t.Name())
}

func (d *decoding) boolean(t *tree, v reflect.Value, at *trail) {
	if t.shape != boolean || t.text != "true" && t.text != "false" {
		d.wrong(t, at, "true or false")
		return
	}
	v.SetBool(t.text == "true")
}

// number sets a whole number, written in decimal digits only: 010 and 1e3 mean different things
// to different readers.
func (d *decoding) number(t *tree, v reflect.Value, at *trail) {
	if t.shape == text {
		d.fault(t, at, "is text where a number is due; leave the quotes out")
		return
	}
	if t.shape != number {
		d.wrong(t, at, "a number")
		return
	}
	digits, bits := t.text, v.Type().Bits()
	if v.Kind() == reflect.Int {
		digits, bits = strings.TrimPrefix(digits, "-"), bits-1 // the object itself judges the sign
	}
	n, err := strconv.ParseUint(digits, 10, bits)
	switch {
	case err != nil || len(digits) > 1 && digits[0] == '0':
		d.fault(t, at, "%.40s is not a whole %s", t.text, typeName(v.Type()))
	case v.Kind() != reflect.Int:
		v.SetUint(n)
	case digits == t.text:
		v.SetInt(int64(n))
	default:
		v.SetInt(-int64(n))
	}
}

func (d *decoding) list(t *tree, v reflect.Value, at *trail) {
	if t.shape != list {
		d.wrong(t, at, "a list")
		return
	}
	if len(t.items) == 0 {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(t.items), len(t.items)))
	for i := range t.items {
		here := &trail{parent: at, index: i}
		if t.items[i].shape == null {
			d.fault(&t.items[i], here, "has no value")
			continue
		}
		d.value(&t.items[i], v.Index(i), here)
	}
}

func (d *decoding) mapping(t *tree, v reflect.Value, at *trail) {
	if t.shape != mapping {
		d.wrong(t, at, "a mapping")
		return
	}
	if len(t.items) == 0 {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(t.items)))
	for i := range t.items {
		item := &t.items[i]
		here := &trail{parent: at, name: item.key}
		key := reflect.ValueOf(item.key).Convert(v.Type().Key())
		if v.MapIndex(key).IsValid() {
			d.fault(item, here, "stands twice")
			continue
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.value(item, value, here)
		v.SetMapIndex(key, value)
	}
}
