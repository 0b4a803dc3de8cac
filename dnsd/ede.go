package dnsd

import "github.com/miekg/dns"

// Extended errors (RFC 8914), for clients that speak EDNS. Their text is constant: no name of a
// customer, and nothing of what was asked.

// ede is an extended error's code.
type ede uint16

const (
	edeNotReady         ede = 14
	edeProhibited       ede = 18
	edeNotAuthoritative ede = 20
	edeNotSupported     ede = 21
	edeInvalidData      ede = 24
	edeInvalidQueryType ede = 30 // RFC 9824 section 9
)

// text returns what an extended error says to people.
func (e ede) text() string {
	switch e {
	case edeNotReady:
		return "not ready yet, ask again"
	case edeProhibited:
		return "not for this client"
	case edeNotAuthoritative:
		return "no zone of this server"
	case edeNotSupported:
		return "not supported here"
	case edeInvalidData:
		return "the data for this name is not valid"
	case edeInvalidQueryType:
		return "no type to ask for"
	}
	return ""
}

// explain notes why the answer is not a better one.
func (q *query) explain(e ede) { q.ede = &dns.EDNS0_EDE{InfoCode: uint16(e), ExtraText: e.text()} }

// addOptions adds to the answer's OPT record what the query's outcome wants.
func (q *query) addOptions(opt *dns.OPT) {
	if q.echo != nil {
		opt.Option = append(opt.Option, q.echo)
	}
	if q.ede != nil {
		opt.Option = append(opt.Option, q.ede)
	}
}
