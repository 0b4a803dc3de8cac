package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"tandem/internal/tandem"
)

// tables is the database as the store sees it: keys, enveloped values and the codec between them.
// Reading may be done by many at once; keyBuf and valueBuf belong to whoever may append.
type tables struct {
	*codec
	db   *pebble.DB
	name string // directory, for messages

	keyBuf, valueBuf []byte
}

// read gives the payload under key to fn. It returns tandem.ErrNotFound or ErrCorrupt.
func (t *tables) read(key []byte, fn func(payload []byte) error) error {
	value, closer, err := t.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return tandem.ErrNotFound
	}
	if err != nil {
		return t.damaged(err)
	}
	defer closer.Close()
	payload, err := t.open(key, value)
	if err != nil {
		return t.damaged(err)
	}
	return t.damaged(fn(payload))
}

// cursor reads single values of one table. A batch of lookups on one cursor costs a fraction of as
// many Gets, which each build an iterator over every level; the bloom filters serve both.
type cursor struct {
	*tables
	iter *pebble.Iterator
}

func (t *tables) newCursor(table byte) (*cursor, error) {
	iter, err := t.db.NewIter(&pebble.IterOptions{LowerBound: []byte{table}, UpperBound: []byte{table + 1}, UseL6Filters: true})
	if err != nil {
		return nil, t.damaged(err)
	}
	return &cursor{t, iter}, nil
}

func (c *cursor) close() {
	if c != nil {
		c.iter.Close()
	}
}

// read is like tables.read; fn must not keep payload.
func (c *cursor) read(key []byte, fn func(payload []byte) error) error {
	if !c.iter.SeekPrefixGE(key) || !bytes.Equal(c.iter.Key(), key) {
		if err := c.iter.Error(); err != nil {
			return c.damaged(err)
		}
		return tandem.ErrNotFound
	}
	value, err := c.iter.ValueAndErr()
	if err != nil {
		return c.damaged(err)
	}
	payload, err := c.open(key, value)
	if err != nil {
		return c.damaged(err)
	}
	return c.damaged(fn(payload))
}

// getter is tables or a cursor over its objects.
type getter interface {
	read(key []byte, fn func(payload []byte) error) error
}

// get returns the stored object of that name, or tandem.ErrNotFound.
func (t *tables) get(k objectKey) (*entry, error) { return getFrom(t, k) }

func getFrom(from getter, k objectKey) (*entry, error) {
	var e *entry
	var key [64]byte
	err := from.read(appendObjectKey(key[:0], k), func(payload []byte) (err error) {
		e, err = parseEntry(append([]byte(nil), payload...))
		return err
	})
	return e, err
}

// damaged makes any error met while reading one that says where, and what to do.
func (t *tables) damaged(err error) error {
	if err == nil || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion) {
		return err
	}
	return fmt.Errorf("%w: %s: %w; restore it from a backup", ErrCorrupt, t.name, err)
}

// digest is a checksum of the object table that a change moves in time proportional to the change:
// the sum, modulo 2^128, of the first half of SHA-256 over each key and payload.
type digest struct{ hi, lo uint64 }

func (d *digest) add(key, payload []byte) {
	h := digestOf(key, payload)
	lo := d.lo + h.lo
	d.hi += h.hi
	if lo < d.lo {
		d.hi++
	}
	d.lo = lo
}

func (d *digest) remove(key, payload []byte) {
	h := digestOf(key, payload)
	if d.lo < h.lo {
		d.hi--
	}
	d.lo -= h.lo
	d.hi -= h.hi
}

func digestOf(key, payload []byte) digest {
	var room [1024]byte
	sum := sha256.Sum256(append(appendPart(room[:0], string(key)), payload...))
	return digest{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])}
}

func (d digest) String() string { return fmt.Sprintf("%016x%016x", d.hi, d.lo) }

// state is the one record that every batch rewrites: where the log stands.
type state struct {
	epoch   uint64          // grows with each restore
	last    tandem.Revision // of the last change
	floor   tandem.Revision // the last change no longer in the log
	objects uint64          // how many are stored
	digest  digest
}

func stateKey() []byte { return []byte{tableMeta, 's'} }

func appendState(buf []byte, s *state) []byte {
	for _, n := range []uint64{s.epoch, uint64(s.last), uint64(s.floor), s.objects, s.digest.hi, s.digest.lo} {
		buf = binary.BigEndian.AppendUint64(buf, n)
	}
	return buf
}

func parseState(payload []byte) (state, error) {
	if len(payload) != 48 {
		return state{}, errShort
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(payload[8*i:]) }
	return state{n(0), tandem.Revision(n(1)), tandem.Revision(n(2)), n(3), digest{n(4), n(5)}}, nil
}

func (t *tables) loadState() (state, error) {
	var s state
	err := t.read(stateKey(), func(payload []byte) (err error) {
		s, err = parseState(payload)
		return err
	})
	if errors.Is(err, tandem.ErrNotFound) {
		return state{}, t.damaged(errors.New("the record of its state is missing"))
	}
	return s, err
}

func (t *tables) setState(b *pebble.Batch, s *state) error {
	t.keyBuf = append(t.keyBuf[:0], stateKey()...)
	t.valueBuf = appendState(t.begin(t.valueBuf[:0]), s)
	return t.set(b)
}

func keySumKey() []byte { return []byte{tableMeta, 'k'} }

// checkKey reports a node key that is not the one the store was made with.
func (t *tables) checkKey(sum [sha256.Size]byte) error {
	same := false
	err := t.read(keySumKey(), func(payload []byte) error {
		same = bytes.Equal(payload, sum[:])
		return nil
	})
	switch {
	case errors.Is(err, tandem.ErrNotFound):
		return t.damaged(errors.New("the record of its node key is missing"))
	case err == nil && !same:
		return fmt.Errorf("%w: %s: %s is another store's key; put its own back from a backup", ErrCorrupt, t.name, keyName)
	}
	return err
}
