package provision

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"tandem/internal/tandem"
)

// pathPrefix begins the path of every secret URL; the token is the rest.
const pathPrefix = "/p/"

// Why a profile is not given. The log and the counters know; the client never does.
var (
	errPlain     = errors.New("not over TLS")
	errRequest   = errors.New("not a fetch of a profile")
	errBlocked   = errors.New("too many guesses from this source")
	errUnknown   = errors.New("unknown token")
	errUsed      = errors.New("used before")
	errExpired   = errors.New("expired")
	errNoProfile = errors.New("device cannot be configured")
)

// ServeHTTP gives the profile that a secret URL opens, or the one 404.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.recovered()
	if !s.isOurs(r.Host) {
		s.counters.misdirected.Add(1)
		// RFC 9110 section 15.5.20: this server answers for one name.
		http.Error(w, "this host is not served here", http.StatusMisdirectedRequest)
		return
	}
	p, body, err := s.fetch(r)
	if err != nil {
		s.refuse(w, r, p, err)
		return
	}
	s.counters.served.Add(1)
	header(w, "application/json", len(body))
	if _, err := w.Write(body); err != nil {
		s.log.Info("profile not delivered; a new permit is needed", "device", p.Device)
		return
	}
	s.log.Info("profile served", "device", p.Device)
}

// isOurs reports whether an HTTP authority is the configured host, at whatever port.
func (s *Server) isOurs(authority string) bool {
	host := authority
	if name, _, err := net.SplitHostPort(authority); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.EqualFold(strings.TrimSuffix(host, "."), s.cfg.Host)
}

// fetch judges a request in this order: TLS, source, method and path, token, permit, device. Only
// then is the permit used up, and with it the profile given. The permit returned with an error is
// the one in question, or nil.
func (s *Server) fetch(r *http.Request) (*tandem.Permit, []byte, error) {
	if r.TLS == nil {
		return nil, nil, errPlain
	}
	source := sourceOf(r.RemoteAddr)
	now := time.Now()
	if !s.guesses.allow(source, now) {
		return nil, nil, errBlocked
	}
	token, ok := tokenOf(r)
	if !ok {
		s.guesses.miss(source, now)
		return nil, nil, errRequest
	}
	p, err := s.permit(r.Context(), tokenID(token), now)
	if err != nil {
		s.guesses.miss(source, now)
		return p, nil, err
	}
	body, err := s.profile(r.Context(), p)
	if err != nil {
		return p, nil, err
	}
	return p, body, s.use(r.Context(), p, now)
}

// tokenOf returns the token of a request that may be a fetch. Whether it is one, only its permit
// says: every token is hashed and looked up alike.
func tokenOf(r *http.Request) (string, bool) {
	token, ok := strings.CutPrefix(r.URL.Path, pathPrefix)
	return token, ok && r.Method == http.MethodGet && len(token) <= 64
}

// permit returns the open permit with this id.
func (s *Server) permit(ctx context.Context, id string, now time.Time) (*tandem.Permit, error) {
	found, err := s.store.Get(ctx, own, tandem.KindPermit, id)
	if errors.Is(err, tandem.ErrNotFound) {
		return nil, errUnknown
	}
	if err != nil {
		return nil, err
	}
	p := found.(*tandem.Permit)
	switch {
	case !p.Used.IsZero():
		return p, errUsed
	case !now.Before(p.Expires):
		return p, errExpired
	case s.open.void(id):
		return p, fmt.Errorf("%w: it was deleted", errNoProfile)
	}
	return p, nil
}

// profile renders the profile that p is for.
func (s *Server) profile(ctx context.Context, p *tandem.Permit) ([]byte, error) {
	found, err := s.store.Get(ctx, own, tandem.KindDevice, p.Device)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoProfile, err)
	}
	d := found.(*tandem.Device)
	if d.Account != p.Account || len(d.Sealed) == 0 {
		return nil, fmt.Errorf("%w: it has moved, or its secret is not kept", errNoProfile)
	}
	found, err = s.store.Get(ctx, own, tandem.KindAccount, d.Account)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoProfile, err)
	}
	password, err := s.seal.Unseal(d.Sealed, "device/"+d.ID)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoProfile, err)
	}
	return newProfile(d, found.(*tandem.Account), string(password), s.cfg.Expires).render()
}

// use marks p as used, durably, if nobody has since it was read.
func (s *Server) use(ctx context.Context, p *tandem.Permit, now time.Time) error {
	used := *p
	used.Used = now.UTC()
	_, err := s.store.Append(ctx, own, []tandem.Edit{{Kind: tandem.KindPermit, ID: p.ID, Object: &used, Expected: p.Revision}})
	if errors.Is(err, tandem.ErrConflict) || errors.Is(err, tandem.ErrNotFound) {
		return errUsed
	}
	return err
}

// refuse answers every request that gets no profile: the same for all reasons.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, p *tandem.Permit, err error) {
	s.counters.refuse(err)
	if p != nil {
		s.log.Info("profile refused", "device", p.Device, "reason", err)
	} else {
		s.log.Debug("request refused", "source", r.RemoteAddr, "reason", err)
	}
	const text = "404 page not found\n"
	header(w, "text/plain; charset=utf-8", len(text))
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte(text)) // the client may be gone, which changes nothing
}

func header(w http.ResponseWriter, kind string, length int) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(length))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// recovered keeps a programmer's mistake from ending the process. The connection closes.
func (s *Server) recovered() {
	if fault := recover(); fault != nil {
		s.counters.panics.Add(1)
		s.log.Error("request handler panicked", "fault", fault, "stack", string(debug.Stack()))
		panic(http.ErrAbortHandler)
	}
}

// sourceOf returns what guesses are counted by: an IPv4 address, or an IPv6 /64, which is one site.
func sourceOf(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{} // one source for all that have no address
	}
	addr := at.Addr().Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	site, _ := addr.Prefix(bits) // the bits fit
	return site
}
