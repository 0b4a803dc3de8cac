package dnsd

import (
	"sort"

	"github.com/miekg/dns"
)

// Sizes of answers in octets.
const (
	minimumSize  = 512   // RFC 1035 section 4.2.1, without EDNS
	datagramSize = 1232  // RFC 9715: what passes without fragments nearly everywhere
	streamSize   = 65535 // TCP
)

// refuse packs an answer without records.
func (q *query) refuse(rcode int, out []byte) int {
	return q.pack(q.message(rcode), out)
}

// answer packs what the zone said, as much as fits (RFC 2181 section 9): sets are whole or absent,
// and when one that the client needs is absent, TC is set and it asks again over TCP.
func (q *query) answer(r *reply, out []byte) int {
	msg := q.message(r.rcode)
	msg.Authoritative = r.authoritative
	msg.Answer, msg.Ns = flatten(r.answer), flatten(r.authority)
	options := msg.Extra
	try := func(kept int) int {
		msg.Extra = append(flatten(r.extra[:kept]), options...)
		msg.Truncated = kept < r.required
		return q.pack(msg, out)
	}
	if n := try(len(r.extra)); n > 0 {
		return n
	}
	// By halves: hundreds of hosts must not cost hundreds of attempts.
	if over := sort.Search(len(r.extra), func(kept int) bool { return try(kept) == 0 }); over > 0 {
		return try(over - 1)
	}
	msg.Truncated, msg.Answer, msg.Ns, msg.Extra = true, nil, nil, options
	return q.pack(msg, out)
}

func flatten(sets []rrset) []dns.RR {
	var all []dns.RR
	for _, s := range sets {
		all = append(all, s...)
	}
	return all
}

// message returns the beginning of an answer: header, question as asked, and OPT if there was one.
func (q *query) message(rcode int) *dns.Msg {
	msg := new(dns.Msg)
	msg.Id, msg.Response, msg.Opcode, msg.RecursionDesired = q.id, true, q.opcode, q.recurse
	msg.Rcode, msg.Compress = rcode, true
	msg.Authoritative = q.opcode == dns.OpcodeNotify && rcode == dns.RcodeSuccess // RFC 1996 section 4.7
	if q.question.Name != "" {
		msg.Question = []dns.Question{q.question}
	}
	if q.edns {
		msg.SetEdns0(datagramSize, q.dnssecOK)
		q.wishes.grant(msg.IsEdns0(), q.facts)
		q.addOptions(msg.IsEdns0())
	}
	return msg
}

// pack writes msg into out, signed when the question was, and returns its length, 0 when it is over
// the limit.
func (q *query) pack(msg *dns.Msg, out []byte) int {
	limit := min(q.limit, len(out)) - q.signature.size()
	b, err := msg.PackBuffer(out)
	if err != nil || len(b) > limit {
		return 0
	}
	return len(q.signature.append(out[:copy(out, b)]))
}
