package token

import (
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
const Size = 64

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
// a SIP URI.
func Mint(dst []byte, ring *Ring, now time.Time, callID, callerTag string, p Payload) ([]byte, error) {
	return dst, nil
}

// Open returns what a token carries, when it is one of ours for this dialog and was sent by the
// side it was given to. A request without To tag opens nothing.
func Open(text string, ring *Ring, now time.Time, d Dialog) (Payload, error) {
	return Payload{}, ErrMalformed
}
