package tandem

import (
	"fmt"
	"net/netip"
	"strings"
)

func appendRefs(refs []Ref, field string, k Kind, ids []string) []Ref {
	for i, id := range ids {
		refs = append(refs, Ref{fmt.Sprintf("%s[%d]", field, i), k, id})
	}
	return refs
}

func checkID(e *FieldErrors, id string) {
	if !isLabel(id) {
		e.add("id", "%q is not one DNS label in lower case (a-z, 0-9, hyphen inside, at most 63)", id)
	}
}

// mostLimit bounds the numbers of communications that documents may name.
const mostLimit = 1 << 30

// checkLimit refuses a number of communications that permits nothing: leaving it out means no limit,
// so a zero can only be a mistake.
func checkLimit(e *FieldErrors, field string, n *int) {
	if n != nil && (*n < 1 || *n > mostLimit) {
		e.add(field, "is %d: must be 1 to %d, or left out", *n, mostLimit)
	}
}

func checkAccount(e *FieldErrors, id string) {
	if id == "" {
		e.add("account", "is missing: the id of an Account")
	}
}

func checkType(e *FieldErrors, field string, t RequestType) {
	if !isLabel(string(t)) {
		e.add(field, "%q is not a request type (one DNS label in lower case)", t)
	}
}

func checkHost(e *FieldErrors, addrs []netip.Addr, ports Ports) {
	if len(addrs) == 0 {
		e.add("addresses", "are missing")
	}
	for i, a := range addrs {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			e.add(fmt.Sprintf("addresses[%d]", i), "%q is not a unicast address", a)
		}
	}
	if ports == (Ports{}) {
		e.add("ports", "are missing: name at least one transport")
	}
}

func checkNetworks(e *FieldErrors, field string, nets []netip.Prefix) {
	for i, n := range nets {
		if !n.IsValid() || n.Masked() != n {
			e.add(fmt.Sprintf("%s[%d]", field, i), "%q is not a network such as 192.0.2.0/24", n)
		}
	}
}

func checkNumbers(e *FieldErrors, field string, numbers []string) {
	for i, n := range numbers {
		if !isNumber(n) {
			e.add(fmt.Sprintf("%s[%d]", field, i), "%q is not an E.164 number: + and at most 15 digits", n)
		}
	}
}

func checkTTL(e *FieldErrors, t TTL) {
	const most = 7 * 24 * 3600
	if max(t.NAPTR, t.SRV, t.Address, t.Negative) > most {
		e.add("ttl", "is over a week (%d seconds)", most)
	}
}

func checkHex(e *FieldErrors, field, text string, digits int) {
	if text != "" && (len(text) != digits || strings.Trim(text, "0123456789abcdef") != "") {
		e.add(field, "is not %d lower-case hex digits", digits)
	}
}

// isLabel reports whether s is a host-name label in lower case (RFC 1123 section 2.1).
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// isName reports whether s is one or more host-name labels, underscores allowed as in service
// names, at most 253 octets (RFC 1035 section 2.3.4), lower case, no trailing dot.
func isName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for _, label := range strings.Split(s, ".") {
		if !isLabel(strings.TrimPrefix(label, "_")) {
			return false
		}
	}
	return true
}

// isNumber reports whether s is + and one to fifteen digits (E.164).
func isNumber(s string) bool {
	return len(s) >= 2 && len(s) <= 16 && s[0] == '+' && strings.Trim(s[1:], "0123456789") == ""
}

// isUserPart reports whether s can stand as the user part of a SIP URI without escapes.
func isUserPart(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.*+", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// isTimeZone reports whether s has the form of an IANA time zone's name; whether there is such a
// zone is found where files are read.
func isTimeZone(s string) bool {
	if len(s) > 64 || s == "Local" || strings.HasPrefix(s, "/") || strings.Contains(s, "..") {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_+-") == ""
}
