package classify

import (
	"strings"

	"tandem/internal/tandem"
)

// Request is what the type depends on.
type Request struct {
	Method string // as received
	Event  string // Event header's value, parameters allowed
	URI    string // Request-URI
}

// Type returns the type of a request: that of the account's first matching rule, else the built-in
// one of its method. It never returns emergency: those calls are found beforehand, by Emergency.
// A method that is not known is of type invite, never of a type of its own name: a device must not
// reach a route by inventing a method.
func Type(rules []tandem.Rule, r Request) tandem.RequestType {
	if len(rules) > 0 {
		event, _, _ := strings.Cut(r.Event, ";")
		event = strings.TrimSpace(event)
		uri, _ := Parse(r.URI)
		for i := range rules {
			if matches(&rules[i], r.Method, event, uri.User) && rules[i].Type != tandem.TypeEmergency {
				return rules[i].Type
			}
		}
	}
	switch r.Method {
	case "REGISTER":
		return tandem.TypeRegister
	case "MESSAGE":
		return tandem.TypeMessage
	case "SUBSCRIBE", "NOTIFY":
		return tandem.TypeSubscribe
	case "PUBLISH":
		return tandem.TypePublish
	case "OPTIONS":
		return tandem.TypeOptions
	}
	return tandem.TypeInvite
}

// matches reports whether a rule means a request. Methods and event packages are compared octet by
// octet (RFC 3261 section 7.1, RFC 6665 section 8.2.1), as user parts are.
func matches(rule *tandem.Rule, method, event, user string) bool {
	if rule.Method != "" && rule.Method != method || rule.Event != "" && rule.Event != event {
		return false
	}
	if prefix, wild := strings.CutSuffix(rule.User, "*"); wild {
		return strings.HasPrefix(user, prefix)
	}
	return rule.User == "" || rule.User == user
}
