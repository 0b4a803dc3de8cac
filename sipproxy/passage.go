package sipproxy

import (
	"slices"
	"strconv"
	"time"

	"tandem/sipproxy/wire"
)

// passage is one message that came in or went out. Passages wait until the event that they belong
// to is done: only then it is known which call an INVITE began, and whose it is.
type passage struct {
	hop            hop // where it came from or went to
	marks          marks
	status         int // zero: a request
	method         string
	cseq           uint32
	callID         string
	fromTag, toTag string
	fromURI, toURI string
	probe          bool
	raw            string // the whole message when somebody wants it
}

// came notes a message from outside; a malformed one as far as it can be read, nil when it cannot.
func (w *worker) came(m *wire.Message, data string, from hop, bad bool) {
	if !w.noted(m) {
		return
	}
	mark := incoming
	if bad {
		mark |= malformed
	}
	p := w.pass(m, from, mark)
	p.raw = data
	p.probe = m != nil && !m.IsRequest() && isProbe(m)
}

// went notes a message that was sent, or was not.
func (w *worker) went(m *wire.Message, to hop, err error) {
	if !w.noted(m) {
		return
	}
	mark := marks(0)
	if err != nil {
		mark = unsent
	}
	p := w.pass(m, to, mark)
	p.probe = m.IsRequest() && isProbe(m)
	if w.traces.raw.Load() {
		p.raw = string(w.buf)
	}
}

// repeated notes octets that were sent before, of the request m or of a response to it.
func (w *worker) repeated(b []byte, m *wire.Message, to hop) {
	if !w.noted(m) {
		return
	}
	p := w.pass(m, to, again)
	if len(b) > 12 && string(b[:8]) == "SIP/2.0 " {
		p.status, _ = strconv.Atoi(string(b[8:11])) // zero: it is no response of ours
	}
	if w.traces.raw.Load() {
		p.raw = string(b)
	}
}

// noted reports whether anybody will ask for a message: those of calls are remembered, all others only
// while somebody watches.
func (w *worker) noted(m *wire.Message) bool {
	if w.traces.all.Load() != nil {
		return true
	}
	return m != nil && m.Method != "REGISTER" && m.CSeqMethod != "REGISTER"
}

func (w *worker) pass(m *wire.Message, h hop, mark marks) *passage {
	w.passages = append(w.passages, passage{hop: h, marks: mark})
	p := &w.passages[len(w.passages)-1]
	if m == nil {
		return p
	}
	p.status, p.method, p.cseq, p.callID = m.Status, m.CSeqMethod, m.CSeq, m.CallID
	if m.IsRequest() {
		p.method = m.Method
	}
	p.fromTag, p.toTag, p.fromURI, p.toURI = m.From.Tag, m.To.Tag, m.From.URI, m.To.URI
	if p.fromURI == "" { // it is one of our own making
		from, _ := wire.ParseAddress(m.Get(wire.NameFrom)) // what cannot be read stays empty
		to, _ := wire.ParseAddress(m.Get(wire.NameTo))
		p.fromTag, p.toTag, p.fromURI, p.toURI = from.Tag, to.Tag, from.URI, to.URI
	}
	return p
}

// isProbe reports whether an OPTIONS began, or its answer ends, with us: nobody but us is in its Via.
func isProbe(m *wire.Message) bool {
	if m.CSeqMethod != "OPTIONS" {
		return false
	}
	vias := 0
	for i := range m.Headers {
		if m.Headers[i].Name == wire.NameVia {
			vias++
		}
	}
	return vias == 1
}

// step writes the passage as a ladder keeps it.
func (p *passage) step(after time.Duration) step {
	return step{
		after: uint32(max(after, 0) / unit), cseq: p.cseq, status: uint16(p.status), marks: p.marks,
		method: uint8(max(slices.Index(methods[:], p.method), 0)),
	}
}

// passed gives what passed in one event to the ladders, and to whoever watches.
func (w *worker) passed() {
	if len(w.passages) == 0 {
		return
	}
	all := w.passages
	w.passages = all[:0] // also when what follows panics
	tracers := w.traces.all.Load()
	for i := range all {
		l := w.ladders.add(w, &all[i])
		if tracers != nil {
			w.trace(*tracers, &all[i], l)
		}
	}
	clear(all) // lets go of the messages
}
