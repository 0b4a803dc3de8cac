package sipproxy

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"tandem/internal/tandem"
	"tandem/sipproxy/classify"
	"tandem/sipproxy/directory"
	"tandem/sipproxy/location"
	"tandem/sipproxy/wire"
)

const (
	maxChoices  = 64 // among how many the balancer chooses
	maxTargets  = 16 // how many targets one request may try
	maxBranches = 60 // how many contacts it may fork to (the Max-Breadth of RFC 5393 section 5.3.3)
)

// byType sends a request to the feature servers that the account's server database names for its type
// (spec D5).
func (w *worker) byType(a *ask, acct *directory.Account, t tandem.RequestType, uri string) (*plan, *refusal) {
	call := w.deps.Balancer != nil && a.m.Method == "INVITE"
	targets, route := w.targets(acct, t, a.m.Size, call)
	if len(targets) == 0 && t == tandem.TypeEmergency {
		targets = w.lastResort()
	}
	if len(targets) == 0 && !call { // tier 2 knows better what to say to a call
		w.count.noTarget.Add(1)
		return nil, refuse(503, "Service Unavailable: no server for "+string(t), wire.Field(wire.NameRetryAfter, "5"))
	}
	owner := acct
	if a.account != nil {
		owner = a.account
	}
	p := &plan{
		legs:    []legPlan{{uri: uri, targets: targets}},
		account: owner.ID,
		groups:  [2]string{acct.Group},
		typ:     string(t),
		route:   route,
		record:  recorded(a.m.Method),
		caller:  w.callerSide(a),
		strip:   w.stripFor(a),
	}
	if a.account != nil && a.account.Group != acct.Group {
		p.groups[1] = a.account.Group
	}
	return p, nil
}

// recorded reports whether a request of this method may begin a dialog.
func recorded(method string) bool {
	return method == "INVITE" || method == "SUBSCRIBE" || method == "REFER"
}

// stripFor returns which header fields end here: credentials meant for us, and identities asserted by
// somebody who is not believed.
func (w *worker) stripFor(a *ask) func(wire.Header) bool {
	trusted := a.peer != nil && (a.peer.Trusted || a.peer.Role == tandem.PeerCore)
	realm := ""
	if a.account != nil {
		realm = `realm="` + a.account.Realm + `"`
	}
	return func(h wire.Header) bool {
		switch h.Name {
		case wire.NameProxyAuthorization, wire.NameAuthorization:
			return realm != "" && strings.Contains(h.Value, realm)
		case wire.NameAssertedIdentity:
			return !trusted
		}
		return !trusted && (strings.EqualFold(h.Raw, "Remote-Party-ID") || strings.EqualFold(h.Raw, "P-Preferred-Identity"))
	}
}

// targets resolves an account's forwarding names for a type, in order, to the places to try: the
// same answer that DNS gives. route is the name that the first of them came from. For a call it is
// the balancer that chooses among them, so that it gets more to choose from.
func (w *worker) targets(acct *directory.Account, t tandem.RequestType, size int, call bool) (out []target, route string) {
	most := maxTargets
	if call {
		most = maxChoices
	}
	for n, name := range acct.Route(t, w.dir.ServiceZone(acct.Zone)) {
		found, err := w.deps.Resolver.Targets(name)
		if err != nil {
			w.log.Debug("forwarding name", "name", name, "err", err)
			continue
		}
		for _, f := range order(w.rand, found, size) {
			h, ok := w.hopTo(f.Transport, f.Addr)
			if ok && len(out) < most {
				out, route = append(out, target{hop: h, node: f.Node, tier: n<<16 | int(f.Priority)}), cmp.Or(route, name)
			}
		}
	}
	return out, route
}

// lastResort is where an emergency call goes whose forwarding names lead nowhere, because its group has no
// cluster, say: any node that serves such calls, draining ones behind.
func (w *worker) lastResort() (out []target) {
	for _, id := range w.probes.all() {
		n := w.dir.Node(id)
		if n == nil || !n.Serves(tandem.TypeEmergency) {
			continue
		}
		if h, ok := w.doorOf(n); ok {
			x := target{hop: h, node: id}
			if !n.Available() {
				x.tier = 1
			}
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b target) int { return cmp.Compare(a.tier, b.tier) })
	return out[:min(len(out), maxChoices)]
}

// order puts targets into the order to try them: by priority, within one by weighted lot (RFC 2782),
// one entry a host, over UDP unless it is not offered or the request is too long for it
// (RFC 3261 section 18.1.1).
func order(lot *rand.Rand, found []tandem.Target, size int) []tandem.Target {
	const tooLong = 1300 - 250 // our Via and Record-Routes come on top
	left := make([]tandem.Target, 0, len(found))
	for _, t := range found {
		if t.Transport != tandem.UDP && t.Transport != tandem.TCP {
			continue
		}
		same := func(o tandem.Target) bool { return o.Host == t.Host && o.Addr.Addr() == t.Addr.Addr() }
		i := slices.IndexFunc(left, same)
		if i < 0 {
			left = append(left, t)
		} else if (t.Transport == tandem.TCP) == (size > tooLong) {
			left[i] = t
		}
	}
	slices.SortStableFunc(left, func(a, b tandem.Target) int { return cmp.Compare(a.Priority, b.Priority) })
	for from := 0; from < len(left); {
		to := from
		for to < len(left) && left[to].Priority == left[from].Priority {
			to++
		}
		draw(lot, left[from:to])
		from = to
	}
	return left
}

// draw orders targets of one priority by weighted lot. Weight zero has the smallest chance.
func draw(lot *rand.Rand, ts []tandem.Target) {
	for ; len(ts) > 1; ts = ts[1:] {
		sum := 0
		for _, t := range ts {
			sum += int(t.Weight)
		}
		pick, n := 0, lot.IntN(sum+1)
		for i, t := range ts {
			if n -= int(t.Weight); n <= 0 && (t.Weight > 0 || sum == 0) {
				pick = i
				break
			}
		}
		ts[0], ts[pick] = ts[pick], ts[0]
	}
}

// fromCore takes a request from a feature server: to the bindings of one of our users, or to the trunk
// route for what is not ours; never again by type.
func (w *worker) fromCore(a *ask) (*plan, *refusal) {
	if account, aor, ok := pathOf(a.route.User); ok {
		return w.toBinding(a, account, aor)
	}
	user := userOf(&a.uri)
	number, isNumber := classify.Number(a.peer.Rewrite, user)
	acct, _ := w.dir.AccountByHost(a.uri.Host)
	devices := w.ringing(acct, user, number)
	if devices == nil && isNumber {
		if owner := w.dir.AccountByNumber(number); owner != nil {
			acct = owner
			if devices = w.ringing(owner, number, ""); devices == nil {
				return nil, refuse(404, "Not Found: the number rings nobody")
			}
		}
	}
	if devices == nil {
		return w.toTrunk(a, acct, isNumber || user != "" && isDialled(user))
	}
	return w.toDevices(a, acct, devices)
}

// ringing returns the devices that a user part rings within acct, tried as it stands, then as number.
func (w *worker) ringing(acct *directory.Account, user, number string) []*directory.Device {
	if acct == nil || user == "" {
		return nil
	}
	devices := w.dir.Ring(acct.ID, user)
	if len(devices) == 0 && number != "" && number != user {
		devices = w.dir.Ring(acct.ID, number)
	}
	if len(devices) == 0 {
		return nil
	}
	return devices
}

// isDialled reports whether a user part is something that one dials: digits, with + * and #.
func isDialled(user string) bool { return strings.Trim(user, "0123456789+*#") == "" }

// toTrunk sends what is not ours to the trunk route of the calling account.
func (w *worker) toTrunk(a *ask, acct *directory.Account, dialled bool) (*plan, *refusal) {
	if from, err := wire.ParseURI(a.m.From.URI); err == nil {
		if caller, _ := w.dir.AccountByHost(from.Host); caller != nil {
			acct = caller
		}
	}
	if acct == nil || !dialled {
		return nil, refuse(404, "")
	}
	p, r := w.byType(a, acct, tandem.TypeTrunk, a.m.URI)
	if _, ok := classify.Emergency(acct.Emergency, a.m.URI); ok && p != nil && a.m.Method == "INVITE" {
		p.typ = string(tandem.TypeEmergency) // no limit may keep its second leg back either
	}
	return p, r
}

// toDevices forks to every binding of the devices that a call rings.
func (w *worker) toDevices(a *ask, acct *directory.Account, devices []*directory.Device) (*plan, *refusal) {
	aors := make([]string, len(devices))
	for i, d := range devices {
		aors[i] = d.Username
	}
	bindings := w.location.Lookup(w.now, acct.ID, aors...)
	if len(bindings) == 0 {
		return nil, refuse(480, "Temporarily Unavailable: not registered")
	}
	return w.toBindings(a, acct.ID, bindings), nil
}

// toBinding sends a request that names one contact, come back along the Path that we gave a remote
// registrar.
func (w *worker) toBinding(a *ask, account, aor string) (*plan, *refusal) {
	bindings := w.location.Lookup(w.now, account, aor)
	bindings = slices.DeleteFunc(bindings, func(b tandem.Binding) bool { return !location.Equal(b.Contact, a.m.URI) })
	if len(bindings) == 0 {
		return nil, refuse(430, "")
	}
	return w.toBindings(a, account, bindings), nil
}

func (w *worker) toBindings(a *ask, account string, bindings []tandem.Binding) *plan {
	p := &plan{account: account, typ: "core", counted: true, record: recorded(a.m.Method), caller: w.callerSide(a), strip: w.stripFor(a)}
	if acct := w.dir.Account(account); acct != nil {
		p.groups[0] = acct.Group
	}
	for i := range bindings[:min(len(bindings), maxBranches)] {
		b := &bindings[i]
		p.legs = append(p.legs, legPlan{uri: b.Contact, routes: b.Path, name: b.AOR, failure: 430,
			targets: []target{{hop: w.hopOf(b)}}})
	}
	return p
}

// hopOf returns the flow of a binding.
func (w *worker) hopOf(b *tandem.Binding) hop {
	h := hop{transport: b.Transport, remote: reach(b.Contact, b.Source, b.Transport), flow: true}
	for i := range w.locals {
		if w.locals[i].name == b.Listener {
			h.listener = uint8(i)
		}
	}
	return h
}

// reach is where requests to a contact go: over UDP to the contact's own port when it names the very
// address that it came from, else to where it came from, which is what a NAT shows of it.
func reach(contact string, source netip.AddrPort, t tandem.Transport) netip.AddrPort {
	u, err := wire.ParseURI(contact)
	if err != nil || t != tandem.UDP {
		return source
	}
	if addr, err := netip.ParseAddr(strings.Trim(u.Host, "[]")); err != nil || addr != source.Addr() {
		return source
	}
	if u.Port == 0 {
		return netip.AddrPortFrom(source.Addr(), 5060)
	}
	return netip.AddrPortFrom(source.Addr(), u.Port)
}

// callerSide says how the callee's requests will reach whoever sent a.
func (w *worker) callerSide(a *ask) side {
	s := side{hop: a.from}
	if a.peer != nil {
		if n := w.dir.NodeAt(a.from.remote); n != nil {
			s.node = n.ID
			return s
		}
	}
	if c, err := wire.ParseAddress(a.m.Get(wire.NameContact)); err == nil {
		s.hop.remote = reach(c.URI, a.from.remote, a.from.transport)
	}
	return s
}

// hopTo finds the listener to reach addr through: the one on which addr is believed as a peer, else the first that
// speaks the transport and the address family.
func (w *worker) hopTo(t tandem.Transport, addr netip.AddrPort) (hop, bool) {
	best := -1
	for i := range w.locals {
		l := &w.locals[i]
		if l.port(t) == 0 || !l.reaches(addr.Addr()) {
			continue
		}
		if w.dir.Peer(l.name, addr) != nil {
			best = i
			break
		}
		if best < 0 {
			best = i
		}
	}
	if best < 0 {
		return hop{}, false
	}
	return hop{transport: t, listener: uint8(best), remote: addr}, true
}
