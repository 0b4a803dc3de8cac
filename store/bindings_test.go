package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tandem/internal/tandem"
)

func bindingsOf(t *testing.T, s *Store) []tandem.Binding {
	t.Helper()
	var list []tandem.Binding
	if err := s.Bindings(context.Background(), func(b tandem.Binding) error { list = append(list, b); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestBindings(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir)
	ctx := context.Background()
	one, two, three := binding(1), binding(2), binding(3)
	if err := s.PutBindings(ctx, []tandem.Binding{three, one, two}); err != nil {
		t.Fatal(err)
	}
	one.CSeq = 99
	if err := s.PutBindings(ctx, []tandem.Binding{one}); err != nil {
		t.Fatal(err)
	}
	absent := binding(9)
	if err := s.DeleteBindings(ctx, []tandem.Binding{two, absent}); err != nil {
		t.Fatal(err)
	}
	want := []tandem.Binding{one, three}
	same := cmp.Options{cmpopts.EquateComparable(netip.AddrPort{})}
	if diff := cmp.Diff(want, bindingsOf(t, s), same); diff != "" {
		t.Errorf("bindings differ (-want +got):\n%s", diff)
	}
	s.Close()
	if diff := cmp.Diff(want, bindingsOf(t, openAt(t, dir)), same); diff != "" {
		t.Errorf("bindings differ after Open (-want +got):\n%s", diff)
	}
}

func TestBindingsRefused(t *testing.T) {
	s := openMemory(t)
	for name, change := range map[string]func(*tandem.Binding){
		"no account":   func(b *tandem.Binding) { b.Account = "" },
		"no aor":       func(b *tandem.Binding) { b.AOR = "" },
		"no contact":   func(b *tandem.Binding) { b.Contact = "" },
		"long contact": func(b *tandem.Binding) { b.Contact = strings.Repeat("x", 5000) },
	} {
		b := binding(1)
		change(&b)
		var fe tandem.FieldError
		if err := s.PutBindings(context.Background(), []tandem.Binding{binding(2), b}); !errors.As(err, &fe) {
			t.Errorf("%s: PutBindings = %v, want a field error", name, err)
		}
	}
	if list := bindingsOf(t, s); len(list) != 0 {
		t.Errorf("a refused list left %v", list)
	}
}

// TestBindingKeysDoNotMeet checks that no two different bindings share a key by their parts running
// into each other.
func TestBindingKeysDoNotMeet(t *testing.T) {
	seen := make(map[string]string)
	parts := []string{"a", "aa", "a\x00", "\x00\x01a", "ab"}
	for _, account := range parts {
		for _, aor := range parts {
			for _, device := range append([]string{""}, parts...) {
				b := tandem.Binding{Account: account, AOR: aor, Device: device, Contact: "a"}
				key := string(appendBindingKey(nil, &b))
				name := fmt.Sprintf("%q %q %q", account, aor, device)
				if other, ok := seen[key]; ok {
					t.Errorf("%s and %s share a key", name, other)
				}
				seen[key] = name
			}
		}
	}
}
