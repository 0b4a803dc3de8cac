package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/fxamacker/cbor/v2"

	"tandem/internal/tandem"
)

// maxObject bounds an encoded object, in octets: a zone's plain records are the largest thing.
const maxObject = 8 << 20

var errShort = errors.New("record cut short")

// codec turns objects, changes and bindings into bytes and back. It is read-only after newCodec.
type codec struct {
	envelopes
	enc    cbor.UserBufferEncMode
	dec    cbor.DecMode
	shapes map[tandem.Kind]*shape
}

func newCodec() (*codec, error) {
	enc, err := cbor.EncOptions{Sort: cbor.SortBytewiseLexical, Time: cbor.TimeRFC3339Nano}.UserBufferEncMode()
	if err != nil {
		return nil, err
	}
	// Text is taken as it was written: the encoder does not refuse invalid UTF-8, so the decoder
	// must not either.
	dec, err := cbor.DecOptions{
		UTF8: cbor.UTF8DecodeInvalid, MaxArrayElements: 1 << 22, MaxMapPairs: 1 << 22,
	}.DecMode()
	if err != nil {
		return nil, err
	}
	c := &codec{envelopes: newEnvelopes(), enc: enc, dec: dec, shapes: make(map[tandem.Kind]*shape)}
	for _, k := range allKinds() {
		c.shapes[k] = shapeOf(reflect.TypeOf(tandem.New(k)).Elem())
	}
	return c, nil
}

// entry is an object as it is kept: its payload in the object table is the revision (8 octets), the
// owner after its length (2 octets), and the object in CBOR.
type entry struct {
	revision tandem.Revision
	owner    string
	cbor     []byte
}

func (c *codec) encode(obj tandem.Object) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(256)
	if err := c.enc.MarshalToBuffer(obj, &buf); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func (c *codec) decode(k objectKey, e *entry) (tandem.Object, error) {
	obj := tandem.New(k.kind)
	if obj == nil {
		return nil, fmt.Errorf("unknown kind %q", k.kind)
	}
	if err := c.dec.Unmarshal(e.cbor, obj); err != nil {
		return nil, fmt.Errorf("decode %s: %w", k, err)
	}
	if obj.Header().ID != k.id {
		return nil, fmt.Errorf("decode %s: it calls itself %q", k, obj.Header().ID)
	}
	obj.Header().Revision = e.revision
	return obj, nil
}

func appendEntry(buf []byte, e *entry) []byte {
	buf = binary.BigEndian.AppendUint64(buf, uint64(e.revision))
	buf = appendPart(buf, e.owner)
	return append(buf, e.cbor...)
}

// parseEntry reads what appendEntry wrote; the entry shares payload's memory.
func parseEntry(payload []byte) (*entry, error) {
	if len(payload) < 8 {
		return nil, errShort
	}
	owner, rest, err := cutPart(payload[8:])
	if err != nil {
		return nil, err
	}
	return &entry{tandem.Revision(binary.BigEndian.Uint64(payload)), owner, rest}, nil
}

// record is one change in the log: flags (1 octet), kind (1 octet), time (8 octets, nanoseconds of
// the Unix epoch), actor, id and owner after their lengths (2 octets each), then the object in CBOR.
type record struct {
	revision tandem.Revision // stands in the key
	key      objectKey
	owner    string
	deletion bool
	last     bool // of its batch
	time     time.Time
	actor    string
	cbor     []byte
}

const (
	flagDeletion byte = 1 << iota
	flagLast
)

func appendRecord(buf []byte, r *record) []byte {
	var flags byte
	if r.deletion {
		flags |= flagDeletion
	}
	if r.last {
		flags |= flagLast
	}
	buf = append(buf, flags, kindNumber(r.key.kind))
	buf = binary.BigEndian.AppendUint64(buf, uint64(r.time.UnixNano()))
	buf = appendPart(buf, r.actor)
	buf = appendPart(buf, r.key.id)
	buf = appendPart(buf, r.owner)
	return append(buf, r.cbor...)
}

// parseRecord reads what appendRecord wrote; the record shares payload's memory.
func parseRecord(rev tandem.Revision, payload []byte) (*record, error) {
	if len(payload) < 10 {
		return nil, errShort
	}
	r := &record{
		revision: rev,
		deletion: payload[0]&flagDeletion != 0,
		last:     payload[0]&flagLast != 0,
		time:     time.Unix(0, int64(binary.BigEndian.Uint64(payload[2:]))).UTC(),
	}
	if r.key.kind = kindOf(payload[1]); r.key.kind == "" {
		return nil, fmt.Errorf("unknown kind %d", payload[1])
	}
	rest := payload[10:]
	for _, part := range []*string{&r.actor, &r.key.id, &r.owner} {
		var err error
		if *part, rest, err = cutPart(rest); err != nil {
			return nil, err
		}
	}
	r.cbor = rest
	return r, nil
}

// change decodes r for followers.
func (c *codec) change(r *record) (tandem.Change, error) {
	ch := tandem.Change{Revision: r.revision, Kind: r.key.kind, ID: r.key.id, Time: r.time, Actor: r.actor}
	if r.deletion {
		return ch, nil
	}
	obj, err := c.decode(r.key, &entry{r.revision, r.owner, r.cbor})
	ch.Object = obj
	return ch, err
}

// holder is a claim's value: flags (1 octet), kind (1 octet), id.
type holder struct {
	key     objectKey
	forever bool // stays the holder's when it is given up
	held    bool // false: given up, kept for its former holder
}

const (
	flagForever byte = 1 << iota
	flagHeld
)

func appendHolder(buf []byte, h holder) []byte {
	var flags byte
	if h.forever {
		flags |= flagForever
	}
	if h.held {
		flags |= flagHeld
	}
	return append(append(buf, flags, kindNumber(h.key.kind)), h.key.id...)
}

func parseHolder(payload []byte) (holder, error) {
	if len(payload) < 3 {
		return holder{}, errShort
	}
	h := holder{objectKey{kindOf(payload[1]), string(payload[2:])}, payload[0]&flagForever != 0, payload[0]&flagHeld != 0}
	if h.key.kind == "" {
		return holder{}, fmt.Errorf("unknown kind %d", payload[1])
	}
	return h, nil
}

func (c *codec) encodeBinding(b *tandem.Binding) ([]byte, error) { return c.enc.Marshal(b) }

func (c *codec) decodeBinding(payload []byte) (tandem.Binding, error) {
	var b tandem.Binding
	err := c.dec.Unmarshal(payload, &b)
	return b, err
}
