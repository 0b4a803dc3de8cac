package tests

import (
	"strings"
	"testing"
)

const cookieConfig = `
data: DIR/data
control:
  socket: DIR/tandem.sock
dns:
  listen: [NET.1:5300]
  nsid: edge-one
  cookies: {secret: e5e973e5a6b2a43f48e7dc849e37bfcf}
  rateLimit: {exempt: [NET.8/29], answersPerSecond: 1, slip: 1}
`

// TestCookiesWithDig has BIND's and Knot's clients learn a cookie, show it, and be told BADCOOKIE: their own
// libraries judge what we send (RFC 7873, 9018).
func TestCookiesWithDig(t *testing.T) {
	t.Parallel()
	s := startWith(t, cookieConfig)
	const name = "alpha.voice.example.net"
	exempt := []string{"-b", s.addr(9), "+tries=2", name, "NAPTR"}
	ask := func(args ...string) answer { return s.dig(append(args, exempt...)...) }
	if a := ask("+cookie"); a.status != "NOERROR" || !strings.Contains(a.text, "(good)") {
		t.Errorf("dig +cookie: %s\n%s", a.status, a.text)
	}
	if a := ask("+nocookie"); strings.Contains(a.text, "COOKIE") {
		t.Errorf("dig +nocookie got a cookie\n%s", a.text)
	}
	if a := ask("+nsid"); !strings.Contains(a.text, `NSID: 65 64 67 65 2d 6f 6e 65 ("edge-one")`) {
		t.Errorf("dig +nsid:\n%s", a.text)
	}
	if a := ask("+nonsid"); strings.Contains(a.text, "NSID") {
		t.Errorf("dig without +nsid got one\n%s", a.text)
	}
	for _, bad := range []string{"00", "01020304050607", "010203040506070809", strings.Repeat("00", 41)} {
		if a := ask("+nocookie", "+ednsopt=10:"+bad); a.status != "FORMERR" {
			t.Errorf("a cookie of %d octets: %s, want FORMERR", len(bad)/2, a.status)
		}
	}
	if a := s.kdig("-b", s.addr(9), "+cookie", "+nsid", name, "NAPTR"); a.status != "NOERROR" || !strings.Contains(a.text, "edge-one") {
		t.Errorf("kdig +cookie +nsid: %s\n%s", a.status, a.text)
	}
}

// TestCookiesUnderLoad exhausts the rate of the network that everyone asks from.
func TestCookiesUnderLoad(t *testing.T) {
	t.Parallel()
	s := startWith(t, cookieConfig)
	const name = "alpha.voice.example.net"
	// Each pair of questions needs the second one over the rate of one a second: a rate that is low
	// enough for any machine would be one that nobody may configure, so try until one is.
	over := func(what string, is func(answer) bool, args ...string) {
		t.Helper()
		for range 20 {
			s.dig("+cookie=0102030405060708", "+nobadcookie", "+tries=3", name, "NAPTR")
			if a := s.dig(append(args, name, "NAPTR")...); is(a) {
				return
			}
		}
		t.Errorf("%s: not once in 20 tries", what)
	}
	over("BADCOOKIE for a client that does not come back", func(a answer) bool {
		return a.status == "BADCOOKIE" && len(a.answer) == 0 && strings.Contains(a.text, "(good)")
	}, "+cookie=0102030405060708", "+nobadcookie")
	over("an answer for one that does", func(a answer) bool {
		return a.status == "NOERROR" && len(a.answer) > 0 && strings.Contains(a.text, "BADCOOKIE, retrying")
	}, "+cookie=0102030405060708", "+badcookie", "+showbadcookie")
	over("TC for a client without cookies", func(a answer) bool {
		return a.hasFlag("tc") && len(a.answer) == 0
	}, "+nocookie", "+ignore", "+tries=4", "+time=1")
	if a := s.dig("+nocookie", "+tries=4", "+time=1", name, "NAPTR"); a.status != "NOERROR" || len(a.answer) == 0 {
		t.Errorf("and over TCP: %s with %d records", a.status, len(a.answer))
	}
}
