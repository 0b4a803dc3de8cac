package dnsd

import (
	"bytes"
	"encoding/binary"

	"tandem/internal/tandem"
)

// Label roles as numbers in rows of the inbound table.
const (
	roleCurrent = iota + 1
	roleVanity
	roleTripwire
)

// applyAccount puts or, with a nil, removes an account: one row for it and one for each of its
// labels. A row is replaced before what it referred to goes.
func (w *writer) applyAccount(id string, a *tandem.Account, revision uint32) {
	key := []byte(id)
	old, oldLabels, existed := w.accounts.getTail(key)
	idHash := w.accounts.hash(key)
	goneLabels := oldLabels
	if existed {
		w.touch(w.profiles.get(old.a), revision)
	}
	var hashes []byte
	if a != nil {
		number := w.profileFor(a)
		w.touch(w.profiles.get(number), revision)
		hashes = w.putLabels(a, number, idHash)
		w.accounts.put(key, hashes, entry{a: number, b: w.groupNumbers.of(a.Group)})
	} else if existed {
		w.accounts.delete(key)
	}
	for ; len(oldLabels) >= 4; oldLabels = oldLabels[4:] {
		if !hasHash(hashes, oldLabels[:4]) {
			gone := w.inbound.deleteOwned(binary.BigEndian.Uint32(oldLabels), idHash)
			if len(w.shares) > 0 && gone != nil {
				w.dropLabel(gone)
			}
		}
	}
	if existed {
		w.releaseProfile(old.a)
	}
	if a != nil {
		w.recheck(a)
	}
	w.accelerator.changedLabels(goneLabels)
	w.accelerator.changedLabels(hashes)
}

// putLabels adds rows for a's living labels and returns their hashes, four octets each.
func (w *writer) putLabels(a *tandem.Account, profile, idHash uint32) []byte {
	var hashes []byte
	for _, l := range a.Labels {
		role := uint8(roleVanity)
		switch l.Role {
		case tandem.LabelRetired:
			continue
		case tandem.LabelCurrent:
			role = roleCurrent
		case tandem.LabelTripwire:
			role = roleTripwire
		}
		key := labelKey(nil, w.zoneNumbers.of(a.Zone), []byte(l.Label))
		w.inbound.put(key, nil, entry{a: profile, b: idHash, tag: role})
		if len(w.shares) > 0 {
			w.putLabel(w.zoneNumbers.of(a.Zone), l.Label, w.profiles.get(profile))
		}
		hashes = binary.BigEndian.AppendUint32(hashes, w.inbound.hash(key))
	}
	return hashes
}

func hasHash(hashes, h []byte) bool {
	for ; len(hashes) >= 4; hashes = hashes[4:] {
		if bytes.Equal(hashes[:4], h) {
			return true
		}
	}
	return false
}
