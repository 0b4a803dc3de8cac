package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
)

func withNumbers(a *tandem.Account, numbers ...string) *tandem.Account {
	a.Numbers = numbers
	return a
}

func expecting(e tandem.Edit, r tandem.Revision) tandem.Edit { e.Expected = r; return e }
func creating(e tandem.Edit) tandem.Edit                     { e.Create = true; return e }

// TestAppendChecks gives each batch to a store with the ground (revisions 1 to 6), accounts 1001
// and 1002 (7, 8; 1001 with a number), and a user and a device of 1001 (9, 10). An empty want means success.
func TestAppendChecks(t *testing.T) {
	tests := []struct {
		name  string
		edits []tandem.Edit
		index int
		want  string
		is    error
	}{
		{name: "missing reference", edits: []tandem.Edit{put(device("d2", "1003"))}, want: `Device d2: account: there is no Account "1003"`},
		{name: "reference satisfied later in the batch", edits: []tandem.Edit{put(device("d2", "1003")), put(account("1003"))}},
		{name: "user of another account", edits: []tandem.Edit{
			put(&tandem.User{Head: head("u1"), Account: "1002"}),
			put(&tandem.Device{Head: head("d2"), Account: "1001", User: "u1", Username: "x"}),
		}, index: 1, want: `Device d2: user: there is no User "u1"`},
		{name: "deleting what is referred to", edits: []tandem.Edit{remove(tandem.KindAccount, "1001")}, want: "Account 1001: User u9 refers to it"},
		{name: "deleting it with its referrers", edits: []tandem.Edit{remove(tandem.KindAccount, "1001"), remove(tandem.KindDevice, "d1"), remove(tandem.KindUser, "u9")}},
		{name: "deleting a group in use", edits: []tandem.Edit{remove(tandem.KindGroup, "g1")}, want: "Group g1: Account 1001 refers to it"},
		{name: "deleting what is not there", edits: []tandem.Edit{remove(tandem.KindAccount, "1009")}, is: tandem.ErrNotFound, want: "Account 1009: not found"},
		{name: "deleting twice", edits: []tandem.Edit{remove(tandem.KindAccount, "1002"), remove(tandem.KindAccount, "1002")}, index: 1, is: tandem.ErrNotFound, want: "Account 1002: not found"},
		{name: "number taken", edits: []tandem.Edit{put(withNumbers(account("1002"), "+491"))}, want: `Account 1002: numbers[0]: "+491" is taken by Account 1001`},
		{name: "number taken within the batch", edits: []tandem.Edit{put(withNumbers(account("1003"), "+495")), put(withNumbers(account("1004"), "+495"))}, index: 1, want: `Account 1004: numbers[0]: "+495" is taken by Account 1003`},
		{name: "number moved, giver last", edits: []tandem.Edit{put(withNumbers(account("1002"), "+491")), put(account("1001"))}},
		{name: "label taken", edits: []tandem.Edit{put(&tandem.Account{Head: head("1003"), Zone: "example.net", Group: "g1", Labels: []tandem.Label{{Label: "label-1001"}}})}, want: `Account 1003: labels[0].label: "label-1001.example.net" is taken by Account 1001`},
		{name: "user name taken as an extension", edits: []tandem.Edit{put(&tandem.User{Head: head("u1"), Account: "1001", Extension: "u-d1"})}, want: `User u1: extension: "1001/u-d1" is taken by Device d1`},
		{name: "the same extension elsewhere", edits: []tandem.Edit{put(&tandem.User{Head: head("u1"), Account: "1002", Extension: "u-d1"})}},
		{name: "create what exists", edits: []tandem.Edit{creating(put(account("1001")))}, is: tandem.ErrConflict, want: "Account 1001: changed meanwhile: it exists, at revision 7"},
		{name: "create", edits: []tandem.Edit{creating(put(account("1003")))}},
		{name: "expected revision", edits: []tandem.Edit{expecting(put(account("1002")), 8)}},
		{name: "another revision", edits: []tandem.Edit{expecting(put(account("1002")), 7)}, is: tandem.ErrConflict, want: "Account 1002: changed meanwhile: it is at revision 8, 7 was expected"},
		{name: "expected, but gone", edits: []tandem.Edit{expecting(put(account("1003")), 7)}, is: tandem.ErrConflict, want: "Account 1003: changed meanwhile: it was deleted, revision 7 was expected"},
		{name: "expected by a deletion", edits: []tandem.Edit{expecting(remove(tandem.KindAccount, "1002"), 7)}, is: tandem.ErrConflict, want: "Account 1002: changed meanwhile: it is at revision 8, 7 was expected"},
		{name: "invalid", edits: []tandem.Edit{put(account("1003")), put(device("D", "1001"))}, index: 1, want: `Device D: id: "D" is not one DNS label in lower case (a-z, 0-9, hyphen inside, at most 63)`},
		{name: "id of another object", edits: []tandem.Edit{{Kind: tandem.KindAccount, ID: "1003", Object: account("1004")}}, want: "Account 1003: id: is not that of the object: Account 1004"},
		{name: "unknown kind", edits: []tandem.Edit{{Kind: "Thing", ID: "x"}}, want: `Thing x: kind: "Thing" is not a kind`},
		{name: "owner changed, nobody refers", edits: []tandem.Edit{put(device("d1", "1002"))}},
		{name: "owner changed, somebody refers", edits: []tandem.Edit{put(&tandem.User{Head: head("u9"), Account: "1002"})}, want: "User u9: account: cannot change: Device d1 refers to it"},
		{name: "owner changed, an object of the batch refers", edits: []tandem.Edit{put(&tandem.User{Head: head("u9"), Account: "1002"}), put(&tandem.Device{Head: head("d1"), Account: "1001", User: "u9", Username: "x"})}, index: 1, want: `Device d1: user: there is no User "u9"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openMemory(t)
			mustAppend(t, s, ground()...)
			d1 := device("d1", "1001")
			d1.User = "u9"
			mustAppend(t, s, put(withNumbers(account("1001"), "+491")), put(account("1002")), put(&tandem.User{Head: head("u9"), Account: "1001"}), put(d1))
			_, before := s.Info()
			checked := s.Check(context.Background(), admin, tt.edits)
			last, err := s.Append(context.Background(), admin, tt.edits)
			if fmt.Sprint(checked) != fmt.Sprint(err) {
				t.Errorf("Check = %v, but Append = %v", checked, err)
			}
			if tt.want == "" {
				if want := before + tandem.Revision(len(tt.edits)); err != nil || last != want {
					t.Errorf("Append = %d, %v, want %d", last, err, want)
				}
				verify(t, s)
				return
			}
			var ee *tandem.EditError
			if !errors.As(err, &ee) || ee.Index != tt.index || err.Error() != tt.want || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("Append = %v (%+v), want %q at %d", err, ee, tt.want, tt.index)
			}
			if _, after := s.Info(); after != before {
				t.Errorf("a refused batch moved the revision from %d to %d", before, after)
			}
			verify(t, s)
		})
	}
}

func verify(t *testing.T, s *Store) Report {
	t.Helper()
	r, err := s.Verify(context.Background(), nil)
	if err != nil {
		t.Errorf("Verify: %v\n%s", err, strings.Join(r.Faults, "\n"))
	}
	return r
}

func TestLabelIsForever(t *testing.T) {
	s := openMemory(t)
	mustAppend(t, s, ground()...)
	mustAppend(t, s, put(account("1001")))
	mustAppend(t, s, remove(tandem.KindAccount, "1001"))
	thief := account("1002")
	thief.Labels = []tandem.Label{{Label: "label-1001"}}
	_, err := s.Append(context.Background(), admin, []tandem.Edit{put(thief)})
	want := `Account 1002: labels[0].label: "label-1001.example.net" was Account 1001's and is never given to another`
	if err == nil || err.Error() != want {
		t.Errorf("taking a deleted account's label: %v, want %s", err, want)
	}
	mustAppend(t, s, put(account("1001")))
	verify(t, s)
}

func TestConcurrentAppendsKeepOrder(t *testing.T) {
	s := openAt(t, t.TempDir())
	mustAppend(t, s, ground()...)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				if _, err := s.Append(context.Background(), admin, []tandem.Edit{put(account(fmt.Sprintf("w%d-%d", w, i)))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if r := verify(t, s); r.Revision != 406 || r.Objects != 406 {
		t.Errorf("revision %d with %d objects, want 406 with 406", r.Revision, r.Objects)
	}
}

func TestReadBack(t *testing.T) {
	s := openMemory(t)
	mustAppend(t, s, ground()...)
	want := account("1001")
	want.Targets = map[string]tandem.TargetSpec{"invite": {Nodes: []string{"n1"}}}
	want.Routes = map[tandem.RequestType][]string{"invite": {"invite"}}
	want.Name = "caf\xe9" // not UTF-8: taken as it is
	rev := mustAppend(t, s, put(want))
	got, err := s.Account(context.Background(), admin, "1001")
	if err != nil {
		t.Fatal(err)
	}
	want.Revision = rev
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Account differs (-want +got):\n%s", diff)
	}
}

func TestList(t *testing.T) {
	s := openMemory(t)
	fill(t, s, 25)
	mustAppend(t, s, put(device("d1", "a1")), put(device("d2", "a2")), put(device("d3", "a1")))
	var ids []string
	for after := ""; ; {
		page, err := s.Accounts(context.Background(), admin, "", after, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page {
			ids = append(ids, a.ID)
		}
		if len(page) < 10 {
			break
		}
		after = page[len(page)-1].ID
	}
	if len(ids) != 25 || ids[0] != "a0" || ids[24] != "a9" {
		t.Errorf("pages of accounts = %v", ids)
	}
	devices, err := s.Devices(context.Background(), admin, "a1", "", 0)
	if err != nil || len(devices) != 2 || devices[0].ID != "d1" || devices[1].ID != "d3" {
		t.Errorf("Devices of a1 = %v, %v, want d1 and d3", devices, err)
	}
	zones, err := s.Zones(context.Background(), admin, "example.net", 0)
	if err != nil || len(zones) != 1 || zones[0].ID != "svc.example.net" {
		t.Errorf("Zones after example.net = %v, %v, want svc.example.net, which lies below it", zones, err)
	}
}
