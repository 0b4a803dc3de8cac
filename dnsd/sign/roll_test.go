package sign

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// world is a signed zone, its parent and the caches of all validators, in virtual time.
type world struct {
	now    time.Time
	zone   Zone
	keys   []*tandem.ZoneKey
	number int
	asked  time.Time // when the parent was first asked for what it does not do yet
	ds     []int     // numbers of the keys that the parent has a DS for; nil: none
	delay  time.Duration

	lie        func(*Zone)   // what the keeper is told instead; nil: the truth
	algorithms map[int]uint8 // of all keys there ever were

	dsSeen, keySets, sigs []snapshot // what caches may hold
}

// snapshot is what the servers said from one time on, until the next one.
type snapshot struct {
	from    time.Time
	keys    []int // of a DS set, of a DNSKEY set, or that signed a set
	signers []int // of a DNSKEY set
}

// step lets the keeper and the parent do what they would, and notes what servers say then.
func (w *world) step(r *rand.Rand) {
	for range 20 {
		told := w.zone
		if w.lie != nil {
			w.lie(&told)
		}
		s := Next(w.now, told, w.keys)
		w.parent(s.Ask, r)
		if len(s.Change)+len(s.Make)+len(s.Delete) == 0 {
			break
		}
		w.apply(s)
	}
	w.look()
}

func (w *world) apply(s Step) {
	for _, c := range s.Change {
		i := slices.IndexFunc(w.keys, func(k *tandem.ZoneKey) bool { return k.ID == c.ID })
		w.keys[i] = c
	}
	for _, id := range s.Delete {
		w.keys = slices.DeleteFunc(w.keys, func(k *tandem.ZoneKey) bool { return k.ID == id })
	}
	for _, k := range s.Make {
		w.number++
		k.Number, k.ID = w.number, fmt.Sprint("z/", w.number)
		w.algorithms[k.Number] = k.Algorithm
		w.keys = append(w.keys, k)
	}
}

// parent does after a while what CDS asks for, and is seen to have done it by the keeper.
func (w *world) parent(asked bool, r *rand.Rand) {
	if !asked {
		w.asked = time.Time{}
		return
	}
	if w.asked.IsZero() {
		w.asked, w.delay = w.now, time.Duration(r.IntN(100))*time.Hour
	}
	if w.now.Sub(w.asked) < w.delay {
		return
	}
	w.ds = nil
	for _, k := range w.keys {
		if k.Unsigning {
			w.ds = nil
			break
		}
		if isSEP(k) && !k.Submitted.IsZero() && k.Withdrawn.IsZero() {
			w.ds = append(w.ds, k.Number)
		}
	}
	w.keys = Observed(w.now, w.keys, func(k *tandem.ZoneKey) bool { return slices.Contains(w.ds, k.Number) })
}

// look notes what servers say now, where it differs from before.
func (w *world) look() {
	var published, signers, zone []int
	for _, k := range w.keys {
		if Published(k) {
			published = append(published, k.Number)
		}
		if Signing(k) && Published(k) && isSEP(k) {
			signers = append(signers, k.Number)
		}
		if Signing(k) && k.Signs != SignsKeys {
			zone = append(zone, k.Number)
		}
	}
	note := func(list *[]snapshot, s snapshot) {
		if n := len(*list); n == 0 || !slices.Equal((*list)[n-1].keys, s.keys) || !slices.Equal((*list)[n-1].signers, s.signers) {
			*list = append(*list, s)
		}
	}
	note(&w.dsSeen, snapshot{w.now, slices.Clone(w.ds), nil})
	note(&w.keySets, snapshot{w.now, published, signers})
	note(&w.sigs, snapshot{w.now, zone, nil})
}

// held returns what a cache may hold of list now.
func (w *world) held(list []snapshot, ttl time.Duration) []snapshot {
	var out []snapshot
	for i, s := range list {
		if i+1 == len(list) || !list[i+1].from.Add(ttl).Before(w.now) {
			out = append(out, s)
		}
	}
	return out
}

// check looks at every combination of a DS set, a key set and a set's signatures that caches may hold.
func (w *world) check() error {
	for _, ds := range w.held(w.dsSeen, w.zone.DSTTL) {
		if len(ds.keys) == 0 {
			continue // insecure: whatever is said is taken
		}
		for _, keys := range w.held(w.keySets, KeyTTL*time.Second) {
			if !w.valid(ds.keys, keys.signers, keys.keys) {
				return fmt.Errorf("%s: DS of %v, DNSKEY %v signed by %v", w.now, ds.keys, keys.keys, keys.signers)
			}
			for _, sigs := range w.held(w.sigs, w.zone.LongestTTL) {
				if !w.valid(keys.keys, sigs.keys, keys.keys) {
					return fmt.Errorf("%s: DNSKEY %v, a set signed by %v", w.now, keys.keys, sigs.keys)
				}
			}
		}
	}
	return nil
}

// valid reports whether a strict validator that trusts keys accepts what signers signed: each algorithm
// among the trusted ones must have signed (RFC 4035 section 2.2), with a key that is published.
func (w *world) valid(trusted, signers, published []int) bool {
	for _, k := range trusted {
		if !slices.ContainsFunc(signers, func(s int) bool {
			return w.algorithms[s] == w.algorithms[k] && slices.Contains(published, s) && slices.Contains(trusted, s)
		}) {
			return false
		}
	}
	return true
}

// live plays months in a world, with changed settings and roll-overs by hand, and returns the first
// combination in caches that is bogus.
func (w *world) live(r *rand.Rand) error {
	for range 5000 {
		w.step(r)
		if err := w.check(); err != nil {
			return err
		}
		switch r.IntN(700) {
		case 0:
			w.zone.Algorithm = dns.ED25519
		case 1:
			w.zone.Algorithm = dns.ECDSAP256SHA256
		case 2:
			w.zone.Split = !w.zone.Split
		case 3, 4:
			w.zone.Signed = !w.zone.Signed
		case 5, 6:
			if len(w.keys) > 0 {
				k := *w.keys[r.IntN(len(w.keys))]
				k.Rolling = true
				w.apply(Step{Change: []*tandem.ZoneKey{&k}})
			}
		}
		w.now = w.now.Add(time.Duration(r.IntN(180)) * time.Minute)
	}
	return nil
}

func newWorld(r *rand.Rand) *world {
	return &world{
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), algorithms: map[int]uint8{},
		zone: Zone{
			Signed: true, Algorithm: dns.ECDSAP256SHA256, Split: r.IntN(2) == 0, Spread: time.Hour,
			LongestTTL: time.Duration(1+r.IntN(100)) * time.Hour, DSTTL: time.Duration(1+r.IntN(48)) * time.Hour,
			Roll: time.Duration(r.IntN(3)*30) * 24 * time.Hour, RollKSK: time.Duration(r.IntN(3)*50) * 24 * time.Hour,
		},
	}
}

// TestRollOvers plays years of roll-overs of every kind, by schedule, by hand and by changed settings,
// with parents of every speed, and looks at every step at all that caches may hold.
func TestRollOvers(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(r)
		if err := w.live(r); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if w.number < 4 {
			t.Errorf("seed %d: %d keys made: nothing rolled", seed, w.number)
		}
	}
}

// TestRollOversTwin: with TTLs that are longer than the zone says, and with a parent whose old DS lives
// longer, the same watch finds bogus combinations.
func TestRollOversTwin(t *testing.T) {
	for name, lie := range map[string]func(*Zone){
		"longest TTL": func(z *Zone) { z.LongestTTL /= 10 },
		"TTL of DS":   func(z *Zone) { z.DSTTL, z.LongestTTL, z.Spread = 0, 0, 0 },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(60) {
				r := rand.New(rand.NewPCG(seed, 1))
				w := newWorld(r)
				w.zone.LongestTTL += 100 * time.Hour
				w.lie = lie
				if w.live(r) != nil {
					return
				}
			}
			t.Error("nothing bogus was found")
		})
	}
}
