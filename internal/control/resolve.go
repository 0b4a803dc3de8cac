package control

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"tandem/internal/tandem"
)

// resolver turns documents into edits: it looks up what is stored, fills in what a document may
// leave out, keeps what an update may not drop, and finds out whether anything changes at all. One
// resolver serves one batch.
type resolver struct {
	reader Reader
	seal   Seal
	by     tandem.Principal
	// write seals secrets; without it the edits are only good for checks.
	write bool
	// accounts are those of the batch: not stored yet, but their devices need them.
	accounts map[string]*tandem.Account
	// sets are the record sets of the batch up to now.
	sets map[string]*tandem.RecordSet
}

// Action is what a document does to the store.
type Action string

// What can be done to an object.
const (
	Created   Action = "created"
	Changed   Action = "changed"
	Unchanged Action = "unchanged"
)

// intent is what a document comes to.
type intent struct {
	action Action
	old    tandem.Object // nil when created
	edit   tandem.Edit
}

// resolve works out what an object, which it takes over, comes to; absent says that the store is
// known not to have it. A fault of the document is a documentError; any other error is trouble of
// ours.
func (r *resolver) resolve(ctx context.Context, o tandem.Object, absent bool) (intent, error) {
	head := o.Header()
	if !r.by.MaySee(o.Owner()) {
		return intent{}, documentError{tandem.ErrNotFound}
	}
	var old tandem.Object
	if !absent {
		var err error
		if old, err = r.stored(ctx, o.Kind(), head.ID); err != nil {
			return intent{}, err
		}
	}
	var stored tandem.Revision
	if old != nil {
		stored = old.Header().Revision
	}
	if head.Revision != 0 && head.Revision != stored {
		return intent{}, documentError{tandem.ErrConflict}
	}
	if err := r.complete(ctx, o, old); err != nil {
		return intent{}, err
	}
	it := intent{action: Created, old: old}
	if old != nil {
		it.action = Changed
		head.Revision = stored
		if same(old, o) {
			it.action = Unchanged
		}
	}
	head.Revision = 0
	it.edit = tandem.Edit{Kind: o.Kind(), ID: head.ID, Object: o, Expected: stored, Create: old == nil}
	return it, nil
}

// stored returns what the store has, or nil.
func (r *resolver) stored(ctx context.Context, k tandem.Kind, id string) (tandem.Object, error) {
	o, err := r.reader.Get(ctx, r.by, k, id)
	if errors.Is(err, tandem.ErrNotFound) {
		return nil, nil
	}
	return o, err
}

// documentError is a fault of the document: a FieldError, tandem.ErrNotFound or tandem.ErrConflict.
type documentError struct{ error }

func (e documentError) Unwrap() error { return e.error }

func (r *resolver) complete(ctx context.Context, o, old tandem.Object) error {
	switch o := o.(type) {
	case *tandem.Account:
		before, _ := old.(*tandem.Account)
		if err := o.Complete(before); err != nil {
			return documentError{fieldErrors(err)[0]}
		}
		r.accounts[o.ID] = o
	case *tandem.Device:
		before, _ := old.(*tandem.Device)
		return r.device(ctx, o, before)
	case *tandem.TSIGKey:
		before, _ := old.(*tandem.TSIGKey)
		return r.tsigKey(o, before)
	case *tandem.RecordSet:
		return r.recordSet(ctx, o)
	}
	return nil
}

// tsigKey seals a key's secret. Without one in the document the stored one stays.
func (r *resolver) tsigKey(k, old *tandem.TSIGKey) error {
	secret := k.Secret
	k.Secret, k.Sealed = "", nil
	switch {
	case secret == "" && old == nil:
		return documentError{tandem.FieldError{Field: "secret", Reason: "is missing: 8 to 256 octets in base64, as tsig-keygen or openssl rand -base64 32 make them"}}
	case secret == "":
		k.Sealed = old.Sealed
		return nil
	}
	plain, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		return documentError{tandem.FieldError{Field: "secret", Reason: "is not base64"}}
	}
	if old != nil {
		before, err := r.seal.Unseal(old.Sealed, k.SealContext())
		if err != nil {
			return fmt.Errorf("open the secret of key %s: %w", k.ID, err)
		}
		if bytes.Equal(before, plain) {
			k.Sealed = old.Sealed
			return nil
		}
	}
	if r.write {
		if k.Sealed, err = r.seal.Seal(plain, k.SealContext()); err != nil {
			return fmt.Errorf("seal the secret of key %s: %w", k.ID, err)
		}
	}
	return nil
}

// same reports whether two objects of one kind and revision say the same.
func same(a, b tandem.Object) bool {
	if x, ok := a.(*tandem.Device); ok && !bytes.Equal(x.Sealed, b.(*tandem.Device).Sealed) {
		return false
	}
	if x, ok := a.(*tandem.TSIGKey); ok && !bytes.Equal(x.Sealed, b.(*tandem.TSIGKey).Sealed) {
		return false
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// account returns an account of this batch or of the store, or nil.
func (r *resolver) account(ctx context.Context, id string) (*tandem.Account, error) {
	if a := r.accounts[id]; a != nil {
		return a, nil
	}
	o, err := r.stored(ctx, tandem.KindAccount, id)
	if o == nil || err != nil {
		return nil, err
	}
	a := o.(*tandem.Account)
	r.accounts[id] = a
	return a, nil
}

// device turns a device's secret into what is kept of it: hashes for its account's realm, and the
// secret sealed for whoever renders its configuration. Without a secret in the document the stored
// one stays; at creation one is made.
func (r *resolver) device(ctx context.Context, d, old *tandem.Device) error {
	secret := d.Secret
	d.Secret, d.Sealed, d.SecretVersion = "", nil, 1
	account, err := r.account(ctx, d.Account)
	if err != nil {
		return err
	}
	if account == nil {
		// It stands elsewhere in the file, or nowhere: the check of references tells.
		return nil
	}
	before, err := r.secretOf(ctx, old)
	if err != nil {
		return err
	}
	if old != nil {
		d.SecretVersion = old.SecretVersion
	}
	switch {
	case d.HA1 != (tandem.HA1{}):
		r.importHashes(d, old)
		return nil
	case secret == "" && old != nil:
		return keepSecret(d, old, account, before)
	case secret == "":
		secret = tandem.RandomSecret()
	case old != nil && before.realm.fits(old, secret):
		return r.keepGiven(d, old, account, secret)
	case old != nil:
		d.SecretVersion++
	}
	return r.put(d, account, secret)
}

// realm is what a device's hashes were made with besides its user name.
type realm string

// fits reports whether the hashes of d are those of the secret.
func (r realm) fits(d *tandem.Device, secret string) bool {
	made := tandem.NewHA1(d.Username, string(r), secret, held(d.HA1))
	return made == d.HA1 && made != tandem.HA1{}
}

// held lists the algorithms that h has a hash of.
func held(h tandem.HA1) []tandem.DigestAlgorithm {
	var out []tandem.DigestAlgorithm
	for _, a := range []tandem.DigestAlgorithm{tandem.SHA512_256, tandem.SHA256, tandem.MD5} {
		if h.Of(a) != "" {
			out = append(out, a)
		}
	}
	return out
}

// known is what is known of a stored device's secret.
type known struct {
	realm  realm
	secret string // "" when only hashes are kept
}

// secretOf opens the stored secret of old, which may be nil.
func (r *resolver) secretOf(ctx context.Context, old *tandem.Device) (known, error) {
	if old == nil {
		return known{}, nil
	}
	account, err := r.account(ctx, old.Account)
	if err != nil || account == nil {
		return known{}, err
	}
	k := known{realm: realm(account.Realm)}
	if len(old.Sealed) > 0 {
		plain, err := r.seal.Unseal(old.Sealed, sealContext(old))
		if err != nil {
			return known{}, fmt.Errorf("open the secret of device %s: %w", old.ID, err)
		}
		k.secret = string(plain)
	}
	return k, nil
}

func sealContext(d *tandem.Device) string { return "device/" + d.ID }

// importHashes keeps hashes that came without their secret. Equal ones are no new secret.
func (r *resolver) importHashes(d, old *tandem.Device) {
	if old == nil {
		return
	}
	if d.HA1 == old.HA1 && d.Username == old.Username && d.Account == old.Account {
		d.Sealed = old.Sealed
		return
	}
	d.SecretVersion++
}

// keepSecret keeps the stored secret, making its hashes again when what they cover has changed.
func keepSecret(d, old *tandem.Device, account *tandem.Account, before known) error {
	d.HA1, d.Sealed = old.HA1, old.Sealed
	if before.secret != "" {
		d.HA1 = tandem.NewHA1(d.Username, account.Realm, before.secret, account.KeptHA1())
		return nil
	}
	const reason = "cannot change without a new secret or ha1: only hashes are kept, and they cover the user name and the account's realm"
	if d.Username != old.Username {
		return documentError{tandem.FieldError{Field: "username", Reason: reason}}
	}
	if account.Realm != string(before.realm) {
		return documentError{tandem.FieldError{Field: "account", Reason: reason}}
	}
	return nil
}

// keepGiven keeps a secret that the document repeats: no new version, and the sealed octets stay,
// so that an unchanged document stays unchanged.
func (r *resolver) keepGiven(d, old *tandem.Device, account *tandem.Account, secret string) error {
	if len(old.Sealed) == 0 {
		return r.put(d, account, secret)
	}
	d.HA1 = tandem.NewHA1(d.Username, account.Realm, secret, account.KeptHA1())
	d.Sealed = old.Sealed
	return nil
}

// put sets the secret.
func (r *resolver) put(d *tandem.Device, account *tandem.Account, secret string) (err error) {
	d.HA1 = tandem.NewHA1(d.Username, account.Realm, secret, account.KeptHA1())
	if r.write {
		if d.Sealed, err = r.seal.Seal([]byte(secret), sealContext(d)); err != nil {
			return fmt.Errorf("seal the secret of device %s: %w", d.ID, err)
		}
	}
	return nil
}
