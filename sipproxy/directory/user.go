package directory

import (
	"slices"
	"sync/atomic"

	"tandem/internal/tandem"
)

// User is what the proxy knows of a user. It is immutable.
type User struct {
	ID        string
	Account   string
	Name      string
	Extension string

	numbers []uint64
}

// Numbers returns the E.164 numbers that ring the user's devices, with +.
func (u *User) Numbers() []string { return unpackNumbers(u.numbers) }

// userCell stands for a user and its devices in every table. A device may come before its user in
// a batch; the user is nil until then.
type userCell struct {
	id      string
	user    atomic.Pointer[User]
	devices atomic.Pointer[[]*Device]
}

func (c *userCell) list() []*Device {
	if l := c.devices.Load(); l != nil {
		return *l
	}
	return nil
}

func (c *userCell) setDevices(l []*Device) {
	if len(l) == 0 {
		c.devices.Store(nil)
		return
	}
	c.devices.Store(&l)
}

func (d *Directory) userCell(id string) *userCell {
	return d.users.get(d.hash(id, ""), func(c *userCell) bool { return c.id == id })
}

// editUser lets edit change the cell of a user, which is there only for that long when it holds
// neither user nor devices.
func (d *Directory) editUser(id string, edit func(*userCell)) {
	cell := d.userCell(id)
	known := cell != nil
	if !known {
		cell = &userCell{id: id}
	}
	edit(cell)
	keep := cell.user.Load() != nil || cell.devices.Load() != nil
	switch {
	case keep && !known:
		d.users.put(d.hash(id, ""), cell)
	case !keep && known:
		d.users.replace(d.hash(id, ""), cell, nil)
	}
}

// setUser takes a changed user, nil for a deleted one.
func (d *Directory) setUser(id string, x *tandem.User) {
	var fresh *User
	if x != nil {
		fresh = &User{ID: x.ID, Account: x.Account, Name: x.Name, Extension: x.Extension, numbers: packNumbers(x.Numbers)}
	}
	d.editUser(id, func(c *userCell) {
		old := c.user.Swap(fresh)
		moveKeys(d.addresses, c, d.extensionHash(old), d.extensionHash(fresh))
		moveKeys(d.lines, c, lineHashes(old), lineHashes(fresh))
	})
}

func (d *Directory) extensionHash(u *User) []uint64 {
	if u == nil || u.Extension == "" {
		return nil
	}
	return []uint64{d.hash(u.Account, u.Extension)}
}

func lineHashes(u *User) []uint64 {
	if u == nil {
		return nil
	}
	return spreadAll(u.numbers)
}

// User returns the user with this id, nil when there is none.
func (d *Directory) User(id string) *User {
	if cell := d.userCell(id); cell != nil {
		return cell.user.Load()
	}
	return nil
}

// userAt returns the user that an extension or number within an account rings.
func (d *Directory) userAt(account, user string) *userCell {
	cell := d.addresses.get(d.hash(account, user), func(c *userCell) bool {
		u := c.user.Load()
		return u != nil && u.Extension == user && u.Account == account
	})
	n := packNumber(user)
	if cell != nil || n == 0 {
		return cell
	}
	return d.lines.get(spread(n), func(c *userCell) bool {
		u := c.user.Load()
		return u != nil && u.Account == account && slices.Contains(u.numbers, n)
	})
}
