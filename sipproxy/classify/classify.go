package classify

import "tandem/internal/tandem"

// Request is what the type depends on.
type Request struct {
	Method string // as received
	Event  string // Event header's package, parameters allowed
	URI    string // Request-URI
}

// Type returns the type of a request: that of the account's first matching rule, else the built-in
// one of its method. Emergency calls are found beforehand by Emergency.
func Type(rules []tandem.Rule, r Request) tandem.RequestType { return tandem.TypeInvite }

// Emergency reports whether uri calls an emergency service, by exact match after normalisation, and
// returns the Request-URI to send.
func Emergency(list []tandem.EmergencyNumber, uri string) (send string, ok bool) { return "", false }

// URI is a Request-URI taken apart as far as routing needs.
type URI struct {
	Scheme string // lower case: sip, sips, tel, urn, …
	User   string // sip, sips: user part; tel: the number; percent-decoded, without password and parameters
	Host   string // lower case, brackets kept for IPv6; "" for tel
	Port   uint16 // 0 when not given
	Opaque string // for other schemes: what follows the colon
}

// Parse takes a URI apart; it reports false for what is none.
func Parse(uri string) (URI, bool) { return URI{}, false }

// Number returns the E.164 number that a user part means, with +: visual separators cut, then the
// first rewrite whose prefix matches; false when the result is no E.164 number.
func Number(rewrites []tandem.Rewrite, user string) (string, bool) { return "", false }
