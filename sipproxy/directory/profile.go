package directory

import (
	"encoding/binary"
	"maps"
	"slices"

	"tandem/internal/tandem"
)

// Profile is what accounts have in common: accounts that say the same share one. It is immutable.
type Profile struct {
	Zone      string
	Registrar tandem.RegistrarMode            // never empty
	Digest    []tandem.DigestAlgorithm        // what is offered, in order; never empty
	Routes    map[tandem.RequestType][]string // as in the document
	Rules     []tandem.Rule
	Emergency []tandem.EmergencyNumber // never empty
	Edges     []string                 // the account's own; empty: its zone's

	key  string // what it says; the writer's
	uses int    // the writer's
}

// share returns the profile of an account, the one that is there already when any account has the
// same, and counts its use.
func (d *Directory) share(x *tandem.Account) *Profile {
	key := appendKey(make([]byte, 0, 128), x)
	p := d.profiles[string(key)]
	if p == nil {
		p = &Profile{
			Zone: x.Zone, Registrar: x.Registrar, Digest: x.DigestOffer(), Routes: x.Routes,
			Rules: x.Rules, Emergency: x.EmergencyNumbers(), Edges: x.Edges, key: string(key),
		}
		if p.Registrar == "" {
			p.Registrar = tandem.RegistrarLocal
		}
		d.profiles[p.key] = p
	}
	p.uses++
	return p
}

// release gives a profile back; the last to do so forgets it.
func (d *Directory) release(p *Profile) {
	if p.uses--; p.uses == 0 {
		delete(d.profiles, p.key)
	}
}

// appendKey writes down all that a profile depends on, unambiguously: each text and each list
// after its length.
func appendKey(b []byte, x *tandem.Account) []byte {
	b = appendText(b, x.Zone)
	b = appendText(b, string(x.Registrar))
	b = appendList(b, x.Digest)
	b = appendList(b, x.Edges)
	b = binary.AppendUvarint(b, uint64(len(x.Rules)))
	for _, r := range x.Rules {
		b = appendList(b, []string{r.Method, r.Event, r.User, string(r.Type)})
	}
	b = binary.AppendUvarint(b, uint64(len(x.Emergency)))
	for _, e := range x.Emergency {
		b = appendList(b, []string{e.Dial, e.URI})
	}
	for _, t := range slices.Sorted(maps.Keys(x.Routes)) {
		b = appendText(b, string(t))
		b = appendList(b, x.Routes[t])
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendList[T ~string](b []byte, list []T) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, string(s))
	}
	return b
}
