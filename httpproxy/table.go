package httpproxy

import (
	"strings"
	"sync/atomic"

	"tandem/internal/tandem"
)

// table is the part's read model: which account a host belongs to, and by which forwarding names
// its HTTP feature servers are found. Readers take no lock; only the caller of apply writes. A
// change costs what it changes, whatever the table holds; a host costs about 110 octets.
type table struct {
	hosts    *index           // of every host
	accounts *index           // of the first host of each account; apply's own
	zones    map[string]*zone // by id; apply's own
}

// entry is one inbound name of an account. It never changes.
type entry struct {
	text   string // the account's id and the label, one after the other
	cut    int    // where the label begins
	zone   *zone
	routes *[]string // the http entries of the server database; nil: the account's own name
	next   *entry    // the account's next host
}

// zone is shared by the entries that lie in it.
type zone struct {
	id      string
	service atomic.Pointer[string] // its service zone; nil: none
	entries int                    // apply's own
}

func (e *entry) account() string { return e.text[:e.cut] }
func (e *entry) label() string   { return e.text[e.cut:] }

// isHost reports whether e is the inbound name host.
func (e *entry) isHost(host string) bool {
	rest, ok := strings.CutPrefix(host, e.label())
	return ok && len(rest) > 1 && rest[0] == '.' && rest[1:] == e.zone.id
}

// forwardingNames returns the names to try for an HTTP request, in order; none when the zone has no
// service zone.
func (e *entry) forwardingNames() []string {
	service := e.zone.service.Load()
	if service == nil {
		return nil
	}
	full := tandem.Account{Head: tandem.Head{ID: e.account()}}
	if e.routes != nil {
		full.Routes = map[tandem.RequestType][]string{tandem.TypeHTTP: *e.routes}
	}
	return full.Route(tandem.TypeHTTP, *service)
}

func newTable() *table {
	return &table{
		hosts:    newIndex(func(e *entry) []string { return []string{e.label(), ".", e.zone.id} }),
		accounts: newIndex(func(e *entry) []string { return []string{e.account()} }),
		zones:    make(map[string]*zone),
	}
}

// find returns the entry of an inbound name, nil for none.
func (t *table) find(host string) *entry {
	return t.hosts.find(host, func(e *entry) bool { return e.isHost(host) })
}

// apply follows the store. Calls must not overlap.
func (t *table) apply(changes []tandem.Change) {
	for _, c := range changes {
		switch c.Kind {
		case tandem.KindZone:
			t.applyZone(c)
		case tandem.KindAccount:
			t.applyAccount(c)
		}
	}
}

func (t *table) applyZone(c tandem.Change) {
	z := t.zone(c.ID)
	if now, _ := c.Object.(*tandem.Zone); now != nil && now.ServiceZone != "" {
		service := strings.Clone(now.ServiceZone) // not to hold the whole object
		z.service.Store(&service)
		return
	}
	z.service.Store(nil)
	t.tidy(z)
}

// zone returns the zone with this id, known or not yet.
func (t *table) zone(id string) *zone {
	z := t.zones[id]
	if z == nil {
		z = &zone{id: strings.Clone(id)}
		t.zones[z.id] = z
	}
	return z
}

// tidy forgets a zone that nothing is known of any more.
func (t *table) tidy(z *zone) {
	if z.entries == 0 && z.service.Load() == nil {
		delete(t.zones, z.id)
	}
}

func (t *table) applyAccount(c tandem.Change) {
	old := t.accounts.find(c.ID, func(e *entry) bool { return e.account() == c.ID })
	var first *entry
	if a, _ := c.Object.(*tandem.Account); a != nil {
		first = t.entries(a)
	}
	for e := first; e != nil; e = e.next {
		t.hosts.put(e, func(o *entry) bool { return o.label() == e.label() && o.zone == e.zone })
		e.zone.entries++
	}
	switch {
	case first != nil:
		t.accounts.put(first, func(o *entry) bool { return o == old })
	case old != nil:
		t.accounts.remove(old)
	}
	for e := old; e != nil; e = e.next {
		t.hosts.remove(e)
		e.zone.entries--
		t.tidy(e.zone)
	}
}

// entries returns the chain of an account's hosts that answer, nil for none.
func (t *table) entries(a *tandem.Account) *entry {
	var routes *[]string
	if http := a.Routes[tandem.TypeHTTP]; len(http) > 0 {
		routes = &http
	}
	var first *entry
	for _, l := range a.Labels {
		if l.Role != tandem.LabelRetired {
			first = &entry{text: a.ID + l.Label, cut: len(a.ID), zone: t.zone(a.Zone), routes: routes, next: first}
		}
	}
	return first
}
