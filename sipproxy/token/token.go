package token

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"
)

// Side is who is given a token, and so who sends it back.
type Side uint8

// Sides of a dialog.
const (
	Caller Side = iota // its requests carry the caller's tag in From
	Callee             // its requests carry the caller's tag in To
)

// Payload is what a token carries, encrypted.
type Payload struct {
	Side     Side
	Listener uint8    // the proxy's own numbering of listeners
	Node     [12]byte // hash of the node that holds the dialog; zero for none
	Account  [12]byte // hash of the account; zero for none
	Slot     uint32   // of the call; reserved
}

// Dialog is what a token is bound to.
type Dialog struct {
	CallID  string
	FromTag string
	ToTag   string
}

// Size is the length of a token's text.
const Size = rawSize / 3 * 4

const (
	headSize    = 2
	ivSize      = 16
	payloadSize = 1 + 1 + 12 + 12 + 4
	rawSize     = headSize + ivSize + payloadSize
	format      = 1
	// maxBound bounds Call-ID and tag, in octets; longer ones are bound by nothing and refused.
	maxBound = 1024
)

// Why a token was refused. A request that carries such a token gets 403.
var (
	ErrMalformed = errors.New("token: malformed")
	ErrKey       = errors.New("token: made with an unknown or expired key")
	ErrForged    = errors.New("token: forged, or of another dialog or side")
	ErrNoDialog  = errors.New("token: outside a dialog")
	ErrNoKey     = errors.New("token: no key to make tokens with")
)

// Mint appends to dst the token for one side of the dialog that an INVITE (or another request that
// makes a dialog) with this Call-ID and From tag may begin. Its text may stand as the user part of
// a SIP URI. It fails with ErrNoKey, and with ErrNoDialog when Call-ID or tag is missing or absurd.
func Mint(dst []byte, ring *Ring, now time.Time, callID, callerTag string, p Payload) ([]byte, error) {
	k := ring.signing(now)
	if k == nil {
		return dst, ErrNoKey
	}
	if !binds(callID) || !binds(callerTag) {
		return dst, ErrNoDialog
	}
	var raw [rawSize]byte
	raw[0], raw[1] = format, k.number
	body := raw[headSize+ivSize:]
	body[0], body[1] = byte(p.Side), p.Listener
	copy(body[2:14], p.Node[:])
	copy(body[14:26], p.Account[:])
	binary.BigEndian.PutUint32(body[26:], p.Slot)
	var room [bindRoom]byte
	bound := bind(room[:0], raw[:headSize], callID, callerTag)
	iv := k.siv.seal(bound[:], body)
	copy(raw[headSize:], iv[:])
	return base64.RawURLEncoding.AppendEncode(dst, raw[:]), nil
}

// Open returns what a token carries, when it is one of ours for this dialog and was sent by the
// side it was given to. A request without To tag opens nothing.
func Open(text string, ring *Ring, now time.Time, d Dialog) (Payload, error) {
	if d.ToTag == "" || !binds(d.CallID) || len(d.FromTag) > maxBound || len(d.ToTag) > maxBound {
		return Payload{}, ErrNoDialog
	}
	raw, ok := decode(text)
	if !ok {
		return Payload{}, ErrMalformed
	}
	k := ring.lookup(raw[1], now)
	if k == nil {
		return Payload{}, ErrKey
	}
	iv := [ivSize]byte(raw[headSize : headSize+ivSize])
	body := raw[headSize+ivSize:]
	k.siv.decrypt(&iv, body)
	callerTag := d.FromTag
	if Side(body[0]) == Callee {
		callerTag = d.ToTag
	}
	var room [bindRoom]byte
	bound := bind(room[:0], raw[:headSize], d.CallID, callerTag)
	if !k.siv.proves(&iv, bound[:], body) {
		return Payload{}, ErrForged
	}
	return Payload{
		Side: Side(body[0]), Listener: body[1], Node: [12]byte(body[2:14]), Account: [12]byte(body[14:26]),
		Slot: binary.BigEndian.Uint32(body[26:]),
	}, nil
}

// decode turns a token's text into octets; each token has one text only.
func decode(text string) (raw [rawSize]byte, ok bool) {
	if len(text) != Size {
		return raw, false
	}
	var coded [Size]byte
	copy(coded[:], text)
	n, err := base64.RawURLEncoding.Strict().Decode(raw[:], coded[:])
	return raw, err == nil && n == rawSize && raw[0] == format
}

func binds(s string) bool { return s != "" && len(s) <= maxBound }

// bindRoom holds the usual Call-ID and tag.
const bindRoom = 256

// bind returns the components that a token is bound to; it uses buf for their octets.
func bind(buf, head []byte, callID, callerTag string) [3][]byte {
	buf = append(buf, head...)
	buf = append(buf, callID...)
	buf = append(buf, callerTag...)
	tag := headSize + len(callID)
	return [3][]byte{buf[:headSize], buf[headSize:tag], buf[tag:]}
}
