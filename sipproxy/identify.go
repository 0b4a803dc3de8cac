package sipproxy

import (
	"slices"
	"strings"

	"tandem/internal/tandem"
	"tandem/sipproxy/classify"
	"tandem/sipproxy/digest"
	"tandem/sipproxy/directory"
	"tandem/sipproxy/wire"
)

// fromDevice takes a request from somebody who is no peer: the account that it claims to come from
// must own the credentials it shows (spec D12). For REGISTER the Request-URI's host names that
// account, for all others From does.
func (w *worker) fromDevice(a *ask) (*plan, *refusal) {
	host := a.uri.Host
	if a.m.Method != "REGISTER" {
		from, err := wire.ParseURI(a.m.From.URI)
		if err != nil || from.Host == "" {
			return nil, refuse(403, "Forbidden: From names no account")
		}
		host = from.Host
	}
	a.account, _ = w.dir.AccountByHost(host)
	if a.account == nil {
		w.count.unknownDomain.Add(1)
		return nil, refuse(404, "Not Found: unknown domain")
	}
	if r := w.authenticate(a); r != nil {
		return nil, r
	}
	if a.m.Method == "REGISTER" {
		return w.register(a)
	}
	if !w.mayClaim(a) {
		w.count.falseIdentities.Add(1)
		return nil, refuse(403, "Forbidden: From is not one of yours")
	}
	return w.fromAccount(a)
}

// mayClaim reports whether a device may call itself what stands in From: its user name, its
// extension, a number of its account, or nothing (RFC 3323 section 4.1.1.3).
func (w *worker) mayClaim(a *ask) bool {
	from, err := wire.ParseURI(a.m.From.URI)
	user, ok := from.UserText()
	if err != nil || !ok {
		return false
	}
	if user == a.device.Username || strings.EqualFold(user, "anonymous") || w.rings(a, user) {
		return true
	}
	number, ok := classify.Number(nil, user)
	return ok && a.account.HasNumber(number)
}

// rings reports whether a user part of its account rings the device that asks.
func (w *worker) rings(a *ask, user string) bool {
	return slices.ContainsFunc(w.dir.Ring(a.account.ID, user), func(d *directory.Device) bool { return d.ID == a.device.ID })
}

// authenticate checks the digest credentials of a against the devices of a.account. An unknown user
// gets the same challenge and the same 403 as a wrong password.
func (w *worker) authenticate(a *ask) *refusal {
	field, status, challenge := wire.NameProxyAuthorization, 407, wire.NameProxyAuthenticate
	if a.m.Method == "REGISTER" {
		field, status, challenge = wire.NameAuthorization, 401, wire.NameWWWAuthenticate
	}
	cred, outcome := digest.Find(a.m.Values(field), a.account.Realm, a.account.Digest)
	if outcome == digest.OK {
		a.device = w.dir.Device(a.account.ID, cred.User())
		var room [64]byte
		var ha1 []byte
		if a.device != nil {
			ha1 = a.device.AppendHA1(room[:0], cred.Algorithm)
		}
		outcome = w.digest.Verify(w.now, &cred, &digest.Request{Method: a.m.Method, URI: a.m.URI, Realm: a.account.Realm, HA1: ha1})
	}
	switch outcome {
	case digest.OK:
		w.count.authenticated.Add(1)
		a.proved = true
		return nil
	case digest.NoCredentials, digest.Stale:
		return w.challenge(a.account, status, challenge, outcome == digest.Stale)
	case digest.BadRequest:
		return refuse(400, "Bad Request: credentials malformed, or for another URI")
	}
	w.count.wrongCredentials.Add(1)
	if cred.Username != cred.User() {
		// Its digest is over user@host, ours over the user name alone: it can never be right.
		w.count.hostInUsername.Add(1)
		w.log.Debug("digest user name with a host: the phone must be set to the bare user name", "username", cred.Username, "from", a.from.remote)
	}
	return refuse(403, "Forbidden")
}

func (w *worker) challenge(acct *directory.Account, status int, field wire.Name, stale bool) *refusal {
	values, err := w.digest.Challenges(w.now, acct.Realm, acct.Digest, stale)
	if err != nil {
		return refuse(503, "Service Unavailable: no nonce key yet", wire.Field(wire.NameRetryAfter, "2"))
	}
	w.count.challenges.Add(1)
	r := refuse(status, "")
	for _, v := range values {
		r.fields = append(r.fields, wire.Field(field, v))
	}
	return r
}

// fromAccount takes a request that an account's device or trunk is known to have sent. Emergency
// calls come first; else the Request-URI's host names the account that serves it, which may be
// another one.
func (w *worker) fromAccount(a *ask) (*plan, *refusal) {
	if uri, ok := classify.Emergency(a.account.Emergency, a.m.URI); ok && a.m.Method == "INVITE" {
		w.count.emergency.Add(1)
		p, r := w.byType(a, a.account, tandem.TypeEmergency, uri)
		return p, r
	}
	if isVoiceReport(a.m) {
		if r := w.voiceReport(a); r != nil {
			return nil, r
		}
	}
	serving := a.account
	switch a.uri.Scheme {
	case "sip", "sips":
		if serving, _ = w.dir.AccountByHost(a.uri.Host); serving == nil {
			w.count.unknownDomain.Add(1)
			return nil, refuse(404, "Not Found: unknown domain")
		}
	case "tel":
	default:
		return nil, refuse(404, "Not Found: no such service")
	}
	return w.byType(a, serving, w.typeOf(a, serving), a.m.URI)
}

// fromCarrier takes a call from outside: the called number names the account.
func (w *worker) fromCarrier(a *ask) (*plan, *refusal) {
	number, ok := classify.Number(a.peer.Rewrite, userOf(&a.uri))
	if !ok {
		return nil, refuse(404, "Not Found: no number")
	}
	acct := w.dir.AccountByCarrier(a.peer, number)
	if acct == nil {
		return nil, refuse(404, "Not Found: number not in service")
	}
	return w.byType(a, acct, w.typeOf(a, acct), a.m.URI)
}

func (w *worker) typeOf(a *ask, acct *directory.Account) tandem.RequestType {
	return classify.Type(acct.Rules, classify.Request{Method: a.m.Method, Event: a.m.Get(wire.NameEvent), URI: a.m.URI})
}

// userOf returns the user part, or the number of a tel URI, that a Request-URI calls.
func userOf(u *wire.URI) string {
	if u.Scheme == "tel" {
		parsed, _ := classify.Parse("tel:" + u.Opaque)
		return parsed.User
	}
	user, ok := u.UserText()
	if !ok {
		return ""
	}
	return user
}
