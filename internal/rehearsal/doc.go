// Package rehearsal plays a day of calls through the balancing of lb in virtual time, so that an
// operator can see what would happen if a cluster died at noon, or a setting were another, before it
// does or is.
//
// Tier 1 and tier 2 are the real ones: groups get their clusters from lb's tier 1, and each call is
// admitted, placed, moved, answered and released by a lb.Balancer whose clock is the rehearsal's. Only
// what stands around them is imagined: the calls (Traffic makes a day of them, ReadCalls takes a
// recorded one), the nodes, and the proxy that probes the nodes and reports how they answer.
//
// A node sets calls up one after the other, each in an exponentially distributed time, and holds as
// many calls as its share of its cluster's capacity. From nine tenths of that its answers become
// slower, twice as slow when it is full; beyond it answers 503 to a growing share of calls, to all of
// them when it is a fifth over. It is probed twice a second and reports its load in its answers.
// A call that a node leaves without an answer for four seconds, or refuses, goes to the next one. A
// node that is lost takes its calls with it. Each call counts once, on one node.
//
// The same input and seed give the same outcome. Rehearsals know nothing of SIP, of sockets or of
// the store.
package rehearsal
