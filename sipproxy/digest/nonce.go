package digest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// A nonce is 30 octets in base64url:
//
//	key number (1) · made at, in ticks (5) · random (8) · MAC (16)
//
// The MAC is HMAC-SHA-256, cut to 128 bits, over the 14 octets before it, the realm and the edge.
const (
	nonceHead = 1 + 5 + 8
	nonceSize = nonceHead + 16
	nonceText = nonceSize / 3 * 4
)

// tick counts tenths of a second since 1970.
type tick int64

const tickLength = 100 * time.Millisecond

func tickOf(t time.Time) tick { return tick(t.UnixMilli() / tickLength.Milliseconds()) }

// nonce is what a nonce says, once its MAC was found right.
type nonce struct {
	made tick
	id   uint64 // its random octets
}

// appendNonce makes a nonce for realm; it reports false when there is no key.
func (v *Verifier) appendNonce(dst []byte, now time.Time, realm string) ([]byte, bool) {
	number, secret := v.keys.Signing(now)
	if secret == nil {
		return dst, false
	}
	var n [nonceSize]byte
	// A nonce made in the tick in which the process began must not look older than it.
	made := max(tickOf(now), v.start+1)
	binary.BigEndian.PutUint64(n[:8], uint64(number)<<56|uint64(made)&(1<<40-1)<<16)
	rand.Read(n[6:nonceHead])
	mac := v.mac(secret, n[:nonceHead], realm)
	copy(n[nonceHead:], mac[:])
	return base64.RawURLEncoding.AppendEncode(dst, n[:]), true
}

// openNonce returns what a nonce says and whether it is one of ours that is still alive.
func (v *Verifier) openNonce(now time.Time, text, realm string) (nonce, bool) {
	if len(text) != nonceText {
		return nonce{}, false
	}
	var coded [nonceText]byte
	copy(coded[:], text)
	var n [nonceSize]byte
	if _, err := base64.RawURLEncoding.Strict().Decode(n[:], coded[:]); err != nil {
		return nonce{}, false
	}
	secret := v.keys.Lookup(n[0], now)
	if secret == nil {
		return nonce{}, false
	}
	mac := v.mac(secret, n[:nonceHead], realm)
	if subtle.ConstantTimeCompare(mac[:], n[nonceHead:]) != 1 {
		return nonce{}, false
	}
	made := tick(binary.BigEndian.Uint64(n[:8]) << 8 >> 24)
	age := tickOf(now) - made
	return nonce{made: made, id: binary.BigEndian.Uint64(n[6:nonceHead])}, age <= v.lifetime && age >= -v.lifetime
}

// mac returns the MAC over a nonce's head, the realm and the edge.
func (v *Verifier) mac(secret, head []byte, realm string) [16]byte {
	var room [256]byte
	msg := append(room[:0], "tandem nonce\x00"...)
	msg = append(msg, head...)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(realm)))
	msg = append(msg, realm...)
	msg = append(msg, v.edge...)
	sum := hmacSHA256(secret, msg)
	return [16]byte(sum[:16])
}

// hmacSHA256 is HMAC (RFC 2104) for keys of at most 64 octets. The standard library's allocates its
// state for each key; this one works on the stack.
func hmacSHA256(key, msg []byte) [32]byte {
	var room [320]byte
	inner := append(room[:0], make([]byte, 64)...)
	var outer [96]byte
	copy(inner, key)
	copy(outer[:], key)
	for i := range 64 {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	sum := sha256.Sum256(append(inner, msg...))
	copy(outer[64:], sum[:])
	return sha256.Sum256(outer[:])
}
