package httpproxy

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"tandem/internal/tandem"
)

// table is the part's read model: which account a host belongs to, and by which forwarding names
// its HTTP feature servers are found. Readers take no lock; only the caller of apply writes. A
// change costs what it changes, whatever the table holds.
type table struct {
	hosts    sync.Map            // inbound name → *account
	zones    sync.Map            // zone id → its service zone, a string
	accounts map[string]*account // by id; apply's own
	size     atomic.Int64        // of hosts
}

// account is what one request needs of an account. It is immutable, but for its gate.
type account struct {
	id     string
	zone   string
	labels []string // those that answer
	routes []string // the http entries of its server database; nil: its own name
	gate   *gate    // shared by all versions of the account
}

func newTable() *table { return &table{accounts: make(map[string]*account)} }

// find returns the account that an inbound name belongs to, nil for none.
func (t *table) find(host string) *account {
	v, ok := t.hosts.Load(host)
	if !ok {
		return nil
	}
	return v.(*account)
}

// forwardingNames returns the names to try for a's HTTP requests, in order; none when its zone has
// no service zone.
func (t *table) forwardingNames(a *account) []string {
	v, ok := t.zones.Load(a.zone)
	if !ok {
		return nil
	}
	full := tandem.Account{Head: tandem.Head{ID: a.id}}
	if a.routes != nil {
		full.Routes = map[tandem.RequestType][]string{tandem.TypeHTTP: a.routes}
	}
	return full.Route(tandem.TypeHTTP, v.(string))
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
	z, _ := c.Object.(*tandem.Zone)
	if z == nil || z.ServiceZone == "" {
		t.zones.Delete(c.ID)
		return
	}
	t.zones.Store(c.ID, z.ServiceZone)
}

func (t *table) applyAccount(c tandem.Change) {
	old := t.accounts[c.ID]
	a, _ := c.Object.(*tandem.Account)
	if a == nil {
		delete(t.accounts, c.ID)
		t.forget(old)
		return
	}
	next := &account{id: c.ID, zone: a.Zone, routes: a.Routes[tandem.TypeHTTP], gate: new(gate)}
	if old != nil {
		next.gate = old.gate
	}
	for _, l := range a.Labels {
		if l.Role == tandem.LabelRetired {
			continue
		}
		next.labels = append(next.labels, l.Label)
		if _, had := t.hosts.Swap(l.Label+"."+a.Zone, next); !had {
			t.size.Add(1)
		}
	}
	t.accounts[c.ID] = next
	t.forget(old)
}

// forget removes the hosts that still lead to old.
func (t *table) forget(old *account) {
	if old == nil {
		return
	}
	for _, label := range old.labels {
		host := label + "." + old.zone
		if t.hosts.CompareAndDelete(host, old) {
			t.size.Add(-1)
		}
	}
}

// hostName returns the host of an HTTP authority as inbound names are written: without port or
// trailing dot, in lower case. It returns "" for what cannot be an inbound name: an address, or
// anything but letters, digits, hyphens and dots.
func hostName(authority string) string {
	host := authority
	if i := strings.LastIndexByte(authority, ':'); i >= 0 {
		host = authority[:i]
		if strings.Trim(authority[i+1:], "0123456789") != "" {
			return ""
		}
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 {
		return ""
	}
	for i := 0; i < len(host); i++ {
		c := host[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.':
		default:
			return ""
		}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return strings.ToLower(host)
}

// gate counts an account's requests in progress.
type gate struct{ active atomic.Int64 }

// enter takes a place unless most are taken.
func (g *gate) enter(most int) bool {
	if g.active.Add(1) > int64(most) {
		g.active.Add(-1)
		return false
	}
	return true
}

func (g *gate) leave() { g.active.Add(-1) }
