// Package token makes and opens the tokens in Record-Route URIs, and keeps the rings of keys that
// tokens and digest nonces are made with.
//
// A token tells the proxy what it needs to send an in-dialog request on without having kept
// anything: the node that holds the dialog, the account, the listener, the call's slot. It is valid
// in one dialog, sent by the side it was given to; so it opens no relay and steers nobody else's
// call. Text: 48 octets in base64url, 64 characters, which may all stand in a SIP URI's user part.
//
//	format (1) · key number (1) · synthetic IV (16) · encrypted payload (30)
//	payload: side (1) · listener (1) · node (12) · account (12) · slot (4)
//
// Construction. AES-SIV-CMAC as RFC 5297 defines it, with AES-128, over these components: the two
// octets of the head, the Call-ID, the caller's tag, and the payload. The synthetic IV is a 128-bit
// MAC over all of them (S2V keeps the components apart, so that no octet can be moved from one to
// the next) and at the same time the counter under which the payload is encrypted. Why SIV: there
// is no nonce that a restart, a clone of a virtual machine or a second appliance could use twice;
// the same call gives the same token, so a retransmitted INVITE is answered alike; and AES-GCM
// would need 12 octets more for its nonce and lose its key to one repetition. Its bound is that of
// AES-CMAC: 2^40 tokens a key, ten million a second for a day, leave a forger less than 2^-40. Both
// AES keys are drawn from the ring's secret by HMAC-SHA-256 under a label, so the secret may serve
// other purposes under other labels.
//
// The side is inside, and says in which header the caller's tag stands: From when the caller sends,
// To when the callee does. A token given to one side therefore fails when the other sends it.
//
// Ids of up to 63 octets do not fit. They are carried as 96-bit hashes, which the directory finds
// the objects by: with 64 bits, two of ten million accounts would share a hash in one fleet of
// 400,000, and whoever names accounts could make two collide in 2^32 tries; with 96 it is 10^-15 and
// 2^48.
//
// Keys are made daily and known to the whole fleet. Each signs from a minute after it was made
// (until then its elder does), so that every appliance has it before the first token arrives, and is
// accepted for three days after it was made: a day of signing, the longest dialog of a day, and
// slack.
package token
