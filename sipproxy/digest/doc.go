// Package digest challenges SIP requests and checks their answers (RFC 3261 section 22, RFC 7616,
// RFC 8760).
//
// A challenge costs no state: its nonce says when and by which key it was made and carries a keyed
// MAC over that, the realm and the edge. It lives 300 seconds. What is kept is one small entry for
// each nonce that was answered with a right secret: the nonce counts seen, as a window of 64 below
// the highest. A count is taken once; one that was taken, or lies below the window, is answered
// as stale, so that an honest client asks again and a recorded answer is worth nothing. The table
// has a fixed size: a set that is full drops its oldest nonce, and from then on takes every nonce
// of that set which is as old or older, and not in it, for stale. So a full table costs round
// trips, never a replay and never a lock-out. Nonces made before the process began, or by another
// edge, are stale for the same reason.
//
// Stale is only said to whoever knows the secret (RFC 7616 section 3.3). An unknown user costs the
// same work as a known one and gets the same answer as a wrong secret.
//
// Only qop "auth" is offered and taken. Credentials without qop (RFC 2069) are refused unless the
// caller allows them for MD5; their nonce then serves once. The digest-uri must be the
// Request-URI, see sameURI for how far the two may differ. Session algorithms, auth-int, userhash
// and username* are not offered and not taken.
package digest
