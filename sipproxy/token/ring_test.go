package token

import (
	"fmt"
	"testing"
	"time"

	"tandem/internal/tandem"
)

func ids(edits []tandem.Edit) string {
	text := ""
	for _, e := range edits {
		sign := "+"
		if e.Object == nil {
			sign = "-"
		}
		text += sign + e.ID + " "
	}
	return text
}

func TestRingRotation(t *testing.T) {
	r := NewRing(ForNonces, plainSeal{})
	if n, s := r.Signing(start); n != 0 || s != nil {
		t.Error("an empty ring signs")
	}
	steps := []struct {
		at      time.Duration
		edits   string
		signing uint8
	}{
		{0, "+nonce/0 ", 0},
		{time.Minute, "", 0},
		{24*time.Hour - time.Second, "", 0},
		{24 * time.Hour, "+nonce/1 ", 0}, // the elder signs until everybody has the new one
		{24*time.Hour + time.Minute, "", 1},
		{48 * time.Hour, "+nonce/2 ", 1},
		{49 * time.Hour, "", 2},
		{72 * time.Hour, "+nonce/3 ", 2},
		{73 * time.Hour, "-nonce/0 ", 3},
		{74 * time.Hour, "", 3},
		{1000 * time.Hour, "-nonce/3 -nonce/2 -nonce/1 +nonce/4 ", 4}, // after a long sleep
	}
	for _, s := range steps {
		edits := rotate(t, r, start.Add(s.at))
		if got := ids(edits); got != s.edits {
			t.Errorf("at %v: edits %q, want %q", s.at, got, s.edits)
		}
		for _, e := range edits {
			if e.Object != nil && !e.Create {
				t.Errorf("at %v: %s may overwrite another appliance's key", s.at, e.ID)
			}
		}
		n, secret := r.Signing(start.Add(s.at))
		if n != s.signing || len(secret) != secretSize {
			t.Errorf("at %v: key %d signs, want %d", s.at, n, s.signing)
		}
	}
}

func TestRingLookup(t *testing.T) {
	r := newRing(t)
	rotate(t, r, start.Add(24*time.Hour))
	for _, c := range []struct {
		number uint8
		at     time.Duration
		want   bool
	}{{0, 0, true}, {0, 72 * time.Hour, true}, {0, 73 * time.Hour, false}, {1, 73 * time.Hour, true}, {2, 0, false}} {
		if got := r.Lookup(c.number, start.Add(c.at)) != nil; got != c.want {
			t.Errorf("Lookup(%d) at %v = %v, want %v", c.number, c.at, got, c.want)
		}
	}
}

func TestRingNumbersGoRound(t *testing.T) {
	r := NewRing(ForTokens, plainSeal{})
	for day := range 600 {
		now := start.Add(time.Duration(day) * 24 * time.Hour)
		rotate(t, r, now)
		rotate(t, r, now.Add(2*time.Minute))
		if n, _ := r.Signing(now.Add(2 * time.Minute)); n != uint8(day) {
			t.Fatalf("day %d: key %d signs, want %d", day, n, uint8(day))
		}
		if n := len(r.keys.Load().byAge); n > 4 {
			t.Fatalf("day %d: %d keys are kept", day, n)
		}
	}
}

func TestRingClockWasAhead(t *testing.T) {
	r := NewRing(ForTokens, plainSeal{})
	rotate(t, r, start.Add(1000*time.Hour))
	if n, s := r.Signing(start); n != 0 || s == nil {
		t.Error("the only key does not sign")
	}
	if got := ids(rotate(t, r, start)); got != "+token/1 " {
		t.Errorf("edits = %q, want a key by the right clock", got)
	}
	if n, _ := r.Signing(start.Add(time.Minute)); n != 1 {
		t.Errorf("key %d signs, want 1", n)
	}
}

func TestRingApply(t *testing.T) {
	key := func(purpose string, number uint8, sealed string) tandem.Change {
		id := fmt.Sprintf("%s/%d", purpose, number)
		return tandem.Change{Kind: tandem.KindKey, ID: id, Object: &tandem.Key{Head: tandem.Head{ID: id}, Purpose: purpose, Number: number, Created: start, Sealed: []byte(sealed)}}
	}
	const secret = "0123456789abcdef0123456789abcdef"
	good := key("token", 1, "key token/1\x00"+secret)
	cases := []struct {
		name    string
		changes []tandem.Change
		want    bool // key 1 is there
		fails   bool
	}{
		{"one", []tandem.Change{good}, true, false},
		{"of another purpose", []tandem.Change{key("nonce", 1, "key nonce/1\x00"+secret)}, false, false},
		{"sealed for another key", []tandem.Change{key("token", 1, "key token/2\x00"+secret)}, false, true},
		{"short", []tandem.Change{key("token", 1, "key token/1\x00abc")}, false, true},
		{"the others are taken", []tandem.Change{key("token", 2, "?"), good}, true, true},
		{"deleted", []tandem.Change{good, {Kind: tandem.KindKey, ID: "token/1"}}, false, false},
		{"another deleted", []tandem.Change{good, {Kind: tandem.KindKey, ID: "token/2"}}, true, false},
		{"replaced by one that cannot be opened", []tandem.Change{good, key("token", 1, "?")}, false, true},
		{"other kinds", []tandem.Change{good, {Kind: tandem.KindGroup, ID: "token/1"}}, true, false},
		{"no number", []tandem.Change{good, {Kind: tandem.KindKey, ID: "token/x"}, {Kind: tandem.KindKey, ID: "token"}}, true, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := NewRing(ForTokens, plainSeal{})
			if err := r.Apply(c.changes); (err != nil) != c.fails {
				t.Errorf("Apply = %v", err)
			}
			if got := r.Lookup(1, start); (string(got) == secret) != c.want {
				t.Errorf("Lookup(1) = %q, want it there: %v", got, c.want)
			}
		})
	}
}
