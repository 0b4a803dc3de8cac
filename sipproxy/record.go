package sipproxy

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"tandem/internal/tandem"
)

// CallLog is where calls are recorded. What RecordCalls returned for survives the process.
type CallLog interface {
	RecordCalls(context.Context, []tandem.Call) error
	OpenCalls(context.Context, func(tandem.Call) error) error
}

// Bounds of recording: records waiting to be written, and written at once; and how long the first
// of a batch waits for others after the last one was written, because a synced write costs the same for one as for many.
const (
	recordsWaiting = 65536
	recordsAtOnce  = 512
	recordsGather  = 25 * time.Millisecond
)

// recorder writes call records behind the workers' backs, in the order in which they were noted: at
// once while calls are few, at most 25 ms later while they are many, so that what a kill -9 can take
// is that much. When the store is so slow that too many wait, further ones are dropped and counted:
// the call goes on.
type recorder struct {
	*Server
	waiting chan *tandem.Call
}

func newRecorder(s *Server) *recorder {
	return &recorder{s, make(chan *tandem.Call, recordsWaiting)}
}

// note has the record written as it stands.
func (r *recorder) note(c tandem.Call) {
	if r.deps.Calls == nil {
		return
	}
	select {
	case r.waiting <- &c:
	default:
		r.count.callsUnrecorded.Add(1)
	}
}

// run writes until waiting is closed and empty: at once when it has not written for a while, so that
// of few calls a kill -9 takes nothing, and else when enough came together.
func (r *recorder) run() {
	batch := make([]tandem.Call, 0, recordsAtOnce)
	var last time.Time
	for c := range r.waiting {
		batch = append(batch[:0], *c)
		batch = r.gather(batch, recordsGather-time.Since(last))
		r.write(batch)
		last = time.Now()
	}
}

// gather adds to batch what waits already and what is noted until the time has passed, or there is
// enough, or no more comes.
func (r *recorder) gather(batch []tandem.Call, wait time.Duration) []tandem.Call {
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	for due := wait <= 0; len(batch) < recordsAtOnce; {
		select {
		case c, ok := <-r.waiting:
			if !ok {
				return batch
			}
			batch = append(batch, *c)
			continue
		default:
		}
		if due {
			return batch
		}
		select {
		case c, ok := <-r.waiting:
			if !ok {
				return batch
			}
			batch = append(batch, *c)
		case <-timer.C:
			due = true
		}
	}
	return batch
}

func (r *recorder) write(batch []tandem.Call) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.deps.Calls.RecordCalls(ctx, batch); err != nil {
		r.count.callsUnrecorded.Add(uint64(len(batch)))
		r.log.Error("calls not recorded", "calls", len(batch), "err", err)
	}
}

// takeUp brings back the calls that were open when the process ended: answered ones live on, for
// their next request finds its way by its token; those that were being set up get the time that
// ringing may take, for their answer still finds its way too. All hold their slots again. No worker
// runs yet.
func (s *Server) takeUp(ctx context.Context) error {
	if s.deps.Calls == nil {
		return nil
	}
	now := time.Now()
	var taken []*call
	err := s.deps.Calls.OpenCalls(ctx, func(kept tandem.Call) error {
		if len(kept.Dialogs) == 0 {
			kept.Enter(tandem.CallEnded, now)
			kept.Cause, kept.EndedBy = "lost", tandem.EndedByReaper
			s.recorder.note(kept)
			return nil
		}
		c := s.takeUpCall(kept, now)
		taken = append(taken, c)
		return nil
	})
	if err == nil && s.deps.Balancer != nil {
		s.joins.restore(taken)
	}
	return err
}

func (s *Server) takeUpCall(kept tandem.Call, now time.Time) *call {
	left := s.cfg.MaxAge - now.Sub(kept.Started)
	if !kept.WasAnswered() {
		left = min(left, s.cfg.RingTime)
	}
	w := s.workerOf(kept.CallID)
	c := &call{key: callKey{kept.CallID, kept.Dialogs[0].RemoteTag}, of: w, seen: kept}
	for i := range min(len(kept.Dialogs), len(c.cseqs)) {
		c.cseqs[i] = kept.Dialogs[i].CSeq
	}
	c.leap = leap
	w.calls.keep(c)
	w.ladders.open(c.key, kept.ID, kept.Account, now)
	// The session timer of its record is not believed: refreshes since are not recorded. Its sides are asked
	// instead, not those of all calls at once.
	c.vitals.age, c.vitals.heard = now.Add(max(left, time.Second)), now.Add(-rand.N(s.cfg.SilentAfter/2+1))
	w.now = now
	c.watch(w)
	return c
}

// restore makes the holds of calls that were taken up, the legs of one call together.
func (j *joins) restore(taken []*call) {
	legs := make(map[string][]*call, len(taken))
	for _, c := range taken {
		id := cmp.Or(c.seen.Joined, c.seen.ID)
		legs[id] = append(legs[id], c)
	}
	for id, of := range legs {
		first := of[0]
		var groups []string
		for _, c := range of {
			if c.seen.Joined == "" {
				first = c
			}
			for _, g := range c.seen.Groups {
				if !slices.Contains(groups, g) {
					groups = append(groups, g)
				}
			}
		}
		first.seat = j.open(id, first.seen.Session, groups, j.balancer.Restore(groups, first.seen.Node, first.seen.WasAnswered()))
		first.seat.id = first.seen.ID
		for _, c := range of {
			if c == first {
				continue
			}
			c.seat = j.join(id, "")
			c.seat.id = c.seen.ID
			if c.seen.Node != "" && c.seen.Type != "core" {
				c.seat.slot = j.balancer.Restore(nil, c.seen.Node, c.seen.WasAnswered())
			}
		}
	}
}

// refused records a call that was refused before it went anywhere, if who made it is known: what
// strangers send is counted, not kept. p is its plan, nil when it was refused before there was one.
func (w *worker) refused(a *ask, p *plan, r *refusal) {
	if a.m.Method != "INVITE" || a.m.To.Tag != "" || a.device == nil && a.peer == nil {
		return
	}
	c := tandem.Call{
		ID: tandem.NewCallID(w.now), CallID: a.m.CallID, Type: string(tandem.TypeInvite),
		From: party(a.m.From.URI), To: party(a.m.To.URI),
		Cause: cmp.Or(r.unmet, strconv.Itoa(r.status)), Status: uint16(r.status), Reason: cmp.Or(r.unmet, r.reason),
		EndedBy: tandem.EndedByAppliance, Session: sessionID(a.m),
	}
	if a.peer != nil && a.peer.Role == tandem.PeerCore {
		c.Type = "core"
	}
	if a.account != nil {
		c.Account = a.account.ID
	}
	if p != nil {
		c.Account, c.Type, c.Route = p.account, p.typ, p.route
		for _, g := range p.groups {
			if g != "" && !slices.Contains(c.Groups, g) {
				c.Groups = append(c.Groups, g)
			}
		}
	}
	if a.device != nil {
		c.Device, c.User = a.device.ID, a.device.User
	}
	c.Enter(tandem.CallTrying, w.now)
	c.Enter(tandem.CallEnded, w.now)
	w.ladders.refused(w, a, c.ID, c.Account)
	w.recorder.note(c)
}
