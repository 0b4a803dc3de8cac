// Package digest challenges SIP requests and checks their answers (RFC 3261 section 22, RFC 7616,
// RFC 8760).
package digest
