package sipproxy

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

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
		return nil, w.bind(req)
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
	p.finish = func(m *wire.Message) *wire.Message { return w.registered(a, req, m, remote) }
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
	if ok && user == a.device.Username {
		return nil
	}
	for _, d := range w.dir.Ring(a.account.ID, user) {
		if ok && d.ID == a.device.ID {
			return nil
		}
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

// bind writes a registration and answers it with all bindings (RFC 3261 section 10.3 step 8).
func (w *worker) bind(req *location.Request) *refusal {
	bindings, err := w.location.Update(w.now, req, w.persist)
	if err != nil {
		return w.notBound(err)
	}
	w.count.registrations.Add(1)
	return refuse(200, "OK", w.boundFields(bindings)...)
}

func (w *worker) boundFields(bindings []tandem.Binding) []wire.Header {
	fields := make([]wire.Header, 0, len(bindings)+1)
	for i := range bindings {
		b := &bindings[i]
		left := max(int64(b.Expires.Sub(w.now)/time.Second), 0)
		value := "<" + b.Contact + ">;expires=" + strconv.FormatInt(left, 10)
		if b.Q != 1000 {
			value += ";q=" + strconv.FormatFloat(float64(b.Q)/1000, 'f', -1, 64)
		}
		if b.Instance != "" {
			value += `;+sip.instance="` + b.Instance + `"`
		}
		if b.RegID != 0 {
			value += ";reg-id=" + strconv.FormatUint(uint64(b.RegID), 10)
		}
		fields = append(fields, wire.Field(wire.NameContact, value))
	}
	return append(fields, wire.Field(wire.NameDate, w.now.UTC().Format(http.TimeFormat)))
}

// notBound is the one place where the registrar's errors become status codes.
func (w *worker) notBound(err error) *refusal {
	switch {
	case errors.Is(err, location.ErrOrder):
		return refuse(500, "Server Internal Error: CSeq is not higher than before")
	case errors.Is(err, location.ErrBrief):
		return refuse(423, "", wire.Field(wire.NameMinExpires, strconv.Itoa(w.location.MinExpires())))
	case errors.Is(err, location.ErrTooMany):
		return refuse(403, "Forbidden: too many contacts")
	case errors.Is(err, location.ErrFull):
		return refuse(503, "Service Unavailable: location table full", wire.Field(wire.NameRetryAfter, "60"))
	case errors.Is(err, location.ErrContact), errors.Is(err, location.ErrWildcard):
		return refuse(400, "Bad Request: malformed Contact")
	}
	w.count.persistErrors.Add(1)
	w.log.Error("bindings not written", "err", err)
	return refuse(500, "")
}

// persist writes bindings so that they survive the process before anybody sees them.
func (w *worker) persist(puts, deletes []tandem.Binding) error {
	if len(puts) > 0 {
		if err := w.deps.Bindings.PutBindings(context.Background(), puts); err != nil {
			return err
		}
	}
	if len(deletes) > 0 {
		return w.deps.Bindings.DeleteBindings(context.Background(), deletes)
	}
	return nil
}

// registered takes the outcome of a forwarded REGISTER. A success is bound here too: a local account
// is answered with its bindings here, a remote one with what its registrar said.
func (w *worker) registered(a *ask, req *location.Request, m *wire.Message, remote bool) *wire.Message {
	if m.Status/100 != 2 {
		return m
	}
	if !remote {
		return w.refusalMessage(a.m, w.bind(req))
	}
	for i := range req.Contacts {
		req.Contacts[i].Expires = granted(m, &req.Contacts[i])
	}
	if _, err := w.location.Update(w.now, req, w.persist); err != nil {
		w.log.Debug("flow of a remote registration not kept", "err", err)
	}
	return m
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

// forget removes the bindings of devices and accounts that are gone.
func (s *Server) forget(changes []tandem.Change) {
	for _, c := range changes {
		if c.Object != nil {
			continue
		}
		var gone []tandem.Binding
		switch c.Kind {
		case tandem.KindDevice:
			if d := s.dir.DeviceByID(c.ID); d != nil {
				gone = s.location.Forget(d.Account, d.ID)
			}
		case tandem.KindAccount:
			gone = s.location.Forget(c.ID, "")
		}
		if len(gone) > 0 {
			if err := s.deps.Bindings.DeleteBindings(context.Background(), gone); err != nil {
				s.log.Error("bindings of a deleted object not removed", "kind", c.Kind, "err", err)
			}
		}
	}
}
