package dnsd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"tandem/dnsd/sign"
	"tandem/internal/tandem"
)

// Intervals of the keeper.
const (
	keeperQuiet   = 50 * time.Millisecond // after a change, so that a burst is looked at once
	keeperBackOff = 5 * time.Second       // after something could not be stored
	askEvery      = 10 * time.Minute      // the parent's servers, while its DS set decides
	spreadTime    = time.Hour             // sign.Zone.Spread
	defaultDSTTL  = 24 * time.Hour
	mostAsking    = 8 // zones whose parents are asked at once
)

// keeper makes the keys of zones and moves them on. What is to be done is sign.Next's to say; the
// keeper carries it to the store and the questions to the parents' servers. It does nothing before the
// whole snapshot was applied.
type keeper struct {
	wake   chan struct{} // holds one
	asking sync.WaitGroup
	slots  chan struct{}

	mu    sync.Mutex // guards what follows
	whole bool
	dirty map[uint32]bool // zones to be looked at
	due   map[uint32]time.Time
	asked map[uint32]time.Time // when the parent was last asked
}

func newKeeper() *keeper {
	return &keeper{
		wake: make(chan struct{}, 1), slots: make(chan struct{}, mostAsking),
		dirty: map[uint32]bool{}, due: map[uint32]time.Time{}, asked: map[uint32]time.Time{},
	}
}

// touch has a zone looked at.
func (k *keeper) touch(number uint32) {
	k.mu.Lock()
	k.dirty[number] = true
	k.mu.Unlock()
	k.rouse()
}

// start says that the whole snapshot was applied.
func (k *keeper) start() {
	k.mu.Lock()
	k.whole = true
	k.mu.Unlock()
	k.rouse()
}

func (k *keeper) rouse() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// take returns the zones to be looked at now, and when the next one is due.
func (k *keeper) take(now time.Time) (numbers []uint32, next time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.whole {
		return nil, next
	}
	for number, at := range k.due {
		switch {
		case !at.After(now):
			k.dirty[number] = true
			delete(k.due, number)
		case next.IsZero() || at.Before(next):
			next = at
		}
	}
	numbers = slices.Sorted(maps.Keys(k.dirty))
	clear(k.dirty)
	return numbers, next
}

// later has a zone looked at again at a time.
func (k *keeper) later(number uint32, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.due[number]; !ok || at.Before(old) {
		k.due[number] = at
	}
}

// mayAsk reports whether the parent of a zone is to be asked at now, and notes that it is.
func (k *keeper) mayAsk(number uint32, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if last, ok := k.asked[number]; ok && now.Sub(last) < askEvery && !now.Before(last) {
		return false
	}
	k.asked[number] = now
	return true
}

// keep runs the keeper until ctx ends.
func (s *Server) keep(ctx context.Context) {
	if s.deps.Store == nil || s.deps.Seal == nil {
		return
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer s.keeper.asking.Wait()
	for {
		now := s.deps.Now()
		numbers, next := s.keeper.take(now)
		for _, number := range numbers {
			s.tend(ctx, number)
		}
		if len(numbers) == 0 {
			timer.Reset(untilNext(now, next))
		} else {
			timer.Reset(keeperQuiet)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.keeper.wake:
			quietly := time.NewTimer(keeperQuiet)
			select {
			case <-ctx.Done():
			case <-quietly.C:
			}
			quietly.Stop()
		case <-timer.C:
		}
	}
}

// untilNext is how long to sleep; never more than a minute, for the clock may be set.
func untilNext(now, next time.Time) time.Duration {
	if next.IsZero() {
		return time.Minute
	}
	return min(max(next.Sub(now), keeperQuiet), time.Minute)
}

// charge is a zone as the keeper sees it.
type charge struct {
	id      string
	zone    *zone // nil: gone
	keys    []*tandem.ZoneKey
	setting sign.Zone
	parent  []string // addresses of the parent's servers
	above   *zone    // the parent, when it is ours
}

// charge returns a zone with its keys by number.
func (s *Server) charge(number uint32) charge {
	s.applying.Lock()
	defer s.applying.Unlock()
	w := s.writer
	c := charge{zone: w.zoneAt.get(number)}
	for _, k := range w.keys.byZone[number] {
		c.keys, c.id = append(c.keys, k), k.Zone
	}
	slices.SortFunc(c.keys, func(a, b *tandem.ZoneKey) int { return a.Number - b.Number })
	if c.zone == nil {
		return c
	}
	c.id = c.zone.id
	c.setting = sign.Zone{DSTTL: defaultDSTTL, Spread: spreadTime, LongestTTL: w.longestTTL(c.zone)}
	if len(c.zone.apex) > 1 {
		c.above = w.zoneOf(parent(c.zone.apex))
	}
	d := c.zone.dnssec
	if d == nil {
		return c
	}
	c.setting.Signed, c.setting.Split, c.parent = true, d.Split, d.Parent
	c.setting.Algorithm, _ = sign.Algorithm(d.Algorithm)
	const day = 24 * time.Hour
	c.setting.Roll, c.setting.RollKSK = time.Duration(d.RollDays)*day, time.Duration(d.KSKDays)*day
	return c
}

// longestTTL returns the longest TTL of any record in z.
func (w *writer) longestTTL(z *zone) time.Duration {
	longest := max(z.ttl.NAPTR, z.ttl.SRV, z.ttl.Address, z.ttl.Negative, sign.KeyTTL)
	for _, n := range z.tree {
		for _, set := range n.sets {
			longest = max(longest, set[0].Header().Ttl)
		}
	}
	for number := range w.nextProfile {
		if p := w.profiles.get(number); p != nil {
			if home := w.zoneAt.get(p.zone); p.zone == z.number || home != nil && home.service == z.number {
				longest = max(longest, p.ttl.NAPTR, p.ttl.SRV, p.ttl.Address, p.ttl.Negative)
			}
		}
	}
	return time.Duration(longest) * time.Second
}

// tend does what is to be done now about one zone's keys.
func (s *Server) tend(ctx context.Context, number uint32) {
	c := s.charge(number)
	if c.zone == nil {
		s.write(ctx, number, s.dropped(c))
		return
	}
	now := s.deps.Now()
	step := sign.Next(now, c.setting, c.keys)
	edits, err := s.editsOf(c, step)
	if err != nil {
		s.log.Error("zone key not made", "zone", c.id, "err", err)
		s.keeper.later(number, now.Add(keeperBackOff))
		return
	}
	if len(edits) > 0 {
		s.write(ctx, number, edits)
		return // what was written comes back as a change, and the zone is looked at again
	}
	if !step.Next.IsZero() {
		s.keeper.later(number, step.Next)
	}
	if step.Ask {
		s.ask(ctx, number, c)
	}
}

// dropped returns the edits that delete the keys of a zone that is gone.
func (s *Server) dropped(c charge) []tandem.Edit {
	var edits []tandem.Edit
	for _, k := range c.keys {
		edits = append(edits, tandem.Edit{Kind: tandem.KindZoneKey, ID: k.ID})
	}
	return edits
}

// editsOf turns a step into edits, with new keys made and sealed.
func (s *Server) editsOf(c charge, step sign.Step) ([]tandem.Edit, error) {
	edits := changesOf(c.keys, step.Change)
	for _, id := range step.Delete {
		edits = append(edits, tandem.Edit{Kind: tandem.KindZoneKey, ID: id})
	}
	last := 0
	for _, k := range c.keys {
		last = max(last, k.Number)
	}
	for _, fresh := range step.Make {
		last++
		k := *fresh
		k.ID, k.Zone, k.Number = fmt.Sprintf("%s/%d", c.id, last), c.id, last
		public, private, err := sign.Generate(k.Algorithm)
		if err != nil {
			return nil, err
		}
		k.Public = public
		if k.Sealed, err = s.deps.Seal.Seal(private, k.SealContext()); err != nil {
			return nil, fmt.Errorf("seal key %s: %w", k.ID, err)
		}
		edits = append(edits, tandem.Edit{Kind: tandem.KindZoneKey, ID: k.ID, Object: &k, Create: true})
	}
	return edits, nil
}

// changesOf returns the edits that put changed in place of what before holds.
func changesOf(before, changed []*tandem.ZoneKey) []tandem.Edit {
	var edits []tandem.Edit
	for _, k := range changed {
		if slices.Contains(before, k) {
			continue
		}
		next := *k
		next.Revision = 0
		edits = append(edits, tandem.Edit{Kind: tandem.KindZoneKey, ID: k.ID, Object: &next, Expected: k.Revision})
	}
	return edits
}

// write stores edits of a zone's keys; when that fails the zone is looked at again soon.
func (s *Server) write(ctx context.Context, number uint32, edits []tandem.Edit) {
	if len(edits) == 0 {
		return
	}
	by := tandem.Principal{Admin: true, Name: "dnsd"}
	_, err := s.deps.Store.Append(ctx, by, edits)
	for _, e := range edits {
		switch {
		case err != nil:
		case e.Object == nil:
			s.log.Info("zone key deleted", "key", e.ID)
		default:
			status := e.Object.(*tandem.ZoneKey).Status()
			s.log.Info("zone key moved on", "key", e.ID, "state", status.State)
		}
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	if !errors.Is(err, tandem.ErrConflict) { // another appliance was faster: its keys arrive as changes
		s.log.Error("zone keys not stored", "zone", edits[0].ID, "err", err)
	}
	s.keeper.later(number, s.deps.Now().Add(keeperBackOff))
}

// ask finds out what DS set the parent has, and notes what that says about the zone's keys.
func (s *Server) ask(ctx context.Context, number uint32, c charge) {
	if len(c.parent) == 0 {
		if c.above != nil {
			s.keeper.later(number, s.deps.Now().Add(askEvery))
			s.observe(ctx, number, s.model.ownDS(c.above, c.zone))
		}
		return
	}
	now := s.deps.Now()
	s.keeper.later(number, now.Add(askEvery))
	if !s.keeper.mayAsk(number, now) {
		return
	}
	s.keeper.asking.Go(func() {
		select {
		case s.keeper.slots <- struct{}{}:
			defer func() { <-s.keeper.slots }()
		case <-ctx.Done():
			return
		}
		var sets [][]*dns.DS
		for _, server := range c.parent {
			set, err := sign.AskDS(ctx, server, c.id)
			if err != nil {
				s.log.Warn("parent not asked", "zone", c.id, "err", err)
				return
			}
			sets = append(sets, set)
		}
		s.observe(ctx, number, sets...)
	})
}

// ownDS returns the DS set that zone above, which is ours, answers for z.
func (m *model) ownDS(above, z *zone) []*dns.DS {
	var set rrset
	if n := above.tree[z.apex]; n != nil {
		set = n.set(dns.TypeDS)
	}
	if set == nil && z.signing != nil {
		set = z.signing.ring.DS(plainTTL)
	}
	var out []*dns.DS
	for _, rr := range set {
		out = append(out, rr.(*dns.DS))
	}
	return out
}

// observe stores what the parent's servers say about a zone's keys, when they all say it.
func (s *Server) observe(ctx context.Context, number uint32, sets ...[]*dns.DS) {
	c := s.charge(number)
	has := func(k *tandem.ZoneKey) bool {
		for _, set := range sets {
			if sign.Names(set, sign.PublicOf(c.id, k)) != k.Withdrawn.IsZero() {
				return !k.Withdrawn.IsZero() // one server is enough to say no to what is hoped for
			}
		}
		return k.Withdrawn.IsZero()
	}
	s.write(ctx, number, changesOf(c.keys, sign.Observed(s.deps.Now(), c.keys, has)))
}
