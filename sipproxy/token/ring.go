package token

import (
	"time"

	"tandem/internal/tandem"
)

// Sealer seals secrets at rest; the store is one.
type Sealer interface {
	Seal(plain []byte, context string) ([]byte, error)
	Unseal(sealed []byte, context string) ([]byte, error)
}

// Purposes of keys.
const (
	ForTokens = "token"
	ForNonces = "nonce"
)

// Ring holds the keys of one purpose. Apply and Due are for one goroutine, the rest for any.
type Ring struct{}

// NewRing returns an empty ring for a purpose.
func NewRing(purpose string, seal Sealer) *Ring { return &Ring{} }

// Apply takes the changes that are keys of the ring's purpose. It returns the first error of
// unsealing one, having taken the others.
func (r *Ring) Apply(changes []tandem.Change) error { return nil }

// Due returns the edits to append now: a new key when the newest is a day old or there is none,
// and the deletion of keys that nothing can be valid under any more. Usually none.
func (r *Ring) Due(now time.Time) ([]tandem.Edit, error) { return nil, nil }

// Signing returns the key to make things with, a nil secret when there is none.
func (r *Ring) Signing(now time.Time) (number uint8, secret []byte) { return 0, nil }

// Lookup returns the secret of a key that is still accepted, else nil.
func (r *Ring) Lookup(number uint8, now time.Time) []byte { return nil }
