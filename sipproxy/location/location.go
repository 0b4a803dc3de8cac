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

// Table holds the bindings. All methods may be called at once.
type Table struct{}

// New returns an empty table.
func New(cfg Config) *Table { return &Table{} }

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

// Update decides a REGISTER, has persist write what changes, then makes it visible and returns the
// bindings as they now are, for the 200. Requests for one address of record take their turn, those
// for others do not wait. When persist fails nothing is changed and its error is returned.
func (t *Table) Update(now time.Time, r *Request, persist func(puts, deletes []tandem.Binding) error) ([]tandem.Binding, error) {
	return nil, nil
}

// Check decides a REGISTER as Update would, changing nothing; for one that is forwarded first.
func (t *Table) Check(now time.Time, r *Request) error { return nil }

// MinExpires returns the shortest life accepted, in seconds, for 423 answers.
func (t *Table) MinExpires() int { return 0 }

// Load adds a binding that was stored, at start.
func (t *Table) Load(now time.Time, b tandem.Binding) {}

// Lookup returns the live bindings of addresses of record, the highest q first, the newest first
// among equals.
func (t *Table) Lookup(now time.Time, account string, aors ...string) []tandem.Binding { return nil }

// List returns the live bindings of an account, of all accounts for "", by account and address of
// record.
func (t *Table) List(now time.Time, account string) []tandem.Binding { return nil }

// Expire removes bindings that have ended and returns them, at most limit, for deletion from the
// store. Call it each second.
func (t *Table) Expire(now time.Time, limit int) []tandem.Binding { return nil }

// Forget removes all bindings of a device (or of an account, with device ""), once it is deleted,
// and returns them.
func (t *Table) Forget(account, device string) []tandem.Binding { return nil }

// Len returns the number of bindings, ended ones not yet removed included.
func (t *Table) Len() int { return 0 }

// Equal reports whether two SIP URIs are equal by RFC 3261 section 19.1.4.
func Equal(a, b string) bool { return false }
