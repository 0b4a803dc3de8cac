package rehearsal

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"time"

	"tandem/internal/tandem"
	"tandem/lb"
)

// Result is what came of a rehearsal. Times are since midnight and are written as clock times in JSON.
type Result struct {
	From       Clock          `json:"from"`
	To         Clock          `json:"to"`
	Step       float64        `json:"stepSeconds"` // of the lists of Cluster
	Calls      int            `json:"calls"`
	Admitted   int            `json:"admitted"`
	Answered   int            `json:"answered"`
	Unanswered int            `json:"unanswered"`
	Refused    map[string]int `json:"refused"`   // by reason
	Failed     int            `json:"failed"`    // admitted, but no node set them up
	Cut        int            `json:"cut"`       // ended by the loss of their node
	Up         int            `json:"stillUp"`   // at the end
	SetUp50    float64        `json:"setUpMs50"` // time to the first answer, in milliseconds
	SetUp99    float64        `json:"setUpMs99"`
	Clusters   []Cluster      `json:"clusters"`
	Groups     []Trouble      `json:"groups"` // those with calls refused, most first
	Moves      []Move         `json:"moves"`
	Left       []Move         `json:"withoutCluster"` // groups that have none at the end
	Events     []Happened     `json:"events"`
	Settings   []string       `json:"settings"`          // that were tried
	Without    *Result        `json:"without,omitempty"` // the same without events and settings, if that was played too
}

// Cluster is one cluster's day. A value of its lists stands for Step.
type Cluster struct {
	ID       string     `json:"id"`
	Capacity int        `json:"capacity"` // at the beginning
	Calls    int        `json:"calls"`    // admitted
	Refused  int        `json:"refused"`  // by its nodes' state, or its groups' limits
	Cut      int        `json:"cut"`
	Peak     int        `json:"peak"` // most calls at once
	PeakAt   Clock      `json:"peakAt"`
	PeakLoad float64    `json:"peakLoad"`   // the highest share of its capacity
	Worst    *float64   `json:"minQuality"` // null: never measured
	In       int        `json:"movedIn"`    // groups
	Out      int        `json:"movedOut"`
	Load     []float64  `json:"load"`    // the highest share of its capacity
	Quality  []*float64 `json:"quality"` // the lowest, on the scale of the R factor; 0: down; null: not measured
	MovesIn  []int      `json:"movesIn"`
	MovesOut []int      `json:"movesOut"`
}

// Move is one group that got another cluster, or lost its own.
type Move struct {
	At     Clock  `json:"at"`
	Group  string `json:"group"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"` // empty: none can serve it
	Reason string `json:"reason"`
	Text   string `json:"text,omitempty"`
}

// Trouble is a group with calls that were refused.
type Trouble struct {
	Group   string         `json:"group"`
	Refused int            `json:"refused"`
	Reasons map[string]int `json:"reasons"`
}

// Happened is an event of the day.
type Happened struct {
	At   Clock  `json:"at"`
	Text string `json:"text"`
}

// Clock is a time of day.
type Clock time.Duration

// MarshalJSON writes HH:MM:SS.
func (c Clock) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// String writes HH:MM, with seconds if there are any.
func (c Clock) String() string { return clock(time.Duration(c)) }

// mostSteps is about how many steps a day has in the lists of a result.
const mostSteps = 288

// tally counts what happens.
type tally struct {
	Result
	step     time.Duration
	took     []float32 // times to the first answer, in milliseconds
	troubles map[string]*Trouble
	left     map[string]Move
}

func newTally(cfg *Config) *tally {
	t := &tally{step: max((cfg.To-cfg.From)/mostSteps, time.Second).Round(time.Second), troubles: make(map[string]*Trouble), left: make(map[string]Move)}
	t.From, t.To, t.Step, t.Refused = Clock(cfg.From), Clock(cfg.To), t.step.Seconds(), make(map[string]int)
	steps := int((cfg.To - cfg.From + t.step - 1) / t.step)
	for _, c := range sorted(cfg.Telco.Clusters) {
		t.Clusters = append(t.Clusters, Cluster{
			ID: c.ID, Load: make([]float64, steps), Quality: make([]*float64, steps), MovesIn: make([]int, steps), MovesOut: make([]int, steps),
		})
	}
	t.Moves, t.Left, t.Groups, t.Events = []Move{}, []Move{}, []Trouble{}, []Happened{}
	t.Settings = []string{}
	for _, e := range cfg.Events {
		if e.At < 0 {
			t.Settings = append(t.Settings, e.what())
			continue
		}
		t.Events = append(t.Events, Happened{Clock(e.At), e.what()})
		if e.Until > 0 && e.Until < cfg.To {
			t.Events = append(t.Events, Happened{Clock(e.Until), "end of " + e.what()})
		}
	}
	slices.SortStableFunc(t.Events, func(x, y Happened) int { return cmp.Compare(x.At, y.At) })
	return t
}

// at is the step of a time; negative: the day has not begun.
func (t *tally) at(now time.Duration) int {
	since := now - time.Duration(t.From)
	if since < 0 {
		return -1
	}
	return min(int(since/t.step), len(t.Clusters[0].Load)-1)
}

func (t *tally) refuse(r tandem.Refusal, home *place) {
	t.Refused[r.Reason]++
	if home != nil {
		t.Clusters[home.number].Refused++
	}
	x := t.troubles[r.Group]
	if x == nil {
		x = &Trouble{Group: r.Group, Reasons: make(map[string]int)}
		t.troubles[r.Group] = x
	}
	x.Refused++
	x.Reasons[r.Reason]++
}

func (t *tally) admit(home *place) {
	t.Admitted++
	t.Clusters[home.number].Calls++
}

func (t *tally) setUp(took time.Duration) {
	t.took = append(t.took, float32(took.Seconds()*1000))
}

func (t *tally) cut(home *place) {
	t.Cut++
	t.Clusters[home.number].Cut++
}

// move notes what tier 1 decided about a group that was on a cluster, or on none.
func (t *tally) move(now time.Duration, a *tandem.Assignment, from, to *place) {
	delete(t.left, a.ID)
	m := Move{At: max(Clock(now.Truncate(time.Millisecond)), t.From), Group: a.ID, To: a.Cluster, Reason: a.Reason, Text: a.Text}
	step := t.at(now)
	if from != nil {
		m.From = from.cluster.ID
		if step >= 0 {
			c := &t.Clusters[from.number]
			c.Out++
			c.MovesOut[step]++
		}
	}
	if to == nil {
		t.left[a.ID] = m
	} else if step >= 0 {
		c := &t.Clusters[to.number]
		c.In++
		c.MovesIn[step]++
	}
	if step >= 0 {
		t.Moves = append(t.Moves, m)
	}
}

// look notes load and quality of each cluster.
func (t *tally) look(p *play, table *lb.Table) {
	step := t.at(p.now)
	if step < 0 {
		return
	}
	for _, home := range p.places {
		c := &t.Clusters[home.number]
		load := round(float64(home.calls)/float64(max(home.capacity, 1)), 1000)
		c.Load[step] = max(c.Load[step], load)
		c.PeakLoad = max(c.PeakLoad, load)
		if c.Capacity == 0 {
			c.Capacity = home.capacity
		}
		if home.calls > c.Peak {
			c.Peak, c.PeakAt = home.calls, Clock(p.now.Truncate(time.Second))
		}
	}
	for i := range table.Clusters {
		status := &table.Clusters[i]
		if q := quality(status); q != nil {
			c := &t.Clusters[p.places[status.ID].number]
			for _, lowest := range []**float64{&c.Quality[step], &c.Worst} {
				if *lowest == nil || *q < **lowest {
					*lowest = q
				}
			}
		}
	}
}

// quality is what a caller through a cluster would get: the mean of the nodes that take calls, or if
// there are none, of those that do not for their quality; nil when nothing is known.
func quality(c *lb.ClusterStatus) *float64 {
	if c.Score >= 0 {
		q := round(float64(c.Score), 10)
		return &q
	}
	sum, n, down := 0.0, 0, false
	for i := range c.Nodes {
		switch x := &c.Nodes[i]; {
		case x.State == lb.StateDegraded && x.Score >= 0:
			sum, n = sum+float64(x.Score), n+1
		case x.State == lb.StateDown:
			down = true
		}
	}
	switch q := 0.0; {
	case n > 0:
		q = round(sum/float64(n), 10)
		return &q
	case down:
		return &q
	}
	return nil
}

func round(f, parts float64) float64 { return math.Round(f*parts) / parts }

// result closes the count.
func (t *tally) result(p *play) *Result {
	r := &t.Result
	for _, home := range p.places {
		r.Up += home.calls
	}
	slices.Sort(t.took)
	if n := len(t.took); n > 0 {
		r.SetUp50, r.SetUp99 = round(float64(t.took[n/2]), 10), round(float64(t.took[n*99/100]), 10)
	}
	for _, x := range t.troubles {
		r.Groups = append(r.Groups, *x)
	}
	slices.SortFunc(r.Groups, func(x, y Trouble) int {
		return cmp.Or(cmp.Compare(y.Refused, x.Refused), naturally(x.Group, y.Group))
	})
	for _, x := range t.left {
		r.Left = append(r.Left, x)
	}
	slices.SortFunc(r.Left, func(x, y Move) int { return naturally(x.Group, y.Group) })
	return r
}
