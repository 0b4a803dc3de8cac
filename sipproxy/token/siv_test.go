package token

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// TestSIVVectors checks the construction against RFC 5297 appendix A.
func TestSIVVectors(t *testing.T) {
	cases := []struct {
		name, key  string
		components []string
		plain, out string
	}{
		{
			"A.1", "fffefdfc fbfaf9f8 f7f6f5f4 f3f2f1f0 f0f1f2f3 f4f5f6f7 f8f9fafb fcfdfeff",
			[]string{"10111213 14151617 18191a1b 1c1d1e1f 20212223 24252627"},
			"11223344 55667788 99aabbcc ddee",
			"85632d07 c6e8f37f 950acd32 0a2ecc93 40c02b96 90c4dc04 daef7f6a fe5c",
		},
		{
			"A.2", "7f7e7d7c 7b7a7978 77767574 73727170 40414243 44454647 48494a4b 4c4d4e4f",
			[]string{
				"00112233 44556677 8899aabb ccddeeff deaddada deaddada ffeeddcc bbaa9988 77665544 33221100",
				"10203040 50607080 90a0",
				"09f91102 9d74e35b d84156c5 635688c0",
			},
			"74686973 20697320 736f6d65 20706c61 696e7465 78742074 6f20656e 63727970 74207573 696e6720 5349562d 414553",
			"7bdb6e3b 432667eb 06f4d14b ff2fbd0f cb900f2f ddbe4043 26601965 c889bf17 dba77ceb 094fa663 b7a3f748 ba8af829 ea64ad54 4a272e9c 485b62a3 fd5c0d",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := newSIV(unhex(c.key))
			if err != nil {
				t.Fatal(err)
			}
			var components [][]byte
			for _, text := range c.components {
				components = append(components, unhex(text))
			}
			data := unhex(c.plain)
			iv := s.seal(components, data)
			if got := append(iv[:], data...); !bytes.Equal(got, unhex(c.out)) {
				t.Fatalf("seal = %x, want %s", got, c.out)
			}
			s.decrypt(&iv, data)
			if !bytes.Equal(data, unhex(c.plain)) {
				t.Errorf("decrypt = %x", data)
			}
			if !s.proves(&iv, components, data) {
				t.Error("the IV does not prove what it was made from")
			}
			data[0] ^= 1
			if s.proves(&iv, components, data) {
				t.Error("the IV proves an altered plaintext")
			}
		})
	}
}

// TestSIVComponents holds that octets cannot move from one component to the next.
func TestSIVComponents(t *testing.T) {
	s, err := newSIV(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	plain := bytes.Repeat([]byte{1}, 30)
	seen := make(map[[16]byte]string)
	for _, parts := range [][]string{{"ab", "c"}, {"a", "bc"}, {"abc", ""}, {"", "abc"}, {"abc"}, {"c", "ab"}, {}} {
		var components [][]byte
		for _, p := range parts {
			components = append(components, []byte(p))
		}
		b := new(block)
		s.synthesise(b, components, plain)
		if was, twice := seen[b.x]; twice {
			t.Errorf("%q has the IV of %s", parts, was)
		}
		seen[b.x] = strings.Join(parts, "|")
	}
}
