// Package token makes and opens the tokens in Record-Route URIs, and keeps the rings of keys that
// tokens and digest nonces are made with.
package token
