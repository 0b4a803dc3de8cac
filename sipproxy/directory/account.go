package directory

import (
	"slices"
	"strings"
	"sync/atomic"
	"unique"

	"tandem/internal/tandem"
)

// Account is what the proxy knows of an account. It is immutable.
type Account struct {
	ID    string
	Realm string
	Group string
	*Profile

	hash    Hash
	labels  string   // for each label that is not retired: role, length, text
	numbers []uint64 // packed
}

// accountCell stands for an account in every table, so that a change of it is one swap.
type accountCell struct{ atomic.Pointer[Account] }

// Hash returns HashOf the account's id.
func (a *Account) Hash() Hash { return a.hash }

// Numbers returns the account's E.164 numbers, with +.
func (a *Account) Numbers() []string { return unpackNumbers(a.numbers) }

// HasNumber reports whether an E.164 number is the account's.
func (a *Account) HasNumber(number string) bool {
	n := packNumber(number)
	return n != 0 && slices.Contains(a.numbers, n)
}

// Name returns the account's inbound name, "" when it has no current label.
func (a *Account) Name() string {
	for role, label := range a.eachLabel {
		if role == tandem.LabelCurrent {
			return label + "." + a.Zone
		}
	}
	return ""
}

// Route returns the forwarding names for requests of type t, in the order to try (spec D5).
func (a *Account) Route(t tandem.RequestType, serviceZone string) []string {
	entries := a.Routes[t]
	if len(entries) == 0 {
		return []string{string(t) + "." + a.ID + "." + serviceZone}
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		if names[i] = e; !strings.Contains(e, ".") {
			names[i] = e + "." + a.ID + "." + serviceZone
		}
	}
	return names
}

// eachLabel yields the labels that answer, and their roles.
func (a *Account) eachLabel(yield func(tandem.LabelRole, string) bool) {
	for s := a.labels; s != ""; {
		n := 2 + int(s[1])
		role := tandem.LabelVanity
		switch s[0] {
		case 'c':
			role = tandem.LabelCurrent
		case 't':
			role = tandem.LabelTripwire
		}
		if !yield(role, s[2:n]) {
			return
		}
		s = s[n:]
	}
}

// newAccount makes the record of x, all its texts in one piece of memory.
func newAccount(x *tandem.Account) *Account {
	realm := x.Realm
	if realm == "" {
		realm = "tandem-" + x.ID
	}
	text := make([]byte, 0, 128)
	text = append(text, realm...)
	if !strings.HasSuffix(realm, x.ID) {
		text = append(text, x.ID...)
	}
	id := len(text)
	for _, l := range x.Labels {
		if l.Role != tandem.LabelRetired {
			text = append(text, labelCode(l.Role), byte(len(l.Label)))
			text = append(text, l.Label...)
		}
	}
	all := string(text)
	return &Account{
		ID: all[id-len(x.ID) : id], Realm: all[:len(realm)], labels: all[id:],
		Group: unique.Make(x.Group).Value(), hash: HashOf(x.ID), numbers: packNumbers(x.Numbers),
	}
}

func labelCode(r tandem.LabelRole) byte {
	if r == "" {
		return 'v'
	}
	return r[0]
}

// setAccount takes a changed account, nil for a deleted one.
func (d *Directory) setAccount(id string, x *tandem.Account) {
	cell := d.accountCell(id)
	var old, fresh *Account
	if cell != nil {
		old = cell.Load()
	}
	if x != nil {
		fresh = newAccount(x)
		fresh.Profile = d.share(x)
	}
	switch {
	case cell == nil && fresh == nil:
		return
	case cell == nil:
		cell = new(accountCell)
		cell.Store(fresh)
		d.accounts.put(fresh.hash.index(), cell)
	case fresh == nil:
		d.accounts.replace(old.hash.index(), cell, nil)
	default:
		cell.Store(fresh)
	}
	moveKeys(d.names, cell, d.nameHashes(old), d.nameHashes(fresh))
	moveKeys(d.numbers, cell, numberHashes(old), numberHashes(fresh))
	if old != nil {
		d.release(old.Profile)
	}
}

func (d *Directory) nameHashes(a *Account) []uint64 {
	if a == nil {
		return nil
	}
	var hashes []uint64
	for _, label := range a.eachLabel {
		hashes = append(hashes, d.hash(label+"."+a.Zone, ""))
	}
	return hashes
}

func numberHashes(a *Account) []uint64 {
	if a == nil {
		return nil
	}
	return spreadAll(a.numbers)
}

func spreadAll(numbers []uint64) []uint64 {
	hashes := make([]uint64, len(numbers))
	for i, n := range numbers {
		hashes[i] = spread(n)
	}
	return hashes
}

// moveKeys makes p stand in t under the hashes in has and no longer under the others in had. Both
// may be reordered.
func moveKeys[T any](t *table[T], p *T, had, has []uint64) {
	if slices.Equal(had, has) {
		return
	}
	slices.Sort(had)
	slices.Sort(has)
	had, has = slices.Compact(had), slices.Compact(has)
	for _, h := range has {
		if _, there := slices.BinarySearch(had, h); !there {
			t.put(h, p)
		}
	}
	for _, h := range had {
		if _, there := slices.BinarySearch(has, h); !there {
			t.replace(h, p, nil)
		}
	}
}

func (d *Directory) accountCell(id string) *accountCell {
	return d.accounts.get(HashOf(id).index(), func(c *accountCell) bool { return c.Load().ID == id })
}

// Account returns the account with this id, nil when there is none.
func (d *Directory) Account(id string) *Account {
	if cell := d.accountCell(id); cell != nil {
		return cell.Load()
	}
	return nil
}

// AccountByHash returns the account whose id has this hash, nil when there is none.
func (d *Directory) AccountByHash(h Hash) *Account {
	cell := d.accounts.get(h.index(), func(c *accountCell) bool { return c.Load().hash == h })
	if cell == nil {
		return nil
	}
	return cell.Load()
}

// AccountByHost returns the account whose inbound name is host, and the role of the label that
// named it; nil when there is none. Case and a trailing dot do not matter. Retired labels name
// nobody.
func (d *Directory) AccountByHost(host string) (*Account, tandem.LabelRole) {
	var buf [maxName]byte
	name := canonical(buf[:0], host)
	dot := slices.Index(name, '.')
	if dot < 0 {
		return nil, ""
	}
	label, zone := name[:dot], name[dot+1:]
	var found *Account
	var role tandem.LabelRole
	d.names.get(d.hashBytes(name), func(c *accountCell) bool {
		a := c.Load()
		if a.Zone != string(zone) {
			return false
		}
		for r, l := range a.eachLabel {
			if l == string(label) {
				found, role = a, r
				return true
			}
		}
		return false
	})
	return found, role
}

// AccountByNumber returns the account that holds an E.164 number (with +), nil when none does.
func (d *Directory) AccountByNumber(number string) *Account {
	n := packNumber(number)
	if n == 0 {
		return nil
	}
	var found *Account
	d.numbers.get(spread(n), func(c *accountCell) bool {
		a := c.Load()
		if !slices.Contains(a.numbers, n) {
			return false
		}
		found = a
		return true
	})
	return found
}
