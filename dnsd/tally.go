package dnsd

import (
	"sync/atomic"

	"tandem/dnsd/guard"
)

// Kinds of questions that are counted apart.
const (
	kindA = iota
	kindAAAA
	kindNAPTR
	kindSRV
	kindHTTPS
	kindOther
	kinds
)

// kindNames are their names in the metrics, by number.
func kindNames() [kinds]string { return [...]string{"A", "AAAA", "NAPTR", "SRV", "HTTPS", "other"} }

// Numbers of what is counted beside them.
const (
	withEDNS = iota
	withDO
	withCookie
	provenByCookie
	overRate
	slipped
	unanswered
	challenged
	overBudget
	cookieDemanded
	marks
)

// tally is what one goroutine counts until it publishes, in plain memory: it costs an addition, where
// an atomic one waits for all writes before it.
type tally struct {
	udp, fast, full, dropped, truncated, panics uint64
	by                                          path // who answered last, for observers
	rcodes                                      [rcodes]uint64
	kinds                                       [kinds]uint64
	marks                                       [marks]uint64
}

// publish adds t to c and begins anew.
func (t *tally) publish(c *counters) {
	add(&c.udp, t.udp)
	add(&c.fast, t.fast)
	add(&c.full, t.full)
	add(&c.dropped, t.dropped)
	add(&c.truncated, t.truncated)
	add(&c.panics, t.panics)
	for i := range t.rcodes {
		add(&c.rcodes[i], t.rcodes[i])
	}
	for i := range t.kinds {
		add(&c.kinds[i], t.kinds[i])
	}
	for i := range t.marks {
		add(&c.marks[i], t.marks[i])
	}
	*t = tally{}
}

func add(c *atomic.Uint64, n uint64) {
	if n > 0 {
		c.Add(n)
	}
}

// ask counts what a query has.
func (t *tally) ask(f *guard.Facts) {
	kind := kindOther
	switch f.Type {
	case typeA:
		kind = kindA
	case typeAAAA:
		kind = kindAAAA
	case typeNAPTR:
		kind = kindNAPTR
	case typeSRV:
		kind = kindSRV
	case typeHTTPS:
		kind = kindHTTPS
	}
	t.kinds[kind]++
	if !f.EDNS {
		return
	}
	t.marks[withEDNS]++
	if f.DO {
		t.marks[withDO]++
	}
	if f.Cookie != nil {
		t.marks[withCookie]++
	}
}

// watch takes over what w counted.
func (t *tally) watch(w *guard.Watch) {
	for _, m := range [...]struct {
		mark int
		n    *uint64
	}{
		{overRate, &w.Limited}, {slipped, &w.Slipped}, {unanswered, &w.Dropped}, {challenged, &w.Challenged},
		{overBudget, &w.OverBudget}, {cookieDemanded, &w.Demanded}, {provenByCookie, &w.Proven},
	} {
		t.marks[m.mark] += *m.n
		*m.n = 0
	}
}

// answer counts an answer by what its octets say. An extended rcode stands in OPT, right after the
// question, for such an answer has no records.
func (t *tally) answer(out []byte, stream bool) {
	if len(out) < headerSize {
		return
	}
	rcode := int(out[3] & 15)
	if out[6]|out[7]|out[8]|out[9] == 0 && out[11] > 0 {
		rcode |= extended(out)
	}
	t.rcodes[min(rcode, rcodes-1)]++
	if out[2]&0x02 != 0 && !stream {
		t.truncated++
	}
}

// extended returns the upper bits of an answer's rcode.
func extended(out []byte) int {
	at := headerSize
	if out[4]|out[5] != 0 {
		at = skipName(out, at) + 4
	}
	if at < headerSize || at+optSize > len(out) || out[at] != 0 || out[at+1] != 0 || out[at+2] != typeOPT {
		return 0
	}
	return int(out[at+5]) << 4
}

// markNames are the metrics of the marks, by number.
func markNames() [marks]struct{ name, help, label, value string } {
	const edns, edHelp = "tandem_dnsd_edns_total", "Queries with EDNS, by what they bring along."
	const limit, liHelp = "tandem_dnsd_limited_total", "UDP queries that were limited, or would have been in a dry run, by why and how."
	return [...]struct{ name, help, label, value string }{
		withEDNS:       {edns, edHelp, "with", "opt"},
		withDO:         {edns, edHelp, "with", "do"},
		withCookie:     {edns, edHelp, "with", "cookie"},
		provenByCookie: {edns, edHelp, "with", "valid-cookie"},
		overRate:       {limit, liHelp, "what", "over-rate"},
		overBudget:     {limit, liHelp, "what", "over-budget"},
		cookieDemanded: {limit, liHelp, "what", "cookie-demanded"},
		slipped:        {limit, liHelp, "what", "slipped"},
		challenged:     {limit, liHelp, "what", "badcookie"},
		unanswered:     {limit, liHelp, "what", "dropped"},
	}
}
