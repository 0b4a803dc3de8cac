// Package store is the one durable memory: the objects that people apply, the log of their changes,
// the registrations, and the log of calls. It is built on Pebble, which never shows in its face.
//
// # What it promises
//
//   - An Append that has returned is on disk, whole: objects, indexes, change records and the
//     revision are one synced batch. One that was refused did nothing.
//   - Revisions grow by one with each edit and never fall, also across restarts and restores.
//   - Followers get every change once, in order, in whole batches, and nothing that is not on disk.
//   - References point to what exists; a name in a claim's space has one holder; a retired label is
//     its account's for ever, also after the account is gone.
//   - A call recorded by a RecordCalls that has returned is on disk, with its event; events are
//     numbered without gaps, and a follower gets each once, in order.
//   - Registrations survive the end of the process when PutBindings has returned, and a power cut
//     100 ms later.
//   - What cannot be read is ErrCorrupt, ErrVersion or ErrLocked, never a panic and never a new
//     store in the old one's place.
//
// It leaves to others: who the caller is (a tandem.Principal is believed), what a document may leave
// out (tandem.Account.Complete), and every read on a packet's way, for which the rooms keep models
// of their own, fed by Snapshot and Follow.
//
// # The directory
//
//	STORE       marker: format, id, stage, last revision at the last close (JSON, with a checksum)
//	LOCK        locked for as long as the store is open
//	node.key    the node key, 64 hex digits, mode 0600
//	objects/    Pebble: all tables but the bindings
//	bindings/   Pebble: the bindings and zone data, its log synced a moment late
//	calls/      Pebble: the log of calls
//
// # The bytes
//
// A key is one octet of table, then the parts. "n:" is a length in two octets, big-endian, before a
// string; kind is one octet; the last string of a key has no length. A zone's id has its labels
// reversed in tables o and w.
//
//	m 's'                                  → epoch, last, floor, objects, digest (8 8 8 8 16)
//	m 'k'                                  → SHA-256 of the node key (32)
//	o kind id                              → revision (8), n:owner, object in CBOR
//	w kind n:owner id                      → nothing: what an account owns
//	r kind n:id, kind id                   → nothing: target, then who refers to it
//	c n:space name                         → flags (1), kind (1), id of the holder
//	l revision (8)                         → flags (1), kind (1), time (8), n:actor, n:id, n:owner, object
//	b n:account n:aor n:device contact     → binding in CBOR
//	z n:zone part (1) number (8)           → what the name server keeps about the zone
//
// In calls/, where ids sort by the time at which calls began:
//
//	m 's'                                  → last event, floor, calls (8 8 8)
//	k id                                   → flags (1), n:account, call in CBOR
//	a n:account id                         → nothing: an account's calls
//	p id                                   → account, of a call that has not ended
//	e number (8)                           → time (8), n:account, call without its dialogs in CBOR
//
// Around each value:
//
//	+---------+-------------+------------ - -
//	| version | CRC-32C     | payload
//	| 1 octet | 4 octets    |
//	+---------+-------------+------------ - -
//
// The checksum is over key, version and payload, so that a value under a wrong key is seen too.
//
// # The encoding, and why
//
// CBOR (RFC 8949) with integer keys, by fxamacker/cbor, whose struct tags stand in the vocabulary.
// Protobuf would have brought generated types, and the vocabulary, which imports nothing but the
// standard library, could not have been the thing that is stored. What protobuf has and CBOR has
// not, that an older program keeps what a newer one wrote, is done here: keys that are unknown stay
// in an object when it is updated (carry.go says how far). Map keys are sorted, so that an object
// has one encoding and the digest of the tables means something.
package store
