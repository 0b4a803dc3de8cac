package tandem

import (
	"net/netip"
	"time"
)

// ZoneRole says what a zone is for.
type ZoneRole string

// Zone roles.
const (
	// RoleAccounts zones hold accounts' inbound names beside their plain records.
	RoleAccounts ZoneRole = "accounts"
	// RoleService zones hold forwarding names and the hosts of nodes; they are answered only to
	// the networks they list.
	RoleService ZoneRole = "service"
	// RolePlain zones hold plain records only.
	RolePlain ZoneRole = "plain"
	// RoleENUM zones hold NAPTR records for E.164 numbers (RFC 6116), made from accounts' numbers and
	// from NumberRanges; they are answered only to the networks they list.
	RoleENUM ZoneRole = "enum"
	// RoleCatalog zones list other zones (RFC 9432): those of ours that name them in catalog, or,
	// with primaries, those that somebody else's catalog lists, which then become zones here.
	RoleCatalog ZoneRole = "catalog"
)

// ZoneMode says whether others may hold a copy of a zone.
type ZoneMode string

// Zone modes.
const (
	// ModeSteered zones are answered by our own servers only: signed online, answers may depend on
	// health and client.
	ModeSteered ZoneMode = "steered"
	// ModeTransferable zones hold configured data only, whole, and are given to secondaries; health
	// never changes them.
	ModeTransferable ZoneMode = "transferable"
)

// Zone is an apex that the appliance is authoritative for. Its id is the apex: lower case, no
// trailing dot.
type Zone struct {
	Head
	Role        ZoneRole       `json:"role" cbor:"2,keyasint,omitempty" explain:"accounts (holds inbound names), service (holds forwarding names, answered only on its networks), plain, enum (holds numbers, answered only on its networks) or catalog (lists zones)."`
	ServiceZone string         `json:"serviceZone,omitempty" cbor:"3,keyasint,omitempty" explain:"For a zone with role accounts: the zone that holds its accounts' forwarding names."`
	Edges       []string       `json:"edges,omitempty" cbor:"4,keyasint,omitempty" explain:"Connection points of accounts that name none of their own: edge ids."`
	Networks    []netip.Prefix `json:"networks,omitempty" cbor:"5,keyasint,omitempty" explain:"Client networks that are answered; all others get REFUSED. Empty: everybody, or for a service or enum zone nobody but this machine's loopback."`
	NameServers []NameServer   `json:"nameServers,omitempty" cbor:"6,keyasint,omitempty" explain:"The NS set at the apex, with addresses for those inside the zone. Empty: ns.<apex> at the addresses of the first edge."`
	Hostmaster  string         `json:"hostmaster,omitempty" cbor:"7,keyasint,omitempty" explain:"Mailbox of the zone's keeper as a domain name (SOA RNAME). Default hostmaster.<apex>."`
	TTL         TTL            `json:"ttl,omitzero" cbor:"8,keyasint,omitempty" explain:"Times to live of composed records, in seconds."`
	Records     string         `json:"records,omitempty" cbor:"9,keyasint,omitempty" explain:"Plain records as zone text (RFC 1035 section 5), names relative to the apex."`
	Mode        ZoneMode       `json:"mode,omitempty" cbor:"10,keyasint,omitempty" explain:"steered (answered here only, may depend on health and client, signed online) or transferable (configured data only, whole, given to secondaries). Default: transferable for plain and catalog zones, steered for others; a service zone is always steered."`
	Secondaries []Secondary    `json:"secondaries,omitempty" cbor:"11,keyasint,omitempty" explain:"Who may transfer the zone, and who is notified of its changes. Needs mode transferable."`
	Primaries   []Primary      `json:"primaries,omitempty" cbor:"12,keyasint,omitempty" explain:"Servers that the zone is transferred from, in the order to try: it is a secondary zone then and has no records of its own. For roles plain and catalog."`
	DNSSEC      *DNSSEC        `json:"dnssec,omitempty" cbor:"13,keyasint,omitempty" explain:"Signs the zone. Left out: unsigned. Not beside secondaries or catalog yet."`
	Catalog     string         `json:"catalog,omitempty" cbor:"14,keyasint,omitempty" explain:"The catalog zone that lists this one, for secondaries that follow it."`
	Updates     []UpdateRule   `json:"updates,omitempty" cbor:"15,keyasint,omitempty" explain:"Who may change which records by dynamic update (RFC 2136). Empty: nobody."`
	Additional  Additional     `json:"additional,omitempty" cbor:"16,keyasint,omitempty" explain:"What goes into ADDITIONAL beside an answer: chain (NAPTR, SRV and addresses, as much as fits), addresses (of SRV, MX and NS targets) or none. Default chain; over UDP without a valid cookie no more than addresses."`
	From        string         `json:"from,omitempty" cbor:"17,keyasint,omitempty" explain:"The catalog zone that brought this zone here. Read-only."`
}

// Additional says how much an answer brings along.
type Additional string

// What answers bring along.
const (
	AdditionalChain     Additional = "chain"
	AdditionalAddresses Additional = "addresses"
	AdditionalNone      Additional = "none"
)

// Secondary is one server, or a network of them, that holds copies of a zone.
type Secondary struct {
	Networks []netip.Prefix `json:"networks,omitempty" cbor:"1,keyasint,omitempty" explain:"Addresses that it transfers from. Empty: any, if it has the key."`
	Key      string         `json:"key,omitempty" cbor:"2,keyasint,omitempty" explain:"TSIGKey that its requests must be signed with, and NOTIFY to it is."`
	TLS      bool           `json:"tls,omitempty" cbor:"3,keyasint,omitempty" explain:"It must transfer over TLS (RFC 9103)."`
	Notify   []string       `json:"notify,omitempty" cbor:"4,keyasint,omitempty" explain:"Addresses, with a port unless it is 53, that are told of changes."`
}

// Primary is one server that a secondary zone is transferred from.
type Primary struct {
	Address string `json:"address" cbor:"1,keyasint" explain:"Its address, with a port unless it is 53, or 853 with tls."`
	Key     string `json:"key,omitempty" cbor:"2,keyasint,omitempty" explain:"TSIGKey that requests to it are signed with, and NOTIFY from it must be."`
	TLS     bool   `json:"tls,omitempty" cbor:"3,keyasint,omitempty" explain:"Transfer over TLS (RFC 9103)."`
	Name    string `json:"name,omitempty" cbor:"4,keyasint,omitempty" explain:"The name that its certificate must be for. Empty with tls: any certificate (opportunistic)."`
	CA      string `json:"ca,omitempty" cbor:"5,keyasint,omitempty" explain:"Certificates, in PEM, of the authority that its certificate must come from. Empty: the machine's."`
}

// DNSSEC says how a zone is signed.
type DNSSEC struct {
	Algorithm string   `json:"algorithm,omitempty" cbor:"1,keyasint,omitempty" explain:"ECDSAP256SHA256 or ED25519. Default ECDSAP256SHA256. A change of it is a roll-over."`
	Split     bool     `json:"split,omitempty" cbor:"2,keyasint,omitempty" explain:"Two keys, KSK and ZSK, instead of one for both."`
	Denial    string   `json:"denial,omitempty" cbor:"3,keyasint,omitempty" explain:"How absence is proven: compact (RFC 9824), the only way yet and the default."`
	RollDays  int      `json:"rollDays,omitempty" cbor:"4,keyasint,omitempty" explain:"Days after which the ZSK, or the only key, is rolled. 0: by tandem dnssec roll only."`
	KSKDays   int      `json:"kskDays,omitempty" cbor:"5,keyasint,omitempty" explain:"The same for the KSK."`
	Parent    []string `json:"parent,omitempty" cbor:"6,keyasint,omitempty" explain:"Addresses of the parent zone's servers, asked for the DS before a key goes. Empty: tandem dnssec ds-seen says so."`
}

// UpdateRule lets one key change some names of a zone.
type UpdateRule struct {
	Key   string   `json:"key" cbor:"1,keyasint" explain:"TSIGKey that updates must be signed with. A key that belongs to an account may change that account's names only."`
	Names []string `json:"names,omitempty" cbor:"2,keyasint,omitempty" explain:"Names, relative to the apex, that may be changed with all that is below them; @ is the apex. Empty: those of the key's account, or, for a key of nobody, all."`
	Types []string `json:"types,omitempty" cbor:"3,keyasint,omitempty" explain:"Record types that may be changed. Empty: all but SOA, NS and those of DNSSEC."`
}

// RecordSet is one set of records of a zone, apart from its text: what dynamic update or the API put
// there. It stands in place of a set of the same name and type in the zone's text, and beside an
// account's composed records. Its id is <name>:<TYPE>, or <name>:<TYPE>:<view>, name without
// trailing dot in lower case.
type RecordSet struct {
	Head
	Zone    string   `json:"zone" cbor:"2,keyasint,omitempty" explain:"The zone it lies in."`
	Name    string   `json:"name" cbor:"3,keyasint,omitempty" explain:"Owner name, absolute, lower case, without trailing dot, escaped as in zone text."`
	Type    string   `json:"type" cbor:"4,keyasint,omitempty" explain:"Record type, such as TXT or TYPE65400."`
	TTL     uint32   `json:"ttl,omitempty" cbor:"5,keyasint,omitempty" explain:"Time to live in seconds. Default 300."`
	Records []string `json:"records,omitempty" cbor:"6,keyasint,omitempty" explain:"RDATA of each record as zone text. Empty: there is no such set, whatever the zone's text says."`
	View    string   `json:"view,omitempty" cbor:"7,keyasint,omitempty" explain:"Only clients in this view see it; all others see what stands below it. Empty: everybody."`
	Account string   `json:"account,omitempty" cbor:"8,keyasint,omitempty" explain:"The account that it belongs to. Empty: none."`
}

// View is a group of clients that see records of their own where there are some, and everybody's
// where there are none.
type View struct {
	Head
	Networks []netip.Prefix `json:"networks,omitempty" cbor:"2,keyasint,omitempty" explain:"Client networks in the view. The longest match of all views counts."`
	Keys     []string       `json:"keys,omitempty" cbor:"3,keyasint,omitempty" explain:"TSIGKeys whose requests are in the view, before networks are looked at."`
	Zones    []string       `json:"zones,omitempty" cbor:"4,keyasint,omitempty" explain:"Zones that only clients in this view, or in another that lists them, are answered from. Others are not affected."`
}

// TSIGKey is a secret that DNS messages are signed with (RFC 8945). Its id is the key's name.
type TSIGKey struct {
	Head
	Algorithm string `json:"algorithm,omitempty" cbor:"2,keyasint,omitempty" explain:"hmac-sha256 and its like: hmac-sha1, -sha224, -sha256, -sha384, -sha512. Default hmac-sha256."`
	// Secret is only ever in a request: it is sealed before anything is kept.
	Secret  string `json:"secret,omitempty" cbor:"-" explain:"The secret in base64, write-only. Left out of an update it stays."`
	Account string `json:"account,omitempty" cbor:"3,keyasint,omitempty" explain:"The account that the key belongs to: it may change that account's names only. Empty: the operator's."`
	Sealed  []byte `json:"-" cbor:"4,keyasint,omitempty"`
}

// Redact returns a copy of k that is fit to be shown.
func (k *TSIGKey) Redact() *TSIGKey {
	shown := *k
	shown.Secret, shown.Sealed = "", nil
	return &shown
}

// SealContext is what the key's secret is sealed for.
func (k *TSIGKey) SealContext() string { return "tsig/" + k.ID }

// NumberRange gives E.164 numbers with a prefix to an account, for ENUM (RFC 6116). The longest prefix
// counts, and an account's own number or a user's before every range.
type NumberRange struct {
	Head
	Prefix  string        `json:"prefix" cbor:"2,keyasint,omitempty" explain:"E.164 prefix, with +."`
	Account string        `json:"account" cbor:"3,keyasint,omitempty" explain:"The account that has the numbers."`
	Least   int           `json:"least,omitempty" cbor:"4,keyasint,omitempty" explain:"Digits that a number has at least, the prefix's included. Default: as many as the prefix."`
	Most    int           `json:"most,omitempty" cbor:"5,keyasint,omitempty" explain:"Digits that a number has at most. Default 15."`
	Service []ENUMService `json:"services,omitempty" cbor:"6,keyasint,omitempty" explain:"NAPTR records of each number. Empty: one, E2U+sip to <number>@<account's inbound name>."`
}

// ENUMService is one NAPTR record for a number.
type ENUMService struct {
	Order      uint16 `json:"order,omitempty" cbor:"1,keyasint,omitempty" explain:"Lower first. Default 100."`
	Preference uint16 `json:"preference,omitempty" cbor:"2,keyasint,omitempty" explain:"Lower first within an order. Default 10."`
	Service    string `json:"service" cbor:"3,keyasint" explain:"Such as E2U+sip."`
	Regexp     string `json:"regexp" cbor:"4,keyasint" explain:"Substitution, octet for octet, such as !^(.*)$!sip:\\1@voice.example.net!"`
}

// SealContext is what the private key is sealed for.
func (k *ZoneKey) SealContext() string { return "zonekey/" + k.ID }

// ZoneKey is a key that signs a zone, made by the product. Its id is <zone>/<number>.
type ZoneKey struct {
	Head
	Zone      string    `json:"zone" cbor:"2,keyasint"`
	Number    int       `json:"number" cbor:"3,keyasint"` // counts the zone's keys
	Algorithm uint8     `json:"algorithm" cbor:"4,keyasint"`
	Flags     uint16    `json:"flags" cbor:"5,keyasint"`  // 257 with SEP, 256 without
	Signs     string    `json:"signs" cbor:"6,keyasint"`  // keys, zone or both
	Public    []byte    `json:"public" cbor:"7,keyasint"` // as in DNSKEY
	Sealed    []byte    `json:"-" cbor:"8,keyasint"`
	Created   time.Time `json:"created" cbor:"9,keyasint"`
	Published time.Time `json:"published,omitzero" cbor:"10,keyasint,omitempty"`
	Active    time.Time `json:"active,omitzero" cbor:"11,keyasint,omitempty"`     // it signs from here on
	Submitted time.Time `json:"submitted,omitzero" cbor:"12,keyasint,omitempty"`  // CDS asks the parent for its DS from here on
	Seen      time.Time `json:"seen,omitzero" cbor:"13,keyasint,omitempty"`       // the parent has its DS
	Retired   time.Time `json:"retired,omitzero" cbor:"14,keyasint,omitempty"`    // it signs no longer
	Removed   time.Time `json:"removed,omitzero" cbor:"15,keyasint,omitempty"`    // it is not published any longer
	Withdrawn time.Time `json:"withdrawn,omitzero" cbor:"16,keyasint,omitempty"`  // CDS does not ask for its DS any longer
	Gone      time.Time `json:"gone,omitzero" cbor:"17,keyasint,omitempty"`       // the parent has its DS no longer
	Unsigning bool      `json:"unsigning,omitempty" cbor:"18,keyasint,omitempty"` // CDS asks the parent to take every DS away
	Rolling   bool      `json:"rolling,omitempty" cbor:"19,keyasint,omitempty"`   // somebody asked for a successor
}

// NameServer is one member of a zone's NS set.
type NameServer struct {
	Name      string       `json:"name" cbor:"1,keyasint" explain:"Host name, absolute."`
	Addresses []netip.Addr `json:"addresses,omitempty" cbor:"2,keyasint,omitempty" explain:"Addresses, needed when the name lies inside the zone."`
}

// TTL holds times to live in seconds. Zero means the default: NAPTR 3600, SRV 30, Address 60,
// Negative 30.
type TTL struct {
	NAPTR    uint32 `json:"naptr,omitempty" cbor:"1,keyasint,omitempty" explain:"Seconds for NAPTR. Default 3600."`
	SRV      uint32 `json:"srv,omitempty" cbor:"2,keyasint,omitempty" explain:"Seconds for SRV. Default 30."`
	Address  uint32 `json:"address,omitempty" cbor:"3,keyasint,omitempty" explain:"Seconds for A, AAAA and HTTPS. Default 60."`
	Negative uint32 `json:"negative,omitempty" cbor:"4,keyasint,omitempty" explain:"Seconds for NXDOMAIN and NODATA. Default 30."`
}

// Or returns t with its zero fields taken from d.
func (t TTL) Or(d TTL) TTL {
	return TTL{
		NAPTR: or(t.NAPTR, d.NAPTR), SRV: or(t.SRV, d.SRV),
		Address: or(t.Address, d.Address), Negative: or(t.Negative, d.Negative),
	}
}

// DefaultTTL is what zones and accounts that say nothing get.
func DefaultTTL() TTL { return TTL{NAPTR: 3600, SRV: 30, Address: 60, Negative: 30} }

func or[T comparable](a, b T) T {
	var zero T
	if a == zero {
		return b
	}
	return a
}

// Ports are where a host listens, one port a transport; zero means not offered.
type Ports struct {
	UDP   uint16 `json:"udp,omitempty" cbor:"1,keyasint,omitempty" explain:"SIP over UDP."`
	TCP   uint16 `json:"tcp,omitempty" cbor:"2,keyasint,omitempty" explain:"SIP over TCP."`
	TLS   uint16 `json:"tls,omitempty" cbor:"3,keyasint,omitempty" explain:"SIP over TLS."`
	WS    uint16 `json:"ws,omitempty" cbor:"4,keyasint,omitempty" explain:"SIP over WebSocket."`
	WSS   uint16 `json:"wss,omitempty" cbor:"5,keyasint,omitempty" explain:"SIP over secure WebSocket."`
	HTTP  uint16 `json:"http,omitempty" cbor:"6,keyasint,omitempty" explain:"HTTP."`
	HTTPS uint16 `json:"https,omitempty" cbor:"7,keyasint,omitempty" explain:"HTTP over TLS."`
}

// Of returns the port for transport t, zero when it is not offered.
func (p Ports) Of(t Transport) uint16 {
	switch t {
	case UDP:
		return p.UDP
	case TCP:
		return p.TCP
	case TLS:
		return p.TLS
	case WS:
		return p.WS
	case WSS:
		return p.WSS
	case HTTP:
		return p.HTTP
	case HTTPS:
		return p.HTTPS
	}
	return 0
}

// Edge is a connection point: where devices reach an appliance's proxy. In DNS it is the host
// <id>.edge.<zone>.
type Edge struct {
	Head
	Addresses []netip.Addr   `json:"addresses" cbor:"2,keyasint,omitempty" explain:"Public addresses, IPv4 and IPv6."`
	Ports     Ports          `json:"ports" cbor:"3,keyasint,omitempty" explain:"Ports by transport; a transport without a port is not published."`
	Priority  uint16         `json:"priority,omitempty" cbor:"4,keyasint,omitempty" explain:"SRV priority among an account's edges, lower first. Default 0."`
	Weight    uint16         `json:"weight,omitempty" cbor:"5,keyasint,omitempty" explain:"SRV weight among edges of one priority. Default 100."`
	Networks  []netip.Prefix `json:"networks,omitempty" cbor:"6,keyasint,omitempty" explain:"Client networks that it is nearest to. A listed resolver that says for whom it asks (RFC 7871) gets the edges nearest to that client alone, if there are some."`
}

// Cluster is a set of feature servers that serve together; Nodes name the cluster they are in.
type Cluster struct {
	Head
	Name     string         `json:"name,omitempty" cbor:"2,keyasint,omitempty" explain:"What people call it."`
	Capacity *int           `json:"capacity,omitempty" cbor:"3,keyasint,omitempty" explain:"Communications that it can hold at once: tier 1 assigns it groups that expect no more together. Left out: no bound."`
	Health   *ClusterHealth `json:"health,omitempty" cbor:"4,keyasint,omitempty" explain:"How checks of its nodes become states, and what is answered when all are down."`
}

// NodeState is what an operator wants of a node.
type NodeState string

// Node states set by hand. Down is not set but found.
const (
	NodeActive   NodeState = "active"
	NodeDraining NodeState = "draining" // no new work; what runs goes on
	NodeOut      NodeState = "out"      // nothing at all
)

// Node is one feature server. In DNS it is the host <id>.node.<service zone>.
type Node struct {
	Head
	Cluster   string        `json:"cluster" cbor:"2,keyasint,omitempty" explain:"The cluster it belongs to."`
	Addresses []netip.Addr  `json:"addresses" cbor:"3,keyasint,omitempty" explain:"Addresses, IPv4 and IPv6."`
	Ports     Ports         `json:"ports" cbor:"4,keyasint,omitempty" explain:"Ports by transport; a transport without a port is not used."`
	Priority  uint16        `json:"priority,omitempty" cbor:"5,keyasint,omitempty" explain:"SRV priority, lower first. Default 0."`
	Weight    uint16        `json:"weight,omitempty" cbor:"6,keyasint,omitempty" explain:"Share of the cluster's work, relative to its neighbours of the same priority. Default 100."`
	Types     []RequestType `json:"types,omitempty" cbor:"7,keyasint,omitempty" explain:"Request types it serves. Empty: all."`
	State     NodeState     `json:"state,omitempty" cbor:"8,keyasint,omitempty" explain:"active, draining (no new work) or out (none at all). Default active."`
	Force     *Force        `json:"force,omitempty" cbor:"9,keyasint,omitempty" explain:"An operator's word on the node's health, which counts instead of checks: tandem node force."`
}

// Serves reports whether n takes requests of type t.
func (n *Node) Serves(t RequestType) bool {
	if len(n.Types) == 0 {
		return true
	}
	for _, x := range n.Types {
		if x == t {
			return true
		}
	}
	return false
}

// Available reports whether n may be given new work.
func (n *Node) Available() bool { return n.State == NodeActive || n.State == "" }
