// Package guard decides which UDP queries are answered in full, so that the server is of no use to
// those who forge source addresses, and honest clients are served all the same. It does not answer
// what was asked, and what answers knows nothing of it.
//
// A client that proves its address, by a server cookie (RFC 7873, 9018), or that is exempt, is never
// limited. Of all others each source network (/24, /56) has
//
//   - a rate: queries a second, with one second's burst. Above it a client that sent a cookie option is told
//     BADCOOKIE with a fresh one, and may come back with that; of the rest every so-manieth (slip) gets a short
//     answer with TC, with which an honest client turns to TCP, and the others nothing;
//   - an octet budget: 2.25 octets for each that it sent, 2,048 to begin with and 125 a second.
//     An answer that the budget does not hold is replaced by the short one with TC, about as
//     long as the question. So over 10 s a flood of 4,400 octets and more gets back at most three
//     times what it sent. An address that has lately asked over TCP is free of it: resolvers that know no
//     cookies pay with one connection an hour.
//
// Above a number of queries a second in all, every client without a valid cookie is told BADCOOKIE
// or TC.
//
// The memory is one table of fixed size. Where more networks are active than it has room for, some
// share a place, debts included: they are limited too early and never too late.
package guard

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Config is what a Guard holds to. Zero fields are what they say: withDefaults is the caller's.
type Config struct {
	Answers     int            // a second and source network; zero: no rate
	Slip        int            // of those over the rate every so-manieth gets TC; zero: none does
	DryRun      bool           // limit nothing, but count what would be
	Exempt      []netip.Prefix // networks that are never limited
	Buckets     int            // source networks remembered; rounded up to a power of two
	DemandAbove int            // queries a second in all above which cookies are demanded; zero: never
	Budget      bool           // keep the octet budget
}

// Verdict is what becomes of a query.
type Verdict uint8

// The verdicts: answer it; answer with TC; with BADCOOKIE; not at all.
const (
	Pass Verdict = iota
	Truncate
	Challenge
	Drop
)

// Guard is what all workers of a server share. It may be used by all at once.
type Guard struct {
	floodSecond, strangers atomic.Int64 // answers to clients that have proved nothing, this second
	flood                  atomic.Bool

	cfg    Config
	jar    *Jar
	start  time.Time
	rates  table
	proven []atomic.Uint64 // addresses that asked over TCP: hash and until when

	second   atomic.Int64 // since start, that arrived counts for
	arrived  atomic.Int64 // queries
	demanded atomic.Bool  // in this second, for the last one had too many
}

// New returns a guard; its clock begins at now. Cookies are those of jar.
func New(cfg Config, jar *Jar, now time.Time) *Guard {
	return &Guard{cfg: cfg, jar: jar, start: now, rates: newTable(cfg.Buckets), proven: make([]atomic.Uint64, provenPlaces)}
}

// Watch is one worker's view of a Guard.
type Watch struct {
	g     *Guard
	now   int64  // microseconds since the guard's start
	unix  uint32 // seconds, for cookies
	turns int    // queries over the rate

	// Counts of what was decided; in a dry run, of what would have been.
	Limited, Slipped, Dropped, Challenged, OverBudget, Demanded uint64
	// Proven counts queries with a valid server cookie.
	Proven uint64
}

// Watch returns a view for one goroutine.
func (g *Guard) Watch() *Watch { return &Watch{g: g} }

// Tick tells the time, once for every batch, of n queries. It returns the seconds since 1970 (RFC 9018 section
// 4.3).
func (w *Watch) Tick(now time.Time, n int) uint32 {
	w.now, w.unix = now.Sub(w.g.start).Microseconds(), uint32(now.Unix())
	w.g.arrive(w.now/1e6, int64(n))
	return w.unix
}

// arrive counts n queries in a second and sees whether the last one had too many.
func (g *Guard) arrive(second, n int64) {
	if g.cfg.DemandAbove == 0 {
		return
	}
	if last := g.second.Load(); second > last && g.second.CompareAndSwap(last, second) {
		many := g.arrived.Swap(0)
		g.demanded.Store(second == last+1 && many > int64(g.cfg.DemandAbove))
	}
	g.arrived.Add(n)
}

// Judge decides about a query from addr before it is answered. When it says Pass and free is false,
// ask Afford about the answer.
func (w *Watch) Judge(addr netip.Addr, f *Facts) (v Verdict, free bool) {
	if f.Cookie != nil && w.g.jar.Valid(f.Cookie, addr, w.unix) {
		w.Proven++
		return Pass, true
	}
	if w.g.exempt(addr) {
		return Pass, true
	}
	over := w.g.cfg.Answers > 0 && !w.g.rates.at(network(addr)).takeOne(w.now, int64(1e6/w.g.cfg.Answers))
	demanded := w.g.demanded.Load()
	if !over && !demanded {
		return Pass, false
	}
	v = w.refuse(over, f)
	if w.g.cfg.DryRun {
		return Pass, false
	}
	return v, false
}

// refuse decides how a query is refused, and counts it.
func (w *Watch) refuse(over bool, f *Facts) Verdict {
	if over {
		w.Limited++
		w.turns++
	} else {
		w.Demanded++
	}
	switch {
	case f.Cookie != nil && f.End > 0:
		w.Challenged++
		return Challenge
	case !over && f.End > 0:
		return Truncate
	case w.g.cfg.Slip > 0 && w.turns%w.g.cfg.Slip == 0 && f.End > 0:
		w.Slipped++
		return Truncate
	}
	w.Dropped++
	return Drop
}

// Afford reports whether addr, which sent in octets, may be sent out octets, and takes them from its
// budget if so.
func (w *Watch) Afford(addr netip.Addr, in, out int) bool {
	if !w.g.cfg.Budget {
		return true
	}
	most := int64(allowance)
	if w.g.flooded(w.now / 1e6) {
		most = 0
	}
	if w.g.rates.at(network(addr)).spend(w.now, in, out, most) || w.g.isProven(addr, w.now) {
		return true
	}
	w.OverBudget++
	return w.g.cfg.DryRun
}

// Instead is how an answer that cannot be afforded is refused.
func (w *Watch) Instead(f *Facts) Verdict {
	switch {
	case f.End == 0:
		return Drop
	case f.Cookie != nil:
		w.Challenged++
		return Challenge
	}
	return Truncate
}

// Charge takes octets from the budget that are sent whatever it holds.
func (w *Watch) Charge(addr netip.Addr, in, out int) {
	if w.g.cfg.Budget {
		w.g.rates.at(network(addr)).charge(w.now, in, out)
	}
}

func (g *Guard) exempt(addr netip.Addr) bool {
	for i := range g.cfg.Exempt {
		if g.cfg.Exempt[i].Contains(addr) {
			return true
		}
	}
	return false
}

// Places in the table of proven addresses, and how long one is in it.
const (
	provenPlaces = 1 << 14
	provenFor    = time.Hour
)

// floodAbove is how many answers a second to clients that have proved nothing make a flood. Then a network
// that is not known has no allowance: a flood in the names of very many networks would get each of them
// one, and so many times what it sends.
const floodAbove = 2000

// flooded counts an answer to a client that has proved nothing, and reports whether there are so many.
func (g *Guard) flooded(second int64) bool {
	if last := g.floodSecond.Load(); second > last && g.floodSecond.CompareAndSwap(last, second) {
		many := g.strangers.Swap(0)
		g.flood.Store(second == last+1 && many > floodAbove/2 && g.flood.Load())
	}
	if g.strangers.Add(1) > floodAbove {
		g.flood.Store(true)
	}
	return g.flood.Load()
}

// Vouch notes that addr has asked over TCP at now: it is no forgery.
func (g *Guard) Vouch(addr netip.Addr, now time.Time) {
	h := g.rates.hash(whole(addr))
	until := uint64(max(0, now.Add(provenFor).Sub(g.start)) / time.Second)
	g.proven[h%provenPlaces].Store(h&^0xffffffff | until)
}

func (g *Guard) isProven(addr netip.Addr, now int64) bool {
	h := g.rates.hash(whole(addr))
	v := g.proven[h%provenPlaces].Load()
	return v>>32 == h>>32 && int64(v&0xffffffff) > now/1e6
}
