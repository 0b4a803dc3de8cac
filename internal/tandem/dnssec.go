package tandem

import "time"

// ZoneSigning is how a zone's signing stands.
type ZoneSigning struct {
	Zone   string      `json:"zone" explain:"The zone."`
	Wanted bool        `json:"wanted" explain:"The zone's settings want it signed."`
	Keys   []KeyStatus `json:"keys" explain:"Its keys. None: it is unsigned."`
	DS     []string    `json:"ds" explain:"DS records that the parent should have now, as zone text."`
	Waits  string      `json:"waits,omitempty" explain:"What the next step waits for. Empty: nothing is under way."`
	Next   time.Time   `json:"next,omitzero" explain:"When the next step is looked at, if time alone decides."`
}

// KeyStatus is one key of a zone.
type KeyStatus struct {
	Number    int       `json:"number" explain:"Counts the zone's keys."`
	Tag       uint16    `json:"tag" explain:"Key tag, as in DS and RRSIG."`
	Algorithm string    `json:"algorithm" explain:"ECDSAP256SHA256 or ED25519."`
	Signs     string    `json:"signs" explain:"keys (KSK), zone (ZSK) or both."`
	State     string    `json:"state" explain:"published, active, submitted, trusted (the parent has its DS), withdrawn, retired or removed."`
	Since     time.Time `json:"since" explain:"Since when."`
	Created   time.Time `json:"created" explain:"When it was made."`
}

// Status returns how k stands; tag and the algorithm's name are for those who can compute them.
func (k *ZoneKey) Status() KeyStatus {
	s := KeyStatus{Number: k.Number, Signs: k.Signs, Created: k.Created, State: "created", Since: k.Created}
	for _, at := range []struct {
		state string
		since time.Time
	}{
		{"published", k.Published}, {"active", k.Active}, {"submitted", k.Submitted}, {"trusted", k.Seen}, {"withdrawn", k.Withdrawn},
		{"retired", k.Retired}, {"removed", k.Removed},
	} {
		if !at.since.IsZero() {
			s.State, s.Since = at.state, at.since
		}
	}
	return s
}

// KeyAct is something that people do about a zone's keys.
type KeyAct string

// Acts.
const (
	RollKeys KeyAct = "roll"     // a successor for every key that signs
	RollKSK  KeyAct = "roll-ksk" // for the KSK, or the only key
	RollZSK  KeyAct = "roll-zsk" // for the ZSK
	DSSeen   KeyAct = "ds-seen"  // the parent has the DS records that it should have, and no others
	Unsign   KeyAct = "unsign"   // the keys of a zone that is not to be signed go at once
)
