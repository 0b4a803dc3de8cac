package lb_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/tandem"
	"tandem/lb"
)

// disk is Shares in memory. One that forgets is the twin of one that keeps.
type disk struct {
	mu      sync.Mutex
	forgets bool
	broken  bool
	saves   int
	shares  map[[2]string]lb.Share
}

func (d *disk) Load(context.Context) ([]lb.Share, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Values(d.shares)), nil
}

func (d *disk) Save(_ context.Context, shares []lb.Share) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saves++
	switch {
	case d.broken:
		return errors.New("no space left")
	case d.forgets:
		return nil
	case d.shares == nil:
		d.shares = make(map[[2]string]lb.Share)
	}
	for _, x := range shares {
		if d.shares[[2]string{x.Instance, x.Group}] = x; x.Held == 0 {
			delete(d.shares, [2]string{x.Instance, x.Group})
		}
	}
	return nil
}

// wire carries requests to a grantor in this process, as the instance whose certificate it shows.
type wire struct {
	name string
	to   func() http.Handler

	mu    sync.Mutex
	r     *rand.Rand
	cut   bool
	noisy bool     // loses some
	late  [][]byte // copies of what was sent
}

var errCut = errors.New("cut")

func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
}

// fault notes what is sent and says what becomes of it.
func (w *wire) fault(body []byte) (lost, lostAnswer bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = append(w.late[max(0, len(w.late)-3):], body)
	if w.cut || !w.noisy {
		return w.cut, w.cut
	}
	return w.r.IntN(30) == 0, w.r.IntN(30) == 0
}

// again delivers once more something that was sent.
func (w *wire) again() {
	w.mu.Lock()
	late := w.late
	w.mu.Unlock()
	if len(late) > 0 {
		w.deliver(late[len(late)/2])
	}
}

// epoch returns how the last thing that was sent names the grantor.
func (w *wire) epoch() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return regexp.MustCompile(`\d+`).FindString(string(w.late[len(w.late)-1]))
}

// forget drops what was sent: the connections have ended.
func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = nil
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	lost, lostAnswer := w.fault(body)
	if lost {
		return nil, errCut
	}
	answer := w.deliver(body)
	if lostAnswer {
		return nil, errCut
	}
	return answer, nil
}

func (w *wire) deliver(body []byte) *http.Response {
	r := httptest.NewRequest(http.MethodPost, "https://grantor/leases", bytes.NewReader(body))
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{DNSNames: []string{w.name}}}}}
	rec := httptest.NewRecorder()
	w.to().ServeHTTP(rec, r)
	return rec.Result()
}

// place is one instance with a balancer; the first is the grantor.
type place struct {
	name  string
	wire  *wire // nil at the grantor
	b     *lb.Balancer
	end   func()
	calls []tandem.Slot
	cut   bool
}

// world is a grantor and others who share the group g.
type world struct {
	t         *testing.T
	permitted int
	r         *rand.Rand
	disk      *disk
	lessor    atomic.Pointer[lb.Lessor]
	places    []*place
}

func newWorld(t *testing.T, r *rand.Rand, permitted, others int, d *disk) *world {
	w := &world{t: t, permitted: permitted, r: r, disk: d}
	w.places = []*place{{name: "grantor.test"}}
	for i := range others {
		p := &place{name: string(rune('a'+i)) + ".test"}
		p.wire = &wire{name: p.name, to: w.handler, r: rand.New(rand.NewPCG(uint64(i), 5)), noisy: true}
		w.places = append(w.places, p)
	}
	for _, p := range w.places {
		w.start(p)
	}
	synctest.Wait()
	return w
}

// calm ends all faults and lets everybody speak.
func (w *world) calm() {
	for _, p := range w.places[1:] {
		p.wire.mu.Lock()
		p.wire.cut, p.wire.noisy = false, false
		p.wire.mu.Unlock()
	}
	time.Sleep(2500 * time.Millisecond)
}

func (w *world) handler() http.Handler { return w.lessor.Load() }

// leaser is what both ends have.
type leaser interface {
	lb.Leases
	Bind(*lb.Balancer)
	Run(context.Context) error
}

// start starts an instance, which takes up the calls that it has, and runs until its end.
func (w *world) start(p *place) {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	var leases leaser
	var err error
	if p.wire == nil {
		lessor, err := lb.NewLessor(w.t.Context(), lb.LessorDeps{Name: p.name, Shares: w.disk}, log)
		if err != nil {
			w.t.Fatal(err)
		}
		lessor.Permit("g", w.permitted)
		w.lessor.Store(lessor)
		leases = lessor
	} else if leases, err = lb.NewLessee("https://grantor", &http.Client{Transport: p.wire}, log); err != nil {
		w.t.Fatal(err)
	}
	if p.b, err = lb.New(lb.Config{}, lb.Deps{Leases: leases}, log); err != nil {
		w.t.Fatal(err)
	}
	leases.Bind(p.b)
	p.b.PutGroup(lb.Group{ID: "g", Cluster: "c", Permitted: w.permitted})
	for i := range p.calls {
		p.calls[i] = p.b.Restore([]string{"g"}, "", true)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	running.Go(func() { leases.Run(ctx) })
	p.end = func() { cancel(); running.Wait() }
}

// kill ends an instance without a word, and starts it again.
func (w *world) kill(p *place) {
	if p.wire != nil {
		p.wire.set(true)
		p.end()
		p.wire.forget()
		p.wire.set(p.cut)
	} else {
		p.end()
		for _, other := range w.places[1:] {
			if w.r.IntN(2) == 0 { // else somebody between keeps it
				other.wire.forget()
			}
		}
	}
	w.start(p)
	synctest.Wait()
}

func (w *world) end() {
	for _, p := range w.places {
		p.end()
	}
}

func (w *world) admit(p *place) lb.Reason {
	found, refused := p.b.Admit(tandem.Admission{Group: "g", Counted: true})
	if refused.Code == 0 {
		p.calls = append(p.calls, found.Slot)
	}
	return lb.Reason(refused.Reason)
}

func (w *world) release(p *place, n int) {
	for _, slot := range p.calls[:n] {
		p.b.Release(slot)
	}
	p.calls = p.calls[n:]
}

func (w *world) up() (n int) {
	for _, p := range w.places {
		n += p.b.Used("g")
	}
	return n
}

// step does one thing that may happen.
func (w *world) step() {
	synctest.Wait() // what is due at this moment is done before
	p := w.places[w.r.IntN(len(w.places))]
	switch w.r.IntN(12) {
	case 0, 1, 2, 3, 4:
		for range 1 + w.r.IntN(4) {
			w.admit(p)
		}
	case 5, 6:
		w.release(p, w.r.IntN(len(p.calls)+1))
	case 7, 8:
		time.Sleep(time.Duration(w.r.IntN(2500)) * time.Millisecond)
	case 9:
		if p.wire != nil && w.r.IntN(3) == 0 {
			p.cut = !p.cut
			p.wire.set(p.cut)
		}
	case 10: // what was lost, or not, arrives again
		if p.wire != nil {
			p.wire.again()
		}
	case 11:
		if w.r.IntN(4) == 0 {
			w.kill(p)
		}
	}
}

func (d *disk) set(broken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = broken
}
