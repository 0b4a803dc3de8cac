package sipproxy

import (
	"time"

	"tandem/internal/tandem"
)

// mostAsking bounds the calls that wait for tier 2 at once.
const mostAsking = 4096

// wait asks tier 2 beside the worker, which has other calls to serve while others are asked for a slot.
func (f *forwarding) wait(a *ask, q *petition) {
	w := f.w
	select {
	case w.asking <- struct{}{}:
	default:
		q.joined.leave()
		f.refuse(a, unmet(tandem.Refusal{Code: 503, Reason: "lease", RetryAfter: 5 * time.Second}))
		return
	}
	f.waiting = true
	f.tx.respond(a.m.Response(100, "Trying", ""))
	w.petitions.Go(func() {
		got, refused := w.deps.Balancer.Admit(q.Admission)
		<-w.asking
		then := func() {
			f.waiting = false
			f.judged(a, q, got, refused)
		}
		select {
		case w.inbox <- event{kind: workDone, then: then}:
		case <-w.over:
			if got.Slot != 0 {
				w.deps.Balancer.Release(got.Slot)
			}
		}
	})
}

// judged goes on with a call that tier 2 has judged.
func (f *forwarding) judged(a *ask, q *petition, got tandem.Admitted, refused tandem.Refusal) {
	seat, r := f.w.judged(a, f.plan, q, got, refused)
	if r != nil {
		f.refuse(a, r)
		return
	}
	f.begin(a, seat)
}

// refuse ends a call that goes nowhere.
func (f *forwarding) refuse(a *ask, r *refusal) {
	f.done = true
	f.w.refused(a, f.plan, r)
	f.w.count.answered.Add(1)
	f.tx.respond(f.w.refusalMessage(a.m, r))
}

// begin notes a new call, and sends it on its way. A call that cannot be noted has no end that could give
// its slots back: it is refused, unless lives depend on it.
func (f *forwarding) begin(a *ask, seat *seat) {
	w := f.w
	if a.m.To.Tag == "" {
		if f.call = w.calls.begin(w, a, f.plan, seat); f.call != nil {
			f.call.invites = append(f.call.invites, f)
		} else if seat != nil {
			seat.leave()
			if f.plan.typ != string(tandem.TypeEmergency) {
				f.refuse(a, unmet(tandem.Refusal{Code: 503, Reason: "capacity", RetryAfter: 5 * time.Second}))
				return
			}
		}
	}
	if f.cancelled { // while it waited
		m := f.tx.req.Response(487, statusText(487), w.branches.tag(f.tx.req))
		f.call.failed(w, f, m)
		f.finish(m)
		return
	}
	if f.tx.state == calling {
		f.tx.respond(a.m.Response(100, "Trying", ""))
	}
	f.launch()
}

// launch sends all branches.
func (f *forwarding) launch() {
	p := f.plan
	f.legs = make([]*leg, len(p.legs))
	for i := range p.legs {
		f.legs[i] = &leg{f: f, plan: p.legs[i]}
	}
	for _, l := range f.legs {
		l.try()
	}
	f.settle()
}
