package provision_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"tandem/internal/tandem"
	"tandem/provision"
)

// memory is the store's contract in a map: revisions, conflicts, whole batches or nothing.
type memory struct {
	mu      sync.Mutex
	last    tandem.Revision
	objects map[tandem.Kind]map[string]tandem.Object
	follow  func([]tandem.Change) // called with each batch
	fail    error                 // what Append answers, if set
}

func newMemory(objects ...tandem.Object) *memory {
	m := &memory{objects: make(map[tandem.Kind]map[string]tandem.Object)}
	for _, o := range objects {
		m.put(o)
	}
	return m
}

func (m *memory) put(o tandem.Object) {
	m.last++
	o.Header().Revision = m.last
	if m.objects[o.Kind()] == nil {
		m.objects[o.Kind()] = make(map[string]tandem.Object)
	}
	m.objects[o.Kind()][o.Header().ID] = o
}

func (m *memory) Append(_ context.Context, _ tandem.Principal, edits []tandem.Edit) (tandem.Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return 0, m.fail
	}
	for i, e := range edits {
		if err := m.check(e); err != nil {
			return 0, &tandem.EditError{Index: i, Kind: e.Kind, ID: e.ID, Err: err}
		}
	}
	var changes []tandem.Change
	for _, e := range edits {
		if e.Object != nil {
			m.put(e.Object)
		} else {
			m.last++
			delete(m.objects[e.Kind], e.ID)
		}
		changes = append(changes, tandem.Change{Revision: m.last, Kind: e.Kind, ID: e.ID, Object: e.Object})
	}
	if m.follow != nil {
		m.follow(changes)
	}
	return m.last, nil
}

func (m *memory) check(e tandem.Edit) error {
	old := m.objects[e.Kind][e.ID]
	switch {
	case e.Object == nil && old == nil:
		return tandem.ErrNotFound
	case e.Create && old != nil, e.Expected != 0 && (old == nil || old.Header().Revision != e.Expected):
		return tandem.ErrConflict
	}
	return nil
}

func (m *memory) Get(_ context.Context, by tandem.Principal, kind tandem.Kind, id string) (tandem.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.objects[kind][id]
	if o == nil || !by.MaySee(o.Owner()) {
		return nil, tandem.ErrNotFound
	}
	return o, nil
}

func (m *memory) count(kind tandem.Kind) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.objects[kind])
}

// caesar seals by a prefix that names the context.
type caesar struct{}

func (caesar) Unseal(sealed []byte, context string) ([]byte, error) {
	plain, ok := strings.CutPrefix(string(sealed), context+":")
	if !ok {
		return nil, errors.New("sealed for another context")
	}
	return []byte(plain), nil
}

// desk is a server with account 1001 and its devices: phone, whose secret is sealed; hashed,
// imported without it; broken, sealed for somebody else.
type desk struct {
	*provision.Server
	store *memory
}

var admin = tandem.Principal{Name: "test", Admin: true}

func newDesk(t *testing.T, cfg provision.Config) *desk {
	t.Helper()
	device := func(id, sealed string) *tandem.Device {
		return &tandem.Device{Head: tandem.Head{ID: id}, Account: "1001", Username: id + "-user", Sealed: []byte(sealed)}
	}
	m := newMemory(
		&tandem.Account{Head: tandem.Head{ID: "1001"}, Name: "Alpha & Sons", Zone: "v.test", Realm: "tandem-1001", TimeZone: "Europe/Paris",
			Labels: []tandem.Label{{Label: "vanity", Role: tandem.LabelVanity}, {Label: "k3p2", Role: tandem.LabelCurrent}}},
		device("phone", "device/phone:correct horse"), device("hashed", ""), device("broken", "device/phone:stolen"),
	)
	if cfg.Host == "" {
		cfg.Host = "edge.test"
	}
	s, err := provision.New(cfg, m, caesar{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Announce(8445)
	m.follow = s.Apply
	return &desk{s, m}
}

// permit makes a permit and returns its URL.
func (d *desk) permit(t *testing.T, device string) string {
	t.Helper()
	url, err := d.Permit(t.Context(), admin, device, 0)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// request is a fetch of url over TLS from a usual address.
func request(method, url string) *http.Request {
	r := httptest.NewRequest(method, url, nil)
	r.Host, r.RemoteAddr = "edge.test:8445", "192.0.2.7:40000"
	r.TLS = &tls.ConnectionState{}
	return r
}

// ask sends one request to the handler.
func (d *desk) ask(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

func (d *desk) reading(name, reason string) (sum float64) {
	d.Metrics(func(s tandem.Sample) {
		if s.Name == name && (reason == "" || s.Labels["reason"] == reason) {
			sum += s.Value
		}
	})
	return sum
}
