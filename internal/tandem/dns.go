package tandem

import (
	"net/netip"
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
)

// Zone is an apex that the appliance is authoritative for. Its id is the apex: lower case, no
// trailing dot.
type Zone struct {
	Head
	Role        ZoneRole       `json:"role" cbor:"2,keyasint,omitempty" explain:"accounts (holds inbound names), service (holds forwarding names, answered only on its networks) or plain."`
	ServiceZone string         `json:"serviceZone,omitempty" cbor:"3,keyasint,omitempty" explain:"For a zone with role accounts: the zone that holds its accounts' forwarding names."`
	Edges       []string       `json:"edges,omitempty" cbor:"4,keyasint,omitempty" explain:"Connection points of accounts that name none of their own: edge ids."`
	Networks    []netip.Prefix `json:"networks,omitempty" cbor:"5,keyasint,omitempty" explain:"Client networks that are answered; all others get REFUSED. Empty: everybody, or for a service zone nobody but this machine's loopback."`
	NameServers []NameServer   `json:"nameServers,omitempty" cbor:"6,keyasint,omitempty" explain:"The NS set at the apex, with addresses for those inside the zone. Empty: ns.<apex> at the addresses of the first edge."`
	Hostmaster  string         `json:"hostmaster,omitempty" cbor:"7,keyasint,omitempty" explain:"Mailbox of the zone's keeper as a domain name (SOA RNAME). Default hostmaster.<apex>."`
	TTL         TTL            `json:"ttl,omitzero" cbor:"8,keyasint,omitempty" explain:"Times to live of composed records, in seconds."`
	Records     string         `json:"records,omitempty" cbor:"9,keyasint,omitempty" explain:"Plain records as zone text (RFC 1035 section 5), names relative to the apex."`
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
	Addresses []netip.Addr `json:"addresses" cbor:"2,keyasint,omitempty" explain:"Public addresses, IPv4 and IPv6."`
	Ports     Ports        `json:"ports" cbor:"3,keyasint,omitempty" explain:"Ports by transport; a transport without a port is not published."`
	Priority  uint16       `json:"priority,omitempty" cbor:"4,keyasint,omitempty" explain:"SRV priority among an account's edges, lower first. Default 0."`
	Weight    uint16       `json:"weight,omitempty" cbor:"5,keyasint,omitempty" explain:"SRV weight among edges of one priority. Default 100."`
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
