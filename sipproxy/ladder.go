package sipproxy

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem/internal/tandem"
)

// Bounds of one call's ladder: the first messages are kept and the last.
const (
	maxSteps   = 64
	firstSteps = 48
	maxParties = 32 // all others are one
	// earlySlots is how many INVITEs that belong to no call yet a worker remembers, in one table of
	// some 70 KB that strangers may overwrite and nothing more.
	earlySlots = 512
	earlySteps = 6
	earlyLife  = time.Minute
)

// own is how the proxy itself is called in ladders, elsewhere what is beyond maxParties.
const own, elsewhere = "tandem", "others"

// step is one message of a call: 16 octets.
type step struct {
	after  uint32 // since the ladder began, in units of unit
	cseq   uint32
	status uint16 // zero: a request
	method uint8  // index in methods
	party  uint8  // who is at the other end
	marks  marks
}

// unit of step.after: a ladder lasts five days.
const unit = 100 * time.Microsecond

// marks say more of a message.
type marks uint8

const (
	incoming  marks = 1 << iota
	again           // it is a repetition
	unsent          // the network did not take it
	malformed       // it was not understood
)

// methods are those that have a number; others are shown as what is at zero.
var methods = [...]string{"other", "INVITE", "ACK", "CANCEL", "BYE", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY", "SUBSCRIBE", "MESSAGE", "OPTIONS", "PUBLISH", "REGISTER"}

// station is who is at the other end of messages: an address, and its name.
type station struct {
	hop  hop
	name string
}

// ladder is the messages of one call. With 14 messages and two parties it takes some 730 octets: 144 itself,
// 256 the steps, 144 the parties, 60 Call-ID and tag, 130 its places in two maps.
type ladder struct {
	key         callKey
	id, account string
	began       time.Time
	parties     []station
	steps       []step // from firstSteps on a ring
	count       int    // of all messages
}

// early is what an INVITE was answered before it became a call: that is how most begin, with a 407.
type early struct {
	hash  uint64
	began time.Time
	from  hop
	n     uint8
	steps [earlySteps]step
}

// ladders holds the messages of a worker's live calls and of those that ended or were refused last.
// The worker alone writes.
type ladders struct {
	seed  maphash.Seed
	byKey map[callKey]*ladder
	early []early
	past  []*ladder // ring; next is where the next ended call goes
	next  int

	mu   sync.Mutex // people look from outside: at byID, and at what each ladder holds
	byID map[string]*ladder
}

func newLadders() *ladders {
	return &ladders{seed: maphash.MakeSeed(), byKey: make(map[callKey]*ladder), byID: make(map[string]*ladder), early: make([]early, earlySlots)}
}

// begin opens the ladder of a call that a's INVITE begins. What of it was exchanged before belongs to it.
func (t *ladders) begin(w *worker, a *ask, id, account string) *ladder {
	l := t.open(callKey{a.m.CallID, a.m.From.Tag}, id, account, w.now)
	name := ""
	if a.device != nil {
		name = a.device.Username
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l.met(a.from, name)
	e, hash := t.slot(l.key)
	if e.hash == hash && e.from == l.parties[0].hop && w.now.Sub(e.began) < earlyLife {
		l.began, l.count = e.began, int(e.n)
		l.steps = append(l.steps, e.steps[:e.n]...)
		*e = early{}
	}
	return l
}

// open makes a ladder without messages.
func (t *ladders) open(key callKey, id, account string, now time.Time) *ladder {
	both := key.callID + key.tag // lets go of the message that they stood in
	key = callKey{both[:len(key.callID)], both[len(key.callID):]}
	l := &ladder{key: key, id: id, account: account, began: now, steps: make([]step, 0, 8)}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byKey, key) // a map keeps the key that it has
	t.byKey[key], t.byID[id] = l, l
	return l
}

// refused opens the ladder of a call that is over already. What comes beside a live call is that call's.
func (t *ladders) refused(w *worker, a *ask, id, account string) {
	if w.calls.live[callKey{a.m.CallID, a.m.From.Tag}] == nil {
		t.over(t.begin(w, a, id, account))
	}
}

// ended puts the ladder of a call among those of the past. What still comes of it is added.
func (t *ladders) ended(key callKey) {
	if l := t.byKey[key]; l != nil {
		t.over(l)
	}
}

func (t *ladders) over(l *ladder) {
	if len(t.past) < keptCalls {
		t.past = append(t.past, l)
		return
	}
	gone := t.past[t.next]
	t.past[t.next] = l
	t.next = (t.next + 1) % keptCalls
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, gone.id)
	if t.byKey[gone.key] == gone {
		delete(t.byKey, gone.key)
	}
}

// of returns the ladder that a message belongs to, whichever side its request is from; nil for none.
func (t *ladders) of(p *passage) *ladder {
	if l := t.byKey[callKey{p.callID, p.fromTag}]; l != nil || p.toTag == "" {
		return l
	}
	return t.byKey[callKey{p.callID, p.toTag}]
}

// slot returns where an INVITE without a call is remembered, and its hash.
func (t *ladders) slot(key callKey) (*early, uint64) {
	hash := maphash.Comparable(t.seed, key) | 1 // zero is an empty slot
	return &t.early[hash/2%earlySlots], hash
}

// add notes a message where it belongs, and returns that ladder with what is known of the message.
func (t *ladders) add(w *worker, p *passage) *ladder {
	l := t.of(p)
	if l == nil {
		if p.method == "INVITE" || p.method == "ACK" {
			t.addEarly(w, p)
		}
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := p.step(w.now.Sub(l.began))
	s.party = uint8(l.party(w, p.hop))
	if s.marks&again == 0 && l.has(s) {
		s.marks |= again
		p.marks = s.marks
	}
	l.append(s)
	return l
}

// addEarly notes what is said about an INVITE that is no call, or not yet.
func (t *ladders) addEarly(w *worker, p *passage) {
	e, hash := t.slot(callKey{p.callID, p.fromTag})
	if e.hash != hash {
		if p.method != "INVITE" || p.marks&incoming == 0 || p.status != 0 || p.toTag != "" {
			return
		}
		*e = early{hash: hash, began: w.now, from: p.hop}
	}
	if e.n < earlySteps && w.now.Sub(e.began) < earlyLife {
		e.steps[e.n] = p.step(w.now.Sub(e.began))
		e.n++
	}
}

// party returns the index of who is at an address, met for the first time perhaps.
func (l *ladder) party(w *worker, h hop) int {
	for i := range l.parties {
		if l.parties[i].hop.same(h) {
			if l.parties[i].name == "" {
				l.parties[i].name = w.nameOf(h)
			}
			return i
		}
	}
	return l.met(h, w.nameOf(h))
}

// met notes who is at an address; name "" leaves that to be found out. It returns the party's index.
func (l *ladder) met(h hop, name string) int {
	if i := slices.IndexFunc(l.parties, func(p station) bool { return p.hop.same(h) }); i >= 0 {
		return i
	}
	if len(l.parties) >= maxParties {
		if l.parties[maxParties-1].name != elsewhere { // whoever reads holds the lock only then
			l.parties[maxParties-1].name = elsewhere
		}
		return maxParties - 1
	}
	l.parties = append(slices.Grow(l.parties, 1), station{h, name})
	return len(l.parties) - 1
}

// met names who a call is about to be sent to. Two contacts of one device are told apart by address.
func (c *call) met(h hop, name string) {
	if c == nil || name == "" {
		return
	}
	t := c.of.ladders
	l := t.byKey[c.key]
	if l == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if slices.ContainsFunc(l.parties, func(p station) bool { return p.name == name && !p.hop.same(h) }) {
		name += " " + h.remote.String()
	}
	l.met(h, name)
}

// same reports whether both lead to the same place.
func (h hop) same(o hop) bool {
	return h.remote == o.remote && h.transport == o.transport
}

// nameOf says who is at an address: a node, a peer that is not of the core, else the address.
func (w *worker) nameOf(h hop) string {
	if n := w.dir.NodeAt(h.remote); n != nil {
		return n.ID
	}
	if int(h.listener) < len(w.locals) {
		if p := w.dir.Peer(w.locals[h.listener].name, h.remote); p != nil && p.Role != tandem.PeerCore {
			return p.ID
		}
	}
	return h.remote.String()
}

// has reports whether the message was there before. A provisional response may be said twice.
func (l *ladder) has(s step) bool {
	if s.status > 100 && s.status < 200 {
		return false
	}
	return slices.ContainsFunc(l.steps, func(o step) bool {
		return o.cseq == s.cseq && o.status == s.status && o.method == s.method && o.party == s.party && (o.marks^s.marks)&incoming == 0
	})
}

func (l *ladder) append(s step) {
	if len(l.steps) < maxSteps {
		l.steps = append(l.steps, s)
	} else {
		l.steps[firstSteps+(l.count-maxSteps)%(maxSteps-firstSteps)] = s
	}
	l.count++
}

// arrows writes the ladder out.
func (l *ladder) arrows() []tandem.Arrow {
	first, last := l.steps, []step(nil)
	if l.count > maxSteps {
		oldest := firstSteps + (l.count-maxSteps)%(maxSteps-firstSteps)
		first, last = l.steps[:firstSteps], slices.Concat(l.steps[oldest:], l.steps[firstSteps:oldest])
	}
	out := make([]tandem.Arrow, 0, len(l.steps)+1)
	for i := range first {
		out = append(out, l.arrow(first[i]))
	}
	if last != nil {
		out = append(out, tandem.Arrow{Time: out[len(out)-1].Time, Text: fmt.Sprintf("%d messages left out", l.count-maxSteps)})
	}
	for i := range last {
		out = append(out, l.arrow(last[i]))
	}
	return out
}

func (l *ladder) arrow(s step) tandem.Arrow {
	a := tandem.Arrow{Time: l.began.Add(time.Duration(s.after) * unit).UTC(), From: own, To: l.parties[s.party].name, Text: text(int(s.status), methods[s.method], s.marks)}
	if s.marks&incoming != 0 {
		a.From, a.To = a.To, a.From
	}
	return a
}

// text names a message.
func text(status int, method string, m marks) string {
	var b strings.Builder
	if status != 0 {
		b.WriteString(strconv.Itoa(status) + " ")
	}
	b.WriteString(method)
	if m&again != 0 {
		b.WriteString(" (again)")
	}
	if m&malformed != 0 {
		b.WriteString(" (malformed)")
	}
	if m&unsent != 0 {
		b.WriteString(" (not sent)")
	}
	return b.String()
}

// Ladder returns the messages of a call, together with those of the calls that are one with it, in
// order; tandem.ErrNotFound when none are remembered that by may see.
func (s *Server) Ladder(_ context.Context, by tandem.Principal, id string) ([]tandem.Arrow, error) {
	var out []tandem.Arrow
	together := s.together(by, id)
	for _, one := range together {
		for _, w := range s.workers {
			out = append(out, w.ladders.find(by, one)...)
		}
	}
	if out == nil {
		return nil, fmt.Errorf("the messages of call %s: %w", id, tandem.ErrNotFound)
	}
	if len(together) > 1 {
		slices.SortStableFunc(out, func(a, b tandem.Arrow) int { return a.Time.Compare(b.Time) })
	}
	return out, nil
}

func (t *ladders) find(by tandem.Principal, id string) []tandem.Arrow {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.byID[id]; l != nil && by.MaySee(l.account) {
		return l.arrows()
	}
	return nil
}

// together returns the ids of a call and of those that are one with it: the one that it continues,
// and all that continue that.
func (s *Server) together(by tandem.Principal, id string) []string {
	head := id
	s.eachCall(func(c *tandem.Call) {
		if c.ID == id && c.Joined != "" && by.MaySee(c.Account) {
			head = c.Joined
		}
	})
	ids := []string{head}
	s.eachCall(func(c *tandem.Call) {
		if c.Joined == head {
			ids = append(ids, c.ID)
		}
	})
	return ids
}

// eachCall gives fn every call of the tables, under their locks.
func (s *Server) eachCall(fn func(*tandem.Call)) {
	for _, w := range s.workers {
		w.calls.mu.Lock()
		for _, c := range w.calls.live {
			fn(&c.seen)
		}
		for i := range w.calls.past {
			fn(&w.calls.past[i])
		}
		w.calls.mu.Unlock()
	}
}
