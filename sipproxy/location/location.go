package location

import (
	"errors"
	"net/netip"
	"time"

	"tandem/internal/tandem"
)

// Config bounds a table. Zero values take the defaults.
type Config struct {
	PerAOR  int           // bindings of one address of record; default 10
	Total   int           // bindings of all; default 4 million
	Min     time.Duration // shortest life accepted; default 60 s
	Max     time.Duration // longest life granted, longer ones are cut; default 7200 s
	Default time.Duration // life when the request names none; default 3600 s
}

// withDefaults returns c with its zero values filled in.
func (c Config) withDefaults() Config {
	fill := func(p *int, d int) {
		if *p <= 0 {
			*p = d
		}
	}
	fill(&c.PerAOR, 10)
	fill(&c.Total, 4_000_000)
	for p, d := range map[*time.Duration]time.Duration{&c.Min: time.Minute, &c.Max: 2 * time.Hour, &c.Default: time.Hour} {
		if *p <= 0 {
			*p = d
		}
	}
	return c
}

// Contact is one Contact of a REGISTER.
type Contact struct {
	URI      string // the address, without angle brackets
	Expires  int64  // seconds, of its own or from Expires; -1 when neither is given
	Q        uint16 // thousandths; 1000 when not given
	Instance string // +sip.instance
	RegID    uint32 // reg-id, 0 when not given
}

// Request is a REGISTER, authenticated.
type Request struct {
	Account   string
	AOR       string // user part; bind under Device.Username whatever the To says
	Device    string
	CallID    string
	CSeq      uint32
	Contacts  []Contact // none: only asks what is bound
	Star      bool      // Contact: *, with Expires 0; no Contacts then
	Granted   bool      // another registrar granted the lives: Config's Min and Max do not count
	Source    netip.AddrPort
	Transport tandem.Transport
	Listener  string
	Path      []string
	UserAgent string
	Edge      string
}

// Why a REGISTER is refused, with the status to answer.
var (
	ErrOrder    = errors.New("CSeq is not higher than that of the binding")        // 500
	ErrBrief    = errors.New("expires is too brief")                               // 423, Min-Expires
	ErrTooMany  = errors.New("more contacts than one address of record may have")  // 403
	ErrFull     = errors.New("the location table is full")                         // 503
	ErrContact  = errors.New("contact is not a SIP URI")                           // 400
	ErrWildcard = errors.New("wildcard contact among others or without Expires 0") // 400
)
