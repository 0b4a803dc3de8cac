package control_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// memory is a store without a disk: the same refusals, none of the durability.
type memory struct {
	mu      sync.Mutex
	rev     tandem.Revision
	objects map[tandem.Kind]map[string]tandem.Object
	commits int
	// before, if set, runs ahead of each "check" and "append", for tests of what happens in between.
	before func(what string)
	// refuse, if set, is what Append answers.
	refuse error
}

func newMemory() *memory {
	m := &memory{objects: make(map[tandem.Kind]map[string]tandem.Object)}
	for _, k := range tandem.Kinds() {
		m.objects[k] = make(map[string]tandem.Object)
	}
	return m
}

func (m *memory) Get(_ context.Context, by tandem.Principal, k tandem.Kind, id string) (tandem.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.objects[k][id]
	if o == nil || !by.MaySee(o.Owner()) {
		return nil, tandem.ErrNotFound
	}
	return o, nil
}

func (m *memory) List(_ context.Context, by tandem.Principal, k tandem.Kind, owner, after string, limit int) ([]tandem.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []tandem.Object
	for _, id := range slices.Sorted(maps.Keys(m.objects[k])) {
		o := m.objects[k][id]
		if id > after && by.MaySee(o.Owner()) && (owner == "" || o.Owner() == owner) && len(out) < limit {
			out = append(out, o)
		}
	}
	return out, nil
}

func (m *memory) Check(_ context.Context, by tandem.Principal, edits []tandem.Edit) error {
	if m.before != nil {
		m.before("check")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.plan(by, edits)
	return err
}

func (m *memory) Append(_ context.Context, by tandem.Principal, edits []tandem.Edit) (tandem.Revision, error) {
	if m.before != nil {
		m.before("append")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != nil {
		return 0, m.refuse
	}
	next, err := m.plan(by, edits)
	if err != nil {
		return 0, err
	}
	for _, e := range edits {
		m.rev++
		if e.Object != nil {
			e.Object.Header().Revision = m.rev
		}
	}
	m.objects = next
	m.commits++
	return m.rev, nil
}

// plan returns the objects as they would be after edits.
func (m *memory) plan(by tandem.Principal, edits []tandem.Edit) (map[tandem.Kind]map[string]tandem.Object, error) {
	next := make(map[tandem.Kind]map[string]tandem.Object)
	for k, objects := range m.objects {
		next[k] = maps.Clone(objects)
	}
	for i, e := range edits {
		refuse := func(err error) error { return &tandem.EditError{Index: i, Kind: e.Kind, ID: e.ID, Err: err} }
		old := next[e.Kind][e.ID]
		switch {
		case old != nil && !by.MaySee(old.Owner()), old == nil && e.Object == nil:
			return nil, refuse(tandem.ErrNotFound)
		case e.Create && old != nil, e.Expected != 0 && (old == nil || old.Header().Revision != e.Expected):
			return nil, refuse(tandem.ErrConflict)
		case e.Object == nil:
			delete(next[e.Kind], e.ID)
		default:
			next[e.Kind][e.ID] = e.Object
		}
	}
	used, held := relations(next)
	for i, e := range edits {
		if err := fault(next, used, held, e); err != nil {
			return nil, &tandem.EditError{Index: i, Kind: e.Kind, ID: e.ID, Err: err}
		}
	}
	return next, nil
}

// relations gathers who uses an object and who holds a name, by text.
func relations(all map[tandem.Kind]map[string]tandem.Object) (used map[string]string, held map[string][]string) {
	used, held = make(map[string]string), make(map[string][]string)
	for _, objects := range all {
		for id, o := range objects {
			for _, r := range o.Refs() {
				used[string(r.Kind)+" "+r.ID] = string(o.Kind()) + " " + id
			}
			for _, c := range o.Claims() {
				held[c.Space+" "+c.Name] = append(held[c.Space+" "+c.Name], string(o.Kind())+" "+id)
			}
		}
	}
	return used, held
}

// fault looks for references to nothing and names that are taken.
func fault(all map[tandem.Kind]map[string]tandem.Object, used map[string]string, held map[string][]string, e tandem.Edit) error {
	name := string(e.Kind) + " " + e.ID
	if by := used[name]; e.Object == nil && by != "" {
		return tandem.FieldError{Reason: by + " refers to it"}
	}
	if e.Object == nil {
		return nil
	}
	for _, r := range e.Object.Refs() {
		if all[r.Kind][r.ID] == nil {
			return tandem.FieldError{Field: r.Field, Reason: fmt.Sprintf("there is no %s %q", r.Kind, r.ID)}
		}
	}
	for _, c := range e.Object.Claims() {
		for _, holder := range held[c.Space+" "+c.Name] {
			if holder != name {
				return tandem.FieldError{Field: c.Field, Reason: c.Name + " is held by " + holder}
			}
		}
	}
	return nil
}

// seal hides nothing, but shows that it was asked.
type seal struct{}

func (seal) Seal(plain []byte, about string) ([]byte, error) {
	return slices.Concat([]byte("sealed for "+about+": "), plain), nil
}

func (seal) Unseal(sealed []byte, about string) ([]byte, error) {
	plain, ok := bytes.CutPrefix(sealed, []byte("sealed for "+about+": "))
	if !ok {
		return nil, errors.New("sealed for something else")
	}
	return plain, nil
}

var began = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

// deps joins a memory with parts that answer the same every time.
func deps(m *memory) control.Deps {
	bindings := []tandem.Binding{
		{Account: "a1", Device: "d1", AOR: "100", Contact: "sip:100@192.0.2.7", Transport: tandem.UDP, Edge: "e1", Source: netip.MustParseAddrPort("192.0.2.7:5060"), Expires: began.Add(time.Hour)},
		{Account: "b1", Device: "d2", AOR: "200", Contact: "sip:200@192.0.2.8", Transport: tandem.TCP, Edge: "e1", Source: netip.MustParseAddrPort("192.0.2.8:5060"), Expires: began.Add(time.Hour)},
	}
	return control.Deps{
		Store: m, Reader: m, Seal: seal{},
		Trace: func(name string, _ netip.Prefix) ([]tandem.Step, error) {
			return []tandem.Step{{What: "zone", Text: name + " lies in voice.example.net"}}, nil
		},
		ZoneStates: func(string, int) []tandem.ZoneState {
			return []tandem.ZoneState{{Zone: "voice.example.net", Serial: 7, State: "served"}}
		},
		ZoneState: func(zone string) (tandem.ZoneState, error) {
			if zone != "voice.example.net" {
				return tandem.ZoneState{}, tandem.ErrNotFound
			}
			return tandem.ZoneState{Zone: zone, Serial: 7, State: "served"}, nil
		},
		RefreshZone: func(zone string, _ bool) error {
			if zone != "voice.example.net" {
				return tandem.ErrNotFound
			}
			return nil
		},
		Registrations: func(by tandem.Principal, account string) []tandem.Binding {
			return slices.DeleteFunc(slices.Clone(bindings), func(b tandem.Binding) bool { return account != "" && b.Account != account })
		},
		Calls: func(tandem.Principal) []tandem.Call {
			return []tandem.Call{
				{ID: "1", Account: "a1", From: "100@a", To: "200@b", Type: "invite", State: tandem.CallAnswered, Started: began},
				{ID: "2", Account: "b1", From: "200@b", To: "100@a", Type: "core", State: tandem.CallRinging, Started: began},
			}
		},
		Balancing: balancing{}, ReportLoad: func(string, float64) {},
		Permit: func(_ context.Context, _ tandem.Principal, device string, ttl time.Duration) (string, error) {
			return "https://example.net/p/" + device + "/" + ttl.String(), nil
		},
		Served: func(context.Context, tandem.Revision) error { return nil },
		Status: func() control.Status { return control.Status{Version: "test", Started: began, Revision: m.rev} },
		Verify: func(context.Context) (control.Verified, error) { return control.Verified{Values: 3}, nil },
		Backup: func(context.Context, string) error { return nil },
		CheckRecordSet: func(r *tandem.RecordSet) error {
			if len(r.Records) > 0 && r.Records[0] == "!" {
				return tandem.FieldError{Field: "records[0]", Reason: "! is not data"}
			}
			return nil
		},
		CheckZone: func(z *tandem.Zone) error {
			if i := bytes.IndexByte([]byte(z.Records), '!'); i >= 0 {
				return tandem.FieldError{Field: "records", Reason: "line 1: ! is not a record"}
			}
			return nil
		},
	}
}

// balancing is one cluster with one node and two groups, one of them without a cluster.
type balancing struct{}

func (balancing) Balance() control.Balance {
	n1, _ := balancing{}.Node("n1")
	return control.Balance{
		Clusters: []control.ClusterBalance{{ID: "c1", State: "good", Open: true, Up: 1, Nodes: []control.NodeBalance{n1}}, {ID: "c2", State: "empty"}},
		Groups:   []control.GroupBalance{{ID: "g2", Text: "expects 9", Refuse: "no-cluster"}, {ID: "g1", Cluster: "c1"}},
		Total:    2, Unplaced: 1,
	}
}

func (balancing) Node(id string) (control.NodeBalance, bool) {
	return control.NodeBalance{ID: "n1", State: "good", Available: true, Calls: 3}, id == "n1"
}

func (balancing) Try(w control.WhatIf) (control.TriedPlan, error) {
	if len(w.Lose) > 0 && w.Lose[0] != "c1" {
		return control.TriedPlan{}, tandem.FieldError{Field: "lose[0]", Reason: "there is no Cluster"}
	}
	return control.TriedPlan{Moved: len(w.Lose)}, nil
}

// objects returns what m holds of a kind, by id.
func (m *memory) list(k tandem.Kind) []tandem.Object {
	out := slices.Collect(maps.Values(m.objects[k]))
	slices.SortFunc(out, func(a, b tandem.Object) int { return cmp.Compare(a.Header().ID, b.Header().ID) })
	return out
}
