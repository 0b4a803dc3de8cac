package httpproxy

import (
	"net/netip"
	"strings"
)

// hostName returns the host of an HTTP authority as inbound names are written: without port or
// trailing dot, in lower case. It returns "" for what cannot be an inbound name: an address, or
// anything but letters, digits, hyphens and dots.
func hostName(authority string) string {
	host := authority
	if i := strings.LastIndexByte(authority, ':'); i >= 0 {
		host = authority[:i]
		if strings.Trim(authority[i+1:], "0123456789") != "" {
			return ""
		}
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 {
		return ""
	}
	for i := 0; i < len(host); i++ {
		c := host[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.':
		default:
			return ""
		}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return strings.ToLower(host)
}
