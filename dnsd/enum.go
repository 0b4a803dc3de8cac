package dnsd

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// ENUM (RFC 6116): a zone with role enum holds numbers as names, a digit a label, the last one first.
// What leads to a number is a name without records; what is too long to be one does not exist.

// NAPTR order and preference of a number's own records.
const (
	enumOrder      = 100
	enumPreference = 10
)

// enumNumber returns the number whose name key is, without +, in the zone with this apex, whose own
// first labels may be digits; "" when the name is not of that kind.
func enumNumber(key, apex string) string {
	var reversed []byte
	for rest := key; len(rest) > 1; rest = parent(rest) {
		if rest[0] != 1 || rest[1] < '0' || rest[1] > '9' {
			if len(rest) > len(apex) {
				return ""
			}
			break
		}
		reversed = append(reversed, rest[1])
	}
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	return string(reversed)
}

// enumComposition returns what stands at a number's name, nil when zone text alone says so.
func (m *model) enumComposition(z *zone, key string) *composition {
	number := enumNumber(key, z.apex)
	if number == "" {
		return nil
	}
	d, ok := packDigits(number)
	if !ok {
		return nil
	}
	if owner := m.numbers.owner(d); owner != "" {
		return m.numberNode(z, number, owner, nil)
	}
	r := m.numbers.inRange(number)
	if r != nil && len(number) >= r.least && len(number) <= r.most {
		return m.numberNode(z, number, r.account, r.services)
	}
	text := z.tree[key]
	if (r != nil && len(number) < r.least || m.numbers.leadsOn(d)) && (text == nil || len(text.sets) == 0) {
		return &composition{node: &node{}}
	}
	return nil
}

// numberNode returns the node of a number that an account has: the NAPTR records of services, or one
// to its inbound name.
func (m *model) numberNode(z *zone, number, account string, services []tandem.ENUMService) *composition {
	p, _, ok := m.account([]byte(account))
	label, home := m.currentLabel(account)
	if !ok || home == nil {
		return &composition{node: &node{}} // it has no name at present
	}
	if len(services) == 0 {
		services = []tandem.ENUMService{{Service: "E2U+sip", Regexp: fmt.Sprintf("!^.*$!sip:+%s@%s.%s!", number, label, home.id)}}
	}
	var set rrset
	for _, s := range services {
		naptr := &dns.NAPTR{
			Hdr: header("", dns.TypeNAPTR, p.ttl.Or(z.ttl).NAPTR), Order: enumOrder, Preference: enumPreference,
			Flags: "u", Service: characterString(s.Service), Regexp: characterString(s.Regexp), Replacement: ".",
		}
		if s.Order != 0 {
			naptr.Order = s.Order
		}
		if s.Preference != 0 {
			naptr.Preference = s.Preference
		}
		set = append(set, naptr)
	}
	return &composition{node: nodeOf(set), negative: p.ttl.Negative}
}

// characterString escapes text so that it is sent octet for octet.
func characterString(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\\' || c == '"':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// currentLabel returns the label that an account's devices are given and the zone it lies in, nil
// when there is none.
func (m *model) currentLabel(account string) (label string, home *zone) {
	_, hashes, _ := m.accounts.getTail([]byte(account))
	owner := m.accounts.hash([]byte(account))
	for ; len(hashes) >= 4 && home == nil; hashes = hashes[4:] {
		m.inbound.each(binary.BigEndian.Uint32(hashes), func(key []byte, e entry, _ []byte) bool {
			if e.b != owner || e.tag != roleCurrent {
				return false
			}
			number, n := binary.Uvarint(key)
			label, home = string(key[n:]), m.zoneAt.get(uint32(number))
			return true
		})
	}
	return label, home
}

// number explains a name of a zone with role enum.
func (t *tracer) number(z *zone, key string) {
	number := enumNumber(key, z.apex)
	d, ok := packDigits(number)
	if number == "" || !ok {
		t.say("number", "none: plain records, if any")
		return
	}
	owner, r := t.m.numbers.owner(d), t.m.numbers.inRange(number)
	switch {
	case owner != "":
		t.say("number", "+%s belongs to account %s", number, owner)
	case r == nil && t.m.numbers.leadsOn(d):
		t.say("number", "+%s is nobody's, longer ones are somebody's: no records", number)
	case r == nil:
		t.say("number", "+%s is nobody's: plain records, if any, or NXDOMAIN", number)
	case len(number) < r.least:
		t.say("number", "+%s is too short for its range of account %s, which begins with %d digits: no records", number, r.account, r.least)
	case len(number) > r.most:
		t.say("number", "+%s is too long for its range of account %s, which ends with %d digits", number, r.account, r.most)
	default:
		t.say("number", "+%s is in a range of account %s", number, r.account)
	}
}
