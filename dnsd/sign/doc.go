// Package sign makes DNSSEC signatures online: the keys of a zone and their roll-overs, record sets in
// canonical form (RFC 4034 section 6), signatures, a cache of them, and a bound on how fast new ones
// are made. dnsd decides what is signed and proven; this package knows neither zones' data nor clients.
//
// A signature is a pure function of set, key and time: times are quantised (When), ECDSA is
// deterministic (RFC 6979) and Ed25519 always was. So all appliances give the same signature, as do a
// transfer and an answer, and nothing but keys is ever stored.
//
// It obeys RFC 4034, 4035, 5702 section 3, 6605, 6840, 8080, 9824; for keys RFC 6781, 7344, 7583, 8078.
package sign
