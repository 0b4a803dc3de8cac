package tandem

import "time"

// Assignment is the outcome of tier 1 for one group, whose id is its own: the cluster that serves the
// group's communications, or why there is none. Tier 1 makes it and everybody follows it.
type Assignment struct {
	Head
	Cluster string    `json:"cluster,omitempty" cbor:"2,keyasint,omitempty" explain:"The cluster that serves the group; empty: none can."`
	From    string    `json:"from,omitempty" cbor:"3,keyasint,omitempty" explain:"The cluster that it had before."`
	Reason  string    `json:"reason" cbor:"4,keyasint,omitempty" explain:"Why it has this cluster, or none: new, cluster-lost, low-quality, over-full, pin, yield, spread, no-open-cluster, no-quality, too-large, no-room."`
	Text    string    `json:"text,omitempty" cbor:"5,keyasint,omitempty" explain:"The reason with its numbers, when there is no cluster."`
	Refuse  string    `json:"refuse,omitempty" cbor:"6,keyasint,omitempty" explain:"Without a cluster, the condition that the group's calls are refused with: quality, no-node or no-cluster."`
	Since   time.Time `json:"since" cbor:"7,keyasint,omitempty" explain:"When it was decided."`
}

// Lease bounds what another instance of Tandem may hold of a group's permitted number; its id is
// the instance's name, a slash and the group. The instance that grants makes it, so that it does not
// grant the same slots again after a restart.
type Lease struct {
	Head
	Instance string `json:"instance" cbor:"2,keyasint,omitempty" explain:"The instance, by the first DNS name of its certificate."`
	Group    string `json:"group" cbor:"3,keyasint,omitempty" explain:"The group."`
	Held     int    `json:"held" cbor:"4,keyasint,omitempty" explain:"How many of the group's slots it may at most hold."`
}

// Slot is a call's hold on its groups and its node; zero is none. It stays meaningful after it was
// released: releasing it again changes nothing.
type Slot uint64

// Choice is one place that a call may go to.
type Choice struct {
	Node  string  // id; "" for a place that is no node of ours, which is never judged
	Tier  int     // lower ones first
	Index int     // the asker's own
	Cost  float64 // filled in by the balancer
}

// Admission asks for a call to be admitted.
type Admission struct {
	Group string      // of the called account when that is ours, else of the caller's: the primary one
	Other string      // of the other side when that is ours too; empty or the same: one slot
	Type  RequestType // that the node must serve
	// Among are the places that the forwarding names of the call lead to; nil: the nodes of the
	// group's cluster. Admission puts those that will do in front, best first.
	Among []Choice
	// Counted asks only for the slots: the caller needs no node.
	Counted bool
	// Emergency asks for slots that no limit withholds and unknown groups do not hinder, and for
	// places whatever their state, the better ones first.
	Emergency bool
	// Joined is the slot of the call that this one continues behind a feature server: groups that it
	// holds already are not counted again, the others are counted there.
	Joined Slot
}

// Admitted is an admitted call: its slot, to be released once, and where it goes. A call that joined
// another has a slot only if it has a node.
type Admitted struct {
	Slot   Slot
	Node   string // the one that it is counted on; empty when only counted
	Usable int    // how many of Among will do; they stand in front
}

// Refusal says why a call was not admitted; Code zero: it was.
type Refusal struct {
	Code       int           // 486 or 503
	Reason     string        // the unmet condition: permitted; quality, no-node, no-cluster, lease or capacity
	Group      string        // that failed it
	RetryAfter time.Duration // zero for 486
}
