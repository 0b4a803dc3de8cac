package sipproxy

import (
	"context"
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
// of a batch waits for others, because a synced write costs the same for one as for many.
const (
	recordsWaiting = 65536
	recordsAtOnce  = 512
	recordsGather  = 25 * time.Millisecond
)

// recorder writes call records behind the workers' backs, in the order in which they were noted and
// some 25 ms later, so that what a kill -9 can take is that much. When the store is so slow that too many wait, further ones are dropped and counted: the call goes on.
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

// run writes until waiting is closed and empty.
func (r *recorder) run() {
	batch := make([]tandem.Call, 0, recordsAtOnce)
	for c := range r.waiting {
		batch = append(batch[:0], *c)
		r.write(r.gather(batch))
	}
}

// gather adds to batch what is noted until it is time to write, or there is enough, or no more comes.
func (r *recorder) gather(batch []tandem.Call) []tandem.Call {
	timer := time.NewTimer(recordsGather)
	defer timer.Stop()
	for len(batch) < recordsAtOnce {
		select {
		case c, ok := <-r.waiting:
			if !ok {
				return batch
			}
			batch = append(batch, *c)
		case <-timer.C:
			return batch
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
// ringing may take, for their answer still finds its way too. No worker runs yet.
func (s *Server) takeUp(ctx context.Context) error {
	if s.deps.Calls == nil {
		return nil
	}
	now := time.Now()
	return s.deps.Calls.OpenCalls(ctx, func(kept tandem.Call) error {
		if len(kept.Dialogs) == 0 {
			kept.Enter(tandem.CallEnded, now)
			kept.Cause, kept.EndedBy = "lost", tandem.EndedByReaper
			s.recorder.note(kept)
			return nil
		}
		left := longest - now.Sub(kept.Started)
		if !kept.WasAnswered() {
			left = min(left, s.cfg.RingTime)
		}
		w := s.workerOf(kept.CallID)
		c := &call{key: callKey{kept.CallID, kept.Dialogs[0].RemoteTag}, of: w, seen: kept}
		for i := range min(len(kept.Dialogs), len(c.cseqs)) {
			c.cseqs[i] = kept.Dialogs[i].CSeq + leap
		}
		w.calls.live[c.key] = c
		w.alarms.set(&c.old, c, limitAlarm, now.Add(max(left, time.Second)))
		return nil
	})
}

// refused records a call that was refused before it went anywhere, if who made it is known: what
// strangers send is counted, not kept.
func (w *worker) refused(a *ask, r *refusal) {
	if a.m.Method != "INVITE" || a.m.To.Tag != "" || a.device == nil && a.peer == nil {
		return
	}
	c := tandem.Call{
		ID: tandem.NewCallID(w.now), CallID: a.m.CallID, Type: string(tandem.TypeInvite),
		From: party(a.m.From.URI), To: party(a.m.To.URI),
		Cause: strconv.Itoa(r.status), Status: uint16(r.status), Reason: r.reason, EndedBy: tandem.EndedByAppliance,
	}
	if a.peer != nil && a.peer.Role == tandem.PeerCore {
		c.Type = "core"
	}
	if a.account != nil {
		c.Account = a.account.ID
	}
	if a.device != nil {
		c.Device = a.device.ID
	}
	c.Enter(tandem.CallTrying, w.now)
	c.Enter(tandem.CallEnded, w.now)
	w.recorder.note(c)
}
