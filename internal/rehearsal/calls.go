package rehearsal

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"tandem/internal/tandem"
)

// Call is one attempt to call somebody.
type Call struct {
	At       time.Duration // since midnight
	Ring     time.Duration // from the first answer until it is answered or given up
	Talk     time.Duration // from then on; zero: never answered
	Group    string        // of the called side, or the only one
	Other    string        // of the other side, when that has one too
	Answered bool
}

// Traffic is a day of calls to be made up: more of them by day, fewer at lunch, hardly any at night.
type Traffic struct {
	PerHour    float64       // in the busiest hour
	Talk       time.Duration // mean; lengths are log-normal, so that most are far shorter and a few far longer
	SameGroup  float64       // share of calls within one group
	CrossGroup float64       // share of calls from one group to another; the others have one side outside
	From, To   time.Duration // the part of the day that is wanted
	Seed       uint64
}

// How people call.
const (
	answeredShare = 0.75
	meanRing      = 9 * time.Second
	longestRing   = 2 * time.Minute
	talkSigma     = 1.2
	longestTalk   = 4 * time.Hour
	mostCalls     = 20_000_000
)

// curve returns how busy each full hour is, of the busiest.
func curve() [25]float64 {
	return [25]float64{
		0.04, 0.03, 0.02, 0.02, 0.03, 0.06, 0.14, 0.32, 0.66, 0.93, 1, 0.94,
		0.7, 0.66, 0.86, 0.92, 0.86, 0.68, 0.5, 0.42, 0.34, 0.24, 0.14, 0.07, 0.04,
	}
}

// busy returns how busy a time of day is, of the busiest.
func busy(hours *[25]float64, at time.Duration) float64 {
	h := min(max(at.Hours(), 0), 23.999999)
	i := int(h)
	return hours[i] + (hours[i+1]-hours[i])*(h-float64(i))
}

// Validate reports traffic that cannot be.
func (t Traffic) Validate() error {
	switch {
	case !(t.PerHour > 0) || t.PerHour*12 > mostCalls:
		return fmt.Errorf("%.0f calls an hour: it is more than none, and at most %d", t.PerHour, mostCalls/12)
	case t.Talk < time.Second || t.Talk > time.Hour:
		return fmt.Errorf("mean talk of %v: it is 1s to 1h", t.Talk)
	case !(t.SameGroup >= 0 && t.CrossGroup >= 0 && t.SameGroup+t.CrossGroup <= 1):
		return fmt.Errorf("%.0f %% within groups and %.0f %% between them: together they are at most 100 %%", t.SameGroup*100, t.CrossGroup*100)
	}
	return nil
}

// Busiest returns how many communications are up at once in the busiest hour, as groups count them:
// a call between two groups in both.
func (t Traffic) Busiest() float64 { return t.PerHour * t.each() }

// PerHourFor returns the calls in the busiest hour that come to so many communications at once.
func (t Traffic) PerHourFor(busiest float64) float64 { return busiest / t.each() }

// each is how many communications at once one call an hour comes to.
func (t Traffic) each() float64 {
	return (answeredShare*t.Talk.Hours() + meanRing.Hours()) * (1 + t.CrossGroup)
}

// Calls makes the calls up, in order. A group has as many as it is expected to have.
func (t Traffic) Calls(groups []*tandem.Group) []Call {
	r := rand.New(rand.NewPCG(t.Seed, 2))
	draw := drawer(groups, r)
	hours := curve()
	mu := math.Log(t.Talk.Seconds()) - talkSigma*talkSigma/2
	var calls []Call
	for at := t.From.Seconds(); ; {
		at += r.ExpFloat64() * 3600 / t.PerHour
		when := seconds(at)
		if when >= t.To {
			return calls
		}
		if r.Float64() >= busy(&hours, when) {
			continue
		}
		c := Call{At: when, Group: draw(), Ring: min(seconds(r.ExpFloat64()*meanRing.Seconds()), longestRing)}
		switch dice := r.Float64(); {
		case dice < t.SameGroup:
			c.Other = c.Group
		case dice < t.SameGroup+t.CrossGroup:
			c.Other = draw()
		}
		if c.Answered = r.Float64() < answeredShare; c.Answered {
			c.Talk = min(seconds(math.Exp(mu+talkSigma*r.NormFloat64())), longestTalk)
		}
		calls = append(calls, c)
	}
}

// drawer returns what draws a group by its size.
func drawer(groups []*tandem.Group, r *rand.Rand) func() string {
	sums, sum := make([]float64, len(groups)), 0.0
	for i, g := range groups {
		sum += float64(expectedOf(g, 1))
		sums[i] = sum
	}
	return func() string {
		i, _ := slices.BinarySearchFunc(sums, r.Float64()*sum, func(x, want float64) int { return cmp.Compare(x, want) })
		return groups[min(i, len(groups)-1)].ID
	}
}

// expectedOf is how many communications a group expects; other when it does not say.
func expectedOf(g *tandem.Group, other int) int {
	if g.Expected == nil {
		return other
	}
	return *g.Expected
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
