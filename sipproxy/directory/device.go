package directory

import (
	"encoding/hex"
	"slices"

	"tandem/internal/tandem"
)

// Device is what the proxy knows of a device. It is immutable.
type Device struct {
	ID       string
	Account  string
	User     string // id of the user it rings for, "" for none
	Username string

	// ha1 holds the digests that are there: SHA-512/256, SHA-256, MD5.
	ha1  [32 + 32 + 16]byte
	have [3]bool
}

// AppendHA1 appends the device's digest hash for algorithm a in lower-case hex; nothing when it
// has none.
func (v *Device) AppendHA1(dst []byte, a tandem.DigestAlgorithm) []byte {
	switch {
	case a == tandem.SHA512_256 && v.have[0]:
		return hex.AppendEncode(dst, v.ha1[:32])
	case a == tandem.SHA256 && v.have[1]:
		return hex.AppendEncode(dst, v.ha1[32:64])
	case a == tandem.MD5 && v.have[2]:
		return hex.AppendEncode(dst, v.ha1[64:])
	}
	return dst
}

// newDevice makes the record of x; it shares the account's id with the account's own record.
func (d *Directory) newDevice(x *tandem.Device) *Device {
	text := x.ID + x.Username + x.User
	id, name := len(x.ID), len(x.ID)+len(x.Username)
	v := &Device{ID: text[:id], Username: text[id:name], User: text[name:], Account: x.Account}
	if a := d.Account(x.Account); a != nil {
		v.Account = a.ID
	}
	v.have[0] = decodeHex(v.ha1[:32], x.HA1.SHA512_256)
	v.have[1] = decodeHex(v.ha1[32:64], x.HA1.SHA256)
	v.have[2] = decodeHex(v.ha1[64:], x.HA1.MD5)
	return v
}

// decodeHex fills dst from text and reports whether text was exactly that long.
func decodeHex(dst []byte, text string) bool {
	if len(text) != 2*len(dst) {
		return false
	}
	_, err := hex.Decode(dst, []byte(text))
	return err == nil
}

// setDevice takes a changed device, nil for a deleted one.
func (d *Directory) setDevice(id string, x *tandem.Device) {
	old := d.DeviceByID(id)
	var fresh *Device
	if x != nil {
		fresh = d.newDevice(x)
	}
	if old == nil && fresh == nil {
		return
	}
	d.deviceIDs.replace(d.hash(id, ""), old, fresh)
	same := old != nil && fresh != nil && old.Account == fresh.Account && old.Username == fresh.Username
	if same {
		d.devices.replace(d.hash(old.Account, old.Username), old, fresh)
	} else {
		if fresh != nil {
			d.devices.put(d.hash(fresh.Account, fresh.Username), fresh)
		}
		if old != nil {
			d.devices.replace(d.hash(old.Account, old.Username), old, nil)
		}
	}
	d.moveRinging(old, fresh)
}

// moveRinging keeps the lists of devices that users have.
func (d *Directory) moveRinging(old, fresh *Device) {
	if old != nil && old.User != "" && (fresh == nil || fresh.User != old.User) {
		d.editUser(old.User, func(c *userCell) { c.setDevices(without(c.list(), old.ID)) })
	}
	if fresh != nil && fresh.User != "" {
		d.editUser(fresh.User, func(c *userCell) { c.setDevices(append(without(c.list(), fresh.ID), fresh)) })
	}
}

// without returns a copy of devices that lacks the one with this id.
func without(devices []*Device, id string) []*Device {
	rest := make([]*Device, 0, len(devices)+1)
	for _, v := range devices {
		if v.ID != id {
			rest = append(rest, v)
		}
	}
	return rest
}

// Device returns the device with this user name within an account, nil when there is none.
func (d *Directory) Device(account, username string) *Device {
	return d.devices.get(d.hash(account, username), func(v *Device) bool {
		return v.Username == username && v.Account == account
	})
}

// DeviceByID returns the device with this id, nil when there is none.
func (d *Directory) DeviceByID(id string) *Device {
	return d.deviceIDs.get(d.hash(id, ""), func(v *Device) bool { return v.ID == id })
}

// Ring returns the devices that a call to a user part within an account rings: the device of that
// user name, else the devices of the user with that extension or that E.164 number (with +). The
// slice is shared and must not be modified.
func (d *Directory) Ring(account, user string) []*Device {
	if v := d.Device(account, user); v != nil {
		return []*Device{v}
	}
	if cell := d.userAt(account, user); cell != nil {
		return slices.Clip(cell.list())
	}
	return nil
}
