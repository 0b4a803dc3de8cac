package directory

import (
	"net/netip"

	"tandem/internal/tandem"
)

// Directory is the read model. The zero value is not usable; call New.
type Directory struct{}

// New returns an empty directory.
func New() *Directory { return &Directory{} }

// Apply takes committed changes. Only one goroutine may call it.
func (d *Directory) Apply(changes []tandem.Change) {}

// Hash names an account or a node in 96 bits, the same on every appliance: the beginning of the
// SHA-256 of its id. It is what a Record-Route token carries.
type Hash [12]byte

// HashOf returns the hash of an id.
func HashOf(id string) Hash { return Hash{} }

// Account is what the proxy knows of an account. It is immutable.
type Account struct {
	ID    string
	Realm string
	Group string
	Hash  Hash
	*Profile
}

// Profile is what accounts have in common; many share one.
type Profile struct {
	Zone      string
	Registrar tandem.RegistrarMode     // never empty
	Digest    []tandem.DigestAlgorithm // what is offered, in order; never empty
	Routes    map[tandem.RequestType][]string
	Rules     []tandem.Rule
	Emergency []tandem.EmergencyNumber // never empty
	Edges     []string                 // the account's own or its zone's
}

// Route returns the forwarding names for requests of type t, in the order to try.
func (a *Account) Route(t tandem.RequestType, serviceZone string) []string { return nil }

// Device is what the proxy knows of a device. It is immutable.
type Device struct {
	ID       string
	Account  string
	User     string // id of the user it rings for, "" for none
	Username string
}

// AppendHA1 appends the device's digest hash for algorithm a in lower-case hex; nothing when it
// has none.
func (d *Device) AppendHA1(dst []byte, a tandem.DigestAlgorithm) []byte { return dst }

// Account returns the account with this id, nil when there is none.
func (d *Directory) Account(id string) *Account { return nil }

// AccountByHash returns the account whose id has this hash, nil when there is none.
func (d *Directory) AccountByHash(h Hash) *Account { return nil }

// AccountByHost returns the account whose inbound name is host, and the role of the label that
// named it. Case and a trailing dot do not matter. Retired labels name nobody.
func (d *Directory) AccountByHost(host string) (*Account, tandem.LabelRole) { return nil, "" }

// AccountByNumber returns the account that holds an E.164 number (with +), nil when none does.
func (d *Directory) AccountByNumber(number string) *Account { return nil }

// AccountByCarrier returns the account that calls from carrier p to an E.164 number are for.
func (d *Directory) AccountByCarrier(p *tandem.Peer, number string) *Account { return nil }

// ServiceZone returns the zone in which the forwarding names of zone's accounts lie.
func (d *Directory) ServiceZone(zone string) string { return "" }

// Device returns the device with this user name within an account, nil when there is none.
func (d *Directory) Device(account, username string) *Device { return nil }

// DeviceByID returns the device with this id, nil when there is none.
func (d *Directory) DeviceByID(id string) *Device { return nil }

// Ring returns the devices that a call to a user part within an account rings: the device of that
// user name, else the devices of the user with that extension or number.
func (d *Directory) Ring(account, user string) []*Device { return nil }

// UserNumbers returns the E.164 numbers of a user, nil when there is none.
func (d *Directory) UserNumbers(user string) []string { return nil }

// Peer returns the peer that requests from source on a listener come from, nil when they come
// from none: the longest network first, and within it a peer that lists the port first.
func (d *Directory) Peer(listener string, source netip.AddrPort) *tandem.Peer { return nil }

// Node returns the node with this id, nil when there is none.
func (d *Directory) Node(id string) *tandem.Node { return nil }

// NodeByHash returns the node whose id has this hash, nil when there is none.
func (d *Directory) NodeByHash(h Hash) *tandem.Node { return nil }

// NodeAt returns the node at an address: the one with that port, else the only one there is.
func (d *Directory) NodeAt(addr netip.AddrPort) *tandem.Node { return nil }

// Group returns the group with this id, nil when there is none.
func (d *Directory) Group(id string) *tandem.Group { return nil }

// IsOurs reports whether host is a name in a zone of ours (role accounts or service), or an
// address of one of our edges.
func (d *Directory) IsOurs(host string) bool { return false }

// Counts says how many objects of each kind the directory holds.
func (d *Directory) Counts() map[tandem.Kind]int { return nil }
