package node

import (
	"tandem/dnsd"
	"tandem/internal/tandem"
)

// CheckZone reports whether a zone's plain records can be served, as the management door checks it; the
// command asks it file by file before it sends anything.
func CheckZone(z *tandem.Zone) error { return dnsd.CheckRecords(z) }
