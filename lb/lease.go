package lb

import (
	"maps"
	"slices"
	"time"
)

// Leases gets slots for this instance when several share a group's permitted number.
type Leases interface {
	// Acquire is asked when all slots of a group that this instance holds are used: starting calls
	// wait for one, permitted are allowed in all. It raises what is held with Balancer.Hold before
	// it returns, or gives the reason: ReasonPermitted when calls use up all, ReasonLease when some
	// may be free elsewhere. It may block for a few milliseconds; there is one question at a time
	// about a group.
	Acquire(group string, starting, permitted int) Reason
}

// Ask is what an instance tells the grantor about one group. Seq grows with each Ask of one instance,
// over restarts too.
type Ask struct {
	Group    string `json:"group"`
	Seq      uint64 `json:"seq"`
	Used     int    `json:"used"`               // calls up
	Starting int    `json:"starting,omitempty"` // calls that wait for the answer to start
	Want     int    `json:"want"`               // slots that it would like to hold, those two among them; more than needed keeps others waiting
	Slack    int    `json:"slack,omitempty"`    // calls that it may start beyond Used before its next Ask is answered
}

// Grant is the grantor's answer: how many slots the instance may hold, calls that are up among them; when
// it is fewer than those, none may start until enough have ended. All says that every permitted
// slot is used by calls as far as the grantor knows, so that a refusal is ReasonPermitted. Short asks
// not to hold more than is needed: what is left is little.
type Grant struct {
	Group string `json:"group"`
	Seq   uint64 `json:"seq"` // of the Ask
	Held  int    `json:"held"`
	All   bool   `json:"all,omitempty"`
	Short bool   `json:"short,omitempty"`
}

// Grantor shares each group's permitted number among instances. It is a state machine without clock
// or I/O; its owner serialises calls.
//
// That never more than the permitted number are up together rests on no clock: an instance has at
// most min(Held, Used+Slack) calls up, of its last answered Ask, and lowers its own limit before it
// says so (Holder). The grantor never counts less than that, so the sum of shares bounds the calls
// through any cut, and what an instance holds beyond may be taken back without asking it: Expire does
// after Term of silence. The rest, calls that may be up and which nobody can ask about, returns
// when the instance speaks again (Ask, Forget), when its calls are adopted (Adopt), when its end is
// known (Bury), or after MaxAge. With a Slack of zero that is exactly the calls it reported.
type Grantor struct {
	Term      time.Duration // silence after which an instance counts as cut off; 5 s is meant
	MaxAge    time.Duration // the longest that a call can be up
	groups    map[string]*grants
	instances map[string]*speaker
}

// grants is one group's share-out.
type grants struct {
	known     bool // Permit has been told a number
	permitted int
	shares    map[string]*share
}

// speaker is what is known of an instance as a whole.
type speaker struct {
	heard time.Time
	seq   uint64 // the highest
}

type share struct {
	held, used, slack int
	seq               uint64
	given             int // the answer to it
}

// sure is what the instance may have up without a further word.
func (x *share) sure() int { return min(x.held, x.used+x.slack) }

// NewGrantor returns a grantor that permits nothing yet.
func NewGrantor(term, maxAge time.Duration) *Grantor {
	return &Grantor{Term: term, MaxAge: maxAge, groups: make(map[string]*grants), instances: make(map[string]*speaker)}
}

// Permit sets how many calls of a group may be up together. Lowered below what is granted, nothing
// more is granted until enough came back.
func (g *Grantor) Permit(group string, n int) {
	s := g.open(group)
	s.known, s.permitted = true, min(max(n, 0), mostPermitted)
}

// Drop forgets a group's number: nothing more of it is granted, and what is granted still counts if
// it comes back.
func (g *Grantor) Drop(group string) {
	if s := g.groups[group]; s != nil {
		s.known, s.permitted = false, 0
		g.tidy(group, s)
	}
}

func (g *Grantor) open(group string) *grants {
	s := g.groups[group]
	if s == nil {
		s = &grants{shares: make(map[string]*share)}
		g.groups[group] = s
	}
	return s
}

func (g *Grantor) tidy(group string, s *grants) {
	if !s.known && len(s.shares) == 0 {
		delete(g.groups, group)
	}
}

func (s *grants) granted() (held, used int) {
	for _, x := range s.shares {
		held, used = held+x.held, used+x.used
	}
	return held, used
}

// Heard notes that an instance is there, whatever it says.
func (g *Grantor) Heard(now time.Time, instance string) {
	if who := g.instances[instance]; who != nil {
		who.heard = now
		return
	}
	g.instances[instance] = &speaker{heard: now}
}

// Ask answers an instance. The last Ask again is answered with what holds now; an older one, which
// nobody waits for any more, with nothing.
func (g *Grantor) Ask(now time.Time, instance string, a Ask) Grant {
	g.Heard(now, instance)
	who := g.instances[instance]
	s, known := g.groups[a.Group]
	if a.Seq <= who.seq {
		grant := Grant{Group: a.Group, Seq: a.Seq}
		if known && s.shares[instance] != nil && s.shares[instance].seq == a.Seq {
			grant.Held = min(s.shares[instance].given, s.shares[instance].held)
		}
		return grant
	}
	who.seq = a.Seq
	if !known && a.Used <= 0 {
		return Grant{Group: a.Group, Seq: a.Seq}
	}
	s = g.open(a.Group) // calls of a group that is unknown, perhaps only yet, count
	x := s.shares[instance]
	if x == nil {
		x = new(share)
		s.shares[instance] = x
	}
	x.seq = a.Seq
	grant := s.grant(x, a)
	x.given = grant.Held
	if x.held == 0 {
		delete(s.shares, instance)
		g.tidy(a.Group, s)
	}
	return grant
}

// grant gives a share what was asked for, as far as it is free. What goes beyond the need is given
// only while more than a quarter stays free. The share counts more than is given when the instance
// may have that up: restored and emergency calls, or what it was granted before and may not know to
// be gone.
func (s *grants) grant(x *share, a Ask) Grant {
	starting := clamp(a.Starting)
	x.used, x.slack = clamp(a.Used), clamp(a.Slack)
	held, used := s.granted()
	free := max(s.permitted-(held-x.held), 0)
	want, short := clamp(a.Want), free-x.used-starting < s.permitted/4
	if short {
		want = min(want, x.used+starting)
	}
	given := min(want, free)
	x.held = max(x.used, x.sure(), given)
	used -= x.used
	x.used = max(x.used, min(x.used+starting, given))
	used += x.used
	return Grant{Group: a.Group, Seq: a.Seq, Held: given, All: s.known && used >= s.permitted, Short: short}
}

func clamp(n int) int { return min(max(n, 0), mostPermitted) }

// Forget takes back what an instance holds of groups that it has not asked about since Seq was at
// seq: it said all that it has, and those were not among it.
func (g *Grantor) Forget(now time.Time, instance string, seq uint64) {
	g.Heard(now, instance)
	who := g.instances[instance]
	who.seq = max(who.seq, seq)
	for group, s := range g.groups {
		if x := s.shares[instance]; x != nil && x.seq < seq {
			delete(s.shares, instance)
			g.tidy(group, s)
		}
	}
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
		y = new(share)
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
	for group, s := range g.groups {
		delete(s.shares, instance)
		g.tidy(group, s)
	}
}

// Expire takes back what instances that are silent for longer than Term hold unused, and forgets
// those from which nothing was heard for MaxAge. It returns the silent ones, sorted.
func (g *Grantor) Expire(now time.Time) []string {
	silent := make(map[string]bool)
	for instance, who := range g.instances {
		switch age := now.Sub(who.heard); {
		case age > g.MaxAge:
			g.Bury(instance)
			delete(g.instances, instance)
		case age > g.Term:
			silent[instance] = true
		}
	}
	for _, s := range g.groups {
		for instance, x := range s.shares {
			if silent[instance] {
				x.held = x.sure()
			}
		}
	}
	return slices.Sorted(maps.Keys(silent))
}

// Share is what an instance holds of a group.
type Share struct {
	Instance, Group string
	Held            int
}

// Restore takes up shares after a restart of the grantor: each counts as calls, until its instance
// speaks. What was asked before must not arrive any more.
func (g *Grantor) Restore(now time.Time, shares []Share) {
	for _, x := range shares {
		g.Heard(now, x.Instance)
		held := clamp(x.Held)
		g.open(x.Group).shares[x.Instance] = &share{held: held, used: held}
	}
}

// Held returns what an instance may hold of a group, as it counts.
func (g *Grantor) Held(instance, group string) int {
	if s := g.groups[group]; s != nil && s.shares[instance] != nil {
		return s.shares[instance].held
	}
	return 0
}

// Loan is a share as people want to see it.
type Loan struct {
	Share
	Used   int  // calls, as the instance said last
	Silent bool // it was not heard for Term
}

// Loans returns what each instance holds, in no order.
func (g *Grantor) Loans(now time.Time) []Loan {
	var loans []Loan
	for group, s := range g.groups {
		for instance, x := range s.shares {
			who := g.instances[instance]
			loans = append(loans, Loan{Share{instance, group, x.held}, x.used, who == nil || now.Sub(who.heard) > g.Term})
		}
	}
	return loans
}

// Holder is an instance's side of the leases of one group. Its owner serialises calls.
type Holder struct {
	group       string
	seq         uint64
	held        int
	floor, sent int // the least Used that the grantor may believe; that of the last Ask
	ease, asked int // the least Slack that the grantor may believe; that of the last Ask
}

// NewHolder returns a holder of nothing.
func NewHolder(group string) *Holder { return &Holder{group: group} }

// DefaultSlack is a sixteenth of what is permitted: none for groups so small that each slot counts.
// Slack buys speed (calls that start without waiting for an answer) with slots that nobody can use
// while the instance is dead.
func DefaultSlack(permitted int) int { return permitted / 16 }

// Limit is how many calls the instance may have up now.
func (h *Holder) Limit() int { return min(h.held, h.floor+h.ease) }

// Question is what an instance would like of a group: slots for the starting calls that wait, and
// slack beyond. Seq must be above that of any earlier one, over restarts too: the time in
// nanoseconds will do for the first.
type Question struct {
	Seq             uint64
	Starting, Slack int
}

// Ask puts a question. Through limit it lowers the limit first, and only then counts with used what
// is reported, so that no call starts between the two that the report does not cover.
func (h *Holder) Ask(q Question, used func() int, limit func(int)) Ask {
	h.seq, h.asked = q.Seq, clamp(q.Slack)
	h.floor, h.ease = min(h.floor, used()), min(h.ease, h.asked)
	limit(h.Limit())
	now := used()
	h.floor, h.sent = min(h.floor, now), now+clamp(q.Starting)
	return Ask{Group: h.group, Seq: h.seq, Used: now, Starting: h.sent - now, Want: h.sent + h.asked, Slack: h.asked}
}

// Take takes an answer; it reports false for one to an earlier Ask, which changes nothing.
func (h *Holder) Take(g Grant) bool {
	if g.Seq != h.seq {
		return false
	}
	h.held, h.floor, h.ease = g.Held, min(h.sent, g.Held), h.asked
	return true
}
