package provision

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"tandem/internal/tandem"
)

// Profile is a device's configuration as it is handed out. The same device and account always
// give the same octets.
type Profile struct {
	Version   int                      `json:"version"` // of this format: 1
	Device    string                   `json:"device"`
	Account   string                   `json:"account"` // the customer's name, else its id
	SIP       SIP                      `json:"sip"`
	Emergency []tandem.EmergencyNumber `json:"emergency"`
	TimeZone  string                   `json:"timeZone"`
}

// SIP is how a device reaches its account. Server is exactly the account's inbound name: no
// address and no port, which would keep devices from looking NAPTR and SRV up (RFC 3263 section 4).
type SIP struct {
	Server    string                   `json:"server"`
	Transport string                   `json:"transport"` // naptr: as DNS says
	Username  string                   `json:"username"`
	Realm     string                   `json:"realm"`
	Password  string                   `json:"password"`
	Digest    []tandem.DigestAlgorithm `json:"digest"`
	Expires   int                      `json:"expires"` // seconds
}

// newProfile puts a device's profile together.
func newProfile(d *tandem.Device, a *tandem.Account, password string, expires time.Duration) Profile {
	p := Profile{
		Version: 1, Device: d.ID, Account: a.Name, TimeZone: a.TimeZone, Emergency: a.EmergencyNumbers(),
		SIP: SIP{
			Server: a.InboundName(), Transport: "naptr", Username: d.Username, Realm: a.Realm,
			Password: password, Digest: a.DigestOffer(), Expires: int(expires / time.Second),
		},
	}
	if p.Account == "" {
		p.Account = a.ID
	}
	if p.TimeZone == "" {
		p.TimeZone = "UTC"
	}
	return p
}

// render returns the profile as JSON text that ends in a line end.
func (p Profile) render() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(p); err != nil {
		return nil, fmt.Errorf("render profile of device %s: %w", p.Device, err)
	}
	return out.Bytes(), nil
}
