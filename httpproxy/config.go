package httpproxy

import (
	"net/netip"
	"time"

	"tandem/internal/tandem"
)

// Config is what the configuration file says about the part. Zero values of limits mean the
// default that stands beside them.
type Config struct {
	Listen netip.AddrPort `yaml:"listen"` // HTTP; the zero value: not offered
	TLS    netip.AddrPort `yaml:"tls"`    // HTTPS; the zero value: not offered

	MaxHeader      int   `yaml:"maxHeader"`      // octets of a request's header; 64 KiB
	MaxBody        int64 `yaml:"maxBody"`        // octets of a request's body; 32 MiB
	MaxActive      int   `yaml:"maxActive"`      // requests at once, in all; 4096
	MaxPerAccount  int   `yaml:"maxPerAccount"`  // requests at once of one account; 256
	MaxConnections int   `yaml:"maxConnections"` // clients' connections at once; 16384

	ConnectTimeout  time.Duration `yaml:"connectTimeout"`  // to reach one feature server, TLS included; 2s
	ResponseTimeout time.Duration `yaml:"responseTimeout"` // from the request's end to the response's header; 60s
	StallTimeout    time.Duration `yaml:"stallTimeout"`    // without an octet moving to or from the client; 30s
}

// Validate reports a configuration that cannot be meant.
func (c Config) Validate() error {
	if !c.Listen.IsValid() && !c.TLS.IsValid() {
		return tandem.FieldError{Field: "listen", Reason: "is missing: set listen, tls or both"}
	}
	for _, x := range []struct {
		field string
		value int64
	}{
		{"maxHeader", int64(c.MaxHeader)}, {"maxBody", c.MaxBody}, {"maxActive", int64(c.MaxActive)},
		{"maxPerAccount", int64(c.MaxPerAccount)}, {"maxConnections", int64(c.MaxConnections)},
		{"connectTimeout", int64(c.ConnectTimeout)}, {"responseTimeout", int64(c.ResponseTimeout)}, {"stallTimeout", int64(c.StallTimeout)},
	} {
		if x.value < 0 {
			return tandem.FieldError{Field: x.field, Reason: "is negative"}
		}
	}
	return nil
}

// withDefaults returns c with its zero limits filled in.
func (c Config) withDefaults() Config {
	setDefault(&c.MaxHeader, 64<<10)
	setDefault(&c.MaxBody, 32<<20)
	setDefault(&c.MaxActive, 4096)
	setDefault(&c.MaxPerAccount, 256)
	setDefault(&c.MaxConnections, 16384)
	setDefault(&c.ConnectTimeout, 2*time.Second)
	setDefault(&c.ResponseTimeout, time.Minute)
	setDefault(&c.StallTimeout, 30*time.Second)
	return c
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}
