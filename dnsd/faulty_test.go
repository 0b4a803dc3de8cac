package dnsd

import (
	"testing"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// TestFaultyText: a text that fails keeps the last good records in the answers; from a start what is not
// wrong is served; and a good text, or no zone, ends it.
func TestFaultyText(t *testing.T) {
	good := func(records string) *tandem.Zone {
		return &tandem.Zone{Head: tandem.Head{ID: "plain.test"}, Role: tandem.RolePlain, Records: records}
	}
	answers := func(s *Server, name string) bool {
		key := mustKey(t, name)
		r := s.model.lookup(s.model.zoneOf(key), question{name: name, key: key, rrtype: dns.TypeA})
		return len(r.answer) > 0
	}
	s := newServer(t)
	s.change(1, tandem.KindZone, "plain.test", good("old A 192.0.2.1\n"))
	if n := len(s.FaultyZones()); n != 0 || !answers(s, "old.plain.test.") {
		t.Fatalf("%d faulty zones before any", n)
	}
	s.change(2, tandem.KindZone, "plain.test", good("new A 192.0.2.1\nbad A x\n"))
	if s.FaultyZones()["plain.test"] == "" || !answers(s, "old.plain.test.") || answers(s, "new.plain.test.") {
		t.Errorf("after a faulty text: %v, want the last good records", s.FaultyZones())
	}
	s.change(3, tandem.KindZone, "plain.test", good("new A 192.0.2.1\n"))
	if len(s.FaultyZones()) != 0 || answers(s, "old.plain.test.") || !answers(s, "new.plain.test.") {
		t.Errorf("after a good text: %v, want the new records", s.FaultyZones())
	}
	cold := newServer(t)
	cold.change(1, tandem.KindZone, "plain.test", good("new A 192.0.2.1\nbad A x\nnext A 192.0.2.2\n"))
	if len(cold.FaultyZones()) != 1 || !answers(cold, "new.plain.test.") || !answers(cold, "next.plain.test.") || answers(cold, "bad.plain.test.") {
		t.Errorf("from a start: %v, want what is not wrong", cold.FaultyZones())
	}
	cold.change(2, tandem.KindZone, "plain.test", nil)
	if len(cold.FaultyZones()) != 0 {
		t.Error("a zone that is gone is still faulty")
	}
}
