// Package lab is a little telco on loopback beside a running Tandem: feature-server nodes and
// phones that are real SIP peers, with example objects and calls between them, so that a newcomer
// sees names resolve, calls move and registrations come and go. Its nodes and phones are also the
// scriptable peers of the end-to-end tests.
//
// A Node is a back-to-back user agent (RFC 3261 section 6): a call that the proxy sends it becomes
// a second call, back through the proxy, to the same Request-URI; answers, re-INVITE, other
// requests within the call, CANCEL and BYE cross it in both directions. A Phone finds its server as
// RFC 3263 says by asking one DNS server, registers with digest (RFC 8760, RFC 7616), calls, rings
// and answers. Both are built on sipgo's parser, transports and transactions; dialogs, digest and
// look-ups are the package's own.
//
// Nothing of the server is imported: the lab knows it by its control socket and its addresses.
package lab
