package location

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"tandem/internal/tandem"
)

const (
	shardCount = 256
	// sweepShards bounds how many shards one Sweep looks through.
	sweepShards = 64
)

// Table holds the bindings. All methods may be called at once.
type Table struct {
	cfg    Config
	seed   maphash.Seed
	count  atomic.Int64
	shards [shardCount]shard
	// turns are held while an address of record is decided, written and swapped.
	turns [1024]sync.Mutex

	sweeping sync.Mutex
	next     int // the shard that Sweep looks at next
}

// shard holds the addresses of record of some accounts.
type shard struct {
	mu      sync.RWMutex
	entries map[uint64]*entry
	// due is no later than the first end of a binding here, in milliseconds since 1970.
	due int64
}

// entry is one address of record. Its records are replaced whole, never changed.
type entry struct {
	account, aor string
	records      []record
	next         *entry // another address of record of the same hash
}

// New returns an empty table.
func New(cfg Config) *Table {
	t := &Table{cfg: cfg.withDefaults(), seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].entries = make(map[uint64]*entry)
		t.shards[i].due = math.MaxInt64
	}
	return t
}

func (t *Table) shard(account string) *shard {
	return &t.shards[maphash.String(t.seed, account)%shardCount]
}

func (t *Table) hash(account, aor string) uint64 {
	return maphash.String(t.seed, account)*31 ^ maphash.String(t.seed, aor)
}

func (s *shard) find(h uint64, account, aor string) *entry {
	for e := s.entries[h]; e != nil; e = e.next {
		if e.aor == aor && e.account == account {
			return e
		}
	}
	return nil
}

// records returns the records of an address of record, ended ones too.
func (t *Table) records(account, aor string) []record {
	s := t.shard(account)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.find(t.hash(account, aor), account, aor); e != nil {
		return e.records
	}
	return nil
}

// set replaces the records of an address of record; with none it is forgotten.
func (t *Table) set(account, aor string, records []record) {
	s, h := t.shard(account), t.hash(account, aor)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(h, account, aor)
	switch {
	case e == nil && len(records) == 0:
		return
	case e == nil:
		e = &entry{account: unique.Make(account).Value(), aor: strings.Clone(aor), next: s.entries[h]}
		s.entries[h] = e
	case len(records) == 0:
		s.remove(h, e)
	}
	e.records = records
	for i := range records {
		s.due = min(s.due, records[i].expires)
	}
}

func (s *shard) remove(h uint64, gone *entry) {
	if first := s.entries[h]; first == gone {
		if gone.next == nil {
			delete(s.entries, h)
			return
		}
		s.entries[h] = gone.next
		return
	}
	for e := s.entries[h]; e != nil; e = e.next {
		if e.next == gone {
			e.next = gone.next
		}
	}
}

// Update decides a REGISTER, has persist write what changes, then makes it visible and returns the
// bindings as they now are, for the 200. Requests for one address of record take their turn, those
// for others do not wait. When persist fails nothing is changed and its error is returned.
func (t *Table) Update(now time.Time, r *Request, persist func(puts, deletes []tandem.Binding) error) ([]tandem.Binding, error) {
	turn := t.turn(r.Account, r.AOR)
	turn.Lock()
	defer turn.Unlock()
	d, before, err := t.decide(now, r)
	if err != nil || len(d.puts)+len(d.deletes) == 0 {
		return d.bindings, err
	}
	grown := int64(len(d.bindings) - before)
	if total := t.count.Add(grown); grown > 0 && total > int64(t.cfg.Total) {
		t.count.Add(-grown)
		return nil, ErrFull
	}
	if err := persist(d.puts, d.deletes); err != nil {
		t.count.Add(-grown)
		return nil, err
	}
	t.set(r.Account, r.AOR, packAll(d.bindings))
	return d.bindings, nil
}

func (t *Table) turn(account, aor string) *sync.Mutex {
	return &t.turns[t.hash(account, aor)%uint64(len(t.turns))]
}

// decide returns the decision on r, and how many bindings there are before it.
func (t *Table) decide(now time.Time, r *Request) (decision, int, error) {
	records := t.records(r.Account, r.AOR)
	d, err := decide(&t.cfg, now, unpackAll(records, r.Account, r.AOR), r)
	return d, len(records), err
}

func packAll(bindings []tandem.Binding) []record {
	if len(bindings) == 0 {
		return nil
	}
	records := make([]record, len(bindings))
	for i := range bindings {
		records[i] = pack(&bindings[i])
	}
	return records
}

func unpackAll(records []record, account, aor string) []tandem.Binding {
	bindings := make([]tandem.Binding, len(records))
	for i := range records {
		bindings[i] = records[i].unpack(account, aor)
	}
	return bindings
}

// Check decides a REGISTER as Update would, changing nothing; for one that is forwarded first.
func (t *Table) Check(now time.Time, r *Request) error {
	d, before, err := t.decide(now, r)
	if grown := int64(len(d.bindings) - before); err == nil && grown > 0 && t.count.Load()+grown > int64(t.cfg.Total) {
		return ErrFull
	}
	return err
}

// MinExpires returns the shortest life accepted, in seconds, for 423 answers.
func (t *Table) MinExpires() int { return int(t.cfg.Min / time.Second) }

// Load adds a binding that was stored, at start, before the table is used. One that has ended
// meanwhile is taken too, so that Sweep removes it from the store.
func (t *Table) Load(_ time.Time, b tandem.Binding) {
	records := t.records(b.Account, b.AOR)
	t.set(b.Account, b.AOR, append(slices.Clip(records), pack(&b)))
	t.count.Add(1)
}

// Lookup returns the live bindings of addresses of record, the highest q first, the newest first
// among equals.
func (t *Table) Lookup(now time.Time, account string, aors ...string) []tandem.Binding {
	var found []tandem.Binding
	at := now.UnixMilli()
	for _, aor := range aors {
		records := t.records(account, aor)
		for i := range records {
			if records[i].expires > at {
				found = append(found, records[i].unpack(account, aor))
			}
		}
	}
	slices.SortStableFunc(found, func(a, b tandem.Binding) int {
		return cmp.Or(cmp.Compare(b.Q, a.Q), b.Updated.Compare(a.Updated))
	})
	return found
}

// List returns the live bindings of an account, of all accounts for "", by account and address of
// record.
func (t *Table) List(now time.Time, account string) []tandem.Binding {
	var list []tandem.Binding
	at := now.UnixMilli()
	t.each(account, func(e *entry) {
		for i := range e.records {
			if e.records[i].expires > at {
				list = append(list, e.records[i].unpack(e.account, e.aor))
			}
		}
	})
	slices.SortStableFunc(list, func(a, b tandem.Binding) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.AOR, b.AOR))
	})
	return list
}

// each gives see the entries of an account, of all accounts for "", under the lock of their shard.
func (t *Table) each(account string, see func(*entry)) {
	for i := range t.shards {
		s := &t.shards[i]
		if account != "" && s != t.shard(account) {
			continue
		}
		s.mu.RLock()
		for _, e := range s.entries {
			for ; e != nil; e = e.next {
				if account == "" || e.account == account {
					see(e)
				}
			}
		}
		s.mu.RUnlock()
	}
}

// Len returns the number of bindings, ended ones not yet removed included.
func (t *Table) Len() int { return int(t.count.Load()) }
