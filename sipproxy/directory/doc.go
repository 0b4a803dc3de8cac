// Package directory is the proxy's read model of who is who: accounts by id, inbound name and
// number, devices by user name, users by extension and number, peers by source address, nodes,
// groups and zones.
//
// One goroutine calls Apply; any number may look up at once, without a lock and without waiting:
// every table is a set of slots holding atomic pointers to immutable records. A change costs what
// it changes. After Apply has returned, every look-up sees it.
//
// Records are compact. What accounts have in common (zone, routes, rules, digest list) is one
// shared Profile; numbers are integers; digest hashes are octets, not hex.
package directory
