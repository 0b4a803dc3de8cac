package tandem_test

import (
	"reflect"
	"strings"
	"testing"

	"tandem/internal/tandem"
)

// TestTags walks every field that can be stored: each has a number of its own, and each that people
// see has a help text.
func TestTags(t *testing.T) {
	for _, k := range tandem.Kinds() {
		walkTags(t, reflect.TypeOf(tandem.New(k)).Elem(), true)
	}
	walkTags(t, reflect.TypeFor[tandem.Permit](), false)
	walkTags(t, reflect.TypeFor[tandem.Key](), false)
	walkTags(t, reflect.TypeFor[tandem.Assignment](), true)
	walkTags(t, reflect.TypeFor[tandem.Lease](), true)
	walkTags(t, reflect.TypeFor[tandem.Health](), true)
	walkTags(t, reflect.TypeFor[tandem.Binding](), true)
	walkTags(t, reflect.TypeFor[tandem.Call](), true)
}

func walkTags(t *testing.T, typ reflect.Type, shown bool) {
	numbers := make(map[string]string)
	for _, f := range reflect.VisibleFields(typ) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		number, _, _ := strings.Cut(f.Tag.Get("cbor"), ",")
		switch {
		case number == "":
			t.Errorf("%s.%s has no cbor number", typ.Name(), f.Name)
		case number != "-" && numbers[number] != "":
			t.Errorf("%s.%s and .%s share number %s", typ.Name(), f.Name, numbers[number], number)
		}
		if number != "-" {
			numbers[number] = f.Name
		}
		if shown && f.Tag.Get("json") != "-" && f.Tag.Get("explain") == "" {
			t.Errorf("%s.%s has no explain text", typ.Name(), f.Name)
		}
		elem := f.Type
		for elem.Kind() == reflect.Slice || elem.Kind() == reflect.Map || elem.Kind() == reflect.Pointer {
			elem = elem.Elem()
		}
		if elem.Kind() == reflect.Struct && elem.PkgPath() == typ.PkgPath() {
			walkTags(t, elem, shown)
		}
	}
}
