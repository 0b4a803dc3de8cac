package lb

import (
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
)

// ledger counts the slots of each group. A group's count and its limit share one word, so that a
// call is admitted against the limit of that very instant and the count never passes it.
type ledger struct {
	seed   maphash.Seed
	shards [1024]ledgerShard
	groups atomic.Int64
}

// ledgerShard is read without a lock; a change copies the shard, about a thousandth of the groups.
type ledgerShard struct {
	mu sync.Mutex // of writers
	m  atomic.Pointer[map[string]*account]
}

// account is one group's line in the ledger and its rules. It stays when the group is dropped while
// calls are up: they hold it by pointer.
type account struct {
	word  atomic.Uint64 // used in the high, held in the low 32 bits
	rules atomic.Pointer[Group]

	waiting atomic.Int32  // callers that wait for a question to the leases
	asked   atomic.Uint32 // questions so far
	kept    atomic.Int32  // slots taken for those callers
	asking  sync.Mutex    // one question at a time; guards full
	full    bool          // the last question did not help, for every permitted slot is used
}

func newLedger() *ledger {
	l := &ledger{seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].m.Store(&map[string]*account{})
	}
	return l
}

func (l *ledger) shard(group string) *ledgerShard {
	return &l.shards[maphash.String(l.seed, group)%uint64(len(l.shards))]
}

// find returns a group's account, nil when there is none.
func (l *ledger) find(group string) *account { return (*l.shard(group).m.Load())[group] }

// open returns a group's account, made if need be. What keeps it from the sweep is done by keep,
// before any sweep can see it.
func (l *ledger) open(group string, keep func(*account)) *account {
	s := l.shard(group)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.m.Load()
	if a := old[group]; a != nil {
		keep(a)
		return a
	}
	a := new(account)
	keep(a)
	next := maps.Clone(old)
	next[group] = a
	s.m.Store(&next)
	l.groups.Add(1)
	return a
}

// drop forgets a group's rules. Its account goes once no call is up: see sweep.
func (l *ledger) drop(group string) {
	s := l.shard(group)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := (*s.m.Load())[group]; a != nil {
		a.rules.Store(nil)
		a.hold(0)
		s.sweep(l)
	}
}

// busy returns the groups with a limit, or without rules, that have calls up.
func (l *ledger) busy() []string {
	var groups []string
	for i := range l.shards {
		for group, a := range *l.shards[i].m.Load() {
			if rules := a.rules.Load(); a.used() > 0 && (rules == nil || rules.Permitted != Unlimited) {
				groups = append(groups, group)
			}
		}
	}
	return groups
}

// sweep forgets accounts without rules and calls, one shard a turn.
func (l *ledger) sweep(turn int) {
	s := &l.shards[turn%len(l.shards)]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(l)
}

// sweep is called with mu held. An account without rules holds nothing, so that no call can take a
// slot of it after its count was seen to be zero.
func (s *ledgerShard) sweep(l *ledger) {
	old := *s.m.Load()
	idle := func(_ string, a *account) bool { return a.rules.Load() == nil && a.used() == 0 }
	for group, a := range old {
		if idle(group, a) {
			next := maps.Clone(old)
			maps.DeleteFunc(next, idle)
			l.groups.Add(int64(len(next) - len(old)))
			s.m.Store(&next)
			return
		}
	}
}

func (a *account) used() int { return int(a.word.Load() >> 32) }

// take takes one slot if one is free.
func (a *account) take() bool {
	for {
		w := a.word.Load()
		if w>>32 >= w&0xffffffff {
			return false
		}
		if a.word.CompareAndSwap(w, w+1<<32) {
			return true
		}
	}
}

// keep takes up to n slots for callers that wait.
func (a *account) keep(n int) {
	for ; n > 0 && a.take(); n-- {
		a.kept.Add(1)
	}
}

// claim gives a caller that waited one of the slots that were kept.
func (a *account) claim() bool {
	for {
		n := a.kept.Load()
		if n == 0 {
			return false
		}
		if a.kept.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// force takes one slot whatever the limit: the call is up already.
func (a *account) force() { a.word.Add(1 << 32) }

// give gives one slot back. Giving back what was not taken changes nothing and reports false.
func (a *account) give() bool {
	for {
		w := a.word.Load()
		if w>>32 == 0 {
			return false
		}
		if a.word.CompareAndSwap(w, w-1<<32) {
			return true
		}
	}
}

// hold sets how many slots may be taken. Below what is taken, nothing new is until enough came back.
func (a *account) hold(n int) {
	limit := uint64(min(max(n, 0), mostPermitted))
	for {
		w := a.word.Load()
		if a.word.CompareAndSwap(w, w&^0xffffffff|limit) {
			return
		}
	}
}

// lower lowers what may be taken to n, unless it is lower already.
func (a *account) lower(n int) {
	limit := uint64(min(max(n, 0), mostPermitted))
	for {
		w := a.word.Load()
		if w&0xffffffff <= limit || a.word.CompareAndSwap(w, w&^0xffffffff|limit) {
			return
		}
	}
}

// Unlimited is the permitted number of a group that has no limit.
const Unlimited = 1 << 30

// mostPermitted bounds a group's permitted number: a count always fits its half of the word.
const mostPermitted = Unlimited
