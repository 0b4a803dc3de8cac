package dnsd

import (
	"encoding/hex"
	"net/netip"

	"github.com/miekg/dns"

	"tandem/dnsd/guard"
)

// ednsFacts is what our OPT record says when it is asked to.
type ednsFacts struct {
	nsid string // RFC 5001; empty: not told
	jar  *guard.Jar
}

const (
	nsidSize   = 128 // most octets of an NSID
	cookieRoom = 4 + guard.CookieSize
)

// optSize returns how long the OPT record of the answer is, 0 for none.
func (a *composer) optSize() int {
	if !a.q.edns {
		return 0
	}
	n := optSize
	if a.q.nsid && a.m.edns.nsid != "" {
		n += 4 + len(a.m.edns.nsid)
	}
	if a.q.cookieSize > 0 {
		n += cookieRoom
	}
	return n
}

// options writes the options that the question asked for into o: NSID, COOKIE. It returns their size.
func (a *composer) options(o []byte) int {
	at := 0
	if nsid := a.m.edns.nsid; a.q.nsid && nsid != "" {
		o[0], o[1], o[2], o[3] = 0, optionNSID, byte(len(nsid)>>8), byte(len(nsid))
		at = 4 + copy(o[4:], nsid)
	}
	if a.q.cookieSize > 0 {
		o = o[at : at+cookieRoom]
		o[0], o[1], o[2], o[3] = 0, optionCookie, 0, guard.CookieSize
		a.m.edns.jar.Put(o[4:], a.in[a.q.cookieAt:a.q.cookieAt+a.q.cookieSize], a.addr, a.now)
		at += cookieRoom
	}
	return at
}

// wishes are the options of a question that the full path answers.
type wishes struct {
	nsid   bool
	cookie []byte // the option's data; nil: none
	addr   netip.Addr
	now    uint32
}

// take notes one option, and reports whether it may be like that: a cookie has its lengths (RFC 7873
// section 5.2.2). Of several cookies the first counts (section 5).
func (w *wishes) take(code uint16, data []byte) bool {
	switch {
	case code == dns.EDNS0NSID:
		w.nsid = true
	case code == dns.EDNS0COOKIE && w.cookie == nil:
		if !guard.WellFormed(len(data)) {
			return false
		}
		w.cookie = data
	}
	return true
}

// grant puts what was asked for into opt.
func (w *wishes) grant(opt *dns.OPT, facts *ednsFacts) {
	if w.nsid && facts.nsid != "" {
		opt.Option = append(opt.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: hex.EncodeToString([]byte(facts.nsid))})
	}
	if w.cookie != nil {
		fresh := make([]byte, guard.CookieSize)
		facts.jar.Put(fresh, w.cookie, w.addr, w.now)
		opt.Option = append(opt.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: hex.EncodeToString(fresh)})
	}
}
