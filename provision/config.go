package provision

import (
	"net/netip"
	"strings"
	"time"

	"tandem/internal/tandem"
)

// Config is what the configuration file says about the part.
type Config struct {
	// Host is the name or address in secret URLs, which devices can reach and a certificate is for.
	Host string `yaml:"host"`
	// Port in secret URLs; zero: the listener's own.
	Port uint16 `yaml:"port"`
	// Expires is the registration time that devices are told to ask for; zero: an hour.
	Expires time.Duration `yaml:"expires"`
	// MaxOpen bounds the permits open at once; zero: 100,000.
	MaxOpen int `yaml:"maxOpen"`
}

// Validate reports a configuration that cannot be meant.
func (c Config) Validate() error {
	switch {
	case c.Host == "":
		return tandem.FieldError{Field: "host", Reason: "is missing: the name that devices reach this appliance by"}
	case !isHost(c.Host):
		return tandem.FieldError{Field: "host", Reason: "is not a host name or an address, without port"}
	case c.Expires < 0 || c.Expires > 0 && c.Expires < time.Minute:
		return tandem.FieldError{Field: "expires", Reason: "is shorter than a minute"}
	case c.MaxOpen < 0:
		return tandem.FieldError{Field: "maxOpen", Reason: "is negative"}
	}
	return nil
}

// isHost reports whether s is an address or a host name in lower case.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return len(s) <= 253 && !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".") && !strings.Contains(s, "..") &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

func (c Config) withDefaults() Config {
	if c.Expires == 0 {
		c.Expires = time.Hour
	}
	if c.MaxOpen == 0 {
		c.MaxOpen = 100_000
	}
	return c
}
