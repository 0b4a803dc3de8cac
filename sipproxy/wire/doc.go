// Package wire turns octets into SIP messages and messages into octets (RFC 3261 sections 7, 18.3,
// 20 and 25). It is the strict front of the proxy: what Parse accepts is well formed in everything
// that a proxy or registrar looks at, and what it refuses comes with the status code that names the
// fault and, where the top Via could be read, with enough of the message to be answered.
//
// A Message keeps each header field as it stood, name and value, as substrings of one copy of the
// datagram. Only values that a proxy changes are cut apart (Via, Route, Record-Route and Path
// become one Header a value). So what is forwarded differs from what came in only where somebody
// meant it to, extension methods and quoted parameters included.
//
// Why the values are not parsed by sipgo: its parser alters what it reads (methods upper-cased,
// quotes lost, quoted semicolons cut), refuses RFC 2543 peers, accepts other protocol versions, and
// cannot name the fault; the front has to walk every octet before it anyway. The tests use sipgo as
// the second opinion instead: what leaves here must parse there.
//
// Nothing here does I/O, keeps state or looks at a clock.
package wire
