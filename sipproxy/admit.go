package sipproxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// Balancer is tier 2: it admits calls, counts them, and says which nodes take them.
type Balancer interface {
	// Admit judges a call, takes its slots, and orders the places that it may go to.
	Admit(tandem.Admission) (tandem.Admitted, tandem.Refusal)
	// Move gives a call in set-up another node; false when that takes none now.
	Move(slot tandem.Slot, node string) bool
	Answered(tandem.Slot)
	Release(tandem.Slot) bool
	// Restore takes up a call from its record, whatever the limits.
	Restore(groups []string, node string, answered bool) tandem.Slot
}

// Observer is told how nodes fare.
type Observer interface {
	// SetUp says how an INVITE of an account's call fared: the time to its first answer, failed for a 5xx.
	SetUp(node, account string, took time.Duration, failed, timedOut bool)
	// Waiting says how long an INVITE has had no answer so far.
	Waiting(node string, so time.Duration)
	Broken(node, what string)
	// Probed says how an OPTIONS fared; it reports whether three more are due at once.
	Probed(node string, trip time.Duration, answered bool) (again bool)
	// Checking says, at each round, that probes go out and their outcomes come in, and how long it is
	// now between two of one node; without it for a while the states that nodes have are kept.
	Checking(every time.Duration)
	Reported(node string, load float64)
	Heard(node, account string, mos float64)
}

// callHeader carries, in an INVITE to a feature server, which call it is. The server puts it into the
// INVITEs that it makes because of that one, and so the two are known to be one call.
const callHeader = "Tandem-Call"

// hold is what the legs of one call have in common: its slots, which are given back with the last leg.
type hold struct {
	id      string // of the first leg's record
	session string // Session-ID, "" when it had none
	slot    tandem.Slot
	groups  []string // of all legs
	legs    int
}

// seat is one leg's part of its hold, and its own slot on a node. A nil *seat is nothing.
type seat struct {
	of   *joins
	hold *hold
	slot tandem.Slot // on a node; the first leg's is the hold's
	id   string      // for the leg's record
	// separate: it came from a feature server and continues nothing that is known.
	separate bool
}

// joins finds holds by what their further legs carry. Legs of one call are of different workers.
type joins struct {
	balancer Balancer

	mu   sync.Mutex // guards what follows, and every hold
	ids  map[string]*hold
	said map[string][]*hold // by Session-ID; when several calls say the same one, none of them is meant
}

func newJoins(b Balancer) *joins {
	return &joins{balancer: b, ids: make(map[string]*hold), said: make(map[string][]*hold)}
}

// open makes the hold of a new call and its first seat.
func (j *joins) open(id, session string, groups []string, slot tandem.Slot) *seat {
	h := &hold{id: id, session: session, slot: slot, groups: groups, legs: 1}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ids[id] = h
	if session != "" {
		j.said[session] = append(j.said[session], h)
	}
	return &seat{of: j, hold: h, slot: slot, id: id}
}

// join returns a seat in the hold with this id or, failing that, this Session-ID; nil when there is none.
func (j *joins) join(id, session string) *seat {
	j.mu.Lock()
	defer j.mu.Unlock()
	h := j.ids[id]
	if said := j.said[session]; h == nil && len(said) == 1 {
		h = said[0]
	}
	if h == nil {
		return nil
	}
	h.legs++
	return &seat{of: j, hold: h}
}

// add notes groups that a further leg brought in, and returns all.
func (s *seat) add(groups ...string) []string {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	for _, g := range groups {
		if g != "" && !slices.Contains(s.hold.groups, g) {
			s.hold.groups = append(slices.Clip(s.hold.groups), g)
		}
	}
	return s.hold.groups
}

// answered says that the leg's set-up is over.
func (s *seat) answered() {
	if s != nil && s.slot != 0 {
		s.of.balancer.Answered(s.slot)
	}
}

// leave gives back what the leg held, and with the last leg what the call did.
func (s *seat) leave() {
	if s == nil {
		return
	}
	j, h := s.of, s.hold
	j.mu.Lock()
	h.legs--
	last := h.legs == 0
	if last {
		j.forget(h)
	}
	j.mu.Unlock()
	if s.slot != 0 && s.slot != h.slot {
		j.balancer.Release(s.slot)
	}
	if last && h.slot != 0 {
		j.balancer.Release(h.slot)
	}
}

// forget is called with mu held.
func (j *joins) forget(h *hold) {
	delete(j.ids, h.id)
	if h.session == "" {
		return
	}
	j.said[h.session] = slices.DeleteFunc(j.said[h.session], func(x *hold) bool { return x == h })
	if len(j.said[h.session]) == 0 {
		delete(j.said, h.session)
	}
}

// petition is a call that tier 2 is asked about.
type petition struct {
	tandem.Admission
	targets []target
	joined  *seat // in the call that it continues
}

// petition makes what tier 2 is asked about a request (spec L5 to L10); nil when it is no new call, or
// nobody judges it. A call that continues another one behind a feature server joins that one's hold.
func (w *worker) petition(a *ask, p *plan) (*petition, *refusal) {
	if w.deps.Balancer == nil || a.m.Method != "INVITE" || a.m.To.Tag != "" {
		return nil, nil
	}
	known := w.calls.live[callKey{a.m.CallID, a.m.From.Tag}]
	if known != nil && known.closedTo(a.peer) {
		return nil, refuse(482, "Loop Detected: this call is under way") // RFC 3261 section 8.2.2.2
	}
	q := &petition{
		Admission: tandem.Admission{
			Group: p.groups[0], Other: p.groups[1], Type: tandem.RequestType(p.typ), Counted: p.counted,
			Emergency: p.typ == string(tandem.TypeEmergency),
		},
		targets: p.legs[0].targets,
		joined:  w.joining(a, known),
	}
	if q.joined != nil {
		q.Joined = q.joined.hold.slot
	}
	if !p.counted {
		q.Among = choices(q.targets)
	}
	return q, nil
}

// judged takes tier 2's answer: the targets are put into the order to try them, and the call gets its
// seat; nil when it is counted already.
func (w *worker) judged(a *ask, p *plan, q *petition, got tandem.Admitted, refused tandem.Refusal) (*seat, *refusal) {
	if refused.Code != 0 {
		q.joined.leave()
		return nil, unmet(refused)
	}
	if !p.counted {
		p.legs[0].targets = chosen(q.targets, q.Among[:got.Usable])
	}
	if known := w.calls.live[callKey{a.m.CallID, a.m.From.Tag}]; known != nil {
		// A proxy on the way sent it back to us, or a carrier forked it.
		if got.Slot != 0 {
			w.deps.Balancer.Release(got.Slot)
		}
		q.joined.leave()
		if known.closedTo(a.peer) { // since it was asked about
			return nil, refuse(482, "Loop Detected: this call is under way")
		}
		return nil, nil
	}
	if q.joined != nil {
		q.joined.id, q.joined.slot = tandem.NewCallID(w.now), got.Slot
		q.joined.add(p.groups[:]...)
		return q.joined, nil
	}
	s := w.joins.open(tandem.NewCallID(w.now), sessionID(a.m), nil, got.Slot)
	s.add(p.groups[:]...)
	s.separate = a.peer != nil && a.peer.Role == tandem.PeerCore
	return s, nil
}

// closedTo reports whether an INVITE of peer (nil: a device) with a live call's names is none of its branches:
// a carrier forks what is not answered yet, and only a feature server sends calls back.
func (c *call) closedTo(peer *tandem.Peer) bool {
	switch {
	case peer == nil, peer.Role == tandem.PeerTrunk:
		return true
	case peer.Role == tandem.PeerCarrier:
		return c.seen.WasAnswered() || len(c.invites) >= mostForks
	}
	return false
}

// mostForks bounds the branches that a carrier may have of one call: each may be answered, and they count once.
const mostForks = 8

// joining returns a seat in the call that a continues, nil when it begins one. Only a feature server
// is believed about that.
func (w *worker) joining(a *ask, known *call) *seat {
	if known != nil && known.seat != nil {
		return w.joins.join(known.seat.hold.id, "")
	}
	if a.peer == nil || a.peer.Role != tandem.PeerCore {
		return nil
	}
	id := ""
	for _, h := range a.m.Headers {
		if isCallHeader(h) {
			id, _ = w.openCall(h.Value)
		}
	}
	return w.joins.join(id, sessionID(a.m))
}

func isCallHeader(h wire.Header) bool {
	return h.Name == wire.NameOther && strings.EqualFold(h.Raw, callHeader)
}

// choices lists targets for the balancer.
func choices(targets []target) []tandem.Choice {
	all := make([]tandem.Choice, len(targets))
	for i, t := range targets {
		all[i] = tandem.Choice{Node: t.node, Tier: t.tier, Index: i}
	}
	return all
}

// chosen returns targets in the order that the balancer put them into, at most as many as are tried.
func chosen(targets []target, among []tandem.Choice) []target {
	out := make([]target, min(len(among), maxTargets))
	for i := range out {
		out[i] = targets[among[i].Index]
	}
	return out
}

// unmet words a refusal of the balancer.
func unmet(r tandem.Refusal) *refusal {
	out := refuse(r.Code, "", wire.Header{Raw: "Reason", Value: `SIP;cause=` + strconv.Itoa(r.Code) + `;text="` + r.Reason + `"`})
	out.unmet = r.Reason
	if r.RetryAfter > 0 {
		out.fields = append(out.fields, wire.Field(wire.NameRetryAfter, strconv.Itoa(max(int(r.RetryAfter.Seconds()), 1))))
	}
	return out
}

// sessionID returns the caller's half of a message's Session-ID (RFC 7989 section 5), "" when there is none.
func sessionID(m *wire.Message) string {
	for _, h := range m.Headers {
		if h.Name != wire.NameOther || !strings.EqualFold(h.Raw, "Session-ID") {
			continue
		}
		id, _, _ := strings.Cut(h.Value, ";")
		id = strings.ToLower(strings.TrimSpace(id))
		if len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" && strings.Trim(id, "0") != "" {
			return id
		}
	}
	return ""
}

// sealCall writes the value of callHeader: a call's id, the number of the key, and a MAC over the id.
func (w *worker) sealCall(id string) string {
	number, secret := w.tokens.Signing(w.now)
	if secret == nil {
		return ""
	}
	proof := append([]byte{number}, callMAC(secret, id)...)
	return id + "." + base64.RawURLEncoding.EncodeToString(proof)
}

// openCall returns the id in a value of callHeader that is one of ours.
func (w *worker) openCall(value string) (string, bool) {
	id, text, _ := strings.Cut(strings.TrimSpace(value), ".")
	proof, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(proof) != 1+callProof {
		return "", false
	}
	secret := w.tokens.Lookup(proof[0], w.now)
	if secret == nil || !hmac.Equal(proof[1:], callMAC(secret, id)) {
		return "", false
	}
	return id, true
}

// callProof is the length of the MAC over a call's id, in octets.
const callProof = 12

func callMAC(secret []byte, id string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("call\x00"))
	mac.Write([]byte(id))
	return mac.Sum(nil)[:callProof]
}
