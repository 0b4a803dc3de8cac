package tandem

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
)

// Complete fills in what a document may leave out and keeps what an update may not drop, given the
// stored object old (nil at creation). It returns FieldErrors when the update changes something that
// never changes. Device secrets are not its business: they need the account and the seal.
func (a *Account) Complete(old *Account) error {
	var errs FieldErrors
	if old != nil {
		if a.Realm != "" && a.Realm != old.Realm {
			errs.add("realm", "is %q and never changes", old.Realm)
		}
		a.Realm = old.Realm
		a.keepLabels(old)
	}
	if a.Realm == "" {
		a.Realm = "tandem-" + a.ID
	}
	if len(a.Labels) == 0 {
		a.Labels = []Label{{Label: RandomLabel()}}
	}
	hasCurrent := a.Current() != ""
	for i := range a.Labels {
		if a.Labels[i].Role != "" {
			continue
		}
		a.Labels[i].Role = LabelVanity
		if !hasCurrent {
			a.Labels[i].Role, hasCurrent = LabelCurrent, true
		}
	}
	return errs.err()
}

// keepLabels keeps old's labels when a names none, and retires those that a leaves out.
func (a *Account) keepLabels(old *Account) {
	if len(a.Labels) == 0 {
		a.Labels = append(a.Labels, old.Labels...)
		return
	}
	named := make(map[string]bool, len(a.Labels))
	for _, l := range a.Labels {
		named[l.Label] = true
	}
	for _, l := range old.Labels {
		if !named[l.Label] {
			a.Labels = append(a.Labels, Label{Label: l.Label, Role: LabelRetired})
		}
	}
}

// Current returns the label given to devices, "" before Complete.
func (a *Account) Current() string {
	for _, l := range a.Labels {
		if l.Role == LabelCurrent {
			return l.Label
		}
	}
	return ""
}

// InboundName returns the account's inbound name: its current label in its zone.
func (a *Account) InboundName() string { return a.Current() + "." + a.Zone }

// ForwardingName returns the full forwarding name for an entry of a.Routes: an entry with a dot is
// one already, any other is a target key of this account.
func (a *Account) ForwardingName(entry, serviceZone string) string {
	if strings.Contains(entry, ".") {
		return entry
	}
	return entry + "." + a.ID + "." + serviceZone
}

// Route returns the forwarding names for requests of type t, in the order to try (spec D5).
func (a *Account) Route(t RequestType, serviceZone string) []string {
	entries := a.Routes[t]
	if len(entries) == 0 {
		entries = []string{string(t)}
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = a.ForwardingName(e, serviceZone)
	}
	return names
}

// EmergencyNumbers returns the account's list, or the default one.
func (a *Account) EmergencyNumbers() []EmergencyNumber {
	if len(a.Emergency) > 0 {
		return a.Emergency
	}
	return []EmergencyNumber{{Dial: "112", URI: "urn:service:sos"}, {Dial: "911", URI: "urn:service:sos"}}
}

// RandomLabel makes a label that cannot be guessed: 80 random bits in base32.
func RandomLabel() string {
	var b [10]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// RandomSecret makes a SIP password: 130 random bits in letters and digits.
func RandomSecret() string { return rand.Text() }
