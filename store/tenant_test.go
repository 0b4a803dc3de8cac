package store

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"tandem/internal/tandem"
)

// TestOtherTenant walks every method that takes a principal, and asks as another account, and as
// nobody, for what is account 1001's or global.
func TestOtherTenant(t *testing.T) {
	s := openMemory(t)
	mustAppend(t, s, ground()...)
	mustAppend(t, s, put(account("1001")), put(account("1002")))
	mustRecord(t, s, callOf(1, "1001"))
	owned := []tandem.Object{
		&tandem.User{Head: head("u1"), Account: "1001"}, device("d1", "1001"),
		&tandem.Permit{Head: head("p1"), Account: "1001", Device: "d1"},
		&tandem.Key{Head: head("token/1"), Purpose: "token"}, &tandem.Assignment{Head: head("g1"), Cluster: "c1"},
		&tandem.Lease{Head: head("edge2/g1"), Instance: "edge2", Group: "g1", Held: 3}, &tandem.Health{Head: head("n1"), State: tandem.HealthDown},
		trunk("t1", "1001"), account("1001"),
	}
	for _, o := range owned {
		mustAppend(t, s, put(o))
	}
	for _, by := range []tandem.Principal{{Name: "other", Account: "1002"}, {Name: "nobody"}} {
		walkMethods(t, s, by)
		for _, o := range append(owned, &tandem.Group{Head: head("g1"), Cluster: "c1"}) {
			for name, e := range map[string]tandem.Edit{"put": put(o), "delete": remove(o.Kind(), o.Header().ID), "create": creating(put(o))} {
				if _, err := s.Append(context.Background(), by, []tandem.Edit{e}); !errors.Is(err, tandem.ErrNotFound) {
					t.Errorf("%s: %s of %s %s = %v, want not found", by.Name, name, o.Kind(), o.Header().ID, err)
				}
				if err := s.Check(context.Background(), by, []tandem.Edit{e}); !errors.Is(err, tandem.ErrNotFound) {
					t.Errorf("%s: check of %s of %s = %v, want not found", by.Name, name, o.Kind(), err)
				}
			}
		}
	}
	mine := tandem.Principal{Name: "own", Account: "1001"}
	if d, err := s.Device(context.Background(), mine, "d1"); err != nil || d.ID != "d1" {
		t.Errorf("one's own device = %v, %v", d, err)
	}
	if _, err := s.Append(context.Background(), mine, []tandem.Edit{put(device("d2", "1001"))}); err != nil {
		t.Errorf("one's own new device: %v", err)
	}
}

// walkMethods calls every method of Store with a principal and an id or owner of account 1001's.
func walkMethods(t *testing.T, s *Store, by tandem.Principal) {
	ids := map[string]string{
		"Zone": "example.net", "Cluster": "c1", "Node": "n1", "Edge": "e1", "Group": "g1", "Account": "1001",
		"Peer": "t1", "User": "u1", "Device": "d1", "Permit": "p1", "Key": "token/1", "Assignment": "g1", "Lease": "edge2/g1", "Health": "n1",
		"TSIGKey": "k1", "View": "v1", "RecordSet": "www.example.net:TXT", "NumberRange": "r1", "ZoneKey": "example.net/1",
	}
	pages := map[string]bool{
		"Zones": true, "Clusters": true, "Nodes": true, "Edges": true, "Groups": true, "Keys": true, "Assignments": true, "Leases": true, "Healths": true,
		"Accounts": true, "Peers": true, "Users": true, "Devices": true, "Permits": true,
		"TSIGKeys": true, "Views": true, "RecordSets": true, "NumberRanges": true, "ZoneKeys": true,
	}
	v := reflect.ValueOf(s)
	for i := range v.NumMethod() {
		name, typ := v.Type().Method(i).Name, v.Method(i).Type()
		if typ.NumIn() < 2 || typ.In(1) != reflect.TypeOf(by) {
			continue
		}
		args := []reflect.Value{reflect.ValueOf(context.Background()), reflect.ValueOf(by)}
		switch {
		case ids[name] != "":
			args = append(args, reflect.ValueOf(ids[name]))
		case pages[name] && typ.NumIn() == 5: // owner, after, limit
			args = append(args, reflect.ValueOf("1001"), reflect.ValueOf(""), reflect.ValueOf(0))
		case pages[name]:
			args = append(args, reflect.ValueOf(""), reflect.ValueOf(0))
		case name == "Get":
			args = append(args, reflect.ValueOf(tandem.KindDevice), reflect.ValueOf("d1"))
		case name == "List":
			args = append(args, reflect.ValueOf(tandem.KindDevice), reflect.ValueOf("1001"), reflect.ValueOf(""), reflect.ValueOf(0))
		case name == "Call":
			args = append(args, reflect.ValueOf(callID(1)))
		case name == "Calls":
			args = append(args, reflect.ValueOf(tandem.CallFilter{Account: "1001"}))
		case name == "Append", name == "Check", name == "FollowCalls": // in TestOtherTenant and TestOtherTenantsEvents
			continue
		default:
			t.Errorf("method %s takes a principal and is not walked", name)
			continue
		}
		out := v.Method(i).Call(args)
		err, _ := out[1].Interface().(error)
		if p, ok := out[0].Interface().(tandem.CallPage); ok {
			out[0] = reflect.ValueOf(p.Items)
		}
		nothing := out[0].Kind() == reflect.Slice && out[0].Len() == 0 && err == nil
		if !errors.Is(err, tandem.ErrNotFound) && !nothing {
			t.Errorf("%s: %s = %v, %v, want not found or nothing", by.Name, name, out[0], err)
		}
	}
}

// TestTenantLearnsNoNames checks that a refusal does not name another tenant's object.
func TestTenantLearnsNoNames(t *testing.T) {
	s := openMemory(t)
	mustAppend(t, s, ground()...)
	mustAppend(t, s, put(withNumbers(account("1001"), "+491")), put(account("1002")))
	_, err := s.Append(context.Background(), tandem.Principal{Account: "1002"}, []tandem.Edit{put(withNumbers(account("1002"), "+491"))})
	if want := `Account 1002: numbers[0]: "+491" is taken by another object`; err == nil || err.Error() != want {
		t.Errorf("Append = %v, want %s", err, want)
	}
}
