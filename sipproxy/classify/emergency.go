package classify

import (
	"strings"

	"tandem/internal/tandem"
)

// Emergency reports whether uri calls an emergency service, by exact match after normalisation
// (spec E1), and returns the Request-URI to send.
//
// Two things are emergency calls: urn:service:sos and its sub-services, in any case (RFC 5031
// section 4), which are sent on in lower case; and sip, sips and tel URIs whose user part is a
// number of the list, which are sent on as the list says. Normalisation undoes escapes, cuts a
// password and the parameters of the number, such as phone-context, and takes the visual separators
// ( ) - . away. It takes no + away: +112 is a number in the country code 1, and 1 more digit makes
// another number too.
func Emergency(list []tandem.EmergencyNumber, uri string) (send string, ok bool) {
	u, ok := Parse(uri)
	if !ok {
		return "", false
	}
	if u.Scheme == "urn" {
		service := strings.ToLower(u.Opaque)
		return "urn:" + service, isSOS(service)
	}
	dialled := u.User
	if dialled == "" {
		return "", false
	}
	if u.Scheme != "tel" {
		dialled = withoutSeparators(dialled)
	}
	for _, n := range list {
		if n.Dial == dialled {
			return n.URI, true
		}
	}
	return "", false
}

// isSOS reports whether a URN's rest, in lower case, is service:sos or a sub-service of it.
func isSOS(service string) bool {
	sub, ok := strings.CutPrefix(service, "service:sos")
	if !ok || sub == "" {
		return ok
	}
	if sub[0] != '.' {
		return false
	}
	for _, label := range strings.Split(sub[1:], ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}
