package dnsd

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/tandem"
)

// Secondary zones are fetched when they are new, when their primary tells of a change, and when their
// SOA's timers say so (RFC 1035 section 3.3.13), by one goroutine with one timer and a few that fetch. What
// was fetched is in the store, and answers from the first query after a restart.

const (
	mostFetches  = 8                      // at once
	firstRetry   = 2 * time.Second        // of a zone that has no SOA yet; then twice as long each time
	lastRetry    = 10 * time.Minute       // and no longer than this
	leastRefresh = 2 * time.Second        // whatever the SOA says
	leastBetween = 500 * time.Millisecond // from one fetch of a zone to the next, whatever its primary tells
)

// Why a secondary zone is not answered, as clients are told.
const (
	notFetched = "the zone was not transferred yet"
	isExpired  = "the zone has expired"
)

// copies keeps the secondary zones. Who holds its mu never waits for Server.applying.
type copies struct {
	s    *Server
	kick chan struct{}

	mu     sync.Mutex
	zones  map[uint32]*copied // by zone number
	agenda agenda[uint32]
	busy   int
	stored map[string]*storedContent // read from the store and not asked for yet, by zone id

	whole, differences, current, failed, expired, heard atomic.Uint64
}

// copied is one secondary zone.
type copied struct {
	id        string
	content   *content // nil: none
	fetching  bool
	again     bool // something came up meanwhile
	anew      bool // take it whole, whatever its serial
	tries     int  // that failed, since one did not
	checked   time.Time
	lastError string
	expired   bool
}

type storedContent struct {
	head   []byte
	chunks []tandem.ZoneDatum
}

func newCopies(s *Server) *copies {
	return &copies{s: s, kick: make(chan struct{}, 1), zones: map[uint32]*copied{}, stored: map[string]*storedContent{}}
}

// load takes in one piece of what was in the store.
func (c *copies) load(d tandem.ZoneDatum) {
	v := c.stored[d.Zone]
	if v == nil {
		v = &storedContent{}
		c.stored[d.Zone] = v
	}
	switch d.Part {
	case partHead:
		v.head = d.Octets
	case partChunk:
		v.chunks = append(v.chunks, d)
	}
}

// put begins to keep z, or takes note that its object has changed, and gives it what is there for it.
// Server.applying is held.
func (c *copies) put(z *zone) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.zones[z.number]
	now := c.s.deps.Now()
	due := now
	if v == nil {
		v = &copied{id: z.id}
		c.zones[z.number] = v
		if kept := c.stored[z.id]; kept != nil {
			delete(c.stored, z.id)
			content, err := readContent(z.apex, kept.head, kept.chunks)
			if err != nil {
				c.s.log.Warn("a secondary zone's copy cannot be used; it is transferred anew", "zone", z.id, "err", err)
			} else {
				v.content = content
				due = later2(now, content.refreshed.Add(sooner(seconds(content.soa.Refresh))))
			}
		}
	}
	v.expired = v.content != nil && v.content.expires().Before(now)
	z.fill(v.content, v.absence())
	if z.role == tandem.RoleCatalog {
		c.s.catalogs.wake()
	}
	if v.again = v.fetching; !v.fetching {
		c.agenda.set(z.number, due)
		c.wake()
	}
}

func (v *copied) absence() string {
	switch {
	case v.content == nil:
		return notFetched
	case v.expired:
		return isExpired
	}
	return ""
}

func (c *content) expires() time.Time { return c.refreshed.Add(seconds(c.soa.Expire)) }

func seconds(n uint32) time.Duration { return max(time.Duration(n)*time.Second, leastRefresh) }

// sooner takes up to a tenth off d, so that zones that came together do not stay so.
func sooner(d time.Duration) time.Duration { return d - rand.N(d/10+1) }

func later2(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// drop forgets a zone that is no secondary any more. Server.applying is held.
func (c *copies) drop(number uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.zones[number]
	if v == nil {
		return
	}
	delete(c.zones, number)
	c.agenda.remove(number)
	if v.content != nil {
		go c.write([]tandem.ZoneDatum{
			{Zone: v.id, Part: partHead}, {Zone: v.id, Part: partChunk, Last: ^uint64(0)},
		})
	}
}

// due makes a zone's turn come now: its primary told of a change, or an operator wants it. With anew it is
// taken whole.
func (c *copies) due(number uint32, anew bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.zones[number]
	if v == nil {
		return false
	}
	v.anew = v.anew || anew
	if v.again = true; !v.fetching {
		c.agenda.set(number, later2(c.s.deps.Now(), v.checked.Add(leastBetween)))
		c.wake()
	}
	return true
}

func (c *copies) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// run fetches what is due until ctx ends.
func (c *copies) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.kick:
		case <-timer.C:
		}
		for {
			number, ok, wait := c.next()
			if !ok {
				timer.Reset(wait)
				break
			}
			wg.Go(func() { c.fetch(ctx, number) })
		}
	}
}

// next takes the zone whose turn it is; false, with how long to wait, when there is none or too many are
// being fetched: the end of one of them wakes.
func (c *copies) next() (uint32, bool, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.s.deps.Now()
	if c.busy >= mostFetches {
		return 0, false, time.Minute
	}
	number, ok := c.agenda.take(now)
	if !ok {
		return 0, false, c.agenda.wait(now)
	}
	v := c.zones[number]
	v.fetching, v.again = true, false
	c.busy++
	return number, true, 0
}

// fetch asks the zone's primaries in turn, and comes back to the zone when its timers say so.
func (c *copies) fetch(ctx context.Context, number uint32) {
	c.mu.Lock()
	v := c.zones[number]
	c.mu.Unlock()
	z := c.s.model.zoneAt.get(number)
	var next *content
	var changes []change
	err := errors.New("no longer a secondary zone")
	if v != nil && z != nil && z.copied() {
		next, changes, err = c.ask(ctx, z, v)
		if err == nil {
			c.install(number, v, next, changes)
		}
	}
	c.settle(number, v, err)
}

// ask returns the newest version that the first primary with an answer has; errCurrent when it is the
// one that is here.
func (c *copies) ask(ctx context.Context, z *zone, v *copied) (next *content, changes []change, err error) {
	c.mu.Lock()
	have, anew := v.content, v.anew
	v.anew = false
	c.mu.Unlock()
	for _, p := range z.primaries {
		if next, changes, err = c.askOne(ctx, z, p, have, anew); err == nil || errors.Is(err, errCurrent) {
			return next, changes, err
		}
		c.s.log.Debug("transfer from a primary", "zone", z.id, "primary", p.Address, "err", err)
	}
	return nil, nil, err
}

func (c *copies) askOne(ctx context.Context, z *zone, p tandem.Primary, have *content, anew bool) (*content, []change, error) {
	conn, err := c.s.dialPrimary(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if have != nil && !anew {
		serial, err := conn.serial(z.name)
		if err != nil {
			return nil, nil, err
		}
		if later(have.soa.Serial, serial) == have.soa.Serial {
			return have, nil, errCurrent
		}
		next, changes, err := conn.fetch(z, have)
		if err == nil || errors.Is(err, errCurrent) {
			return next, changes, c.verify(z, next, err)
		}
		c.s.log.Debug("no difference to be had; the zone is taken whole", "zone", z.id, "err", err)
		conn.Close()
		if conn, err = c.s.dialPrimary(ctx, p); err != nil {
			return nil, nil, err
		}
		defer conn.Close()
	}
	next, _, err := conn.fetch(z, nil)
	if err == nil && have != nil {
		next.kept.generation = have.kept.generation
	}
	return next, nil, c.verify(z, next, err)
}

// verify checks a version's own digest, if it has one (RFC 8976).
func (c *copies) verify(z *zone, next *content, err error) error {
	if err != nil {
		return err
	}
	return verifyDigest(z.apex, next)
}

// install makes next the zone's version: in what is answered, in the journal, in the store.
func (c *copies) install(number uint32, v *copied, next *content, changes []change) {
	next.refreshed = c.s.deps.Now()
	id := v.id
	var data []tandem.ZoneDatum
	old := next.kept
	if changes != nil && old.appended <= old.base+contentChunk {
		data = next.appended(id, changes)
	} else {
		data = next.whole(id)
	}
	if changes == nil {
		c.whole.Add(1)
	} else {
		c.differences.Add(1)
	}
	c.mu.Lock()
	v.content, v.expired = next, false
	c.mu.Unlock()
	c.s.refill(number, next, "")
	if !c.write(data) || next.kept.generation == old.generation {
		return
	}
	c.write([]tandem.ZoneDatum{{Zone: id, Part: partChunk, Last: uint64(next.kept.generation)<<32 - 1}})
}

// write writes to the store, the head last.
func (c *copies) write(data []tandem.ZoneDatum) bool {
	if c.s.deps.Zones == nil {
		return true
	}
	for len(data) > 0 {
		n := min(len(data), 8)
		if err := c.s.deps.Zones.WriteZoneData(context.Background(), data[:n]); err != nil {
			c.s.log.Warn("a secondary zone is not kept; after a restart it is transferred anew", "zone", data[0].Zone, "err", err)
			return false
		}
		data = data[n:]
	}
	return true
}

// refill gives a zone another version, or none.
func (s *Server) refill(number uint32, next *content, absent string) {
	s.applying.Lock()
	defer s.applying.Unlock()
	w := s.writer
	old := w.zoneAt.get(number)
	if old == nil || !old.copied() {
		return
	}
	z := old.filled(next, absent)
	var before *snapshot
	if w.tells(number) && z.shared() && absent == "" && old.absent == "" {
		before = w.snapshotOf(old)
	}
	w.carry(number, z, nil)
	w.zoneAt.set(number, z)
	w.shareZone(number, z.id, z)
	if before != nil {
		w.rezone(number, before, w.snapshotOf(z))
	}
	w.announce()
	if z.role == tandem.RoleCatalog {
		s.catalogs.wake()
	}
}

// settle notes what came of a fetch and when the next one is due.
func (c *copies) settle(number uint32, v *copied, err error) {
	c.mu.Lock()
	c.busy--
	c.wake()
	if v == nil || c.zones[number] != v {
		c.mu.Unlock()
		return
	}
	now := c.s.deps.Now()
	v.fetching, v.checked = false, now
	var head *tandem.ZoneDatum
	if err == nil || errors.Is(err, errCurrent) {
		v.tries, v.lastError = 0, ""
		if err != nil {
			c.current.Add(1)
			fresh := *v.content
			fresh.refreshed = now
			v.content = &fresh
			d := fresh.head(v.id)
			head = &d
		}
	} else {
		c.failed.Add(1)
		v.lastError = err.Error()
		if v.tries++; v.tries == 1 {
			c.s.log.Warn("secondary zone not refreshed", "zone", v.id, "err", err)
		}
	}
	revived := v.expired && v.tries == 0
	expires := v.content != nil && !v.expired && v.tries > 0 && !v.content.expires().After(now)
	v.expired = expires || v.expired && !revived
	c.agenda.set(number, v.nextTime(now))
	content, absent := v.content, v.absence()
	c.mu.Unlock()
	if expires {
		c.expired.Add(1)
		c.s.log.Error("secondary zone has expired; it is answered SERVFAIL", "zone", v.id, "err", err)
	}
	if expires || revived {
		c.s.refill(number, content, absent)
	}
	if head != nil {
		c.write([]tandem.ZoneDatum{*head})
	}
}

// nextTime returns when v is due again.
func (v *copied) nextTime(now time.Time) time.Time {
	switch {
	case v.again:
		return now.Add(leastBetween)
	case v.tries == 0:
		return now.Add(sooner(seconds(v.content.soa.Refresh)))
	}
	wait := min(firstRetry<<min(v.tries-1, 10), lastRetry)
	if v.content == nil {
		return now.Add(sooner(wait))
	}
	at := now.Add(sooner(min(seconds(v.content.soa.Retry), wait)))
	if end := v.content.expires(); end.After(now) && end.Before(at) {
		return end
	}
	return at
}
