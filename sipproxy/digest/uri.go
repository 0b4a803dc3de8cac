package digest

import "strings"

// sameURI reports whether a digest-uri names the request's URI. Equal texts do. Else both must be
// sip or both sips URIs with equal user parts, hosts equal but for case, and equal ports, where no
// port is 5060, for sips 5061; passwords, parameters and headers may differ, for clients often add
// or lose transport parameters on the way from one to the other. Nothing is lost by that: what the
// proxy routes by is compared, and the nonce count ties the answer to one request.
func sameURI(a, b string) bool {
	if a == b {
		return true
	}
	x, okX := cutURI(a)
	y, okY := cutURI(b)
	return okX && okY && x.secure == y.secure && x.user == y.user && x.port == y.port && strings.EqualFold(x.host, y.host)
}

// namesServer reports whether a digest-uri is that of a server: sip or sips, with a host and no user
// part. Some clients, sipp among them, always put the address there that they send to. It is
// accepted for any request: realm and nonce say already that the credentials are meant for us, and the
// nonce count that they serve one request.
func namesServer(uri string) bool {
	a, ok := cutURI(uri)
	return ok && a.user == "" && !strings.Contains(uri, "@")
}

type address struct {
	secure           bool
	user, host, port string
}

// cutURI takes a sip or sips URI apart as far as sameURI looks.
func cutURI(s string) (address, bool) {
	scheme, rest, _ := strings.Cut(s, ":")
	a := address{secure: strings.EqualFold(scheme, "sips")}
	if !a.secure && !strings.EqualFold(scheme, "sip") {
		return a, false
	}
	// The user part may hold ; and ?, so it is cut off first (RFC 3261 section 25.1).
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		a.user, _, _ = strings.Cut(rest[:at], ":")
		rest = rest[at+1:]
	}
	if end := strings.IndexAny(rest, ";?"); end >= 0 {
		rest = rest[:end]
	}
	a.host = rest
	if colon := strings.LastIndexByte(rest, ':'); colon > strings.LastIndexByte(rest, ']') {
		a.host, a.port = rest[:colon], rest[colon+1:]
	}
	if a.port == "" {
		a.port = "5060"
		if a.secure {
			a.port = "5061"
		}
	}
	return a, a.host != ""
}
