package dnsd

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// zoneStore is a Store of zones that a server follows.
type zoneStore struct {
	s        *Server
	revision tandem.Revision
}

func (z *zoneStore) Append(_ context.Context, _ tandem.Principal, edits []tandem.Edit) (tandem.Revision, error) {
	for _, e := range edits {
		z.revision++
		z.s.change(z.revision, e.Kind, e.ID, e.Object)
	}
	return z.revision, nil
}

// TestCatalog: zones that one server lists come to another, and go with their catalog's word; a zone that
// the operator made stays, whatever a catalog says.
func TestCatalog(t *testing.T) {
	everybody := []tandem.Secondary{{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	member := func(id, catalog string) *tandem.Zone {
		return &tandem.Zone{Head: tandem.Head{ID: id}, Role: tandem.RolePlain, Catalog: catalog, Secondaries: everybody, Records: "www A 192.0.2.1\n"}
	}
	list := &tandem.Zone{Head: tandem.Head{ID: "list.test"}, Role: tandem.RoleCatalog, Secondaries: everybody}
	producer, at, _ := running(t, nil, list, member("one.test", "list.test"), member("two.test", "list.test"), member("own.test", "list.test"), member("other.test", ""))
	consumer, consumerAt, _ := running(t, nil, member("own.test", ""))
	store := &zoneStore{s: consumer, revision: 1000}
	consumer.deps.Store = store
	consumer.change(900, tandem.KindZone, "list.test", &tandem.Zone{Head: tandem.Head{ID: "list.test"}, Role: tandem.RoleCatalog, Primaries: []tandem.Primary{{Address: at}}})
	has := func(id string) bool {
		key, _ := wireKey(id)
		z := consumer.model.zoneOf(key)
		return z != nil && z.apex == key && z.absent == ""
	}
	until(t, "the members", func() bool { return has("one.test") && has("two.test") })
	if has("other.test") {
		t.Error("a zone that is not listed came too")
	}
	key, _ := wireKey("own.test")
	if consumer.model.zoneOf(key).copied() {
		t.Error("a zone of the operator's became a copy")
	}
	told := *list
	told.Secondaries = []tandem.Secondary{{Networks: everybody[0].Networks, Notify: []string{consumerAt}}}
	producer.change(50, tandem.KindZone, "list.test", &told)
	producer.change(51, tandem.KindZone, "one.test", nil)
	producer.change(52, tandem.KindZone, "three.test", member("three.test", "list.test"))
	until(t, "a member gone and one more", func() bool { return !has("one.test") && has("three.test") && has("two.test") })
	producer.change(53, tandem.KindZone, "list.test", &tandem.Zone{Head: told.Head, Role: told.Role, Secondaries: told.Secondaries, Records: "version TXT 1\n"})
	until(t, "the broken version", func() bool { return consumer.catalogs.broken.Load() > 0 })
	if !has("two.test") || !has("three.test") {
		t.Error("a broken catalog took zones away")
	}
}

func TestReadCatalog(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{"members", "version TXT 2\na.zones PTR one.test.\nb.zones PTR TWO.test.\ngroup.a.zones TXT x\n", "one.test=a two.test=b"},
		{"no version", "a.zones PTR one.test.\n", "!no single version"},
		{"version 1", "version TXT 1\na.zones PTR one.test.\n", "!is not 2"},
		{"two versions", "version TXT 2\nversion TXT 1\n", "!no single version"},
		{"a zone twice", "version TXT 2\na.zones PTR one.test.\nb.zones PTR one.test.\n", "!twice"},
		{"two PTR", "version TXT 2\na.zones PTR one.test.\na.zones PTR two.test.\n", "!2 PTR"},
		{"none", "version TXT 2\n", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tree, err := plant(&tandem.Zone{Head: tandem.Head{ID: "list.test"}, Role: tandem.RoleCatalog, Records: c.text})
			if err != nil {
				t.Fatal(err)
			}
			listed, err := readCatalog(&zone{tree: tree, apex: "\x04list\x04test\x00"})
			var got []string
			for id, unique := range listed {
				got = append(got, id+"="+unique)
			}
			slices.Sort(got)
			text := strings.Join(got, " ")
			if err != nil {
				text = "!" + err.Error()
			}
			if problem, bad := strings.CutPrefix(c.want, "!"); bad && !strings.Contains(text, problem) || !bad && text != c.want {
				t.Errorf("readCatalog = %s, want %s", text, c.want)
			}
		})
	}
}

// TestHealthLeavesSharedZonesAlone: what balancing finds out shows in no zone that others hold copies of.
func TestHealthLeavesSharedZonesAlone(t *testing.T) {
	s := sharedWorld(t)
	before := recordsOf(s.transferred(t, axfr(t, "voice.test"), secondary()))
	s.change(500, tandem.KindNode, "n1", feature("n1", 9))
	s.Health([]tandem.NodeHealth{{Node: "n1", State: tandem.HealthDown}})
	after := recordsOf(s.transferred(t, axfr(t, "voice.test"), secondary()))
	if !slices.EqualFunc(before, after, func(a, b dns.RR) bool { return a.String() == b.String() }) {
		t.Error("a node's health changed a zone that is given to secondaries")
	}
}
