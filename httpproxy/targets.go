package httpproxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem/internal/tandem"
)

// maxTries bounds the feature servers that one request may be offered to.
const maxTries = 8

// order returns the HTTP targets among found in the order to try: priority first, by chance
// weighted within one (RFC 2782). It sorts found in place.
func order(found []tandem.Target) []tandem.Target {
	found = slices.DeleteFunc(found, func(t tandem.Target) bool {
		return t.Transport != tandem.HTTP && t.Transport != tandem.HTTPS
	})
	slices.SortStableFunc(found, func(a, b tandem.Target) int { return cmp.Compare(a.Priority, b.Priority) })
	for rest := found; len(rest) > 1; {
		same := 1
		for same < len(rest) && rest[same].Priority == rest[0].Priority {
			same++
		}
		shuffle(rest[:same])
		rest = rest[same:]
	}
	return found
}

// shuffle draws targets one after the other, each with a chance by its weight; those of weight
// zero come last but for a small chance, as RFC 2782 has it.
func shuffle(targets []tandem.Target) {
	for ; len(targets) > 1; targets = targets[1:] {
		sum := 0
		for _, t := range targets {
			sum += int(t.Weight)
		}
		draw := rand.IntN(sum + 1)
		for i, t := range targets {
			draw -= int(t.Weight)
			if draw <= 0 {
				targets[0], targets[i] = targets[i], targets[0]
				break
			}
		}
	}
}

// A pool key is the host part of the URLs that the transport sees. For HTTPS it holds the address
// and the name to verify, as <hex address>.<host>, so that a pooled connection is never taken for
// another address or another name.

// poolKey returns the URL host for t.
func poolKey(t tandem.Target) string {
	if t.Transport != tandem.HTTPS {
		return t.Addr.String()
	}
	addr := t.Addr.Addr().As16()
	return hex.EncodeToString(addr[:]) + "." + t.Host + ":" + strconv.Itoa(int(t.Addr.Port()))
}

// parsePoolKey is poolKey's inverse for HTTPS.
func parsePoolKey(key string) (netip.AddrPort, string, error) {
	name, port, err := net.SplitHostPort(key)
	if err != nil {
		return netip.AddrPort{}, "", err
	}
	digits, host, _ := strings.Cut(name, ".")
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != 16 {
		return netip.AddrPort{}, "", fmt.Errorf("%q holds no address", key)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, "", err
	}
	addr := netip.AddrFrom16([16]byte(raw)).Unmap()
	return netip.AddrPortFrom(addr, uint16(n)), host, nil
}

// connectError says that a feature server was not reached: nothing of the request was sent.
type connectError struct{ err error }

func (e *connectError) Error() string { return e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

// newTransport returns the client side towards feature servers. Roots verify HTTPS ones; nil means
// the system's.
func newTransport(cfg Config, roots *x509.CertPool) *http.Transport {
	dialer := &net.Dialer{Timeout: cfg.ConnectTimeout, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, &connectError{err}
			}
			return conn, nil
		},
		DialTLSContext: func(ctx context.Context, network, key string) (net.Conn, error) {
			conn, err := dialTLS(ctx, dialer, roots, key)
			if err != nil {
				return nil, &connectError{err}
			}
			return conn, nil
		},
		DisableCompression:     true,
		MaxIdleConns:           1024,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        30 * time.Second,
		ResponseHeaderTimeout:  cfg.ResponseTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
}

func dialTLS(ctx context.Context, dialer *net.Dialer, roots *x509.CertPool, key string) (net.Conn, error) {
	addr, host, err := parsePoolKey(key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialer.Timeout)
	defer cancel()
	secure := tls.Dialer{NetDialer: dialer, Config: &tls.Config{
		ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS12,
	}}
	return secure.DialContext(ctx, "tcp", addr.String())
}
