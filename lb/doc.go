// Package lb is two-tier load balancing: tier 1 gives each group of accounts its cluster, tier 2
// admits every single call and places it on a node of that cluster.
//
// Tier 1 is Assign, a pure function: a group goes to a cluster that has room for the communications
// it is *expected* to have at once and whose measured ability reaches the group's minimum quality;
// both are needed, and as little is moved as can be. Tier 2 is Balancer.Admit: the number of calls
// *permitted* to each group a call touches is counted exactly, and the node chosen must provide the
// group's minimum quality now. The expected and the permitted number are two settings, never merged.
//
// It promises that no group ever holds more slots than it is permitted, whatever runs at once; that
// each slot is given back exactly once, whatever the end and however often it is reported; that what
// has not been measured is unknown and never taken for good; and that every refusal names the
// condition that was not met. Several instances share a group's number by leases: a Lessor grants
// them, a Lessee asks it (Grantor and Holder are the two ends' state machines), and together they
// never exceed it, whatever is cut, lost, late or killed.
//
// It leaves SIP, sockets, probing and storage to others: they say what they saw (Balancer.Probed,
// SetUp, Reported, Heard), and ask. RFC 3326 (Reason), RFC 6035 (voice quality), ITU-T G.107 (the
// scale of Score).
package lb
