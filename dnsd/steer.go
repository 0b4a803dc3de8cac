package dnsd

import "tandem/internal/tandem"

// Which forwarding names exist, and which nodes they lead to. <key>.<account id>.<service zone> is
// a name when the account exists, its zone's service zone is this one, and key is
//
//   - a key of the account's targets: the listed nodes, or the named cluster; or
//   - a request type with a meaning of its own, or a type or key that the account's routes or rules
//     name: the group's cluster; or
//   - a request type that a node of the group's cluster lists: that cluster.
//
// Every other key is NXDOMAIN. The first two kinds are names by the account alone, wherever tier 1
// puts its group and whatever the nodes can do: a name is NODATA when the group has no cluster, when
// no node there serves its type, or when all that do are draining or out. So nobody learns that a
// name is not there who asks while a cluster is lost. The third kind comes and goes with the cluster,
// for the account says nothing of it.
//
// A cluster's nodes are filtered by key, taken as a request type. One case has no filter: a target
// with a cluster whose key is no request type at all (not well known, not named by the account's
// routes or rules as a type, listed by no node), such as "berlin", which routes name as a place.

// way is where a forwarding name leads.
type way struct {
	target  *target  // the account's own, nil for its group's cluster
	cluster *cluster // nil for listed nodes, and when there is no cluster
	strict  bool     // the key is a request type: nodes that do not serve it are left out
}

// steer returns where key leads for the account with profile p in a group, nil for nowhere.
func (m *model) steer(p *profile, group uint32, key string) *way {
	if t := p.targets[key]; t != nil {
		if t.nodes != nil {
			return &way{target: t}
		}
		return &way{target: t, cluster: m.clusters.get(t.cluster), strict: wellKnown(key) || p.types[key]}
	}
	c := m.clusterOf(group)
	_, named := p.types[key]
	if !named && !wellKnown(key) && (c == nil || !c.types[key]) {
		return nil
	}
	return &way{cluster: c, strict: true}
}

// wellKnown reports whether key is a request type with a meaning of its own.
func wellKnown(key string) bool {
	switch tandem.RequestType(key) {
	case tandem.TypeRegister, tandem.TypeInvite, tandem.TypeMessage, tandem.TypeSubscribe, tandem.TypePublish,
		tandem.TypeOptions, tandem.TypeHTTP, tandem.TypeEmergency, tandem.TypeTrunk:
		return true
	}
	return false
}
