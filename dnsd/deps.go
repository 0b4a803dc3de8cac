package dnsd

import "crypto/tls"

// Deps are what only code can give the server.
type Deps struct {
	// GetCertificate chooses the certificate of DNS over TLS and QUIC, where Config.TLS names no files.
	// It may be called by any number of goroutines; nil: there is none, and such listeners are refused.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
}
