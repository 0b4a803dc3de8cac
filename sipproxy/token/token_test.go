package token

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/tandem"
)

// plainSeal seals by writing the context in front; a test double that notices a wrong context.
type plainSeal struct{}

func (plainSeal) Seal(plain []byte, context string) ([]byte, error) {
	return append([]byte(context+"\x00"), plain...), nil
}

func (plainSeal) Unseal(sealed []byte, context string) ([]byte, error) {
	rest, ok := strings.CutPrefix(string(sealed), context+"\x00")
	if !ok {
		return nil, errors.New("sealed for something else")
	}
	return []byte(rest), nil
}

var start = time.Unix(1_800_000_000, 0)

// apply does what the store would do with edits.
func apply(t testing.TB, r *Ring, edits []tandem.Edit) {
	t.Helper()
	var changes []tandem.Change
	for _, e := range edits {
		changes = append(changes, tandem.Change{Kind: e.Kind, ID: e.ID, Object: e.Object})
	}
	if err := r.Apply(changes); err != nil {
		t.Fatal(err)
	}
}

func rotate(t testing.TB, r *Ring, now time.Time) []tandem.Edit {
	t.Helper()
	edits, err := r.Due(now)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, r, edits)
	return edits
}

func newRing(t testing.TB) *Ring {
	r := NewRing(ForTokens, plainSeal{})
	rotate(t, r, start)
	return r
}

var payload = Payload{Side: Callee, Listener: 3, Node: [12]byte{1, 2, 3}, Account: [12]byte{4, 5, 6}, Slot: 77}

// inDialog is what a request of the callee shows: the caller's tag stands in To.
var inDialog = Dialog{CallID: "a84b4c76e66710@pc33", FromTag: "callee-tag", ToTag: "caller-tag"}

func mint(t testing.TB, r *Ring, p Payload) string {
	t.Helper()
	text, err := Mint(nil, r, start, inDialog.CallID, inDialog.ToTag, p)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestOpen(t *testing.T) {
	r := newRing(t)
	text := mint(t, r, payload)
	if len(text) != Size || Size > 80 || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("token %q has %d octets or odd ones", text, len(text))
	}
	other := newRing(t)
	with := func(edit func(*Dialog)) Dialog { d := inDialog; edit(&d); return d }
	cases := []struct {
		name string
		text string
		ring *Ring
		at   time.Duration
		d    Dialog
		want error
	}{
		{"right", text, r, 0, inDialog, nil},
		{"a day later", text, r, 25 * time.Hour, inDialog, nil},
		{"key expired", text, r, 73 * time.Hour, inDialog, ErrKey},
		{"another fleet's key", text, other, 0, inDialog, ErrForged},
		{"no key", text, NewRing(ForTokens, plainSeal{}), 0, inDialog, ErrKey},
		{"another Call-ID", text, r, 0, with(func(d *Dialog) { d.CallID += "x" }), ErrForged},
		{"another tag", text, r, 0, with(func(d *Dialog) { d.ToTag += "x" }), ErrForged},
		{"sent by the other side", text, r, 0, with(func(d *Dialog) { d.FromTag, d.ToTag = d.ToTag, d.FromTag }), ErrForged},
		{"other tag of ours does not matter", text, r, 0, with(func(d *Dialog) { d.FromTag = "fork-2" }), nil},
		{"octets moved between Call-ID and tag", text, r, 0, with(func(d *Dialog) { d.CallID, d.ToTag = d.CallID+"c", d.ToTag[1:] }), ErrForged},
		{"outside a dialog", text, r, 0, with(func(d *Dialog) { d.ToTag = "" }), ErrNoDialog},
		{"no Call-ID", text, r, 0, with(func(d *Dialog) { d.CallID = "" }), ErrNoDialog},
		{"absurd tag", text, r, 0, with(func(d *Dialog) { d.ToTag = strings.Repeat("t", 2000) }), ErrNoDialog},
		{"cut", text[:Size-1], r, 0, inDialog, ErrMalformed},
		{"longer", text + "A", r, 0, inDialog, ErrMalformed},
		{"not base64url", "+" + text[1:], r, 0, inDialog, ErrMalformed},
		{"line end", text[:Size-1] + "\n", r, 0, inDialog, ErrMalformed},
		{"another format", "AA" + text[2:], r, 0, inDialog, ErrMalformed},
		{"empty", "", r, 0, inDialog, ErrMalformed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := Open(c.text, c.ring, start.Add(c.at), c.d)
			if !errors.Is(err, c.want) {
				t.Fatalf("Open = %v, want %v", err, c.want)
			}
			if want := payload; (err == nil) != (p == want) {
				t.Errorf("payload = %+v with error %v", p, err)
			}
		})
	}
}

func TestSides(t *testing.T) {
	r := newRing(t)
	p := payload
	p.Side = Caller
	forCaller, forCallee := mint(t, r, p), mint(t, r, payload)
	if forCaller == forCallee {
		t.Error("both sides get the same token")
	}
	if again := mint(t, r, payload); again != forCallee {
		t.Error("the same dialog gets another token")
	}
	fromCaller := Dialog{CallID: inDialog.CallID, FromTag: inDialog.ToTag, ToTag: inDialog.FromTag}
	for _, c := range []struct {
		name string
		text string
		d    Dialog
		want error
	}{
		{"caller sends the caller's", forCaller, fromCaller, nil},
		{"callee sends the callee's", forCallee, inDialog, nil},
		{"caller sends the callee's", forCallee, fromCaller, ErrForged},
		{"callee sends the caller's", forCaller, inDialog, ErrForged},
	} {
		if _, err := Open(c.text, r, start, c.d); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestMintRefuses(t *testing.T) {
	r := newRing(t)
	for _, c := range []struct {
		name, callID, tag string
		ring              *Ring
		want              error
	}{
		{"no key", "c", "t", NewRing(ForTokens, plainSeal{}), ErrNoKey},
		{"no Call-ID", "", "t", r, ErrNoDialog},
		{"no tag", "c", "", r, ErrNoDialog},
		{"absurd Call-ID", strings.Repeat("c", 2000), "t", r, ErrNoDialog},
		{"long Call-ID", strings.Repeat("c", 1000), "t", r, nil},
	} {
		if _, err := Mint(nil, c.ring, start, c.callID, c.tag, payload); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestAnyFlip alters every bit of a token's octets and every character of its text.
func TestAnyFlip(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	r := newRing(t)
	text := mint(t, r, payload)
	for i := range text {
		for bit := range 6 {
			c := alphabet[strings.IndexByte(alphabet, text[i])^1<<bit]
			if p, err := Open(text[:i]+string(c)+text[i+1:], r, start, inDialog); err == nil {
				t.Errorf("opens with bit %d of character %d altered: %+v", bit, i, p)
			}
		}
	}
}

// TestRoundTrip opens what was minted for random payloads and dialogs, from several goroutines.
func TestRoundTrip(t *testing.T) {
	r := newRing(t)
	var all sync.WaitGroup
	for g := range 3 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 9))
			for range 500 {
				p := Payload{Side: Side(rng.IntN(2)), Listener: uint8(rng.IntN(256)), Slot: rng.Uint32()}
				for i := range p.Node {
					p.Node[i], p.Account[i] = byte(rng.IntN(256)), byte(rng.IntN(256))
				}
				callID := fmt.Sprintf("%0*d", 1+rng.IntN(300), rng.IntN(1000))
				text, err := Mint(nil, r, start, callID, "x", p)
				if err != nil {
					t.Error(err)
					return
				}
				d := Dialog{CallID: callID, FromTag: "x", ToTag: "y"}
				if p.Side == Callee {
					d.FromTag, d.ToTag = "y", "x"
				}
				if got, err := Open(string(text), r, start, d); err != nil || got != p {
					t.Errorf("Open = %+v, %v, want %+v", got, err, p)
				}
			}
		})
	}
	all.Wait()
}

// FuzzOpen holds that nothing opens but what was minted for the very dialog.
func FuzzOpen(f *testing.F) {
	r := newRing(f)
	text := mint(f, r, payload)
	f.Add(text, inDialog.CallID, inDialog.FromTag, inDialog.ToTag)
	f.Add(text, inDialog.CallID, inDialog.ToTag, inDialog.FromTag)
	f.Add("", "", "", "")
	f.Add(strings.Repeat("A", Size), "c", "f", "t")
	f.Fuzz(func(t *testing.T, s, callID, from, to string) {
		p, err := Open(s, r, start, Dialog{CallID: callID, FromTag: from, ToTag: to})
		if err == nil && (s != text || callID != inDialog.CallID || to != inDialog.ToTag || p != payload) {
			t.Errorf("Open(%q) = %+v in dialog %q, %q, %q", s, p, callID, from, to)
		}
	})
}

func BenchmarkMint(b *testing.B) {
	r := newRing(b)
	buf := make([]byte, 0, Size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Mint(buf, r, start, inDialog.CallID, inDialog.ToTag, payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	r := newRing(b)
	text := mint(b, r, payload)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(text, r, start, inDialog); err != nil {
			b.Fatal(err)
		}
	}
}
