package guard

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
)

func octets(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCookieVectors: RFC 9018 appendix A.
func TestCookieVectors(t *testing.T) {
	const secret = "e5e973e5a6b2a43f48e7dc849e37bfcf"
	tests := []struct {
		name, current, previous, client, sent string
		asked                                 uint32 // when the cookie sent is checked; 0: it has no server cookie
		now                                   uint32 // when the answer is made
		want                                  string
	}{
		{"A.1 learning a cookie", secret, "", "198.51.100.100", "2464c4abcf10c957", 0, 1559731985, "2464c4abcf10c957010000005cf79f111f8130c3eee29480"},
		{"A.2 a renewed cookie", secret, "", "198.51.100.100", "2464c4abcf10c957010000005cf79f111f8130c3eee29480", 1559734385, 1559734385, "2464c4abcf10c957010000005cf7a871d4a564a1442aca77"},
		// The cookie is nearly two hours old when it is sent: it is checked earlier here.
		{"A.3 reserved octets set", secret, "", "203.0.113.203", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", 1559727985 + 600, 1559734700, "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e"},
		{"A.4 IPv6, a former secret", "445536bcd2513298075a5d379663c962", "dd3bdf9344b678b185a6f5cb60fca715", "2001:db8:220:1:59de:d0f4:8769:82b8", "22681ab97d52c298010000005cf7c57926556bd0934c72f8", 1559741961, 1559741961, "22681ab97d52c298010000005cf7c609a6bb79d16625507a"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			j := NewJar()
			accepted := []Secret{{}}
			if test.previous != "" {
				accepted = append(accepted, Secret(octets(t, test.previous)))
			}
			j.Use(Secret(octets(t, test.current)), accepted...)
			sent, from := octets(t, test.sent), netip.MustParseAddr(test.client)
			if got := j.Valid(sent, from, test.asked); got != (test.asked != 0) {
				t.Errorf("Valid(%s) = %v", test.sent, got)
			}
			var made [CookieSize]byte
			j.Put(made[:], sent, from, test.now)
			if hex.EncodeToString(made[:]) != test.want {
				t.Errorf("Put = %x, want %s", made, test.want)
			}
			if test.previous != "" {
				j.Use(Secret(octets(t, test.current)))
				if j.Valid(sent, from, test.asked) {
					t.Error("valid although its secret is forgotten")
				}
			}
		})
	}
}

// TestCookieValid spoils a good cookie in every way that counts.
func TestCookieValid(t *testing.T) {
	j, from := NewJar(), netip.MustParseAddr("192.0.2.7")
	const now = 1_700_000_000
	var good [CookieSize]byte
	j.Put(good[:], []byte("clientid"), from, now)
	for _, test := range []struct {
		name string
		data []byte
		from string
		at   uint32
		want bool
	}{
		{"good", good[:], "192.0.2.7", now, true},
		{"an hour old", good[:], "192.0.2.7", now + 3600, true},
		{"older", good[:], "192.0.2.7", now + 3601, false},
		{"a little ahead", good[:], "192.0.2.7", now - 300, true},
		{"from the future", good[:], "192.0.2.7", now - 301, false},
		{"another address", good[:], "192.0.2.8", now, false},
		{"another family", good[:], "2001:db8::7", now, false},
		{"client part alone", good[:8], "192.0.2.7", now, false},
		{"cut", good[:23], "192.0.2.7", now, false},
		{"longer", append(bytes.Clone(good[:]), 0), "192.0.2.7", now, false},
		{"none", nil, "192.0.2.7", now, false},
	} {
		if got := j.Valid(test.data, netip.MustParseAddr(test.from), test.at); got != test.want {
			t.Errorf("%s: Valid = %v, want %v", test.name, got, test.want)
		}
	}
	for i := range good {
		bad := good
		bad[i] ^= 0x10
		if j.Valid(bad[:], from, now) {
			t.Errorf("valid with octet %d changed", i)
		}
	}
}

// TestCookieAcrossTheWrap: in 2106 the seconds begin anew (RFC 1982).
func TestCookieAcrossTheWrap(t *testing.T) {
	j, from := NewJar(), netip.MustParseAddr("192.0.2.7")
	var c [CookieSize]byte
	j.Put(c[:], []byte("clientid"), from, 0xffffff00)
	if !j.Valid(c[:], from, 0x100) || j.Valid(c[:], from, 0x1000) {
		t.Error("a cookie made before the wrap: want it valid ten minutes later, and not after an hour")
	}
}

// TestSipHash: the first of the authors' vectors, keys and messages 00 01 02 and so on.
func TestSipHash(t *testing.T) {
	var key [16]byte
	message := make([]byte, 64)
	for i := range key {
		key[i] = byte(i)
	}
	for i := range message {
		message[i] = byte(i)
	}
	for n, want := range map[int]uint64{0: 0x726fdb47dd0e0e31, 1: 0x74f839c593dc67fd, 8: 0x93f5f5799a932462, 15: 0xa129ca6149be45e5} {
		if got := sipHash(&key, message[:n]); got != want {
			t.Errorf("sipHash of %d octets = %x, want %x", n, got, want)
		}
	}
}
