package sipproxy

import (
	"slices"
	"strings"
)

// hidden stands where a secret stood.
const hidden = "..."

// redact takes out of a message's text what may be nobody's to see: of credentials and challenges all
// but what says who and by which means, and the keys that SDP carries.
func redact(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	for text != "" {
		line, rest := cutLine(text)
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isAuth(strings.Trim(name, " \t")) {
			b.WriteString(redactSDP(line))
			text = rest
			continue
		}
		for rest != "" && (rest[0] == ' ' || rest[0] == '\t') { // it goes on in the next line
			line, rest = cutLine(rest)
			value = strings.TrimRight(value, " \t\r\n") + " " + strings.TrimLeft(line, " \t")
		}
		b.WriteString(name + ": " + redactAuth(value) + "\r\n")
		text = rest
	}
	return b.String()
}

// cutLine cuts text behind its first line, which keeps its end.
func cutLine(text string) (line, rest string) {
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		return text[:i+1], text[i+1:]
	}
	return text, ""
}

func isAuth(name string) bool {
	return slices.ContainsFunc([]string{"Authorization", "Proxy-Authorization", "WWW-Authenticate", "Proxy-Authenticate",
		"Authentication-Info", "Proxy-Authentication-Info"}, func(s string) bool { return strings.EqualFold(s, name) })
}

// redactAuth keeps of a digest's parameters those that are no secret, and of any other scheme nothing.
func redactAuth(value string) string {
	scheme, params, _ := strings.Cut(strings.ReplaceAll(strings.Trim(value, " \t\r\n"), "\t", " "), " ")
	if !strings.EqualFold(scheme, "Digest") {
		return hidden
	}
	var kept []string
	for param := range strings.SplitSeq(params, ",") {
		param = strings.Trim(param, " \t\r\n")
		name, _, ok := strings.Cut(param, "=")
		name = strings.ToLower(strings.TrimRight(name, " \t"))
		switch {
		case ok && slices.Contains([]string{"username", "realm", "uri", "algorithm", "qop", "nc", "stale"}, name):
			kept = append(kept, param)
		case ok && slices.Contains([]string{"nonce", "response", "cnonce", "opaque"}, name):
			kept = append(kept, name+"="+hidden)
		default: // also what a comma in a quoted value cuts off
			kept = append(kept, hidden)
		}
	}
	return "Digest " + strings.Join(kept, ", ")
}

// redactSDP hides the keys of media (RFC 4568, RFC 4567, RFC 8839, and SDP's own).
func redactSDP(line string) string {
	for _, start := range []string{"a=crypto:", "a=key-mgmt:", "a=ice-pwd:", "k="} {
		if len(line) >= len(start) && strings.EqualFold(line[:len(start)], start) {
			return line[:len(start)] + hidden + "\r\n"
		}
	}
	return line
}
