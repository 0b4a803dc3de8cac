package sipproxy

import (
	"context"
	"errors"
	"hash/maphash"
	"net/http"
	"strconv"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/directory"
	"tandem/sipproxy/location"
	"tandem/sipproxy/wire"
)

// Bindings are written by goroutines of their own: a store that stalls holds up registrations, and
// nothing else.
const (
	writers       = 16              // goroutines that write
	writerQueue   = 256             // registrations that may wait for one of them
	storePatience = 2 * time.Second // for the wait and the writing together
)

// Why a registration is not bound, beside what the location table says.
var (
	errBusy = errors.New("the store takes no bindings in time")
	errGone = errors.New("the device is gone")
)

// bindJob is a registration on its way to the store.
type bindJob struct {
	req  *location.Request
	at   time.Time
	w    *worker                               // whose request it is
	done func(all []tandem.Binding, err error) // called by that worker
}

// bind writes a registration and calls reply, once it is written, with the answer: all bindings
// (RFC 3261 section 10.3 step 8), or why there are none.
func (w *worker) bind(req *location.Request, reply func(*refusal)) {
	done := func(all []tandem.Binding, err error) {
		if err != nil {
			reply(w.notBound(err))
			return
		}
		w.count.registrations.Add(1)
		reply(refuse(200, "OK", w.boundFields(all)...))
	}
	if !w.submit(bindJob{req, w.now, w, done}) {
		done(nil, errBusy)
	}
}

// queueBinding hands a job to the writer of its address of record, so that one's registrations keep
// their order; false when too many wait for it.
func (s *Server) queueBinding(j bindJob) bool {
	h := maphash.String(s.sockets.seed, j.req.Account) ^ maphash.String(s.sockets.seed, j.req.AOR)
	select {
	case s.writing[h%writers] <- j:
		return true
	default:
		return false
	}
}

// writeBindings serves one queue until ctx ends, then what is still waiting.
func (s *Server) writeBindings(ctx context.Context, queue chan bindJob) {
	for {
		select {
		case j := <-queue:
			s.writeBinding(j)
		case <-ctx.Done():
			for {
				select {
				case j := <-queue:
					s.writeBinding(j)
				default:
					return
				}
			}
		}
	}
}

// writeBinding does a job and tells its worker.
func (s *Server) writeBinding(j bindJob) {
	all, err := s.update(j)
	j.w.inbox <- event{kind: workDone, then: func() { j.done(all, err) }}
}

func (s *Server) update(j bindJob) ([]tandem.Binding, error) {
	ctx, cancel := context.WithDeadline(context.Background(), j.at.Add(storePatience))
	defer cancel()
	return s.location.Update(j.at, j.req, func(puts, deletes []tandem.Binding) error {
		// Asked while the address of record is held: Apply changes the directory first, then forgets
		// what is bound, and so misses nothing.
		if d := s.dir.DeviceByID(j.req.Device); d == nil || d.Account != j.req.Account || d.Username != j.req.AOR {
			return errGone
		}
		return s.persist(ctx, puts, deletes)
	})
}

// persist writes bindings so that they survive the process before anybody sees them.
func (s *Server) persist(ctx context.Context, puts, deletes []tandem.Binding) error {
	err := ctx.Err()
	if err == nil && len(puts) > 0 {
		err = s.deps.Bindings.PutBindings(ctx, puts)
	}
	if err == nil && len(deletes) > 0 {
		err = s.deps.Bindings.DeleteBindings(ctx, deletes)
	}
	if ctx.Err() != nil {
		return errBusy
	}
	return err
}

func (w *worker) boundFields(bindings []tandem.Binding) []wire.Header {
	fields := make([]wire.Header, 0, len(bindings)+1)
	for i := range bindings {
		b := &bindings[i]
		left := max(int64(b.Expires.Sub(w.now)/time.Second), 0)
		value := "<" + b.Contact + ">;expires=" + strconv.FormatInt(left, 10)
		if b.Q != 1000 {
			value += ";q=" + strconv.FormatFloat(float64(b.Q)/1000, 'f', -1, 64)
		}
		if b.Instance != "" {
			value += `;+sip.instance="` + b.Instance + `"`
		}
		if b.RegID != 0 {
			value += ";reg-id=" + strconv.FormatUint(uint64(b.RegID), 10)
		}
		fields = append(fields, wire.Field(wire.NameContact, value))
	}
	return append(fields, wire.Field(wire.NameDate, w.now.UTC().Format(http.TimeFormat)))
}

// notBound is the one place where the registrar's errors become status codes.
func (w *worker) notBound(err error) *refusal {
	switch {
	case errors.Is(err, location.ErrOrder):
		return refuse(500, "Server Internal Error: CSeq is not higher than before")
	case errors.Is(err, location.ErrBrief):
		return refuse(423, "", wire.Field(wire.NameMinExpires, strconv.Itoa(w.location.MinExpires())))
	case errors.Is(err, location.ErrTooMany):
		return refuse(403, "Forbidden: too many contacts")
	case errors.Is(err, location.ErrFull):
		return refuse(503, "Service Unavailable: location table full", wire.Field(wire.NameRetryAfter, "60"))
	case errors.Is(err, errBusy):
		w.count.persistErrors.Add(1)
		return refuse(503, "Service Unavailable: bindings cannot be written", wire.Field(wire.NameRetryAfter, "10"))
	case errors.Is(err, errGone):
		return refuse(403, "Forbidden")
	case errors.Is(err, location.ErrContact), errors.Is(err, location.ErrWildcard):
		return refuse(400, "Bad Request: malformed Contact")
	}
	w.count.persistErrors.Add(1)
	w.log.Error("bindings not written", "err", err)
	return refuse(500, "")
}

// unbind deletes bindings from the store.
func (s *Server) unbind(ctx context.Context, bs []tandem.Binding) error {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	return s.deps.Bindings.DeleteBindings(ctx, bs)
}

// namesLost returns the devices, as they are now, that the changes delete, rename or give to another
// account: what they have bound must go.
func (s *Server) namesLost(changes []tandem.Change) []*directory.Device {
	var lost []*directory.Device
	for _, c := range changes {
		if c.Kind != tandem.KindDevice {
			continue
		}
		old := s.dir.DeviceByID(c.ID)
		if old == nil {
			continue
		}
		if d, ok := c.Object.(*tandem.Device); !ok || d.Account != old.Account || d.Username != old.Username {
			lost = append(lost, old)
		}
	}
	return lost
}

// forget removes the bindings of devices that are no longer what they were.
func (s *Server) forget(devices []*directory.Device) {
	for _, d := range devices {
		err := s.location.Forget(d.Account, d.Username, d.ID, func(bs []tandem.Binding) error {
			return s.unbind(context.Background(), bs)
		})
		if err != nil {
			s.count.persistErrors.Add(1)
			s.log.Error("bindings of a deleted device not removed", "device", d.ID, "err", err)
		}
	}
}
