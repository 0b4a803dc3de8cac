package lb

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/tandem"
)

// Shares keeps, over restarts of the grantor, what each instance may at most hold.
type Shares interface {
	Load(ctx context.Context) ([]Share, error)
	// Save replaces shares, all of them or none, and returns once they are on disk. Held zero: the
	// share is forgotten.
	Save(ctx context.Context, shares []Share) error
}

// Bounds of the grantor.
const (
	term          = 5 * time.Second
	longestCall   = 24 * time.Hour
	saveTime      = 5 * time.Second
	settle        = time.Minute // a kept share that is larger than what is held is lowered no earlier
	mostBody      = 1 << 20     // octets of a Batch
	mostInstance  = 127         // octets of an instance's name
	sharesInChunk = 16          // kept shares grow by this part of what is permitted
)

// LessorDeps is what only code can give a Lessor.
type LessorDeps struct {
	// Name is this instance's own; no other instance may bear it.
	Name string
	// MaxAge is the longest that a call can be up: slots of an instance that is not heard of any more
	// return then. Zero: 24 hours.
	MaxAge time.Duration
	Shares Shares
	Now    func() time.Time // nil: the machine's clock
}

// Lessor grants leases: to other instances over HTTP, each named by its TLS certificate, and to the
// Balancer of this process, whose Leases it is.
//
// What another instance is granted is on disk before it is told, as a bound that grows in chunks so
// that few grants must wait for the disk, and which falls lazily. After a restart each bound counts as
// calls until its instance speaks, and what was said to the process before is not heard. The share of
// this process is not kept: it ends with the process, and calls that it takes up again must be
// restored before Run, which answers nobody before it has counted them.
type Lessor struct {
	name   string
	shares Shares
	clock  func() time.Time
	log    *slog.Logger
	epoch  uint64
	own    *borrower
	open   atomic.Bool // others are answered
	saves  atomic.Uint64
	saving chan struct{} // filled by whoever writes shares

	mu      sync.Mutex // guards what follows
	grantor *Grantor
	kept    map[shareKey]keptShare
}

type shareKey struct{ instance, group string }

// keptShare is what is on disk.
type keptShare struct {
	bound int
	at    time.Time
}

// NewLessor returns a Lessor that has taken up what was kept; it permits nothing yet.
func NewLessor(ctx context.Context, deps LessorDeps, log *slog.Logger) (*Lessor, error) {
	if deps.Shares == nil || log == nil || deps.Name == "" {
		return nil, errors.New("lb: the lessor needs a name, a place for shares and a logger")
	}
	setDefault(&deps.MaxAge, longestCall)
	if deps.Now == nil {
		deps.Now = time.Now
	}
	l := &Lessor{
		name: deps.Name, shares: deps.Shares, clock: deps.Now, log: log.With("part", "lb"),
		saving: make(chan struct{}, 1), grantor: NewGrantor(term, deps.MaxAge), kept: make(map[shareKey]keptShare),
	}
	var epoch [8]byte
	rand.Read(epoch[:])
	l.epoch = binary.BigEndian.Uint64(epoch[:]) | 1 // zero is nobody's
	l.own = newBorrower(func(ctx context.Context, q Batch) (Reply, error) { return l.answer(ctx, l.name, q) }, l.log)
	shares, err := deps.Shares.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load leases: %w", err)
	}
	shares = slices.DeleteFunc(shares, func(x Share) bool { return x.Instance == l.name })
	now := l.clock()
	for _, x := range shares {
		l.kept[shareKey{x.Instance, x.Group}] = keptShare{x.Held, now}
	}
	l.grantor.Restore(now, shares)
	return l, nil
}

// Bind names the Balancer of this process, before Run.
func (l *Lessor) Bind(b *Balancer) { l.own.balancer = b }

// Acquire implements Leases for the Balancer of this process.
func (l *Lessor) Acquire(group string, starting, permitted int) Reason {
	return l.own.acquire(group, starting, permitted)
}

// Apply takes the groups' permitted numbers from changes of the store. Unlimited is a number too.
func (l *Lessor) Apply(changes []tandem.Change) {
	for _, c := range changes {
		if c.Kind != tandem.KindGroup {
			continue
		}
		g, _ := c.Object.(*tandem.Group)
		switch {
		case g == nil:
			l.mu.Lock()
			l.grantor.Drop(c.ID)
			l.mu.Unlock()
		case g.Permitted == nil:
			l.Permit(c.ID, Unlimited)
		default:
			l.Permit(c.ID, *g.Permitted)
		}
	}
}

// Permit sets how many calls of a group may be up at all instances together.
func (l *Lessor) Permit(group string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.grantor.Permit(group, n)
}

// Loans returns what other instances hold, by group and instance.
func (l *Lessor) Loans() []Loan {
	l.mu.Lock()
	loans := l.grantor.Loans(l.clock())
	l.mu.Unlock()
	loans = slices.DeleteFunc(loans, func(x Loan) bool { return x.Instance == l.name })
	slices.SortFunc(loans, func(x, y Loan) int {
		return cmp.Or(strings.Compare(x.Group, y.Group), strings.Compare(x.Instance, y.Instance))
	})
	return loans
}

// Run answers others, and takes back what the silent hold, until ctx ends.
func (l *Lessor) Run(ctx context.Context) error {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		l.own.beat(ctx)
		l.open.Store(true)
		if err := l.lower(ctx, l.expire()); err != nil && ctx.Err() == nil {
			l.log.Warn("leases not lowered on disk", "err", err) // they are too large, not too small
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (l *Lessor) expire() (silent []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.grantor.Expire(l.clock())
}

// answer takes what an instance says. Another's grants are on disk when it returns.
func (l *Lessor) answer(ctx context.Context, instance string, q Batch) (Reply, error) {
	reply, risen := l.grant(instance, q)
	if instance == l.name || len(risen) == 0 {
		return reply, nil
	}
	return reply, l.raise(ctx, instance, risen)
}

// grant returns the answer, and the groups for which more was granted than is on disk.
func (l *Lessor) grant(instance string, q Batch) (reply Reply, risen []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	l.grantor.Heard(now, instance)
	reply.Epoch = l.epoch
	if q.Epoch != l.epoch {
		reply.Seq = l.grantor.instances[instance].seq
		return reply, nil
	}
	for _, a := range q.Asks {
		reply.Grants = append(reply.Grants, l.grantor.Ask(now, instance, a))
		if l.grantor.Held(instance, a.Group) > l.kept[shareKey{instance, a.Group}].bound {
			risen = append(risen, a.Group)
		}
	}
	if q.Forget != 0 {
		l.grantor.Forget(now, instance, q.Forget)
	}
	return reply, risen
}

// raise has what an instance holds of groups written down. The bounds on disk count from then on.
func (l *Lessor) raise(ctx context.Context, instance string, groups []string) error {
	l.saving <- struct{}{}
	defer func() { <-l.saving }()
	l.mu.Lock()
	var shares []Share
	for _, group := range groups {
		bound := l.bound(instance, group)
		if bound > l.kept[shareKey{instance, group}].bound { // else whoever wrote before has written this too
			shares = append(shares, Share{instance, group, bound})
		}
	}
	l.mu.Unlock()
	if len(shares) == 0 {
		return nil
	}
	if err := l.save(ctx, shares); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(shares)
	return nil
}

// lower has bounds written down that are larger than need be: at once for the silent, who may not
// come back, else after a while.
func (l *Lessor) lower(ctx context.Context, silent []string) error {
	l.saving <- struct{}{}
	defer func() { <-l.saving }()
	shares := l.loose(silent)
	if len(shares) == 0 {
		return nil
	}
	return l.save(ctx, shares)
}

// loose returns the bounds that are to be lowered, and counts on them no more: whoever is granted more
// from now on waits for its own to be written.
func (l *Lessor) loose(silent []string) (shares []Share) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	for key, kept := range l.kept {
		bound := l.bound(key.instance, key.group)
		_, quiet := slices.BinarySearch(silent, key.instance)
		if bound < kept.bound && (quiet || now.Sub(kept.at) > settle) {
			shares = append(shares, Share{key.instance, key.group, bound})
		}
	}
	l.note(shares)
	return shares
}

// note says what is, or is about to be, on disk. It is called with mu held.
func (l *Lessor) note(shares []Share) {
	now := l.clock()
	for _, x := range shares {
		key := shareKey{x.Instance, x.Group}
		if x.Held == 0 {
			delete(l.kept, key)
			continue
		}
		l.kept[key] = keptShare{x.Held, now}
	}
}

// save writes shares whether or not whoever waits for them has patience: they were counted.
func (l *Lessor) save(ctx context.Context, shares []Share) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
	defer cancel()
	l.saves.Add(1)
	if err := l.shares.Save(ctx, shares); err != nil {
		return fmt.Errorf("keep leases: %w", err)
	}
	return nil
}

// bound is what an instance holds, in whole chunks. It is called with mu held.
func (l *Lessor) bound(instance, group string) int {
	held := l.grantor.Held(instance, group)
	if held == 0 {
		return 0
	}
	chunk := max(l.grantor.groups[group].permitted/sharesInChunk, 1)
	return (held + chunk - 1) / chunk * chunk
}

// ServeHTTP answers a Batch, POSTed as JSON to /leases over mutual TLS.
func (l *Lessor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	instance, err := instanceOf(r.TLS)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	case instance == l.name:
		http.Error(w, "the certificate names the grantor itself: each instance needs one of its own", http.StatusForbidden)
		return
	case r.URL.Path != leasePath:
		http.NotFound(w, r)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "leases are asked for with POST", http.StatusMethodNotAllowed)
		return
	case !l.open.Load():
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	q, err := readBatch(http.MaxBytesReader(w, r.Body, mostBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply, err := l.answer(r.Context(), instance, q)
	if err != nil {
		l.log.Error("leases not granted", "instance", instance, "err", err)
		http.Error(w, "the grant could not be kept", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(reply) // whoever has gone asks again
}

// leasePath is where leases are asked for.
const leasePath = "/leases"

// instanceOf returns the name of the instance at the other end: the first DNS name of its certificate.
func instanceOf(state *tls.ConnectionState) (string, error) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return "", errors.New("a certificate is needed")
	}
	names := state.VerifiedChains[0][0].DNSNames
	if len(names) == 0 || names[0] == "" || len(names[0]) > mostInstance || strings.Contains(names[0], "*") {
		return "", fmt.Errorf("the certificate's first DNS name must be the instance's, at most %d octets, without wildcard", mostInstance)
	}
	return strings.ToLower(names[0]), nil
}

// Metrics emits the part's readings.
func (l *Lessor) Metrics(emit func(tandem.Sample)) {
	l.own.metrics(emit)
	l.mu.Lock()
	shares := len(l.kept)
	l.mu.Unlock()
	emit(tandem.Sample{Name: "tandem_lease_saves_total", Help: "Writes of leases to disk.", Value: float64(l.saves.Load())})
	emit(tandem.Sample{Name: "tandem_lease_shares", Help: "Shares of other instances on disk.", Gauge: true, Value: float64(shares)})
}
