package tandem

// ZoneDatum is a piece of what a name server keeps about a zone beside its object: the differences
// between its versions, or the contents it was given by a primary. What the octets mean is the name
// server's affair.
type ZoneDatum struct {
	Zone   string // the zone's id; "" for what concerns all
	Part   byte   // which of the things kept
	Number uint64 // its place among those
	Last   uint64 // with Octets nil: all from Number to Last are deleted
	Octets []byte
}
