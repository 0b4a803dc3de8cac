package classify

import (
	"strings"

	"tandem/internal/tandem"
)

// Number returns the E.164 number that a user part means, with +: parameters and visual separators
// cut, then the first rewrite whose prefix matches; false when the result is no E.164 number.
func Number(rewrites []tandem.Rewrite, user string) (string, bool) {
	user, _, _ = strings.Cut(user, ";")
	number := withoutSeparators(user)
	for _, r := range rewrites {
		if rest, ok := strings.CutPrefix(number, r.Prefix); ok {
			number = r.Put + rest
			break
		}
	}
	return number, isE164(number)
}

// isE164 reports whether s is + and one to fifteen digits.
func isE164(s string) bool {
	return len(s) >= 2 && len(s) <= 16 && s[0] == '+' && strings.Trim(s[1:], "0123456789") == ""
}

// withoutSeparators takes the visual separators away (RFC 3966 section 5.1.1).
func withoutSeparators(s string) string {
	if !strings.ContainsAny(s, "()-.") {
		return s
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("()-.", r) {
			return -1
		}
		return r
	}, s)
}
