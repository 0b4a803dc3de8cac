package lb

import (
	"math"
	"slices"
	"time"
)

// Score is quality on the scale of the R factor (ITU-T G.107): 93 is the best that telephone speech
// reaches, 80 satisfies, below 60 nearly everybody complains. Negative is Unknown.
type Score float64

// Unknown is the score of what has not been measured.
const Unknown Score = -1

// bestScore is what nothing ails.
const bestScore = 93.2

// Part names one way in which quality is measured.
type Part string

// The parts of quality. A node's score is that of its worst known part.
const (
	PartProbe Part = "probe"  // round trip and loss of OPTIONS
	PartSetUp Part = "set-up" // time to the first answer of an INVITE, share of 5xx and time-outs
	PartLoad  Part = "load"   // what the node says of itself
	PartVoice Part = "voice"  // what phones report (RFC 6035)
)

// State is how a node or cluster is found to be.
type State string

// The states. New calls go to what is good or unknown; unknown reaches no group's minimum quality
// unless the policy says so.
const (
	StateUnknown  State = "unknown"
	StateGood     State = "good"
	StateDegraded State = "degraded"
	StateDown     State = "down"
)

// Quality is the policy of how measurements become a state. Zero values mean the default beside them.
type Quality struct {
	Required   []Part        `yaml:"required"`   // parts without which a node is unknown; none
	Low        Score         `yaml:"low"`        // below it a node degrades; 60
	High       Score         `yaml:"high"`       // from it on a node recovers; 70
	CloseAfter time.Duration `yaml:"closeAfter"` // time in all clearly below Low before it closes; 1s
	OpenAfter  time.Duration `yaml:"openAfter"`  // time in all from High on before it opens; 2s
	Timeouts   int           `yaml:"timeouts"`   // time-outs of traffic in a row that mean down; 5
	DownAfter  int           `yaml:"downAfter"`  // probes in a row that are missed when a node is down; 4
	UpAfter    int           `yaml:"upAfter"`    // probes in a row that one which was down answers before it is up; 3
	// VoiceAccounts is of how many accounts phones must have reported on a node before that counts; 2.
	VoiceAccounts int `yaml:"voiceAccounts"`
}

// Smoothing, by time, and age at which a part counts as unknown.
const (
	probeTau, probeStale = 2 * time.Second, 5 * time.Second
	setUpTau, setUpStale = 3 * time.Second, 4 * time.Second // stale after back-off: see watch.trial
	answerTau            = 1500 * time.Millisecond
	loadTau, loadStale   = 3 * time.Second, 15 * time.Second
	voiceTau, voiceStale = 2 * time.Minute, 10 * time.Minute
)

// newness is how long a node that became known may refuse before that is believed.
const newness = 15 * time.Second

// silence is how long after its last refusal a node that takes a probe without a word has come up.
const silence = 100 * time.Millisecond

// warmUp is how many samples a part needs before it is known, and burst how many probes follow at once
// where they are due.
const (
	warmUp = 3
	burst  = 3
)

// deep is how far below Low a score by probes is clearly bad.
const deep = 25

// probeLeast is the least weight of a probe: some twenty of them tell the loss.
const probeLeast = 0.05

// mean is an average that forgets: a sample's weight grows with the time since the one before it.
type mean struct {
	value float64
	n     int
	at    time.Time
}

// add takes a sample; what went stale meanwhile is forgotten first. Its weight is at least that in a plain average of the first ten, and otherwise
// not over a tenth when the last was long ago: a rare failure is no trend.
func (m *mean) add(now time.Time, v float64, tau, stale time.Duration) {
	m.weigh(now, v, tau, stale, 0)
}

// weigh is add with a least weight: samples that are taken on purpose, one soon after the other, count for
// their number.
func (m *mean) weigh(now time.Time, v float64, tau, stale time.Duration, least float64) {
	if now.Sub(m.at) > stale {
		*m = mean{}
	}
	weight := min(max(-math.Expm1(-float64(now.Sub(m.at))/float64(tau)), least), 0.1)
	m.n++
	if m.n <= 10 {
		weight = max(weight, 1/float64(m.n))
	}
	m.value += weight * (v - m.value)
	m.at = now
}

func (m *mean) known(now time.Time, stale time.Duration) bool {
	return m.n >= warmUp && now.Sub(m.at) <= stale
}

// watch keeps what was measured of one node. Its owner serialises calls.
type watch struct {
	policy Quality
	state  State
	why    string // of a state that takes no calls
	score  Score

	trip, loss, answer, load mean
	voice                    voices
	callers                  callers

	missed   int           // probes in a row
	timeouts int           // of traffic, in a row
	waiting  string        // the account of the first of them
	several  bool          // they are of several accounts
	answered int           // probes since it went down
	under    time.Duration // below Low while good, from High on while not
	seen     time.Time     // last look
	since    time.Time     // of the state
	opened   time.Time     // last time it became good again
	spoke    bool          // it has answered a probe at some time
	alive    bool          // it has answered anything at some time
	known    time.Time     // first look
	trial    int           // how often it closed soon after that: back-off doubles
	turned   time.Time     // since when it is in its state
	checked  time.Time     // last probe or call that told something
	recall
}

func newWatch(policy Quality) *watch {
	return &watch{policy: policy, state: StateUnknown, score: Unknown, recall: recall{share: 1}}
}

// probed takes the outcome of one OPTIONS. It reports whether a burst of probes is due: after the first
// miss, and while there is doubt.
//
// A node that never answered a probe has said nothing about itself by not answering: it may not know
// OPTIONS. Only one that fell silent is missed.
func (w *watch) probed(now time.Time, trip time.Duration, ok bool) bool {
	w.checked = now
	if !ok && !w.spoke {
		if w.state == StateDown && now.Sub(w.since) >= silence {
			w.turn(now, StateUnknown, "") // nothing refuses any more
		}
		return false
	}
	if !w.spoke && w.state == StateDown {
		w.turn(now, StateUnknown, "") // it appears: no recovery that must prove itself
	}
	w.spoke, w.alive = true, true
	if !ok {
		w.missed++
		w.answered = 0
		w.loss.weigh(now, 1, probeTau, w.stale(), probeLeast)
		if w.missed >= w.policy.DownAfter {
			w.fall(now, "probes are not answered")
		}
		return w.state != StateDown && (w.missed%burst == 1 || w.doubtful())
	}
	if w.state == StateDown && w.answered == 0 {
		w.trip, w.loss = mean{}, mean{} // of its life before
	}
	w.missed = 0
	w.answered++
	w.loss.weigh(now, 0, probeTau, w.stale(), probeLeast)
	w.trip.add(now, trip.Seconds(), probeTau, w.stale())
	return w.doubtful()
}

// doubtful reports whether probes speak against the state that the node is in: more of them, soon, tell
// a rare miss from a trend, and the end of trouble from a moment of respite.
func (w *watch) doubtful() bool {
	if w.loss.n < warmUp || w.trip.n == 0 {
		return false
	}
	switch w.state {
	case StateGood:
		return w.loss.value > probeLeast
	case StateDegraded:
		return speech(w.trip.value/2, w.loss.value) < w.policy.High && w.missed == 0
	}
	return false
}

// attempt is how one INVITE fared.
type attempt struct {
	account          string
	took             time.Duration // to its first answer
	failed, timedOut bool          // by a 5xx; without any answer
}

// setUp takes the outcome of one INVITE.
func (w *watch) setUp(now time.Time, x attempt) {
	w.checked = now
	sample := 0.0
	if x.failed || x.timedOut {
		sample = 1
	}
	w.callers.add(now, x.account, sample, w.backOff(setUpStale))
	if !x.timedOut {
		w.answer.add(now, x.took.Seconds(), answerTau, w.backOff(setUpStale))
		w.timeouts = 0
		if w.state == StateDown && !w.spoke {
			w.turn(now, StateUnknown, "") // it answers calls
		}
		w.alive = true
		return
	}
	if w.timeouts == 0 {
		w.waiting, w.several = x.account, false
	}
	w.several = w.several || x.account != w.waiting
	if w.timeouts++; w.timeouts >= w.policy.Timeouts && (w.several || w.callers.alone(now)) {
		w.fall(now, "calls time out")
	}
}

// fall takes the node down at once.
func (w *watch) fall(now time.Time, why string) {
	w.since, w.checked = now, now // what keeps failing stays down
	w.recalled = false
	if w.state != StateDown {
		w.turn(now, StateDown, why)
		w.answered = 0
		w.callers.forget()
		w.answer = mean{}
	}
}

func (w *watch) turn(now time.Time, state State, why string) {
	if w.state == StateGood && now.Sub(w.opened) < time.Minute && !w.opened.IsZero() {
		w.trial = min(w.trial+1, 4)
	} else if w.state == StateGood {
		w.trial = 0
	}
	if state == StateGood && (w.state == StateDown || w.state == StateDegraded) {
		w.opened = now
	}
	w.state, w.why, w.since, w.turned, w.under = state, why, now, now, 0
	w.timeouts, w.recalled = 0, false
}

// backOff doubles d each time that the node closed within a minute of opening, to sixteenfold.
func (w *watch) backOff(d time.Duration) time.Duration { return d << w.trial }

// parts returns the known parts' scores.
func (w *watch) parts(now time.Time) map[Part]Score {
	parts := make(map[Part]Score, 4)
	if w.loss.known(now, w.stale()) && w.trip.n > 0 {
		parts[PartProbe] = speech(w.trip.value/2, w.loss.value)
	}
	if failed, samples := w.callers.failed(now, w.backOff(setUpStale)); samples >= warmUp {
		parts[PartSetUp] = max(speech(0, failed)-Score(40*max(w.answer.value-0.5, 0)), 0)
	}
	if w.load.n > 0 && now.Sub(w.load.at) <= loadStale {
		parts[PartLoad] = Score(min(max(bestScore-215*max(w.load.value-0.8, 0), 0), bestScore))
	}
	if mos, accounts := w.voice.heard(now); accounts > 0 {
		parts[PartVoice] = rating(mos)
	}
	return parts
}

// failed is the share of set-ups that failed of late.
func (w *watch) failed(now time.Time) float64 {
	share, _ := w.callers.failed(now, w.backOff(setUpStale))
	return share
}

// untried reports whether a node that is down may just not have been started yet: it is new here and
// has never answered anything.
func (w *watch) untried(now time.Time) bool {
	return w.state == StateDown && !w.alive && now.Sub(w.known) < newness
}

// look brings score and state up to now; it reports whether the state changed.
func (w *watch) look(now time.Time) bool {
	if w.known.IsZero() {
		w.known = now
	}
	parts := w.parts(now)
	before := w.state
	passed := min(now.Sub(w.seen), time.Second)
	w.seen = now
	worst := Part("")
	w.score = Unknown
	_, voices := w.voice.heard(now)
	for _, part := range [...]Part{PartProbe, PartSetUp, PartLoad, PartVoice} {
		if part == PartVoice && voices < w.policy.VoiceAccounts {
			continue // one customer's complaint is that customer's
		}
		if s, ok := parts[part]; ok && (w.score < 0 || s < w.score) {
			w.score, worst = s, part
		}
	}
	for _, part := range w.policy.Required {
		if _, ok := parts[part]; !ok {
			w.score = Unknown
		}
	}
	w.recalled = w.recalled && w.score < 0
	w.judge(now, passed, worst)
	return w.state != before
}

func (w *watch) judge(now time.Time, passed time.Duration, worst Part) {
	switch {
	case w.score < 0 && w.holds(now): // as it was found before
	case w.state == StateDown && w.answered == 0:
		// Nothing answers. Where nobody probes, it is tried again after a while.
		if w.loss.n == 0 && now.Sub(w.since) > w.backOff(setUpStale) {
			w.turn(now, StateUnknown, "")
		}
	case w.score < 0 && w.state != StateDown:
		if w.state != StateUnknown {
			w.turn(now, StateUnknown, "")
		}
	case w.state == StateUnknown && w.score >= w.policy.Low:
		w.turn(now, StateGood, "")
	case w.state == StateUnknown:
		w.turn(now, StateDegraded, "low quality: "+string(worst))
	case w.state == StateGood:
		if w.lean(w.short(passed, worst), w.score < w.policy.Low) >= w.policy.CloseAfter {
			w.turn(now, StateDegraded, "low quality: "+string(worst))
		}
	default:
		long := w.lean(passed, w.score >= w.policy.High && w.missed == 0) >= w.backOff(w.policy.OpenAfter)
		if long && (w.state != StateDown || w.answered >= w.policy.UpAfter) {
			w.turn(now, StateGood, "")
		}
	}
}

// short is passed time as it counts for a score below Low. Of probes there are few: what they show to be clearly
// bad closes soon, what is barely so only when it lasts.
func (w *watch) short(passed time.Duration, worst Part) time.Duration {
	if w.score >= w.policy.Low || worst != PartProbe {
		return passed
	}
	return time.Duration(float64(passed) * min(max(float64(w.policy.Low-w.score)/deep, 0.1), 1))
}

// lean adds passed time while towards holds and takes half of it away while not, so that neither one sample
// nor one moment of respite decides.
func (w *watch) lean(passed time.Duration, towards bool) time.Duration {
	if towards {
		w.under += passed
	} else {
		w.under = max(w.under-passed/2, 0)
	}
	return w.under
}

// speech is the R factor of G.711 with concealment (ITU-T G.107, G.113 appendix I: Ie 0, Bpl 25.1)
// at a one-way delay in seconds (the usual approximation of Id) and a share of lost packets.
func speech(delay, loss float64) Score {
	ms := delay * 1000
	late := 0.024*ms + 0.11*max(ms-177.3, 0)
	percent := 100 * min(max(loss, 0), 1)
	return Score(max(bestScore-late-95*percent/(percent+25.1), 0))
}

// rating is the R factor of a mean opinion score (ITU-T G.107 annex B, inverted by bisection).
func rating(mos float64) Score {
	low, high := 6.5, 100.0 // below 6.5 the formula is not monotonic
	for range 40 {
		r := (low + high) / 2
		if 1+0.035*r+r*(r-60)*(100-r)*7e-6 < mos {
			low = r
		} else {
			high = r
		}
	}
	return Score(min(low, bestScore))
}

// together is the state of a cluster from its nodes' states.
func together(states []State) State {
	for _, s := range [...]State{StateGood, StateUnknown, StateDegraded, StateDown} {
		if slices.Contains(states, s) {
			return s
		}
	}
	return StateDown
}
