package lb

import (
	"maps"
	"slices"
	"time"
)

// Leases gets slots for this instance when several share a group's permitted number.
type Leases interface {
	// Acquire is asked when all slots of a group that this instance holds are used: used calls are
	// up, one more would start, permitted are allowed in all. It raises what is held with
	// Balancer.Hold before it returns, or gives the reason: ReasonPermitted when calls use up all,
	// ReasonLease when some may be free elsewhere. It may block for a few milliseconds; there is
	// one question at a time about a group.
	Acquire(group string, used, permitted int) Reason
}

// Ask is what an instance tells the grantor about one group. Seq grows with each Ask of one instance
// about one group, over restarts too.
type Ask struct {
	Instance, Group string
	Seq             uint64
	Used            int // calls up
	Starting        int // calls that wait for the answer to start
	Want            int // slots that it would like to hold, those two among them; more than needed keeps others waiting
	Slack           int // calls that it may start beyond Used before its next Ask is answered
}

// Grant is the grantor's answer: how many slots the instance may hold. All says that every permitted
// slot is used by calls as far as the grantor knows, so that a refusal is ReasonPermitted.
type Grant struct {
	Group string
	Seq   uint64 // of the Ask
	Held  int
	All   bool
}

// Grantor shares each group's permitted number among instances. It is a state machine without clock
// or I/O; its owner serialises calls.
//
// That never more than the permitted number are up together rests on no clock: an instance has at
// most min(Held, Used+Slack) calls up, of its last answered Ask, and lowers its own limit before it
// says so (Holder). The grantor never counts less than that, so the sum of shares bounds the calls
// through any cut, and what an instance holds beyond may be taken back without asking it: Expire does
// after Term of silence. The rest, calls that may be up and which nobody can ask about, returns
// when the instance speaks again, when its calls are adopted (Adopt), when its end is known (Bury), or
// after MaxAge. With a Slack of zero that is exactly the calls it reported.
type Grantor struct {
	Term   time.Duration // silence after which an instance counts as cut off; 5 s is meant
	MaxAge time.Duration // the longest that a call can be up
	groups map[string]*grants
}

// grants is one group's share-out.
type grants struct {
	permitted int
	shares    map[string]*share
}

type share struct {
	held, used, slack int
	seq               uint64
	heard             time.Time
}

// sure is what the instance may have up without a further word.
func (x *share) sure() int { return min(x.held, x.used+x.slack) }

// NewGrantor returns a grantor that permits nothing yet.
func NewGrantor(term, maxAge time.Duration) *Grantor {
	return &Grantor{Term: term, MaxAge: maxAge, groups: make(map[string]*grants)}
}

// Permit sets how many calls of a group may be up together. Lowered below what is granted, nothing
// more is granted until enough came back.
func (g *Grantor) Permit(group string, n int) {
	s := g.groups[group]
	if s == nil {
		s = &grants{shares: make(map[string]*share)}
		g.groups[group] = s
	}
	s.permitted = min(max(n, 0), mostPermitted)
}

func (s *grants) granted() (held, used int) {
	for _, x := range s.shares {
		held, used = held+x.held, used+x.used
	}
	return held, used
}

// Ask answers an instance. An Ask older than one already answered is answered with what holds now.
func (g *Grantor) Ask(now time.Time, a Ask) Grant {
	s := g.groups[a.Group]
	if s == nil {
		return Grant{Group: a.Group, Seq: a.Seq, All: true}
	}
	x := s.shares[a.Instance]
	if x == nil {
		x = new(share)
		s.shares[a.Instance] = x
	}
	if a.Seq <= x.seq {
		return Grant{Group: a.Group, Seq: a.Seq, Held: x.held}
	}
	x.seq, x.heard = a.Seq, now
	x.used, x.slack = max(a.Used, 0), max(a.Slack, 0)
	held, used := s.granted()
	free := max(s.permitted-(held-x.held), 0)
	x.held = max(x.used, x.sure(), min(a.Want, free))
	x.used = min(x.used+max(a.Starting, 0), x.held)
	return Grant{Group: a.Group, Seq: a.Seq, Held: x.held, All: used >= s.permitted}
}

// Adopt takes over n calls of a dead instance for another: their slots change hands. It returns how
// many did.
func (g *Grantor) Adopt(group, from, to string, n int) int {
	s := g.groups[group]
	if s == nil || s.shares[from] == nil || from == to {
		return 0
	}
	x := s.shares[from]
	n = min(max(n, 0), x.held)
	y := s.shares[to]
	if y == nil {
		y = &share{heard: x.heard}
		s.shares[to] = y
	}
	x.held, y.held = x.held-n, y.held+n
	x.used = max(x.used-n, 0)
	y.used += n
	return n
}

// Bury gives back all that a dead instance held: its owner knows that none of its calls is up, or
// that they have been adopted.
func (g *Grantor) Bury(instance string) {
	for _, s := range g.groups {
		delete(s.shares, instance)
	}
}

// Expire takes back what instances that are silent for longer than Term hold unused, and forgets
// those from which nothing was heard for MaxAge. It returns the silent ones, sorted.
func (g *Grantor) Expire(now time.Time) []string {
	silent := make(map[string]bool)
	for _, s := range g.groups {
		maps.DeleteFunc(s.shares, func(_ string, x *share) bool { return now.Sub(x.heard) > g.MaxAge })
		for instance, x := range s.shares {
			if now.Sub(x.heard) > g.Term {
				silent[instance] = true
				x.held = x.sure()
			}
		}
	}
	return slices.Sorted(maps.Keys(silent))
}

// Holder is an instance's side of the leases of one group. Its owner serialises calls.
type Holder struct {
	instance, group string
	slack           int
	seq             uint64
	held            int
	floor, sent     int // the least Used that the grantor may believe; that of the last Ask
}

// NewHolder returns a holder of nothing. Seq must be above that of any earlier holder of the same
// group on this instance: the time in nanoseconds will do. Slack buys speed (calls that start without
// waiting for an answer) with slots that nobody can use while the instance is dead; DefaultSlack
// gives what is meant.
func NewHolder(instance, group string, seq uint64, slack int) *Holder {
	return &Holder{instance: instance, group: group, seq: seq, slack: max(slack, 0)}
}

// DefaultSlack is a sixteenth of what is permitted: none for groups so small that each slot counts.
func DefaultSlack(permitted int) int { return permitted / 16 }

// Limit is how many calls the instance may have up now.
func (h *Holder) Limit() int { return min(h.held, h.floor+h.slack) }

// Ask makes the next question: for want slots, with starting calls waiting for it. Through limit it lowers the limit first, and only then counts with
// used what is reported, so that no call starts between the two that the report does not cover.
func (h *Holder) Ask(starting, want int, used func() int, limit func(int)) Ask {
	h.floor = min(h.floor, used())
	limit(h.Limit())
	h.seq++
	now := used()
	h.floor, h.sent = min(h.floor, now), now+max(starting, 0)
	return Ask{Instance: h.instance, Group: h.group, Seq: h.seq, Used: now, Starting: h.sent - now, Want: want, Slack: h.slack}
}

// Take takes an answer; it reports false for one to an earlier Ask, which changes nothing.
func (h *Holder) Take(g Grant) bool {
	if g.Seq != h.seq {
		return false
	}
	h.held, h.floor = g.Held, min(h.sent, g.Held)
	return true
}
