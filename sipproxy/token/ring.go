package token

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
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

// The life of a key, from when it was made.
const (
	secretSize = 32
	warmUp     = time.Minute    // until it signs, when there is an elder one
	signFor    = 24 * time.Hour // until the next is due
	acceptFor  = 3 * signFor    // until nothing made with it is accepted
)

// Ring holds the keys of one purpose. Apply and Due are for one goroutine, the rest for any.
type Ring struct {
	purpose string
	seal    Sealer
	keys    atomic.Pointer[keys]
}

// keys is what a ring holds at one time; immutable.
type keys struct {
	byNumber [256]*key
	byAge    []*key // youngest first
}

type key struct {
	number  uint8
	created time.Time
	secret  []byte
	siv     *siv
}

// NewRing returns an empty ring for a purpose.
func NewRing(purpose string, seal Sealer) *Ring {
	r := &Ring{purpose: purpose, seal: seal}
	r.keys.Store(new(keys))
	return r
}

// Apply takes the changes that are keys of the ring's purpose. It returns the errors of unsealing
// some, having taken the others; a key that cannot be unsealed is not accepted any more.
func (r *Ring) Apply(changes []tandem.Change) error {
	var errs []error
	byNumber := r.keys.Load().byNumber
	changed := false
	for _, c := range changes {
		number, ours := r.number(c)
		if !ours {
			continue
		}
		changed = true
		byNumber[number] = nil
		if c.Object == nil {
			continue
		}
		k, err := r.unseal(c.Object.(*tandem.Key))
		if err != nil {
			errs = append(errs, fmt.Errorf("unseal key %s: %w", c.ID, err))
			continue
		}
		byNumber[number] = k
	}
	if changed {
		r.swap(byNumber)
	}
	return errors.Join(errs...)
}

func (r *Ring) swap(byNumber [256]*key) {
	next := &keys{byNumber: byNumber}
	for _, k := range byNumber {
		if k != nil {
			next.byAge = append(next.byAge, k)
		}
	}
	slices.SortStableFunc(next.byAge, func(a, b *key) int {
		return cmp.Or(b.created.Compare(a.created), cmp.Compare(b.number, a.number))
	})
	r.keys.Store(next)
}

// number returns the number of the key that c changes, and whether it is of the ring's purpose.
func (r *Ring) number(c tandem.Change) (uint8, bool) {
	if c.Kind != tandem.KindKey || len(c.ID) <= len(r.purpose) || c.ID[:len(r.purpose)+1] != r.purpose+"/" {
		return 0, false
	}
	n, err := strconv.ParseUint(c.ID[len(r.purpose)+1:], 10, 8)
	return uint8(n), err == nil
}

func (r *Ring) id(number uint8) string { return r.purpose + "/" + strconv.Itoa(int(number)) }

// context is what a key's seal is bound to.
func (r *Ring) context(number uint8) string { return "key " + r.id(number) }

func (r *Ring) unseal(x *tandem.Key) (*key, error) {
	secret, err := r.seal.Unseal(x.Sealed, r.context(x.Number))
	if err != nil {
		return nil, err
	}
	if len(secret) != secretSize {
		return nil, fmt.Errorf("%d octets, want %d", len(secret), secretSize)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("tandem token AES-SIV-CMAC"))
	s, err := newSIV(mac.Sum(nil))
	if err != nil {
		return nil, err
	}
	return &key{number: x.Number, created: x.Created, secret: secret, siv: s}, nil
}

// Due returns the edits to append now: a new key when the newest is a day old or there is none,
// and the deletion of keys that nothing is accepted from any more. Usually none. The edits fail
// when another appliance was faster; its key then arrives by Apply. A key that seems made more than
// a day from now, by a clock that was wrong, does not keep the next from being made.
func (r *Ring) Due(now time.Time) ([]tandem.Edit, error) {
	ks := r.keys.Load()
	var edits []tandem.Edit
	for _, k := range ks.byAge {
		if now.Sub(k.created) > acceptFor {
			edits = append(edits, tandem.Edit{Kind: tandem.KindKey, ID: r.id(k.number)})
		}
	}
	for _, k := range ks.byAge {
		if age := now.Sub(k.created); age > -signFor && age < signFor {
			return edits, nil
		}
	}
	edit, err := r.next(now, ks)
	if err != nil {
		return nil, err
	}
	return append(edits, edit), nil
}

// next makes the edit that creates the key after the youngest, in the first number that is free.
func (r *Ring) next(now time.Time, ks *keys) (tandem.Edit, error) {
	number := uint8(0)
	if len(ks.byAge) > 0 {
		number = ks.byAge[0].number + 1
	}
	for tried := 0; ks.byNumber[number] != nil; number++ {
		if tried++; tried == 256 {
			return tandem.Edit{}, fmt.Errorf("no free number for a %s key", r.purpose)
		}
	}
	secret := make([]byte, secretSize)
	rand.Read(secret)
	sealed, err := r.seal.Seal(secret, r.context(number))
	if err != nil {
		return tandem.Edit{}, fmt.Errorf("seal key %s: %w", r.id(number), err)
	}
	x := &tandem.Key{Head: tandem.Head{ID: r.id(number)}, Purpose: r.purpose, Number: number, Created: now, Sealed: sealed}
	return tandem.Edit{Kind: tandem.KindKey, ID: x.ID, Object: x, Create: true}, nil
}

// signing returns the youngest key that every appliance should have by now, else the youngest.
func (r *Ring) signing(now time.Time) *key {
	ks := r.keys.Load()
	for _, k := range ks.byAge {
		if age := now.Sub(k.created); age >= warmUp && age <= acceptFor {
			return k
		}
	}
	if len(ks.byAge) > 0 && now.Sub(ks.byAge[0].created) <= acceptFor {
		return ks.byAge[0]
	}
	return nil
}

func (r *Ring) lookup(number uint8, now time.Time) *key {
	k := r.keys.Load().byNumber[number]
	if k == nil || now.Sub(k.created) > acceptFor {
		return nil
	}
	return k
}

// Signing returns the key to make things with, a nil secret when there is none. The secret has 32
// octets and must not be modified.
func (r *Ring) Signing(now time.Time) (number uint8, secret []byte) {
	k := r.signing(now)
	if k == nil {
		return 0, nil
	}
	return k.number, k.secret
}

// Lookup returns the secret of a key that is still accepted, else nil.
func (r *Ring) Lookup(number uint8, now time.Time) []byte {
	k := r.lookup(number, now)
	if k == nil {
		return nil
	}
	return k.secret
}
