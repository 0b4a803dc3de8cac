package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// memory is a store without a disk and with few scruples: control's own tests have a stricter one.
type memory struct {
	mu      sync.Mutex
	rev     tandem.Revision
	objects map[tandem.Kind]map[string]tandem.Object
}

func (m *memory) Append(_ context.Context, _ tandem.Principal, edits []tandem.Edit) (tandem.Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, e := range edits {
		old := m.objects[e.Kind][e.ID]
		switch {
		case e.Object == nil && old == nil:
			return 0, &tandem.EditError{Index: i, Kind: e.Kind, ID: e.ID, Err: tandem.ErrNotFound}
		case e.Object == nil && e.Kind == tandem.KindCluster:
			return 0, &tandem.EditError{Index: i, Kind: e.Kind, ID: e.ID, Err: tandem.FieldError{Reason: "Group g1 refers to it"}}
		}
		m.rev++
		if e.Object == nil {
			delete(m.objects[e.Kind], e.ID)
			continue
		}
		e.Object.Header().Revision = m.rev
		if m.objects[e.Kind] == nil {
			m.objects[e.Kind] = make(map[string]tandem.Object)
		}
		m.objects[e.Kind][e.ID] = e.Object
	}
	return m.rev, nil
}

func (m *memory) Check(context.Context, tandem.Principal, []tandem.Edit) error { return nil }

func (m *memory) Get(_ context.Context, _ tandem.Principal, k tandem.Kind, id string) (tandem.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.objects[k][id]; o != nil {
		return o, nil
	}
	return nil, tandem.ErrNotFound
}

func (m *memory) List(_ context.Context, _ tandem.Principal, k tandem.Kind, owner, after string, limit int) ([]tandem.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []tandem.Object
	for _, id := range slices.Sorted(maps.Keys(m.objects[k])) {
		if o := m.objects[k][id]; id > after && len(out) < limit && (owner == "" || o.Owner() == owner) {
			out = append(out, o)
		}
	}
	return out, nil
}

// seal hides nothing.
type seal struct{}

func (seal) Seal(plain []byte, _ string) ([]byte, error)    { return plain, nil }
func (seal) Unseal(sealed []byte, _ string) ([]byte, error) { return sealed, nil }

// began is when everything in these tests began.
var began = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

// serve runs a management door on a memory until the test ends, and returns its socket.
func serve(t *testing.T) string {
	t.Helper()
	m := &memory{objects: make(map[tandem.Kind]map[string]tandem.Object)}
	cfg := control.Config{Socket: filepath.Join(t.TempDir(), "tandem.sock")}
	s, err := control.New(cfg, control.Deps{
		Store: m, Reader: m, Seal: seal{},
		Trace: func(name string, _ netip.Prefix) ([]tandem.Step, error) {
			if name == "nothing.example" {
				return nil, errors.New(name + " lies in no zone of ours")
			}
			return []tandem.Step{{What: "zone", Text: "voice.example.net"}, {What: "answer A", Text: "192.0.2.1\n192.0.2.2"}}, nil
		},
		Registrations: func(tandem.Principal, string) []tandem.Binding { return nil },
		Calls:         func(tandem.Principal) []tandem.Call { return nil },
		CallLog:       someCalls(),
		Ladder: func(_ context.Context, _ tandem.Principal, id string) ([]tandem.Arrow, error) {
			if id != callID(3) {
				return nil, tandem.ErrNotFound
			}
			return []tandem.Arrow{{Time: began, From: "phone-a", To: "edge1", Text: "INVITE"}, {Time: began, From: "edge1", To: "phone-a", Text: "486 INVITE"}}, nil
		},
		Signer: oneKey{}, Balancing: balancing{}, ReportLoad: func(string, float64) {},
		DNSStats: dnsStats, DNSTop: dnsTop,
		SIPTrace: func(ctx context.Context, _ tandem.Principal, _ tandem.TraceFilter, fn func([]tandem.TraceLine) error) error {
			line := tandem.TraceLine{Arrow: tandem.Arrow{Time: began, From: "phone-a", To: "tandem", Text: "INVITE"}, CallID: "x@phone"}
			err := errors.Join(fn(nil), fn([]tandem.TraceLine{line}))
			<-ctx.Done()
			return err
		},
		Hangup: func(_ context.Context, _ tandem.Principal, id, reason string) error { return nil },
		Permit: func(_ context.Context, _ tandem.Principal, device string, ttl time.Duration) (string, error) {
			return "https://example.net/p/" + device + "/" + ttl.String(), nil
		},
		Served: func(context.Context, tandem.Revision) error { return nil },
		Status: func() control.Status {
			return control.Status{
				Version: "1.2", Started: began, Epoch: 1, Revision: m.rev,
				Parts:  []control.Part{{Name: "dns", State: "ok", Serves: m.rev, Addresses: []string{"127.0.0.1:5300"}}},
				Counts: []control.Count{{Name: "dnsd_accounts", Value: 100000}},
			}
		},
		Verify: func(context.Context) (control.Verified, error) {
			return control.Verified{Values: 12, Problems: []string{"object Account 1001: checksum"}}, nil
		},
		Backup: func(context.Context, string) error { return nil },
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return cfg.Socket
}

// oneKey is a signer of zones with one key, which waits for the parent.
type oneKey struct{}

func (oneKey) Signing(zone string) (tandem.ZoneSigning, error) {
	return tandem.ZoneSigning{
		Zone: zone, Wanted: true, Waits: "the parent to have the new key's DS", DS: []string{zone + ".\t3600\tIN\tDS\t7 13 2 AB"},
		Keys: []tandem.KeyStatus{{Number: 1, Tag: 7, Algorithm: "ECDSAP256SHA256", Signs: "both", State: "submitted", Since: began, Created: began}},
	}, nil
}

func (oneKey) MoveKeys(_ context.Context, _ tandem.Principal, _ string, act tandem.KeyAct) (tandem.Revision, error) {
	if act == tandem.Unsign {
		return 0, tandem.FieldError{Field: "act", Reason: "unsign: the zone's dnssec settings want it signed; take them out first"}
	}
	return 77, nil
}
