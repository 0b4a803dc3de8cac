package lb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/tandem"
)

// Config is what the configuration file says about the part. Zero values mean the default that
// stands beside them.
type Config struct {
	MaxCalls   int           `yaml:"maxCalls"`   // calls at once, in all; 1048576. Beyond it calls are refused, reason capacity
	RetryAfter time.Duration `yaml:"retryAfter"` // told with a 503; 5s
	Ramp       time.Duration `yaml:"ramp"`       // from a tenth to all of its weight after a node recovered; 30s
	Remember   time.Duration `yaml:"remember"`   // how old a node's stored state may be to count after a start; 1h
	Policy     Policy        `yaml:"policy"`
	Quality    Quality       `yaml:"quality"`
}

// Validate reports a configuration that cannot be meant.
func (c Config) Validate() error {
	c = c.withDefaults()
	for _, x := range []struct {
		field string
		wrong bool
	}{
		{"maxCalls", c.MaxCalls < 0 || c.MaxCalls > mostPermitted}, {"retryAfter", c.RetryAfter < 0}, {"ramp", c.Ramp < 0}, {"remember", c.Remember < 0},
		{"policy.spread", c.Policy.Spread != 0 && !(c.Policy.Spread >= 1 && c.Policy.Spread <= 1000)},
		{"quality.closeAfter", c.Quality.CloseAfter < 0}, {"quality.openAfter", c.Quality.OpenAfter < 0},
		{"quality.downAfter", c.Quality.DownAfter < 1 || c.Quality.DownAfter > 100}, {"quality.upAfter", c.Quality.UpAfter < 3 || c.Quality.UpAfter > 1000},
		{"quality.timeouts", c.Quality.Timeouts < 0}, {"quality.voiceAccounts", c.Quality.VoiceAccounts < 0}, {"quality.low", !(c.Quality.Low >= 0 && c.Quality.Low <= bestScore)},
		{"quality.high", !(c.Quality.High >= c.Quality.Low && c.Quality.High <= bestScore)},
	} {
		if x.wrong {
			return tandem.FieldError{Field: x.field, Reason: "is out of range"}
		}
	}
	for i, p := range c.Quality.Required {
		if !slices.Contains([]Part{PartProbe, PartSetUp, PartLoad, PartVoice}, p) {
			return tandem.FieldError{Field: fmt.Sprintf("quality.required[%d]", i), Reason: "is not probe, set-up, load or voice"}
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	setDefault(&c.MaxCalls, 1<<20)
	setDefault(&c.RetryAfter, 5*time.Second)
	setDefault(&c.Ramp, 30*time.Second)
	setDefault(&c.Remember, time.Hour)
	setDefault(&c.Quality.Low, 60)
	setDefault(&c.Quality.High, 70)
	setDefault(&c.Quality.CloseAfter, time.Second)
	setDefault(&c.Quality.OpenAfter, 2*time.Second)
	setDefault(&c.Quality.Timeouts, 5)
	setDefault(&c.Quality.DownAfter, 4)
	setDefault(&c.Quality.UpAfter, 3)
	setDefault(&c.Quality.VoiceAccounts, 2)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// tick is how often qualities are looked at.
const tick = 100 * time.Millisecond

// Group is what tier 2 knows of a group.
type Group struct {
	ID         string
	Cluster    string // given by tier 1; empty: none, its calls are refused with Refuse
	Refuse     Reason // empty: ReasonNoCluster
	Permitted  int    // calls at once, in and out; zero permits none, Unlimited any number
	MinQuality Score  // that its calls need; zero: any
	Affinity   bool   // its calls share one node
}

// Balancer is tier 2. All its methods may be called at once.
type Balancer struct {
	cfg    Config
	leases Leases
	clock  func() time.Time
	dice   func() float64
	log    *slog.Logger
	ledger *ledger
	slots  *slots
	count  counters
	table  atomic.Pointer[Table]

	mu       sync.Mutex // guards what follows and what is measured of nodes, and publishing
	nodes    map[string]*member
	policies map[string]Quality // by cluster, where it has its own
	checker  checker
	waiting  []chan struct{}
}

// member is one node with its measurements.
type member struct {
	node   *tandem.Node
	watch  *watch
	state  *nodeState
	forced *tandem.Force // that counts now
}

// Deps is what only code can give. Its zero value is good.
type Deps struct {
	Leases Leases           // nil: every permitted slot is this instance's own
	Now    func() time.Time // nil: the machine's clock
	Dice   func() float64   // 0 to 1 without 1, by which equals take turns; nil: random ones
}

// New checks cfg and returns a Balancer without groups and nodes.
func New(cfg Config, deps Deps, log *slog.Logger) (*Balancer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		return nil, errors.New("lb: a logger is missing")
	}
	cfg = cfg.withDefaults()
	b := &Balancer{
		cfg: cfg, leases: deps.Leases, clock: deps.Now, dice: deps.Dice, log: log.With("part", "lb"),
		ledger: newLedger(), slots: newSlots(cfg.MaxCalls), nodes: make(map[string]*member),
		policies: make(map[string]Quality),
	}
	if b.clock == nil {
		b.clock = time.Now
	}
	if b.dice == nil {
		b.dice = rand.Float64
	}
	b.publish(b.clock())
	return b, nil
}

// Run looks at the nodes' qualities until ctx ends.
func (b *Balancer) Run(ctx context.Context) error {
	b.mu.Lock()
	b.hold(b.clock(), false)
	b.mu.Unlock()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			b.Look()
			b.ledger.sweep(turn)
		}
	}
}

// Look brings states, qualities and the table up to now; Run does it ten times a second.
func (b *Balancer) Look() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.publish(b.clock())
}

// PutGroup sets a group's rules; the next request meets them. A permitted number below the calls
// that are up ends none of them, and admits no more until enough have ended.
func (b *Balancer) PutGroup(g Group) {
	g.Permitted = min(max(g.Permitted, 0), mostPermitted)
	var old *Group
	a := b.ledger.open(g.ID, func(a *account) { old = a.rules.Swap(&g) })
	switch {
	case b.leases == nil || g.Permitted == Unlimited:
		a.hold(g.Permitted)
	case old != nil && old.Permitted == Unlimited:
		a.hold(0) // nothing of it was leased
	default:
		a.lower(g.Permitted)
	}
}

// DropGroup forgets a group; its calls go on.
func (b *Balancer) DropGroup(id string) { b.ledger.drop(id) }

// Hold sets how many slots of a group this instance may have taken, for Leases; it never exceeds
// what is permitted.
func (b *Balancer) Hold(group string, n int) {
	a := b.ledger.find(group)
	if a == nil {
		return
	}
	for {
		rules, limit := a.rules.Load(), 0
		if rules != nil {
			limit = min(n, rules.Permitted)
		}
		a.hold(limit)
		if a.rules.Load() == rules { // else they changed, and what was held for them may be gone
			return
		}
	}
}

// Used returns how many calls of a group are up or in set-up here.
func (b *Balancer) Used(group string) int {
	if a := b.ledger.find(group); a != nil {
		return a.used()
	}
	return 0
}

// keep takes up to n slots of a group for the callers of a question to the leases, before the next one
// lowers what is held.
func (b *Balancer) keep(group string, n int) {
	if a := b.ledger.find(group); a != nil {
		a.keep(n)
	}
}

// Held returns how many calls of a group may be up here: what Leases hold, else what is permitted.
func (b *Balancer) Held(group string) int {
	if a := b.ledger.find(group); a != nil {
		return int(a.word.Load() & 0xffffffff)
	}
	return 0
}

// permitted returns how many calls of a group may be up; zero when it is unknown.
func (b *Balancer) permitted(group string) int {
	if a := b.ledger.find(group); a != nil {
		if rules := a.rules.Load(); rules != nil {
			return rules.Permitted
		}
	}
	return 0
}

// PutNode adds or changes a node; n must not be changed afterwards.
func (b *Balancer) PutNode(n *tandem.Node) {
	b.setNode(n.ID, n)
	b.Look()
}

// DropNode forgets a node; its calls go on.
func (b *Balancer) DropNode(id string) {
	b.setNode(id, nil)
	b.Look()
}

// setNode sets a node, nil to forget it; it shows with the next Look.
func (b *Balancer) setNode(id string, n *tandem.Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch m := b.nodes[id]; {
	case n == nil:
		delete(b.nodes, id)
	case m != nil:
		m.node, m.watch.policy = n, b.policyOf(n.Cluster)
	default:
		m = &member{node: n, watch: newWatch(b.policyOf(n.Cluster)), state: new(nodeState)}
		m.watch.every = b.checker.every
		b.nodes[id] = m
	}
}

// Probed says how an OPTIONS to a node ended: its round trip, or that no answer came in time. It
// reports whether three more should be sent now, within 200 ms: a node that answers none of them
// is down.
func (b *Balancer) Probed(node string, trip time.Duration, answered bool) (again bool) {
	b.observe(node, func(w *watch, now time.Time) { again = w.probed(now, trip, answered) })
	return again
}

// Broken says that a node's transport reported an error (connection refused, unreachable).
func (b *Balancer) Broken(node, what string) {
	b.observe(node, func(w *watch, now time.Time) { w.fall(now, "transport: "+what) })
}

// SetUp says how an INVITE of an account's call fared at a node: the time to its first answer, whatever that was;
// failed for a 5xx, timedOut when none came.
func (b *Balancer) SetUp(node, account string, took time.Duration, failed, timedOut bool) {
	b.observe(node, func(w *watch, now time.Time) { w.setUp(now, attempt{account, took, failed, timedOut}) })
}

// Waiting says how long an INVITE has had no answer from a node so far, so that a node which has become
// slow is known before its first late answer; SetUp follows all the same.
func (b *Balancer) Waiting(node string, so time.Duration) {
	b.observe(node, func(w *watch, now time.Time) { w.answer.add(now, so.Seconds(), answerTau, w.backOff(setUpStale)) })
}

// Reported says what load a node gives itself: 0 idle, 1 full.
func (b *Balancer) Reported(node string, load float64) {
	if load >= 0 { // neither negative nor NaN
		b.observe(node, func(w *watch, now time.Time) { w.load.add(now, min(load, 2), loadTau, loadStale) })
	}
}

// Heard says what a phone of an account reported of a call through a node: its mean opinion score, 1 to 5.
func (b *Balancer) Heard(node, account string, mos float64) {
	if mos >= 1 && mos <= 5 {
		b.observe(node, func(w *watch, now time.Time) { w.voice.add(now, account, mos) })
	}
}

// observe lets fn tell a node's watch something. What takes the node down shows at once.
func (b *Balancer) observe(node string, fn func(*watch, time.Time)) {
	now := b.clock()
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.nodes[node]
	if m == nil || b.checker.stalled {
		return
	}
	before := m.watch.state
	fn(m.watch, now)
	if m.watch.state != before {
		b.tell(m)
		b.publish(now)
		b.signal()
	}
}

func (b *Balancer) tell(m *member) {
	w := m.watch
	level := slog.LevelInfo
	if w.state == StateDown || w.state == StateDegraded {
		level = slog.LevelWarn
	}
	b.log.Log(context.Background(), level, "node changed state", "node", m.node.ID, "cluster", m.node.Cluster, "state", w.state, "why", w.why, "score", math.Round(float64(w.score)*10)/10)
	b.count.turns.Add(1)
}
