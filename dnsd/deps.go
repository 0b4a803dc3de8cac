package dnsd

import (
	"context"
	"crypto/tls"
	"time"

	"tandem/internal/tandem"
)

// Store is where the server writes what it makes itself: keys, what dynamic updates say, zones that a
// catalog lists. See store.Store.Append.
type Store interface {
	Append(ctx context.Context, by tandem.Principal, edits []tandem.Edit) (tandem.Revision, error)
}

// Sealer seals secrets and opens them. See store.Store.Seal.
type Sealer interface {
	Seal(plain []byte, context string) ([]byte, error)
	Unseal(sealed []byte, context string) ([]byte, error)
}

// ZoneData keeps octets about zones: their journals, and the contents of secondary zones. See
// store.Store.WriteZoneData.
type ZoneData interface {
	WriteZoneData(ctx context.Context, data []tandem.ZoneDatum) error
	ZoneData(ctx context.Context, fn func(tandem.ZoneDatum) error) error
}

// Deps are what the server needs from outside. What is nil is not offered: without Store nothing is
// written, without Seal no key can be opened.
type Deps struct {
	Store Store
	Seal  Sealer
	Zones ZoneData         // nil: a restart begins journals and secondary zones anew
	Now   func() time.Time // nil: time.Now
	// GetCertificate chooses the certificate of DNS over TLS and QUIC, where Config.TLS names no files.
	// It may be called by any number of goroutines; nil: there is none, and such listeners are refused.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
}
