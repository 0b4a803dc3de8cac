package sipproxy

import (
	"strconv"
	"strings"

	"tandem/internal/tandem"
	"tandem/sipproxy/location"
	"tandem/sipproxy/wire"
)

// register takes a REGISTER whose sender is known (RFC 3261 section 10.3). A local account is bound here,
// and with a register route of its own the request also goes there and that outcome is the answer;
// for a remote one the server there decides, and what is kept here is where the contact's flow is.
func (w *worker) register(a *ask) (*plan, *refusal) {
	req, r := w.registration(a)
	if r != nil {
		return nil, r
	}
	acct := a.account
	remote := acct.Registrar == tandem.RegistrarRemote
	if !remote && len(acct.Routes[tandem.TypeRegister]) == 0 {
		return &plan{bind: req}, nil
	}
	if !remote {
		if err := w.location.Check(w.now, req); err != nil {
			return nil, w.notBound(err)
		}
	}
	p, r := w.byType(a, acct, tandem.TypeRegister, a.m.URI)
	if r != nil {
		return nil, r
	}
	p.path = w.pathValue(a)
	p.finish = func(m *wire.Message, reply func(*wire.Message)) { w.registered(a, req, m, reply) }
	return p, nil
}

// registration reads a REGISTER into what the location table wants.
func (w *worker) registration(a *ask) (*location.Request, *refusal) {
	if r := w.mayBind(a); r != nil {
		return nil, r
	}
	m := a.m
	req := &location.Request{
		Account: a.account.ID, AOR: a.device.Username, Device: a.device.ID, CallID: m.CallID, CSeq: m.CSeq,
		Source: a.from.remote, Transport: a.from.transport, Listener: w.locals[a.from.listener].name,
		Path: m.Values(wire.NamePath), UserAgent: m.Get(wire.NameUserAgent), Edge: w.cfg.Edge,
	}
	expires := int64(-1)
	if text := m.Get(wire.NameExpires); text != "" {
		expires = seconds(text)
	}
	for _, value := range m.Values(wire.NameContact) {
		if strings.TrimSpace(value) == "*" {
			req.Star = true
			continue
		}
		contacts, err := contacts(value, expires)
		if err != nil {
			return nil, refuse(400, "Bad Request: malformed Contact")
		}
		req.Contacts = append(req.Contacts, contacts...)
	}
	if req.Star && (expires != 0 || len(req.Contacts) > 0) {
		return nil, refuse(400, "Bad Request: Contact * needs Expires: 0 and no other contact")
	}
	return req, nil
}

// mayBind reports whether the device may bind the address of record in To: its own user name, or the
// extension or a number of its user.
func (w *worker) mayBind(a *ask) *refusal {
	to, err := wire.ParseURI(a.m.To.URI)
	if err != nil || to.Host == "" {
		return refuse(404, "Not Found: To names no address of record here")
	}
	if acct, _ := w.dir.AccountByHost(to.Host); acct == nil {
		return refuse(404, "Not Found: unknown domain")
	} else if acct.ID != a.account.ID {
		return refuse(403, "Forbidden: To names another account")
	}
	user, ok := to.UserText()
	if ok && (user == a.device.Username || w.rings(a, user)) {
		return nil
	}
	return refuse(403, "Forbidden: To names another device")
}

// contacts reads the values of one Contact field; expires is the request's own, -1 for none.
func contacts(value string, expires int64) ([]location.Contact, error) {
	var out []location.Contact
	for part, err := range wire.List(value) {
		if err != nil {
			return nil, err
		}
		addr, err := wire.ParseAddress(part)
		if err != nil {
			return nil, err
		}
		c := location.Contact{URI: addr.URI, Expires: expires, Q: 1000}
		for p := range wire.Params(addr.Params) {
			switch {
			case p.Is("expires"):
				c.Expires = seconds(p.Value)
			case p.Is("q"):
				if q, err := strconv.ParseFloat(p.Value, 64); err == nil && q >= 0 && q <= 1 {
					c.Q = uint16(q * 1000)
				}
			case p.Is("+sip.instance"):
				c.Instance = p.Text()
			case p.Is("reg-id"):
				if n, err := strconv.ParseUint(p.Value, 10, 32); err == nil {
					c.RegID = uint32(n)
				}
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// seconds reads delta-seconds; what is malformed counts as 3600 (RFC 3261 section 20.19, section 10.2.1.1).
func seconds(text string) int64 {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	if err != nil {
		return 3600
	}
	return int64(n)
}

// registered takes the outcome of a forwarded REGISTER. A success is bound here too: a local account
// is answered with its bindings here, a remote one with what its registrar said.
func (w *worker) registered(a *ask, req *location.Request, m *wire.Message, reply func(*wire.Message)) {
	if m.Status/100 != 2 {
		reply(m)
		return
	}
	if a.account.Registrar != tandem.RegistrarRemote {
		w.bind(req, func(r *refusal) { reply(w.refusalMessage(a.m, r)) })
		return
	}
	req.Granted = true
	for i := range req.Contacts {
		req.Contacts[i].Expires = granted(m, &req.Contacts[i])
	}
	w.bind(req, func(*refusal) { reply(m) })
}

// granted is how long the registrar gave a contact: its expires there, else the answer's Expires,
// else what was asked for.
func granted(m *wire.Message, c *location.Contact) int64 {
	expires := c.Expires
	if text := m.Get(wire.NameExpires); text != "" && c.Expires != 0 {
		expires = seconds(text)
	}
	for _, value := range m.Values(wire.NameContact) {
		bound, err := contacts(value, expires)
		if err != nil {
			continue
		}
		for _, b := range bound {
			if location.Equal(b.URI, c.URI) {
				return b.Expires
			}
		}
	}
	return expires
}

// pathValue is what leads a registrar's requests for this device back through us. It names account
// and address of record; only peers of the core may use it, and only for a contact that is bound.
func (w *worker) pathValue(a *ask) string {
	l := &w.locals[a.from.listener]
	port := l.udp
	suffix := ""
	if port == 0 {
		port, suffix = l.tcp, ";transport=tcp"
	}
	return "<sip:path." + a.account.ID + "." + a.device.Username + "@" + l.host + ":" + itoa(int(port)) + suffix + ";lr>"
}

// pathOf reads the user part of such a Path.
func pathOf(user string) (account, aor string, ok bool) {
	rest, ok := strings.CutPrefix(user, "path.")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ".")
}
