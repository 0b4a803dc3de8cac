package dnsd

import (
	"encoding/binary"
	"time"
)

// paddingBlock is the size that padded answers are a multiple of (RFC 8467 section 4.1).
const paddingBlock = 468

// addOptions adds to the n octets of the answer in out what its transport owes the query in, and
// returns the new length: the idle timeout where the client asks for it (RFC 7828), and padding where
// it padded too and nobody reads along (RFC 7830, 8467). Both go into the answer's OPT record, which
// therefore must be its last: a signature behind it covers it as it is.
func (t *streams) addOptions(in, out []byte, n int, c client) int {
	asked, ok := optOf(in)
	if !ok {
		return n
	}
	keepalive := c.transport != overQUIC && hasOption(asked, optionKeepalive, 0)
	padding := c.transport.isEncrypted() && hasOption(asked, optionPadding, -1)
	if !keepalive && !padding {
		return n
	}
	answered, ok := optOf(out[:n])
	if !ok || answered.end != n {
		return n
	}
	if keepalive && n+6 <= len(out) {
		at := out[n:]
		binary.BigEndian.PutUint16(at, optionKeepalive)
		binary.BigEndian.PutUint16(at[2:], 2)
		binary.BigEndian.PutUint16(at[4:], uint16(min(t.idle/(100*time.Millisecond), 0xffff)))
		n += 6
		t.counts.keepalives.Add(1)
	}
	if padding {
		n = pad(out, n)
		t.counts.padded.Add(1)
	}
	binary.BigEndian.PutUint16(out[answered.data-2:], uint16(n-answered.data))
	return n
}

// pad adds a padding option, so that the answer fills its last block or, where there is no room for
// that, all there is (RFC 8467 section 4.1).
func pad(out []byte, n int) int {
	if n+4 > len(out) {
		return n
	}
	size := (n + 4 + paddingBlock - 1) / paddingBlock * paddingBlock
	size = min(size, len(out))
	binary.BigEndian.PutUint16(out[n:], optionPadding)
	binary.BigEndian.PutUint16(out[n+2:], uint16(size-n-4))
	clear(out[n+4 : size])
	return size
}

// optPlace is where a message's OPT record stands: its options and what follows it.
type optPlace struct {
	options   []byte
	data, end int
}

// optOf finds the first OPT record of a message that is well formed up to there. It allocates
// nothing.
func optOf(msg []byte) (optPlace, bool) {
	if len(msg) < headerSize {
		return optPlace{}, false
	}
	at := headerSize
	for range binary.BigEndian.Uint16(msg[4:]) {
		if at = skipName(msg, at) + 4; at < 5 || at > len(msg) {
			return optPlace{}, false
		}
	}
	records := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:])) + int(binary.BigEndian.Uint16(msg[10:]))
	for range records {
		if at = skipName(msg, at); at < 0 || at+10 > len(msg) {
			return optPlace{}, false
		}
		data := at + 10
		end := data + int(binary.BigEndian.Uint16(msg[at+8:]))
		if end > len(msg) {
			return optPlace{}, false
		}
		if binary.BigEndian.Uint16(msg[at:]) == typeOPT {
			return optPlace{options: msg[data:end], data: data, end: end}, true
		}
		at = end
	}
	return optPlace{}, false
}

// hasOption reports whether an OPT record holds an option, of this many octets or, with -1, any.
func hasOption(p optPlace, code uint16, size int) bool {
	for o := p.options; len(o) >= 4; {
		n := int(binary.BigEndian.Uint16(o[2:]))
		if 4+n > len(o) {
			return false
		}
		if binary.BigEndian.Uint16(o) == code && (size < 0 || n == size) {
			return true
		}
		o = o[4+n:]
	}
	return false
}
