// Package location is the registrar's table of bindings: which contacts an account's addresses of
// record are reached at (RFC 3261 section 10.3, of RFC 5626 what one flow a contact needs).
//
// A REGISTER is decided by a pure function and then written before it is seen: Update lets the
// caller persist what changes, and only then swaps it in. It is taken whole or not at all.
// REGISTERs for one address of record take their turns; others do not wait for the writing.
//
// Bindings are matched by URI comparison (RFC 3261 section 19.1.4) or by +sip.instance with reg-id.
// A binding that has ended is not seen by anyone from that moment; Sweep takes it away some seconds
// later at most. An address of record that has its full number of contacts and registers another
// loses the one that was refreshed least recently: a phone that takes a new port at each start must
// not lock itself out, and whoever has its secret could remove its contacts anyway. The table as a
// whole refuses what goes beyond its bound.
//
// Records are compact: texts in one piece, times and addresses as numbers, and what many bindings
// share (listener, transport, User-Agent, edge, Path) kept once.
package location
