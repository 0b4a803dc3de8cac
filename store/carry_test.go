package store

import (
	"context"
	"errors"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
)

// ids is a map as CBOR keeps an object.
type ids = map[uint64]any

// TestUnknownKeysStay stores an object as a newer program would have, updates it, and looks at what
// is kept.
func TestUnknownKeysStay(t *testing.T) {
	s := openMemory(t)
	mustAppend(t, s, ground()...)
	mustAppend(t, s, put(account("1001")))
	old := ids{
		1: "1001", 3: "example.net", 5: "tandem-1001", 6: "g1", 2: "old name",
		900: "of the object",
		15:  ids{1: uint64(60), 901: "of a struct"}, // ttl
		4: []any{ // labels
			ids{1: "same", 2: "current", 902: "of an element that stays"},
			ids{1: "changed", 2: "vanity", 903: "of an element that changes"},
		},
		11: map[string]any{ // targets
			"invite": ids{1: "c1", 904: "of a map's value"},
			"gone":   ids{1: "c1", 905: "of a value that goes"},
		},
	}
	putRaw(t, s, objectKey{tandem.KindAccount, "1001"}, old)

	next := account("1001")
	next.Name = "new name"
	next.Labels = []tandem.Label{{Label: "changed", Role: tandem.LabelTripwire}, {Label: "same", Role: tandem.LabelCurrent}}
	next.Targets = map[string]tandem.TargetSpec{"invite": {Nodes: []string{"n1"}}}
	mustAppend(t, s, put(next))

	got := raw(t, s, objectKey{tandem.KindAccount, "1001"})
	want := map[any]any{
		uint64(1): "1001", uint64(2): "new name", uint64(3): "example.net", uint64(5): "tandem-1001", uint64(6): "g1",
		uint64(900): "of the object",
		uint64(15):  map[any]any{uint64(901): "of a struct"},
		uint64(4): []any{
			map[any]any{uint64(1): "changed", uint64(2): "tripwire"},
			map[any]any{uint64(1): "same", uint64(2): "current", uint64(902): "of an element that stays"},
		},
		uint64(11): map[any]any{"invite": map[any]any{uint64(2): []any{"n1"}, uint64(904): "of a map's value"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after the update (-want +got):\n%s", diff)
	}
	back, err := s.Account(context.Background(), admin, "1001")
	if err != nil || back.Name != "new name" || back.TTL != (tandem.TTL{}) {
		t.Errorf("read back %+v, %v", back, err)
	}
}

// putRaw stores an object in the form given.
func putRaw(t *testing.T, s *Store, k objectKey, fields ids) {
	t.Helper()
	body, err := s.enc.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	key := appendObjectKey(nil, k)
	value := s.wrap(nil, key, appendEntry(nil, &entry{s.state.last, k.id, body}))
	if err := s.db.Set(key, value, nil); err != nil {
		t.Fatal(err)
	}
}

func raw(t *testing.T, s *Store, k objectKey) map[any]any {
	t.Helper()
	e, err := s.get(k)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[any]any
	if err := cbor.Unmarshal(e.cbor, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

// FuzzCarryOver checks that an update of whatever a newer program wrote has all that the update
// says, and that doing it twice changes nothing.
func FuzzCarryOver(f *testing.F) {
	c, err := newCodec()
	if err != nil {
		f.Fatal(err)
	}
	for _, fields := range []ids{{1: "1001"}, {1: "1001", 900: "x"}, {1: "x", 15: ids{9: 1}}, {4: []any{ids{1: "l", 7: 7}}}, {11: map[string]any{"invite": ids{9: 9}}}} {
		b, err := c.enc.Marshal(fields)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	next := account("1001")
	next.Targets = map[string]tandem.TargetSpec{"invite": {Cluster: "c1"}}
	body, err := c.encode(next)
	if err != nil {
		f.Fatal(err)
	}
	k := objectKey{tandem.KindAccount, "1001"}
	f.Fuzz(func(t *testing.T, prev []byte) {
		if _, err := c.decode(k, &entry{cbor: prev}); err != nil {
			return // not an object that could have been read before it was updated
		}
		kept, err := c.carryOver(c.shapes[k.kind], prev, body)
		if err != nil {
			return // refused, and the object stays
		}
		got, err := c.decode(k, &entry{cbor: kept})
		if err != nil {
			t.Fatalf("carryOver made %x, which cannot be read: %v", kept, err)
		}
		if diff := cmp.Diff(tandem.Object(next), got); diff != "" {
			t.Errorf("carryOver changed what the update says:\n%s", diff)
		}
		if again, err := c.carryOver(c.shapes[k.kind], kept, body); err != nil || string(again) != string(kept) {
			t.Errorf("carryOver twice: %x, %v, want %x", again, err, kept)
		}
	})
}

// FuzzValues gives any octets to every reader of values: each either refuses them, or writes what it
// read so that it reads the same again.
func FuzzValues(f *testing.F) {
	c, err := newCodec()
	if err != nil {
		f.Fatal(err)
	}
	b := binding(1)
	bound, err := c.encodeBinding(&b)
	if err != nil {
		f.Fatal(err)
	}
	body, err := c.encode(account("1001"))
	if err != nil {
		f.Fatal(err)
	}
	k := objectKey{tandem.KindAccount, "1001"}
	f.Add([]byte("k"), bound)
	f.Add([]byte("o"), appendEntry(nil, &entry{7, "1001", body}))
	f.Add([]byte("l"), appendRecord(nil, &record{key: k, owner: "1001", last: true, actor: "me", cbor: body}))
	f.Add([]byte("c"), appendHolder(nil, holder{k, true, true}))
	f.Add([]byte("s"), appendState(nil, &state{1, 2, 3, 4, digest{5, 6}}))
	sides := callOf(1, "1001")
	call, err := c.encodeCall(&sides)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("k"), appendCallEntry(nil, &callEntry{true, "1001", call}))
	f.Add([]byte("e"), appendCallEvent(nil, &callEvent{sides.Started, "1001", call}))
	f.Add([]byte("m"), appendCallState(nil, &callState{3, 2, 1}))
	f.Add([]byte("d"), call)
	f.Fuzz(func(t *testing.T, key, payload []byte) {
		value := c.wrap(nil, key, payload)
		if got, err := c.open(key, value); err != nil || string(got) != string(payload) {
			t.Fatalf("envelope gave %x, %v, want %x", got, err, payload)
		}
		value[len(value)-1] ^= 1
		if _, err := c.open(key, value); !errors.Is(err, errEnvelope) {
			t.Fatalf("a flipped bit gave %v, want errEnvelope", err)
		}
		c.open(key, payload)
		again(t, "entry", payload, parseEntry, func(e *entry) []byte { return appendEntry(nil, e) })
		again(t, "holder", payload, parseHolder, func(h holder) []byte { return appendHolder(nil, h) })
		again(t, "state", payload, parseState, func(s state) []byte { return appendState(nil, &s) })
		again(t, "record", payload, func(p []byte) (*record, error) { return parseRecord(1, p) }, func(r *record) []byte { return appendRecord(nil, r) })
		again(t, "binding", payload, c.decodeBinding, func(b tandem.Binding) []byte {
			out, err := c.encodeBinding(&b)
			if err != nil {
				t.Errorf("binding %x cannot be written again: %v", payload, err)
			}
			return out
		})
		again(t, "call entry", payload, parseCallEntry, func(e callEntry) []byte { return appendCallEntry(nil, &e) })
		again(t, "call event", payload, parseCallEvent, func(e callEvent) []byte { return appendCallEvent(nil, &e) })
		again(t, "call state", payload, parseCallState, func(s callState) []byte { return appendCallState(nil, &s) })
		again(t, "call", payload, c.decodeCall, func(call tandem.Call) []byte {
			out, err := c.encodeCall(&call)
			if err != nil {
				t.Errorf("call %x cannot be written again: %v", payload, err)
			}
			return out
		})
		parseCallOwnerKey(payload)
		parseObjectKey(payload)
		parseRefKey(payload)
		parseClaimKey(payload)
		parseMarker("dir", payload)
	})
}

// again checks that what parse makes of payload is the same after it has been written and read.
func again[T any](t *testing.T, what string, payload []byte, parse func([]byte) (T, error), write func(T) []byte) {
	t.Helper()
	first, err := parse(payload)
	if err != nil {
		return
	}
	written := write(first)
	second, err := parse(written)
	if err != nil {
		t.Fatalf("%s %x is written as %x, which cannot be read: %v", what, payload, written, err)
	}
	if third := write(second); string(third) != string(written) {
		t.Errorf("%s %x is written as %x, and then as %x", what, payload, written, third)
	}
}
