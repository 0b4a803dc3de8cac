package tandem

import (
	"net/netip"
	"time"
)

// ZoneState is how a zone stands among name servers.
type ZoneState struct {
	Zone   string `json:"zone" explain:"The zone's id."`
	Serial uint32 `json:"serial" explain:"Serial of the version that is answered."`
	State  string `json:"state" explain:"served, absent (a secondary zone that was not transferred yet) or expired (one that is too old to be answered)."`
	// For zones with primaries:
	Primaries []string  `json:"primaries,omitempty" explain:"Where it is transferred from."`
	Refreshed time.Time `json:"refreshed,omitzero" explain:"When a primary last said that this is the present version."`
	Next      time.Time `json:"next,omitzero" explain:"When a primary is asked again."`
	Expires   time.Time `json:"expires,omitzero" explain:"When it is answered no more unless it is refreshed before."`
	Error     string    `json:"error,omitempty" explain:"Why it was not refreshed the last time."`
	// For zones with secondaries:
	JournalDiffs  int             `json:"journalDiffs,omitempty" explain:"Differences kept for secondaries that have an older version."`
	JournalOctets int             `json:"journalOctets,omitempty" explain:"Their size in memory, in octets."`
	Secondaries   []ZoneSecondary `json:"secondaries,omitempty" explain:"Who has transferred it since the start, the latest sixteen."`
}

// ZoneSecondary is one server that has transferred a zone.
type ZoneSecondary struct {
	Address netip.Addr `json:"address" explain:"Its address."`
	Serial  uint32     `json:"serial" explain:"Serial of the version that it has got."`
	Time    time.Time  `json:"time" explain:"When."`
}
