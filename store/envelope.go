package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// formatVersion is the first byte of every value, and the format number in a store's marker.
const formatVersion byte = 1

const envelopeLen = 5

// errEnvelope is what openEnvelope reports for anything that wrap did not write.
var errEnvelope = errors.New("damaged value")

// envelopes wraps and unwraps values. Its table is read-only.
type envelopes struct{ castagnoli *crc32.Table }

func newEnvelopes() envelopes { return envelopes{crc32.MakeTable(crc32.Castagnoli)} }

// begin appends the room of an envelope to buf; the payload is then appended after it, and finish
// is given the whole.
func (envelopes) begin(buf []byte) []byte {
	return append(buf, formatVersion, 0, 0, 0, 0)
}

// finish fills in the checksum of value, which lies under key: CRC-32C of the key, the version and
// the payload, so that a value under the wrong key is seen too.
func (e envelopes) finish(key, value []byte) {
	binary.BigEndian.PutUint32(value[1:], e.sum(key, value))
}

// wrap returns payload in an envelope, appended to buf.
func (e envelopes) wrap(buf, key, payload []byte) []byte {
	at := len(buf)
	buf = append(e.begin(buf), payload...)
	e.finish(key, buf[at:])
	return buf
}

// open returns the payload of value, as part of value.
func (e envelopes) open(key, value []byte) ([]byte, error) {
	if len(value) < envelopeLen {
		return nil, fmt.Errorf("%w under %x: %d octets are too few", errEnvelope, key, len(value))
	}
	if e.sum(key, value) != binary.BigEndian.Uint32(value[1:]) {
		return nil, fmt.Errorf("%w under %x: the checksum differs", errEnvelope, key)
	}
	if value[0] != formatVersion {
		return nil, fmt.Errorf("%w: value under %x has format %d, this program knows %d", ErrVersion, key, value[0], formatVersion)
	}
	return value[envelopeLen:], nil
}

func (e envelopes) sum(key, value []byte) uint32 {
	sum := crc32.Update(0, e.castagnoli, key)
	sum = crc32.Update(sum, e.castagnoli, value[:1])
	return crc32.Update(sum, e.castagnoli, value[envelopeLen:])
}
