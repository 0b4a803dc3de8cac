package rehearsal

import (
	"container/heap"
	"time"

	"tandem/internal/tandem"
)

// talk is a call that was admitted.
type talk struct {
	call   *Call
	slot   tandem.Slot
	among  []tandem.Choice // where it may go, best first
	tried  int             // of among, before the node it is on
	at     *machine
	index  int // in at's list
	began  time.Duration
	sent   time.Duration // to at
	phase  phase
	failed bool   // at's first answer will be an error
	turn   uint32 // moments of another turn are void
}

// phase is what a call waits for.
type phase uint8

const (
	inSetUp phase = iota // the first answer
	silent               // nothing: the node will not answer
	ringing              // somebody to take it, or to give up
	up                   // its end
)

// moment is when something happens to a call.
type moment struct {
	at    time.Duration
	order uint64 // among those of one time
	talk  *talk
	turn  uint32
}

// agenda is the moments to come, a heap with the earliest first.
type agenda []moment

// Len, Less, Swap, Push and Pop are heap.Interface.
func (a agenda) Len() int      { return len(a) }
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].order < a[j].order
}
func (a *agenda) Push(x any) { *a = append(*a, x.(moment)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	(*a)[len(*a)-1].talk = nil
	*a = (*a)[:len(*a)-1]
	return last
}

// wait lets a call come into a phase that ends after so long.
func (p *play) wait(t *talk, is phase, until time.Duration) {
	t.phase = is
	t.turn++
	p.order++
	heap.Push(&p.agenda, moment{at: max(until, p.now), order: p.order, talk: t, turn: t.turn})
}

// arrive lets somebody call.
func (p *play) arrive(c *Call) {
	p.tally.Calls++
	home := p.placeOf(c.Group)
	var among []tandem.Choice
	if home != nil {
		among = make([]tandem.Choice, len(home.machines))
		for i, m := range home.machines {
			among[i] = tandem.Choice{Node: m.node.ID, Tier: int(m.node.Priority), Index: i}
		}
	}
	admitted, refused := p.balancer.Admit(tandem.Admission{Group: c.Group, Other: c.Other, Type: tandem.TypeInvite, Among: among})
	if refused.Code != 0 {
		p.tally.refuse(refused, home)
		return
	}
	p.tally.admit(home)
	p.send(&talk{call: c, slot: admitted.Slot, among: among[:admitted.Usable], began: p.now})
}

// send gives a call to the node that it is to try next.
func (p *play) send(t *talk) {
	m := p.machines[t.among[t.tried].Node]
	m.take(t)
	t.sent = p.now
	if m.dead {
		p.wait(t, silent, p.now+callPatient)
		return
	}
	after, failed := m.offer(p.now, p.cfg.Machines.SetUp, p.dice)
	if t.failed = failed; after >= callPatient {
		p.wait(t, silent, p.now+callPatient)
		return
	}
	p.wait(t, inSetUp, p.now+after)
}

// happen lets a call's moment come.
func (p *play) happen(t *talk) {
	switch t.phase {
	case silent:
		p.balancer.SetUp(t.at.node.ID, t.call.Group, callPatient, false, true)
		p.watchClosely()
		p.another(t)
	case inSetUp:
		p.balancer.SetUp(t.at.node.ID, t.call.Group, p.now-t.sent, t.failed, false)
		if t.failed {
			p.watchClosely()
			p.another(t)
			return
		}
		p.tally.setUp(p.now - t.began)
		p.wait(t, ringing, p.now+t.call.Ring)
	case ringing:
		if !t.call.Answered {
			p.tally.Unanswered++
			p.end(t)
			return
		}
		p.balancer.Answered(t.slot)
		p.tally.Answered++
		p.wait(t, up, p.now+t.call.Talk)
	case up:
		p.end(t)
	}
}

// another lets a call try its next node after one that failed.
func (p *play) another(t *talk) {
	t.at.drop(t)
	for t.tried++; t.tried < len(t.among); t.tried++ {
		if p.balancer.Move(t.slot, t.among[t.tried].Node) {
			p.send(t)
			return
		}
	}
	p.tally.Failed++
	p.balancer.Release(t.slot)
	t.turn++
}

// end lets a call give back what it holds.
func (p *play) end(t *talk) {
	t.at.drop(t)
	p.balancer.Release(t.slot)
	t.turn++
}

// cut is what the loss of a node does to a call there: one that had an answer is over, the others wait
// in vain.
func (p *play) cut(t *talk) {
	switch t.phase {
	case inSetUp:
		p.wait(t, silent, t.sent+callPatient)
	case ringing, up:
		p.tally.cut(t.at.home)
		p.end(t)
	}
}

// placeOf is where tier 1 has put a group; nil: nowhere.
func (p *play) placeOf(group string) *place { return p.places[p.assigned[group]] }
