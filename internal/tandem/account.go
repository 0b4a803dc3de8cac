package tandem

import (
	"net/netip"
	"time"
)

// Group is the unit of tier 1: accounts that are placed together.
type Group struct {
	Head
	Name       string `json:"name,omitempty" cbor:"2,keyasint,omitempty" explain:"What people call it."`
	Cluster    string `json:"cluster,omitempty" cbor:"3,keyasint,omitempty" explain:"Pins the group: the only cluster that may serve it. Empty: tier 1 assigns one; tandem lb status shows which."`
	Expected   *int   `json:"expected,omitempty" cbor:"4,keyasint,omitempty" explain:"Communications expected at once, to and from the group: the room that tier 1 reserves when it assigns a cluster. Left out: none is reserved."`
	Permitted  *int   `json:"permitted,omitempty" cbor:"5,keyasint,omitempty" explain:"Communications permitted at once, in and out: tier 2 refuses the next call with 486. A setting apart from expected. Left out: no limit."`
	MinQuality int    `json:"minQuality,omitempty" cbor:"6,keyasint,omitempty" explain:"Quality that each communication needs, on the scale of the R factor: 93 is perfect, 80 satisfies, below 60 nearly everybody complains. Left out: any, measured or not."`
	Affinity   bool   `json:"affinity,omitempty" cbor:"7,keyasint,omitempty" explain:"Its calls share one node of the cluster, for conferences, parked calls and transfers."`
}

// LabelRole says how a label of an account is used.
type LabelRole string

// Label roles. An account has exactly one current label.
const (
	LabelCurrent  LabelRole = "current"  // given to devices
	LabelVanity   LabelRole = "vanity"   // answers too, chosen by people
	LabelTripwire LabelRole = "tripwire" // answers; whoever still uses it is reported
	LabelRetired  LabelRole = "retired"  // no longer answers, never given to another account
)

// Label is an account's part of an inbound name.
type Label struct {
	Label string    `json:"label" cbor:"1,keyasint" explain:"One DNS label, lower case. Random (80 bits, base32) when an account is created without any."`
	Role  LabelRole `json:"role,omitempty" cbor:"2,keyasint,omitempty" explain:"current, vanity, tripwire or retired. Default: current for the first, vanity for the others."`
}

// RegistrarMode says who keeps an account's registrations.
type RegistrarMode string

// Registrar modes.
const (
	// RegistrarLocal authenticates and binds here; with a register route the request is also
	// forwarded there with Path, and that outcome is the answer.
	RegistrarLocal RegistrarMode = "local"
	// RegistrarRemote authenticates here, strips Authorization and forwards with Path; the
	// bindings kept here are a cache of flows.
	RegistrarRemote RegistrarMode = "remote"
)

// Account is one customer. Its id is one DNS label, for it is part of its forwarding names.
type Account struct {
	Head
	Name      string                   `json:"name,omitempty" cbor:"2,keyasint,omitempty" explain:"What people call the customer."`
	Zone      string                   `json:"zone" cbor:"3,keyasint,omitempty" explain:"Zone with role accounts in which its inbound names lie."`
	Labels    []Label                  `json:"labels,omitempty" cbor:"4,keyasint,omitempty" explain:"Its parts of inbound names: <label>.<zone>. A label left out of an update is retired, not freed."`
	Realm     string                   `json:"realm,omitempty" cbor:"5,keyasint,omitempty" explain:"Digest realm. Set once, at creation; default tandem-<id>. Never changed by a change of name."`
	Group     string                   `json:"group" cbor:"6,keyasint,omitempty" explain:"The group it is placed with."`
	Numbers   []string                 `json:"numbers,omitempty" cbor:"7,keyasint,omitempty" explain:"Its E.164 numbers, with +."`
	TimeZone  string                   `json:"timeZone,omitempty" cbor:"8,keyasint,omitempty" explain:"IANA time zone, for schedules. Default UTC."`
	Edges     []string                 `json:"edges,omitempty" cbor:"9,keyasint,omitempty" explain:"Its connection points: edge ids. Empty: those of its zone."`
	Routes    map[RequestType][]string `json:"routes,omitempty" cbor:"10,keyasint,omitempty" explain:"The server database: for each request type the forwarding names to try, in order. A name without a dot is a target key of this account; default for each type: its own name."`
	Targets   map[string]TargetSpec    `json:"targets,omitempty" cbor:"11,keyasint,omitempty" explain:"What forwarding names resolve to, by key: <key>.<account id>.<service zone>. A key that is absent resolves to the group's cluster, filtered by the types its nodes serve."`
	Rules     []Rule                   `json:"rules,omitempty" cbor:"12,keyasint,omitempty" explain:"Rules that give requests a type of their own (voicemail, conference), tried in order before the built-in table."`
	Registrar RegistrarMode            `json:"registrar,omitempty" cbor:"13,keyasint,omitempty" explain:"local (bound here) or remote (forwarded to the register route with Path). Default local."`
	Digest    []DigestAlgorithm        `json:"digest,omitempty" cbor:"14,keyasint,omitempty" explain:"Digest algorithms offered, strongest first: SHA-512-256, SHA-256, MD5. Default SHA-256, MD5."`
	TTL       TTL                      `json:"ttl,omitzero" cbor:"15,keyasint,omitempty" explain:"Times to live of its composed records, in seconds; zero: the zone's."`
	Emergency []EmergencyNumber        `json:"emergency,omitempty" cbor:"16,keyasint,omitempty" explain:"Numbers that are emergency calls when dialled exactly. Default 112 and 911 to urn:service:sos."`
}

// TargetSpec is what one forwarding name resolves to: a cluster, or listed nodes.
type TargetSpec struct {
	Cluster string   `json:"cluster,omitempty" cbor:"1,keyasint,omitempty" explain:"A cluster; its nodes are filtered by request type."`
	Nodes   []string `json:"nodes,omitempty" cbor:"2,keyasint,omitempty" explain:"Node ids, whatever types they serve."`
}

// EmergencyNumber maps one dialled number to the Request-URI that its call leaves with.
type EmergencyNumber struct {
	Dial string `json:"dial" cbor:"1,keyasint" explain:"The number as dialled, digits only; matched exactly."`
	URI  string `json:"uri" cbor:"2,keyasint" explain:"Request-URI sent to the emergency route, such as urn:service:sos.police."`
}

// Rule gives matching requests a type. Empty fields match everything; at least one must be set.
type Rule struct {
	Method string      `json:"method,omitempty" cbor:"1,keyasint,omitempty" explain:"SIP method, upper case."`
	Event  string      `json:"event,omitempty" cbor:"2,keyasint,omitempty" explain:"Event package, without parameters."`
	User   string      `json:"user,omitempty" cbor:"3,keyasint,omitempty" explain:"User part of the Request-URI; a trailing * matches any rest."`
	Type   RequestType `json:"type" cbor:"4,keyasint" explain:"The request type given."`
}

// PeerRole says what a peer is.
type PeerRole string

// Peer roles.
const (
	PeerCore    PeerRole = "core"    // feature servers: their requests go to bindings or the trunk route, never again by type
	PeerCarrier PeerRole = "carrier" // inbound calls by number
	PeerTrunk   PeerRole = "trunk"   // one account's own PBX, identified by address
)

// Peer is a carrier, trunk PBX or feature server, known by where its requests come from.
type Peer struct {
	Head
	Role     PeerRole       `json:"role" cbor:"2,keyasint,omitempty" explain:"core, carrier or trunk."`
	Networks []netip.Prefix `json:"networks" cbor:"3,keyasint,omitempty" explain:"Source networks. An address identifies the peer only on its listener."`
	Ports    []uint16       `json:"ports,omitempty" cbor:"4,keyasint,omitempty" explain:"Source ports; empty: any. For peers that share an address over UDP."`
	Listener string         `json:"listener" cbor:"5,keyasint,omitempty" explain:"Name of the SIP listener, from the configuration file, on which it is believed."`
	Account  string         `json:"account,omitempty" cbor:"6,keyasint,omitempty" explain:"For a trunk: the account whose requests these are."`
	Numbers  []NumberRule   `json:"numbers,omitempty" cbor:"7,keyasint,omitempty" explain:"For a carrier: called numbers to accounts, longest prefix first; numbers listed at an account need no rule."`
	Rewrite  []Rewrite      `json:"rewrite,omitempty" cbor:"8,keyasint,omitempty" explain:"Normalisation of called numbers to E.164; the first match counts."`
	Trusted  bool           `json:"trusted,omitempty" cbor:"9,keyasint,omitempty" explain:"Whether its P-Asserted-Identity is believed."`
}

// NumberRule sends called numbers with a prefix to an account.
type NumberRule struct {
	Prefix  string `json:"prefix" cbor:"1,keyasint" explain:"E.164 prefix, with +."`
	Account string `json:"account" cbor:"2,keyasint" explain:"Account id."`
}

// Rewrite replaces the beginning of a number.
type Rewrite struct {
	Prefix string `json:"prefix" cbor:"1,keyasint" explain:"Beginning that is matched and cut, such as 00."`
	Put    string `json:"put" cbor:"2,keyasint" explain:"What takes its place, such as +."`
}

// User is a person within an account.
type User struct {
	Head
	Account   string   `json:"account" cbor:"2,keyasint,omitempty" explain:"The account the user belongs to."`
	Name      string   `json:"name,omitempty" cbor:"3,keyasint,omitempty" explain:"What people call the user."`
	Extension string   `json:"extension,omitempty" cbor:"4,keyasint,omitempty" explain:"Short number; calls to it ring the user's devices."`
	Numbers   []string `json:"numbers,omitempty" cbor:"5,keyasint,omitempty" explain:"E.164 numbers of the account that ring the user's devices."`
}

// Device is a phone or softphone with SIP credentials.
type Device struct {
	Head
	Account  string `json:"account" cbor:"2,keyasint,omitempty" explain:"The account the device belongs to."`
	User     string `json:"user,omitempty" cbor:"3,keyasint,omitempty" explain:"The user it rings for."`
	Username string `json:"username" cbor:"4,keyasint,omitempty" explain:"SIP user name: the digest user and an address of record within the account."`
	MAC      string `json:"mac,omitempty" cbor:"5,keyasint,omitempty" explain:"Hardware address, twelve lower-case hex digits."`
	Model    string `json:"model,omitempty" cbor:"6,keyasint,omitempty" explain:"Maker and model."`
	// Secret is only ever in a request: it is turned into HA1 and Sealed before anything is kept.
	Secret string `json:"secret,omitempty" cbor:"-" explain:"SIP password, write-only. Left out of an update it stays; left out at creation, with no ha1 given, one is made."`
	HA1    HA1    `json:"ha1,omitzero" cbor:"7,keyasint,omitempty" explain:"Digest hashes of user:realm:password, write-only, for devices imported without their password; such a device cannot be given a configuration until its secret is rotated."`
	Sealed []byte `json:"-" cbor:"8,keyasint,omitempty"`
	// SecretVersion counts the secrets that the device has had.
	SecretVersion uint32 `json:"secretVersion,omitempty" cbor:"9,keyasint,omitempty" explain:"Counts the secrets it has had. Read-only."`
}

// Redact returns a copy of d that is fit to be shown: without secret, hashes or sealed secret.
func (d *Device) Redact() *Device {
	shown := *d
	shown.Secret, shown.HA1, shown.Sealed = "", HA1{}, nil
	return &shown
}

// HA1 holds digest hashes in lower-case hex (RFC 8760, RFC 7616 section 3.4.2); empty where there is none.
type HA1 struct {
	SHA512_256 string `json:"sha512-256,omitempty" cbor:"1,keyasint,omitempty" explain:"64 hex digits."`
	SHA256     string `json:"sha256,omitempty" cbor:"2,keyasint,omitempty" explain:"64 hex digits."`
	MD5        string `json:"md5,omitempty" cbor:"3,keyasint,omitempty" explain:"32 hex digits."`
}

// Permit lets a device fetch its configuration once. Its id is the hex SHA-256 of the token in the
// secret URL; the token itself is never kept. It is no reference: a device may go while a permit for
// it is open, which then opens nothing.
type Permit struct {
	Head
	Account string    `json:"account" cbor:"2,keyasint"`
	Device  string    `json:"device" cbor:"3,keyasint"`
	Expires time.Time `json:"expires" cbor:"4,keyasint"`
	Used    time.Time `json:"used,omitzero" cbor:"5,keyasint,omitempty"` // zero until it is taken
}

// Key is a secret of the appliance's own, sealed at rest: purpose "token" for Record-Route tokens,
// "nonce" for digest nonces. Its id is <purpose>/<number>.
type Key struct {
	Head
	Purpose string    `json:"purpose" cbor:"2,keyasint"`
	Number  uint8     `json:"number" cbor:"3,keyasint"` // what the token carries to name its key
	Created time.Time `json:"created" cbor:"4,keyasint"`
	Sealed  []byte    `json:"-" cbor:"5,keyasint"`
}
