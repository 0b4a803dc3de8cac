// Package rtcpxr reads voice quality reports: bodies of type application/vq-rtcpxr (RFC 6035
// section 4.6.1), as phones and servers send them in PUBLISH or NOTIFY.
//
// It is strict about what is counted with: a metric that is no number of the grammar's size, or outside
// its range, makes the whole report void, so that nobody steers by half of it. It is tolerant about what
// devices add, leave out or write elsewhere: unknown lines and metrics are skipped, lines may come in any
// order and be folded, names are read in any case. What it reads, and what it keeps, is bounded.
//
// A metric of 127 is one that its sender could not measure (RFC 3611 section 4.7.5), and counts as absent.
package rtcpxr
