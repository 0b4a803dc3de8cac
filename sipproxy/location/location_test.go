package location

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
)

var start = time.UnixMilli(1_800_000_000_123)

// shelf is a store of bindings: by device and contact, as the real one has it.
type shelf struct {
	mu   sync.Mutex
	kept map[string]tandem.Binding
	fail error
}

func newShelf() *shelf { return &shelf{kept: make(map[string]tandem.Binding)} }

func shelfKey(b *tandem.Binding) string {
	return strings.Join([]string{b.Account, b.AOR, b.Device, b.Contact}, "|")
}

func (s *shelf) persist(puts, deletes []tandem.Binding) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for i := range puts {
		s.kept[shelfKey(&puts[i])] = puts[i]
	}
	return s.drop(deletes)
}

func (s *shelf) drop(deletes []tandem.Binding) error {
	for i := range deletes {
		delete(s.kept, shelfKey(&deletes[i]))
	}
	return nil
}

func (s *shelf) remove(deletes []tandem.Binding) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	return s.drop(deletes)
}

// agrees checks that the store holds exactly what the table does.
func (s *shelf) agrees(t *testing.T, table *Table) {
	t.Helper()
	held := make(map[string]tandem.Binding)
	table.each("", func(e *entry) {
		for _, b := range unpackAll(e.records, e.account, e.aor) {
			held[shelfKey(&b)] = b
		}
	})
	if diff := cmp.Diff(s.kept, held, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("store (-) and table (+) differ: %s", diff)
	}
	if table.Len() != len(held) {
		t.Errorf("Len = %d, want %d", table.Len(), len(held))
	}
}

func register(callID string, cseq uint32, contacts ...Contact) *Request {
	return &Request{
		Account: "1001", AOR: "alice", Device: "d1", CallID: callID, CSeq: cseq, Contacts: contacts,
		Source: netip.MustParseAddrPort("192.0.2.1:5060"), Transport: tandem.UDP, Listener: "access",
		UserAgent: "phone/1", Edge: "e1", Path: []string{"<sip:p1;lr>", "<sip:p2;lr>"},
	}
}

func contact(uri string, expires int64) Contact { return Contact{URI: uri, Expires: expires, Q: 1000} }

// show writes bindings down as contact=seconds.
func show(now time.Time, bindings []tandem.Binding) string {
	parts := make([]string, len(bindings))
	for i, b := range bindings {
		parts[i] = fmt.Sprintf("%s=%d", b.Contact, int(b.Expires.Sub(now).Seconds()))
	}
	return strings.Join(parts, " ")
}

func TestUpdate(t *testing.T) {
	type step struct {
		at   time.Duration
		r    *Request
		want string
		err  error
	}
	a, b, c := "sip:alice@10.0.0.1", "sip:alice@10.0.0.2", "sip:alice@10.0.0.3"
	outbound := func(uri, instance string, reg uint32) Contact {
		return Contact{URI: uri, Expires: 600, Q: 1000, Instance: instance, RegID: reg}
	}
	star := func(callID string, cseq uint32) *Request {
		r := register(callID, cseq)
		r.Star = true
		return r
	}
	granted := func(seconds int64) *Request {
		r := register("x", 1, contact(a, seconds))
		r.Granted = true
		return r
	}
	cases := []struct {
		name  string
		steps []step
	}{
		{"bind and ask", []step{
			{0, register("x", 1, contact(a, 600)), a + "=600", nil},
			{10 * time.Second, register("y", 1), a + "=590", nil},
		}},
		{"default, cut and brief lives", []step{
			{0, register("x", 1, contact(a, -1)), a + "=3600", nil},
			{0, register("x", 2, contact(a, 100000)), a + "=7200", nil},
			{0, register("x", 3, contact(a, 59)), "", ErrBrief},
			{0, register("x", 4, contact(a, 60)), a + "=60", nil},
			{0, register("x", 5), a + "=60", nil},
		}},
		{"lives that another registrar granted", []step{
			{0, granted(20), a + "=20", nil},
			{0, register("x", 2, contact(a, 20)), "", ErrBrief},
		}},
		{"refresh by an equal URI", []step{
			{0, register("x", 1, contact("sip:alice@Host;transport=udp", 600)), "sip:alice@Host;transport=udp=600", nil},
			{0, register("x", 2, contact("sip:%61lice@host;transport=UDP", 700)), "sip:%61lice@host;transport=UDP=700", nil},
		}},
		{"another URI is another binding", []step{
			{0, register("x", 1, contact(a, 600)), a + "=600", nil},
			{0, register("x", 2, contact(b, 700)), a + "=600 " + b + "=700", nil},
		}},
		{"order within a Call-ID", []step{
			{0, register("x", 5, contact(a, 600)), a + "=600", nil},
			{0, register("x", 5, contact(a, 700)), "", ErrOrder},
			{0, register("x", 4, contact(a, 0)), "", ErrOrder},
			{0, register("x", 4, contact(b, 600)), a + "=600 " + b + "=600", nil},
			{0, register("y", 1, contact(a, 800)), a + "=800 " + b + "=600", nil},
		}},
		{"removal", []step{
			{0, register("x", 1, contact(a, 600), contact(b, 600)), a + "=600 " + b + "=600", nil},
			{0, register("x", 2, contact(a, 0)), b + "=600", nil},
			{0, register("x", 3, contact(c, 0)), b + "=600", nil},
		}},
		{"all or nothing", []step{
			{0, register("x", 5, contact(a, 600)), a + "=600", nil},
			{0, register("x", 5, contact(b, 600), contact(a, 700)), "", ErrOrder},
			{0, register("x", 6, contact(b, 600), contact("tel:+1", 700)), "", ErrContact},
			{0, register("x", 7, contact(b, 600), contact(c, 5)), "", ErrBrief},
			{0, register("x", 8), a + "=600", nil},
		}},
		{"star", []step{
			{0, register("x", 5, contact(a, 600), contact(b, 600)), a + "=600 " + b + "=600", nil},
			{0, star("x", 5), "", ErrOrder},
			{0, register("x", 6), a + "=600 " + b + "=600", nil},
			{0, star("y", 1), "", nil},
			{0, register("x", 6), "", nil},
			{0, star("y", 1), "", nil},
		}},
		{"star among others", []step{
			{0, func() *Request { r := register("x", 1, contact(a, 0)); r.Star = true; return r }(), "", ErrWildcard},
		}},
		{"a contact twice: the last counts", []step{
			{0, register("x", 1, contact(a, 600), contact(a, 700)), a + "=700", nil},
			{0, register("x", 2, contact(a, 700), contact(a, 0)), "", nil},
		}},
		{"instance and reg-id outlive the address", []step{
			{0, register("x", 1, outbound(a, "<urn:uuid:1>", 1)), a + "=600", nil},
			{0, register("y", 1, outbound(b, "<urn:uuid:1>", 1)), b + "=600", nil},
			{0, register("y", 2, outbound(c, "<urn:uuid:1>", 2)), b + "=600 " + c + "=600", nil},
			{0, register("y", 3, outbound(a, "<urn:uuid:2>", 1)), b + "=600 " + c + "=600 " + a + "=600", nil},
		}},
		{"instance without reg-id counts by URI", []step{
			{0, register("x", 1, outbound(a, "<urn:uuid:1>", 0)), a + "=600", nil},
			{0, register("x", 2, outbound(b, "<urn:uuid:1>", 0)), a + "=600 " + b + "=600", nil},
		}},
		{"one contact in the place of two", []step{
			{0, register("x", 1, outbound(a, "<urn:uuid:1>", 1), contact(b, 600)), a + "=600 " + b + "=600", nil},
			{0, register("x", 2, outbound(b, "<urn:uuid:1>", 1)), b + "=600", nil},
		}},
		{"an ended binding is not there", []step{
			{0, register("x", 5, contact(a, 60)), a + "=60", nil},
			{60 * time.Second, register("x", 6), "", nil},
			{60 * time.Second, register("x", 1, contact(a, 600)), a + "=600", nil},
		}},
		{"too many at once", []step{
			{0, register("x", 1, contact(a, 600), contact(b, 600), contact(c, 600), contact("sip:d", 600)), "", ErrTooMany},
		}},
		{"the least recently refreshed makes room", []step{
			{0, register("x", 1, contact(a, 600)), a + "=600", nil},
			{time.Second, register("x", 2, contact(b, 600), contact(c, 600)), a + "=599 " + b + "=600 " + c + "=600", nil},
			{2 * time.Second, register("x", 3, contact(a, 600)), a + "=600 " + b + "=599 " + c + "=599", nil},
			{3 * time.Second, register("x", 4, contact("sip:d", 600)), a + "=599 " + c + "=598 sip:d=600", nil},
		}},
		{"absurd contact", []step{
			{0, register("x", 1, contact("sip:"+strings.Repeat("a", 2000), 600)), "", ErrContact},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			table, store := New(Config{PerAOR: 3}), newShelf()
			for i, s := range c.steps {
				now := start.Add(s.at)
				if err := table.Check(now, s.r); !errors.Is(err, s.err) {
					t.Errorf("step %d: Check = %v, want %v", i, err, s.err)
				}
				got, err := table.Update(now, s.r, store.persist)
				if !errors.Is(err, s.err) {
					t.Fatalf("step %d: Update = %v, want %v", i, err, s.err)
				}
				if text := show(now.Truncate(time.Millisecond), got); text != s.want {
					t.Errorf("step %d: %q, want %q", i, text, s.want)
				}
				store.agrees(t, table)
			}
		})
	}
}

func TestUpdateFields(t *testing.T) {
	table, store := New(Config{}), newShelf()
	for _, source := range []string{"192.0.2.1:5060", "[2001:db8::1]:5061", "[::ffff:192.0.2.1]:1"} {
		r := register("call@x", 7, Contact{URI: "sip:a@b", Expires: 60, Q: 500, Instance: "<urn:uuid:1>", RegID: 2})
		r.Source, r.AOR = netip.MustParseAddrPort(source), source
		if _, err := table.Update(start, r, store.persist); err != nil {
			t.Fatal(err)
		}
		want := []tandem.Binding{{
			Account: "1001", Device: "d1", AOR: source, Contact: "sip:a@b", Source: r.Source, Transport: tandem.UDP,
			Listener: "access", Instance: "<urn:uuid:1>", RegID: 2, Q: 500, CallID: "call@x", CSeq: 7, Path: r.Path,
			UserAgent: "phone/1", Edge: "e1", Expires: start.Add(time.Minute), Updated: start,
		}}
		if diff := cmp.Diff(want, table.Lookup(start, "1001", source), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
	}
}

func TestPersistFails(t *testing.T) {
	table, store := New(Config{}), newShelf()
	store.fail = errors.New("disk full")
	if _, err := table.Update(start, register("x", 1, contact("sip:a@b", 60)), store.persist); !errors.Is(err, store.fail) {
		t.Errorf("Update = %v, want the store's error", err)
	}
	if table.Len() != 0 || len(table.Lookup(start, "1001", "alice")) != 0 {
		t.Error("a binding is seen that was not written")
	}
	called := false
	_, err := table.Update(start, register("x", 1), func(_, _ []tandem.Binding) error { called = true; return nil })
	if err != nil || called {
		t.Errorf("a query wrote to the store, error %v", err)
	}
}

func TestTotal(t *testing.T) {
	table, store := New(Config{Total: 2}), newShelf()
	ask := func(aor string, contacts ...Contact) error {
		r := register("x-"+aor, 1, contacts...)
		r.AOR = aor
		if err := table.Check(start, r); err != nil {
			if _, again := table.Update(start, r, store.persist); !errors.Is(again, err) {
				t.Errorf("Update = %v, Check = %v", again, err)
			}
			return err
		}
		_, err := table.Update(start, r, store.persist)
		return err
	}
	if err := ask("a", contact("sip:1", 600), contact("sip:2", 600)); err != nil {
		t.Fatal(err)
	}
	if err := ask("b", contact("sip:3", 600)); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the bound: %v, want ErrFull", err)
	}
	r := register("again", 1, contact("sip:1", 700))
	r.AOR = "a"
	if _, err := table.Update(start, r, store.persist); err != nil {
		t.Errorf("a refresh in a full table: %v", err)
	}
	store.agrees(t, table)
}

func TestLookupOrder(t *testing.T) {
	table, store := New(Config{}), newShelf()
	bind := func(at time.Duration, aor, uri string, q uint16) {
		r := register(uri, 1, Contact{URI: uri, Expires: 600, Q: q})
		r.AOR = aor
		if _, err := table.Update(start.Add(at), r, store.persist); err != nil {
			t.Fatal(err)
		}
	}
	bind(0, "a", "sip:old", 1000)
	bind(time.Second, "b", "sip:new", 1000)
	bind(2*time.Second, "a", "sip:low", 100)
	bind(0, "c", "sip:other", 1000)
	got := show(start, table.Lookup(start, "1001", "a", "b", "nobody"))
	if want := "sip:new=601 sip:old=600 sip:low=602"; got != want {
		t.Errorf("Lookup = %q, want %q", got, want)
	}
	if got := table.Lookup(start, "1002", "a"); len(got) != 0 {
		t.Errorf("another account sees %v", got)
	}
	if got := table.Lookup(start.Add(601*time.Second), "1001", "a"); len(got) != 1 {
		t.Errorf("ended bindings are seen: %v", got)
	}
	if got := len(table.List(start, "")); got != 4 {
		t.Errorf("List of all = %d, want 4", got)
	}
	if got := table.List(start, "1002"); len(got) != 0 {
		t.Errorf("List of another account = %v", got)
	}
	aors := make([]string, 0, 4)
	for _, b := range table.List(start, "1001") {
		aors = append(aors, b.AOR)
	}
	if !slices.Equal(aors, []string{"a", "a", "b", "c"}) {
		t.Errorf("List is ordered %q", aors)
	}
}

func TestForget(t *testing.T) {
	table, store := New(Config{}), newShelf()
	for _, device := range []string{"d1", "d2"} {
		r := register(device, 1, contact("sip:"+device, 600))
		r.Device = device
		if _, err := table.Update(start, r, store.persist); err != nil {
			t.Fatal(err)
		}
	}
	forget := func(account, device string) string {
		if err := table.Forget(account, "alice", device, store.remove); err != nil {
			t.Error(err)
		}
		store.agrees(t, table)
		return show(start, table.List(start, ""))
	}
	if left := forget("1001", "d1"); left != "sip:d2=600" {
		t.Errorf("left %s", left)
	}
	if left := forget("1002", "d2"); left != "sip:d2=600" {
		t.Errorf("left %s after another account's was forgotten", left)
	}
	store.fail = errors.New("disk full")
	if err := table.Forget("1001", "alice", "d2", store.remove); err == nil || table.Len() != 0 {
		t.Errorf("Forget = %v with a store that fails, %d left", err, table.Len())
	}
}
